//! Accounts: registering, approving, sessions, passwords, and the commands that do it all.

use serde_json::json;

use crate::support::people::PASSWORD;
use crate::support::{Gateway, PROFILES};

#[test]
fn the_first_user_is_admin_and_gets_a_session_and_a_key() {
    let gateway = Gateway::start(PROFILES);
    assert_eq!(gateway.get("/api/v1/auth/state").json()["setup"], true);
    let made = gateway.register(" Admin@Example.com ");
    assert_eq!(made.status, 201, "{made:?}");
    let answer = made.json();
    assert_eq!((&answer["user"]["role"], &answer["user"]["status"]), (&json!("admin"), &json!("active")));
    assert_eq!(answer["user"]["email"], "admin@example.com");
    let cookie = made.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("Secure"));
    let key = answer["key"]["key"].as_str().unwrap();
    assert_eq!(gateway.chat_as(key, "qwen", "#chunks=1").status, 200);
    let refused = gateway.get("/v1/models");
    assert_eq!(refused.error().0, 401);
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("an account was made"));
    assert_eq!(gateway.get("/api/v1/auth/state").json()["setup"], false);
}

#[test]
fn later_users_wait_for_approval_and_the_count_is_live() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let mut events = gateway.open(&gateway.wire(
        "GET",
        "/api/v1/events?topics=users",
        &format!("authorization: Bearer {admin}\r\n"),
        None,
    ));
    let made = gateway.register("ada@example.com");
    assert_eq!(made.json()["user"]["status"], "pending");
    assert!(made.json()["token"].is_null());
    let count = std::iter::from_fn(|| events.next()).find(|event| event.contains("users.pending_count"));
    assert!(count.unwrap().contains(r#"{"count":1}"#));
    assert_eq!(gateway.log_in("ada@example.com", PASSWORD).error(), (403, "account_pending".into()));
    assert_eq!(
        gateway.log_in("ada@example.com", "wrong password").error(),
        (401, "invalid_credentials".into())
    );
    let pending = gateway.as_bearer(&admin, "GET", "/api/v1/users/pending/count", None);
    assert_eq!(pending.json()["count"], 1);
    let users = gateway.cli_json(&["users", "ls"]);
    assert_eq!(users["users"].as_array().unwrap().len(), 2);
    let approved = gateway.cli(&["users", "approve", "ada@example.com"]);
    assert!(String::from_utf8_lossy(&approved.stdout).contains("ada@example.com is active (user)"));
    let session = gateway.session("ada@example.com");
    assert_eq!(gateway.as_bearer(&session, "GET", "/api/v1/auth/me", None).json()["user"]["role"], "user");
    assert_eq!(gateway.register("ada@example.com").error(), (409, "conflict".into()));
}

#[test]
fn a_session_ends_by_logging_out_by_a_new_password_and_by_being_disabled() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (token, id) = gateway.user(&admin, "ada@example.com");
    let lives = |token: &str| gateway.as_bearer(token, "GET", "/api/v1/auth/me", None).status == 200;
    assert!(lives(&token));
    assert_eq!(gateway.as_bearer(&token, "POST", "/api/v1/auth/logout", None).status, 204);
    assert!(!lives(&token), "the token itself is void, not only the cookie");
    let (first, second) = (gateway.session("ada@example.com"), gateway.session("ada@example.com"));
    let link = gateway.as_bearer(&admin, "POST", &format!("/api/v1/users/{id}/reset-password"), None).json();
    assert!(link["link"].as_str().unwrap().starts_with("/login?reset="));
    let reset = json!({"token": link["token"], "password": "another password"});
    assert_eq!(gateway.call("POST", "/api/v1/auth/reset-password", "", Some(&reset)).status, 204);
    assert!(!lives(&first) && !lives(&second));
    assert_eq!(gateway.call("POST", "/api/v1/auth/reset-password", "", Some(&reset)).status, 404, "once");
    assert_eq!(gateway.log_in("ada@example.com", PASSWORD).status, 401);
    let again =
        gateway.log_in("ada@example.com", "another password").json()["token"].as_str().unwrap().to_owned();
    gateway.as_bearer(&admin, "POST", &format!("/api/v1/users/{id}/disable"), None);
    assert!(!lives(&again));
    assert_eq!(gateway.log_in("ada@example.com", "another password").error().1, "account_disabled");
}

#[test]
fn everything_works_from_the_command_line_without_a_gateway() {
    let mut gateway = Gateway::start(PROFILES);
    gateway.admin();
    gateway.register("ada@example.com");
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(gateway.ended(), Some(0));
    assert!(gateway.cli(&["users", "approve", "ada@example.com"]).status.success());
    assert!(gateway.cli(&["users", "role", "ada@example.com", "admin"]).status.success());
    assert!(gateway.cli(&["users", "disable", "admin@example.com"]).status.success());
    let last = gateway.cli(&["users", "rm", "ada@example.com"]);
    assert_eq!(last.status.code(), Some(6), "{last:?}");
    let key = gateway.cli_json(&["keys", "create", "laptop", "--rpm", "5", "--expires", "30d"]);
    assert!(key["key"].as_str().unwrap().starts_with("sk-mgw-"));
    let listed = gateway.cli_json(&["keys", "ls"]);
    assert!(!listed.to_string().contains(key["key"].as_str().unwrap()), "a secret is shown once");
    assert!(gateway.cli(&["keys", "rotate", "laptop", "--grace", "1h"]).status.success());
    assert!(gateway.cli(&["keys", "revoke", "laptop"]).status.success());
    assert_eq!(gateway.cli(&["keys", "revoke", "nope"]).status.code(), Some(5));
    let link = gateway.cli(&["users", "passwd", "ada@example.com"]);
    assert!(String::from_utf8_lossy(&link.stdout).starts_with("/login?reset="), "{link:?}");
}

#[test]
fn the_commands_in_the_document_work_as_they_stand_there() {
    let gateway = Gateway::start(PROFILES);
    gateway.admin();
    gateway.register("ada@example.com");
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/accounts-and-keys.md");
    let text = std::fs::read_to_string(document).unwrap();
    let mut run = 0;
    for command in text.lines().filter_map(|line| line.strip_prefix("mlx-gateway ")) {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        let output = gateway.cli(&arguments);
        assert!(output.status.success(), "{command}: {output:?}");
        run += 1;
    }
    assert_eq!(run, 14);
}
