//! What is kept of a captured request, as it is stored and shown.

use serde::{Deserialize, Serialize};

/// A request and its answer as the client sent and got them, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Capture {
    /// Milliseconds since 1970, UTC.
    pub captured_at_ms: i64,
    /// Whether what was said was kept; otherwise only its shape.
    pub contents: bool,
    pub request: Asked,
    pub response: Answer,
}

/// What the client asked, without its credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CapturedRequest)]
pub struct Asked {
    /// `/v1/chat/completions` and the like.
    pub path: String,
    pub headers: Vec<Header>,
    pub body: Text,
}

/// What the client was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CapturedAnswer)]
pub struct Answer {
    /// Null: the client left before there was one.
    pub status: Option<u16>,
    pub body: Text,
}

/// A header of the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CapturedHeader)]
pub struct Header {
    pub name: String,
    /// `[redacted]` where it is a credential.
    pub value: String,
}

/// A body, as far as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = CapturedText)]
pub struct Text {
    /// Null: it is no text, or nothing of it may be kept.
    pub text: Option<String>,
    /// How many there were.
    pub bytes: u64,
    /// Whether there were more than are kept.
    pub cut: bool,
}
