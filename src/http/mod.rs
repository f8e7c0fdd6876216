//! Routes and layers on one screen; the only place that names axum. What the routes do lies below:
//! here requests are told apart, callers are identified, and errors become answers.

mod admin;
mod caller;
mod edge;
mod error;
mod health;
mod hosts;
mod live;
mod mcp;
mod openai;
mod serve;
mod state;
mod threads;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};

pub use admin::load_profiles;
pub use edge::Edge;
use error::ApiError;
pub use hosts::Hosts;
pub use live::tell_servers;
use openai::{inference, models};
pub use serve::{Listener, Listeners};
pub use state::{About, ConfigStatus, Gateway, Parts, Shared};

/// The routes as others hold them.
pub type Routes = Router;

/// Every route. Handlers of the closed ones take who may call them as a parameter; the public ones
/// are [`PUBLIC`].
pub fn routes(gateway: Shared) -> Routes {
    // Inference is answered before the router is asked (`Edge`); here its endpoints refuse the rest.
    let inference = inference::ENDPOINTS
        .iter()
        .fold(Router::new(), |routes, endpoint| routes.route(endpoint.path, post(unknown_path)));
    inference
        .route("/", get(health::index))
        .route("/livez", get(health::live))
        .route("/health", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*id}", get(models::get))
        .nest("/api/v1", admin::routes())
        .merge(mcp::routes(&gateway))
        .method_not_allowed_fallback(wrong_method)
        .fallback(unknown_path)
        .with_state(gateway)
}

/// Routes that need no caller.
pub const PUBLIC: [&str; 4] = ["/", "/livez", "/health", "/readyz"];

async fn unknown_path(request: Request) -> ApiError {
    ApiError::not_found(format!("there is nothing at {} {}", request.method(), request.uri().path()))
}

async fn wrong_method(request: Request) -> ApiError {
    let message = format!("{} does not answer to {}", request.uri().path(), request.method());
    let mut error = ApiError::not_found(message);
    (error.0.status, error.0.code) = (405, "method_not_allowed");
    error
}
