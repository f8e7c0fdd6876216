//! Where the configuration file and the data lie. Knows the platforms' conventions, and nothing of
//! what is in the file.

use std::path::{Path, PathBuf};

use super::{Problem, Sources, environment};
use crate::system::files;

const FILE_NAME: &str = "config.toml";
const FOLDER_NAME: &str = "mlx-gateway";
/// Bytes of a configuration file, more than people write.
pub const FILE_MAX: u64 = 1 << 20;
/// What is used when there is no file at all, so that a fresh gateway serves the demo model.
const BUILT_IN: &str = include_str!("../../config.toml");

/// The text to read.
pub(super) struct Located {
    /// Absolute; `None` for the built-in text.
    pub file: Option<PathBuf>,
    pub text: String,
}

/// `--config`, else `MLX_GATEWAY_CONFIG`, else `./config.toml`, else the one in the XDG configuration
/// directory, else the built-in one. A file that was asked for has to be there.
pub(super) fn locate(sources: &Sources) -> Result<Located, Box<Problem>> {
    let named = environment::set(&sources.environment, environment::CONFIG).map(PathBuf::from);
    if let Some(path) = sources.flags.config.clone().or(named) {
        return read(sources.current_dir.join(path));
    }
    let in_config_dir = xdg(sources, "XDG_CONFIG_HOME", ".config").map(|dir| dir.join(FILE_NAME));
    for path in [Some(sources.current_dir.join(FILE_NAME)), in_config_dir].into_iter().flatten() {
        if path.is_file() {
            return read(path);
        }
    }
    Ok(Located { file: None, text: BUILT_IN.to_owned() })
}

/// The data directory when nothing else is said.
pub(super) fn default_data_dir(sources: &Sources) -> Option<PathBuf> {
    let explicit = environment::set(&sources.environment, "XDG_DATA_HOME").is_some();
    if sources.macos && !explicit {
        return Some(sources.home.as_ref()?.join("Library/Application Support").join(FOLDER_NAME));
    }
    xdg(sources, "XDG_DATA_HOME", ".local/share")
}

/// Our folder in an XDG base directory; relative values of the variables are void, as XDG says.
fn xdg(sources: &Sources, variable: &str, in_home: &str) -> Option<PathBuf> {
    let explicit = environment::set(&sources.environment, variable).map(PathBuf::from);
    let base = match explicit.filter(|path| path.is_absolute()) {
        Some(base) => base,
        None => sources.home.as_ref()?.join(in_home),
    };
    Some(base.join(FOLDER_NAME))
}

fn read(path: PathBuf) -> Result<Located, Box<Problem>> {
    let refuse = |message: String| Box::new(Problem::of_file(&path, message));
    let bytes = files::read(&path, FILE_MAX).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            refuse("is larger than 1MiB, which no configuration is".to_owned())
        }
        _ => refuse(format!("cannot be read: {error}")),
    })?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Located { file: Some(clean(&path)), text }),
        Err(_) => Err(refuse("is not UTF-8 text".to_owned())),
    }
}

fn clean(path: &Path) -> PathBuf {
    path.components().filter(|part| *part != std::path::Component::CurDir).collect()
}
