//! Look-ups and groups, on profiles made here.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::config::{KeepAlive, LaunchSettings, ModelRef, Queue, Timeouts, Upstream};

fn profile(name: &str, aliases: &[&str], model: &str) -> Profile {
    Profile {
        name: name.to_owned(),
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        description: String::new(),
        launch: LaunchSettings {
            engine: EngineKind::MlxOpenaiServer,
            model: Some(ModelRef::Hub(model.to_owned())),
            command: Vec::new(),
            upstream: None,
            model_type: None,
            context_length: None,
            structured: false,
            extra_args: Vec::new(),
            env: BTreeMap::new(),
            trust_remote_code: false,
            memory: None,
        },
        system_prompt: None,
        defaults: serde_json::Map::new(),
        keep_alive: KeepAlive::For(Duration::from_secs(600)),
        pinned: false,
        preload: false,
        auto_download: false,
        max_concurrent: 8,
        queue: Queue::default(),
        timeouts: Timeouts::default(),
        tools: Vec::new(),
    }
}

fn resolved(set: &ProfileSet, model: &str) -> String {
    set.resolve(model).map_or_else(|| "none".to_owned(), |profile| profile.name.clone())
}

#[test]
fn an_exact_name_wins_over_an_alias_and_an_alias_over_a_glob() {
    let set = ProfileSet::new(vec![
        profile("catch-all", &["*"], "m/a"),
        profile("claude", &["claude-*", "opus"], "m/b"),
        profile("haiku", &["claude-*-haiku", "claude-3"], "m/c"),
    ]);
    for (model, name) in [
        ("claude", "claude"),
        ("opus", "claude"),
        ("claude-3", "haiku"),
        ("claude-3-opus", "claude"),
        ("claude-3-haiku", "haiku"),
        ("gpt-4o", "catch-all"),
        ("", "catch-all"),
    ] {
        assert_eq!(resolved(&set, model), name, "{model:?}");
    }
}

#[test]
fn of_equally_specific_globs_the_earlier_profile_has_it() {
    let set = ProfileSet::new(vec![profile("one", &["a-*"], "m/a"), profile("two", &["*-b"], "m/b")]);
    assert_eq!(resolved(&set, "a-b"), "one");
}

#[test]
fn an_unknown_model_is_nobodys() {
    let set = ProfileSet::new(vec![profile("qwen", &["gpt-*"], "m/a")]);
    for model in ["qwen2", "Qwen", "", "gp", "*"] {
        assert_eq!(resolved(&set, model), "none", "{model:?}");
    }
    assert_eq!(resolved(&ProfileSet::default(), "qwen"), "none");
}

#[test]
fn a_name_goes_before_an_earlier_profiles_alias() {
    let set = ProfileSet::new(vec![profile("one", &["two"], "m/a"), profile("two", &[], "m/b")]);
    assert_eq!(resolved(&set, "two"), "two");
    assert!(set.named("two").is_some());
}

#[test]
fn an_alias_is_no_name() {
    let set = ProfileSet::new(vec![profile("qwen", &["gpt-4o"], "m/a")]);
    assert!(set.named("gpt-4o").is_none());
    assert!(set.launch("gpt-4o").is_none());
}

#[test]
fn profiles_with_equal_launch_settings_share_one_backend() {
    let mut terse = profile("qwen-terse", &[], "m/qwen");
    terse.keep_alive = KeepAlive::For(Duration::from_secs(3600));
    terse.preload = true;
    terse.max_concurrent = u32::MAX;
    terse.queue = Queue { size: 5, timeout: Duration::from_secs(900) };
    terse.timeouts.idle = Duration::from_secs(1);
    terse.timeouts.total = Duration::from_secs(7200);
    let set = ProfileSet::new(vec![profile("qwen", &[], "m/qwen"), profile("other", &[], "m/other"), terse]);

    let launch = set.launch("qwen-terse").unwrap();
    assert!(Arc::ptr_eq(launch, set.launch("qwen").unwrap()));
    assert_eq!((launch.id.as_str(), launch.served_name.as_str()), ("qwen", "qwen"));
    assert_eq!(launch.profiles, ["qwen", "qwen-terse"]);
    assert_eq!(launch.keep_alive, KeepAlive::For(Duration::from_secs(3600)));
    assert!(launch.preload && !launch.pinned);
    assert_eq!(launch.max_concurrent, u32::MAX);
    assert_eq!(launch.queue, Queue { size: 105, timeout: Duration::from_secs(900) });
    assert_eq!(launch.timeouts.idle, Timeouts::default().idle);
    assert_eq!(launch.timeouts.total, Duration::from_secs(7200));

    let ids: Vec<&str> = set.launches().iter().map(|launch| launch.id.as_str()).collect();
    assert_eq!(ids, ["qwen", "other"]);
}

#[test]
fn forever_outlasts_any_duration() {
    let mut forever = profile("b", &[], "m/a");
    forever.keep_alive = KeepAlive::Forever;
    let set = ProfileSet::new(vec![profile("a", &[], "m/a"), forever, profile("c", &[], "m/a")]);
    assert_eq!(set.launch("a").unwrap().keep_alive, KeepAlive::Forever);
}

#[test]
fn any_difference_in_launch_settings_makes_another_backend() {
    let mut structured = profile("b", &[], "m/a");
    structured.launch.structured = true;
    let mut memory = profile("c", &[], "m/a");
    memory.launch.memory = Some(1 << 30);
    let mut prompt = profile("d", &[], "m/a");
    prompt.system_prompt = Some("Be brief.".to_owned());
    let set = ProfileSet::new(vec![profile("a", &[], "m/a"), structured, memory, prompt]);
    assert_eq!(set.launches().len(), 3);
    assert_eq!(set.launch("d").unwrap().id, "a");
}

#[test]
fn each_profile_shows_what_runs_behind_it() {
    let mut url = profile("url", &[], "m/a");
    url.launch.engine = EngineKind::Url;
    url.launch.model = None;
    url.launch.upstream = Some(Upstream { url: "http://10.0.0.2:1/v1".to_owned(), api_key: None });
    let mut command = profile("command", &[], "m/a");
    command.launch.engine = EngineKind::Command;
    command.launch.model = None;
    command.launch.command = vec!["/bin/serve".to_owned(), "{port}".to_owned()];
    let set = ProfileSet::new(vec![profile("hub", &[], "m/a"), url, command]);
    let models: Vec<&str> = set.entries().iter().map(|entry| &*entry.model).collect();
    assert_eq!(models, ["m/a", "http://10.0.0.2:1/v1", "/bin/serve"]);
}

#[test]
fn a_backend_keeps_its_name_when_another_profile_comes_first() {
    let ids = |set: &ProfileSet| {
        let launch = |entry: &Entry| format!("{} on {}", entry.name, entry.launch.id);
        set.entries().iter().map(launch).collect::<Vec<_>>()
    };
    let before = ProfileSet::new(vec![profile("a", &[], "m/1"), profile("b", &[], "m/1")]);
    let now = vec![profile("new", &[], "m/1"), profile("a", &[], "m/2"), profile("b", &[], "m/1")];
    let after = ProfileSet::new(now).keeping_names_of(&before);
    assert_eq!(ids(&after), ["new on a", "a on a~2", "b on a"]);
    assert_eq!(after.launches()[0].served_name, "a");
    assert_eq!(after.launches()[0].profiles, ["new", "b"]);
}
