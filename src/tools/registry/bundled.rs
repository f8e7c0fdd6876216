//! The plugins that come with the program: built by `make plugins`, committed, embedded.

use std::borrow::Cow;

/// A plugin as it lies in `plugins/`.
#[derive(Debug, Clone)]
pub struct Bundled {
    pub manifest: &'static str,
    pub wasm: Cow<'static, [u8]>,
}

/// All of them.
pub fn bundled() -> Vec<Bundled> {
    vec![
        Bundled {
            manifest: include_str!("../../../plugins/calculator/plugin.toml"),
            wasm: Cow::Borrowed(include_bytes!("../../../plugins/calculator/calculator.wasm")),
        },
        Bundled {
            manifest: include_str!("../../../plugins/get_weather/plugin.toml"),
            wasm: Cow::Borrowed(include_bytes!("../../../plugins/get_weather/get_weather.wasm")),
        },
    ]
}
