//! Profiles as configured.

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;

use crate::config::{KeepAlive, KeySource, ModelType};
use crate::http::caller::AdminReader;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::state::Shared;
use crate::profiles::Entry;

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProfilesView {
    profiles: Vec<ProfileView>,
}

/// A profile; everything but the values of `env`, which may be secret.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ProfileView {
    name: String,
    aliases: Vec<String>,
    description: String,
    engine: &'static str,
    /// A Hub id, a folder or `builtin:demo`.
    model: Option<String>,
    model_type: Option<&'static str>,
    url: Option<String>,
    /// Where the upstream's key is read from.
    api_key_from: Option<String>,
    /// Tokens.
    context_length: Option<u32>,
    structured: bool,
    extra_args: Vec<String>,
    /// Names of variables.
    env: Vec<String>,
    trust_remote_code: bool,
    memory_bytes: Option<u64>,
    system_prompt: Option<String>,
    /// Request fields that are filled in where a client sends none.
    #[schema(value_type = Object)]
    defaults: Value,
    keep_alive_s: KeepAliveView,
    pinned: bool,
    preload: bool,
    max_concurrent: u32,
    queue: QueueView,
    timeouts_s: TimeoutsView,
    /// The backend that serves it.
    backend: String,
}

/// Seconds, or `forever`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum KeepAliveView {
    Seconds(f64),
    Word(&'static str),
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct QueueView {
    size: u32,
    timeout_s: f64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct TimeoutsView {
    start: f64,
    first_token: f64,
    idle: f64,
    total: f64,
}

/// List the profiles.
#[utoipa::path(get, path = "/profiles", tag = "profiles", responses((status = 200, body = ProfilesView)))]
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<ProfilesView> {
    let profiles = gateway.proxy.profiles.load();
    Json(ProfilesView { profiles: profiles.entries().iter().map(view).collect() })
}

/// Show one profile.
#[utoipa::path(get, path = "/profiles/{name}", tag = "profiles", responses((status = 200, body = ProfileView)))]
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(name): Path<String>,
) -> Result<Json<ProfileView>, ApiError> {
    let profiles = gateway.proxy.profiles.load();
    let entry = profiles.named(&name);
    let entry = entry.ok_or_else(|| ApiError::not_found(format!("there is no profile \"{name}\"")))?;
    Ok(Json(view(entry)))
}

fn view(entry: &Entry) -> ProfileView {
    let profile = &entry.profile;
    let launch = &profile.launch;
    let upstream = launch.upstream.as_ref();
    ProfileView {
        name: profile.name.clone(),
        aliases: profile.aliases.clone(),
        description: profile.description.clone(),
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
        defaults: serde_json::json!(profile.defaults),
        keep_alive_s: match profile.keep_alive {
            KeepAlive::For(time) => KeepAliveView::Seconds(time.as_secs_f64()),
            KeepAlive::Forever => KeepAliveView::Word("forever"),
        },
        pinned: profile.pinned,
        preload: profile.preload,
        max_concurrent: profile.max_concurrent,
        queue: QueueView { size: profile.queue.size, timeout_s: profile.queue.timeout.as_secs_f64() },
        timeouts_s: TimeoutsView {
            start: profile.timeouts.start.as_secs_f64(),
            first_token: profile.timeouts.first_token.as_secs_f64(),
            idle: profile.timeouts.idle.as_secs_f64(),
            total: profile.timeouts.total.as_secs_f64(),
        },
        backend: entry.launch.id.clone(),
    }
}

fn key_source(source: &KeySource) -> String {
    match source {
        KeySource::Env(name) => format!("environment variable {name}"),
        KeySource::File(path) => format!("file {}", path.display()),
    }
}
