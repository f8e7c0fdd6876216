//! What is asked of a search and what the hub says of models, as the API shows it. Pure.

use hf_hub::repository::ModelInfo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::Value;

use super::files::{RepoFile, is_wanted};

/// Hits of one page without a wish.
pub const LIMIT: usize = 20;
/// The hub answers so many at once; who wants more has to search more closely.
pub const REACH: usize = 1000;

/// Which models, and which of them.
#[derive(Debug, Clone)]
pub struct Query {
    pub text: Option<String>,
    pub author: Option<String>,
    /// A tag; `mlx` where nobody wishes otherwise.
    pub library: Option<String>,
    pub sort: Sort,
    pub limit: usize,
    pub offset: usize,
}

/// What comes first in a list of the hub's models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    #[default]
    Downloads,
    Likes,
    Date,
    Trending,
}

impl Query {
    /// As the hub's list of models takes it.
    pub(super) fn on_the_wire(&self) -> String {
        let limit = (self.offset + self.limit).min(REACH).to_string();
        let texts = [("search", &self.text), ("author", &self.author), ("filter", &self.library)];
        let asked = texts.into_iter().filter_map(|(name, text)| Some((name, text.as_deref()?)));
        let always =
            [("sort", self.sort.wire_name()), ("limit", &limit), ("full", "true"), ("config", "true")];
        let pairs = asked.chain(always);
        let pairs =
            pairs.map(|(name, text)| format!("{name}={}", utf8_percent_encode(text, NON_ALPHANUMERIC)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

impl Sort {
    /// Every order.
    pub const ALL: [Sort; 4] = [Sort::Downloads, Sort::Likes, Sort::Date, Sort::Trending];

    /// As the API and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            Sort::Downloads => "downloads",
            Sort::Likes => "likes",
            Sort::Date => "date",
            Sort::Trending => "trending",
        }
    }

    /// The order of that name; `None` for any other.
    pub fn from_name(name: &str) -> Option<Sort> {
        Sort::ALL.into_iter().find(|sort| sort.name() == name)
    }

    pub(super) fn wire_name(self) -> &'static str {
        match self {
            Sort::Date => "lastModified",
            Sort::Trending => "trendingScore",
            other => other.name(),
        }
    }
}

/// A model that the hub has.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Hit {
    pub id: String,
    pub author: Option<String>,
    pub downloads: Option<u64>,
    pub likes: Option<u64>,
    /// RFC 3339.
    pub last_modified: Option<String>,
    pub tags: Vec<String>,
    /// What it is for, as its owner says: `text-generation`.
    pub pipeline_tag: Option<String>,
    pub library: Option<String>,
    pub license: Option<String>,
    /// Whether its owner wants terms to be accepted first.
    pub gated: bool,
    pub private: bool,
    pub commit: Option<String>,
    /// The hub's own short form of the configuration.
    #[serde(skip)]
    pub config: Option<Value>,
}

/// All that the hub says of one model.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Details {
    #[serde(flatten)]
    pub model: Hit,
    /// Of what a download fetches.
    pub size_bytes: u64,
    pub files: Vec<FileEntry>,
}

/// A file of a model on the hub.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct FileEntry {
    pub path: String,
    pub size_bytes: u64,
    /// False: in a format that MLX does not read; a download leaves it out.
    pub wanted: bool,
}

impl From<ModelInfo> for Hit {
    fn from(info: ModelInfo) -> Hit {
        let tags = info.tags.unwrap_or_default();
        let gated = match info.gated {
            Some(Value::Bool(gated)) => gated,
            Some(Value::String(how)) => how != "false",
            _ => false,
        };
        let author = info.author.or_else(|| Some(info.id.split_once('/')?.0.to_owned()));
        Hit {
            license: tags.iter().find_map(|tag| Some(tag.strip_prefix("license:")?.to_owned())),
            author,
            id: info.id,
            downloads: info.downloads,
            likes: info.likes,
            last_modified: info.last_modified,
            tags,
            pipeline_tag: info.pipeline_tag,
            library: info.library_name,
            gated,
            private: info.private.unwrap_or(false),
            commit: info.sha,
            config: info.config,
        }
    }
}

impl Details {
    pub(super) fn new(info: ModelInfo, files: Vec<RepoFile>) -> Details {
        let files: Vec<FileEntry> = files
            .into_iter()
            .map(|file| FileEntry { wanted: is_wanted(&file.path), path: file.path, size_bytes: file.size })
            .collect();
        let size_bytes = files.iter().filter(|file| file.wanted).map(|file| file.size_bytes).sum();
        Details { model: info.into(), size_bytes, files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(json: &str) -> Hit {
        Hit::from(serde_json::from_str::<ModelInfo>(json).unwrap())
    }

    #[test]
    fn the_licence_stands_in_the_tags_and_gates_have_several_forms() {
        let model = hit(r#"{"id":"org/m","tags":["mlx","license:apache-2.0"],"gated":"manual","likes":3}"#);
        assert_eq!((model.license.as_deref(), model.gated), (Some("apache-2.0"), true));
        assert_eq!(model.author.as_deref(), Some("org"));
        assert!(!hit(r#"{"id":"org/m","gated":false}"#).gated);
        assert!(!hit(r#"{"id":"org/m"}"#).gated);
    }

    #[test]
    fn what_is_asked_reaches_the_hub_as_it_was_typed() {
        let query = Query {
            text: Some("a&b c".into()),
            author: None,
            library: Some("mlx".into()),
            sort: Sort::Date,
            limit: 20,
            offset: 40,
        };
        let wire = query.on_the_wire();
        assert_eq!(wire, "search=a%26b%20c&filter=mlx&sort=lastModified&limit=60&full=true&config=true");
    }

    #[test]
    fn every_sort_has_a_name() {
        for sort in Sort::ALL {
            assert_eq!(Sort::from_name(sort.name()), Some(sort));
        }
        assert_eq!(Sort::from_name("size"), None);
    }
}
