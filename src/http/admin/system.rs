//! How the gateway stands.

use std::collections::BTreeMap;

use axum::extract::State;
use serde::Serialize;

use crate::http::caller::AdminReader;
use crate::http::extract::Json;
use crate::http::state::Shared;

/// How the gateway stands.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct SystemView {
    version: &'static str,
    pid: u32,
    uptime_s: f64,
    /// Milliseconds since 1970, UTC.
    started_at_ms: i64,
    data_dir: String,
    /// Null: the built-in configuration.
    config_file: Option<String>,
    /// Base URLs.
    listen: Vec<String>,
    /// Who needs a key.
    auth: &'static str,
    draining: bool,
    /// How many backends are in which state.
    backends: BTreeMap<&'static str, u32>,
    memory: MemoryView,
    /// Usage records that could not be written since start.
    records_lost: u64,
}

#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct MemoryView {
    /// What backends may take together.
    budget_bytes: u64,
    /// Of this machine; null: unknown.
    total_bytes: Option<u64>,
}

/// Show how the gateway stands.
#[utoipa::path(get, path = "/system", tag = "system", responses((status = 200, body = SystemView)))]
pub async fn get(State(gateway): State<Shared>, _caller: AdminReader) -> Json<SystemView> {
    let about = &gateway.about;
    let mut backends: BTreeMap<&'static str, u32> = BTreeMap::new();
    for backend in gateway.proxy.backends.snapshot() {
        *backends.entry(backend.state).or_default() += 1;
    }
    Json(SystemView {
        version: env!("CARGO_PKG_VERSION"),
        pid: std::process::id(),
        uptime_s: about.started.elapsed().as_secs_f64(),
        started_at_ms: about.started_at,
        data_dir: about.data_dir.display().to_string(),
        config_file: about.config_file.as_ref().map(|file| file.display().to_string()),
        listen: about.listen.get().cloned().unwrap_or_default(),
        auth: about.auth,
        draining: gateway.is_draining(),
        backends,
        memory: MemoryView { budget_bytes: about.memory_budget_bytes, total_bytes: about.memory_total_bytes },
        records_lost: gateway.proxy.recorder.lost(),
    })
}
