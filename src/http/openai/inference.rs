//! Inference endpoints: identified, then handed to the data plane with their body unread.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Limited};

use super::{several, tools};
use crate::auth::Caller;
use crate::dialect::operation::Operation;
use crate::http::caller;
use crate::http::edge::Arrival;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::proxy::{Answer, BoxError, Failure, Inference, failed};
use crate::tools::chat::Wanted;

/// What a request asks of a model, if it does; every such endpoint is a POST.
pub fn operation(method: &Method, path: &str) -> Option<Operation> {
    let found = Operation::ALL.into_iter().find(|operation| operation.path() == path);
    found.filter(|_| method == Method::POST)
}

/// Identifies the caller and lets the data plane answer.
pub async fn infer<B>(
    gateway: &Shared,
    operation: Operation,
    arrival: Arrival,
    request: Request<B>,
) -> Response<Answer>
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin + Send + 'static,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let caller = match caller::identify(&parts.headers, &parts.method, arrival.transport, gateway) {
        Ok(caller) => caller,
        Err(error) => return failed(&ApiError::from(error).0),
    };
    let tools = tools_asked(&parts.headers);
    let inference = Inference {
        operation,
        endpoint: operation.path(),
        caller,
        id: arrival.id,
        client_id: arrival.client_id,
        told_id: arrival.told_id,
        headers: parts.headers,
        body,
    };
    serve(gateway, inference, tools, false).await
}

/// Who asks by these headers.
pub fn known(gateway: &Shared, arrival: &Arrival, parts: &http::request::Parts) -> Result<Caller, Failure> {
    let known = caller::identify(&parts.headers, &parts.method, arrival.transport, gateway);
    known.map_err(|error| ApiError::from(error).0)
}

/// A whole body; `limit` in bytes.
pub async fn read<B>(body: B, limit: u64) -> Result<Bytes, Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let collected = Limited::new(body, most).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|_cut| Failure::too_large(limit))
}

/// Which of the gateway's tools a request's headers ask for.
pub fn tools_asked(headers: &HeaderMap) -> Option<Wanted> {
    tools::asked(headers)
}

/// Passed through in one round, or answered in several where the gateway's tools take part. `told`: what the
/// tools do stands between the chunks.
pub async fn serve<B>(
    gateway: &Shared,
    inference: Inference<B>,
    asked: Option<Wanted>,
    told: bool,
) -> Response<Answer>
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin + Send + 'static,
    B::Error: std::fmt::Display,
{
    let (id, operation) = (inference.id, inference.operation);
    let opened = match gateway.proxy.open(inference).await {
        Ok(opened) => opened,
        Err(failure) => return failed(&failure),
    };
    if operation != Operation::Chat {
        return opened.answer().await;
    }
    if let Some(wanted) = tools::wanted(asked, &opened) {
        // Rare, and large: in a place of its own.
        return Box::pin(tools::answer(gateway, opened, wanted, id, told)).await;
    }
    match several::wanted(&opened) {
        Ok(None) => opened.answer().await,
        Ok(Some(wanted)) => Box::pin(several::answer(gateway, opened, wanted)).await,
        Err(failure) => opened.refuse(&failure),
    }
}
