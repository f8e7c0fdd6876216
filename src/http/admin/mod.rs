//! `/api/v1`: everything an operator does, one resource a file. Every handler names who may call it
//! by a parameter's type.

mod engines;
mod plugins;
mod profiles;
mod requests;
mod servers;
mod system;
mod tools;
mod usage;

use axum::Router;
use axum::routing::{delete, get, post};

use super::state::Shared;

/// The routes below `/api/v1`.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/system", get(system::get))
        .route("/profiles", get(profiles::list))
        .route("/profiles/{name}", get(profiles::get))
        .route("/servers", get(servers::list))
        .route("/servers/{profile}/start", post(servers::start))
        .route("/servers/{profile}/stop", post(servers::stop))
        .route("/servers/{profile}/restart", post(servers::restart))
        .route("/servers/{profile}/logs", get(servers::logs))
        .route("/usage", get(usage::get))
        .route("/requests", get(requests::list))
        .route("/requests/{id}", get(requests::get))
        .route("/requests/{id}/cancel", post(requests::cancel))
        .route("/engines", get(engines::list))
        .route("/engines/{name}/install", post(engines::install))
        .route("/engines/{name}/upgrade", post(engines::upgrade))
        .route("/engines/{name}/rollback", post(engines::rollback))
        .route("/plugins", get(plugins::list).post(plugins::add).layer(plugins::body_limit()))
        .route("/plugins/{name}", delete(plugins::remove).get(plugins::get))
        .route("/plugins/{name}/grant", post(plugins::grant))
        .route("/tools", get(tools::list))
        .route("/tools/{name}/call", post(tools::call))
}
