//! `plugins new`: the folder of a plugin that builds and passes its test as it is.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::exit::CliError;
use super::out::Out;
use super::plugins_args::{Language, NewArgs};
use crate::tools::Manifest;

/// Path in the folder and text; `{{name}}` and `{{crate}}` are filled in.
type File = (&'static str, &'static str);

/// What plugins have in every language: the manifest and the interface.
const ALL: [File; 5] = [
    ("plugin.toml", include_str!("plugin_template/plugin.toml.txt")),
    ("wit/world.wit", include_str!("../../plugins/wit/world.wit")),
    ("wit/deps/http.wit", include_str!("../../plugins/wit/deps/http.wit")),
    ("wit/deps/io.wit", include_str!("../../plugins/wit/deps/io.wit")),
    ("wit/deps/clocks.wit", include_str!("../../plugins/wit/deps/clocks.wit")),
];
const RUST: [File; 6] = [
    ("Cargo.toml", include_str!("plugin_template/rust/Cargo.toml.txt")),
    ("README.md", include_str!("plugin_template/rust/README.md.txt")),
    (".gitignore", "target\n*.wasm\n"),
    ("src/lib.rs", include_str!("plugin_template/rust/lib.rs.txt")),
    ("src/component.rs", include_str!("plugin_template/rust/component.rs.txt")),
    ("build.sh", include_str!("plugin_template/rust/build.sh.txt")),
];
const JAVASCRIPT: [File; 6] = [
    ("package.json", include_str!("plugin_template/javascript/package.json.txt")),
    ("README.md", include_str!("plugin_template/javascript/README.md.txt")),
    (".gitignore", "node_modules\n*.wasm\n"),
    ("greet.js", include_str!("plugin_template/javascript/greet.js.txt")),
    ("greet.test.js", include_str!("plugin_template/javascript/greet.test.js.txt")),
    ("plugin.js", include_str!("plugin_template/javascript/plugin.js.txt")),
];
const PYTHON: [File; 7] = [
    ("requirements.txt", include_str!("plugin_template/python/requirements.txt.txt")),
    ("README.md", include_str!("plugin_template/python/README.md.txt")),
    (".gitignore", ".venv\n__pycache__\n*.wasm\n"),
    ("greet.py", include_str!("plugin_template/python/greet.py.txt")),
    ("test_greet.py", include_str!("plugin_template/python/test_greet.py.txt")),
    ("app.py", include_str!("plugin_template/python/app.py.txt")),
    ("build.sh", include_str!("plugin_template/python/build.sh.txt")),
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
    let (files, steps) = in_language(args.language);
    for (path, text) in files.iter().chain(&ALL) {
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
    for step in steps {
        out.line(&format!("  {step}"))?;
    }
    out.line("  mlx-gateway plugins add .")
}

/// The files of a language, and what its author does first.
fn in_language(language: Language) -> (&'static [File], &'static [&'static str]) {
    match language {
        Language::Rust => (&RUST, &["cargo test", "sh build.sh"]),
        Language::Javascript => (&JAVASCRIPT, &["npm install", "npm test", "npm run build"]),
        Language::Python => (&PYTHON, &["python3 -m unittest", "sh build.sh"]),
    }
}

#[expect(clippy::disallowed_methods, reason = "an author's source files, so the umask decides")]
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
