//! Asks the admin API and reads what it answers, refusals included. Knows how questions and answers
//! are wrapped, not what they are about.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Empty, Full, Limited};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::api::{ApiError, ErrorBody};
use super::exit::CliError;
use super::transport::{Body, BoxError, Transport, TransportError, into_body};

/// How long a question may take that the gateway can answer at once.
const BRIEF_WAIT: Duration = Duration::from_secs(30);
/// Bytes of the longest answer that is read as a whole.
const MAX_ANSWER: usize = 64 << 20;
/// Bytes of the longest line in a stream of lines; a longer one is cut there.
const MAX_LINE: usize = 1 << 20;

const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A gateway to ask.
#[derive(Debug, Clone)]
pub struct Client {
    transport: Transport,
}

/// An answer as it came and as it is understood.
#[derive(Debug)]
pub struct Answer<T> {
    pub raw: Bytes,
    pub value: T,
}

/// A text stream, line by line.
pub struct Lines {
    body: Body,
    buffer: BytesMut,
    ended: bool,
}

/// `text` as one segment of a path or one value of a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

impl Client {
    pub fn new(transport: Transport) -> Client {
        Client { transport }
    }

    /// Asks for what is known at once.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CliError> {
        let asked = async { read(self.open(Method::GET, path, None).await?).await };
        match tokio::time::timeout(BRIEF_WAIT, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(CliError::Unreachable(format!(
                "the gateway did not answer within {} s",
                BRIEF_WAIT.as_secs()
            ))),
        }
    }

    /// Asks for something to be done. May take as long as the gateway lets it (`timeouts.start`,
    /// say); whoever waits has Ctrl-C.
    pub async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, CliError> {
        read(self.open(Method::POST, path, None).await?).await
    }

    /// Sends a change and reads what has become of it.
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer<T>, CliError> {
        read(self.open_with(method, path, json, headers).await?).await
    }

    /// Asks for an answer that comes piece by piece, as lines.
    pub async fn lines(&self, method: Method, path: &str) -> Result<Lines, CliError> {
        Ok(Lines::new(self.open(method, path, None).await?))
    }

    /// Sends JSON, or nothing, and gives the body of an answer that is no refusal.
    pub async fn open(&self, method: Method, path: &str, json: Option<&Value>) -> Result<Body, CliError> {
        self.open_with(method, path, json, &[]).await
    }

    /// The same with headers.
    pub async fn open_with(
        &self,
        method: Method,
        path: &str,
        json: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Body, CliError> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = request.header(header::USER_AGENT, concat!("mlx-gateway/", env!("CARGO_PKG_VERSION")));
        let body = match json {
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                into_body(Full::new(Bytes::from(value.to_string())))
            }
            None => into_body(Empty::new()),
        };
        let request = request.body(body).map_err(|error| CliError::Failed(error.to_string()))?;
        let answer = self.transport.send(request).await?;
        if answer.status().is_success() { Ok(answer.into_body()) } else { Err(refusal(answer).await) }
    }
}

impl Lines {
    pub fn new(body: Body) -> Lines {
        Lines { body, buffer: BytesMut::new(), ended: false }
    }

    /// The next line without its end; what is not UTF-8 is replaced.
    pub async fn next(&mut self) -> Result<Option<String>, CliError> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => return Err(cut_off(&error)),
                None => self.ended = true,
            }
        }
    }

    fn take_line(&mut self) -> Option<String> {
        let (line, terminator) = match memchr::memchr(b'\n', &self.buffer) {
            Some(end) => (end, 1),
            None if self.buffer.len() >= MAX_LINE => (MAX_LINE, 0),
            None if self.ended && !self.buffer.is_empty() => (self.buffer.len(), 0),
            None => return None,
        };
        let bytes = self.buffer.split_to(line);
        self.buffer.advance(terminator);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        Some(String::from_utf8_lossy(bytes).into_owned())
    }
}

/// A stream that ended before it was over.
pub fn cut_off(error: &BoxError) -> CliError {
    CliError::Failed(format!("the gateway's answer was cut off: {error}"))
}

impl From<TransportError> for CliError {
    fn from(error: TransportError) -> CliError {
        match error {
            TransportError::Absent { .. } | TransportError::Broken(_) => {
                CliError::Unreachable(error.to_string())
            }
            TransportError::Denied { .. } => CliError::NotAllowed(error.to_string()),
        }
    }
}

/// All of an answer, as it is.
pub async fn whole(body: Body) -> Result<Bytes, CliError> {
    collect(body).await.map_err(|error| cut_off(&error))
}

async fn read<T: DeserializeOwned>(body: Body) -> Result<Answer<T>, CliError> {
    let raw = collect(body).await.map_err(|error| cut_off(&error))?;
    match serde_json::from_slice(&raw) {
        Ok(value) => Ok(Answer { raw, value }),
        Err(error) => Err(CliError::Failed(format!(
            "the answer is not what this version of mlx-gateway understands ({error}); \
             is there another program at that address, or a gateway of another version?"
        ))),
    }
}

async fn collect(body: Body) -> Result<Bytes, BoxError> {
    Ok(Limited::new(body, MAX_ANSWER).collect().await?.to_bytes())
}

/// The error in the body; where there is none, the status has to speak.
async fn refusal(answer: Response<Body>) -> CliError {
    let status = answer.status();
    let reading = tokio::time::timeout(BRIEF_WAIT, collect(answer.into_body()));
    let raw = reading.await.ok().and_then(Result::ok).unwrap_or_default();
    let mut error = match serde_json::from_slice::<ErrorBody>(&raw) {
        Ok(body) if !body.error.message.is_empty() => body.error,
        _ => ApiError::new(format!("the gateway answered {status}")),
    };
    if status == http::StatusCode::UNAUTHORIZED {
        error.message.push_str(" (give a key with --key or in MLX_GATEWAY_API_KEY)");
    }
    CliError::Refused { status: status.as_u16(), error: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;

    async fn lines_of(chunks: &[&'static [u8]]) -> Vec<String> {
        let frames: Vec<Result<Frame<Bytes>, BoxError>> =
            chunks.iter().map(|chunk| Ok(Frame::data(Bytes::from_static(chunk)))).collect();
        let body = into_body(StreamBody::new(futures_util::stream::iter(frames)));
        let mut lines = Lines::new(body);
        let mut seen = Vec::new();
        while let Ok(Some(line)) = lines.next().await {
            seen.push(line);
        }
        seen
    }

    #[tokio::test]
    async fn lines_do_not_depend_on_how_they_arrive() {
        assert_eq!(lines_of(&[b"one\ntw", b"o\r", b"\n\nthree"]).await, ["one", "two", "", "three"]);
        assert!(lines_of(&[]).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_cut() {
        let chunk: &'static [u8] = Box::leak(vec![b'x'; MAX_LINE + 1].into_boxed_slice());
        let lengths: Vec<usize> = lines_of(&[chunk]).await.iter().map(String::len).collect();
        assert_eq!(lengths, [MAX_LINE, 1]);
    }

    #[test]
    fn names_cannot_leave_their_place_in_a_path() {
        assert_eq!(encode("a/../b?c d"), "a%2F..%2Fb%3Fc%20d");
    }
}
