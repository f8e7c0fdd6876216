//! What the hub has: search, one model's details, and the token it is asked with.

use std::sync::Arc;

use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::fit::{Fit, fit_of};
use super::models::{self, ModelView};
use crate::http::caller::{Admin, AdminReader};
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query, Raw};
use crate::http::state::Shared;
use crate::hub::{self, Details, Hit, HubError, Sort, TokenOrigin};
use crate::models::Facts;
use crate::system::offload;

/// Longest page of a search.
const LIMIT_MAX: usize = 100;
/// Longest README that is passed on, in characters.
const README_MAX: usize = 256 << 10;

/// What is looked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    q: Option<String>,
    author: Option<String>,
    /// `mlx` without a wish; `any` for all.
    library: Option<String>,
    sort: Option<String>,
    limit: Option<usize>,
    offset: Option<usize>,
    /// False: without looking into the hits.
    facts: Option<bool>,
}

/// Whether to ask the hub too.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// False: only what is on this machine.
    hub: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct SearchHit {
    #[serde(flatten)]
    model: Hit,
    /// Null where they could not be had in time.
    #[schema(value_type = Option<Facts>)]
    facts: Option<Arc<Facts>>,
    fit: Option<Fit>,
    /// Whether it is on this machine, whole.
    local: bool,
}

#[derive(Debug, Default, Serialize, ToSchema)]
pub struct SearchResult {
    models: Vec<SearchHit>,
    /// Where the next page begins; null on the last one.
    next_offset: Option<usize>,
    /// Why the hub gave nothing: it cannot be reached, or asks for fewer requests.
    problem: Option<HubProblem>,
}

/// What the hub said instead, in words.
#[derive(Debug, Serialize, ToSchema)]
pub struct HubProblem {
    code: &'static str,
    message: String,
    retry_after_s: Option<f64>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ModelDetails {
    id: String,
    /// Null where it is not on this machine.
    local: Option<ModelView>,
    /// Null where the hub was not asked, or gave nothing.
    hub: Option<Details>,
    #[schema(value_type = Option<Facts>)]
    facts: Option<Arc<Facts>>,
    fit: Option<Fit>,
    readme: Option<String>,
    problem: Option<HubProblem>,
}

/// How the hub is asked.
#[derive(Debug, Serialize, ToSchema)]
pub struct HubSettings {
    endpoint: String,
    /// Where the token comes from; null: there is none.
    token_from: Option<TokenOrigin>,
}

/// The token itself is never shown again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    token: String,
}

/// `GET /api/v1/models/search`: a hub that cannot be asked is an answer with its problem, not an error.
#[utoipa::path(get, path = "/models/search", tag = "hub", params(Asked), responses((status = 200, body = SearchResult)))]
pub async fn search(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Query(asked): Query<Asked>,
) -> Result<Json<SearchResult>, ApiError> {
    let with_facts = asked.facts.unwrap_or(true);
    let query = query(asked)?;
    gateway.hub.downloads.load().await?;
    let hits = match gateway.hub.client.search(&query).await {
        Ok(hits) => hits,
        Err(error) => {
            return Ok(Json(SearchResult { problem: Some(error.into()), ..SearchResult::default() }));
        }
    };
    let next = query.offset + query.limit;
    let next_offset = (hits.len() == query.limit && next < hub::REACH).then_some(next);
    let facts = match with_facts {
        true => gateway.hub.facts.of_hits(&gateway.hub.client, &hits).await,
        false => vec![None; hits.len()],
    };
    let budget = gateway.about.memory_budget_bytes;
    let cache = gateway.hub.downloads.cache().to_owned();
    let ids: Vec<String> = hits.iter().map(|hit| hit.id.clone()).collect();
    let place = cache.clone();
    let look = move || {
        ids.iter()
            .map(|id| crate::models::hub_cache::cached_snapshot(&cache, id).is_some())
            .collect::<Vec<_>>()
    };
    // Of a cache that does not answer nothing is known to be here.
    let local = offload::run(&place, offload::REQUEST_TIME, look).await;
    let local = local.unwrap_or_else(|_| vec![false; hits.len()]);
    let hit = |((model, facts), local): ((Hit, Option<Arc<Facts>>), bool)| SearchHit {
        local,
        fit: facts.as_deref().and_then(|facts| fit_of(facts, budget)),
        facts,
        model,
    };
    Ok(Json(SearchResult {
        models: hits.into_iter().zip(facts).zip(local).map(hit).collect(),
        next_offset,
        problem: None,
    }))
}

/// `GET /api/v1/models/{id}`: what is on this machine and what the hub says, together.
#[utoipa::path(get, path = "/models/{*id}", tag = "hub", params(("id" = String, Path), Wanted), responses((status = 200, body = ModelDetails)))]
pub async fn get(
    State(gateway): State<Shared>,
    _caller: AdminReader,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<ModelDetails>, ApiError> {
    let local = models::local(&gateway, &id).await?;
    let mut details =
        ModelDetails { id, local, hub: None, facts: None, fit: None, readme: None, problem: None };
    if wanted.hub.unwrap_or(true) && crate::config::valid_hub_id(&details.id) {
        gateway.hub.downloads.load().await?;
        match gateway.hub.client.details(&details.id).await {
            Ok(hub) => look_into(&gateway, &mut details, hub).await,
            Err(error) if details.local.is_none() => return Err(error.into()),
            Err(error) => details.problem = Some(error.into()),
        }
    }
    if details.local.is_none() && details.hub.is_none() {
        return Err(ApiError::not_found(format!("there is no model \"{}\"", details.id)));
    }
    if let Some(facts) = details.local.as_ref().and_then(ModelView::facts) {
        details.facts = Some(facts);
    }
    let budget = gateway.about.memory_budget_bytes;
    details.fit = details.facts.as_deref().and_then(|facts| fit_of(facts, budget));
    Ok(Json(details))
}

/// `GET /api/v1/hub`
#[utoipa::path(get, path = "/hub", tag = "hub", responses((status = 200, body = HubSettings)))]
pub async fn settings(
    State(gateway): State<Shared>,
    _caller: AdminReader,
) -> Result<Json<HubSettings>, ApiError> {
    gateway.hub.downloads.load().await?;
    Ok(Json(read_settings(&gateway).await))
}

/// `PUT /api/v1/hub/token`
#[utoipa::path(put, path = "/hub/token", tag = "hub", request_body = NewToken,
    responses((status = 200, body = HubSettings)))]
