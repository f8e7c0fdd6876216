//! Inference endpoints: identified, then handed to the data plane with their body unread.

use http::{Method, Request, Response};

use super::tools;
use crate::http::caller;
use crate::http::edge::Arrival;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::proxy::{Answer, Inference, failed};

/// An endpoint that asks a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// As clients name it.
    pub path: &'static str,
    /// Below a backend's base path.
    upstream: &'static str,
}

/// All of them; every one is a POST.
pub const ENDPOINTS: [Endpoint; 1] =
    [Endpoint { path: "/v1/chat/completions", upstream: "/chat/completions" }];

impl Endpoint {
    /// The endpoint that a request is for.
    pub fn of(method: &Method, path: &str) -> Option<Endpoint> {
        let found = ENDPOINTS.into_iter().find(|endpoint| endpoint.path == path);
        found.filter(|_| method == Method::POST)
    }
}

/// Identifies the caller and lets the data plane answer.
pub async fn infer<B>(
    gateway: &Shared,
    endpoint: Endpoint,
    arrival: Arrival,
    request: Request<B>,
) -> Response<Answer>
where
    B: http_body::Body<Data = bytes::Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let caller = match caller::identify(&parts.headers, &parts.method, arrival.road, gateway) {
        Ok(caller) => caller,
        Err(error) => return failed(&ApiError::from(error).0),
    };
    let asked = tools::asked(&parts.headers);
    let inference = Inference {
        endpoint: endpoint.path,
        path: endpoint.upstream,
        caller,
        id: arrival.id,
        client_id: arrival.client_id,
        told_id: arrival.told_id,
        headers: parts.headers,
        body,
    };
    let opened = match gateway.proxy.open(inference).await {
        Ok(opened) => opened,
        Err(failure) => return failed(&failure),
    };
    match tools::wanted(asked, &opened) {
        None => opened.answer().await,
        Some(wanted) => tools::answer(gateway, opened, wanted, arrival.id).await,
    }
}
