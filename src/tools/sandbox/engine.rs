//! The engine: how components are compiled, what they may import, and where long calls run.

use std::path::PathBuf;

use tokio::runtime::Runtime;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use super::bindings::ToolPlugin;
use super::cache::Cache;
use super::guest::Guest;
use super::limiter::{INSTANCES_MAX, MEMORIES_MAX, TABLES_MAX};
use super::ticker::Ticker;
use crate::fair::Places;
use crate::tools::error::PluginError;

/// Calls at once, of all plugins together.
pub const CALLS_MAX: u32 = 128;
/// Calls that wait for such a place, and for one of each plugin's own.
pub const WAITING_MAX: usize = 256;
/// Core instances, memories and tables of them all.
const CORE_INSTANCES: u32 = 4096;
const MEMORIES: u32 = 384;
const TABLES: u32 = 1024;
const TABLE_ELEMENTS: usize = 200_000;
/// Bytes of one linear memory, whatever a plugin asks for.
const MEMORY_MAX: usize = 1 << 30;
/// Bytes that stay mapped for the next call, so that it does not fault them in anew.
const KEEP_RESIDENT: usize = 2 << 20;
const STACK_MAX: usize = 1 << 20;
/// Bytes of a component.
pub const COMPONENT_MAX: u64 = 64 << 20;

/// Everything that components share. Made once, when the first is needed.
pub struct Sandbox {
    pub engine: Engine,
    pub linker: Linker<Guest>,
    pub ticker: Ticker,
    pub cache: Cache,
    pub places: Places,
    /// Where calls go on that take longer than a tick; threads of their own.
    runtime: Option<Runtime>,
}

impl Sandbox {
    /// `cache`: the folder for compiled components.
    pub fn new(cache: PathBuf) -> Result<Sandbox, PluginError> {
        let failed = |error: wasmtime::Error| PluginError::Engine(format!("{error:#}"));
        // Address space for the pool may be short; then each call is allocated by itself.
        let engine = Engine::new(&config(true)).or_else(|error| {
            tracing::warn!(%error, "There is no room for a pool of plugin instances; calls are slower without");
            Engine::new(&config(false))
        });
        let engine = engine.map_err(failed)?;
        let linker = linker(&engine).map_err(failed)?;
        let weak = engine.weak();
        let tick = move || {
            if let Some(engine) = weak.upgrade() {
                engine.increment_epoch();
            }
        };
        let ticker = Ticker::start(tick).map_err(|error| PluginError::Engine(error.to_string()))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(std::thread::available_parallelism().map_or(2, std::num::NonZero::get))
            .thread_name("plugin")
            .enable_all()
            .build()
            .map_err(|error| PluginError::Engine(error.to_string()))?;
        let places = Places::new(CALLS_MAX as usize, WAITING_MAX);
        Ok(Sandbox { engine, linker, ticker, cache: Cache::new(cache), places, runtime: Some(runtime) })
    }

    pub fn runtime(&self) -> Option<&Runtime> {
        self.runtime.as_ref()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // May happen on a thread that must not block.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn config(pooled: bool) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.max_wasm_stack(STACK_MAX);
    config.async_stack_size(2 * STACK_MAX);
    config.wasm_component_model(true);
    config.memory_init_cow(true);
    if pooled {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(CALLS_MAX)
            .max_core_instances_per_component(INSTANCES_MAX as u32)
            .max_memories_per_component(MEMORIES_MAX as u32)
            .max_tables_per_component(TABLES_MAX as u32)
            .max_tables_per_module(TABLES_MAX as u32)
            .max_core_instance_size(4 << 20)
            .max_component_instance_size(4 << 20)
            .total_core_instances(CORE_INSTANCES)
            .total_memories(MEMORIES)
            .total_tables(TABLES)
            .total_stacks(CALLS_MAX)
            .table_elements(TABLE_ELEMENTS)
            .max_memory_size(MEMORY_MAX)
            .linear_memory_keep_resident(KEEP_RESIDENT)
            .table_keep_resident(KEEP_RESIDENT / 8)
            .async_stack_keep_resident(STACK_MAX / 8)
            .max_unused_warm_slots(CALLS_MAX / 4)
            .pagemap_scan(wasmtime::Enabled::Auto);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    }
    config
}

/// All of WASI, of which most refuses, HTTP by way of the connector, and our own interfaces.
fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    ToolPlugin::add_to_linker::<Guest, wasmtime::component::HasSelf<Guest>>(&mut linker, |guest| guest)?;
    Ok(linker)
}
