//! Answers to forms, as mlx-openai-server gives them: what came is said in the answer, so that tests can look
//! at it. Reads well-formed forms only.

use serde_json::{Value, json};

use crate::http1::Request;

/// The fields of a form: each a name, whether it is a file, and its value.
pub fn fields(request: &Request) -> Vec<(String, bool, Vec<u8>)> {
    let boundary = request.header("content-type").and_then(|kind| kind.split("boundary=").nth(1));
    let Some(boundary) = boundary else { return Vec::new() };
    let delimiter = format!("--{}", boundary.trim_matches('"')).into_bytes();
    let mut fields = Vec::new();
    let mut rest = request.body.as_slice();
    while let Some(at) = find(rest, &delimiter) {
        rest = &rest[at + delimiter.len()..];
        let (Some(head), Some(end)) = (find(rest, b"\r\n\r\n"), find(rest, &delimiter)) else { break };
        let names = String::from_utf8_lossy(&rest[..head]).into_owned();
        let name = names.split(" name=\"").nth(1).and_then(|name| name.split('"').next());
        let value = rest[head + 4..end - 2].to_vec();
        fields.push((name.unwrap_or_default().to_owned(), names.contains("filename="), value));
    }
    fields
}

/// What a transcription says: the fields that came, files by their sizes.
pub fn heard(fields: &[(String, bool, Vec<u8>)]) -> String {
    let word = |(name, is_file, value): &(String, bool, Vec<u8>)| match is_file {
        true => format!("{name}={} bytes", value.len()),
        false => format!("{name}={}", String::from_utf8_lossy(value)),
    };
    fields.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// A whole transcription; text comes in quotes, as the real one's does.
pub fn transcription(fields: &[(String, bool, Vec<u8>)]) -> Value {
    match text(fields, "response_format").as_str() {
        "text" => heard(fields).into(),
        _ => json!({"text": heard(fields), "usage": {"type": "duration", "seconds": 3}}),
    }
}

/// The events of a streamed one.
pub fn stream(fields: &[(String, bool, Vec<u8>)]) -> String {
    let chunk = |content: &str, finish: Value, usage: Value| {
        let choice = json!({"delta": {"role": "assistant", "content": content}, "finish_reason": finish});
        let chunk = json!({"id": "t", "object": "transcription.chunk", "created": 1, "model": "whisper",
            "choices": [choice], "usage": usage});
        format!("data: {chunk}\n\n")
    };
    let words: String =
        heard(fields).split_inclusive(' ').map(|word| chunk(word, Value::Null, Value::Null)).collect();
    words + &chunk("", "stop".into(), json!({"type": "duration", "seconds": 3})) + "data: [DONE]\n\n"
}

pub fn text(fields: &[(String, bool, Vec<u8>)], name: &str) -> String {
    let field = fields.iter().find(|(known, is_file, _)| known == name && !is_file);
    field.map(|(_, _, value)| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
