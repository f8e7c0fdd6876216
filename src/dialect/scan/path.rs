//! Which place in a request a value stands at, as far as routing and safety need to know.

/// The role a container plays; children derive theirs from it and their key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The top-level object.
    Root,
    Messages,
    Message,
    /// The array of content parts of a message.
    Content,
    Part,
    /// Inside a medium; carries the part's key.
    Media(&'static str),
    /// `input_audio`.
    Audio,
    Other,
}

/// What has to be known of a string value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Nothing,
    Role,
    /// Must begin with `data:`.
    Url(&'static str),
    /// `input_audio.data`.
    Bare,
}

/// Keys of content parts whose strings a backend may open as files or fetch.
const MEDIA: [&str; 10] = [
    "image_url",
    "video_url",
    "audio_url",
    "file_url",
    "image",
    "video",
    "audio",
    "file",
    "input_image",
    "input_file",
];

/// The place of a container that stands under `key` (none in arrays) of `parent`.
pub fn child(parent: Place, key: Option<&str>) -> Place {
    match (parent, key) {
        (Place::Root, Some("messages")) => Place::Messages,
        (Place::Messages, None) => Place::Message,
        (Place::Message, Some("content")) => Place::Content,
        // A lone part instead of a list is treated like a list of one.
        (Place::Content, None) => Place::Part,
        (Place::Content | Place::Part, Some("input_audio")) => Place::Audio,
        (Place::Content | Place::Part, Some(key)) => media(key).map_or(Place::Other, Place::Media),
        (Place::Media(part), _) => Place::Media(part),
        (Place::Audio, _) => Place::Audio,
        _ => Place::Other,
    }
}

/// What has to be known of a string under `key` of `parent`.
pub fn wanted(parent: Place, key: Option<&str>) -> Wanted {
    match (parent, key) {
        (Place::Message, Some("role")) => Wanted::Role,
        (Place::Content | Place::Part, Some("input_audio")) => Wanted::Bare,
        (Place::Content | Place::Part, Some(key)) => media(key).map_or(Wanted::Nothing, Wanted::Url),
        // Labels beside the address are harmless: detail, format, type, name, filename.
        (Place::Media(_), Some("detail" | "format" | "type" | "name" | "filename" | "file_id")) => {
            Wanted::Nothing
        }
        (Place::Media(part), _) => Wanted::Url(part),
        (Place::Audio, Some("data" | "url")) => Wanted::Bare,
        _ => Wanted::Nothing,
    }
}

fn media(key: &str) -> Option<&'static str> {
    MEDIA.into_iter().find(|name| *name == key)
}
