//! Who is let in: the environment key, the modes of `[auth] api`, hosts and origins.

use crate::support::{Gateway, PROFILES};

const KEY: &str = "test-environment-key-0123456789";

#[test]
fn with_the_environment_key_set_every_surface_needs_it() {
    for variable in ["MLX_GATEWAY_API_KEY", "MLX_MANAGER_API_KEY"] {
        let gateway = Gateway::with_env(PROFILES, &[(variable, KEY)]);
        for path in ["/v1/models", "/api/v1/system", "/api/v1/requests"] {
            let refused = gateway.get(path);
            assert_eq!(refused.error(), (401, "invalid_api_key".into()), "{path}");
            assert!(
                refused.json()["error"]["message"].as_str().unwrap().contains("MLX_GATEWAY_API_KEY is set")
            );
            let with = |header: &str| {
                gateway
                    .send(&format!(
                        "GET {path} HTTP/1.1\r\nhost: localhost\r\n{header}\r\nconnection: close\r\n\r\n"
                    ))
                    .status
            };
            assert_eq!(with(&format!("authorization: Bearer {KEY}")), 200, "{path}");
            assert_eq!(with(&format!("x-api-key: {KEY}")), 200, "{path}");
            assert_eq!(with("authorization: Bearer wrong"), 401, "{path}");
        }
        assert_eq!(gateway.chat("qwen", "hi").error().0, 401);
        assert_eq!(gateway.get("/livez").status, 200, "whether it lives is no secret");
        let all = gateway.cli_json(&["requests"]);
        assert_eq!(all["requests"].as_array().unwrap().len(), 0, "401s are not records");
        assert!(!gateway.log().contains(KEY));
    }
}

#[test]
fn without_a_key_it_is_open_on_loopback() {
    let gateway = Gateway::start(PROFILES);
    assert_eq!(gateway.get("/v1/models").status, 200);
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
}

#[test]
fn required_without_any_key_lets_only_the_local_socket_in() {
    let gateway = Gateway::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[auth]\napi = \"required\"\n{PROFILES}"
    ));
    assert_eq!(gateway.get("/v1/models").error().0, 401);
    assert!(gateway.cli(&["status"]).status.success());
}

#[test]
fn a_rebound_name_or_a_foreign_page_is_turned_away_on_every_route() {
    let gateway = Gateway::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ncors_origins = [\"https://chat.example.com\"]\n{PROFILES}"
    ));
    for path in ["/livez", "/v1/models", "/mcp", "/api/v1/system", "/nope", "/"] {
        let with = |headers: &str| {
            gateway.send(&format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n"))
        };
        assert_eq!(with("host: evil.example.com\r\n").error(), (403, "permission_denied".into()), "{path}");
        assert_eq!(with("host: localhost\r\norigin: https://evil.example.com\r\n").error().0, 403, "{path}");
        assert_ne!(
            with(&format!("host: {0}\r\norigin: http://{0}\r\n", gateway.address)).status,
            403,
            "{path}"
        );
        let listed = with("host: localhost\r\norigin: https://chat.example.com\r\n");
        assert_ne!(listed.status, 403, "{path}");
        assert_eq!(listed.header("access-control-allow-origin").as_deref(), Some("https://chat.example.com"));
    }
    let preflight = gateway.send("OPTIONS /v1/models HTTP/1.1\r\nhost: localhost\r\norigin: https://chat.example.com\r\nconnection: close\r\n\r\n");
    assert_eq!(preflight.status, 204);
}

#[test]
fn the_socket_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let gateway = Gateway::start(PROFILES);
    let mode = |path: std::path::PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(gateway.data_dir().join("gateway.sock")), 0o600);
    assert_eq!(mode(gateway.data_dir()), 0o700);
    assert_eq!(mode(gateway.data_dir().join("gateway.db")), 0o600);
}
