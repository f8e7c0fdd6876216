//! Owns the pinned uv for machines that have neither uv nor a fitting Python: its wheel is a zip
//! file that holds the program. Checked by its hash before it is unpacked.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::digest::hex_sha256;
use super::fetch::{Fetch, FetchError, join};
use super::platform::Platform;
use crate::system::private;

const DEFAULT_INDEX: &str = "https://pypi.org/simple";
const VERSION: &str = "0.13.9";
const MAX_PAGE_BYTES: usize = 32 * 1024 * 1024;
const MAX_WHEEL_BYTES: usize = 128 * 1024 * 1024;
const MAX_PROGRAM_BYTES: u64 = 256 * 1024 * 1024;
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// A file of the package `uv`. Where it lies is told by the index, since mirrors lay out their
/// files differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wheel {
    pub version: &'static str,
    pub file: &'static str,
    pub sha256: &'static str,
}

#[derive(Debug, thiserror::Error)]
pub enum UvError {
    #[error("there is no uv for {0}")]
    Platform(String),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("{page} does not list {file}")]
    NotListed { page: String, file: &'static str },
    #[error("{url} has SHA-256 {found} instead of {expected}, so it was thrown away")]
    Hash { url: String, found: String, expected: &'static str },
    #[error("{file} does not hold uv: {reason}")]
    Wheel { file: &'static str, reason: String },
    #[error("could not write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
}

/// The wheel for a machine. The Linux ones are linked statically and run on any distribution.
pub fn wheel(platform: Platform) -> Result<Wheel, UvError> {
    let (file, sha256) = match platform {
        Platform::MacosArm64 => (
            "uv-0.13.9-py3-none-macosx_11_0_arm64.whl",
            "66c512266d633bef48384a1f53003f41f2a8e7b36fe6e7fbfd3e0fd52d96fa63",
        ),
        Platform::MacosX86_64 => (
            "uv-0.13.9-py3-none-macosx_10_12_x86_64.whl",
            "c16ed11e013557536b3e60065f1b912f6407bd6518e041b961e23ef9e6b4fbf5",
        ),
        Platform::LinuxX86_64 => (
            "uv-0.13.9-py3-none-musllinux_1_1_x86_64.whl",
            "2c45530751517d6c3bbc69a19473f6effe47cce047bede01ffd8af7ea7b36b25",
        ),
        Platform::LinuxArm64 => (
            "uv-0.13.9-py3-none-manylinux_2_17_aarch64.manylinux2014_aarch64.musllinux_1_1_aarch64.whl",
            "5435c5ce14a56431208ca0996416d310f1598e8c2c8ba707688985a16bb82dbe",
        ),
        Platform::Other => return Err(UvError::Platform(platform.name())),
    };
    Ok(Wheel { version: VERSION, file, sha256 })
}

/// The pinned uv under `dir`, fetched through the package index when it is not there yet.
pub async fn ensure(wheel: Wheel, index_url: Option<&str>, dir: &Path) -> Result<PathBuf, UvError> {
    let path = dir.join(wheel.version).join("uv");
    if path.is_file() {
        return Ok(path);
    }
    let fetch = Fetch::new()?;
    let page = format!("{}/uv/", index_url.unwrap_or(DEFAULT_INDEX).trim_end_matches('/'));
    let (page, html) = fetch.get(&page, MAX_PAGE_BYTES, FETCH_LIMIT).await?;
    let link = find_link(&String::from_utf8_lossy(&html), wheel.file)
        .ok_or_else(|| UvError::NotListed { page: page.clone(), file: wheel.file })?;
    let (url, bytes) = fetch.get(&join(&page, &link), MAX_WHEEL_BYTES, FETCH_LIMIT).await?;
    let found = hex_sha256(&[&bytes]);
    if found != wheel.sha256 {
        return Err(UvError::Hash { url, found, expected: wheel.sha256 });
    }
    write_program(&unpack(wheel, &bytes)?, &path)?;
    Ok(path)
}

/// The address behind the link to a file, without its fragment.
fn find_link(html: &str, file: &str) -> Option<String> {
    html.split("href=").skip(1).find_map(|rest| {
        let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''))?;
        let address = rest.split(quote).nth(1)?;
        let address = address.split('#').next()?.replace("&amp;", "&");
        let name = address.split('?').next()?.rsplit('/').next()?.replace("%2B", "+");
        (name == file).then_some(address)
    })
}

fn unpack(wheel: Wheel, bytes: &[u8]) -> Result<Vec<u8>, UvError> {
    let broken = |reason: String| UvError::Wheel { file: wheel.file, reason };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(error.to_string()))?;
    let name = format!("uv-{}.data/scripts/uv", wheel.version);
    let entry = archive.by_name(&name).map_err(|error| broken(error.to_string()))?;
    let mut program = Vec::new();
    entry.take(MAX_PROGRAM_BYTES).read_to_end(&mut program).map_err(|error| broken(error.to_string()))?;
    Ok(program)
}

/// Written beside and moved into place, so that it is there whole or not at all.
fn write_program(program: &[u8], path: &Path) -> Result<(), UvError> {
    let failed = |source| UvError::Write { path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(path);
    private::create_dir(dir).map_err(failed)?;
    let partial = path.with_extension("partial");
    private::write_program(&partial, program).map_err(failed)?;
    std::fs::rename(&partial, path).map_err(failed)
}

#[cfg(test)]
mod tests;
