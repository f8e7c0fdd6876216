//! How the gateway stands.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::http::caller::AdminReader;
use crate::http::state::Shared;

/// `GET /api/v1/system`
pub async fn get(State(gateway): State<Shared>, _caller: AdminReader) -> Json<Value> {
    let about = &gateway.about;
    let mut backends: BTreeMap<&str, u32> = BTreeMap::new();
    for backend in gateway.proxy.backends.snapshot() {
        *backends.entry(backend.state).or_default() += 1;
    }
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_s": about.started.elapsed().as_secs_f64(),
        "started_at_ms": about.started_at,
        "data_dir": about.data_dir,
        "config_file": about.config_file,
        "listen": about.listen.get().cloned().unwrap_or_default(),
        "auth": about.auth,
        "draining": gateway.is_draining(),
        "backends": backends,
        "memory": {"budget_bytes": about.memory_budget_bytes, "total_bytes": about.memory_total_bytes},
        "records_lost": gateway.proxy.recorder.lost(),
    }))
}
