//! The rules of docs/security.md that are about who may do what, each by its name.

use serde_json::{Value, json};

use crate::support::people::PASSWORD;
use crate::support::{Gateway, PROFILES};

#[test]
fn a_cookie_counts_only_for_what_our_own_pages_send() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let cookie = format!("cookie: other=1; mlx_gateway_session={admin}\r\n");
    let send = |method: &str, path: &str, origin: &str, body: Option<&Value>| {
        let origin = if origin.is_empty() { String::new() } else { format!("origin: {origin}\r\n") };
        gateway.call(method, path, &format!("{cookie}{origin}"), body)
    };
    let own = format!("http://{}", gateway.address);
    let wish = json!({"name": "k"});
    assert_eq!(send("GET", "/api/v1/auth/me", "", None).status, 200);
    assert_eq!(send("POST", "/api/v1/keys", &own, Some(&wish)).status, 201);
    for origin in ["", "http://evil.example.com", "null", &format!("{own}.evil.example.com")] {
        let refused = send("POST", "/api/v1/keys", origin, Some(&wish));
        assert_eq!(refused.error(), (403, "permission_denied".into()), "{origin}");
    }
    let chat = json!({"model": "qwen", "messages": [{"role": "user", "content": "#chunks=1"}]});
    assert_eq!(send("POST", "/v1/chat/completions", &own, Some(&chat)).status, 200);
    assert_eq!(send("POST", "/v1/chat/completions", "", Some(&chat)).status, 403);
}

#[test]
fn a_listed_foreign_page_cannot_use_the_cookie() {
    let gateway = Gateway::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ncors_origins = [\"https://chat.example.com\"]\n{PROFILES}"
    ));
    let admin = gateway.admin();
    let headers = format!("cookie: mlx_gateway_session={admin}\r\norigin: https://chat.example.com\r\n");
    let refused = gateway.call("POST", "/api/v1/keys", &headers, Some(&json!({"name": "k"})));
    assert_eq!(refused.status, 403);
    assert!(refused.header("access-control-allow-credentials").is_none());
    let (key, _) = gateway.key(&admin, &json!({"name": "k"}));
    let headers = format!("authorization: Bearer {key}\r\norigin: https://chat.example.com\r\n");
    assert_eq!(gateway.call("GET", "/v1/models", &headers, None).status, 200, "with a key it may");
}

#[test]
fn a_form_of_a_foreign_page_is_no_json() {
    let gateway = Gateway::start(PROFILES);
    let body = r#"{"email":"evil@example.com","password":"correct horse battery"}"#;
    for kind in ["text/plain", "application/x-www-form-urlencoded"] {
        let request = format!(
            "POST /api/v1/auth/register HTTP/1.1\r\nhost: {}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            gateway.address,
            body.len()
        );
        assert_eq!(gateway.send(&request).error(), (415, "unsupported_media_type".into()), "{kind}");
    }
    assert_eq!(gateway.get("/api/v1/auth/state").json()["setup"], true);
}

#[test]
fn a_tampered_token_is_nobodys() {
    let gateway = Gateway::start(PROFILES);
    let token = gateway.admin();
    let parts: Vec<&str> = token.split('.').collect();
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    for tampered in [
        format!("{}.{}.", parts[0], parts[1]),
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}x.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
    ] {
        assert_eq!(gateway.as_bearer(&tampered, "GET", "/api/v1/auth/me", None).status, 401, "{tampered}");
    }
    assert_eq!(gateway.as_bearer(&token, "GET", "/api/v1/auth/me", None).status, 200);
    let by_url = gateway.get(&format!("/api/v1/auth/me?token={token}"));
    assert_eq!(by_url.status, 401, "never in a URL");
}

#[test]
fn an_unknown_user_and_a_wrong_password_are_answered_alike() {
    let gateway = Gateway::start(PROFILES);
    gateway.admin();
    let known = gateway.log_in("admin@example.com", "wrong password");
    let unknown = gateway.log_in("nobody@example.com", "wrong password");
    assert_eq!((known.status, &known.body), (unknown.status, &unknown.body));
}

