//! Somebody who talks to a gateway with a credential of their own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::http::Answer;
use super::{Gateway, PATIENCE};

/// A password that everybody in the tests has.
pub const PASSWORD: &str = "correct horse battery";

impl Gateway {
    /// `headers`: lines, each with its end. A body makes it JSON.
    pub fn call(&self, method: &str, path: &str, headers: &str, body: Option<&Value>) -> Answer {
        self.send(&self.wire(method, path, headers, body))
    }

    /// Such a request as it goes over the wire.
    pub fn wire(&self, method: &str, path: &str, headers: &str, body: Option<&Value>) -> String {
        let text = body.map(Value::to_string).unwrap_or_default();
        let kind = body.map_or("", |_| "content-type: application/json\r\n");
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{headers}{kind}content-length: {}\r\nconnection: close\r\n\r\n{text}",
            self.address,
            text.len()
        )
    }

    pub fn as_bearer(&self, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.call(method, path, &format!("authorization: Bearer {token}\r\n"), body)
    }

    /// What somebody reads there.
    pub fn get_as(&self, token: &str, path: &str) -> Value {
        self.as_bearer(token, "GET", path, None).json()
    }

    /// Where the backend of a profile listens, as somebody reads it.
    pub fn backend_address_as(&self, token: &str, profile: &str) -> String {
        let servers = self.get_as(token, "/api/v1/servers");
        let all = servers["servers"].as_array().unwrap();
        let server = all.iter().find(|server| server["id"] == profile).unwrap();
        format!("127.0.0.1:{}", server["port"])
    }

    pub fn register(&self, email: &str) -> Answer {
        self.call("POST", "/api/v1/auth/register", "", Some(&json!({"email": email, "password": PASSWORD})))
    }

    pub fn log_in(&self, email: &str, password: &str) -> Answer {
        self.call("POST", "/api/v1/auth/login", "", Some(&json!({"email": email, "password": password})))
    }

    /// The token of a new session.
    pub fn session(&self, email: &str) -> String {
        let answer = self.log_in(email, PASSWORD);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// The first administrator's token.
    pub fn admin(&self) -> String {
        let answer = self.register("admin@example.com");
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// The same on a gateway that is not open, by the credential in `headers`.
    pub fn admin_by(&self, headers: &str) -> String {
        let body = json!({"email": "admin@example.com", "password": PASSWORD});
        let answer = self.call("POST", "/api/v1/auth/register", headers, Some(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// The token of the set-up link, as the log shows it.
    pub fn setup_token(&self) -> String {
        super::wait_for("the set-up link", || {
            let log = self.log();
            let (_, rest) = log.split_once("/setup?token=")?;
            Some(rest.split_whitespace().next()?.to_owned())
        })
    }

    /// An approved user's token and id.
    pub fn user(&self, admin: &str, email: &str) -> (String, String) {
        let made = self.register(email);
        assert_eq!(made.status, 201, "{made:?}");
        let id = made.json()["user"]["id"].as_str().unwrap().to_owned();
        let approved = self.as_bearer(admin, "POST", &format!("/api/v1/users/{id}/approve"), None);
        assert_eq!(approved.status, 200, "{approved:?}");
        (self.session(email), id)
    }

    /// A key's secret and id.
    pub fn key(&self, token: &str, wish: &Value) -> (String, String) {
        let made = self.as_bearer(token, "POST", "/api/v1/keys", Some(wish));
        assert_eq!(made.status, 201, "{made:?}");
        let text = |field: &str| made.json()[field].as_str().unwrap().to_owned();
        (text("key"), text("id"))
    }

    /// A stream of somebody's.
    pub fn stream_as(&self, key: &str, model: &str, prompt: &str) -> super::http::Stream {
        let headers = format!("authorization: Bearer {key}\r\n");
        self.open(&self.request("/v1/chat/completions", &headers, &super::http::body(model, prompt, true)))
    }

    /// A chat with a key.
    pub fn chat_as(&self, key: &str, model: &str, prompt: &str) -> Answer {
        let body = super::http::body(model, prompt, false);
        self.call(
            "POST",
            "/v1/chat/completions",
            &format!("authorization: Bearer {key}\r\n"),
            Some(&serde_json::from_str(&body).unwrap()),
        )
    }

    /// The status that a request over the local socket gets.
    pub fn status_over_socket(&self, request: &str) -> u16 {
        let mut socket = UnixStream::connect(self.data_dir().join("gateway.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        std::str::from_utf8(&head[9..]).unwrap().parse().unwrap()
    }
}
