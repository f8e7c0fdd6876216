//! Responses that are kept: shown, listed by what was sent for them, and deleted. Nobody sees another's.

use std::convert::Infallible;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::{FutureExt, StreamExt};
use http::header;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::background::told;
use super::of;
use crate::http::caller::ModelCaller;
use crate::http::error::ApiError;
use crate::http::extract::{Json, Path, Query};
use crate::http::openapi::ErrorBody;
use crate::http::state::Shared;
use crate::http::stream;

/// Items of one page.
const ITEMS: usize = 20;
const ITEMS_MAX: usize = 100;

/// How a response is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Shown {
    /// The events instead, of one that was made in the background and is not long over.
    stream: Option<bool>,
    /// Only the events behind the one with this sequence number.
    starting_after: Option<u64>,
}

/// Which items.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only those behind the one with this id.
    after: Option<String>,
    /// 1 to 100; default 20.
    limit: Option<usize>,
    /// `asc`, or `desc`, which is the default.
    order: Option<String>,
}

/// Items, as OpenAI lists them.
#[derive(Debug, Serialize, ToSchema)]
pub struct ItemList {
    object: &'static str,
    #[schema(value_type = Vec<Object>)]
    data: Vec<Value>,
    first_id: String,
    last_id: String,
    has_more: bool,
}

/// What is gone.
#[derive(Debug, Serialize, ToSchema)]
pub struct Deleted {
    id: String,
    object: &'static str,
    deleted: bool,
}

/// Show a response that is kept, or is made in the background; also its events as they come.
#[utoipa::path(
    get, path = "/v1/responses/{id}", tag = "openai", operation_id = "response_get",
    params(("id" = String, Path), Shown),
    responses((status = 200, description = "The response", body = Object), (status = 404, body = ErrorBody))
)]
pub async fn get(
    State(gateway): State<Shared>,
    ModelCaller(caller): ModelCaller,
    Path(id): Path<String>,
    Query(shown): Query<Shown>,
) -> Result<Response, ApiError> {
    let kept = of(&gateway, &caller);
    let job = gateway.making.find(&kept.owner, &id);
    if shown.stream == Some(true) {
        let Some(job) = job else {
            kept.get(&id).await?;
            let words =
                "its events are no longer held, or it was not made in the background; leave \"stream\" out";
            return Err(ApiError::bad_request(words, "stream"));
        };
        let next = shown.starting_after.map_or(0, |after| after.saturating_add(1));
        if let Some(Err(lost)) = job.told(next).now_or_never() {
            return Err(ApiError::bad_request(lost.to_string(), "starting_after"));
        }
        let events = told(job, next).map(Ok::<_, Infallible>);
        let headers =
            [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
        return Ok((headers, stream::body(&caller, events)).into_response());
    }
    match job.filter(|job| !job.is_over()) {
        Some(job) => Ok(Json(job.response()).into_response()),
        None => Ok(Json(kept.get(&id).await?).into_response()),
    }
}

/// Delete a response that is kept.
#[utoipa::path(
    delete, path = "/v1/responses/{id}", tag = "openai", operation_id = "response_delete",
    params(("id" = String, Path)),
    responses((status = 200, body = Deleted), (status = 404, body = ErrorBody))
)]
pub async fn delete(
    State(gateway): State<Shared>,
    ModelCaller(caller): ModelCaller,
    Path(id): Path<String>,
) -> Result<Json<Deleted>, ApiError> {
    let kept = of(&gateway, &caller);
    if let Some(job) = gateway.making.find(&kept.owner, &id) {
        job.cancel();
        job.over().await;
        gateway.making.remove(&id);
    }
    kept.remove(&id).await?;
    Ok(Json(Deleted { id, object: "response", deleted: true }))
}

/// Cancel a response that is made in the background. One that has ended stays as it is.
#[utoipa::path(
    post, path = "/v1/responses/{id}/cancel", tag = "openai", operation_id = "response_cancel",
    params(("id" = String, Path)),
    responses(
        (status = 200, description = "The response", body = Object),
        (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody)
    )
)]
pub async fn cancel(
    State(gateway): State<Shared>,
    ModelCaller(caller): ModelCaller,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let kept = of(&gateway, &caller);
    if let Some(job) = gateway.making.find(&kept.owner, &id) {
        job.cancel();
        job.over().await;
        return Ok(Json(job.response()));
    }
    let response = kept.get(&id).await?;
    if response["background"] == true {
        return Ok(Json(response));
    }
    let words =
        "only responses made in the background can be cancelled; to end one on its way, close its connection";
    Err(ApiError::bad_request(words, "id"))
}

/// List what was sent for a response.
#[utoipa::path(
    get, path = "/v1/responses/{id}/input_items", tag = "openai", operation_id = "response_input_items",
    params(("id" = String, Path), Page),
    responses((status = 200, body = ItemList), (status = 404, body = ErrorBody))
)]
pub async fn input_items(
    State(gateway): State<Shared>,
    ModelCaller(caller): ModelCaller,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<ItemList>, ApiError> {
    let items = of(&gateway, &caller).input(&id).await?;
    Ok(Json(page.of(items)?))
}

impl Page {
    fn of(&self, mut items: Vec<Value>) -> Result<ItemList, ApiError> {
        let limit = self.limit.unwrap_or(ITEMS);
        if !(1..=ITEMS_MAX).contains(&limit) {
            return Err(ApiError::bad_request(format!("\"limit\" is 1 to {ITEMS_MAX}"), "limit"));
        }
        match self.order.as_deref() {
            None | Some("desc") => items.reverse(),
            Some("asc") => {}
            Some(_) => return Err(ApiError::bad_request("\"order\" is asc or desc", "order")),
        }
        if let Some(after) = &self.after {
            let at = items.iter().position(|item| item["id"] == after.as_str());
            let at =
                at.ok_or_else(|| ApiError::bad_request(format!("there is no item \"{after}\""), "after"))?;
            items.drain(..=at);
        }
        let has_more = items.len() > limit;
        items.truncate(limit);
        let id =
            |item: Option<&Value>| item.and_then(|item| item["id"].as_str()).unwrap_or_default().to_owned();
        let (first_id, last_id) = (id(items.first()), id(items.last()));
        Ok(ItemList { object: "list", data: items, first_id, last_id, has_more })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn items_come_page_by_page_the_newest_first_unless_asked_otherwise() {
        let items: Vec<Value> = (0..5).map(|n| json!({"id": n.to_string()})).collect();
        let page = |after: Option<&str>, limit, order: Option<&str>| {
            let page = Page { after: after.map(Into::into), limit, order: order.map(Into::into) };
            page.of(items.clone())
        };
        let first = page(None, Some(2), None).unwrap();
        assert_eq!((first.first_id.as_str(), first.last_id.as_str(), first.has_more), ("4", "3", true));
        let last = page(Some("1"), None, None).unwrap();
        assert_eq!((last.data.len(), last.has_more), (1, false));
        assert_eq!(page(None, None, Some("asc")).unwrap().first_id, "0");
        for wrong in [page(Some("9"), None, None), page(None, Some(0), None), page(None, None, Some("up"))] {
            assert_eq!(wrong.unwrap_err().0.status, 400);
        }
    }
}
