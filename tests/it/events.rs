//! The event stream: what changes is told, in order, and a listener who comes back misses nothing.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::http::Stream;
use crate::support::{Gateway, PROFILES};

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

fn listen(gateway: &Gateway, query: &str, last: Option<&str>) -> Stream {
    let last = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
    let stream = gateway
        .open(&format!("GET /api/v1/events{query} HTTP/1.1\r\nhost: {}\r\n{last}\r\n", gateway.address));
    assert_eq!(stream.status, 200, "{}", stream.head);
    assert!(stream.head.contains("text/event-stream"), "{}", stream.head);
    stream
}

pub fn next(stream: &mut Stream) -> Event {
    loop {
        let event = stream.next().expect("the stream ended");
        let field = |name: &str| {
            event.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(ToOwned::to_owned)
        };
        if let (Some(id), Some(name), Some(data)) = (field("id"), field("event"), field("data")) {
            return Event { id, name, data: serde_json::from_str(&data).unwrap() };
        }
    }
}

/// The next event about that backend in that state.
fn until_state(stream: &mut Stream, id: &str, state: &str) -> Event {
    loop {
        let told = next(stream);
        if told.name == "server.changed" && told.data["id"] == id && told.data["state"] == state {
            return told;
        }
    }
}

#[test]
fn a_backends_states_are_told_as_the_list_shows_them() {
    let gateway = Gateway::start(PROFILES);
    let mut stream = listen(&gateway, "?topics=servers", None);
    assert_eq!(next(&mut stream).name, "stream.opened");
    assert_eq!(gateway.chat("qwen", "#chunks=3").status, 200);
    // States that last for less than a moment are told together.
    let mut states = vec![next(&mut stream).data["state"].as_str().unwrap().to_owned()];
    while states.last().is_none_or(|state| state != "ready") {
        states.push(next(&mut stream).data["state"].as_str().unwrap().to_owned());
    }
    states.dedup();
    let mut order = ["stopped", "waiting", "preparing", "loading", "ready"].into_iter();
    assert!(states.iter().all(|state| order.any(|known| known == state)), "{states:?}");
    let told = loop {
        let told = until_state(&mut stream, "qwen", "ready");
        if told.data["total_tokens"] == 3 && told.data["in_flight"] == 0 {
            break told;
        }
    };
    let listed = gateway.backend("qwen", "ready");
    for same in ["pid", "port", "profiles", "model", "since_ms", "total_tokens", "command"] {
        assert_eq!(told.data[same], listed[same], "{same}");
    }
    gateway.cli_json(&["stop", "qwen"]);
    until_state(&mut stream, "qwen", "stopped");
}

#[test]
fn a_listener_who_comes_back_hears_what_was_missed_and_one_of_another_run_begins_anew() {
    let gateway = Gateway::start(PROFILES);
    let mut stream = listen(&gateway, "", None);
    let opened = next(&mut stream);
    drop(stream);
    assert_eq!(gateway.chat("qwen", "#chunks=1").status, 200);
    let mut stream = listen(&gateway, "", Some(&opened.id));
    assert_eq!(next(&mut stream).id, opened.id);
    let ready = until_state(&mut stream, "qwen", "ready");
    let mut later = listen(&gateway, "", Some(&ready.id));
    assert_eq!(next(&mut later).name, "stream.opened");
    let mut stranger = listen(&gateway, "", Some("1234-5"));
    assert_eq!(next(&mut stranger).name, "stream.reset");
}

#[test]
fn a_topic_that_does_not_exist_is_refused_and_the_stream_ends_with_the_gateway() {
    let mut gateway = Gateway::start(PROFILES);
    assert_eq!(gateway.get("/api/v1/events?topics=weather").error().0, 400);
    let mut stream = listen(&gateway, "", None);
    assert_eq!(next(&mut stream).name, "stream.opened");
    gateway.signal(Signal::SIGTERM);
    while stream.next().is_some() {}
    assert_eq!(gateway.ended(), Some(0));
}

#[test]
fn without_a_key_nobody_listens_where_keys_are_needed() {
    let gateway = Gateway::with_env(PROFILES, &[("MLX_GATEWAY_API_KEY", "secret")]);
    assert_eq!(gateway.get("/api/v1/events").status, 401);
}

#[test]
fn requests_of_an_account_are_told_to_it_and_to_readers_at_most_twice_a_second() {
    let gateway = Gateway::start(PROFILES);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (ben, _) = gateway.user(&admin, "ben@example.com");
    let (key, _) = gateway.key(&ada, &serde_json::json!({"name": "one"}));
    let listen = |token: &str| {
        let headers = format!("authorization: Bearer {token}\r\n");
        let mut stream =
            gateway.open(&gateway.wire("GET", "/api/v1/events?topics=requests,chats", &headers, None));
        assert_eq!(next(&mut stream).name, "stream.opened");
        stream
    };
    let (mut of_ada, mut of_ben, mut of_admin) = (listen(&ada), listen(&ben), listen(&admin));
    let began = std::time::Instant::now();
    for _ in 0..30 {
        assert_eq!(gateway.chat_as(&key, "nothing", "x").status, 404);
    }
    let listed = gateway.as_bearer(&ada, "GET", "/api/v1/requests?limit=1", None).json();
    let newest = &listed["requests"][0]["id"];
    let mut told = 0;
    loop {
        let event = next(&mut of_ada);
        assert_eq!((event.name.as_str(), event.data.as_object().unwrap().len()), ("request.changed", 1));
        told += 1;
        assert_eq!(next(&mut of_admin).data, event.data);
        if event.data["id"] == *newest {
            break;
        }
    }
    // One at each look, and the looks are half a second apart.
    let looks = 2 + usize::try_from(began.elapsed().as_millis() / 500).unwrap();
    assert!(told <= looks, "{told} events in {:?}", began.elapsed());
    // Ben hears what is his alone.
    let made = gateway.as_bearer(&ben, "POST", "/api/v1/chats", Some(&serde_json::json!({"title": "x"})));
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(next(&mut of_ben).name, "chat.changed");
}
