//! Every route for every kind of caller, against a table. A route that is missing here fails.

use serde_json::{Value, json};

use crate::support::{Gateway, PROFILES, wait_for};

const ENVIRONMENT_KEY: &str = "test-environment-key-0123456789";
const HUB: &str = "[hub]\nendpoint = \"http://127.0.0.1:9\"\n";

/// Who a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    Everybody,
    /// Anybody who is known.
    Known,
    /// Callers that may ask models.
    Inference,
    /// Callers that may call tools.
    Tools,
    /// People, about what is theirs; who sees everything as well.
    Person,
    /// The same, changing it.
    PersonChanges,
    Reader,
    Admin,
}

use For::{Admin, Everybody, Inference, Known, Person, PersonChanges, Reader, Tools};

const TABLE: &[(&str, &str, For)] = &[
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
    ("GET", "/api/v1/auth/state", Everybody),
    ("POST", "/api/v1/auth/register", Everybody),
    ("POST", "/api/v1/auth/login", Everybody),
    ("POST", "/api/v1/auth/reset-password", Everybody),
    ("POST", "/api/v1/auth/logout", Known),
    ("GET", "/api/v1/auth/me", Known),
    ("GET", "/api/v1/auth/sessions", Person),
    ("DELETE", "/api/v1/auth/sessions/{id}", PersonChanges),
    ("GET", "/api/v1/users", Reader),
    ("GET", "/api/v1/users/pending/count", Reader),
    ("POST", "/api/v1/users/{id}/approve", Admin),
    ("POST", "/api/v1/users/{id}/reject", Admin),
    ("POST", "/api/v1/users/{id}/disable", Admin),
    ("POST", "/api/v1/users/{id}/enable", Admin),
    ("POST", "/api/v1/users/{id}/role", Admin),
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
    ("GET", "/api/v1/servers/{profile}/logs", Reader),
    ("GET", "/api/v1/usage", Person),
    ("GET", "/api/v1/requests", Person),
    ("GET", "/api/v1/requests/{id}", Person),
    ("POST", "/api/v1/requests/{id}/cancel", PersonChanges),
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
    ("GET", "/api/v1/events", Person),
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

/// Routes that do not describe themselves: inference goes past the router, pages are no API.
const UNDESCRIBED: &[&str] =
    &["/", "/metrics", "/docs", "/docs/docs.js", "/docs/docs.css", "/v1/chat/completions"];

/// A kind of caller: its name, its bearer credential (`None`: none), and what it is let into.
type Caller = (&'static str, Option<String>, &'static [For]);

#[test]
fn every_route_lets_in_exactly_who_the_table_says() {
    let gateway = Gateway::with_env(&format!("{HUB}{PROFILES}"), &[("MLX_GATEWAY_API_KEY", ENVIRONMENT_KEY)]);
    let admin = gateway.admin();
    let callers = callers(&gateway, &admin);
    let mut wrong = Vec::new();
    for (method, path, whom) in TABLE {
        for (name, credential, into) in &callers {
            // Logging out would end what the others still need.
            let credential = match (path.ends_with("/logout"), *name) {
                (true, "user") => Some(gateway.session("user@example.com")),
                (true, "administrator") => Some(gateway.session("admin@example.com")),
                _ => credential.clone(),
            };
            let header = credential.as_ref().map(|key| format!("authorization: Bearer {key}\r\n"));
            let request = request(&gateway, method, path, header.as_deref().unwrap_or(""));
            let status = gateway.open(&request).status;
            let expected = if into.contains(whom) || *whom == Everybody {
                !matches!(status, 401 | 403)
            } else if into.is_empty() {
                status == 401
            } else {
                status == 403
            };
            if !expected {
                wrong.push(format!("{name}: {method} {path} (for {whom:?}) answered {status}"));
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
}

fn callers(gateway: &Gateway, admin: &str) -> Vec<Caller> {
    let (user, _) = gateway.user(admin, "user@example.com");
    let (disabled, id) = gateway.user(admin, "disabled@example.com");
    let (disabled_key, _) = gateway.key(&disabled, &json!({"name": "of a disabled account"}));
    assert_eq!(gateway.as_bearer(admin, "POST", &format!("/api/v1/users/{id}/disable"), None).status, 200);
    assert_eq!(gateway.register("pending@example.com").status, 201);
    assert_eq!(gateway.log_in("pending@example.com", crate::support::people::PASSWORD).status, 403);
    let scoped = |scope: &str| gateway.key(admin, &json!({"name": scope, "scopes": [scope]})).0;
    let (revoked, id) = gateway.key(admin, &json!({"name": "revoked", "scopes": ["admin"]}));
    assert_eq!(gateway.as_bearer(admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    vec![
        ("anonymous", None, &[]),
        ("nonsense", Some("sk-mgw-nonsense".into()), &[]),
        ("disabled account", Some(disabled), &[]),
        ("key of a disabled account", Some(disabled_key), &[]),
        ("expired key", Some(expired(gateway, admin)), &[]),
        ("revoked key", Some(revoked), &[]),
        ("user", Some(user), &[Known, Inference, Tools, Person, PersonChanges]),
        (
            "administrator",
            Some(admin.to_owned()),
            &[Known, Inference, Tools, Person, PersonChanges, Reader, Admin],
        ),
        ("key: inference", Some(scoped("inference")), &[Known, Inference]),
        ("key: mcp", Some(scoped("mcp")), &[Known]),
        ("key: tools", Some(scoped("tools")), &[Known, Tools]),
        ("key: admin-read", Some(scoped("admin-read")), &[Known, Person, Reader]),
        ("key: admin", Some(scoped("admin")), &[Known, Tools, Person, PersonChanges, Reader, Admin]),
        (
            "environment key",
            Some(ENVIRONMENT_KEY.into()),
            &[Known, Inference, Tools, Person, PersonChanges, Reader, Admin],
        ),
    ]
}

/// A key whose time has come.
fn expired(gateway: &Gateway, admin: &str) -> String {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(500);
    let wish = json!({"name": "expired", "scopes": ["admin"], "expires_at": soon.to_string()});
    let (key, _) = gateway.key(admin, &wish);
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
        ("POST", "/v1/chat/completions") => {
            Some(json!({"model": "nope", "messages": [{"role": "user", "content": "x"}]}))
        }
        ("POST", "/api/v1/keys") => Some(json!({"name": "nope"})),
        ("POST" | "PUT", _) => Some(Value::Object(Default::default())),
        _ => None,
    };
    gateway.wire(method, &path, headers, body.as_ref())
}
