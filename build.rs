//! Puts the pages into the binary. Owns when `web/` is built anew and what stands in for the pages where
//! they cannot be built; knows nothing of what the pages show or how they are served.
//!
//! `MLX_GATEWAY_WEB=skip` leaves them out, `MLX_GATEWAY_WEB=/a/folder` takes a built folder as it is.

#![expect(clippy::disallowed_methods, reason = "files of a build, so the umask decides")]

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What the built pages come from.
const SOURCES: [&str; 9] = [
    "index.html",
    "package.json",
    "package-lock.json",
    "public",
    "scripts/precompress.mjs",
    "src",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
];
/// In the built folder: the hash of the sources it came from.
const STAMP: &str = ".sources";
const SWITCH: &str = "MLX_GATEWAY_WEB";

fn main() -> Outcome<()> {
    pack_relocations();
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let web = root.join("web");
    println!("cargo::rerun-if-env-changed={SWITCH}");
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", web.join(source).display());
    }
    let built = match std::env::var(SWITCH) {
        Ok(word) if word == "skip" => Err(format!("they were left out with {SWITCH}=skip")),
        Ok(folder) if !folder.is_empty() => {
            println!("cargo::rerun-if-changed={folder}");
            Ok(PathBuf::from(folder))
        }
        _ => pages(&web),
    };
    let copy = out.join("web");
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    fs::create_dir_all(&copy)?;
    match built {
        Ok(dist) => copy_tree(&dist, &copy)?,
        Err(reason) => {
            if std::env::var(SWITCH).is_err() {
                println!("cargo::warning=The pages are not in this build: {reason}");
            }
            fs::write(copy.join("index.html"), stand_in(&reason))?;
        }
    }
    fs::write(out.join("web_assets.rs"), table(&copy)?)?;
    Ok(())
}

/// The start reads every relocation and keeps what it has read in memory: packed they are some kilobytes instead of
/// megabytes. Linux with glibc can read them packed since 2.36.
fn pack_relocations() {
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let native = of("TARGET") == of("HOST");
    let glibc = of("CARGO_CFG_TARGET_OS") == "linux" && of("CARGO_CFG_TARGET_ENV") == "gnu";
    if native && glibc && glibc_version().is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Of this machine, as `getconf` says it: `glibc 2.36`.
fn glibc_version() -> Option<(u32, u32)> {
    let told = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?;
    let told = String::from_utf8(told.stdout).ok()?;
    let (major, minor) = told.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
}

/// The folder with the built pages, built now where the last build came from other sources; or why there
/// is none.
fn pages(web: &Path) -> Result<PathBuf, String> {
    let told = |error: &dyn std::fmt::Display| format!("{error}");
    let hash = hash(web).map_err(|error| told(&error))?;
    let dist = web.join("dist");
    let is_built = || fs::read_to_string(dist.join(STAMP)).is_ok_and(|stamp| stamp == hash);
    if is_built() {
        return Ok(dist);
    }
    // Two builds at a time would write into each other.
    let lock = File::create(web.join(".build.lock")).map_err(|error| told(&error))?;
    lock.lock().map_err(|error| told(&error))?;
    if is_built() {
        return Ok(dist);
    }
    let installed = web.join("node_modules/.installed");
    let wanted = fs::read_to_string(web.join("package-lock.json")).map_err(|error| told(&error))?;
    if fs::read_to_string(&installed).ok().as_ref() != Some(&wanted) {
        npm(web, &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel", "error"])?;
        fs::write(&installed, wanted).map_err(|error| told(&error))?;
    }
    npm(web, &["run", "--silent", "build"])?;
    fs::write(dist.join(STAMP), hash).map_err(|error| told(&error))?;
    Ok(dist)
}

fn npm(web: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("npm")
        .args(arguments)
        .current_dir(web)
        .env_remove("NODE_OPTIONS")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("npm cannot be run ({error}); install Node 20 or newer and build again"))?;
    if output.status.success() {
        return Ok(());
    }
    let said =
        String::from_utf8_lossy(if output.stderr.is_empty() { &output.stdout } else { &output.stderr });
    let last: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = last.get(last.len().saturating_sub(6)..).unwrap_or_default().join(" | ");
    Err(format!("`npm {}` in web/ failed: {last}", arguments.join(" ")))
}

/// FNV-1a over names and contents: it only has to tell whether something changed.
fn hash(web: &Path) -> std::io::Result<String> {
    let mut state: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |bytes: &[u8]| {
        for byte in bytes {
            state = (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for source in SOURCES {
        for file in files(&web.join(source))? {
            let content = fs::read(&file)?;
            add(file.strip_prefix(web).unwrap_or(&file).to_string_lossy().as_bytes());
            add(&content.len().to_le_bytes());
            add(&content);
        }
    }
    Ok(format!("{state:016x}"))
}

fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut entries =
        fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    let mut all = Vec::new();
    for entry in entries {
        all.extend(files(&entry)?);
    }
    Ok(all)
}

fn copy_tree(from: &Path, to: &Path) -> Outcome<()> {
    for file in files(from)? {
        let target = to.join(file.strip_prefix(from)?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&file, &target)?;
    }
    Ok(())
}

/// The Rust table of what lies in `folder`, with the compressed copies beside their originals.
fn table(folder: &Path) -> Outcome<String> {
    let mut rust = String::from("&[\n");
    for file in files(folder)? {
        let name = file.strip_prefix(folder)?.to_string_lossy().into_owned();
        if name == STAMP || name.ends_with(".br") || name.ends_with(".gz") {
            continue;
        }
        let copy = |end: &str| {
            let path = folder.join(format!("{name}.{end}"));
            if path.is_file() { format!("Some(include_bytes!({path:?}))") } else { "None".to_owned() }
        };
        writeln!(
            rust,
            "Asset {{ path: {:?}, plain: include_bytes!({file:?}), brotli: {}, gzip: {} }},",
            format!("/{name}"),
            copy("br"),
            copy("gz")
        )?;
    }
    rust.push(']');
    Ok(rust)
}

/// A page that says how to get the others.
fn stand_in(reason: &str) -> String {
    let reason = reason.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>mlx-gateway</title>\
         <h1>mlx-gateway runs, without its pages</h1>\
         <p>The API at /v1 and the command line work. The pages are not in this build: {reason}</p>\
         <p>Install Node 20 or newer with npm, then run <code>make run</code> again.</p></html>\n"
    )
}
