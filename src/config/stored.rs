//! Profiles that did not come from the file: JSON with the keys of a `[[profile]]`, checked as the file
//! is, without what the file alone may say. Knows nothing of where they are kept.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::reader::{Context, Findings, Reader};
use super::tree::{Entry, Node, Table, Value};
use super::values::{Bases, Fault};
use super::{EngineKind, KeepAlive, Origin, Problem, Profile, Warning, profile_read, show_duration};
use super::{Queue, Timeouts};

/// What would make a request a shell, or send the gateway elsewhere.
const FILE_ONLY: [&str; 7] =
    ["command", "url", "env", "extra_args", "trust_remote_code", "api_key_env", "api_key_file"];
const FILE_ENGINES: [&str; 2] = ["command", "url"];
const WHY: &str = "belongs into config.toml alone: what is made through the API is never a shell";
/// Levels of tables in tables.
const DEEPEST: usize = 16;

/// Checks settings as a `[[profile]]` of the file is checked, everything at once. Keys in problems are
/// the profile's own, such as `queue.size`.
pub fn read_stored(
    settings: &Map<String, Json>,
    home: Option<&Path>,
) -> Result<(Profile, Vec<Warning>), Vec<Problem>> {
    let root = Path::new("/");
    let environment = BTreeMap::new();
    let context = Context {
        file: None,
        bases: Bases { file: root, current_dir: root, home },
        environment: &environment,
        findings: RefCell::new(Findings::default()),
    };
    let (allowed, refused): (Vec<_>, Vec<_>) = settings
        .iter()
        .filter(|(_, value)| !value.is_null())
        .partition(|(key, _)| !FILE_ONLY.contains(&key.as_str()));
    let entries = allowed.into_iter().map(|(key, value)| entry(key, value, DEEPEST)).collect();
    let profile = Reader::root(&context, &Table { entries }, |reader| {
        for (key, _) in refused {
            reader.report(key, &Origin::Store, Fault::new(WHY));
        }
        if let Some(engine) = reader.text("engine").filter(|engine| FILE_ENGINES.contains(&engine.as_str())) {
            reader.problem("engine", Fault::new(format!("engine = {engine:?} {WHY}")));
        }
        if let Some(model) =
            reader.text("model").filter(|model| model.starts_with("./") || model.starts_with("../"))
        {
            let fault = Fault::new(format!("{model:?} starts nowhere: this profile stands in no file"));
            reader.problem("model", fault.suggest("write the whole path of the folder"));
        }
        profile_read::read_one(reader)
    });
    let findings = context.findings.into_inner();
    if findings.problems.is_empty() { Ok((profile, findings.warnings)) } else { Err(findings.problems) }
}

/// The keys that [`read_stored`] takes, of any profile, as far as they are not defaults. What the file
/// alone may say is left out, and named in the second part.
pub fn settings_of(profile: &Profile) -> (Map<String, Json>, Vec<&'static str>) {
    let mut all = Map::new();
    let mut put = |key: &str, value: Json| drop(all.insert(key.to_owned(), value));
    put("name", profile.name.as_str().into());
    if !profile.aliases.is_empty() {
        put("aliases", profile.aliases.clone().into());
    }
    if !profile.description.is_empty() {
        put("description", profile.description.as_str().into());
    }
    let launch = &profile.launch;
    if let Some(model) = &launch.model {
        put("model", model.to_string().into());
    }
    if launch.engine != EngineKind::MlxOpenaiServer {
        put("engine", launch.engine.name().into());
    }
    if let Some(model_type) = launch.model_type {
        put("model_type", model_type.name().into());
    }
    if let Some(prompt) = &profile.system_prompt {
        put("system_prompt", prompt.as_str().into());
    }
    if let Some(length) = launch.context_length {
        put("context_length", length.into());
    }
    if let Some(memory) = launch.memory {
        put("memory", memory.into());
    }
    match profile.keep_alive {
        KeepAlive::For(time) if time == profile_read::DEFAULT_KEEP_ALIVE => {}
        KeepAlive::For(time) => put("keep_alive", show_duration(time).into()),
        KeepAlive::Forever => put("keep_alive", "forever".into()),
    }
    let flags = [
        ("pinned", profile.pinned),
        ("preload", profile.preload),
        ("auto_download", profile.auto_download),
        ("structured", launch.structured),
    ];
    for (key, _) in flags.into_iter().filter(|(_, set)| *set) {
        put(key, true.into());
    }
    if profile.max_concurrent != profile_read::DEFAULT_MAX_CONCURRENT {
        put("max_concurrent", profile.max_concurrent.into());
    }
    if !profile.tools.is_empty() {
        put("tools", profile.tools.clone().into());
    }
    if !profile.defaults.is_empty() {
        put("defaults", Json::Object(profile.defaults.clone()));
    }
    let limits = [("queue", queue(&profile.queue)), ("timeouts", timeouts(&profile.timeouts))];
    for (key, table) in limits.into_iter().filter(|(_, table)| !table.is_empty()) {
        put(key, Json::Object(table));
    }
    (all, file_only(profile))
}

