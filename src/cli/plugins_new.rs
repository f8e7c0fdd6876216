//! `plugins new`: the folder of a plugin in Rust that builds and passes its test as it is.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::exit::CliError;
use super::out::Out;
use super::plugins_args::NewArgs;
use crate::tools::Manifest;

/// Path in the folder and text; `{{name}}` and `{{crate}}` are filled in.
const FILES: [(&str, &str); 8] = [
    ("Cargo.toml", include_str!("plugin_template/Cargo.toml.txt")),
    ("plugin.toml", include_str!("plugin_template/plugin.toml.txt")),
    ("README.md", include_str!("plugin_template/README.md.txt")),
    (".gitignore", "target\n*.wasm\n"),
    ("src/lib.rs", include_str!("plugin_template/lib.rs.txt")),
    ("src/component.rs", include_str!("plugin_template/component.rs.txt")),
    ("build.sh", include_str!("plugin_template/build.sh.txt")),
    ("wit/world.wit", include_str!("../../plugins/wit/world.wit")),
];
const WIT: [(&str, &str); 3] = [
    ("wit/deps/http.wit", include_str!("../../plugins/wit/deps/http.wit")),
    ("wit/deps/io.wit", include_str!("../../plugins/wit/deps/io.wit")),
    ("wit/deps/clocks.wit", include_str!("../../plugins/wit/deps/clocks.wit")),
];

pub fn run(args: &NewArgs, out: &mut Out) -> Result<(), CliError> {
    Manifest::bare(&args.name, "x.wasm").map_err(CliError::Usage)?;
    if !args.name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(CliError::Usage(format!("\"{}\" has to begin with a letter", args.name)));
    }
    let folder = args.path.join(&args.name);
    if folder.exists() {
        return Err(CliError::Usage(format!("{} is there already", folder.display())));
    }
    for (path, text) in FILES.iter().chain(&WIT) {
        let text = text.replace("{{name}}", &args.name).replace("{{crate}}", &args.name.replace('-', "_"));
        write(&folder.join(path), &text)
            .map_err(|error| CliError::Failed(format!("{} cannot be written: {error}", folder.display())))?;
    }
    if out.json() {
        return out.raw_json(json!({"name": args.name, "path": folder}).to_string().as_bytes());
    }
    let shown = folder.display();
    out.line(&format!("{shown} was written. Next:"))?;
    out.line(&format!("  cd {shown}"))?;
    out.line("  cargo test")?;
    out.line("  sh build.sh")?;
    out.line("  mlx-gateway plugins add .")
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
