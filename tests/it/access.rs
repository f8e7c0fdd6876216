//! What a caller may do because of where it connects from, and who makes the first account.

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::people::PASSWORD;
use crate::support::{Gateway, PROFILES, wait_for};

const KEY: &str = "test-environment-key-0123456789";

/// Headers of requests that came through a proxy.
const FORWARDED: [&str; 7] = [
    "forwarded: for=203.0.113.9\r\n",
    "x-forwarded-for: 203.0.113.9\r\n",
    "x-forwarded-host: models.example.com\r\n",
    "x-real-ip: 203.0.113.9\r\n",
    "via: 1.1 proxy\r\n",
    "cf-connecting-ip: 203.0.113.9\r\n",
    "tailscale-user-login: ada@example.com\r\n",
];

/// A gateway that has no account: why it is not open, if it is not, and how it is configured.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    auth: &'static str,
    environment_key: bool,
    key: bool,
    /// Words of the reason in the error.
    reason: &'static str,
}

const CLOSED_WAYS: [Way; 4] = [
    Way {
        name: "operator's key",
        auth: "",
        environment_key: true,
        key: false,
        reason: "MLX_GATEWAY_API_KEY is set",
    },
    Way {
        name: "required",
        auth: "api = \"required\"\n",
        environment_key: false,
        key: false,
        reason: "auth.api = \"required\" is set",
    },
    Way { name: "key", auth: "", environment_key: false, key: true, reason: "a key was made" },
    Way {
        name: "open with a key",
        auth: "api = \"open\"\n",
        environment_key: false,
        key: true,
        reason: "a key was made",
    },
];

fn start(way: Way, trusted: bool, closed: bool) -> (Gateway, Option<String>) {
    let trusted = if trusted { "trusted_proxies = [\"127.0.0.1\"]\n" } else { "" };
    let closed = if closed { "registration = \"closed\"\n" } else { "" };
    let config =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n{trusted}[auth]\n{}{closed}{PROFILES}", way.auth);
    let env: &[(&str, &str)] = if way.environment_key { &[("MLX_GATEWAY_API_KEY", KEY)] } else { &[] };
    let gateway = Gateway::with_env(&config, env);
    let key =
        way.key.then(|| gateway.cli_json(&["keys", "create", "laptop"])["key"].as_str().unwrap().to_owned());
    (gateway, key)
}