pub async fn set_token(
    State(gateway): State<Shared>,
    _caller: Admin,
    Raw(body): Raw,
) -> Result<Json<HubSettings>, ApiError> {
    // Without the parser's words: they could repeat a piece of the token.
    let wrong = || ApiError::bad_request("the body is {\"token\": \"hf_…\"}", "token");
    let new: NewToken = serde_json::from_slice(&body).map_err(|_parser| wrong())?;
    let token = new.token.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(wrong());
    }
    gateway.hub.downloads.load().await?;
    gateway.hub.set_token(Some(token.to_owned())).await?;
    tracing::info!("The hub's token was set by request");
    Ok(Json(read_settings(&gateway).await))
}

/// `DELETE /api/v1/hub/token`
#[utoipa::path(delete, path = "/hub/token", tag = "hub", responses((status = 200, body = HubSettings)))]
pub async fn remove_token(
    State(gateway): State<Shared>,
    _caller: Admin,
) -> Result<Json<HubSettings>, ApiError> {
    gateway.hub.downloads.load().await?;
    gateway.hub.set_token(None).await?;
    Ok(Json(read_settings(&gateway).await))
}

/// The facts of a model that is not here; none where the hub cannot be asked.
pub async fn facts_of(gateway: &Shared, model: &str) -> Option<Facts> {
    if !crate::config::valid_hub_id(model) || gateway.hub.downloads.load().await.is_err() {
        return None;
    }
    let details = gateway.hub.client.details(model).await.ok()?;
    let facts = gateway.hub.facts.of_hit(&gateway.hub.client, &details.model).await.ok()?;
    Some(Facts::clone(&facts))
}

async fn look_into(gateway: &Shared, details: &mut ModelDetails, hub: Details) {
    let client = &gateway.hub.client;
    let commit = hub.model.commit.clone().unwrap_or_else(|| "main".to_owned());
    let (facts, readme) = tokio::join!(
        gateway.hub.facts.of_hit(client, &hub.model),
        client.small_file(&details.id, &commit, "README.md"),
    );
    match facts {
        Ok(facts) => details.facts = Some(facts),
        Err(error) => details.problem = Some(error.into()),
    }
    if let Ok(Some(bytes)) = readme {
        details.readme = Some(String::from_utf8_lossy(&bytes).chars().take(README_MAX).collect());
    }
    details.hub = Some(hub);
}

fn query(asked: Asked) -> Result<hub::Query, ApiError> {
    let filled = |text: Option<String>| text.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty());
    let sort = match filled(asked.sort) {
        None => Sort::default(),
        Some(name) => Sort::from_name(&name).ok_or_else(|| {
            let known = Sort::ALL.map(Sort::name).join(", ");
            ApiError::bad_request(format!("sort is one of {known}, not \"{name}\""), "sort")
        })?,
    };
    let limit = asked.limit.unwrap_or(hub::LIMIT).clamp(1, LIMIT_MAX);
    let offset = asked.offset.unwrap_or(0);
    if offset + limit > hub::REACH {
        let message = format!("a search reaches to {}; search more closely", hub::REACH);
        return Err(ApiError::bad_request(message, "offset"));
    }
    let library = filled(asked.library).unwrap_or_else(|| "mlx".to_owned());
    Ok(hub::Query {
        text: filled(asked.q),
        author: filled(asked.author),
        library: (library != "any").then_some(library),
        sort,
        limit,
        offset,
    })
}

async fn read_settings(gateway: &Shared) -> HubSettings {
    let client = &gateway.hub.client;
    HubSettings {
        endpoint: client.endpoint().to_owned(),
        token_from: client.token().find().await.map(|(_, origin)| origin),
    }
}

impl From<HubError> for HubProblem {
    fn from(error: HubError) -> Self {
        let retry_after_s = error.retry_after().map(|wait| wait.as_secs_f64());
        HubProblem { code: error.code(), message: error.to_string(), retry_after_s }
    }
}

impl From<HubError> for ApiError {
    fn from(error: HubError) -> Self {
        let mut failed = ApiError::bad_request(error.to_string(), "id");
        failed.0.code = error.code();
        failed.0.status = match &error {
            HubError::BadId(_) => 400,
            HubError::Gated { .. } | HubError::NoAccess { .. } => 403,
            HubError::NotFound(_) => 404,
            HubError::Status { .. } | HubError::Malformed(_) => 502,
            HubError::Offline { .. }
            | HubError::Cut { .. }
            | HubError::Silent { .. }
            | HubError::RateLimited { .. } => 503,
        };
        if failed.0.status >= 500 {
            failed.0.kind = "server_error";
        }
        failed.0.retry_after_s =
            error.retry_after().map(|wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX));
        failed
    }
}
