//! API keys: restrictions, limits, budgets, rotation and revocation.

use serde_json::{Value, json};

use crate::support::http::{Answer, body};
use crate::support::{Gateway, PROFILES, wait_for};

#[test]
fn a_key_is_shown_once_rotated_with_grace_and_revoked_at_once() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (first, id) = gateway.key(&admin, &json!({"name": "laptop"}));
    assert!(!gateway.as_bearer(&admin, "GET", "/api/v1/keys", None).body.contains(&first));
    let rotate = |grace: &str| {
        let answer = gateway.as_bearer(
            &admin,
            "POST",
            &format!("/api/v1/keys/{id}/rotate"),
            Some(&json!({"grace": grace})),
        );
        answer.json()["key"].as_str().unwrap().to_owned()
    };
    let works = |key: &str| gateway.as_bearer(key, "GET", "/v1/models", None).status;
    let second = rotate("1h");
    assert_eq!((works(&first), works(&second)), (200, 200), "the old one has its grace");
    let third = rotate("0s");
    assert_eq!((works(&first), works(&second), works(&third)), (401, 401, 200));
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    assert_eq!(works(&third), 401);
    let message = gateway.as_bearer(&third, "GET", "/v1/models", None).json()["error"]["message"].to_string();
    assert!(message.contains("revoked"), "{message}");
    let again = gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None);
    assert_eq!(again.status, 204, "revoking twice does no harm");
}

#[test]
fn a_revoked_key_ends_its_streams() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "scopes": ["inference", "admin-read"]}));
    let header = format!("authorization: Bearer {key}\r\n");
    let mut events = gateway.open(&gateway.wire("GET", "/api/v1/events", &header, None));
    let chat: Value = serde_json::from_str(&body("qwen", "#chunks=100000 #interval-us=20000", true)).unwrap();
    let mut stream = gateway.open(&gateway.wire("POST", "/v1/chat/completions", &header, Some(&chat)));
    while !stream.next().unwrap().contains("\"content\"") {}
    assert!(events.next().is_some());
    assert_eq!(gateway.as_bearer(&admin, "DELETE", &format!("/api/v1/keys/{id}"), None).status, 204);
    while events.next().is_some() {}
    let mut last = String::new();
    while let Some(event) = stream.next() {
        last = event;
    }
    assert_eq!(last, "data: [DONE]");
    let cancelled = wait_for("the record's end", || {
        let records = gateway.as_bearer(&admin, "GET", "/api/v1/requests?limit=1", None).json();
        (records["requests"][0]["status"] == "cancelled").then(|| records["requests"][0].clone())
    });
    assert_eq!(cancelled["key"], id.as_str());
}

#[test]
fn rates_are_told_and_held_as_openai_does() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, _) =
        gateway.key(&admin, &json!({"name": "k", "requests_per_minute": 2, "tokens_per_minute": 100000}));
    let first = gateway.chat_as(&key, "qwen", "#chunks=1");
    assert_eq!(first.status, 200);
    assert_eq!(first.header("x-ratelimit-limit-requests").as_deref(), Some("2"));
    assert_eq!(first.header("x-ratelimit-remaining-requests").as_deref(), Some("1"));
    assert_eq!(first.header("x-ratelimit-limit-tokens").as_deref(), Some("100000"));
    assert!(first.header("x-ratelimit-reset-requests").is_some());
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=1").status, 200);
    let refused = gateway.chat_as(&key, "qwen", "#chunks=1");
    assert_eq!(refused.error(), (429, "rate_limit_exceeded".into()));
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    assert_eq!(refused.header("x-ratelimit-remaining-requests").as_deref(), Some("0"));
}

#[test]
fn a_burst_cannot_pass_a_budget_or_the_parallel_limit() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, id) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 100}));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let ask = || gateway.chat_as(&key, "qwen", "#chunks=40 #prompt-tokens=10").status;
        let asked: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(statuses.contains(&200) && statuses.contains(&429), "{statuses:?}");
    while gateway.chat_as(&key, "qwen", "#chunks=40 #prompt-tokens=10").status == 200 {}
    let asked = |most: u32| {
        let chat = json!({"model": "qwen", "max_tokens": most, "messages": [{"role": "user", "content": "#chunks=1"}]});
        gateway.call("POST", "/v1/chat/completions", &format!("authorization: Bearer {key}\r\n"), Some(&chat))
    };
    let refused = asked(1000);
    assert_eq!(refused.status, 429);
    let words = refused.json()["error"]["message"].to_string();
    assert!(
        words.contains("this key's budget of 100 tokens a day") && words.contains("resets at"),
        "{words}"
    );
    let keys = gateway.as_bearer(&admin, "GET", "/api/v1/keys", None).json();
    let mine = keys["keys"].as_array().unwrap().iter().find(|one| one["id"] == id.as_str()).unwrap().clone();
    let used = mine["used_tokens_day"].as_u64().unwrap();
    assert!((20..=100).contains(&used), "never more than 100: {used}");

    let (one, _) = gateway.key(&admin, &json!({"name": "one at a time", "parallel": 1}));
    let header = format!("authorization: Bearer {one}\r\n");
    let chat: Value = serde_json::from_str(&body("qwen", "#chunks=100000 #interval-us=20000", true)).unwrap();
    let mut stream = gateway.open(&gateway.wire("POST", "/v1/chat/completions", &header, Some(&chat)));
    while !stream.next().unwrap().contains("\"content\"") {}
    assert_eq!(gateway.chat_as(&one, "qwen", "#chunks=1").status, 429);
    drop(stream);
    wait_for("the place of the one that left", || {
        (gateway.chat_as(&one, "qwen", "#chunks=1").status == 200).then_some(())
    });
}