#[test]
fn a_keys_restrictions_hold_on_every_endpoint_and_with_either_header() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "k", "profiles": ["other"]}));
    for header in [format!("authorization: Bearer {key}\r\n"), format!("x-api-key: {key}\r\n")] {
        let models = gateway.call("GET", "/v1/models", &header, None).json();
        assert_eq!(models["data"].as_array().unwrap().len(), 1);
        assert_eq!(gateway.call("GET", "/v1/models/qwen", &header, None).status, 404);
        for model in ["qwen", "gpt-4o-mini", "claude-anything"] {
            let chat = json!({"model": model, "messages": [{"role": "user", "content": "x"}]});
            let refused = gateway.call("POST", "/v1/chat/completions", &header, Some(&chat));
            assert_eq!(refused.error(), (404, "model_not_found".into()), "{model}");
        }
        let chat = json!({"model": "other", "messages": [{"role": "user", "content": "#chunks=1"}]});
        assert_eq!(gateway.call("POST", "/v1/chat/completions", &header, Some(&chat)).status, 200);
        assert_eq!(gateway.call("GET", "/api/v1/system", &header, None).status, 403);
    }
}

#[test]
fn what_belongs_to_somebody_else_is_not_there() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, ada_id) = gateway.user(&admin, "ada@example.com");
    let (ben, _) = gateway.user(&admin, "ben@example.com");
    let (key, key_id) = gateway.key(&ada, &json!({"name": "k"}));
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=1").status, 200);
    let list = |token: &str, path: &str| gateway.as_bearer(token, "GET", path, None).json();
    let request = list(&ada, "/api/v1/requests")["requests"][0]["id"].as_str().unwrap().to_owned();
    let session = list(&ada, "/api/v1/auth/sessions")["sessions"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(list(&ben, "/api/v1/requests")["requests"].as_array().unwrap().len(), 0);
    assert_eq!(list(&ben, "/api/v1/keys")["keys"].as_array().unwrap().len(), 0);
    assert_eq!(list(&ben, "/api/v1/auth/sessions")["sessions"].as_array().unwrap().len(), 1);
    for (method, path) in [
        ("GET", format!("/api/v1/requests/{request}")),
        ("POST", format!("/api/v1/requests/{request}/cancel")),
        ("POST", format!("/api/v1/keys/{key_id}/rotate")),
        ("DELETE", format!("/api/v1/keys/{key_id}")),
        ("DELETE", format!("/api/v1/auth/sessions/{session}")),
    ] {
        assert_eq!(gateway.as_bearer(&ben, method, &path, None).status, 404, "{method} {path}");
    }
    assert_eq!(gateway.as_bearer(&ben, "GET", "/api/v1/users", None).status, 403);
    let for_ada = json!({"name": "k", "user": ada_id});
    assert_eq!(gateway.as_bearer(&ben, "POST", "/api/v1/keys", Some(&for_ada)).status, 403);
    let admin_key = json!({"name": "k", "scopes": ["admin"]});
    assert_eq!(
        gateway.as_bearer(&ben, "POST", "/api/v1/keys", Some(&admin_key)).status,
        403,
        "no more than oneself"
    );
}

#[test]
fn the_last_active_admin_cannot_be_removed_demoted_or_disabled() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let me = gateway.as_bearer(&admin, "GET", "/api/v1/auth/me", None).json()["user"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = |verb: &str| format!("/api/v1/users/{me}{verb}");
    let demote = json!({"role": "user"});
    for (method, path, body) in
        [("DELETE", path(""), None), ("POST", path("/disable"), None), ("POST", path("/role"), Some(&demote))]
    {
        assert_eq!(
            gateway.as_bearer(&admin, method, &path, body).error(),
            (409, "conflict".into()),
            "{path}"
        );
    }
}