fn register(gateway: &Gateway, headers: &str, setup_token: Option<&str>) -> (u16, String) {
    let body = json!({"email": "evil@example.com", "password": PASSWORD, "setup_token": setup_token});
    let answer = gateway.call("POST", "/api/v1/auth/register", headers, Some(&body));
    (answer.status, answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
}

fn needs_link(status: u16) -> (u16, String) {
    (status, "setup_link_required".to_owned())
}

#[test]
fn the_first_account_needs_proof_when_the_operator_has_a_key() {
    the_first_account_needs_proof(CLOSED_WAYS[0]);
}

#[test]
fn the_first_account_needs_proof_when_credentials_are_required() {
    the_first_account_needs_proof(CLOSED_WAYS[1]);
}

#[test]
fn the_first_account_needs_proof_when_a_key_exists() {
    the_first_account_needs_proof(CLOSED_WAYS[2]);
}

#[test]
fn the_first_account_needs_proof_when_a_key_exists_and_models_are_open() {
    the_first_account_needs_proof(CLOSED_WAYS[3]);
}

fn the_first_account_needs_proof(way: Way) {
    for (trusted, closed) in [(false, false), (true, false), (false, true), (true, true)] {
        let (gateway, key) = start(way, trusted, closed);
        let case = format!("{way:?}, trusted proxy: {trusted}, closed: {closed}");
        for headers in FORWARDED.into_iter().chain(["", "x-forwarded-for: 127.0.0.1\r\n"]) {
            assert_eq!(register(&gateway, headers, None), needs_link(401), "{case}: {headers:?}");
        }
        let stale = (403, "setup_link_stale".to_owned());
        assert_eq!(register(&gateway, "", Some("wrong")), stale, "{case}");
        assert_eq!(register(&gateway, "authorization: Bearer wrong\r\n", None), needs_link(401), "{case}");
        if let Some(key) = &key {
            let headers = format!("authorization: Bearer {key}\r\n");
            assert_eq!(register(&gateway, &headers, None), needs_link(403), "{case}: not an administrator's");
        }
        let body = json!({"email": "evil@example.com", "password": PASSWORD});
        let message = gateway.call("POST", "/api/v1/auth/register", "", Some(&body)).body;
        for words in [&way.reason.replace('"', "\\\""), "set-up link", "administrator's credential"] {
            assert!(message.contains(words), "{case}: {message}");
        }
        let state = gateway.get("/api/v1/auth/state").json();
        assert_eq!(
            (&state["first_account"], &state["setup_token_needed"], &state["registration"]),
            (&json!(true), &json!(true), &json!(false)),
            "{case}"
        );
        assert_eq!(gateway.cli_json(&["users", "ls"])["users"], json!([]), "{case}");
        let token = gateway.setup_token();
        let headers = "x-forwarded-for: 203.0.113.9\r\n";
        assert_eq!(register(&gateway, headers, Some(&token)).0, 201, "{case}: by the link");
        assert_eq!(register(&gateway, "", Some(&token)), stale, "{case}: the link works once");
    }
}

#[test]
fn a_set_up_link_from_before_a_restart_or_an_account_is_named_as_stale() {
    let gateway = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_API_KEY", KEY)]);
    let old = gateway.setup_token();
    let gateway = Gateway::serve(gateway.crash(), &[("MLX_GATEWAY_API_KEY", KEY)]);
    let ask = |email: &str, token: &str| {
        let body = json!({"email": email, "password": PASSWORD, "setup_token": token});
        gateway.call("POST", "/api/v1/auth/register", "", Some(&body))
    };
    let stale = |answer: Answer, words: &str| {
        assert_eq!(answer.error(), (403, "setup_link_stale".into()), "{answer:?}");
        assert!(answer.body.contains(words), "{answer:?}");
    };
    stale(ask("ada@example.com", &old), "print the new one with `mlx-gateway doctor`");
    let present = gateway.setup_token();
    assert_ne!(present, old);
    assert_eq!(ask("ada@example.com", &present).json()["user"]["role"], "admin");
    stale(ask("ben@example.com", &present), "already used");
    stale(ask("ben@example.com", &old), "already used");
}

#[test]
fn an_administrators_credential_makes_the_first_account() {
    for closed in [false, true] {
        let (gateway, _) = start(CLOSED_WAYS[0], false, closed);
        let by_key = format!("authorization: Bearer {KEY}\r\n");
        let session = gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"api_key": KEY}))).json();
        let cookie = format!("cookie: mlx_gateway_session={}\r\n", session["token"].as_str().unwrap());
        assert_eq!(
            register(&gateway, &cookie, None),
            needs_link(401),
            "a page of elsewhere cannot use the cookie"
        );
        let own = format!("{cookie}origin: http://{}\r\n", gateway.address);
        let headers = if closed { own } else { by_key };
        let answer = gateway.admin_by(&headers);
        assert!(!answer.is_empty());
    }
    let (gateway, _) = start(CLOSED_WAYS[1], false, true);
    let body = json!({"email": "admin@example.com", "password": PASSWORD});
    let request = gateway.wire("POST", "/api/v1/auth/register", "", Some(&body));
    assert_eq!(gateway.status_over_socket(&request), 201, "the data directory's owner");
    let (gateway, _) = start(CLOSED_WAYS[1], false, false);
    let made = gateway.cli_json(&["keys", "create", "ops", "--scopes", "admin"]);
    gateway.admin_by(&format!("x-api-key: {}\r\n", made["key"].as_str().unwrap()));
}

#[test]
fn a_fresh_gateway_is_open_to_this_machine_and_to_no_proxy() {
    let open = Way { name: "open", auth: "api = \"open\"\n", environment_key: false, key: false, reason: "" };
    let auto = Way { name: "auto", auth: "", ..open };
    for way in [auto, open] {
        for trusted in [false, true] {
            let (gateway, _) = start(way, trusted, false);
            for headers in FORWARDED {
                assert_eq!(register(&gateway, headers, None).1, "setup_link_required", "{way:?} {headers}");
                assert_eq!(
                    gateway.call("GET", "/api/v1/system", headers, None).status,
                    if way.auth.is_empty() { 401 } else { 403 }
                );
            }
            let state = gateway.get("/api/v1/auth/state").json();
            assert_eq!((&state["setup_token_needed"], &state["open"]), (&json!(false), &json!(true)));
            // Only a trusted proxy's word that the client is on this machine counts.
            let local = register(&gateway, "x-forwarded-for: 127.0.0.1\r\n", None);
            assert_eq!(local.0 == 201, trusted, "{way:?} {local:?}");
            if !trusted {
                assert_eq!(register(&gateway, "", None).0, 201);
            }
        }
    }
}

