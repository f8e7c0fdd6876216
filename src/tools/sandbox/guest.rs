//! What the host keeps for one call, and what a guest may ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use super::bindings::mlx_gateway::plugin::{config, logging, progress, types};
use super::connector::Connector;
use super::limiter::Limiter;
use super::meter::Meter;
use super::stdio::Printed;

/// Of one call: lines and bytes of log, and reports of progress.
pub const LOG_LINES_MAX: u32 = 1000;
pub const LOG_BYTES_MAX: usize = 256 << 10;
pub const REPORTS_MAX: u32 = 1000;
/// Bytes of one message that go on.
const MESSAGE_MAX: usize = 2048;
/// Things of the host that a guest may hold at once.
const HANDLES_MAX: usize = 1024;
/// Bytes of headers that a guest may build.
const FIELDS_MAX: usize = 64 << 10;
/// Random bytes in one go.
const RANDOM_MAX: u64 = 1 << 20;

/// Where a call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Mcp,
    Chat,
}

/// How much a message of a plugin matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Whoever wants to hear how a call goes on. Must not block.
pub trait Listener: Send + Sync {
    /// The plugin has logged a line.
    fn log(&self, level: Level, message: &str);
    /// The plugin tells how far it is, in units of its own; `total` where it knows it.
    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>);
}

/// Why the host ends a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    #[error("out of processor time")]
    OutOfCpu,
    #[error("more {0} than one call may have")]
    Flood(&'static str),
}

/// The host's side of one instance.
pub struct Guest {
    pub plugin: Arc<str>,
    pub config: Arc<BTreeMap<String, String>>,
    pub limiter: Limiter,
    pub meter: Arc<Meter>,
    pub cpu_ms: u64,
    pub printed: Printed,
    pub connector: Connector,
    pub listener: Option<Arc<dyn Listener>>,
    table: ResourceTable,
    /// Made when the guest first asks for it: most never do.
    wasi: Option<WasiCtx>,
    http: WasiHttpCtx,
    log_lines: u32,
    log_bytes: usize,
    reports: u32,
}

impl Guest {
    pub fn new(
        plugin: Arc<str>,
        config: Arc<BTreeMap<String, String>>,
        memory_max: u64,
        cpu_ms: u64,
        connector: Connector,
        listener: Option<Arc<dyn Listener>>,
    ) -> Guest {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_MAX);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(FIELDS_MAX);
        Guest {
            plugin,
            config,
            limiter: Limiter::new(memory_max),
            meter: Arc::default(),
            cpu_ms,
            printed: Printed::default(),
            connector,
            listener,
            table,
            wasi: None,
            http,
            log_lines: 0,
            log_bytes: 0,
            reports: 0,
        }
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let printed = &self.printed;
        let ctx = self.wasi.get_or_insert_with(|| {
            // No arguments, no environment, no folders, no sockets: they exist and refuse.
            let mut builder = WasiCtx::builder();
            builder.stdout(printed.clone()).stderr(printed.clone());
            builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
            builder.max_random_size(RANDOM_MAX);
            builder.build()
        });
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.connector, table: &mut self.table, ctx: &mut self.http }
    }
}

impl types::Host for Guest {}

impl logging::Host for Guest {
    fn log(&mut self, level: logging::Level, message: String) -> wasmtime::Result<()> {
        self.log_lines += 1;
        self.log_bytes += message.len();
        if self.log_lines > LOG_LINES_MAX || self.log_bytes > LOG_BYTES_MAX {
            return Err(Stop::Flood("log").into());
        }
        let level = match level {
            logging::Level::Trace => Level::Trace,
            logging::Level::Debug => Level::Debug,
            logging::Level::Info => Level::Info,
            logging::Level::Warn => Level::Warn,
            logging::Level::Error => Level::Error,
        };
        let message = plain(&message);
        let plugin = &*self.plugin;
        match level {
            Level::Trace | Level::Debug => tracing::debug!(plugin.name = plugin, "A plugin says: {message}"),
            Level::Info => tracing::info!(plugin.name = plugin, "A plugin says: {message}"),
            Level::Warn | Level::Error => tracing::warn!(plugin.name = plugin, "A plugin says: {message}"),
        }
        if let Some(listener) = &self.listener {
            listener.log(level, &message);
        }
        Ok(())
    }
}

impl config::Host for Guest {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        Ok(self.config.get(&key).cloned())
    }
}

impl progress::Host for Guest {
    fn report(&mut self, progress: f64, total: Option<f64>, message: Option<String>) -> wasmtime::Result<()> {
        self.reports += 1;
        if self.reports > REPORTS_MAX {
            return Err(Stop::Flood("progress reports").into());
        }
        if let Some(listener) = &self.listener
            && progress.is_finite()
        {
            let message = message.as_deref().map(plain);
            listener.progress(progress, total.filter(|total| total.is_finite()), message.as_deref());
        }
        Ok(())
    }
}

/// A guest's words, as they may stand in a log: one line, bounded.
pub fn plain(message: &str) -> String {
    let mut end = message.len().min(MESSAGE_MAX);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    let kept = message.get(..end).unwrap_or_default();
    kept.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
