//! Profiles as configured.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use crate::config::{KeepAlive, KeySource, ModelType};
use crate::http::caller::AdminReader;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::profiles::Entry;

/// `GET /api/v1/profiles`
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Value> {
    let profiles = gateway.proxy.profiles.load();
    let views: Vec<Value> = profiles.entries().iter().map(view).collect();
    Json(json!({"profiles": views}))
}

/// `GET /api/v1/profiles/{name}`
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let profiles = gateway.proxy.profiles.load();
    let entry = profiles.named(&name);
    let entry = entry.ok_or_else(|| ApiError::not_found(format!("there is no profile \"{name}\"")))?;
    Ok(Json(view(entry)))
}

/// Everything but the values of `env`, which may be secret.
fn view(entry: &Entry) -> Value {
    let profile = &entry.profile;
    let launch = &profile.launch;
    let env: Vec<&String> = launch.env.keys().collect();
    json!({
        "name": profile.name,
        "aliases": profile.aliases,
        "description": profile.description,
        "engine": launch.engine.name(),
        "model": launch.model.as_ref().map(ToString::to_string),
        "model_type": launch.model_type.map(ModelType::name),
        "url": launch.upstream.as_ref().map(|upstream| upstream.url.as_str()),
        "api_key_from": launch.upstream.as_ref().and_then(|upstream| upstream.api_key.as_ref()).map(key_source),
        "context_length": launch.context_length,
        "structured": launch.structured,
        "extra_args": launch.extra_args,
        "env": env,
        "trust_remote_code": launch.trust_remote_code,
        "memory_bytes": launch.memory,
        "system_prompt": profile.system_prompt,
        "defaults": profile.defaults,
        "keep_alive_s": match profile.keep_alive {
            KeepAlive::For(time) => json!(time.as_secs_f64()),
            KeepAlive::Forever => json!("forever"),
        },
        "pinned": profile.pinned,
        "preload": profile.preload,
        "max_concurrent": profile.max_concurrent,
        "queue": {"size": profile.queue.size, "timeout_s": profile.queue.timeout.as_secs_f64()},
        "timeouts_s": {
            "start": profile.timeouts.start.as_secs_f64(),
            "first_token": profile.timeouts.first_token.as_secs_f64(),
            "idle": profile.timeouts.idle.as_secs_f64(),
            "total": profile.timeouts.total.as_secs_f64(),
        },
        "backend": entry.launch.id,
    })
}

fn key_source(source: &KeySource) -> String {
    match source {
        KeySource::Env(name) => format!("environment variable {name}"),
        KeySource::File(path) => format!("file {}", path.display()),
    }
}