#[test]
fn twenty_registrations_at_one_time_make_one_admin() {
    let gateway = Gateway::start(PROFILES);
    let roles: Vec<String> = std::thread::scope(|scope| {
        let gateway = &gateway;
        let register = |n: u32| move || gateway.register(&format!("user{n}@example.com")).json();
        let asked: Vec<_> = (0..20).map(|n| scope.spawn(register(n))).collect();
        asked.into_iter().map(|one| one.join().unwrap()["user"]["role"].to_string()).collect()
    });
    assert_eq!(roles.iter().filter(|role| *role == "\"admin\"").count(), 1, "{roles:?}");
    let users = gateway.cli_json(&["users", "ls"]);
    let all = users["users"].as_array().unwrap();
    assert_eq!(all.len(), 20);
    assert_eq!(all.iter().filter(|user| user["status"] == "pending").count(), 19);
}

#[test]
fn the_client_that_a_trusted_proxy_names_is_in_the_audit_log_and_its_cookie_is_secure() {
    let gateway = Gateway::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n{PROFILES}"
    ));
    let forwarded = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n";
    gateway.admin();
    let credentials = json!({"email": "admin@example.com", "password": PASSWORD});
    let entered = gateway.call("POST", "/api/v1/auth/login", forwarded, Some(&credentials));
    assert!(entered.header("set-cookie").unwrap().ends_with("; Secure"));
    let log = gateway
        .as_bearer(&gateway.session("admin@example.com"), "GET", "/api/v1/audit?action=auth.login", None)
        .json();
    assert_eq!(log["entries"][1]["address"], "203.0.113.9");
}

#[test]
fn forwarded_headers_of_a_stranger_are_not_believed() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let forwarded = "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n";
    let credentials = json!({"email": "admin@example.com", "password": PASSWORD});
    let entered = gateway.call("POST", "/api/v1/auth/login", forwarded, Some(&credentials));
    assert!(
        entered.status == 200 && !entered.header("set-cookie").unwrap().contains("Secure"),
        "{entered:?}"
    );
    let log = gateway.as_bearer(&admin, "GET", "/api/v1/audit?action=auth.login", None).json();
    assert_eq!(log["entries"][0]["address"], "127.0.0.1");
}

