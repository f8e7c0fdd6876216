//! The plugins that come with the program: built by `make plugins`, committed, embedded.

/// A plugin as it lies in `plugins/`.
pub struct Bundled {
    pub manifest: &'static str,
    pub wasm: &'static [u8],
}

pub const BUNDLED: [Bundled; 2] = [
    Bundled {
        manifest: include_str!("../../../plugins/calculator/plugin.toml"),
        wasm: include_bytes!("../../../plugins/calculator/calculator.wasm"),
    },
    Bundled {
        manifest: include_str!("../../../plugins/get_weather/plugin.toml"),
        wasm: include_bytes!("../../../plugins/get_weather/get_weather.wasm"),
    },
];
