//! `/mcp`: the plugins' tools for MCP clients, over Streamable HTTP. Who may come in is decided as
//! everywhere; the protocol is the SDK's to know.

mod handler;
mod listener;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::json;

use super::caller::{identify, transport};
use super::state::Shared;
use super::stream;
use crate::auth::Scope;
use handler::Handler;

/// Bytes of a message.
const MESSAGE_MAX: usize = 4 << 20;
/// Codes of our own for refusals, in JSON-RPC's range for servers.
const UNAUTHORIZED: i32 = -32_001;
const FORBIDDEN: i32 = -32_003;

/// The one route.
pub fn routes(gateway: &Shared) -> Router<Shared> {
    // Hosts and origins are checked at the edge, for all routes alike.
    let config = StreamableHttpServerConfig::default()
        .disable_allowed_hosts()
        .with_max_request_body_bytes(MESSAGE_MAX)
        .with_cancellation_token(gateway.ending_token());
    let shared = gateway.clone();
    let make = move || Ok(Handler::new(shared.clone()));
    let service = StreamableHttpService::new(make, Arc::new(LocalSessionManager::default()), config);
    Router::new().route_service("/mcp", service).layer(from_fn_with_state(gateway.clone(), admit))
}

/// Lets callers in who may use MCP, and tells the handler who they are.
async fn admit(State(gateway): State<Shared>, mut request: Request<Body>, next: Next) -> Response {
    let transport = transport(request.extensions());
    match identify(request.headers(), request.method(), transport, &gateway) {
        Ok(caller) if caller.has(Scope::Mcp) => {
            request.extensions_mut().insert(caller.clone());
            next.run(request).await.map(|body| stream::limited(&caller, body))
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

fn refuse(status: StatusCode, code: i32, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "id": null, "error": {"code": code, "message": message}});
    (status, axum::Json(body)).into_response()
}