#[test]
fn a_gateway_on_the_network_prints_its_set_up_link() {
    let gateway =
        Gateway::start(&format!("[server]\nlisten = \"0.0.0.0:0\"\n[auth]\napi = \"required\"\n{PROFILES}"));
    let token = gateway.setup_token();
    assert!(token.len() >= 43, "{token}");
    let port = gateway.address.rsplit(':').next().unwrap();
    let register = |token: &str| {
        let body =
            json!({"email": "admin@example.com", "password": PASSWORD, "setup_token": token}).to_string();
        let request = format!(
            "POST /api/v1/auth/register HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        gateway.send(&request).status
    };
    assert_eq!(register("wrong"), 403);
    assert_eq!(register(&token), 201);
}

#[test]
fn secrets_stand_in_no_log_error_list_or_example() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "k", "scopes": ["inference", "admin"]}));
    gateway.chat_as(&key, "qwen", "#chunks=1");
    gateway.as_bearer(&format!("{key}x"), "GET", "/v1/models", None);
    gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"api_key": key})));
    gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"api_key": format!("{key}y")})));
    let mut told = gateway.log();
    for path in
        ["keys", "users", "audit", "requests", "system", "profiles", "auth/sessions", "usage?group_by=key"]
    {
        told += &gateway.as_bearer(&key, "GET", &format!("/api/v1/{path}"), None).body;
    }
    told += &gateway.as_bearer(&key, "GET", "/api/openapi.json", None).body;
    for arguments in [&["keys", "ls"][..], &["users", "ls"], &["requests"], &["status"]] {
        told += &gateway.cli_json(arguments).to_string();
    }
    let refused = gateway.as_bearer(&format!("{key}x"), "GET", "/v1/models", None);
    told += &refused.body;
    for secret in [key.as_str(), admin.as_str(), PASSWORD, "$argon2id$"] {
        assert!(!told.contains(secret), "{secret} is told somewhere");
    }
    let kept = std::fs::read(gateway.data_dir().join("gateway.db-wal")).unwrap_or_default();
    let kept = [kept, std::fs::read(gateway.data_dir().join("gateway.db")).unwrap()].concat();
    let holds = |secret: &str| kept.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
    assert!(!holds(&key) && !holds(PASSWORD) && !holds(&admin), "only digests are kept");
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(gateway.data_dir().join("session.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_process_is_described_in_the_file_alone_whoever_asks() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let model = gateway.folder.path().join("model").display().to_string();
    for (key, value) in [
        ("command", json!(["/bin/sh", "-c", "true"])),
        ("url", json!("http://169.254.169.254/v1")),
        ("env", json!({"LD_PRELOAD": "/tmp/evil.so"})),
        ("extra_args", json!(["--host", "0.0.0.0"])),
        ("trust_remote_code", json!(true)),
    ] {
        let wish = json!({"name": "evil", "model": model, key: value});
        let made = gateway.as_bearer(&admin, "POST", "/api/v1/profiles", Some(&wish));
        assert_eq!(made.error(), (400, "invalid_profile".into()), "{key}");
        assert_eq!(made.json()["error"]["problems"][0]["key"], key);
        let copy = gateway.as_bearer(&admin, "PUT", "/api/v1/profiles/evil", Some(&wish));
        assert!(matches!(copy.status, 400 | 404), "{key}: {copy:?}");
    }
    // Nor does a request name where it goes.
    let (key, _) = gateway.key(&admin, &json!({"name": "k"}));
    let mut chat: Value =
        serde_json::from_str(&crate::support::http::body("qwen", "#chunks=1", false)).unwrap();
    for field in ["api_base", "base_url", "adapters", "draft_model"] {
        chat[field] = json!("http://169.254.169.254/");
    }
    let headers = format!("authorization: Bearer {key}\r\n");
    assert_eq!(gateway.call("POST", "/v1/chat/completions", &headers, Some(&chat)).status, 200);
    let seen = gateway.as_bearer(&admin, "GET", "/api/v1/requests?limit=1", None).json();
    assert_eq!(seen["requests"][0]["warnings"].as_array().unwrap().len(), 4, "{seen}");
}

#[test]
fn prompts_and_answers_are_kept_nowhere() {
    let gateway = Gateway::start(PROFILES);
    let prompt = "#chunks=3 the heron stood in the reeds";
    assert_eq!(
        gateway.post("/v1/chat/completions", &crate::support::http::body("qwen", prompt, false)).status,
        200
    );
    let shown = gateway.get("/api/v1/requests").body + &gateway.log();
    assert!(!shown.contains("heron"));
    let mut folders = vec![gateway.data_dir()];
    let mut looked_at = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                let bytes = std::fs::read(entry.path()).unwrap();
                looked_at += 1;
                assert!(!bytes.windows(5).any(|five| five == b"heron"), "{}", entry.path().display());
            }
        }
    }
    assert!(looked_at > 2, "{looked_at}");
}

#[test]
fn the_audit_log_says_who_did_what_to_whom_and_holds_no_content() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (_, id) = gateway.user(&admin, "ada@example.com");
    gateway.cli(&["users", "disable", "ada@example.com"]);
    let log = gateway.as_bearer(&admin, "GET", "/api/v1/audit", None).json();
    let entries = log["entries"].as_array().unwrap();
    let find = |action: &str| entries.iter().find(|entry| entry["action"] == action).unwrap().clone();
    let approved = find("users.approve");
    assert_eq!((&approved["actor_name"], &approved["target"]), (&json!("admin@example.com"), &json!(id)));
    assert_eq!(
        (&approved["status"], &approved["address"], &approved["via"]),
        (&json!(200), &json!("127.0.0.1"), &json!("session"))
    );
    assert_eq!(find("users.disable")["via"], "local_socket");
    assert_eq!(find("auth.register")["target"], "ada@example.com");
    assert!(!log.to_string().contains(PASSWORD));
    let some = gateway.as_bearer(&admin, "GET", "/api/v1/audit?action=users.approve&limit=1", None).json();
    assert_eq!(some["entries"].as_array().unwrap().len(), 1);
}

