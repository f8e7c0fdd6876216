//! One request being captured: gathers beside the bytes that pass, up to a bound, and hands over what
//! it has when the answer has ended, whichever way.

use std::sync::{Arc, Mutex, PoisonError};

use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::document::{Answer, Asked, Capture, Header, Text};
use super::{Captures, Switch, redact};

/// Captures one request as long as it lives; dropping it ends the capture.
pub struct Taking {
    taken: Option<Taken>,
    asked: Share,
    limit: u64,
    captures: Captures,
    _place: OwnedSemaphorePermit,
}

/// The part of a request's body that has come so far; a cheap clone.
#[derive(Clone, Default)]
pub struct Share(Arc<Mutex<Gathered>>);

/// Bytes from the beginning, and how many there were.
#[derive(Default)]
struct Gathered {
    kept: Vec<u8>,
    bytes: u64,
    limit: u64,
}

/// All that was taken, before anything is left out of it.
pub struct Taken {
    pub request: Uuid,
    /// Milliseconds since 1970, UTC.
    pub captured_at: i64,
    contents: bool,
    path: String,
    headers: Vec<Header>,
    status: Option<u16>,
    asked: Gathered,
    answered: Gathered,
}

impl Taking {
    pub(super) fn new(
        mut taken: Taken,
        limit: u64,
        place: OwnedSemaphorePermit,
        captures: Captures,
    ) -> Taking {
        taken.answered.limit = limit;
        let asked = Share(Arc::new(Mutex::new(Gathered { limit, ..Gathered::default() })));
        Taking { taken: Some(taken), asked, limit, captures, _place: place }
    }

    /// Where the request's body is noted as it is read.
    pub fn asked(&self) -> Share {
        self.asked.clone()
    }

    /// The answer's status.
    pub fn answers(&mut self, status: u16) {
        if let Some(taken) = &mut self.taken {
            taken.status = Some(status);
        }
    }

    /// A piece of the answer.
    pub fn answered(&mut self, piece: &[u8]) {
        if let Some(taken) = &mut self.taken {
            taken.answered.push(piece);
        }
    }

    /// Nothing of it is kept.
    pub fn abandon(mut self) {
        self.taken = None;
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        let Some(mut taken) = self.taken.take() else { return };
        let empty = Gathered { limit: self.limit, ..Gathered::default() };
        taken.asked = std::mem::replace(&mut *self.asked.lock(), empty);
        self.captures.hand_over(taken);
    }
}

impl Share {
    /// Adds bytes of the request as they pass; beyond the bound they are only counted.
    pub fn push(&self, piece: &[u8]) {
        self.lock().push(piece);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Gathered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gathered {
    fn push(&mut self, piece: &[u8]) {
        let room = usize::try_from(self.limit).unwrap_or(usize::MAX).saturating_sub(self.kept.len());
        self.kept.extend(piece.iter().take(room));
        self.bytes += piece.len() as u64;
    }

    fn text(self, contents: bool) -> Text {
        let cut = self.bytes > self.kept.len() as u64;
        Text {
            text: readable(&self.kept, cut).and_then(|text| shown(text, contents)),
            bytes: self.bytes,
            cut,
        }
    }
}

impl Taken {
    pub fn new(request: Uuid, captured_at: i64, path: &str, headers: &HeaderMap, switch: &Switch) -> Taken {
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| Header {
            name: name.as_str().to_owned(),
            value: redact::header(name.as_str(), &String::from_utf8_lossy(value.as_bytes())),
        };
        Taken {
            request,
            captured_at,
            contents: switch.contents,
            path: path.to_owned(),
            headers: headers.iter().map(header).collect(),
            status: None,
            asked: Gathered::default(),
            answered: Gathered::default(),
        }
    }

    /// As it is kept and shown: without credentials, and without contents where those are not wanted.
    pub fn document(self) -> Capture {
        let contents = self.contents;
        Capture {
            captured_at_ms: self.captured_at,
            contents,
            request: Asked { path: self.path, headers: self.headers, body: self.asked.text(contents) },
            response: Answer { status: self.status, body: self.answered.text(contents) },
        }
    }
}

/// Text, if it is one; a character that was cut in two is left out.
fn readable(bytes: &[u8], cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            bytes.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
        }
        Err(_) => None,
    }
}

fn shown(text: &str, contents: bool) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    if contents { Some(redact::credentials(text)) } else { redact::contents(text) }
}