#[test]
fn a_spent_budget_is_named_with_its_number_and_when_it_resets() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "k", "tokens_per_day": 20}));
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=1 #prompt-tokens=30").status, 200);
    let spent = gateway.chat_as(&key, "qwen", "#chunks=1");
    assert_eq!(spent.error(), (429, "rate_limit_exceeded".into()));
    let message = spent.json()["error"]["message"].to_string();
    assert!(
        message.contains("budget of 20 tokens a day is spent: 31 were used; it resets at 20"),
        "{message}"
    );
    assert_eq!(spent.header("x-ratelimit-limit-tokens").as_deref(), Some("20"));
    assert_eq!(spent.header("x-ratelimit-remaining-tokens").as_deref(), Some("0"));
    assert!(spent.header("x-ratelimit-reset-tokens").is_some(), "{spent:?}");
}

#[test]
fn budgets_go_on_after_a_restart() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (key, _) = gateway.key(&admin, &json!({"name": "k", "tokens_per_month": 30}));
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=25 #prompt-tokens=10").status, 200);
    let refused = gateway.chat_as(&key, "qwen", "#chunks=1");
    assert_eq!(refused.error(), (429, "rate_limit_exceeded".into()));
    let told = |answer: &Answer, name: &str| {
        answer.header(&format!("x-ratelimit-{name}-tokens")).unwrap_or_default()
    };
    assert_eq!(
        (told(&refused, "limit").as_str(), told(&refused, "remaining").as_str()),
        ("30", "5"),
        "{refused:?}"
    );
    // The records are written by the time they are shown.
    assert_eq!(gateway.as_bearer(&admin, "GET", "/api/v1/requests", None).status, 200);
    let gateway = Gateway::serve(gateway.crash(), &[]);
    assert_eq!(
        gateway.chat_as(&key, "qwen", "#chunks=1").status,
        429,
        "what was used is known from the records"
    );
}

#[test]
fn usage_is_attributed_and_people_see_their_own() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, ada_id) = gateway.user(&admin, "ada@example.com");
    let (ben, _) = gateway.user(&admin, "ben@example.com");
    let (key, id) = gateway.key(&ada, &json!({"name": "ada's laptop"}));
    assert_eq!(gateway.chat_as(&key, "qwen", "#chunks=4 #prompt-tokens=3").status, 200);
    let by_key = gateway.as_bearer(&ada, "GET", "/api/v1/usage?group_by=key", None).json();
    assert_eq!(
        (&by_key["groups"][0]["group"], &by_key["groups"][0]["name"]),
        (&json!(id), &json!("ada's laptop"))
    );
    assert_eq!(by_key["total"]["total_tokens"], 7);
    let by_user = gateway.as_bearer(&admin, "GET", "/api/v1/usage?group_by=user", None).json();
    assert_eq!(
        (&by_user["groups"][0]["group"], &by_user["groups"][0]["name"]),
        (&json!(ada_id), &json!("ada@example.com"))
    );
    assert_eq!(gateway.as_bearer(&ben, "GET", "/api/v1/usage", None).json()["total"]["requests"], 0);
}

#[test]
fn a_key_that_is_asked_for_again_is_made_once() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (user, _) = gateway.user(&admin, "ada@example.com");
    let ask = |token: &str, name: &str, again: &str| {
        let headers = format!("authorization: Bearer {token}\r\nidempotency-key: {again}\r\n");
        gateway.call("POST", "/api/v1/keys", &headers, Some(&json!({"name": name})))
    };
    let first = ask(&admin, "laptop", "one");
    let again = ask(&admin, "laptop", "one");
    assert_eq!((first.status, again.status), (201, 201));
    assert_eq!(first.body, again.body, "the same key, its secret included");
    assert_eq!(first.header("idempotency-replayed"), None);
    assert_eq!(again.header("idempotency-replayed").as_deref(), Some("true"));
    assert_eq!(ask(&admin, "desk", "one").error(), (422, "idempotency_key_reused".into()));
    assert_eq!(ask(&admin, "desk", "").status, 400);
    let other = ask(&user, "laptop", "one");
    assert_ne!(other.body, first.body, "each caller by itself");
    // At one time: one is made, and the others hear of it or are told to wait.
    let statuses: Vec<(u16, String)> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|_| scope.spawn(|| ask(&admin, "burst", "two"))).collect();
        asked.into_iter().map(|one| one.join().unwrap()).map(|answer| (answer.status, answer.body)).collect()
    });
    assert!(statuses.iter().all(|(status, _)| matches!(status, 201 | 409)), "{statuses:?}");
    assert_eq!(ask(&admin, " ", "three").status, 400);
    assert_eq!(ask(&admin, "now", "three").status, 201, "what was refused may be mended and tried again");
    let keys = gateway.as_bearer(&admin, "GET", "/api/v1/keys", None).json();
    let named =
        |name: &str| keys["keys"].as_array().unwrap().iter().filter(|key| key["name"] == name).count();
    assert_eq!((named("laptop"), named("burst"), named("now")), (2, 1, 1));
    let log = gateway.as_bearer(&admin, "GET", "/api/v1/audit?action=keys.create", None).json();
    let made = log["entries"].as_array().unwrap().iter().filter(|entry| entry["status"] == 201).count();
    assert_eq!(made, 4, "what is only answered again is noted once");
}