#[test]
fn answers_carry_headers_that_keep_browsers_in_bounds() {
    let gateway = Gateway::start(PROFILES);
    for path in ["/livez", "/api/v1/system", "/nope", "/docs"] {
        let answer = gateway.get(path);
        assert_eq!(answer.header("x-content-type-options").as_deref(), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options").as_deref(), Some("DENY"), "{path}");
        assert_eq!(answer.header("referrer-policy").as_deref(), Some("no-referrer"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe-inline"),
            "{path}: {policy}"
        );
    }
    let page = gateway.get("/docs").body;
    assert!(!page.contains("//cdn") && !page.contains("https://"), "nothing from elsewhere");
}

#[test]
fn the_audit_log_goes_back_as_far_as_it_is_told_to() {
    let gateway = Gateway::start(&format!("[auth]\naudit_days = 3\n{PROFILES}"));
    let admin = gateway.admin();
    let folder = gateway.crash();
    let store = rusqlite::Connection::open(folder.path().join("data/gateway.db")).unwrap();
    let now = jiff::Timestamp::now().as_millisecond();
    for (action, days) in [("recent", 2), ("old", 4)] {
        let at = now - days * 24 * 60 * 60 * 1000;
        let hex = format!("{at:012x}");
        let id = format!("{}-{}-7000-8000-000000000000", &hex[..8], &hex[8..]);
        let sql = "INSERT INTO audit VALUES (?1, ?2, 'a', 'a', 'key', ?3, NULL, 200, NULL, NULL)";
        store.execute(sql, rusqlite::params![id, at, action]).unwrap();
    }
    drop(store);
    let gateway = Gateway::serve(folder, &[]);
    let actions = || gateway.as_bearer(&admin, "GET", "/api/v1/audit", None).body;
    crate::support::wait_for("the old entry to go", || (!actions().contains("\"old\"")).then_some(()));
    assert!(actions().contains("\"recent\"") && actions().contains("auth.register"));
}

/// Clients choose `x-request-id`: another's record with the same one neither hides theirs nor is shown.
#[test]
fn requests_are_found_by_a_clients_id_among_the_callers_own() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (ben, _) = gateway.user(&admin, "ben@example.com");
    assert_eq!(
        gateway.as_bearer(&admin, "PUT", "/api/v1/captures", Some(&json!({"on": true, "minutes": 5}))).status,
        200
    );
    let chat = json!({"model": "qwen", "messages": [{"role": "user", "content": "#chunks=1"}]});
    for token in [&ada, &ben] {
        let headers = format!("authorization: Bearer {token}\r\nx-request-id: shared\r\n");
        assert_eq!(gateway.call("POST", "/v1/chat/completions", &headers, Some(&chat)).status, 200);
    }
    let shown = |token: &str, path: &str| gateway.as_bearer(token, "GET", path, None);
    let own = |token: &str| {
        let listed = shown(token, "/api/v1/requests").json()["requests"].clone();
        assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
        listed[0]["id"].as_str().unwrap().to_owned()
    };
    let (of_ada, of_ben) = (own(&ada), own(&ben));
    for (token, mine, other) in [(&ada, &of_ada, &of_ben), (&ben, &of_ben, &of_ada)] {
        assert_eq!(shown(token, "/api/v1/requests/shared").json()["id"], **mine);
        let capture = shown(token, "/api/v1/requests/shared/capture");
        assert!(capture.status == 200 && !capture.json()["capture"].is_null(), "{capture:?}");
        assert_eq!(gateway.as_bearer(token, "POST", "/api/v1/requests/shared/cancel", None).status, 409);
        assert_eq!(gateway.as_bearer(token, "DELETE", "/api/v1/requests/shared/capture", None).status, 204);
        for hidden in [format!("/api/v1/requests/{other}"), format!("/api/v1/requests/{other}/capture")] {
            assert_eq!(shown(token, &hidden).status, 404);
        }
    }
}

#[test]
fn a_running_request_is_cancelled_by_a_clients_id_among_the_callers_own() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (ben, _) = gateway.user(&admin, "ben@example.com");
    let stream = |token: &str| {
        let headers = format!("authorization: Bearer {token}\r\nx-request-id: shared\r\n");
        let body = crate::support::http::body("qwen", "#chunks=3 #gate-after=1", true);
        let mut stream = gateway.open(&gateway.request("/v1/chat/completions", &headers, &body));
        while !stream.next().unwrap().contains("\"content\"") {}
        stream
    };
    let (mut of_ada, _of_ben) = (stream(&ada), stream(&ben));
    let running = || {
        let listed = gateway.as_bearer(&admin, "GET", "/api/v1/requests?status=running", None).json();
        let one = |request: &serde_json::Value| request["id"].as_str().unwrap().to_owned();
        listed["requests"].as_array().unwrap().iter().map(one).collect::<Vec<_>>()
    };
    let both = running();
    assert_eq!(both.len(), 2);
    // Ben's is the newer one; an administrator finds that, and the other by the gateway's own id.
    let found = gateway.as_bearer(&admin, "GET", "/api/v1/requests/shared", None).json();
    assert_eq!(found["id"], both[0].as_str());
    let found = gateway.as_bearer(&admin, "GET", &format!("/api/v1/requests/{}", both[1]), None).json();
    assert_eq!(found["client_request_id"], "shared");
    let cancelled = gateway.as_bearer(&ada, "POST", "/api/v1/requests/shared/cancel", None);
    assert_eq!((cancelled.status, cancelled.json()["id"].as_str()), (200, Some(both[1].as_str())));
    while of_ada.next().is_some() {}
    crate::support::wait_for("the end of Ada's alone", || (running() == both[..1]).then_some(()));
}

