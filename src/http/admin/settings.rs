//! The settings with their origins, and whether the gateway starts with the machine.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::Value;

use crate::config::{self, Origin};
use crate::http::caller::AdminReader;
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::system::offload;
use crate::system::service::{self, Kind, Setup};

/// `GET /api/v1/settings`
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Settings {
    settings: Vec<Setting>,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Setting {
    /// As in the file: `server.listen`.
    key: &'static str,
    #[schema(value_type = Object)]
    value: Value,
    /// `default`, `store`, `file`, `environment` or `flag`.
    origin: &'static str,
    /// The line of the file, the variable or the flag.
    detail: Option<String>,
}

/// Every setting but the profiles.
#[utoipa::path(get, path = "/settings", tag = "system", responses((status = 200, body = Settings)))]
pub async fn list(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Settings> {
    Json(Settings { settings: gateway.about.settings.iter().map(view).collect() })
}

/// `GET /api/v1/service`: whether the gateway starts with the machine.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct Service {
    /// `launchd user agent` or `systemd user service`.
    kind: &'static str,
    path: String,
    installed: bool,
    /// Null: its supervisor does not answer.
    running: Option<bool>,
}

/// The service of this installation. It is put in and taken out on the command line alone.
#[utoipa::path(get, path = "/service", tag = "system", responses((status = 200, body = Service)))]
pub async fn service(State(gateway): State<Shared>, _caller: AdminReader) -> Result<Json<Service>, ApiError> {
    let about = &gateway.about;
    let setup = Setup::of_process(about.config_file.clone(), about.data_dir.clone())
        .map_err(|error| ApiError::internal("this installation's paths are not known", &error))?;
    let kind = Kind::here(false);
    let plan = service::plan(kind, &setup);
    let file = plan.file.clone();
    let installed = offload::run(&plan.file, offload::REQUEST_TIME, move || file.exists()).await?;
    // Asking the supervisor starts a process, so only where there is something to ask for.
    let running = if installed {
        tokio::task::spawn_blocking(move || service::is_running(&plan)).await.ok().flatten()
    } else {
        Some(false)
    };
    let path = service::plan(kind, &setup).file.display().to_string();
    Ok(Json(Service { kind: kind.name(), path, installed, running }))
}

fn view(setting: &config::Shown) -> Setting {
    let origin = match setting.origin {
        Origin::Default => "default",
        Origin::Store => "store",
        Origin::File { .. } => "file",
        Origin::Environment { .. } => "environment",
        Origin::Flag { .. } => "flag",
    };
    let detail = (setting.origin != Origin::Default).then(|| setting.origin.to_string());
    Setting { key: setting.key, value: setting.value.clone(), origin, detail }
}
