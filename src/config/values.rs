//! Single values: what a node has to be to count as a size, a duration, a choice, a path, and what is
//! said when it is not. Knows no setting by name.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use super::tree::Node;
use super::{ByteSize, Origin, Problem, parse_bytes, parse_duration, show_duration};
use crate::system::offload;

/// Two words at least this alike (Jaro-Winkler) are taken for a slip of the pen.
const SIMILAR: f64 = 0.8;

/// Why a value was not taken.
pub(super) struct Fault {
    message: String,
    suggestion: Option<String>,
}

/// Where paths start.
pub(super) struct Bases<'a> {
    /// For those in the file.
    pub file: &'a Path,
    /// For those in flags and in the environment.
    pub current_dir: &'a Path,
    pub home: Option<&'a Path>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Fault { message: message.into(), suggestion: None }
    }

    pub(super) fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }

    pub(super) fn wrong_type(wanted: &str, found: &Node) -> Self {
        Fault::new(format!("has to be {wanted}, not {}", found.kind()))
    }

    pub(super) fn out_of_range(found: impl Display, least: impl Display, most: impl Display) -> Self {
        Fault::new(format!("{found} is out of range")).suggest(format!("allowed: {least} to {most}"))
    }

    pub(super) fn at(self, file: Option<&Path>, origin: &Origin, key: &str) -> Problem {
        Problem { suggestion: self.suggestion, ..Problem::at(file, origin, key, self.message) }
    }
}

pub(super) fn text(node: &Node) -> Result<String, Fault> {
    match node.text() {
        Some(text) => Ok(text.into_owned()),
        None => Err(Fault::wrong_type("a string", node)),
    }
}

/// Why a `folder` or `file` that is named cannot be used now. None: it is there.
pub(super) fn absent(path: &Path, kind: &str) -> Option<Fault> {
    let is_there: fn(&Path) -> bool = if kind == "folder" { Path::is_dir } else { Path::is_file };
    match offload::look(path, is_there) {
        Some(true) => None,
        Some(false) => Some(Fault::new(format!("there is no {kind} {}", path.display()))),
        None => Some(Fault::new(format!("the {kind} {} does not answer", path.display()))),
    }
}

/// Text with something in it.
pub(super) fn some_text(node: &Node) -> Result<String, Fault> {
    match text(node)? {
        text if text.trim().is_empty() => Err(Fault::new("must not be empty")),
        text => Ok(text),
    }
}

pub(super) fn boolean(node: &Node) -> Result<bool, Fault> {
    node.boolean().ok_or_else(|| Fault::wrong_type("true or false", node))
}

pub(super) fn integer(node: &Node, allowed: &RangeInclusive<u32>) -> Result<u32, Fault> {
    let integer = node.integer().ok_or_else(|| Fault::wrong_type("an integer", node))?;
    let fits = u32::try_from(integer).ok().filter(|integer| allowed.contains(integer));
    fits.ok_or_else(|| Fault::out_of_range(integer, allowed.start(), allowed.end()))
}

pub(super) fn bytes(node: &Node, allowed: &RangeInclusive<u64>) -> Result<u64, Fault> {
    let bytes = match (node.integer(), node.text()) {
        (Some(integer), _) => match u64::try_from(integer) {
            Ok(bytes) => bytes,
            Err(_) => return Err(Fault::new(format!("{integer} is not a size"))),
        },
        (None, Some(text)) => parse_bytes(&text).map_err(Fault::new)?,
        (None, None) => return Err(Fault::wrong_type("a size such as \"64MiB\"", node)),
    };
    if allowed.contains(&bytes) {
        return Ok(bytes);
    }
    Err(Fault::out_of_range(ByteSize(bytes), ByteSize(*allowed.start()), ByteSize(*allowed.end())))
}

pub(super) fn duration(node: &Node, allowed: &RangeInclusive<Duration>) -> Result<Duration, Fault> {
    let Some(text) = node.text() else {
        let fault = Fault::wrong_type("a duration such as \"30s\"", node);
        let seconds = node.integer().filter(|seconds| *seconds >= 0);
        return Err(match seconds {
            Some(seconds) => fault.suggest(format!("write \"{seconds}s\" for seconds")),
            None => fault,
        });
    };
    let duration = parse_duration(&text).map_err(Fault::new)?;
    if allowed.contains(&duration) {
        return Ok(duration);
    }
    let show = |duration: &Duration| show_duration(*duration);
    Err(Fault::out_of_range(text, show(allowed.start()), show(allowed.end())))
}

pub(super) fn choice<T: Copy>(node: &Node, choices: &[(&'static str, T)]) -> Result<T, Fault> {
    let text = node.text().ok_or_else(|| Fault::wrong_type("a string", node))?;
    if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    let fault = Fault::new(format!("{text:?} is not one of {}", names.join(", ")));
    Err(match closest(&text, names) {
        Some(name) => fault.suggest(format!("did you mean {name:?}?")),
        None => fault,
    })
}

/// An `http` or `https` address without credentials, query or trailing slash; `example` shows one.
pub(super) fn http_url(node: &Node, example: &str) -> Result<String, Fault> {
    let url = text(node)?;
    let url = url.trim().trim_end_matches('/');
    let refuse = |message: &str| Err(Fault::new(message).suggest(format!("write it as {example:?}")));
    let Ok(uri) = url.parse::<http::Uri>() else {
        return refuse("is not a URL");
    };
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let Some(authority) = authority.filter(|_| matches!(uri.scheme_str(), Some("http" | "https"))) else {
        return refuse("has to be an http or https URL with a host");
    };
    if authority.as_str().contains('@') {
        return refuse("must not hold a user name or password");
    }
    if uri.query().is_some() || url.contains('#') {
        return refuse("must not have a query or fragment");
    }
    Ok(url.to_owned())
}

/// The one of `words` that `word` was probably meant to be.
pub(super) fn closest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let word = word.to_ascii_lowercase();
    let alike = words.into_iter().map(|other| (strsim::jaro_winkler(&word, other), other));
    let best = alike.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= SIMILAR).then_some(best.1)
}

impl Bases<'_> {
    /// `text` as an absolute path: `~` is the home, anything relative starts where it was written.
    pub(super) fn absolute(&self, text: &str, origin: &Origin) -> Result<PathBuf, Fault> {
        if text.is_empty() || text.contains('\0') {
            return Err(Fault::new("is not a path"));
        }
        let base = match origin {
            Origin::Flag { .. } | Origin::Environment { .. } => self.current_dir,
            Origin::Default | Origin::Store | Origin::File { .. } => self.file,
        };
        let path = match text.strip_prefix('~') {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                let home =
                    self.home.ok_or_else(|| Fault::new("starts at `~`, but there is no home (HOME)"))?;
                home.join(rest.trim_start_matches('/'))
            }
            _ => base.join(text),
        };
        // Equal folders have to be equal paths: `./m/` and `m` launch one backend.
        Ok(path.components().filter(|part| *part != Component::CurDir).collect())
    }
}