#[test]
fn records_of_requests_that_end_with_their_callers_right_say_why() {
    const STREAMS: usize = 20;
    let gateway = Gateway::start(&format!(
        "{PROFILES}\n[[profile]]\nname = \"wide\"\nmodel = \"./model\"\nmax_concurrent = 30\n"
    ));
    let admin = gateway.admin();
    for by_key in [false, true] {
        for profile in ["wide", "qwen"] {
            let (session, id) = gateway.user(&admin, &format!("{profile}-{by_key}@example.com"));
            let credential =
                if by_key { gateway.key(&session, &json!({"name": "one"})).0 } else { session.clone() };
            let path = format!("/api/v1/users/{id}");
            std::thread::scope(|scope| {
                for n in 0..STREAMS {
                    let (gateway, credential) = (&gateway, &credential);
                    // Two of three are streams.
                    scope.spawn(move || {
                        let headers = format!("authorization: Bearer {credential}\r\n");
                        let body = crate::support::http::body(profile, "#chunks=3 #gate-after=1", n % 3 > 0);
                        let body = serde_json::from_str(&body).unwrap();
                        gateway.call("POST", "/v1/chat/completions", &headers, Some(&body))
                    });
                }
                let running =
                    || gateway.as_bearer(&session, "GET", "/api/v1/requests?status=running", None).json();
                crate::support::wait_for("the streams", || {
                    (running()["requests"].as_array().unwrap().len() == STREAMS).then_some(())
                });
                let disabled = gateway.as_bearer(&admin, "POST", &format!("{path}/disable"), None);
                assert_eq!(disabled.status, 200, "{disabled:?}");
            });
            let listed = gateway.as_bearer(&admin, "GET", "/api/v1/requests?limit=20", None).json();
            let records = listed["requests"].as_array().unwrap();
            assert_eq!(records.len(), STREAMS);
            for record in records {
                assert_eq!(record["user"], id.as_str(), "{record}");
                assert_eq!(
                    (&record["status"], &record["error_code"]),
                    (&json!("cancelled"), &json!("cancelled")),
                    "{record}"
                );
                assert!(record["error_message"].as_str().unwrap().contains("lost the right"), "{record}");
            }
        }
    }
}
