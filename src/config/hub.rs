//! `[hub]`: where models come from.

use std::path::PathBuf;

use super::reader::Reader;
use super::values::{self, Fault};
use super::{Origin, Secret, environment};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
const TOKEN: &str = "HF_TOKEN";

/// `[hub]`
#[derive(Debug, Clone)]
pub struct Hub {
    pub endpoint: String,
    pub token: Option<Secret>,
    pub token_file: Option<PathBuf>,
    /// Folders with models, beside the Hugging Face cache.
    pub folders: Vec<PathBuf>,
}

impl Hub {
    pub(super) fn read(reader: &Reader<'_>) -> Self {
        let token = environment::set(reader.context.environment, TOKEN).map(|token| {
            reader.note_origin("token", &Origin::Environment { variable: TOKEN.to_owned() });
            Secret(token.to_owned())
        });
        let token_file = reader.path("token_file");
        if let Some(fault) = token_file.as_ref().and_then(|path| values::absent(path, "file")) {
            reader.warning("token_file", fault);
        }
        let endpoint = reader.value("endpoint", |node| values::http_url(node, DEFAULT_ENDPOINT));
        Hub {
            endpoint: endpoint.unwrap_or_else(|| DEFAULT_ENDPOINT.to_owned()),
            token,
            token_file,
            folders: folders(reader),
        }
    }
}

/// A folder that is not there now may be there later: a disk that is plugged in.
fn folders(reader: &Reader<'_>) -> Vec<PathBuf> {
    let folders = reader.list("folders", |node| {
        let text = node.text().ok_or_else(|| Fault::wrong_type("a path", node))?;
        reader.context.bases.absolute(&text, &node.origin)
    });
    let folders = folders.unwrap_or_default();
    for fault in folders.iter().filter_map(|folder| values::absent(folder, "folder")) {
        reader.warning("folders", fault);
    }
    folders
}
