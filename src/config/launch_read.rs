//! The launch settings of a `[[profile]]`: reads them and refuses what would let a profile leave its
//! bounds (address, model, trust, the gateway's own secrets). Knows no settings per request.

use std::collections::BTreeMap;

use super::names::{valid_hub_id, valid_variable};
use super::reader::Reader;
use super::tree::Node;
use super::values::{self, Fault};
use super::{EngineKind, KeySource, LaunchSettings, ModelRef, ModelType, Upstream, environment};

const MODEL_TYPES: [(&str, ModelType); 6] = [
    ("lm", ModelType::Lm),
    ("multimodal", ModelType::Multimodal),
    ("image-generation", ModelType::ImageGeneration),
    ("image-edit", ModelType::ImageEdit),
    ("embeddings", ModelType::Embeddings),
    ("whisper", ModelType::Whisper),
];
/// What the gateway alone decides, by the flags that would change it.
const OWN_FLAGS: [&str; 6] =
    ["--host", "--port", "--model-path", "--model", "--served-model-name", "--trust-remote-code"];
/// From this length on, the start of a flag is a flag too for many programs: `--hos 0.0.0.0`.
const SHORTEST_ABBREVIATION: usize = "--ho".len();
/// Variables of children that would carry the gateway's secrets.
const OWN_VARIABLES: [&str; 2] = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];
const OWN_PREFIXES: [&str; 2] = ["MLX_GATEWAY_", "MLX_MANAGER_"];
const LONGEST_CONTEXT: u32 = 1 << 28;
const BUILTIN: &str = "builtin:";

pub(super) fn read(reader: &Reader<'_>) -> LaunchSettings {
    let engine = reader.choice("engine", &EngineKind::ALL.map(|kind| (kind.name(), kind)));
    let given = engine.unwrap_or(EngineKind::MlxOpenaiServer);
    let settings = LaunchSettings {
        engine: given,
        model: reader.value("model", |node| model(reader, node, given)),
        command: reader.command("command").unwrap_or_default(),
        upstream: read_upstream(reader),
        model_type: reader.choice("model_type", &MODEL_TYPES),
        context_length: reader.integer("context_length", 1..=LONGEST_CONTEXT),
        structured: reader.boolean("structured").unwrap_or(false),
        extra_args: reader.list("extra_args", extra_arg).unwrap_or_default(),
        env: reader.table("env", read_env),
        trust_remote_code: reader.boolean("trust_remote_code").unwrap_or(false),
        memory: reader.bytes("memory", 1..=u64::MAX),
    };
    // After a misspelt engine the rest would be judged by the wrong one.
    if engine.is_some() || !reader.has("engine") {
        check_engine(reader, &settings);
    }
    settings
}

/// What each engine needs, and what it has no use for.
fn check_engine(reader: &Reader<'_>, settings: &LaunchSettings) {
    let engine = settings.engine;
    if engine.runs_mlx() {
        check_model(reader, settings);
    }
    if engine == EngineKind::Command {
        check_command(reader, settings);
    }
    if engine == EngineKind::Url && !reader.has("url") {
        let fault = Fault::new("has no `url`, which engine = \"url\" needs");
        reader.problem("", fault.suggest("add url = \"http://HOST:PORT/v1\""));
    }
    if engine != EngineKind::Command && reader.has("command") {
        reader.problem(
            "command",
            Fault::new(belongs_to("command", engine)).suggest("set engine = \"command\""),
        );
    }
    for key in ["url", "api_key_env", "api_key_file"] {
        if engine != EngineKind::Url && reader.has(key) {
            reader.problem(key, Fault::new(belongs_to("url", engine)).suggest("set engine = \"url\""));
        }
    }
    for key in ["structured", "extra_args", "env", "trust_remote_code", "memory", "model_type"] {
        if engine == EngineKind::Url && reader.has(key) {
            reader.warning(key, Fault::new("has no effect: engine = \"url\" starts no process"));
        }
    }
}

fn belongs_to(owner: &str, engine: EngineKind) -> String {
    format!("belongs to engine = {owner:?}; this profile's engine is {:?}", engine.name())
}

fn check_model(reader: &Reader<'_>, settings: &LaunchSettings) {
    match &settings.model {
        None if !reader.has("model") => {
            let fault =
                Fault::new(format!("has no `model`, which engine = {:?} needs", settings.engine.name()));
            reader.problem(
                "",
                fault.suggest("add model = \"ORGANISATION/NAME\", a folder, or \"builtin:demo\""),
            );
        }
        Some(ModelRef::Folder(folder)) => {
            if let Some(fault) = values::absent(folder, "folder") {
                reader.warning("model", fault.suggest("the profile is unavailable until it is there"));
            }
        }
        _ => {}
    }
}

fn check_command(reader: &Reader<'_>, settings: &LaunchSettings) {
    let holds = |placeholder: &str| settings.command.iter().any(|part| part.contains(placeholder));
    let example = "write command = [\"PROGRAM\", \"--port\", \"{port}\"]";
    if settings.command.is_empty() {
        // A refused list has been reported.
        if !reader.has("command") {
            let fault = Fault::new("has no `command`, which engine = \"command\" needs");
            reader.problem("", fault.suggest(example));
        } else if reader.is_empty_list("command") {
            reader.problem("command", Fault::new("names no program").suggest(example));
        }
        return;
    }
    if !holds("{port}") {
        let fault = Fault::new("does not say {port}: the gateway chooses the port");
        reader.problem("command", fault.suggest(example));
    }
    if holds("{model}") && !reader.has("model") {
        reader.problem("command", Fault::new("says {model}, but there is no `model`"));
    }
    if !settings.extra_args.is_empty() {
        reader.problem("extra_args", Fault::new("belongs into `command` for engine = \"command\""));
    }
}

