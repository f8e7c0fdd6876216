//! How the gateway stands, and the machine it runs on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::servers::FIGURES_AGE;
use crate::http::caller::AdminReader;
use crate::http::extract::Json;
use crate::http::state::{ConfigStatus, Shared};
use crate::system::{Gpu, Pressure, Thermal};

/// `GET /api/v1/system`. What is not known is null, never 0.
#[derive(Debug, Serialize, ToSchema)]
pub struct System {
    version: &'static str,
    pid: u32,
    uptime_s: f64,
    started_at_ms: i64,
    #[schema(value_type = String)]
    data_dir: PathBuf,
    #[schema(value_type = Option<String>)]
    config_file: Option<PathBuf>,
    config: ConfigStatus,
    listen: Vec<String>,
    auth: Auth,
    draining: bool,
    /// How many backends are in which state.
    backends: BTreeMap<&'static str, u32>,
    memory: Memory,
    /// Of all processors together, 0 to 100.
    cpu_percent: Option<f64>,
    /// How many processors a program may use here.
    processors: Option<usize>,
    gpu: Gpu,
    thermal: Option<Thermal>,
    records_lost: u64,
    unwritten_revocations: UnwrittenRevocations,
}

/// Revocations, ended sessions and changes of accounts that hold, and that the store has not written yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct UnwrittenRevocations {
    waiting: usize,
    /// Those of them that no file keeps: they hold until the next start only.
    until_restart: usize,
}

/// Who needs an API key now, and what made it so.
#[derive(Debug, Serialize, ToSchema)]
pub struct Auth {
    /// Requests for models need a key or a session.
    key_required: bool,
    /// `auto`, `open` or `required`: `auth.api`.
    mode: &'static str,
    /// `setting` (auth.api = "required"), `environment_key`, `account`, `key`, or `fresh`: there is neither a key nor an account.
    cause: &'static str,
    /// When the first account or key was made, if that is the cause. Milliseconds since 1970, UTC.
    since_ms: Option<i64>,
    /// The same as a sentence.
    message: String,
}

impl Auth {
    fn of(gateway: &Shared) -> Auth {
        let status = gateway.accounts.gate.status();
        Auth {
            key_required: status.is_key_required(),
            mode: status.mode.name(),
            cause: status.cause.name(),
            since_ms: status.since_ms,
            message: status.message(),
        }
    }
}

/// Bytes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Memory {
    /// What backends may use together.
    budget_bytes: u64,
    /// Of that, what is promised to those that run and start.
    promised_bytes: u64,
    /// What backends were seen to use; null where one of them cannot be measured.
    used_bytes: Option<u64>,
    total_bytes: Option<u64>,
    available_bytes: Option<u64>,
    swap_used_bytes: Option<u64>,
    pressure: Option<Pressure>,
}

/// `GET /api/v1/system`
#[utoipa::path(get, path = "/system", tag = "system", responses((status = 200, body = System)))]
pub async fn get(State(gateway): State<Shared>, _caller: AdminReader) -> Json<System> {
    gateway.proxy.backends.look(FIGURES_AGE).await;
    Json(System::of(&gateway))
}

impl System {
    pub fn of(gateway: &Shared) -> System {
        let about = &gateway.about;
        let mut backends = BTreeMap::new();
        let mut used_bytes = Some(0);
        for backend in gateway.proxy.backends.snapshot() {
            *backends.entry(backend.state).or_default() += 1;
            if backend.pid.is_some() {
                let seen = backend.figures.and_then(|figures| figures.memory_bytes);
                used_bytes = used_bytes.zip(seen).map(|(sum, seen)| sum + seen);
            }
        }
        let machine = gateway.proxy.backends.machine();
        let unwritten = gateway.accounts.unwritten_revocations();
        System {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_s: about.started.elapsed().as_secs_f64(),
            started_at_ms: about.started_at,
            data_dir: about.data_dir.clone(),
            config_file: about.config_file.clone(),
            config: ConfigStatus::clone(&about.config.load()),
            listen: about.listen.get().cloned().unwrap_or_default(),
            auth: Auth::of(gateway),
            draining: gateway.is_draining(),
            backends,
            memory: Memory {
                budget_bytes: about.memory_budget_bytes,
                promised_bytes: gateway.proxy.backends.promised_bytes(),
                used_bytes,
                total_bytes: machine.memory_total.or(about.memory_total_bytes),
                available_bytes: machine.memory_available,
                swap_used_bytes: machine.swap_used,
                pressure: machine.pressure,
            },
            cpu_percent: machine.cpu_percent,
            processors: std::thread::available_parallelism().ok().map(std::num::NonZero::get),
            gpu: machine.gpu,
            thermal: machine.thermal,
            records_lost: gateway.proxy.recorder.lost(),
            unwritten_revocations: UnwrittenRevocations {
                waiting: unwritten.waiting,
                until_restart: unwritten.unrecorded,
            },
        }
    }
}
