//! The gateway's own log: its file and its levels.

use std::process::Child;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::support::{Gateway, PROFILES, cli_command, cli_in, spawn_under, wait_for, write_config};

/// Ends with the value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGTERM).ok();
        self.0.wait().ok();
    }
}

#[test]
fn levels_are_changed_by_module_while_it_runs_and_come_back() {
    const NOT_SERVED: &str = "Backend did not serve a request";
    let gateway = Gateway::start(PROFILES);
    let fail = || assert_eq!(gateway.chat("qwen", "#error=500").status, 502);
    let count = |words: &str| gateway.log().matches(words).count();
    let level = |arguments: &[&str]| {
        let output = gateway.cli(&[&["log-level"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(level(&[]), "info,hf_hub=off,rmcp=warn");
    fail();
    wait_for("the line", || (count(NOT_SERVED) == 1).then_some(()));

    assert_eq!(level(&["info,mlx_gateway::proxy=off"]), "info,mlx_gateway::proxy=off");
    fail();
    // What is logged after it is there, so it was not.
    level(&["info,mlx_gateway::proxy=off,hyper=warn"]);
    wait_for("the change to be told", || gateway.log().contains("hyper=warn").then_some(()));
    assert_eq!(count(NOT_SERVED), 1);

    assert_eq!(
        gateway.cli_json(&["log-level", "--reset"]),
        json!({"filter": "info,hf_hub=off,rmcp=warn", "at_start": "info,hf_hub=off,rmcp=warn", "file": null})
    );
    fail();
    wait_for("the line again", || (count(NOT_SERVED) == 2).then_some(()));

    let wrong = gateway.cli(&["log-level", "info,mlx_gateway=loud"]);
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("mlx_gateway::backends=debug"), "{wrong:?}");
    let left_out = gateway.call("PUT", "/api/v1/log", "", Some(&json!({})));
    assert_eq!(left_out.status, 400, "{left_out:?}");
}

#[test]
fn no_request_adds_a_line_to_the_log() {
    let gateway = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_LOG", "debug,hf_hub=off")]);
    let forged = "x\r\n2026-01-01T00:00:00.000000Z  INFO forged: line\u{1b}[2J\u{9b}\u{2028}\u{202e}";
    for model in [forged, "qwen"] {
        gateway.chat(model, forged);
        gateway.post_with(
            "/v1/chat/completions",
            "x-request-id: a\tb\r\n",
            &json!({"model": model, forged: 1}).to_string(),
        );
    }
    gateway.chat("qwen", "#error=500");
    gateway.call("PUT", "/api/v1/log", "", Some(&json!({"filter": forged})));
    gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"email": forged, "password": forged})));
    gateway.get(&format!("/api/v1/requests/{}", "%0A%1B%5B2J"));
    let log = gateway.log();
    let year = |line: &str| {
        line.starts_with("20") && line.contains('Z') && !line.starts_with("2026-01-01T00:00:00.000000Z")
    };
    assert!(log.lines().all(year), "{log}");
    assert!(
        !log.contains(|c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{202e}')),
        "{log:?}"
    );
}

#[test]
fn every_line_within_a_request_names_the_request_its_profile_and_key() {
    const SUM: &str = "#tool #args={\"expression\":\"6*7\"} #die-after=3";
    let levels = "info,mlx_gateway::http=debug,mlx_gateway::proxy=debug,mlx_gateway::tools=debug";
    let gateway = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_LOG", levels)]);
    let admin = gateway.admin();
    let (key, key_id) = gateway.key(&admin, &json!({"name": "k", "scopes": ["inference", "tools"]}));
    let before = gateway.log().lines().count();
    let chat = |headers: &str, prompt: &str| {
        let headers = format!("authorization: Bearer {key}\r\n{headers}");
        let messages = json!([{"role": "user", "content": prompt}]);
        let body = json!({"model": "gpt-4o-mini", "stream": true, "messages": messages});
        gateway.post_with("/v1/chat/completions", &headers, &body.to_string())
    };
    // Within the answer's body; of a tool chat, in its second round.
    let died = chat("", "#die-after=2");
    let died_in_round = chat("x-mlx-gateway-tools: calculator\r\nx-request-id: my-chat\r\n", SUM);
    assert!(died_in_round.body.contains("running calculator"), "{died_in_round:?}");
    // Found out before there is an answer.
    let refused = chat("", "#error=500");
    for answer in [&died, &died_in_round, &refused] {
        let id = answer.header("x-request-id").unwrap();
        let fields = format!("request.id=\"{id}\" profile.name=\"qwen\" key.id=\"{key_id}\"");
        wait_for("a line of the request", || gateway.log().contains(&fields).then_some(()));
    }
    assert_eq!(died_in_round.header("x-request-id").as_deref(), Some("my-chat"));
    // What connections log is of no request.
    let elsewhere = ["http::threads", "http::serve", "http::connections", "upstream::pool"];
    let within = |line: &&str| {
        ["mlx_gateway::http", "mlx_gateway::proxy", "mlx_gateway::tools::chat"]
            .iter()
            .any(|part| line.contains(part))
            && !elsewhere.iter().any(|part| line.contains(part))
    };
    let log = gateway.log();
    let lines: Vec<&str> = log.lines().skip(before).filter(within).collect();
    assert!(lines.len() >= 3, "{log}");
    for line in lines {
        assert!(line.contains(" request.id=\""), "{line}");
    }
}

#[test]
fn without_a_gateway_there_is_no_level_to_change() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "");
    let answer = cli_in(&folder, &["log-level", "debug"]);
    assert_eq!(answer.status.code(), Some(3), "{answer:?}");
}

#[test]
fn a_log_file_begins_anew_when_it_is_full_and_so_many_stay() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), "[log]\nfile = \"logs/own.log\"\nmax_size = \"4KiB\"\nkeep = 2\n");
    let child = Process(spawn_under(&folder, "exec \"$0\" \"$@\""));
    let log = |name: &str| std::fs::read_to_string(folder.path().join("logs").join(name)).unwrap_or_default();
    wait_for("the log to begin", || log("own.log").contains("listening on").then_some(()));
    let setting = |key: &str| {
        let output = cli_command(&folder, &["log-level", "--json"]).output().unwrap();
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()[key].clone()
    };
    assert!(setting("file").as_str().unwrap().ends_with("logs/own.log"));
    // Each change is a line.
    for number in 0..120 {
        let output =
            cli_command(&folder, &["log-level", &format!("info,number_{number}=off")]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    assert!(log("own.log").contains("number_119") || log("own.log.1").contains("number_119"));
    assert!(!log("own.log.1").is_empty() && !log("own.log.2").is_empty());
    let mut names: Vec<String> = std::fs::read_dir(folder.path().join("logs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["own.log", "own.log.1", "own.log.2"]);
    for name in names {
        assert!(log(&name).len() <= 4096, "{name}");
    }
    drop(child);
    assert!(log("own.log").contains("Everything has ended"), "{}", log("own.log"));
}