#[test]
fn a_fresh_gateway_with_closed_registration_has_no_first_account_without_proof() {
    let way = Way { name: "auto", auth: "", environment_key: false, key: false, reason: "" };
    let (gateway, _) = start(way, false, true);
    assert_eq!(gateway.get("/v1/models").status, 200, "it is open");
    assert_eq!(register(&gateway, "", None), needs_link(401));
    let state = gateway.get("/api/v1/auth/state").json();
    assert_eq!((&state["setup_token_needed"], &state["registration"]), (&json!(true), &json!(false)));
    assert_eq!(register(&gateway, "", Some(&gateway.setup_token())).0, 201);
    assert_eq!(register(&gateway, "", None), (403, "permission_denied".into()), "and no later one");
}

/// Every decision that depends on the transport, for callers without a credential.
#[test]
fn every_decision_by_transport_follows_the_same_trust() {
    #[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
    enum Trust {
        Nothing,
        Monitoring,
        Operator,
    }
    use Trust::{Monitoring, Nothing, Operator};
    const PROXIED: &str = "x-forwarded-for: 203.0.113.9\r\n";
    let fresh = Way { name: "fresh", auth: "", environment_key: false, key: false, reason: "" };
    for (way, trusted, headers, trust) in [
        (fresh, false, "", Operator),
        (fresh, true, "", Operator),
        (fresh, true, "x-forwarded-for: 127.0.0.1\r\n", Operator),
        (fresh, false, "x-forwarded-for: 127.0.0.1\r\n", Nothing),
        (fresh, false, PROXIED, Nothing),
        (fresh, true, PROXIED, Nothing),
        (fresh, true, "x-real-ip: 127.0.0.1\r\n", Nothing),
        (CLOSED_WAYS[0], false, "", Monitoring),
        (CLOSED_WAYS[0], false, PROXIED, Nothing),
        (CLOSED_WAYS[1], false, "", Nothing),
        (CLOSED_WAYS[1], true, "x-forwarded-for: 127.0.0.1\r\n", Nothing),
        (CLOSED_WAYS[2], true, "", Monitoring),
        (CLOSED_WAYS[2], true, PROXIED, Nothing),
    ] {
        let (gateway, _) = start(way, trusted, false);
        let case = format!("{} {trusted} {headers:?}", way.name);
        let status = |method: &str, path: &str, extra: &str, body: Option<&Value>| {
            gateway.call(method, path, &format!("{headers}{extra}"), body).status
        };
        let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
        let chat = json!({"model": "nope", "messages": [{"role": "user", "content": "x"}]});
        let accept = "accept: application/json, text/event-stream\r\n";
        for (needed, method, path, extra, body) in [
            (Monitoring, "GET", "/metrics", "", None),
            (Monitoring, "GET", "/docs", "", None),
            (Monitoring, "GET", "/api/openapi.json", "", None),
            (Operator, "GET", "/v1/models", "", None),
            (Operator, "GET", "/api/v1/auth/me", "", None),
            (Operator, "GET", "/api/v1/system", "", None),
            (Operator, "GET", "/api/v1/settings", "", None),
            (Operator, "POST", "/v1/chat/completions", "", Some(&chat)),
            (Operator, "POST", "/v1/messages", "", Some(&chat)),
            (Operator, "POST", "/v1/responses", "", Some(&chat)),
            (Operator, "POST", "/api/v1/profiles", "idempotency-key: k\r\n", Some(&json!({}))),
            (Operator, "POST", "/mcp", accept, Some(&ping)),
        ] {
            let answered = status(method, path, extra, body);
            assert_eq!(answered != 401, trust >= needed, "{case}: {method} {path} answered {answered}");
        }
        let page = gateway.call("GET", "/servers", headers, None);
        assert_eq!(page.status == 200, trust == Operator, "{case}: {page:?}");
        let state = gateway.call("GET", "/api/v1/auth/state", headers, None).json();
        assert_eq!(state["open"], trust == Operator, "{case}");
        assert_eq!(state["setup_token_needed"], trust < Operator, "{case}");
        let socket = |path: &str| gateway.status_over_socket(&gateway.wire("GET", path, "", None));
        assert_eq!((socket("/metrics"), socket("/api/v1/system")), (200, 200), "{case}: its owner");
        assert_eq!(register(&gateway, headers, None).0 == 201, trust == Operator, "{case}");
    }
}

