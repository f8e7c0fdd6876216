//! Models: those on this machine, and those that the hub has.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::fit::{Fit, fit_of};
use crate::config::ModelRef;
use crate::events::{Audience, Kind};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::state::{Gateway, Shared};
use crate::hub::{LibraryError, Listing, LocalModel, ModelSource};
use crate::system::{disk, offload};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Which models.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// Only those that nobody has used for so many days.
    unused_days: Option<u32>,
}

/// Whether to remove a model that stopped profiles name.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Removal {
    #[serde(default)]
    force: bool,
}

/// A model on this machine, and who uses it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ModelView {
    #[serde(flatten)]
    model: LocalModel,
    /// Profiles that name it.
    used_by: Vec<String>,
    /// Those of them whose backend runs.
    running: Vec<String>,
    /// When the last request for it came; null: none is on record.
    last_used_ms: Option<i64>,
    /// Whether it fits into memory; null where too little is known.
    fit: Option<Fit>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ModelList {
    models: Vec<ModelView>,
    /// Of all that are listed.
    total_bytes: u64,
    #[schema(value_type = String)]
    cache: std::path::PathBuf,
    /// Free on the disk of the cache.
    free_bytes: Option<u64>,
    /// Folders whose models are missing here, since their disk does not answer, in words.
    problems: Vec<String>,
}

/// `GET /api/v1/models`: the library.
#[utoipa::path(get, path = "/models", tag = "models", params(Asked), responses((status = 200, body = ModelList)))]
pub async fn list(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Query(asked): Query<Asked>,
) -> Result<Json<ModelList>, ApiError> {
    let Listing { models: listed, problems } = gateway.hub.library.list().await;
    let used = gateway.proxy.recorder.last_used().await?;
    let mut models: Vec<ModelView> = listed.into_iter().map(|model| view(&gateway, model, &used)).collect();
    if let Some(days) = asked.unused_days {
        let since = gateway.proxy.clock.unix_ms() - i64::from(days) * DAY_MS;
        // One that came only lately has had no time to be used.
        let last = |model: &ModelView| model.last_used_ms.max(model.model.modified_at_ms);
        models.retain(|model| model.running.is_empty() && last(model).is_none_or(|at| at < since));
    }
    let cache = gateway.hub.library.cache().to_owned();
    let total_bytes = models.iter().map(|model| model.model.size_bytes).sum();
    let looked_at = cache.clone();
    let free = offload::run(&cache, offload::REQUEST_TIME, move || disk::free_bytes(&looked_at)).await;
    Ok(Json(ModelList { models, total_bytes, free_bytes: free.ok().flatten(), cache, problems }))
}

/// The model of that id on this machine.
pub async fn local(gateway: &Shared, id: &str) -> Result<Option<ModelView>, ApiError> {
    let found = gateway.hub.library.find(id).await?;
    let used = gateway.proxy.recorder.last_used().await?;
    Ok(found.map(|model| view(gateway, model, &used)))
}

/// `DELETE /api/v1/models/{id}`: refused while it is in use; one that stopped profiles name needs
/// `?force=true`.
#[utoipa::path(delete, path = "/models/{*id}", tag = "models", params(("id" = String, Path), Removal), responses((status = 200, body = ModelView)))]
pub async fn remove(
    State(gateway): State<Shared>,
    _caller: Admin,
    Path(id): Path<String>,
    Query(removal): Query<Removal>,
) -> Result<Json<ModelView>, ApiError> {
    let missing = || ApiError::not_found(LibraryError::Unknown(id.clone()).to_string());
    let found = local(&gateway, &id).await?.ok_or_else(missing)?;
    if let Some(reason) = in_use(&gateway, &found, removal.force).await? {
        return Err(conflict(format!("{id} {reason}")));
    }
    gateway.hub.library.remove(&id).await.map_err(|error| match error {
        LibraryError::Unknown(_) => missing(),
        LibraryError::NotOurs { .. } => conflict(error.to_string()),
        LibraryError::Unanswered(error) => error.into(),
        LibraryError::Disk { .. } => ApiError::internal("the model could not be removed", &error),
    })?;
    tracing::info!(model = id, "A model was removed by request");
    let gone = serde_json::json!({"id": id, "removed": true});
    gateway.events.publish(Kind::ModelChanged, Audience::Readers, &gone);
    Ok(Json(found))
}

/// By what it is in use.
async fn in_use(gateway: &Shared, found: &ModelView, force: bool) -> Result<Option<String>, ApiError> {
    if !found.running.is_empty() {
        let names = found.running.join(", ");
        return Ok(Some(format!("is in use by {names}; stop it first: `mlx-gateway stop {names}`")));
    }
    if gateway.hub.downloads.is_open(&found.model.id).await? {
        return Ok(Some("is being downloaded; cancel the download first".to_owned()));
    }
    if !found.used_by.is_empty() && !force {
        let names = found.used_by.join(", ");
        return Ok(Some(format!(
            "is the model of {names}, which could not start any more; remove it all the same with `--force`"
        )));
    }
    Ok(None)
}

impl ModelView {
    pub fn facts(&self) -> Option<Arc<crate::models::Facts>> {
        self.model.facts.clone()
    }
}

fn view(gateway: &Gateway, model: LocalModel, used: &HashMap<Arc<str>, i64>) -> ModelView {
    let profiles = gateway.proxy.profiles.load();
    let names = |entry: &&crate::profiles::Entry| match &entry.profile.launch.model {
        Some(ModelRef::Hub(id)) => model.source == ModelSource::Cache && *id == model.id,
        Some(ModelRef::Folder(folder)) => *folder == model.path,
        _ => false,
    };
    let used_by: Vec<String> =
        profiles.entries().iter().filter(names).map(|entry| entry.profile.name.clone()).collect();
    let mut running = Vec::new();
    for backend in gateway.proxy.backends.snapshot() {
        if !matches!(backend.state, "stopped" | "failed") {
            running.extend(backend.profiles.iter().filter(|name| used_by.contains(name)).cloned());
        }
    }
    let fit = model.facts.as_deref().and_then(|facts| fit_of(facts, gateway.about.memory_budget_bytes));
    let last_used_ms = used.get(model.id.as_str()).copied();
    ModelView { model, used_by, running, last_used_ms, fit }
}

fn conflict(message: String) -> ApiError {
    let mut error = ApiError::bad_request(message, "id");
    (error.0.status, error.0.code) = (409, "conflict");
    error
}
