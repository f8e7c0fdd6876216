//! The models a caller may name: profiles, with their aliases beside them.

use std::collections::HashMap;

use axum::extract::State;
use serde::Serialize;

use crate::auth::Caller;
use crate::config::ModelType;
use crate::dialect::operation::Operation;
use crate::http::caller::ApiCaller;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::state::Shared;
use crate::models::Modality;
use crate::profiles::Entry;
use crate::proxy::Failure;

/// OpenAI's model object; what goes beyond it stands in fields of its own.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Model {
    id: String,
    object: &'static str,
    /// Seconds since 1970.
    created: i64,
    owned_by: &'static str,
    description: String,
    aliases: Vec<String>,
    /// Tokens; null: unknown.
    context_length: Option<u32>,
    /// lm, multimodal, embeddings, whisper, image-generation or image-edit; null: unknown.
    model_type: Option<&'static str>,
    /// What may be asked of it: chat, completions, embeddings, images, image-edits, transcriptions.
    capabilities: Vec<&'static str>,
    /// What goes in: text, image, audio, video; null: unknown.
    input: Option<Vec<Modality>>,
    /// What its backend does now: stopped, preparing, loading, ready, draining, stopping or failed.
    state: &'static str,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Models {
    object: &'static str,
    data: Vec<Model>,
}

/// List the models that the caller may name: profiles.
#[utoipa::path(get, path = "/v1/models", tag = "openai", responses((status = 200, body = Models)))]
pub async fn list(State(gateway): State<Shared>, ApiCaller(caller): ApiCaller) -> Json<Models> {
    let profiles = gateway.proxy.profiles.load();
    let seen = profiles.entries().iter().filter(|entry| may_see(&caller, entry));
    let states = states(&gateway);
    let data = seen.map(|entry| model(entry, &gateway, &states)).collect();
    Json(Models { object: "list", data })
}

/// Show one model, by a profile's name or alias, slashes included.
#[utoipa::path(get, path = "/v1/models/{*id}", tag = "openai", params(("id" = String, Path)), responses((status = 200, body = Model)))]
pub async fn get(
    State(gateway): State<Shared>,
    ApiCaller(caller): ApiCaller,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    let profiles = gateway.proxy.profiles.load();
    let entry = profiles.entry(&id).filter(|entry| may_see(&caller, entry));
    let entry = entry.ok_or_else(|| Failure::model_not_found(&id))?;
    Ok(Json(model(entry, &gateway, &states(&gateway))))
}

fn may_see(caller: &Caller, entry: &Entry) -> bool {
    caller.may_use(&entry.profile.name)
}

/// What each backend does, by its id.
fn states(gateway: &Shared) -> HashMap<String, &'static str> {
    gateway.proxy.backends.snapshot().into_iter().map(|backend| (backend.id, backend.state)).collect()
}

fn model(entry: &Entry, gateway: &Shared, states: &HashMap<String, &'static str>) -> Model {
    let launch = &entry.profile.launch;
    let model_type = gateway.proxy.kinds.of(launch);
    let operations = Operation::served_by(launch.engine, model_type);
    Model {
        id: entry.profile.name.clone(),
        object: "model",
        created: gateway.about.started_at / 1000,
        owned_by: "mlx-gateway",
        description: entry.profile.description.clone(),
        aliases: entry.profile.aliases.clone(),
        context_length: launch.context_length,
        model_type: model_type.map(ModelType::name),
        input: gateway.proxy.kinds.input(launch).map(|input| input.to_vec()),
        capabilities: operations.into_iter().map(Operation::name).collect(),
        state: states.get(&entry.launch.id).copied().unwrap_or("stopped"),
    }
}