#[test]
fn a_forwarded_request_over_the_local_socket_is_refused() {
    let gateway = Gateway::start(PROFILES);
    for headers in FORWARDED {
        let request = gateway.wire("GET", "/api/v1/system", headers, None);
        assert_eq!(gateway.status_over_socket(&request), 403, "{headers}");
    }
    assert_eq!(gateway.status_over_socket(&gateway.wire("GET", "/api/v1/system", "", None)), 200);
}

#[test]
fn a_proxy_that_is_not_trusted_is_named_once_in_the_log_and_by_the_doctor() {
    let gateway = Gateway::start(PROFILES);
    let access = || {
        let findings = gateway.cli_json(&["doctor"]);
        findings["findings"].as_array().unwrap().iter().find(|one| one["id"] == "access").unwrap().clone()
    };
    assert_eq!(access()["level"], "ok");
    for _ in 0..2 {
        let refused = gateway.call("GET", "/v1/models", "x-forwarded-for: 203.0.113.9\r\n", None);
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains("server.trusted_proxies") && message.contains("proxy"), "{message}");
    }
    let named = || gateway.log().matches("Request was forwarded by a proxy").count();
    wait_for("the line", || (named() > 0).then_some(()));
    // What is logged after the second request is there: it added none.
    assert!(gateway.cli(&["log-level", "info,hyper=warn"]).status.success());
    wait_for("a later line", || gateway.log().contains("hyper=warn").then_some(()));
    assert_eq!(named(), 1);
    let found = access();
    assert_eq!(found["level"], "warning", "{found}");
    assert!(found["mend"].as_str().unwrap().contains("auth.api = \"required\""), "{found}");
}

#[test]
fn the_set_up_link_is_printed_until_there_is_an_account_and_shown_to_administrators_alone() {
    let (gateway, _) = start(CLOSED_WAYS[0], false, false);
    let token = gateway.setup_token();
    let doctor = |key: &str| gateway.as_bearer(key, "GET", "/api/v1/doctor", None).body;
    assert!(doctor(KEY).contains(&token));
    assert!(gateway.cli_json(&["doctor"]).to_string().contains(&token));
    let reader = gateway.cli_json(&["keys", "create", "reader", "--scopes", "admin-read"]);
    let seen = doctor(reader["key"].as_str().unwrap());
    assert!(seen.contains("set-up link") && !seen.contains(&token), "{seen}");
    gateway.admin_by(&format!("authorization: Bearer {KEY}\r\n"));
    assert!(!doctor(KEY).contains("/setup?token="));
    let gateway = Gateway::serve(gateway.crash(), &[]);
    assert_eq!(gateway.get("/livez").status, 200);
    assert!(!gateway.log().contains("/setup?token="), "no longer after a restart");
}

#[test]
fn the_status_says_whether_a_key_is_required_now_and_since_what() {
    let auth = |gateway: &Gateway| {
        let system = gateway.cli_json(&["status"]);
        let printed = String::from_utf8(gateway.cli(&["status"]).stdout).unwrap();
        let auth = system["auth"].clone();
        assert!(printed.contains(auth["message"].as_str().unwrap()), "{printed}");
        (auth["key_required"].as_bool().unwrap(), auth["cause"].as_str().unwrap().to_owned(), auth)
    };
    let gateway = Gateway::start(PROFILES);
    let (required, cause, told) = auth(&gateway);
    assert_eq!((required, cause.as_str(), &told["since_ms"]), (false, "fresh", &Value::Null));
    gateway.cli_json(&["keys", "create", "laptop"]);
    let (required, cause, told) = auth(&gateway);
    assert_eq!((required, cause.as_str()), (true, "key"));
    assert!(told["since_ms"].as_i64().unwrap() > 1_700_000_000_000);
    assert_eq!(told["message"], "an API key is required, since a key was made");

    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let told = gateway.as_bearer(&admin, "GET", "/api/v1/system", None).json()["auth"].clone();
    assert_eq!(told["message"], "an API key is required, since an account was made");
    let (required, cause, _) = auth(&gateway);
    assert_eq!((required, cause.as_str()), (true, "account"));

    for (way, expected) in [
        (CLOSED_WAYS[0], (true, "environment_key")),
        (CLOSED_WAYS[1], (true, "setting")),
        (CLOSED_WAYS[3], (false, "key")),
    ] {
        let (gateway, _) = start(way, false, false);
        let (required, cause, told) = auth(&gateway);
        assert_eq!((required, cause.as_str()), expected, "{told}");
    }
}
