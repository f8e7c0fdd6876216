//! Every route for every kind of caller, against a table. A route that is missing here fails.

use serde_json::{Value, json};

use crate::support::people::PASSWORD;
use crate::support::{Gateway, PROFILES, wait_for};

const ENVIRONMENT_KEY: &str = "test-environment-key-0123456789";
const HUB: &str = "[hub]\nendpoint = \"http://127.0.0.1:9\"\n";

/// Who a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    Everybody,
    /// Anybody who is known.
    Known,
    /// Callers that may ask models.
    Inference,
    /// Callers that may call tools.
    Tools,
    /// Callers that may speak MCP.
    Mcp,
    /// People, about what is theirs; who sees everything as well.
    Person,
    /// The same, changing it.
    PersonChanges,
    Reader,
    Admin,
}

use For::{Admin, Everybody, Inference, Known, Mcp, Person, PersonChanges, Reader, Tools};

pub const TABLE: &[(&str, &str, For)] = &[
    ("GET", "/", Everybody),
    ("GET", "/livez", Everybody),
    ("GET", "/health", Everybody),
    ("GET", "/readyz", Everybody),
    ("GET", "/metrics", Everybody),
    ("GET", "/docs", Everybody),
    ("GET", "/docs/docs.js", Everybody),
    ("GET", "/docs/docs.css", Everybody),
    ("GET", "/api/openapi.json", Everybody),
    ("GET", "/v1/models", Known),
    ("GET", "/v1/models/{id}", Known),
    ("POST", "/v1/chat/completions", Inference),
    ("POST", "/v1/completions", Inference),
    ("POST", "/v1/embeddings", Inference),
    ("POST", "/v1/images/generations", Inference),
    ("POST", "/v1/images/edits", Inference),
    ("POST", "/v1/audio/transcriptions", Inference),
    ("POST", "/v1/messages", Inference),
    ("POST", "/v1/messages/count_tokens", Inference),
    ("POST", "/v1/responses", Inference),
    ("POST", "/v1/responses/input_tokens", Inference),
    ("GET", "/v1/responses/{id}", Inference),
    ("DELETE", "/v1/responses/{id}", Inference),
    ("POST", "/v1/responses/{id}/cancel", Inference),
    ("GET", "/v1/responses/{id}/input_items", Inference),
    ("POST", "/mcp", Mcp),
    ("GET", "/mcp", Mcp),
    ("DELETE", "/mcp", Mcp),
    ("GET", "/api/v1/auth/state", Everybody),
    ("POST", "/api/v1/auth/register", Everybody),
    ("POST", "/api/v1/auth/login", Everybody),
    ("POST", "/api/v1/auth/reset-password", Everybody),
    ("POST", "/api/v1/auth/logout", Known),
    ("GET", "/api/v1/auth/me", Known),
    ("GET", "/api/v1/auth/sessions", Person),
    ("DELETE", "/api/v1/auth/sessions/{id}", PersonChanges),
    ("GET", "/api/v1/log", Reader),
    ("PUT", "/api/v1/log", Admin),
    ("GET", "/api/v1/users", Reader),
    ("GET", "/api/v1/users/pending/count", Reader),
    ("POST", "/api/v1/users/{id}/approve", Admin),
    ("POST", "/api/v1/users/{id}/reject", Admin),
    ("POST", "/api/v1/users/{id}/disable", Admin),
    ("POST", "/api/v1/users/{id}/enable", Admin),
    ("POST", "/api/v1/users/{id}/role", Admin),
    ("POST", "/api/v1/users/{id}/tools", Admin),
    ("POST", "/api/v1/users/{id}/reset-password", Admin),
    ("DELETE", "/api/v1/users/{id}", Admin),
    ("GET", "/api/v1/keys", Person),
    ("POST", "/api/v1/keys", PersonChanges),
    ("POST", "/api/v1/keys/{id}/rotate", PersonChanges),
    ("DELETE", "/api/v1/keys/{id}", PersonChanges),
    ("GET", "/api/v1/audit", Reader),
    ("GET", "/api/v1/profiles", Reader),
    ("POST", "/api/v1/profiles", Admin),
    ("GET", "/api/v1/profiles/{name}", Reader),
    ("PUT", "/api/v1/profiles/{name}", Admin),
    ("DELETE", "/api/v1/profiles/{name}", Admin),
    ("POST", "/api/v1/profiles/{name}/copy", Admin),
    ("GET", "/api/v1/profiles/{name}/export", Reader),
    ("GET", "/api/v1/servers", Reader),
    ("POST", "/api/v1/servers/{profile}/start", Admin),
    ("POST", "/api/v1/servers/{profile}/stop", Admin),
    ("POST", "/api/v1/servers/{profile}/restart", Admin),
    ("POST", "/api/v1/servers/{profile}/pin", Admin),
    ("POST", "/api/v1/servers/{profile}/unpin", Admin),
    ("GET", "/api/v1/servers/{profile}/logs", Reader),
    ("GET", "/api/v1/usage", Person),
    ("GET", "/api/v1/requests", Person),
    ("GET", "/api/v1/requests/{id}", Person),
    ("POST", "/api/v1/requests/{id}/cancel", PersonChanges),
    ("GET", "/api/v1/requests/{id}/capture", PersonChanges),
    ("DELETE", "/api/v1/requests/{id}/capture", PersonChanges),
    ("GET", "/api/v1/captures", Reader),
    ("PUT", "/api/v1/captures", Admin),
    ("DELETE", "/api/v1/captures", Admin),
    ("GET", "/api/v1/engines", Reader),
    ("POST", "/api/v1/engines/{name}/install", Admin),
    ("POST", "/api/v1/engines/{name}/upgrade", Admin),
    ("POST", "/api/v1/engines/{name}/rollback", Admin),
    ("GET", "/api/v1/models", Reader),
    ("GET", "/api/v1/models/search", Reader),
    ("GET", "/api/v1/models/{id}", Reader),
    ("DELETE", "/api/v1/models/{id}", Admin),
    ("GET", "/api/v1/downloads", Reader),
    ("POST", "/api/v1/downloads", Admin),
    ("GET", "/api/v1/downloads/{id}", Reader),
    ("GET", "/api/v1/downloads/{id}/progress", Reader),
    ("POST", "/api/v1/downloads/{id}/pause", Admin),
    ("POST", "/api/v1/downloads/{id}/resume", Admin),
    ("POST", "/api/v1/downloads/{id}/cancel", Admin),
    ("POST", "/api/v1/downloads/{id}/retry", Admin),
    ("GET", "/api/v1/hub", Reader),
    ("PUT", "/api/v1/hub/token", Admin),
    ("DELETE", "/api/v1/hub/token", Admin),
    ("GET", "/api/v1/chats", Person),
    ("POST", "/api/v1/chats", PersonChanges),
    ("GET", "/api/v1/chats/{id}", Person),
    ("PATCH", "/api/v1/chats/{id}", PersonChanges),
    ("DELETE", "/api/v1/chats/{id}", PersonChanges),
    ("GET", "/api/v1/events", Known),
    ("GET", "/api/v1/backup", Admin),
    ("GET", "/api/v1/system", Reader),
    ("GET", "/api/v1/settings", Reader),
    ("GET", "/api/v1/service", Reader),
    ("GET", "/api/v1/doctor", Reader),
    ("GET", "/api/v1/plugins", Reader),
    ("POST", "/api/v1/plugins", Admin),
    ("GET", "/api/v1/plugins/{name}", Reader),
    ("DELETE", "/api/v1/plugins/{name}", Admin),
    ("POST", "/api/v1/plugins/{name}/grant", Admin),
    ("GET", "/api/v1/tools", Tools),
    ("POST", "/api/v1/tools/{name}/call", Tools),
];

