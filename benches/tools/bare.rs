//! The least that a call of a component takes: an instance out of a pool, the call, and its end. No limits,
//! no ticker, no checks, nothing granted or counted.

use wasmtime::component::{Component, HasSelf, Linker, ResourceTable};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use self::mlx_gateway::plugin::types::{CallContext, Content, Origin};
use self::mlx_gateway::plugin::{config, logging, progress, types};

wasmtime::component::bindgen!({
    path: "plugins/wit",
    world: "tool-plugin",
    exports: { default: async },
});

pub struct Bare {
    pre: ToolPluginPre<Host>,
}

#[derive(Default)]
struct Host {
    wasi: WasiCtx,
    table: ResourceTable,
}

impl Bare {
    pub fn new(wasm: &[u8]) -> Bare {
        let mut pool = PoolingAllocationConfig::new();
        pool.linear_memory_keep_resident(2 << 20)
            .table_keep_resident(256 << 10)
            .async_stack_keep_resident(128 << 10)
            .pagemap_scan(wasmtime::Enabled::Auto);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).unwrap();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        ToolPlugin::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host).unwrap();
        let component = Component::from_binary(&engine, wasm).unwrap();
        Bare { pre: ToolPluginPre::new(linker.instantiate_pre(&component).unwrap()).unwrap() }
    }

    /// The text of the result.
    pub async fn call(&self, tool: &str, arguments: &str) -> String {
        let mut store = Store::new(self.pre.engine(), Host::default());
        let instance = self.pre.instantiate_async(&mut store).await.unwrap();
        let context = CallContext {
            request_id: "bench".to_owned(),
            origin: Origin::Chat,
            model: None,
            principal: None,
            deadline_ms: 1000,
        };
        let tools = instance.mlx_gateway_plugin_tools();
        let result = tools.call_call_tool(&mut store, tool, arguments, &context).await.unwrap().unwrap();
        match result.content.into_iter().next() {
            Some(Content::Text(text)) => text,
            other => panic!("no text: {other:?}"),
        }
    }
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl types::Host for Host {}

impl logging::Host for Host {
    fn log(&mut self, _level: logging::Level, _message: String) {}
}

impl config::Host for Host {
    fn get(&mut self, _key: String) -> Option<String> {
        None
    }
}

impl progress::Host for Host {
    fn report(&mut self, _progress: f64, _total: Option<f64>, _message: Option<String>) {}
}
