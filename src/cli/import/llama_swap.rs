//! llama-swap's YAML: each of its models becomes a profile, with its macros filled in. Commands that start
//! an MLX server become what this gateway starts by itself; any other becomes `engine = "command"`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::shell::{flag, words};
use super::{Found, Imported, UNKNOWN};

/// Macros within macros; a circle ends there.
const DEPTH_MAX: usize = 16;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    models: Option<BTreeMap<String, Model>>,
    #[serde(default)]
    macros: BTreeMap<String, Value>,
    health_check_timeout: Option<u64>,
    #[serde(rename = "globalTTL")]
    global_ttl: Option<i64>,
    #[serde(default)]
    api_keys: Vec<Value>,
    groups: Option<Value>,
    matrix: Option<Value>,
    peers: Option<Value>,
    hooks: Option<Hooks>,
}

#[derive(Debug, Deserialize)]
struct Hooks {
    on_startup: Option<OnStartup>,
}

#[derive(Debug, Deserialize)]
struct OnStartup {
    #[serde(default)]
    preload: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Model {
    cmd: Option<String>,
    cmd_stop: Option<String>,
    name: Option<String>,
    description: Option<String>,
    #[serde(default)]
    env: Vec<String>,
    proxy: Option<String>,
    check_endpoint: Option<String>,
    ttl: Option<i64>,
    use_model_name: Option<String>,
    filters: Option<Filters>,
    #[serde(default)]
    aliases: Vec<Alias>,
    concurrency_limit: Option<u32>,
    #[serde(default)]
    macros: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filters {
    /// Older files write it with an underscore.
    #[serde(alias = "strip_params")]
    strip_params: Option<String>,
    #[serde(alias = "set_params")]
    set_params: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Alias {
    Name(String),
    Entry { id: String },
}

/// Reads a configuration; `variable` gives what `${env.NAME}` stands for.
pub fn read(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Found, String> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| format!("{UNKNOWN}: {error}"))?;
    let Some(models) = &file.models else { return Err(UNKNOWN.to_owned()) };
    let mut found = Found { program: "llama-swap", ..Found::default() };
    for (name, model) in models {
        let filled = |text: &str| fill(text, name, [&model.macros, &file.macros], &variable, 0);
        found.profiles.push(profile(name, model, &file, &filled));
    }
    let unused = [
        (!file.api_keys.is_empty(), "apiKeys: make keys with `mlx-gateway keys create`"),
        (
            file.groups.is_some() || file.matrix.is_some(),
            "groups and matrix: memory decides what runs together; see docs/memory.md",
        ),
        (file.peers.is_some(), "peers: write each as a profile with engine = \"url\""),
    ];
    found.left_out = unused.iter().filter(|(there, _)| *there).map(|(_, what)| (*what).to_owned()).collect();
    Ok(found)
}

fn profile(name: &str, model: &Model, file: &File, filled: &dyn Fn(&str) -> String) -> Imported {
    let mut ours = Imported::new(name);
    let aliases: Vec<&str> = model.aliases.iter().map(Alias::name).collect();
    if !aliases.is_empty() {
        ours.set("aliases", aliases);
    }
    if let Some(description) =
        model.description.as_ref().or(model.name.as_ref()).filter(|text| !text.is_empty())
    {
        ours.set("description", description.as_str());
    }
    launch(&mut ours, model, filled);
    let env: Map<String, Value> = model
        .env
        .iter()
        .filter_map(|entry| entry.split_once('='))
        .map(|(key, value)| (key.to_owned(), filled(value).into()))
        .collect();
    if !env.is_empty() {
        ours.set("env", env);
    }
    match model.ttl.filter(|ttl| *ttl >= 0).or(file.global_ttl) {
        Some(seconds) if seconds > 0 => ours.set("keep_alive", format!("{seconds}s")),
        _ => ours.set("keep_alive", "forever"),
    }
    if let Some(limit) = model.concurrency_limit.filter(|limit| *limit > 0) {
        ours.set("max_concurrent", limit);
    }
    if let Some(seconds) = file.health_check_timeout {
        ours.set("timeouts", json!({"start": format!("{}s", seconds.max(15))}));
    }
    let preloaded = file.hooks.as_ref().and_then(|hooks| hooks.on_startup.as_ref());
    if preloaded.is_some_and(|hook| hook.preload.iter().any(|wanted| wanted == name)) {
        ours.set("preload", true);
    }
    if let Some(set) = model.filters.as_ref().and_then(|filters| filters.set_params.clone()) {
        ours.set("defaults", set);
        ours.leave_out(
            "setParams overrode what clients sent; as defaults they fill in what clients leave out",
        );
    }
    leave_out(&mut ours, model);
    ours
}

/// What starts it: an engine of the gateway where the command is one, else the command itself.
fn launch(ours: &mut Imported, model: &Model, filled: &dyn Fn(&str) -> String) {
    let Some(cmd) = &model.cmd else {
        ours.leave_out("a model without cmd; fill in what starts it");
        return;
    };
    let Some(words) = words(&filled(cmd)) else {
        ours.leave_out(format!("its cmd has a quote that is not closed: {cmd}"));
        return;
    };
    let program = words.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word));
    let is_module =
        |module: &str| words.windows(2).any(|two| matches!(two, [m, name] if m == "-m" && name == module));
    let model_of = |names: &[&str]| flag(&words, names).map(str::to_owned);
    if program == "mlx-openai-server"
        && let Some(path) = model_of(&["--model-path"])
    {
        ours.set("model", path);
        if let Some(kind) = flag(&words, &["--model-type"]).filter(|kind| *kind != "lm") {
            ours.set("model_type", kind);
        }
        if let Some(context) = flag(&words, &["--context-length"]).and_then(|text| text.parse::<u64>().ok()) {
            ours.set("context_length", context);
        }
        return;
    }
    if (program == "mlx_lm.server" || is_module("mlx_lm.server") || is_module("mlx_lm"))
        && let Some(path) = model_of(&["--model"])
    {
        ours.set("engine", "mlx-lm");
        ours.set("model", path);
        return;
    }
    ours.set("engine", "command");
    ours.set("command", words);
}

