//! `/mcp`: the plugins' tools for MCP clients, over Streamable HTTP. Who may come in is decided as
//! everywhere; the protocol is the SDK's to know.

mod handler;
mod listener;
mod rate;
mod session_table;
mod sessions;

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;

use super::caller;
use super::edge::Arrival;
use super::state::Shared;
use super::stream;
use crate::auth::{Caller, Scope};
use crate::bodies::Weight;
use crate::proxy::Failure;
use handler::Handler;
use session_table::Full;
use sessions::{SessionError, Sessions, Visit};

/// Bytes of a message.
const MESSAGE_MAX: usize = 4 << 20;
/// Where it is.
pub const PATH: &str = "/mcp";
/// Codes of our own for refusals, in JSON-RPC's range for servers.
const UNAUTHORIZED: i32 = -32_001;
const FORBIDDEN: i32 = -32_003;
const TOO_MANY_SESSIONS: i32 = -32_004;
/// JSON-RPC's own.
const INVALID_REQUEST: i32 = -32_600;
/// Seconds after which another `initialize` makes sense.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");
const TIMED_OUT: i32 = -32_008;
const NO_ROOM: i32 = -32_005;

/// The one route.
pub fn routes(gateway: &Shared) -> Router<Shared> {
    // Hosts and origins are checked at the edge, for all routes alike.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .with_max_request_body_bytes(MESSAGE_MAX)
        .with_cancellation_token(gateway.ending_token());
    let shared = gateway.clone();
    let make = move || Ok(Handler::new(shared.clone(), Visit::session_end()));
    let sessions = Arc::new(Sessions::new(gateway.tasks.clone()));
    let service = StreamableHttpService::new(make, sessions, config);
    Router::new().route_service("/mcp", service).layer(from_fn_with_state(gateway.clone(), admit))
}

/// Lets callers in who may use MCP, and tells the handler who they are.
async fn admit(State(gateway): State<Shared>, mut request: Request<Body>, next: Next) -> Response {
    match caller::admit(request.headers(), request.method(), request.extensions(), &gateway) {
        Ok(caller) if caller.has(Scope::Mcp) => {
            request.extensions_mut().insert(caller.clone());
            visit(&caller, request, next).await.map(|body| stream::limited(&caller, body))
        }
        Ok(_) => {
            refuse(StatusCode::FORBIDDEN, FORBIDDEN, "this key may not use MCP; use one with the scope mcp")
        }
        Err(error) => {
            let mut answer = refuse(StatusCode::UNAUTHORIZED, UNAUTHORIZED, &error.to_string());
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
    }
}

/// Answers a request of a caller who may use MCP.
async fn visit(caller: &Caller, request: Request<Body>, next: Next) -> Response {
    let address = request.extensions().get::<Arrival>().and_then(|arrival| arrival.address);
    let request = match weighed(request).await {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST, &error),
    };
    let (request, standing) = match rate::admit(caller, request).await {
        Ok(admitted) => admitted,
        Err(answer) => return answer,
    };
    let error = match Visit::new(caller, address).run(next.run(request)).await {
        Ok(mut answer) => {
            answer.headers_mut().extend(standing);
            return answer;
        }
        Err(error) => error,
    };
    let (status, code) = match &error {
        SessionError::Full(Full::OfOwner) => (StatusCode::TOO_MANY_REQUESTS, TOO_MANY_SESSIONS),
        SessionError::Full(Full::InAll) => (StatusCode::SERVICE_UNAVAILABLE, TOO_MANY_SESSIONS),
        SessionError::TooLarge | SessionError::Local(_) => (StatusCode::PAYLOAD_TOO_LARGE, INVALID_REQUEST),
    };
    let mut answer = refuse(status, code, &error.to_string());
    if matches!(error, SessionError::Full(_)) {
        answer.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    answer
}

/// The request, unless its message is too large, or would be as a tree.
async fn weighed(request: Request<Body>) -> Result<Request<Body>, String> {
    let (parts, body) = request.into_parts();
    let whole = to_bytes(body, MESSAGE_MAX).await;
    let body = whole.map_err(|_cut| format!("a message has at most {MESSAGE_MAX} bytes"))?;
    Weight::of(&body).check().map_err(|error| error.to_string())?;
    Ok(Request::from_parts(parts, Body::from(body)))
}

/// Refuses a message that came too slowly.
pub fn timed_out(failure: &Failure) -> Response {
    refuse(StatusCode::REQUEST_TIMEOUT, TIMED_OUT, &failure.message)
}

/// Refuses a message that there is no room for.
pub fn no_room(failure: &Failure) -> Response {
    let mut answer = refuse(StatusCode::SERVICE_UNAVAILABLE, NO_ROOM, &failure.message);
    if let Some(seconds) = failure.retry_after_s {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

fn refuse(status: StatusCode, code: i32, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
    (status, axum::Json(body)).into_response()
}
