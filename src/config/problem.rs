//! What is wrong with a configuration, in words for people and as JSON for scripts. Knows nothing of
//! how it was found.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Origin;

/// One thing that is wrong, where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The configuration file, when it stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// One-based.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The environment variable or flag, when it stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Dotted, such as `profile.qwen.keep_alive`; empty for the file as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// Something that does not keep the gateway from starting.
pub type Warning = Problem;

/// Everything that is wrong with a configuration, at least one problem.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", self.render())]
pub struct LoadError {
    pub problems: Vec<Problem>,
    /// What would have been said had there been no problem.
    pub warnings: Vec<Warning>,
}

impl Problem {
    pub(super) fn at(file: Option<&Path>, origin: &Origin, key: &str, message: impl Into<String>) -> Self {
        let (file, line, source) = match origin {
            Origin::Default | Origin::Store => (None, None, None),
            Origin::File { line } => (file.map(Path::to_path_buf), Some(*line), None),
            Origin::Environment { variable } => (None, None, Some(variable.clone())),
            Origin::Flag { flag } => (None, None, Some(flag.clone())),
        };
        Problem { file, line, source, key: key.to_owned(), message: message.into(), suggestion: None }
    }

    /// About the file as a whole.
    pub(super) fn of_file(file: &Path, message: impl Into<String>) -> Self {
        Problem {
            file: Some(file.to_path_buf()),
            line: None,
            source: None,
            key: String::new(),
            message: message.into(),
            suggestion: None,
        }
    }

    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl LoadError {
    /// `{"problems": [...], "warnings": [...]}`
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "problems": self.problems, "warnings": self.warnings })
    }

    fn render(&self) -> String {
        let count = match self.problems.len() {
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        let mut text = format!("{count} in the configuration:\n");
        for problem in &self.problems {
            text.push_str(&format!("\n{problem}"));
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line, &self.source) {
            (Some(file), Some(line), _) => write!(f, "{}:{line}: ", file.display())?,
            (Some(file), None, _) => write!(f, "{}: ", file.display())?,
            (None, _, Some(source)) => write!(f, "{source}: ")?,
            (None, _, None) => {}
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "\n    {suggestion}"),
            None => Ok(()),
        }
    }
}
