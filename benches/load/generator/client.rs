//! A bare HTTP/1.1 client connection that hands body bytes to a check as they come, without copying them.

use std::ops::Range;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Outcome;

use super::check::Check;

const BUFFER_BYTES: usize = 256 * 1024;

pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// What has been read and not yet used.
    unread: Range<usize>,
}

enum Framing {
    Length(usize),
    Chunked,
}

impl Client {
    pub async fn connect(authority: &str) -> Outcome<Client> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Client { stream, buffer: vec![0; BUFFER_BYTES], unread: 0..0 })
    }

    /// Sends a request and gives its answer to the check; keeps the connection.
    pub async fn exchange(&mut self, request: &[u8], check: &mut Check<'_>) -> Outcome<()> {
        self.stream.write_all(request).await?;
        match self.head().await? {
            Framing::Length(length) => self.pass(length, check).await?,
            Framing::Chunked => loop {
                let size = self.chunk_size().await?;
                self.pass(size, check).await?;
                self.line_end().await?;
                if size == 0 {
                    break;
                }
            },
        }
        check.end()
    }

    async fn head(&mut self) -> Outcome<Framing> {
        let head = loop {
            if let Some(end) = memchr::memmem::find(self.unread(), b"\r\n\r\n") {
                let head = std::str::from_utf8(&self.unread()[..end])?.to_ascii_lowercase();
                self.unread.start += end + 4;
                break head;
            }
            self.fill().await?;
        };
        if !head.starts_with("http/1.1 200") {
            let rest = String::from_utf8_lossy(self.unread());
            let status = head.lines().next().unwrap_or_default();
            return Err(format!("{status}: {}", rest.chars().take(300).collect::<String>()).into());
        }
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        match (header("content-length"), header("transfer-encoding")) {
            (Some(length), _) => Ok(Framing::Length(length.parse()?)),
            (None, Some("chunked")) => Ok(Framing::Chunked),
            _ => Err("the answer has neither a length nor chunks".into()),
        }
    }

    async fn pass(&mut self, length: usize, check: &mut Check<'_>) -> Outcome<()> {
        let mut left = length;
        while left > 0 {
            if self.unread.is_empty() {
                self.fill().await?;
            }
            let here = left.min(self.unread.len());
            check.feed(&self.unread()[..here])?;
            self.unread.start += here;
            left -= here;
        }
        Ok(())
    }

    async fn chunk_size(&mut self) -> Outcome<usize> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.unread()) {
                let line = std::str::from_utf8(&self.unread()[..end])?;
                let size = usize::from_str_radix(line.trim_end(), 16)?;
                self.unread.start += end + 1;
                return Ok(size);
            }
            self.fill().await?;
        }
    }

    async fn line_end(&mut self) -> Outcome<()> {
        while self.unread.len() < 2 {
            self.fill().await?;
        }
        if !self.unread().starts_with(b"\r\n") {
            return Err("a chunk does not end where its size says".into());
        }
        self.unread.start += 2;
        Ok(())
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    async fn fill(&mut self) -> Outcome<()> {
        if self.unread.is_empty() {
            self.unread = 0..0;
        } else if self.unread.end == self.buffer.len() {
            self.buffer.copy_within(self.unread.clone(), 0);
            self.unread = 0..self.unread.len();
        }
        match self.stream.read(&mut self.buffer[self.unread.end..]).await? {
            0 => Err("the connection was closed in the middle of an answer".into()),
            read => {
                self.unread.end += read;
                Ok(())
            }
        }
    }
}
