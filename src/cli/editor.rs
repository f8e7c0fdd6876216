//! A text in the user's own editor. The variable that names it holds a program and its arguments; no
//! shell reads it. Knows nothing of what the text says.

use std::path::PathBuf;

use super::exit::CliError;
use crate::system::{files, foreground, private};

/// Bytes of a text that was edited.
const TEXT_MAX: u64 = 16 << 20;

/// A text that was edited, in a file that stays until `done`.
pub struct Edited {
    pub text: String,
    folder: tempfile::TempDir,
    name: String,
}

/// The editor that the user has chosen: `$VISUAL`, else `$EDITOR`.
pub fn chosen() -> Option<Vec<String>> {
    ["VISUAL", "EDITOR"].into_iter().find_map(|name| words(&std::env::var(name).ok()?))
}

/// Opens the text as a file of that name and waits for the editor's end.
pub async fn edit(editor: &[String], name: &str, text: &str) -> Result<Edited, CliError> {
    let failed = |what: &str, error: std::io::Error| CliError::Failed(format!("{what}: {error}"));
    let folder = private::temp_dir_in(&std::env::temp_dir(), "mlx-gateway-");
    let folder = folder.map_err(|error| failed("no temporary folder can be made", error))?;
    let path = folder.path().join(name);
    private::write(&path, text.as_bytes())
        .map_err(|error| failed("the text cannot be written to a file", error))?;
    let (program, arguments) =
        editor.split_first().map_or(("", [].as_slice()), |(first, rest)| (first, rest));
    let status = foreground::run(program, arguments, &path).await;
    let status = status.map_err(|error| failed(&format!("the editor {program} cannot be run"), error))?;
    if !status.success() {
        return Err(CliError::Failed(format!(
            "the editor {program} ended with {status}; nothing is changed"
        )));
    }
    let text = files::read_to_string(&path, TEXT_MAX)
        .map_err(|error| failed("what was edited cannot be read", error))?;
    Ok(Edited { text, folder, name: name.to_owned() })
}

impl Edited {
    /// Leaves the file to the user, so that no work is lost, and says where.
    pub fn keep(self) -> PathBuf {
        self.folder.keep().join(self.name)
    }
}

fn words(variable: &str) -> Option<Vec<String>> {
    let words: Vec<String> = variable.split_whitespace().map(ToOwned::to_owned).collect();
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_may_have_arguments_and_an_empty_variable_names_none() {
        assert_eq!(words("code --wait"), Some(vec!["code".to_owned(), "--wait".to_owned()]));
        assert_eq!(words("  "), None);
    }
}
