//! The contract with plugins as Rust types, generated from plugins/wit.

wasmtime::component::bindgen!({
    path: "plugins/wit",
    world: "tool-plugin",
    imports: { default: trappable },
    exports: { default: async },
});
