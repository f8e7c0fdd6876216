//! A bare HTTP/1.1 server connection: reads requests, writes whatever bytes it is given. Owns framing
//! of requests only; the answers are the caller's own bytes, so that it can break every rule of
//! HTTP on purpose. Shared with the mock upstream of the benchmark: nothing here knows of models.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head longer than this is refused.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A body longer than this is refused.
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;
const READ_BYTES: usize = 64 * 1024;

pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes that are still written before the connection is cut; none: all.
    left: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    /// Path with query.
    pub target: String,
    /// Names in lower case, in the order of the wire.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub keep_alive: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        Connection { stream, buffer: Vec::with_capacity(READ_BYTES), left: None }
    }

    /// The next request; `None` when the client has closed or stayed idle for longer than `idle`.
    pub async fn next_request(&mut self, idle: Duration) -> io::Result<Option<Request>> {
        let head_end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end;
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("the request's head is too long"));
            }
            match tokio::time::timeout(idle, self.fill()).await {
                Err(_elapsed) => return Ok(None),
                Ok(Ok(0)) => return Ok(None),
                Ok(read) => read?,
            };
        };
        let mut request = parse_head(&self.buffer[..head_end])?;
        self.buffer.drain(..head_end + 4);
        if request.header("expect").is_some() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        if request.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            request.body = self.read_chunked().await?;
        } else if let Some(length) = request.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            request.body = self.take(length).await?;
        }
        Ok(Some(request))
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(left) = &mut self.left else { return self.stream.write_all(bytes).await };
        let now = bytes.len().min(*left);
        *left -= now;
        self.stream.write_all(&bytes[..now]).await?;
        if now < bytes.len() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    /// Of the next answer only so many bytes are written.
    pub fn cut_at(&mut self, bytes: Option<usize>) {
        self.left = bytes;
    }

    /// Ends when the client has closed its side; bytes of a further request count as being there.
    pub async fn client_left(&self) {
        let mut byte = [0];
        match self.stream.peek(&mut byte).await {
            Ok(0) | Err(_) => {}
            Ok(_) => std::future::pending().await,
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(READ_BYTES);
        self.stream.read_buf(&mut self.buffer).await
    }

    async fn fill_some(&mut self) -> io::Result<()> {
        if self.fill().await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > BODY_BYTES_MAX {
            return Err(io::Error::other("the request's body is too long"));
        }
        self.buffer.reserve(length.saturating_sub(self.buffer.len()));
        while self.buffer.len() < length {
            self.fill_some().await?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    async fn read_chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line_end = loop {
                match find(&self.buffer, b"\r\n") {
                    Some(end) => break end,
                    None => self.fill_some().await?,
                }
            };
            let line = String::from_utf8_lossy(&self.buffer[..line_end]).into_owned();
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16).map_err(io::Error::other)?;
            self.buffer.drain(..line_end + 2);
            let mut chunk = self.take(size + 2).await?;
            if size == 0 {
                return Ok(body);
            }
            chunk.truncate(size);
            body.append(&mut chunk);
            if body.len() > BODY_BYTES_MAX {
                return Err(io::Error::other("the request's body is too long"));
            }
        }
    }
}

fn parse_head(head: &[u8]) -> io::Result<Request> {
    let text = std::str::from_utf8(head).map_err(io::Error::other)?;
    let mut lines = text.split("\r\n");
    let mut start = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version)) = (start.next(), start.next(), start.next()) else {
        return Err(io::Error::other("the request line has not three parts"));
    };
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let connection = headers.iter().find(|(n, _)| n == "connection").map(|(_, v)| v.as_str());
    let keep_alive = match connection {
        Some(value) if value.eq_ignore_ascii_case("close") => false,
        Some(value) if value.eq_ignore_ascii_case("keep-alive") => true,
        _ => version == "HTTP/1.1",
    };
    Ok(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
        keep_alive,
    })
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}
