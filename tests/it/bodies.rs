//! Bodies that wait for a backend: bounded in bytes, in all and by caller, whatever they consist of.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use serde_json::json;

use crate::support::http::Answer;
use crate::support::{Gateway, wait_for};

const OPERATOR: &str = "secret-key";
const MIB: usize = 1 << 20;
/// What one caller may hold while nobody else does.
const SHARE: f64 = (256 * MIB) as f64;

/// A gateway with a backend that takes connections and answers nothing, and one that answers.
fn gateway() -> (Gateway, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", silent.local_addr().unwrap());
    let profiles = format!(
        "[[profile]]\nname = \"silent\"\nengine = \"url\"\nurl = \"{url}\"\n\
         [[profile]]\nname = \"qwen\"\nmodel = \"./model\"\n"
    );
    (Gateway::with_env(&profiles, &[("MLX_GATEWAY_API_KEY", OPERATOR)]), silent)
}

/// A caller of its own.
fn key(gateway: &Gateway, name: &str) -> String {
    gateway.key(OPERATOR, &json!({"name": name, "scopes": ["inference"]})).0
}

fn message(content: &str) -> (&'static str, String) {
    let messages = format!("[{{\"role\":\"user\",\"content\":{content}}}]");
    ("/v1/messages", format!("{{\"model\":\"silent\",\"max_tokens\":1,\"messages\":{messages}}}"))
}

fn response(content: &str) -> (&'static str, String) {
    (
        "/v1/responses",
        format!("{{\"model\":\"silent\",\"input\":[{{\"role\":\"user\",\"content\":{content}}}]}}"),
    )
}

fn held(gateway: &Gateway) -> f64 {
    let page = gateway.get("/metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix("mlx_gateway_request_body_bytes "));
    line.unwrap().parse().unwrap()
}

#[test]
fn bodies_of_many_values_are_refused_without_taking_memory() {
    let (gateway, _silent) = gateway();
    let who = format!("authorization: Bearer {OPERATOR}\r\n");
    let lists = format!("[{}[]]", "[],".repeat(16 * MIB / 3));
    let bodies = [message(&lists), response(&lists)];
    let attack = || {
        std::thread::scope(|scope| {
            let (gateway, bodies, who) = (&gateway, &bodies, &who);
            let running: Vec<_> = (0..8)
                .map(|n| {
                    let (path, body) = &bodies[n % 2];
                    scope.spawn(move || gateway.post_with(path, who, body))
                })
                .collect();
            while running.iter().any(|thread| !thread.is_finished()) {
                assert_eq!(gateway.get("/livez").status, 200);
            }
            running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<Answer>>()
        })
    };
    for answer in gateway.grows_at_most(400, attack) {
        assert_eq!(answer.status, 413, "{answer:?}");
        assert!(answer.body.contains("too many JSON values"), "{answer:?}");
    }
}

#[test]
fn bodies_that_wait_are_bounded_by_caller_and_others_are_served() {
    let (gateway, silent) = gateway();
    let (bob, ada) = (key(&gateway, "bob"), format!("authorization: Bearer {}\r\n", key(&gateway, "ada")));
    let text = format!("\"{}\"", "x".repeat(8 * MIB));
    // A response is held as its chat and as what is kept of it.
    let bodies = [message(&text), response(&text)];
    let head = |path: &str, length: usize| {
        let host = &gateway.address;
        format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\n{ada}content-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
        )
    };
    let attack = || {
        std::thread::scope(|scope| {
            let (gateway, ada, bodies) = (&gateway, &ada, &bodies);
            for n in 0..4 {
                let (path, body) = &bodies[n % 2];
                scope.spawn(move || gateway.post_with(path, ada, body));
            }
            // Room is taken by what a body says of its length.
            let begun: Vec<TcpStream> = (0..3)
                .map(|_| {
                    let mut stream = TcpStream::connect(&gateway.address).unwrap();
                    stream.write_all(head("/v1/chat/completions", 48 * MIB).as_bytes()).unwrap();
                    stream
                })
                .collect();
            wait_for("the bodies to wait", || {
                assert_eq!(gateway.get("/livez").status, 200);
                (held(gateway) > 190.0 * MIB as f64).then_some(())
            });
            // Refused by its length alone: no byte of it was sent.
            for path in ["/v1/messages", "/v1/responses", "/v1/chat/completions", "/v1/embeddings"] {
                let refused = gateway.send(&head(path, 64 * MIB));
                assert_eq!(refused.status, 503, "{path}: {refused:?}");
                assert_eq!(refused.header("retry-after").as_deref(), Some("1"));
                let code = if path == "/v1/messages" { "overloaded" } else { "too_many_bodies" };
                assert!(refused.body.contains(code), "{path}: {refused:?}");
            }
            let refused = gateway.send(&head("/mcp", 64 * MIB));
            let error = &refused.json()["error"];
            assert_eq!((refused.status, &error["code"]), (503, &(-32_005).into()), "{refused:?}");
            assert!(
                error["message"].to_string().contains("bodies") && refused.header("retry-after").is_some()
            );
            let served = gateway.chat_as(&bob, "qwen", "#chunks=1");
            assert_eq!(served.status, 200, "{served:?}");
            assert!(held(gateway) <= SHARE);
            // Their connections break, and with their requests goes what they held.
            drop((silent, begun));
            wait_for("the bodies to go", || (held(gateway) == 0.0).then_some(()));
        });
    };
    gateway.grows_at_most(300, attack);
}
