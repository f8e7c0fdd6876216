//! Transcriptions as OpenAI tells them, out of what the engine says: its stream is one of chat chunks, and its
//! text comes in quotes.

use serde_json::{Value, json};

use super::assembled::Assembled;
use super::failure::UpstreamFailure;
use super::sse;

/// A stream of transcription chunks on its way.
#[derive(Debug)]
pub struct Transcript {
    text: String,
    kept: Assembled,
    usage: Option<Value>,
    ended: bool,
}

impl Default for Transcript {
    fn default() -> Transcript {
        Transcript { text: String::new(), kept: Assembled::text(), usage: None, ended: false }
    }
}

impl Transcript {
    /// Takes complete events.
    pub fn feed(&mut self, events: &[u8], out: &mut Vec<u8>) -> Result<(), UpstreamFailure> {
        for data in sse::events(events) {
            if data.as_ref() == sse::DONE {
                self.end(out);
            } else if let Ok(chunk) = serde_json::from_slice::<Value>(&data) {
                self.chunk(&chunk, out)?;
            }
        }
        Ok(())
    }

    fn chunk(&mut self, chunk: &Value, out: &mut Vec<u8>) -> Result<(), UpstreamFailure> {
        if chunk["error"].is_object() {
            self.ended = true;
            event(chunk, out);
            return Ok(());
        }
        if chunk["usage"].is_object() {
            self.usage = Some(chunk["usage"].clone());
        }
        let said = chunk["choices"][0]["delta"]["content"].as_str().filter(|said| !said.is_empty());
        if let Some(said) = said {
            self.kept.push(&mut self.text, said)?;
            event(&json!({"type": "transcript.text.delta", "delta": said}), out);
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.ended, true) {
            let mut done = json!({"type": "transcript.text.done", "text": self.text});
            if let Some(usage) = self.usage.take() {
                done["usage"] = usage;
            }
            event(&done, out);
        }
        out.extend_from_slice(sse::DONE_EVENT);
    }
}

/// A whole transcription that was asked for as text.
pub fn plain(answer: &[u8]) -> Vec<u8> {
    match serde_json::from_slice::<Value>(answer) {
        Ok(Value::String(text)) => text.into_bytes(),
        Ok(Value::Object(object)) if object.get("text").is_some_and(Value::is_string) => {
            object["text"].as_str().unwrap_or_default().into()
        }
        _ => answer.to_vec(),
    }
}

fn event(data: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("data: {data}\n\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_what_openais_clients_read() {
        let chunk = |content: &str| {
            format!(
                "data: {}\n\n",
                json!({"object": "transcription.chunk", "choices": [{"delta": {"content": content}}]})
            )
        };
        let stream = [
            chunk("Hello"),
            chunk(" there"),
            "data: {\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}],\"usage\":{\"type\":\"duration\",\"seconds\":2}}\n\n".into(),
            "data: [DONE]\n\n".into(),
        ];
        let (mut transcript, mut out) = (Transcript::default(), Vec::new());
        transcript.feed(stream.concat().as_bytes(), &mut out).unwrap();
        let told: Vec<Value> =
            sse::events(&out).filter_map(|data| serde_json::from_slice(&data).ok()).collect();
        assert_eq!(
            told,
            [
                json!({"type": "transcript.text.delta", "delta": "Hello"}),
                json!({"type": "transcript.text.delta", "delta": " there"}),
                json!({"type": "transcript.text.done", "text": "Hello there", "usage": {"type": "duration", "seconds": 2}}),
            ]
        );
        assert!(out.ends_with(sse::DONE_EVENT));
    }

    #[test]
    fn a_failure_goes_on_and_text_loses_its_quotes() {
        let (mut transcript, mut out) = (Transcript::default(), Vec::new());
        transcript.feed(b"data: {\"error\":{\"message\":\"x\"}}\n\ndata: [DONE]\n\n", &mut out).unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("\"message\":\"x\"") && !out.contains("text.done"), "{out}");
        assert_eq!(plain(b"\"Hello \\\"you\\\"\""), b"Hello \"you\"");
        assert_eq!(plain(b"{\"text\":\"Hi\"}"), b"Hi");
        assert_eq!(plain(b"WEBVTT"), b"WEBVTT");
    }
}
