//! `/api/v1`: everything an operator does, one resource a file. Every handler names who may call it
//! by a parameter's type.

mod audit;
mod auth;
mod backup;
mod captures;
mod chats;
mod doctor;
mod downloads;
mod engines;
mod events;
mod fit;
mod hub;
mod keys;
mod log;
mod models;
mod plugins;
mod profiles;
mod requests;
pub(super) mod server;
pub(super) mod servers;
mod settings;
mod system;
mod tools;
mod usage;
mod users;

use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt};
use utoipa_axum::routes;

use super::extract::limit_body;
use super::state::Shared;
pub use profiles::load as load_profiles;

/// The routes below `/api/v1`; what each is and answers stands at its handler.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(system::get))
        .routes(routes!(backup::download))
        .routes(routes!(log::get, log::put))
        .routes(routes!(settings::list))
        .routes(routes!(settings::service))
        .routes(routes!(doctor::get))
        .routes(routes!(auth::state))
        .routes(routes!(auth::register).layer(limit_body(auth::BODY_MAX)))
        .routes(routes!(auth::login).layer(limit_body(auth::BODY_MAX)))
        .routes(routes!(auth::logout))
        .routes(routes!(auth::me))
        .routes(routes!(auth::reset).layer(limit_body(auth::BODY_MAX)))
        .routes(routes!(auth::sessions))
        .routes(routes!(auth::end_session))
        .routes(routes!(users::list))
        .routes(routes!(users::pending))
        .routes(routes!(users::approve))
        .routes(routes!(users::reject))
        .routes(routes!(users::disable))
        .routes(routes!(users::enable))
        .routes(routes!(users::role))
        .routes(routes!(users::tools))
        .routes(routes!(users::reset_password))
        .routes(routes!(users::delete))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(profiles::list, profiles::create))
        .routes(routes!(profiles::get, profiles::put, profiles::delete))
        .routes(routes!(profiles::copy))
        .routes(routes!(profiles::export))
        .routes(routes!(servers::list))
        .routes(routes!(servers::start))
        .routes(routes!(servers::stop))
        .routes(routes!(servers::restart))
        .routes(routes!(servers::pin))
        .routes(routes!(servers::unpin))
        .routes(routes!(servers::logs))
        .routes(routes!(usage::get))
        .routes(routes!(requests::list))
        .routes(routes!(requests::get))
        .routes(routes!(requests::cancel))
        .routes(routes!(captures::of_request, captures::forget))
        .routes(routes!(captures::get, captures::put, captures::remove_all))
        .routes(routes!(engines::list))
        .routes(routes!(engines::install))
        .routes(routes!(engines::upgrade))
        .routes(routes!(engines::rollback))
        .routes(routes!(models::list))
        .routes(routes!(hub::search))
        .routes(routes!(hub::get, models::remove))
        .routes(routes!(downloads::list, downloads::start))
        .routes(routes!(downloads::get))
        .routes(routes!(downloads::progress))
        .routes(routes!(downloads::pause))
        .routes(routes!(downloads::resume))
        .routes(routes!(downloads::cancel))
        .routes(routes!(downloads::retry))
        .routes(routes!(hub::settings))
        .routes(routes!(hub::set_token, hub::remove_token))
        .routes(routes!(chats::list, chats::create).layer(limit_body(chats::BODY_MAX)))
        .routes(routes!(chats::get, chats::change, chats::remove).layer(limit_body(chats::BODY_MAX)))
        .routes(routes!(events::listen))
        .routes(routes!(plugins::list, plugins::add).layer(limit_body(plugins::ADD_MAX)))
        .routes(routes!(plugins::get, plugins::remove))
        .routes(routes!(plugins::grant))
        .routes(routes!(tools::list))
        .routes(routes!(tools::call))
}
