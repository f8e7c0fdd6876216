//! `/api/v1`: everything an operator does, one resource a file. Every handler names who may call it
//! by a parameter's type.

mod doctor;
mod engines;
mod profiles;
mod requests;
mod servers;
mod settings;
mod system;
mod usage;

use axum::Router;
use axum::routing::{get, post};

use super::state::Shared;
pub use profiles::load as load_profiles;

/// The routes below `/api/v1`.
pub fn routes() -> Router<Shared> {
    Router::new()
        .route("/system", get(system::get))
        .route("/settings", get(settings::list))
        .route("/service", get(settings::service))
        .route("/doctor", get(doctor::get))
        .route("/profiles", get(profiles::list).post(profiles::create))
        .route("/profiles/{name}", get(profiles::get).put(profiles::put).delete(profiles::delete))
        .route("/profiles/{name}/copy", post(profiles::copy))
        .route("/profiles/{name}/export", get(profiles::export))
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
}