fn model(reader: &Reader<'_>, node: &Node, engine: EngineKind) -> Result<ModelRef, Fault> {
    let text = values::some_text(node)?;
    let text = text.trim();
    let runs_mlx = engine.runs_mlx();
    if let Some(name) = text.strip_prefix(BUILTIN) {
        return match name {
            "demo" if runs_mlx => Ok(ModelRef::Demo),
            "demo" => Err(Fault::new("\"builtin:demo\" needs engine = \"mlx-openai-server\" or \"mlx-lm\"")),
            _ => Err(Fault::new(format!("{text:?} is not built in")).suggest("write \"builtin:demo\"")),
        };
    }
    // Another server's names are its own.
    if engine == EngineKind::Url {
        return Ok(ModelRef::Hub(text.to_owned()));
    }
    let is_folder = ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start))
        || [".", "..", "~"].contains(&text);
    if is_folder {
        return reader.context.bases.absolute(text, &node.origin).map(ModelRef::Folder);
    }
    if !runs_mlx || valid_hub_id(text) {
        return Ok(ModelRef::Hub(text.to_owned()));
    }
    let fault = Fault::new(format!("{text:?} is not the id of a model on the Hub"));
    let folder = reader
        .context
        .bases
        .absolute(text, &node.origin)
        .is_ok_and(|folder| values::absent(&folder, "folder").is_none());
    Err(fault.suggest(match folder {
        true => format!("for the folder write \"./{text}\""),
        false => "write \"ORGANISATION/NAME\", a folder as \"./NAME\", or \"builtin:demo\"".to_owned(),
    }))
}

fn read_upstream(reader: &Reader<'_>) -> Option<Upstream> {
    let url = reader.value("url", |node| values::http_url(node, "http://HOST:PORT/v1"));
    let variable = reader.value("api_key_env", |node| {
        let name = values::text(node)?;
        if valid_variable(&name) { Ok(name) } else { Err(Fault::new("has to be the name of a variable")) }
    });
    let file = reader.path("api_key_file");
    if reader.has("api_key_env") && reader.has("api_key_file") {
        let fault = Fault::new("`api_key_env` is given too: one key is enough");
        reader.problem("api_key_file", fault.suggest("keep one of them"));
    }
    if let Some(name) =
        variable.as_ref().filter(|name| environment::set(reader.context.environment, name).is_none())
    {
        reader.warning("api_key_env", Fault::new(format!("the variable {name} is not set")));
    }
    if let Some(fault) = file.as_ref().and_then(|path| values::absent(path, "file")) {
        reader.warning("api_key_file", fault);
    }
    let api_key = variable.map(KeySource::Env).or(file.map(KeySource::File));
    url.map(|url| Upstream { url, api_key })
}

fn extra_arg(node: &Node) -> Result<String, Fault> {
    let arg = values::text(node)?;
    if arg.contains('\0') {
        return Err(Fault::new("must not hold a NUL character"));
    }
    let flag = arg.split('=').next().unwrap_or_default().replace('_', "-").to_ascii_lowercase();
    let own = OWN_FLAGS
        .iter()
        .find(|own| **own == flag || (flag.len() >= SHORTEST_ABBREVIATION && own.starts_with(flag.as_str())));
    match own {
        None => Ok(arg),
        Some(own) => {
            let fault =
                Fault::new(format!("must not set {own}: the gateway decides host, port, model and trust"));
            Err(match *own {
                "--trust-remote-code" => fault.suggest("set trust_remote_code = true"),
                "--model" | "--model-path" | "--served-model-name" => {
                    fault.suggest("set `model` of the profile")
                }
                _ => fault,
            })
        }
    }
}

fn read_env(reader: &Reader<'_>) -> BTreeMap<String, String> {
    let secrets = secrets(reader);
    let mut env = BTreeMap::new();
    for entry in reader.entries() {
        let own = OWN_VARIABLES.contains(&entry.key.as_str())
            || OWN_PREFIXES.iter().any(|prefix| entry.key.starts_with(prefix));
        let checked = values::text(&entry.node).and_then(|value| match value {
            _ if !valid_variable(&entry.key) => Err(Fault::new("is not the name of a variable")),
            _ if own => Err(Fault::new("is the gateway's own: its secrets never reach a backend")),
            value if secrets.iter().any(|secret| value.contains(secret)) => {
                Err(Fault::new("holds one of the gateway's own secrets"))
            }
            value if value.contains('\0') => Err(Fault::new("must not hold a NUL character")),
            value => Ok(value),
        });
        match checked {
            Ok(value) => {
                reader.note_origin(&entry.key, &entry.node.origin);
                env.insert(entry.key.clone(), value);
            }
            Err(fault) => reader.report(&entry.key, &entry.origin, fault),
        }
    }
    env
}

/// The gateway's keys as they stand in its environment.
fn secrets<'a>(reader: &Reader<'a>) -> Vec<&'a str> {
    /// Anything shorter turns up by chance.
    const SHORTEST_SECRET: usize = 8;
    let variables = reader.context.environment;
    let names = environment::API_KEYS.into_iter().chain(OWN_VARIABLES);
    let set = names.filter_map(|name| environment::set(variables, name));
    set.filter(|secret| secret.len() >= SHORTEST_SECRET).collect()
}