/// As a `[[profile]]` of config.toml.
pub fn to_toml(settings: &Map<String, Json>) -> Result<String, toml::ser::Error> {
    #[derive(serde::Serialize)]
    struct File<'a> {
        profile: [&'a Map<String, Json>; 1],
    }
    // The name first; plain values before tables, as TOML wants them.
    let mut all: Vec<(&String, &Json)> = settings.iter().filter(|(_, value)| !value.is_null()).collect();
    all.sort_by_key(|(key, value)| (*key != "name", value.is_object()));
    let ordered: Map<String, Json> =
        all.into_iter().map(|(key, value)| (key.clone(), value.clone())).collect();
    toml::to_string(&File { profile: [&ordered] })
}

/// What a TOML text says of one profile: a `[[profile]]`, or its keys alone.
pub fn settings_from_toml(text: &str) -> Result<Map<String, Json>, String> {
    let mut table: Map<String, Json> = toml::from_str(text).map_err(|error| error.to_string())?;
    match table.remove("profile") {
        None => Ok(table),
        Some(Json::Array(mut all)) if all.len() == 1 && table.is_empty() => match all.pop() {
            Some(Json::Object(settings)) => Ok(settings),
            _ => Err("[[profile]] has to be a table".to_owned()),
        },
        Some(_) => Err("there has to be one [[profile]], and nothing beside it".to_owned()),
    }
}

fn file_only(profile: &Profile) -> Vec<&'static str> {
    let launch = &profile.launch;
    let said = [
        ("command", !launch.command.is_empty()),
        ("url", launch.upstream.is_some()),
        ("env", !launch.env.is_empty()),
        ("extra_args", !launch.extra_args.is_empty()),
        ("trust_remote_code", launch.trust_remote_code),
    ];
    said.into_iter().filter(|(_, said)| *said).map(|(key, _)| key).collect()
}

fn queue(queue: &Queue) -> Map<String, Json> {
    let (usual, mut table) = (Queue::default(), Map::new());
    if queue.size != usual.size {
        table.insert("size".to_owned(), queue.size.into());
    }
    if queue.timeout != usual.timeout {
        table.insert("timeout".to_owned(), show_duration(queue.timeout).into());
    }
    table
}

fn timeouts(timeouts: &Timeouts) -> Map<String, Json> {
    let usual = Timeouts::default();
    let all = [
        ("start", timeouts.start, usual.start),
        ("first_token", timeouts.first_token, usual.first_token),
        ("idle", timeouts.idle, usual.idle),
        ("total", timeouts.total, usual.total),
    ];
    let said = all.into_iter().filter(|(_, time, usual)| time != usual);
    said.map(|(key, time, _)| (key.to_owned(), show_duration(time).into())).collect()
}

fn entry(key: &str, value: &Json, depth: usize) -> Entry {
    Entry { key: key.to_owned(), origin: Origin::Store, node: node(value, depth) }
}

fn node(value: &Json, depth: usize) -> Node {
    let value = match value {
        _ if depth == 0 => Value::Unusable("a table in so many tables"),
        Json::Null => Value::Unusable("null"),
        Json::Bool(boolean) => Value::Boolean(*boolean),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            (None, Some(float)) if float.is_finite() => Value::Float(float),
            _ => Value::Unusable("a number without a finite value"),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Array(items) => Value::List(items.iter().map(|item| node(item, depth - 1)).collect()),
        Json::Object(table) => Value::Table(Table {
            entries: table.iter().map(|(key, value)| entry(key, value, depth - 1)).collect(),
        }),
    };
    Node { value, origin: Origin::Store }
}
