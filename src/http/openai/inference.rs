//! Inference endpoints: identified, then handed to the data plane with their body unread.

use axum::Extension;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::http::caller::ApiCaller;
use crate::http::edge::Arrival;
use crate::http::error::into_response;
use crate::http::state::Shared;
use crate::proxy::Inference;

/// `POST /v1/chat/completions`
pub async fn chat_completions(
    State(gateway): State<Shared>,
    ApiCaller(caller): ApiCaller,
    Extension(arrival): Extension<Arrival>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let inference = Inference {
        endpoint: "/v1/chat/completions",
        path: "/chat/completions",
        caller,
        id: arrival.id,
        client_id: arrival.client_id,
        told_id: arrival.told_id,
        headers: parts.headers,
        body,
    };
    into_response(gateway.proxy.forward(inference).await)
}
