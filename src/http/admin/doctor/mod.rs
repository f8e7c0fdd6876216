//! The doctor: gathers facts about the gateway and its machine. `judge` decides what they mean and how to fix what
//! is wrong.

mod judge;

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use tokio::net::TcpStream;

use self::judge::{Access, Engine, Facts, Finding, judge};
use crate::auth::Scope;
use crate::config::ApiAuth;
use crate::http::caller::{AdminReader, ApiCaller};
use crate::http::state::Shared;
use crate::system::{disk, memory, network, offload};

/// Time the Hub may take to answer the door.
const HUB_LIMIT: Duration = Duration::from_secs(4);
/// Newest first; what the engine runs on.
const PYTHONS: [&str; 3] = ["python3.12", "python3.11", "uv"];

/// `GET /api/v1/doctor`
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Findings {
    findings: Vec<Finding>,
}

/// Looks at everything, now.
#[utoipa::path(get, path = "/doctor", tag = "doctor", responses((status = 200, body = Findings)))]
pub async fn get(
    State(gateway): State<Shared>,
    _reader: AdminReader,
    ApiCaller(caller): ApiCaller,
) -> Json<Findings> {
    let mut facts = facts(&gateway).await;
    // The link makes an administrator, so it is for those who are one.
    if !caller.has(Scope::Admin) {
        facts.access.setup_links.clear();
    }
    Json(Findings { findings: judge(&facts) })
}

async fn facts(gateway: &Shared) -> Facts {
    let about = &gateway.about;
    let engines = gateway.engines.list().await.unwrap_or_default();
    let engines = engines.into_iter().map(|status| Engine {
        name: status.engine.to_owned(),
        version: status.version,
        managed: status.managed,
        installed: status.current.is_some(),
        program: status.command.and_then(|command| command.into_iter().next()),
    });
    let engines: Vec<Engine> = engines.collect();
    let programs: Vec<String> = engines.iter().filter_map(|engine| engine.program.clone()).collect();
    let data_dir = about.data_dir.clone();
    let disk = offload::run(&about.data_dir, offload::PATIENT_TIME, move || Disk::look(&data_dir, &programs));
    let disk = disk.await.unwrap_or_default();
    Facts {
        program_found: disk.program_found,
        engines,
        runtime: disk.runtime,
        hub: about.hub_endpoint.clone(),
        hub_answers: answers(&about.hub_endpoint).await,
        disk_free_bytes: disk.free_bytes,
        memory_total_bytes: about.memory_total_bytes,
        memory_budget_bytes: about.memory_budget_bytes,
        serving: about.listen.get().cloned(),
        taken: if about.listen.get().is_some() { Vec::new() } else { taken(&about.configured_listen) },
        loopback_only: about.configured_listen.iter().all(|address| address.ip().is_loopback()),
        port: about.configured_listen.first().map(SocketAddr::port),
        lan_address: network::lan_address().map(|address| address.to_string()),
        host_name: memory::host_name(),
        access: access(gateway),
        data_dir: about.data_dir.clone(),
        data_dir_mode: disk.mode,
        data_dir_writable: disk.is_writable,
    }
}

/// Facts that are read from disks; none of a disk that does not answer.
#[derive(Default)]
struct Disk {
    program_found: bool,
    runtime: Option<String>,
    free_bytes: Option<u64>,
    mode: Option<u32>,
    is_writable: bool,
}

impl Disk {
    /// Blocks.
    fn look(data_dir: &Path, programs: &[String]) -> Disk {
        Disk {
            program_found: programs.iter().all(|name| is_program(name)),
            runtime: PYTHONS.iter().find(|name| is_program(name)).map(|name| (*name).to_owned()),
            free_bytes: disk::free_bytes(data_dir),
            mode: mode(data_dir),
            is_writable: tempfile::tempfile_in(data_dir).is_ok(),
        }
    }
}

fn access(gateway: &Shared) -> Access {
    let status = gateway.accounts.gate.status();
    Access {
        message: status.message(),
        is_required: status.mode == ApiAuth::Required,
        has_accounts: gateway.accounts.index().has_accounts(),
        setup_links: gateway.setup_links(),
        has_proxy: !gateway.trusted_proxies.is_empty() || gateway.has_seen_proxy(),
    }
}

/// Whether something accepts connections where the Hub is said to be.
async fn answers(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let Some(host) = uri.host() else { return false };
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
    let connecting = TcpStream::connect((host.trim_matches(['[', ']']), port));
    matches!(tokio::time::timeout(HUB_LIMIT, connecting).await, Ok(Ok(_)))
}

/// A path that is a file, or a name on PATH.
fn is_program(name: &str) -> bool {
    if name.contains('/') {
        return Path::new(name).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
}

/// Of the addresses to listen on, those that somebody else has.
fn taken(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let in_use = |address: &&SocketAddr| {
        TcpListener::bind(address).is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
    };
    addresses.iter().filter(|address| address.port() != 0).filter(in_use).copied().collect()
}

fn mode(folder: &Path) -> Option<u32> {
    Some(std::fs::metadata(folder).ok()?.permissions().mode() & 0o777)
}