/// Routes that do not describe themselves: inference goes past the router, pages are no API, MCP describes
/// itself in its own way.
pub const UNDESCRIBED: &[&str] = &[
    "/",
    "/metrics",
    "/docs",
    "/docs/docs.js",
    "/docs/docs.css",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/audio/transcriptions",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/responses/input_tokens",
    "/mcp",
];
/// Where such routes stand.
const SOURCES: [&str; 5] = [
    include_str!("../../src/http/mod.rs"),
    include_str!("../../src/http/mcp/mod.rs"),
    include_str!("../../src/dialect/operation.rs"),
    include_str!("../../src/http/anthropic/messages.rs"),
    include_str!("../../src/http/responses/create.rs"),
];

/// A kind of caller.
struct Caller {
    name: &'static str,
    /// Header lines, each with its end.
    headers: String,
    /// Whose routes it is let into; nobody's: it is not known at all.
    into: &'static [For],
    /// Whose session it shows, if it may log out.
    session_of: Option<Owner>,
}

enum Owner {
    Account(&'static str),
    Key(String),
}

const USER: &[For] = &[Known, Inference, Tools, Mcp, Person, PersonChanges];
const EVERYTHING: &[For] = &[Known, Inference, Tools, Mcp, Person, PersonChanges, Reader, Admin];

#[test]
fn every_route_lets_in_exactly_who_the_table_says() {
    let (gateway, callers) = gateway_and_callers();
    let mut wrong = Vec::new();
    for (method, path, whom) in TABLE {
        for caller in &callers {
            // Logging out would end what the others still need.
            let headers = match caller.session_of.as_ref().filter(|_| path.ends_with("/logout")) {
                Some(Owner::Account(email)) => like(&gateway, &caller.headers, &gateway.session(email)),
                Some(Owner::Key(key)) => like(&gateway, &caller.headers, &traded(&gateway, key)),
                None => caller.headers.clone(),
            };
            let status = gateway.open(&request(&gateway, method, path, &headers)).status;
            let expected = if caller.into.contains(whom) || *whom == Everybody {
                !matches!(status, 401 | 403)
            } else if caller.into.is_empty() {
                status == 401
            } else {
                status == 403
            };
            if !expected {
                wrong.push(format!("{}: {method} {path} (for {whom:?}) answered {status}", caller.name));
            }
        }
        let over_socket = gateway.status_over_socket(&request(&gateway, method, path, ""));
        if matches!(over_socket, 401 | 403) {
            wrong.push(format!("local socket: {method} {path} answered {over_socket}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_route_stands_in_the_table() {
    let gateway = Gateway::start(PROFILES);
    let document = gateway.get("/api/openapi.json").json();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| key.len() <= 6 && *key != "summary") {
            described.push((method.to_uppercase(), path.clone()));
        }
    }
    let missing: Vec<_> = described
        .iter()
        .filter(|(method, path)| !TABLE.iter().any(|(m, p, _)| m == method && p == path))
        .collect();
    assert!(missing.is_empty(), "routes that the table does not know: {missing:?}");
    let gone: Vec<_> = TABLE
        .iter()
        .filter(|(method, path, _)| {
            !UNDESCRIBED.contains(path) && !described.iter().any(|(m, p)| m == method && p == path)
        })
        .collect();
    assert!(gone.is_empty(), "routes that are in the table only: {gone:?}");
    let undescribed = SOURCES.iter().flat_map(|source| {
        ["route(\"", "route_service(\"", "=> \""].iter().flat_map(|before| source.split(before).skip(1))
    });
    let unknown: Vec<&str> = undescribed
        .filter_map(|rest| rest.split('"').next())
        .filter(|path| path.starts_with('/') && !UNDESCRIBED.contains(path))
        .collect();
    assert!(unknown.is_empty(), "routes beside the description that the table does not know: {unknown:?}");
    let missing: Vec<_> =
        UNDESCRIBED.iter().filter(|path| !TABLE.iter().any(|(_, known, _)| known == *path)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Everybody there is. Accounts that an administrator has disabled are turned away, and so are those that became
/// pending or disabled behind the gateway's back, with every credential they can hold.
fn gateway_and_callers() -> (Gateway, Vec<Caller>) {
    let env = [("MLX_GATEWAY_API_KEY", ENVIRONMENT_KEY)];
    let gateway = Gateway::with_env(&format!("{HUB}{PROFILES}"), &env);
    let admin = gateway.admin_by(&format!("authorization: Bearer {ENVIRONMENT_KEY}\r\n"));
    let (user, _) = gateway.user(&admin, "user@example.com");
    let mut credentials = vec![("disabled account", disabled(&gateway, &admin))];
    for (name, email) in
        [("pending account", "pending@example.com"), ("account found disabled", "late@example.com")]
    {
        let (session, _) = gateway.user(&admin, email);
        credentials.push((name, holdings(&gateway, session)));
    }
    let scoped = |scope: &str| gateway.key(&admin, &json!({"name": scope, "scopes": [scope]})).0;
    let (inference, mcp, tools) = (scoped("inference"), scoped("mcp"), scoped("tools"));
    let (reader, administrator) = (scoped("admin-read"), scoped("admin"));
    let (revoked, id) = gateway.key(&admin, &json!({"name": "revoked", "scopes": ["admin"]}));
    let traded_revoked = traded(&gateway, &revoked);
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    let (expired, traded_inference) = (expired(&gateway, &admin), traded(&gateway, &inference));
    let traded_environment = traded(&gateway, ENVIRONMENT_KEY);

    let folder = gateway.crash();
    let store = rusqlite::Connection::open(folder.path().join("data/gateway.db")).unwrap();
    for (status, email) in [("pending", "pending@example.com"), ("disabled", "late@example.com")] {
        store.execute("UPDATE users SET status = ?1 WHERE email = ?2", [status, email]).unwrap();
    }
    drop(store);
    let gateway = Gateway::serve(folder, &env);
    for email in ["pending@example.com", "late@example.com", "disabled@example.com"] {
        assert_eq!(gateway.log_in(email, PASSWORD).status, 403, "{email}");
    }

    let bearer = |key: &str| format!("authorization: Bearer {key}\r\n");
    let plain = |key: &str| format!("x-api-key: {key}\r\n");
    let cookie = |token: &str| {
        format!("cookie: mlx_gateway_session={token}\r\norigin: http://{}\r\n", gateway.address)
    };
    let nobody = |name, headers| Caller { name, headers, into: &[], session_of: None };
    let known = |name, headers, into| Caller { name, headers, into, session_of: None };
    let mut callers = vec![
        nobody("anonymous", String::new()),
        nobody("nonsense", bearer("sk-mgw-nonsense")),
        nobody("nonsense in a cookie", cookie("a.b.c")),
        nobody("expired key", bearer(&expired)),
        nobody("expired key, the other header", plain(&expired)),
        nobody("revoked key", bearer(&revoked)),
        nobody("session of a revoked key", bearer(&traded_revoked)),
        Caller {
            name: "user",
            headers: bearer(&user),
            into: USER,
            session_of: Some(Owner::Account("user@example.com")),
        },
        Caller {
            name: "user's page",
            headers: cookie(&user),
            into: USER,
            session_of: Some(Owner::Account("user@example.com")),
        },
        Caller {
            name: "administrator",
            headers: bearer(&admin),
            into: EVERYTHING,
            session_of: Some(Owner::Account("admin@example.com")),
        },
        known("key: inference", bearer(&inference), &[Known, Inference]),
        known("key: inference, the other header", plain(&inference), &[Known, Inference]),
        Caller {
            name: "page of a key: inference",
            headers: cookie(&traded_inference),
            into: &[Known, Inference],
            session_of: Some(Owner::Key(inference.clone())),
        },
        known("key: mcp", bearer(&mcp), &[Known, Mcp]),
        known("key: tools", bearer(&tools), &[Known, Tools]),
        known("key: admin-read", bearer(&reader), &[Known, Person, Reader]),
        known("key: admin", bearer(&administrator), &[Known, Tools, Person, PersonChanges, Reader, Admin]),
        known("environment key", bearer(ENVIRONMENT_KEY), EVERYTHING),
        Caller {
            name: "page of the environment key",
            headers: cookie(&traded_environment),
            into: EVERYTHING,
            session_of: Some(Owner::Key(ENVIRONMENT_KEY.into())),
        },
    ];
    for (name, Holdings { session, key, traded }) in &credentials {
        callers.extend([
            nobody(name, bearer(session)),
            nobody(name, cookie(session)),
            nobody(name, bearer(key)),
            nobody(name, plain(key)),
            nobody(name, bearer(traded)),
            nobody(name, cookie(traded)),
        ]);
    }
    (gateway, callers)
}

/// All that an account can show.
struct Holdings {
    session: String,
    key: String,
    /// A session that the key was traded for.
    traded: String,
}

fn holdings(gateway: &Gateway, session: String) -> Holdings {
    let wish = json!({"name": "k", "scopes": ["inference", "mcp", "tools"]});
    let (key, _) = gateway.key(&session, &wish);
    let traded = traded(gateway, &key);
    Holdings { session, key, traded }
}

fn disabled(gateway: &Gateway, admin: &str) -> Holdings {
    let (session, id) = gateway.user(admin, "disabled@example.com");
    let holdings = holdings(gateway, session);
    assert_eq!(gateway.as_bearer(admin, "POST", &format!("/api/v1/users/{id}/disable"), None).status, 200);
    holdings
}

fn traded(gateway: &Gateway, key: &str) -> String {
    let answer = gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"api_key": key})));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["token"].as_str().unwrap().to_owned()
}

/// The same headers with another session.
fn like(gateway: &Gateway, headers: &str, session: &str) -> String {
    if headers.starts_with("cookie") {
        format!("cookie: mlx_gateway_session={session}\r\norigin: http://{}\r\n", gateway.address)
    } else {
        format!("authorization: Bearer {session}\r\n")
    }
}

/// A key whose time has come.
fn expired(gateway: &Gateway, admin: &str) -> String {
    // On a busy machine a time may be over before the key is made: then a later one.
    let made = [500, 2_000, 8_000, 32_000].into_iter().find_map(|ms| {
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(ms);
        let wish = json!({"name": "expired", "scopes": ["admin"], "expires_at": soon.to_string()});
        let made = gateway.as_bearer(admin, "POST", "/api/v1/keys", Some(&wish));
        (made.status == 201).then(|| made.json()["key"].as_str().unwrap().to_owned())
    });
    let key = made.expect("a key is made before it expires");
    wait_for("the key to expire", || {
        (gateway.as_bearer(&key, "GET", "/v1/models", None).status == 401).then_some(())
    });
    key
}

/// A request that nobody's things come to harm by: what it names is not there.
fn request(gateway: &Gateway, method: &str, path: &str, headers: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "nope" } else { part });
    let path = parts.collect::<Vec<_>>().join("/");
    let body = match (method, path.as_str()) {
        (
            "POST",
            "/v1/chat/completions"
            | "/v1/completions"
            | "/v1/embeddings"
            | "/v1/images/generations"
            | "/v1/messages"
            | "/v1/messages/count_tokens"
            | "/v1/responses"
            | "/v1/responses/input_tokens",
        ) => Some(json!({"model": "nope", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]})),
        ("POST", "/api/v1/keys") => Some(json!({"name": "nope"})),
        ("POST", "/mcp") => Some(json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})),
        ("POST" | "PUT", _) => Some(Value::Object(Default::default())),
        _ => None,
    };
    let headers = format!("{headers}accept: application/json, text/event-stream\r\n");
    gateway.wire(method, &path, &headers, body.as_ref())
}
