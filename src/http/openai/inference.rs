//! Inference endpoints: identified, then handed to the data plane with their body unread.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};

use super::{choices, tools};
use crate::auth::{Caller, Permit, Scope};
use crate::dialect::operation::Operation;
use crate::http::caller;
use crate::http::edge::Arrival;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::proxy::{Answer, BoxError, Failure, Inference, discard, failed, refuse};
use crate::tools::chat::Wanted;
use crate::usage::Ledger;

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
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let caller = match known(gateway, &arrival, &parts) {
        Ok(caller) => caller,
        Err(failure) => return failed(&failure),
    };
    let (ledger, body) = match admit(gateway, operation.path(), &caller, &arrival, body).await {
        Ok(admitted) => admitted,
        Err(failure) => return failed(&failure),
    };
    let (tools, headers, told_id) = (tools_asked(&parts.headers), parts.headers, arrival.told_id);
    let inference = Inference { operation, ledger, caller, told_id, headers, body, held: None };
    serve(gateway, inference, tools, false).await
}

/// Who asks by these headers.
pub fn known(gateway: &Shared, arrival: &Arrival, parts: &http::request::Parts) -> Result<Caller, Failure> {
    let known = caller::admit_arrival(&parts.headers, &parts.method, arrival, gateway);
    known.map_err(|error| ApiError::from(error).0)
}

/// Begins the ledger of a request, and admits it by its caller's limits before anything of its body is read.
///
/// # Errors
/// If a limit is reached; the ledger has ended.
pub async fn admit<B>(
    gateway: &Shared,
    endpoint: &'static str,
    caller: &Caller,
    arrival: &Arrival,
    body: B,
) -> Result<(Ledger, B), Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let mut ledger = gateway.proxy.begin(endpoint, caller, arrival.id, arrival.client_id.clone());
    // Without the scope a request is refused where it is resolved, and counts for nobody.
    let admitted = if caller.has(Scope::Inference) { caller.admit() } else { Ok(Permit::unlimited()) };
    match admitted {
        Ok(permit) => {
            ledger.hold(permit);
            Ok((ledger, body))
        }
        Err(error) => {
            let failure = refuse(ledger, Failure::rate_limited(&error));
            discard(body, gateway.proxy.max_body).await;
            Err(failure)
        }
    }
}

/// Admits a request that uses no tokens and leaves no record, such as counting them.
pub async fn admit_work<B>(gateway: &Shared, caller: &Caller, body: B) -> Result<(Permit, B), Failure>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    match caller.admit_work() {
        Ok(permit) => Ok((permit, body)),
        Err(error) => {
            discard(body, gateway.proxy.max_body).await;
            Err(Failure::rate_limited(&error))
        }
    }
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
    B::Error: Into<BoxError>,
{
    let (id, operation) = (inference.ledger.id(), inference.operation);
    let request = match gateway.proxy.open(inference).await {
        Ok(request) => request,
        Err(failure) => return failed(&failure),
    };
    if operation != Operation::Chat {
        return request.answer().await;
    }
    if let Some(wanted) = tools::wanted(asked, &request) {
        // Rare, and large: in a place of its own.
        return Box::pin(tools::answer(gateway, request, wanted, id, told)).await;
    }
    match choices::requested(&request) {
        Ok(None) => request.answer().await,
        Ok(Some(choices)) => Box::pin(choices::answer(gateway, request, choices)).await,
        Err(failure) => request.refuse(failure),
    }
}
