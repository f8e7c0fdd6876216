//! A profile as it is shown: its settings, where it stands, and whether what runs behind it is what it
//! says now. Shows names of variables of `env`, never their values.

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use crate::config::{self, KeepAlive, KeySource, ModelType, settings_of};
use crate::http::state::Shared;
use crate::profiles::Placed;

/// Bytes of the digest that make a tag; enough to tell one's changes from another's.
const TAG_BYTES: usize = 8;

#[derive(Debug, Serialize, ToSchema)]
pub struct Profiles {
    pub profiles: Vec<Profile>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Profile {
    pub name: String,
    pub aliases: Vec<String>,
    pub description: String,
    /// `file` or `store`; only the store's can be changed here.
    pub origin: &'static str,
    /// The file has one of the same name, which is in force.
    pub shadowed: bool,
    /// For `If-Match`.
    pub etag: String,
    /// The keys of a `[[profile]]`, as far as they are not defaults: what PUT takes.
    #[schema(value_type = Object)]
    pub settings: Map<String, Value>,
    pub engine: &'static str,
    pub model: Option<String>,
    pub model_type: Option<&'static str>,
    pub url: Option<String>,
    pub api_key_from: Option<String>,
    pub context_length: Option<u32>,
    pub structured: bool,
    pub extra_args: Vec<String>,
    /// Names alone.
    pub env: Vec<String>,
    pub trust_remote_code: bool,
    pub memory_bytes: Option<u64>,
    pub system_prompt: Option<String>,
    #[schema(value_type = Object)]
    pub defaults: Map<String, Value>,
    /// Seconds, or `forever`.
    #[schema(value_type = Object)]
    pub keep_alive_s: Value,
    pub pinned: bool,
    pub preload: bool,
    pub auto_download: bool,
    pub max_concurrent: u32,
    pub queue: QueueView,
    pub timeouts_s: TimeoutsView,
    pub tools: Vec<String>,
    /// Which backend serves it; none while it is shadowed.
    pub backend: Option<String>,
    /// What a start would run now, `{port}` and `{folder}` for what only the start chooses. Of one profile
    /// and of a change; null in the list.
    pub command: Option<Vec<String>>,
    /// Why there is no command.
    pub command_note: Option<String>,
    /// The backend runs with launch settings of before; a restart applies these.
    pub restart_required: bool,
    /// What a change has changed, by key.
    pub changed: Vec<String>,
    pub warnings: Vec<String>,
    /// Milliseconds since 1970, UTC.
    pub created_at: Option<i64>,
    pub updated_at: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct QueueView {
    pub size: u32,
    pub timeout_s: f64,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct TimeoutsView {
    pub start: f64,
    pub first_token: f64,
    pub idle: f64,
    pub total: f64,
}

pub fn of(gateway: &Shared, placed: &Placed) -> Profile {
    let (origin, shadowed, settings, times) = match placed {
        Placed::File(profile) => ("file", false, settings_of(profile).0, None),
        Placed::Store { stored, shadowed } => {
            let times = Some((stored.created_at, stored.updated_at));
            ("store", *shadowed, stored.settings.clone(), times)
        }
    };
    let mut view = bare(placed.profile(), settings);
    (view.origin, view.shadowed) = (origin, shadowed);
    (view.created_at, view.updated_at) = (times.map(|at| at.0), times.map(|at| at.1));
    if !shadowed {
        let profiles = gateway.proxy.profiles.load();
        view.backend = profiles.launch(&view.name).map(|launch| launch.id.clone());
    }
    view
}

/// What a profile says, wherever it stands.
pub fn bare(profile: &config::Profile, settings: Map<String, Value>) -> Profile {
    let launch = &profile.launch;
    let upstream = launch.upstream.as_ref();
    Profile {
        name: profile.name.clone(),
        aliases: profile.aliases.clone(),
        description: profile.description.clone(),
        origin: "store",
        shadowed: false,
        etag: tag(&settings),
        settings,
        engine: launch.engine.name(),
        model: launch.model.as_ref().map(ToString::to_string),
        model_type: launch.model_type.map(ModelType::name),
        url: upstream.map(|upstream| upstream.url.clone()),
        api_key_from: upstream.and_then(|upstream| upstream.api_key.as_ref()).map(key_source),
        context_length: launch.context_length,
        structured: launch.structured,
        extra_args: launch.extra_args.clone(),
        env: launch.env.keys().cloned().collect(),
        trust_remote_code: launch.trust_remote_code,
        memory_bytes: launch.memory,
        system_prompt: profile.system_prompt.clone(),
        defaults: profile.defaults.clone(),
        keep_alive_s: match profile.keep_alive {
            KeepAlive::For(time) => time.as_secs_f64().into(),
            KeepAlive::Forever => "forever".into(),
        },
        pinned: profile.pinned,
        preload: profile.preload,
        auto_download: profile.auto_download,
        max_concurrent: profile.max_concurrent,
        queue: QueueView { size: profile.queue.size, timeout_s: profile.queue.timeout.as_secs_f64() },
        timeouts_s: TimeoutsView {
            start: profile.timeouts.start.as_secs_f64(),
            first_token: profile.timeouts.first_token.as_secs_f64(),
            idle: profile.timeouts.idle.as_secs_f64(),
            total: profile.timeouts.total.as_secs_f64(),
        },
        tools: profile.tools.clone(),
        backend: None,
        command: None,
        command_note: None,
        restart_required: false,
        changed: Vec::new(),
        warnings: Vec::new(),
        created_at: None,
        updated_at: None,
    }
}

/// Changes with the settings, and with nothing else.
pub fn tag(settings: &Map<String, Value>) -> String {
    let mut sorted: Vec<(&String, &Value)> = settings.iter().collect();
    sorted.sort_by_key(|(key, _)| *key);
    let mut digest = Sha256::new();
    for (key, value) in sorted {
        digest.update(format!("{key}={value}\n"));
    }
    let digest = digest.finalize();
    let hex: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

fn key_source(source: &KeySource) -> String {
    match source {
        KeySource::Env(name) => format!("environment variable {name}"),
        KeySource::File(path) => format!("file {}", path.display()),
    }
}
