//! What an ordinary account can make grow has a bound, and the refusal says which.

use serde_json::{Value, json};

use crate::support::http::Answer;
use crate::support::{Gateway, PROFILES};

/// Creates the n-th thing for the owner of a key.
type Create = Box<dyn Fn(&Gateway, &str, usize) -> Answer>;

/// One thing that an account creates: how, how often before it is refused, and how it is refused.
struct Row {
    what: &'static str,
    create: Create,
    most: usize,
    refusal: (u16, &'static str, &'static str),
}

fn post(path: &'static str, body: impl Fn(usize) -> Value + 'static) -> Create {
    Box::new(move |gateway, who, n| gateway.as_bearer(who, "POST", path, Some(&body(n))))
}

fn picture(n: usize, bytes: usize) -> Value {
    json!({"id": format!("m{n}"), "parent": null, "role": "user", "text": "", "picture": "x".repeat(bytes)})
}

fn rows(gateway: &Gateway, who: &str) -> Vec<Row> {
    let made = gateway.as_bearer(who, "POST", "/api/v1/chats", Some(&json!({"title": "Pictures"}))).json();
    let chat = format!("/api/v1/chats/{}", made["id"].as_str().unwrap());
    let put = move |gateway: &Gateway, who: &str, n: usize| {
        gateway.as_bearer(who, "PATCH", &chat, Some(&json!({"messages": [picture(n, 22 << 20)]})))
    };
    vec![
        Row {
            what: "messages of a conversation",
            create: Box::new(put),
            most: 2,
            refusal: (413, "conversation_too_large", "64 MiB"),
        },
        Row {
            what: "one message",
            create: post("/api/v1/chats", |n| json!({"messages": [picture(n, 33 << 20)]})),
            most: 0,
            refusal: (413, "message_too_large", "33554432 (32 MiB)"),
        },
        Row {
            what: "a title",
            create: post("/api/v1/chats", |_| json!({"title": "x".repeat(201)})),
            most: 0,
            refusal: (400, "invalid_request_error", "200 characters"),
        },
        Row {
            what: "a profile's name in a conversation",
            create: post("/api/v1/chats", |_| json!({"profile": "x".repeat(201)})),
            most: 0,
            refusal: (400, "invalid_request_error", "200 characters"),
        },
        Row {
            what: "values of a body",
            create: post("/api/v1/chats", |_| json!({"messages": vec![json!([]); 900_000]})),
            most: 0,
            refusal: (413, "request_too_large", "too many JSON values"),
        },
        Row {
            what: "keys",
            create: post("/api/v1/keys", |n| json!({"name": format!("key {n}"), "scopes": ["inference"]})),
            most: 500,
            refusal: (409, "conflict", "500 keys"),
        },
    ]
}

#[test]
fn what_an_ordinary_account_creates_has_a_bound_of_its_own() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (bob, _) = gateway.user(&admin, "bob@example.com");
    for row in rows(&gateway, &ada) {
        for n in 0..row.most {
            let created = (row.create)(&gateway, &ada, n);
            assert!((200..300).contains(&created.status), "{} {n}: {created:?}", row.what);
        }
        let refused = (row.create)(&gateway, &ada, row.most);
        let (status, code, words) = row.refusal;
        assert_eq!(refused.error(), (status, code.to_owned()), "{}", row.what);
        assert!(refused.body.contains(words), "{}: {}", row.what, refused.body);
    }
    // Another account has bounds of its own.
    assert_eq!(gateway.as_bearer(&bob, "POST", "/api/v1/chats", Some(&json!({"title": "t"}))).status, 201);
    assert_eq!(gateway.as_bearer(&bob, "POST", "/api/v1/keys", Some(&json!({"name": "k"}))).status, 201);
}