fn leave_out(ours: &mut Imported, model: &Model) {
    let own = |proxy: &&String| !proxy.contains("${PORT}");
    if let Some(proxy) = model.proxy.as_ref().filter(own) {
        ours.leave_out(format!(
            "proxy {proxy}: the command has to listen on the port that {{port}} stands for"
        ));
    }
    let usual = ["/health", "/v1/models", "none"];
    if let Some(path) = model.check_endpoint.as_ref().filter(|path| !usual.contains(&path.as_str())) {
        ours.leave_out(format!("checkEndpoint {path}: it is ready when /health or /v1/models answers"));
    }
    if let Some(stop) = &model.cmd_stop {
        ours.leave_out(format!("cmdStop {stop}: a backend is ended with SIGTERM, then SIGKILL"));
    }
    if let Some(name) = model.use_model_name.as_ref().filter(|name| !name.is_empty()) {
        ours.leave_out(format!("useModelName {name}"));
    }
    if let Some(strip) = model.filters.as_ref().and_then(|filters| filters.strip_params.as_ref()) {
        ours.leave_out(format!("stripParams {strip}"));
    }
}

impl Alias {
    fn name(&self) -> &str {
        match self {
            Alias::Name(name) | Alias::Entry { id: name } => name,
        }
    }
}

/// A text with its macros filled in: `${PORT}` becomes what this gateway writes for it; one that is not
/// known stays as it is, so that it is seen.
fn fill(
    text: &str,
    model: &str,
    macros: [&BTreeMap<String, Value>; 2],
    variable: &dyn Fn(&str) -> Option<String>,
    depth: usize,
) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((name, tail)) = after.split_once('}') else {
            out.push_str("${");
            rest = after;
            continue;
        };
        let known = match name {
            "PORT" => Some("{port}".to_owned()),
            "MODEL_ID" => Some(model.to_owned()),
            _ => name.strip_prefix("env.").and_then(variable).or_else(|| {
                let value = macros.iter().find_map(|level| level.get(name))?;
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Some(if depth < DEPTH_MAX { fill(&value, model, macros, variable, depth + 1) } else { value })
            }),
        };
        match known {
            Some(value) => out.push_str(&value),
            None => out.push_str(&format!("${{{name}}}")),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}
