//! Answers that never come to their end: some stall half-way, others go on for ever.

use std::io;

use serde_json::{Value, json};

use crate::http1::Connection;
use crate::wire::{Identity, Piece, frame, stream_head};

/// Length of a whole answer of which less comes.
const PROMISED: usize = 1000;
/// Bytes of one write of an endless line.
const PIECE: usize = 64 << 10;

/// Half of an answer, and then nothing until the client leaves.
pub async fn stall(connection: &mut Connection, what: &str) -> io::Result<()> {
    let (status, half) = match what {
        "error" => ("500 Internal Server Error", "{\"error\": {\"message\": \"half an err"),
        _ => ("200 OK", "{\"id\": \"chatcmpl_1\", \"choices\": [{\"mess"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {PROMISED}\r\n\r\n{half}"
    );
    connection.write(head.as_bytes()).await?;
    connection.client_left().await;
    Err(io::ErrorKind::BrokenPipe.into())
}

/// Tokens of so many bytes without end, as the request asked for them.
pub async fn tokens(
    connection: &mut Connection,
    identity: &Identity,
    body: &Value,
    bytes: usize,
) -> io::Result<()> {
    let token = "x".repeat(bytes.max(1));
    if body["stream"] == true {
        connection.write(stream_head()).await?;
        connection.write(&frame(identity.role_event().as_bytes())).await?;
        let event = frame(identity.event_of(&Piece::Content(token)).as_bytes());
        loop {
            connection.write(&event).await?;
        }
    }
    let start = json!({"id": "chatcmpl_1", "object": "chat.completion", "choices": []}).to_string();
    let start =
        start.replace("[]}", "[{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": \"");
    whole(connection, start.as_bytes(), token.as_bytes()).await
}

/// One event whose line has no end.
pub async fn line(connection: &mut Connection) -> io::Result<()> {
    connection.write(stream_head()).await?;
    connection.write(&frame(b"data: ")).await?;
    let piece = frame(&vec![b'x'; PIECE]);
    loop {
        connection.write(&piece).await?;
    }
}

async fn whole(connection: &mut Connection, start: &[u8], more: &[u8]) -> io::Result<()> {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    connection.write(head).await?;
    connection.write(&frame(start)).await?;
    let piece = frame(more);
    loop {
        connection.write(&piece).await?;
    }
}
