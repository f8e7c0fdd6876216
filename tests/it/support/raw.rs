//! An upstream that answers with the bytes that it is given, whatever they are.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

pub struct RawUpstream {
    pub url: String,
    /// The head of each request.
    pub heads: Receiver<String>,
}

impl RawUpstream {
    /// Answers every request with `answer` and closes the connection.
    pub fn start(answer: impl Into<Vec<u8>>) -> RawUpstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let (answer, (seen, heads)) = (answer.into(), channel());
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                let Some(head) = request(&connection) else { continue };
                // Whoever left does not hear it.
                (&connection).write_all(&answer).ok();
                if seen.send(head).is_err() {
                    return;
                }
            }
        });
        RawUpstream { url, heads }
    }

    /// A profile that is served by it and passes answers on as they are.
    pub fn profile(&self, name: &str) -> String {
        format!("[[profile]]\nname = {name:?}\nengine = \"url\"\nurl = {:?}\n", self.url)
    }
}

/// Reads a request with its body and returns its head.
fn request(connection: &TcpStream) -> Option<String> {
    let mut reader = BufReader::new(connection);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = super::http::header(&head.to_ascii_lowercase(), "content-length")?.parse().ok()?;
    reader.read_exact(&mut vec![0; length]).ok()?;
    Some(head)
}
