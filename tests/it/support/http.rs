//! The smallest client that shows what goes over the wire.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use super::Gateway;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// An answer being read.
pub struct Stream {
    pub status: u16,
    pub head: String,
    reader: BufReader<TcpStream>,
    chunk: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }

    /// Status and OpenAI's error code.
    pub fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The data of each event.
    pub fn events(&self) -> Vec<String> {
        self.body.split("\n\n").filter_map(|event| Some(event.strip_prefix("data: ")?.to_owned())).collect()
    }
}

impl Stream {
    /// The next event or comment, without its blank line; none at the end.
    pub fn next(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.chunk.windows(2).position(|two| two == b"\n\n") {
                let event = String::from_utf8(self.chunk[..at].to_vec()).unwrap();
                self.chunk.drain(..at + 2);
                return Some(event);
            }
            let mut size = String::new();
            if self.reader.read_line(&mut size).unwrap_or(0) == 0 {
                return None;
            }
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut bytes = vec![0; size + 2];
            self.reader.read_exact(&mut bytes).unwrap();
            if size == 0 {
                return None;
            }
            self.chunk.extend_from_slice(&bytes[..size]);
        }
    }
}

impl Stream {
    /// Reads to the end of the connection; false: it went on for longer than a test waits.
    pub fn reaches_its_end(&mut self) -> bool {
        self.reader.read_to_end(&mut Vec::new()).is_ok()
    }
}

impl Gateway {
    pub fn get(&self, path: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", self.address))
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.post_with(path, "", body)
    }

    /// `headers`: lines, each with its end.
    pub fn post_with(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.send(&self.request(path, headers, body))
    }

    /// A chat with one message.
    pub fn chat(&self, model: &str, prompt: &str) -> Answer {
        self.post("/v1/chat/completions", &body(model, prompt, false))
    }

    pub fn stream(&self, model: &str, prompt: &str) -> Stream {
        self.open(&self.request("/v1/chat/completions", "", &body(model, prompt, true)))
    }

    /// The whole of a stream.
    pub fn streamed(&self, model: &str, prompt: &str) -> Answer {
        let mut stream = self.stream(model, prompt);
        let mut body = String::new();
        while let Some(event) = stream.next() {
            body += &event;
            body += "\n\n";
        }
        Answer { status: stream.status, head: stream.head, body }
    }

    pub fn request(&self, path: &str, headers: &str, body: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        )
    }

    /// Sends bytes as they are and reads to the end.
    pub fn send(&self, request: &str) -> Answer {
        let mut stream = self.open(request);
        let mut body = String::new();
        if stream.head.contains("transfer-encoding: chunked") {
            while let Some(event) = stream.next() {
                body += &event;
                body += "\n\n";
            }
            body += &String::from_utf8(std::mem::take(&mut stream.chunk)).unwrap();
        } else {
            stream.reader.read_to_string(&mut body).unwrap();
        }
        Answer { status: stream.status, head: stream.head, body }
    }

    pub fn open(&self, request: &str) -> Stream {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.set_read_timeout(Some(self.patience)).unwrap();
        connection.write_all(request.as_bytes()).unwrap();
        let mut reader = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = reader.read_line(&mut head).unwrap_or_else(|error| {
                let (line, waited) = (request.lines().next().unwrap_or_default(), self.patience.as_secs());
                panic!("{error}: waited up to {waited} s for the answer to {line}")
            });
            assert!(read > 0, "the answer ended in its head: {head:?}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Stream { status, head, reader, chunk: Vec::new() }
    }
}

pub fn body(model: &str, prompt: &str, stream: bool) -> String {
    serde_json::json!({"model": model, "stream": stream, "messages": [{"role": "user", "content": prompt}]})
        .to_string()
}

pub fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(": ")?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}
