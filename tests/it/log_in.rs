//! How fast passwords can be guessed, and who is not held up by it.

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::people::PASSWORD;
use crate::support::{Gateway, PROFILES};

fn log_in(gateway: &Gateway, headers: &str, email: &str, password: &str) -> Answer {
    let body = json!({"email": email, "password": password});
    gateway.call("POST", "/api/v1/auth/login", headers, Some(&body))
}

/// The device cookie of an answer, as a browser sends it back.
fn device(answer: &Answer) -> String {
    let set =
        answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: mlx_gateway_device=")).unwrap();
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/api/v1/auth/login"] {
        assert!(set.contains(attribute), "{set}");
    }
    format!("cookie: mlx_gateway_device={}\r\n", set.split(';').next().unwrap())
}

/// Sends wrong passwords until the account has to wait.
fn guess(gateway: &Gateway, headers: &str, email: &str) {
    let statuses: Vec<u16> =
        (0..11).map(|_| log_in(gateway, headers, email, "wrong password").status).collect();
    assert_eq!((statuses[0], statuses[9], statuses[10]), (401, 401, 429), "{statuses:?}");
}

#[test]
fn guessing_passwords_from_one_address_has_an_end() {
    let gateway = Gateway::start(PROFILES);
    gateway.admin();
    guess(&gateway, "", "admin@example.com");
    let right = gateway.log_in("admin@example.com", PASSWORD);
    assert_eq!(right.error(), (429, "too_many_attempts".into()), "a right guess waits too");
    assert!((1..=30).contains(&right.header("retry-after").unwrap().parse::<u32>().unwrap()));
    let unknown = log_in(&gateway, "", "nobody@example.com", "wrong password");
    assert_eq!(unknown.status, 401, "another account");
}

#[test]
fn wrong_guesses_do_not_lock_out_the_owner() {
    let config = "[server]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let gateway = Gateway::start(&format!("{config}{PROFILES}"));
    let admin = gateway.admin();
    let (_, ada) = gateway.user(&admin, "ada@example.com");
    gateway.user(&admin, "ben@example.com");
    let known = device(&gateway.log_in("ada@example.com", PASSWORD));
    let other = device(&gateway.log_in("ben@example.com", PASSWORD));
    guess(&gateway, "", "ada@example.com");
    let right = |headers: &str| log_in(&gateway, headers, "ada@example.com", PASSWORD).status;
    assert_eq!(right("x-forwarded-for: 203.0.113.9\r\n"), 200, "from another address");
    assert_eq!(right(&known), 200, "from a browser that has logged in before");
    assert_eq!(right(&other), 429, "a browser of another account");
    assert_eq!(right("cookie: mlx_gateway_device=a.b.c\r\n"), 429);
    let session = log_in(&gateway, &known, "ada@example.com", PASSWORD).json()["token"].clone();
    let as_device = format!("cookie: mlx_gateway_device={}\r\n", session.as_str().unwrap());
    assert_eq!(right(&as_device), 429, "a session's token is no device");
    let as_session = known.replace("mlx_gateway_device", "mlx_gateway_session");
    assert_eq!(
        gateway.call("GET", "/api/v1/auth/me", &as_session, None).status,
        401,
        "and a device no session"
    );
    guess(&gateway, &known, "ada@example.com");
    let change = json!({"role": "admin"});
    gateway.as_bearer(&admin, "POST", &format!("/api/v1/users/{ada}/role"), Some(&change));
    assert_eq!(right(&known), 429, "a device is known until its account changes");
}

#[test]
fn a_valid_key_logs_in_from_an_address_that_has_to_wait() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "k"}));
    let log_in =
        |key: &str| gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"api_key": key}))).status;
    let statuses: Vec<u16> = (0..40).map(|_| log_in("sk-mgw-wrong")).collect();
    assert_eq!((statuses[0], statuses[39]), (401, 429), "{statuses:?}");
    assert_eq!(log_in(&key), 200);
}

#[test]
fn failed_log_ins_make_one_row_of_the_audit_log_per_minute_and_address() {
    let config = "[server]\nlisten = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    let gateway = Gateway::start(&format!("{config}{PROFILES}"));
    let admin = gateway.admin();
    guess(&gateway, "", "admin@example.com");
    for n in 1..5 {
        let headers = format!("x-forwarded-for: 2001:db8::{n}\r\n");
        assert_eq!(log_in(&gateway, &headers, "admin@example.com", "wrong password").status, 401);
    }
    let rows = gateway.as_bearer(&admin, "GET", "/api/v1/audit?action=auth.login", None).json();
    let refused: Vec<&Value> =
        rows["entries"].as_array().unwrap().iter().filter(|row| row["status"] == 401).collect();
    assert_eq!(refused.len(), 2, "{rows}");
}

#[test]
fn an_address_that_is_too_long_is_refused_before_anything_is_kept() {
    let gateway = Gateway::start(PROFILES);
    gateway.admin();
    let long = format!("{}@example.com", "a".repeat(50_000));
    for path in ["/api/v1/auth/login", "/api/v1/auth/register"] {
        let body = json!({"email": long, "password": PASSWORD});
        let refused = gateway.call("POST", path, "", Some(&body));
        assert_eq!(refused.status, 400, "{path}");
        assert!(refused.body.len() < 1_000, "the answer does not repeat it");
    }
}

#[test]
fn attempts_with_large_names_take_no_memory() {
    const ATTEMPTS: usize = 180;
    let gateway = Gateway::start(PROFILES);
    gateway.admin();
    let attempt = |n: usize| {
        let name = "a".repeat(2_000_000);
        let body = format!("{{\"email\":\"{n}-{name}@example.com\",\"password\":\"wrong password\"}}");
        gateway.post("/api/v1/auth/login", &body).status
    };
    // Two at a time; the names have 360 MB together.
    gateway.grows_at_most(40, || {
        std::thread::scope(|scope| {
            for first in 0..2 {
                scope.spawn(move || {
                    for n in (first..ATTEMPTS).step_by(2) {
                        assert_eq!(attempt(n), 413);
                    }
                });
            }
        });
    });
}
