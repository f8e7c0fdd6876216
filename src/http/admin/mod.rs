//! `/api/v1`: everything an operator does, one resource a file. Every handler names who may call it
//! by a parameter's type.

mod downloads;
mod engines;
mod events;
mod fit;
mod hub;
mod models;
mod plugins;
mod profiles;
mod requests;
pub(super) mod server;
pub(super) mod servers;
mod system;
mod tools;
mod usage;

use axum::Router;
use axum::routing::{delete, get, post, put};

use super::state::Shared;
pub use profiles::load as load_profiles;

/// The routes below `/api/v1`.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/system", get(system::get))
        .route("/profiles", get(profiles::list).post(profiles::create))
        .route("/profiles/{name}", get(profiles::get).put(profiles::put).delete(profiles::delete))
        .route("/profiles/{name}/copy", post(profiles::copy))
        .route("/profiles/{name}/export", get(profiles::export))
        .route("/servers", get(servers::list))
        .route("/servers/{profile}/start", post(servers::start))
        .route("/servers/{profile}/stop", post(servers::stop))
        .route("/servers/{profile}/restart", post(servers::restart))
        .route("/servers/{profile}/logs", get(servers::logs))
        .route("/events", get(events::listen))
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
        .route("/models", get(models::list))
        .route("/models/search", get(hub::search))
        .route("/models/{*id}", get(hub::get).delete(models::remove))
        .route("/downloads", get(downloads::list).post(downloads::start))
        .route("/downloads/{id}", get(downloads::get))
        .route("/downloads/{id}/progress", get(downloads::progress))
        .route("/downloads/{id}/pause", post(downloads::pause))
        .route("/downloads/{id}/resume", post(downloads::resume))
        .route("/downloads/{id}/cancel", post(downloads::cancel))
        .route("/downloads/{id}/retry", post(downloads::retry))
        .route("/hub", get(hub::settings))
        .route("/hub/token", put(hub::set_token).delete(hub::remove_token))
}
