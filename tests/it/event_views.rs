//! Events carry only what the same caller can read with GET: each event for each kind of caller.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mlx_gateway::events::Kind;
use serde_json::{Value, json};

use crate::events::{Event, next};
use crate::hub::FakeHub;
use crate::support::http::Stream;
use crate::support::{Gateway, PROFILES, wait_for};

const MODEL: &str = "mlx-community/small";

/// Where a GET shows what an event shows.
struct Row {
    path: String,
    /// The event's part of the answer; none: it is not there.
    part: fn(&Value, &Value) -> Option<Value>,
    /// Fields that may differ by the time of the GET.
    moving: &'static [&'static str],
}

/// The row of an event with that data. A new kind needs one, or this does not compile.
fn row(kind: Kind, data: &Value) -> Row {
    let whole = |answer: &Value, _: &Value| Some(answer.clone());
    let id = || text(&data["id"]).to_owned();
    let row = |path, part, moving| Row { path, part, moving };
    match kind {
        Kind::ServerChanged => row(
            "/api/v1/servers".to_owned(),
            |answer, data| listed(&answer["servers"], data),
            &["uptime_s", "idle_stop_at_ms", "memory_bytes", "cpu_percent", "processes", "log_tail"],
        ),
        Kind::ModelChanged => row(
            format!("/api/v1/models/{}?hub=false", id()),
            |answer, _| Some(json!({"id": answer["local"]["id"]})).filter(|part| part["id"].is_string()),
            &[],
        ),
        Kind::DownloadChanged => row(format!("/api/v1/downloads/{}", id()), whole, &[]),
        Kind::ProfileChanged => row(format!("/api/v1/profiles/{}", text(&data["name"])), whole, &[]),
        Kind::ProfileAvailable => row(format!("/v1/models/{}", id()), whole, &[]),
        Kind::RequestChanged => {
            row(format!("/api/v1/requests/{}", id()), |answer, _| Some(json!({"id": answer["id"]})), &[])
        }
        Kind::UserPending | Kind::UserChanged => row(
            "/api/v1/users".to_owned(),
            |answer, data| listed(&answer["users"], data),
            &["status", "last_login_at"],
        ),
        Kind::UsersPendingCount => row("/api/v1/users/pending/count".to_owned(), whole, &[]),
        Kind::PluginChanged => row(format!("/api/v1/plugins/{}", text(&data["name"])), whole, &[]),
        Kind::ChatChanged => row(format!("/api/v1/chats/{}", id()), whole, &[]),
        Kind::ConfigChanged => {
            row("/api/v1/system".to_owned(), |answer, _| answer.get("config").cloned(), &[])
        }
        // Captures of requests that end meanwhile.
        Kind::CapturesChanged => row("/api/v1/captures".to_owned(), whole, &["kept", "kept_bytes"]),
    }
}

