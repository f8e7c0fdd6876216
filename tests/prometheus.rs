//! A real Prometheus scrapes `/metrics`, with a key, and answers queries out of what it read.

#[path = "fake/spawn.rs"]
mod fake;
#[path = "it/support/mod.rs"]
#[expect(dead_code, reason = "one gateway and its requests are enough")]
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{Gateway, PROFILES, wait_for};

/// Ends with the value.
struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    /// One that scrapes `target` each second, with a key. `scripts/setup-test.sh` installs it.
    fn start(folder: &Path, target: &str, key: &str) -> Prometheus {
        let config = format!(
            "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: gateway\n    authorization:\n      credentials: {key}\n    static_configs:\n      - targets: ['{target}']\n"
        );
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        // Named by nobody beforehand: the port is free when it is asked for.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let mut child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("tsdb").display()))
            .arg(format!("--web.listen-address={address}"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("prometheus is on PATH; scripts/setup-test.sh installs it");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let ready = lines.by_ref().any(|line| line.contains("Server is ready to receive web requests"));
        assert!(ready, "prometheus started");
        std::thread::spawn(move || lines.for_each(drop));
        Prometheus { child, address }
    }

    /// The value of the one series that a query finds.
    fn query(&self, query: &str) -> Option<f64> {
        let path = format!(
            "GET /api/v1/query?query={}",
            query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22")
        );
        let answer: serde_json::Value =
            serde_json::from_str(&fake::exchange(&self.address, &path, "")).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).ok();
        self.child.wait().ok();
    }
}

#[test]
fn prometheus_reads_what_requests_came_to() {
    let gateway = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_API_KEY", "prometheus-test-key-0123456789")]);
    let key = "authorization: Bearer prometheus-test-key-0123456789\r\n";
    let asked = support::http::body("qwen", "#chunks=6 hello", false);
    for _ in 0..3 {
        assert_eq!(gateway.post_with("/v1/chat/completions", key, &asked).status, 200);
    }
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path(), &gateway.address, "prometheus-test-key-0123456789");
    for (query, expected) in [
        ("up", 1.0),
        ("gen_ai_server_request_duration_seconds_count", 3.0),
        ("gen_ai_server_time_to_first_token_seconds_bucket{le=\"320.0\"}", 3.0),
        ("gen_ai_client_token_usage_sum{gen_ai_token_type=\"output\"}", 18.0),
        ("mlx_gateway_requests_total{status=\"completed\"}", 3.0),
        ("mlx_gateway_backends{state=\"ready\"}", 1.0),
    ] {
        let found = wait_for(query, || prometheus.query(query).filter(|found| *found == expected));
        assert_eq!(found, expected);
    }
}
