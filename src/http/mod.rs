//! Routes and layers on one screen; the only place that names axum. What the routes do lies below:
//! here requests are told apart, callers are identified, and errors become answers.

mod admin;
mod anthropic;
mod audit;
mod body_timeout;
mod caller;
mod capture;
mod client_io;
mod connection;
mod connections;
mod edge;
mod error;
mod extract;
mod health;
mod holding;
mod hosts;
mod live;
mod mcp;
mod metrics;
mod once;
mod openai;
mod openapi;
mod pace;
mod peer;
mod replays;
mod responses;
mod serve;
mod state;
mod stream;
mod threads;
mod tls;
mod ui;
mod working;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::dialect::operation::Operation;
pub use admin::load_profiles;
pub use edge::Edge;
use error::ApiError;
pub use hosts::Hosts;
pub use live::{publish_backends, publish_requests};
use openai::models;
pub use peer::Peer;
pub use serve::{Listener, Listeners};
pub use state::{About, ConfigStatus, Gateway, Parts, Shared};
pub use tls::acceptor as tls_acceptor;

/// The routes as others hold them.
pub type Routes = Router;

/// Every route. Handlers of the closed ones take who may call them as a parameter; the public ones
/// are [`PUBLIC`].
pub fn routes(gateway: Shared) -> Routes {
    let (described, document) = described();
    if gateway.openapi.set(openapi::text(&document)).is_err() {
        tracing::debug!("The routes were made twice");
    }
    // Inference is answered before the router is asked (`Edge`); here its endpoints refuse the rest.
    let inference = Operation::ALL
        .iter()
        .map(|operation| operation.path())
        .chain(anthropic::Asked::ALL.map(anthropic::Asked::path))
        .chain(responses::Asked::ALL.map(responses::Asked::path))
        .fold(described, |routes, path| routes.route(path, post(unknown_path)));
    inference
        .route("/", get(ui::index))
        .route("/docs", get(openapi::page))
        .route("/docs/docs.js", get(openapi::script))
        .route("/docs/docs.css", get(openapi::style))
        .route("/metrics", get(metrics::page))
        .merge(mcp::routes(&gateway))
        .layer(from_fn_with_state(gateway.clone(), audit::note))
        // Around the audit log: what is answered again was not done again.
        .layer(from_fn_with_state(gateway.clone(), once::act_once))
        .layer(from_fn_with_state(gateway.clone(), holding::hold_body))
        .layer(extract::limit_body(extract::ADMIN_BODY_LIMIT))
        .method_not_allowed_fallback(wrong_method)
        .fallback(ui::serve)
        .with_state(gateway)
}

/// The routes that describe themselves, and their description.
pub fn described() -> (Router<Shared>, OpenApi) {
    let routes = OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(health::live))
        .routes(routes!(health::health))
        .routes(routes!(health::ready))
        .routes(routes!(models::list))
        .routes(routes!(models::get))
        .routes(routes!(responses::get, responses::delete))
        .routes(routes!(responses::cancel))
        .routes(routes!(responses::input_items))
        .routes(routes!(openapi::document))
        .nest("/api/v1", admin::routes());
    let (router, mut document) = routes.split_for_parts();
    openapi::complete(&mut document);
    (router, document)
}

/// Routes that need no caller.
pub const PUBLIC: [&str; 6] = ["/", "/livez", "/health", "/readyz", "/docs/docs.js", "/docs/docs.css"];

async fn unknown_path(request: Request) -> ApiError {
    ApiError::not_found(format!("there is nothing at {} {}", request.method(), request.uri().path()))
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} does not answer to {}", request.uri().path(), request.method());
    let mut error = ApiError::not_found(message);
    (error.0.status, error.0.code) = (405, "method_not_allowed");
    error
}
