//! The models a caller may name: profiles, with their aliases beside them.

use std::collections::HashMap;

use axum::extract::State;
use serde::Serialize;

use crate::config::ModelType;
use crate::dialect::operation::Operation;
use crate::http::caller::ApiCaller;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path};
use crate::http::state::Shared;
use crate::models::Modality;
use crate::profiles::{Entry, ProfileSet};
use crate::proxy::Failure;

/// OpenAI's model object, with more fields. It shows a profile to those who may use it, so it has nothing
/// of how the profile is served.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Model {
    pub id: String,
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
    /// Names of the gateway's tools that its chats are offered; a caller is offered those it may use.
    tools: Vec<String>,
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
    let mut data = all(&gateway, &gateway.proxy.profiles.load_full(), &states(&gateway)).await;
    data.retain(|model| caller.may_use(&model.id));
    Json(Models { object: "list", data })
}

/// Show one model, by a profile's name or alias, slashes included.
#[utoipa::path(get, path = "/v1/models/{*id}", tag = "openai", params(("id" = String, Path)), responses((status = 200, body = Model)))]
pub async fn get(
    State(gateway): State<Shared>,
    ApiCaller(caller): ApiCaller,
    Path(id): Path<String>,
) -> Result<Json<Model>, ApiError> {
    let profiles = gateway.proxy.profiles.load_full();
    let entry = profiles.entry(&id).filter(|entry| caller.may_use(&entry.profile.name));
    let entry = entry.ok_or_else(|| Failure::model_not_found(&id))?;
    Ok(Json(model(entry, &gateway, &states(&gateway)).await))
}

/// Returns the models of these profiles, whoever may use them.
pub async fn all(
    gateway: &Shared,
    profiles: &ProfileSet,
    states: &HashMap<String, &'static str>,
) -> Vec<Model> {
    // At once: several folders that do not answer are one wait.
    let models = profiles.entries().iter().map(|entry| model(entry, gateway, states));
    futures_util::future::join_all(models).await
}

/// Returns the state of each backend by its id.
pub fn states(gateway: &Shared) -> HashMap<String, &'static str> {
    gateway.proxy.backends.snapshot().into_iter().map(|backend| (backend.id, backend.state)).collect()
}

async fn model(entry: &Entry, gateway: &Shared, states: &HashMap<String, &'static str>) -> Model {
    let launch = &entry.profile.launch;
    let model_type = gateway.proxy.models.model_type(launch).await;
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
        input: gateway.proxy.models.input(launch).await.filter(|input| !input.is_empty()),
        capabilities: operations.into_iter().map(Operation::name).collect(),
        tools: entry.profile.tools.clone(),
        state: states.get(&entry.launch.id).copied().unwrap_or("stopped"),
    }
}
