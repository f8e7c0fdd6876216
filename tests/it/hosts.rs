//! `Host`, `Origin` and the request's target over the wire, and names that a hostile network can resolve.

use serde_json::json;

use crate::support::http::Answer;
use crate::support::{Gateway, PROFILES};

/// Routes that are answered in different places.
const ROUTES: [(&str, &str); 7] = [
    ("GET", "/livez"),
    ("GET", "/v1/models"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/messages"),
    ("POST", "/mcp"),
    ("GET", "/api/v1/system"),
    ("GET", "/"),
];

fn send(gateway: &Gateway, method: &str, target: &str, headers: &str) -> Answer {
    let request =
        format!("{method} {target} HTTP/1.1\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n");
    gateway.send(&request)
}

#[test]
fn a_host_that_is_not_exactly_one_authority_is_refused_on_every_route() {
    let gateway = Gateway::start(PROFILES);
    let address = gateway.address.clone();
    for (method, path) in ROUTES {
        for headers in [
            String::new(),
            "host: localhost\r\nhost: localhost\r\n".to_owned(),
            format!("host: {address}\r\nhost: evil.com\r\n"),
            "host: localhost:80@evil.com\r\n".to_owned(),
            "host: [::1]evil.com\r\n".to_owned(),
            "host: localhost:99999\r\n".to_owned(),
            "host: \r\n".to_owned(),
            "host: localhost\r\norigin: http://localhost\r\norigin: http://localhost\r\n".to_owned(),
        ] {
            let refused = send(&gateway, method, path, &headers);
            assert_eq!(refused.error(), (400, "invalid_host".into()), "{method} {path} {headers:?}");
        }
        let target = format!("http://evil.com{path}");
        let refused = send(&gateway, method, &target, "host: localhost\r\n");
        assert_eq!(refused.error(), (400, "invalid_host".into()), "{method} {target}");
        let origin = "host: localhost\r\norigin: http://localhost@evil.com\r\n";
        assert_eq!(send(&gateway, method, path, origin).error().0, 403, "{method} {path}");
        let target = format!("http://{address}{path}");
        let agreed = send(&gateway, method, &target, &format!("host: {address}\r\n")).status;
        assert!(!matches!(agreed, 403 | 421) && agreed < 500, "{method} {target}: {agreed}");
    }
}

#[test]
fn a_name_that_can_be_rebound_needs_a_credential_from_this_machine() {
    let config = "[server]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n\
        allowed_hosts = [\"host.lima.internal\"]\n[auth]\napi = \"open\"\n";
    let gateway = Gateway::start(&format!("{config}{PROFILES}"));
    let key = gateway.cli_json(&["keys", "create", "container"])["key"].as_str().unwrap().to_owned();
    let machine = std::process::Command::new("uname").arg("-n").output().unwrap().stdout;
    let machine = String::from_utf8(machine).unwrap().trim().to_lowercase();
    let short = machine.split('.').next().unwrap().to_owned();
    let names =
        ["host.docker.internal", "gateway.docker.internal", "host.containers.internal", &machine, &short];
    for name in names.into_iter().filter(|name| !name.is_empty() && *name != "localhost") {
        let host = format!("host: {name}:10242\r\n");
        for (method, path) in ROUTES {
            for headers in ["", "authorization: Bearer wrong\r\n", "cookie: mlx_gateway_session=a.b.c\r\n"] {
                let refused = send(&gateway, method, path, &format!("{host}{headers}"));
                assert_eq!(refused.error(), (403, "permission_denied".into()), "{name} {path} {headers}");
            }
        }
        for headers in [format!("authorization: Bearer {key}\r\n"), format!("x-api-key: {key}\r\n")] {
            assert_eq!(
                send(&gateway, "GET", "/v1/models", &format!("{host}{headers}")).status,
                200,
                "{name}"
            );
        }
        let elsewhere = format!("{host}x-forwarded-for: 192.168.1.7\r\n");
        assert_eq!(send(&gateway, "GET", "/livez", &elsewhere).status, 200, "{name} from another machine");
    }
    let refused = send(&gateway, "GET", "/livez", "host: host.docker.internal\r\n").json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("API key") && message.contains("server.allowed_hosts"), "{message}");
    assert_eq!(send(&gateway, "GET", "/livez", "host: host.lima.internal\r\n").status, 200, "it is listed");
}

#[test]
fn a_page_cannot_claim_to_be_forwarded_to_use_such_a_name() {
    let gateway = Gateway::start(PROFILES);
    for headers in ["", "x-forwarded-for: 192.168.1.7\r\n", "authorization: Bearer anything\r\n"] {
        let refused =
            send(&gateway, "GET", "/v1/models", &format!("host: host.docker.internal\r\n{headers}"));
        assert_eq!(refused.error().0, 403, "{headers}");
    }
}

#[test]
fn either_of_two_keys_lets_a_client_in_and_two_wrong_ones_do_not() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (good, _) = gateway.key(&admin, &json!({"name": "good"}));
    let (revoked, id) = gateway.key(&admin, &json!({"name": "revoked"}));
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    let cookie = format!("cookie: mlx_gateway_session={admin}\r\n");
    for (bearer, api_key, expected) in [
        ("dummy", good.as_str(), 200),
        (good.as_str(), "dummy", 200),
        (revoked.as_str(), good.as_str(), 200),
        (good.as_str(), revoked.as_str(), 200),
        (good.as_str(), good.as_str(), 200),
        ("", good.as_str(), 200),
        (good.as_str(), "", 200),
        ("dummy", "dummy", 401),
        ("dummy", revoked.as_str(), 401),
        ("dummy", "", 401),
        ("", "dummy", 401),
    ] {
        let keys = format!("authorization: Bearer {bearer}\r\nx-api-key: {api_key}\r\n");
        for cookie in ["", cookie.as_str()] {
            let headers = format!("{keys}{cookie}");
            let case = format!("{bearer:.8} {api_key:.8} {cookie:.6}");
            assert_eq!(gateway.call("GET", "/v1/models", &headers, None).status, expected, "{case}");
            let chat = json!({"model": "qwen", "max_tokens": 9, "messages": [{"role": "user", "content": "#chunks=1"}]});
            for path in ["/v1/chat/completions", "/v1/messages"] {
                assert_eq!(
                    gateway.call("POST", path, &headers, Some(&chat)).status,
                    expected,
                    "{case} {path}"
                );
            }
            let system = gateway.call("GET", "/api/v1/system", &headers, None).status;
            assert_eq!(system, if expected == 200 { 403 } else { 401 }, "{case}: no more than the key may");
        }
    }
    let both = format!("authorization: Bearer dummy\r\nx-api-key: {revoked}\r\n");
    assert!(gateway.call("GET", "/v1/models", &both, None).body.contains("revoked"), "the reason that helps");
}
