//! One pass over a JSON request body, segment by segment as it arrives: where its top-level members
//! lie, which roles its messages have, and whether its media are inline. Nothing is copied but keys.
//! Knows nothing of engines or profiles.

mod grammar;
mod path;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub use grammar::Scanner;

/// A member of the top-level object, by byte ranges into the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub key: String,
    /// From the key's opening quote to the end of its value.
    pub whole: Range<usize>,
    pub value: Range<usize>,
    pub kind: Kind,
}

/// What kind of JSON value a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// What one pass over a body found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// In the order of the body; no key comes twice.
    pub members: Vec<Member>,
    /// Offsets of the braces of the top-level object.
    pub braces: Range<usize>,
    /// The values `"developer"` of message roles.
    pub developer_roles: Vec<Range<usize>>,
    /// Whether a message has the role `system` or `developer`.
    pub has_system: bool,
    /// The first medium that is not a `data:` URL.
    pub foreign_media: Option<ForeignMedia>,
    /// The media that are in the body itself.
    pub inline_media: InlineMedia,
}

/// Pictures, sounds and videos within a body: `data:` URLs at places where a model does not read their text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InlineMedia {
    pub count: u64,
    pub bytes: u64,
}

/// A medium that points somewhere instead of being there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignMedia {
    /// The content part's key, such as `image_url`.
    pub part: &'static str,
    /// Offset of the value in the body.
    pub at: usize,
    /// Whether it is `input_audio.data`, which OpenAI defines as bare base64.
    pub bare: bool,
}

/// Why a body is not a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    #[error("the body is not valid JSON: {reason} at byte {at}")]
    Malformed { at: usize, reason: &'static str },
    #[error("the body must be a JSON object")]
    NotAnObject,
    #[error("the key \"{key}\" comes twice; send it once")]
    Duplicate { key: String },
    #[error("the body is nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("the body has more than {MAX_MEMBERS} top-level keys")]
    TooManyMembers,
}

/// Nesting that is still followed.
pub const MAX_DEPTH: usize = 128;
/// Top-level keys that are still compared with each other.
pub const MAX_MEMBERS: usize = 256;

impl Scan {
    /// Of what is not JSON.
    pub fn none() -> Scan {
        Scan {
            members: Vec::new(),
            braces: 0..0,
            developer_roles: Vec::new(),
            has_system: false,
            foreign_media: None,
            inline_media: InlineMedia::default(),
        }
    }

    /// The member of that name.
    pub fn get(&self, key: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.key == key)
    }
}
