//! What a tool gives back, in the gateway's own types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// The outcome of a call that came to its end.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput {
    pub content: Vec<Content>,
    /// Valid against the tool's output schema, where it has one.
    pub structured: Option<Value>,
    /// A failure that whoever called may read and mend.
    pub is_error: bool,
}

/// A part of a tool's result, as MCP has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Text(String),
    Image { data: Vec<u8>, mime_type: String },
    Audio { data: Vec<u8>, mime_type: String },
    Link { uri: String, name: String, mime_type: Option<String>, description: Option<String> },
    Embedded { uri: String, mime_type: Option<String>, body: Body },
}

/// What an embedded resource holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    Text(String),
    Blob(Vec<u8>),
}

impl ToolOutput {
    /// A failure in words.
    pub fn failure(message: impl Into<String>) -> ToolOutput {
        ToolOutput { content: vec![Content::Text(message.into())], structured: None, is_error: true }
    }

    /// What a model reads: texts as they are, everything else by its description.
    pub fn for_model(&self) -> String {
        let mut parts: Vec<String> = self.content.iter().map(Content::in_words).collect();
        if let (Some(structured), true) = (&self.structured, parts.is_empty()) {
            parts.push(structured.to_string());
        }
        parts.join("\n")
    }

    /// Bytes that the contents hold.
    pub fn size(&self) -> usize {
        self.content.iter().map(Content::size).sum()
    }
}

impl Content {
    /// As MCP writes it.
    pub fn to_json(&self) -> Value {
        match self {
            Content::Text(text) => json!({"type": "text", "text": text}),
            Content::Image { data, mime_type } => {
                json!({"type": "image", "data": STANDARD.encode(data), "mimeType": mime_type})
            }
            Content::Audio { data, mime_type } => {
                json!({"type": "audio", "data": STANDARD.encode(data), "mimeType": mime_type})
            }
            Content::Link { uri, name, mime_type, description } => without_nulls(json!({
                "type": "resource_link", "uri": uri, "name": name,
                "mimeType": mime_type, "description": description,
            })),
            Content::Embedded { uri, mime_type, body } => {
                let (text, blob) = match body {
                    Body::Text(text) => (Some(text.as_str()), None),
                    Body::Blob(blob) => (None, Some(STANDARD.encode(blob))),
                };
                let resource =
                    without_nulls(json!({"uri": uri, "mimeType": mime_type, "text": text, "blob": blob}));
                json!({"type": "resource", "resource": resource})
            }
        }
    }

    fn in_words(&self) -> String {
        match self {
            Content::Text(text) => text.clone(),
            Content::Image { data, mime_type } => format!("[an image, {mime_type}, {} bytes]", data.len()),
            Content::Audio { data, mime_type } => format!("[a sound, {mime_type}, {} bytes]", data.len()),
            Content::Link { uri, name, .. } => format!("[{name}: {uri}]"),
            Content::Embedded { body: Body::Text(text), .. } => text.clone(),
            Content::Embedded { uri, body: Body::Blob(blob), .. } => {
                format!("[the resource {uri}, {} bytes]", blob.len())
            }
        }
    }

    fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        match self {
            Content::Text(text) => text.len(),
            Content::Image { data, mime_type } | Content::Audio { data, mime_type } => {
                data.len() + mime_type.len()
            }
            Content::Link { uri, name, mime_type, description } => {
                uri.len() + name.len() + length(mime_type) + length(description)
            }
            Content::Embedded { uri, mime_type, body } => {
                let body = match body {
                    Body::Text(text) => text.len(),
                    Body::Blob(blob) => blob.len(),
                };
                uri.len() + length(mime_type) + body
            }
        }
    }
}

/// MCP leaves out what is not there.
fn without_nulls(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.retain(|_, value| !value.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_written_as_mcp_writes_them() {
        let image = Content::Image { data: vec![1, 2, 3], mime_type: "image/png".into() };
        assert_eq!(image.to_json(), json!({"type": "image", "data": "AQID", "mimeType": "image/png"}));
        let link = Content::Link { uri: "x:y".into(), name: "n".into(), mime_type: None, description: None };
        assert_eq!(link.to_json(), json!({"type": "resource_link", "uri": "x:y", "name": "n"}));
        let embedded = Content::Embedded { uri: "x:y".into(), mime_type: None, body: Body::Text("t".into()) };
        assert_eq!(embedded.to_json(), json!({"type": "resource", "resource": {"uri": "x:y", "text": "t"}}));
    }

    #[test]
    fn a_model_reads_texts_and_is_told_of_the_rest() {
        let output = ToolOutput {
            content: vec![
                Content::Text("21 °C".into()),
                Content::Image { data: vec![0; 9], mime_type: "image/png".into() },
            ],
            structured: Some(json!({"t": 21})),
            is_error: false,
        };
        assert_eq!(output.for_model(), "21 °C\n[an image, image/png, 9 bytes]");
        let bare = ToolOutput { content: Vec::new(), ..output };
        assert_eq!(bare.for_model(), "{\"t\":21}");
    }
}