fn listed(list: &Value, data: &Value) -> Option<Value> {
    list.as_array()?.iter().find(|item| item["id"] == data["id"]).cloned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn kind(event: &Event) -> Option<Kind> {
    Kind::ALL.iter().copied().find(|kind| kind.name() == event.name)
}

/// What an event is about.
fn subject(event: &Event) -> (String, String) {
    let id = ["id", "name"].into_iter().find_map(|key| event.data[key].as_str());
    (event.name.clone(), id.unwrap_or_default().to_owned())
}

fn sequence(event: &Event) -> u64 {
    event.id.rsplit('-').next().unwrap().parse().unwrap()
}

struct Caller {
    name: &'static str,
    headers: String,
    stream: Stream,
    heard: BTreeMap<u64, Event>,
}

impl Caller {
    fn new(gateway: &Gateway, name: &'static str, credential: Option<&str>) -> Caller {
        let headers =
            credential.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        let stream = gateway.open(&gateway.wire("GET", "/api/v1/events", &headers, None));
        assert_eq!(stream.status, 200, "{name}");
        Caller { name, headers, stream, heard: BTreeMap::new() }
    }

    /// Reads on until the profile that every caller may use is in that state.
    fn hear_until(&mut self, state: &str) {
        loop {
            let event = next(&mut self.stream);
            let is_last = event.name == "profile.available"
                && event.data["id"] == "other"
                && event.data["state"] == state;
            self.heard.insert(sequence(&event), event);
            if is_last {
                return;
            }
        }
    }
}

/// Every event that any caller heard after `from`.
fn all(callers: &[Caller], from: u64) -> BTreeMap<u64, Event> {
    let heard = callers.iter().flat_map(|caller| caller.heard.range(from + 1..));
    heard.map(|(at, event)| (*at, event.clone())).filter(|(_, event)| kind(event).is_some()).collect()
}

/// Each event reached exactly the callers whose GET shows its subject, and has no field that the GET has not.
fn check(gateway: &Gateway, callers: &[Caller], events: &BTreeMap<u64, Event>) {
    let mut newest = HashMap::new();
    for (at, event) in events {
        newest.insert(subject(event), *at);
    }
    let mut answers: HashMap<(&str, String), (u16, Value)> = HashMap::new();
    for (at, event) in events {
        let Row { path, part, moving } = row(kind(event).unwrap(), &event.data);
        for caller in callers {
            let (status, answer) = answers.entry((caller.name, path.clone())).or_insert_with(|| {
                let answer = gateway.call("GET", &path, &caller.headers, None);
                (answer.status, answer.json())
            });
            let shown = if *status == 200 { part(answer, &event.data) } else { None };
            let who = format!("{} and {event:?}; GET {path}: {status}", caller.name);
            assert_eq!(caller.heard.contains_key(at), shown.is_some(), "{who}");
            let Some(shown) = shown else { continue };
            for (field, value) in
                event.data.as_object().unwrap().iter().filter(|(field, _)| *field != "removed")
            {
                assert!(shown.get(field).is_some(), "{field}: {who}");
                if newest[&subject(event)] == *at && !moving.contains(&field.as_str()) {
                    assert_eq!(value, &shown[field], "{field}: {who}");
                }
            }
        }
    }
}

/// What is gone is announced to exactly those who heard of it while it was there.
fn check_removed(callers: &[Caller], events: &BTreeMap<u64, Event>, expected: &[Kind]) {
    let removed = |event: &Event| event.data["removed"] == true;
    let gone: BTreeSet<Kind> = events.values().filter(|event| removed(event)).filter_map(kind).collect();
    assert_eq!(gone, expected.iter().copied().collect());
    for (at, event) in events.iter().filter(|(_, event)| removed(event)) {
        for caller in callers {
            let knew = caller.heard.values().any(|one| !removed(one) && subject(one) == subject(event));
            assert_eq!(caller.heard.contains_key(at), knew, "{} and {event:?}", caller.name);
        }
    }
}

/// Makes something of every kind change, as an administrator, and gives the conversations of `owners`.
fn change_everything(gateway: &Gateway, admin: &str, owners: &[&str]) -> Vec<String> {
    let act = |method: &str, path: &str, body: Option<&Value>| {
        let answer = gateway.call(method, path, admin, body);
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
        answer.json()
    };
    act("POST", "/api/v1/servers/qwen/start?wait=true", None);
    let download = act("POST", "/api/v1/downloads", Some(&json!({"model": MODEL})));
    wait_for("the download", || {
        let view = act("GET", &format!("/api/v1/downloads/{}", text(&download["id"])), None);
        (view["status"] == "completed").then_some(())
    });
    act("POST", "/api/v1/profiles", Some(&json!({"name": "made", "model": MODEL})));
    // The first look at them loads them.
    act("GET", "/api/v1/plugins", None);
    act("PUT", "/api/v1/captures", Some(&json!({"on": true, "minutes": 5})));
    let loaded = || act("GET", "/api/v1/system", None)["config"]["loaded_at_ms"].clone();
    let (before, file) = (loaded(), gateway.folder.path().join("config.toml"));
    let config = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{config}\n# changed\n")).unwrap();
    wait_for("the configuration", || (loaded() != before).then_some(()));
    for owner in owners {
        // Recorded, and refused before a backend is asked.
        let chat = json!({"model": "nothing", "messages": []});
        assert_eq!(gateway.call("POST", "/v1/chat/completions", owner, Some(&chat)).status, 404);
    }
    let make = |owner: &&str| {
        let made = gateway.call("POST", "/api/v1/chats", owner, Some(&json!({"title": "mine"})));
        assert_eq!(made.status, 201, "{made:?}");
        text(&made.json()["id"]).to_owned()
    };
    owners.iter().map(make).collect()
}

fn settle(gateway: &Gateway, admin: &str, callers: &mut [Caller], verb: &str, state: &str) {
    let path = format!("/api/v1/servers/other/{verb}");
    assert_eq!(gateway.call("POST", &path, admin, None).status, 200, "{path}");
    callers.iter_mut().for_each(|caller| caller.hear_until(state));
}

/// Reads on until an account's request is told, which is within half a second.
fn until_request(gateway: &Gateway, caller: &mut Caller) {
    let listed = gateway.call("GET", "/api/v1/requests?limit=1", &caller.headers, None).json();
    let is_it =
        |event: &Event| event.name == "request.changed" && event.data["id"] == listed["requests"][0]["id"];
    while !caller.heard.values().any(is_it) {
        let event = next(&mut caller.stream);
        caller.heard.insert(sequence(&event), event);
    }
}

/// The newest event so far about a profile that was added or removed, which is told within a second.
fn until_available(caller: &mut Caller, profile: &str, removed: bool) {
    loop {
        let event = next(&mut caller.stream);
        let found = event.name == "profile.available"
            && event.data["id"] == profile
            && (event.data["removed"] == true) == removed;
        caller.heard.insert(sequence(&event), event);
        if found {
            return;
        }
    }
}

fn remove_everything(gateway: &Gateway, admin: &str, chats: &[(&str, String)]) {
    let remove = |headers: &str, path: &str| {
        let answer = gateway.call("DELETE", path, headers, None);
        assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    };
    remove(admin, "/api/v1/profiles/made");
    remove(admin, &format!("/api/v1/models/{MODEL}"));
    for (owner, id) in chats {
        remove(owner, &format!("/api/v1/chats/{id}"));
    }
}

const REMOVABLE: [Kind; 5] = [
    Kind::ServerChanged,
    Kind::ModelChanged,
    Kind::ProfileChanged,
    Kind::ProfileAvailable,
    Kind::ChatChanged,
];

#[test]
fn events_carry_only_what_the_same_caller_can_read_with_get() {
    let hub = FakeHub::start();
    hub.model(MODEL, 4096);
    let config = format!("[auth]\napi = \"open\"\n{PROFILES}");
    let gateway = Gateway::with_env(&config, &[("HF_ENDPOINT", &hub.url())]);
    let admin = gateway.admin();
    let (ada, _) = gateway.user(&admin, "ada@example.com");
    let (ben, _) = gateway.user(&admin, "ben@example.com");
    let restricted = json!({"name": "one", "scopes": ["inference"], "profiles": ["other"]});
    let (restricted, _) = gateway.key(&ada, &restricted);
    let (reader, _) = gateway.key(&admin, &json!({"name": "reader", "scopes": ["admin-read"]}));
    let (administrator, _) = gateway.key(&admin, &json!({"name": "admin", "scopes": ["admin"]}));
    let traded = gateway.call("POST", "/api/v1/auth/login", "", Some(&json!({"api_key": restricted}))).json();
    let caller = |name, token: &str| Caller::new(&gateway, name, Some(token));
    let mut callers = vec![
        caller("administrator", &admin),
        caller("ordinary session", &ada),
        caller("another ordinary session", &ben),
        caller("restricted key", &restricted),
        caller("session of a restricted key", text(&traded["token"])),
        caller("key: admin-read", &reader),
        caller("key: admin", &administrator),
        Caller::new(&gateway, "nobody, where requests need no key", None),
    ];
    let headers: Vec<String> = callers.iter().map(|caller| caller.headers.clone()).collect();
    let (by, owners) = (headers[0].as_str(), [headers[0].as_str(), headers[1].as_str(), headers[2].as_str()]);

    let chats = change_everything(&gateway, by, &owners);
    let (_, cay) = gateway.user(&admin, "cay@example.com");
    until_available(&mut callers[0], "made", false);
    until_request(&gateway, &mut callers[0]);
    settle(&gateway, by, &mut callers, "start?wait=true", "ready");
    let first = all(&callers, 0);
    let kinds: BTreeSet<Kind> = first.values().filter_map(kind).collect();
    assert_eq!(kinds, Kind::ALL.iter().copied().collect(), "every kind of event has been there");
    check(&gateway, &callers, &first);

    let from = *first.keys().next_back().unwrap();
    let chats: Vec<(&str, String)> = owners.into_iter().zip(chats).collect();
    remove_everything(&gateway, by, &chats);
    assert_eq!(gateway.call("DELETE", &format!("/api/v1/users/{cay}"), by, None).status, 204);
    until_available(&mut callers[0], "made", true);
    settle(&gateway, by, &mut callers, "stop?now=true", "stopped");
    check_removed(&callers, &all(&callers, from), &[&REMOVABLE[..], &[Kind::UserChanged]].concat());
}

#[test]
fn events_of_an_open_gateway_carry_what_its_one_user_can_read_with_get() {
    let hub = FakeHub::start();
    hub.model(MODEL, 4096);
    let gateway = Gateway::with_env(PROFILES, &[("HF_ENDPOINT", &hub.url())]);
    let mut callers = vec![Caller::new(&gateway, "open", None)];
    let chats = change_everything(&gateway, "", &[""]);
    until_available(&mut callers[0], "made", false);
    until_request(&gateway, &mut callers[0]);
    settle(&gateway, "", &mut callers, "start?wait=true", "ready");
    let first = all(&callers, 0);
    // The first account would close it.
    let accounts = [Kind::UserPending, Kind::UserChanged, Kind::UsersPendingCount];
    let kinds: BTreeSet<Kind> = first.values().filter_map(kind).collect();
    assert_eq!(kinds, Kind::ALL.iter().copied().filter(|kind| !accounts.contains(kind)).collect());
    check(&gateway, &callers, &first);

    let from = *first.keys().next_back().unwrap();
    remove_everything(&gateway, "", &[("", chats[0].clone())]);
    until_available(&mut callers[0], "made", true);
    settle(&gateway, "", &mut callers, "stop?now=true", "stopped");
    check_removed(&callers, &all(&callers, from), &REMOVABLE);
}
