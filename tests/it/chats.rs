//! Conversations: kept, changed, found, and seen by nobody else.

use serde_json::{Value, json};

use crate::support::{Gateway, PROFILES};

fn message(id: &str, parent: Option<&str>, role: &str, text: &str) -> Value {
    json!({"id": id, "parent": parent, "role": role, "text": text})
}

#[test]
fn a_conversation_is_kept_with_its_branches_found_by_its_words_and_deleted() {
    let gateway = Gateway::start(PROFILES);
    let call = |method: &str, path: &str, body: Option<&Value>| gateway.call(method, path, "", body);
    let first =
        [message("a", None, "user", "Which trains?"), message("b", Some("a"), "assistant", "The 9:15.")];
    let made = json!({"title": "Trains", "profile": "qwen", "leaf": "b", "messages": first});
    let made = call("POST", "/api/v1/chats", Some(&made));
    assert_eq!(made.status, 201, "{made:?}");
    let path = format!("/api/v1/chats/{}", made.json()["id"].as_str().unwrap());

    let other = message("c", Some("a"), "assistant", "The 9:45, with a dining car.");
    let changed = call("PATCH", &path, Some(&json!({"leaf": "c", "messages": [other]})));
    assert_eq!((changed.status, &changed.json()["title"]), (200, &json!("Trains")), "{changed:?}");
    let chat = call("GET", &path, None).json();
    assert_eq!((chat["messages"].as_array().unwrap().len(), &chat["leaf"]), (3, &json!("c")));
    assert_eq!(chat["messages"][2], other);

    let found = |q: &str| {
        call("GET", &format!("/api/v1/chats?q={q}"), None).json()["chats"].as_array().unwrap().len()
    };
    assert_eq!((found("dining"), found("trains"), found("planes")), (1, 1, 0));
    assert_eq!((call("DELETE", &path, None).status, call("GET", &path, None).status), (204, 404));
    assert_eq!(found(""), 0);
    // What people write is not in the audit log.
    let audit = call("GET", "/api/v1/audit", None);
    assert!(!audit.body.contains("chats"), "{audit:?}");
}

#[test]
fn nobody_sees_anothers_conversations_not_even_an_administrator() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (bob, _) = gateway.user(&admin, "bob@example.com");
    let made = gateway.as_bearer(&ada, "POST", "/api/v1/chats", Some(&json!({"title": "Mine"}))).json();
    let path = format!("/api/v1/chats/{}", made["id"].as_str().unwrap());
    for other in [&bob, &admin] {
        let list = gateway.as_bearer(other, "GET", "/api/v1/chats", None).json();
        assert_eq!(list["chats"], json!([]));
        let change = json!({"title": "Taken"});
        let answers = [("GET", None), ("PATCH", Some(&change)), ("DELETE", None)];
        for (method, body) in answers {
            assert_eq!(gateway.as_bearer(other, method, &path, body).status, 404, "{method}");
        }
    }
    assert_eq!(gateway.as_bearer(&ada, "GET", &path, None).json()["title"], "Mine");
}

#[test]
fn what_is_wrong_with_a_conversation_is_told() {
    let gateway = Gateway::start(PROFILES);
    for (body, words) in [
        (json!({"title": "x".repeat(201)}), "at most 200 characters"),
        (json!({"messages": [{"role": "user"}]}), "needs an id"),
        (json!({"messages": [{"id": "a", "role": "boss"}]}), "role is one of"),
        (json!({"colour": "red"}), "unknown field"),
    ] {
        let answer = gateway.call("POST", "/api/v1/chats", "", Some(&body));
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.contains(words), "{answer:?}");
    }
}
