//! A component's lists and results, in the gateway's own types and within their bounds.

use super::bindings::exports::mlx_gateway::plugin::tools as wit;
use super::bindings::mlx_gateway::plugin::types;
use crate::tools::content::{Body, Content, ToolOutput};
use crate::tools::error::CallError;

/// Contents of one result.
pub const ITEMS_MAX: usize = 1000;

/// A tool as its component tells it; nothing of it is checked.
#[derive(Debug, Clone)]
pub struct ListedTool {
    pub name: String,
    pub title: Option<String>,
    pub description: String,
    pub input_schema: String,
    pub output_schema: Option<String>,
    pub read_only: Option<bool>,
    pub destructive: Option<bool>,
    pub idempotent: Option<bool>,
    pub open_world: Option<bool>,
}

pub fn listed(tool: wit::Tool) -> ListedTool {
    let hints = tool.annotations;
    ListedTool {
        name: tool.name,
        title: tool.title,
        description: tool.description,
        input_schema: tool.input_schema,
        output_schema: tool.output_schema,
        read_only: hints.and_then(|hints| hints.read_only),
        destructive: hints.and_then(|hints| hints.destructive),
        idempotent: hints.and_then(|hints| hints.idempotent),
        open_world: hints.and_then(|hints| hints.open_world),
    }
}

/// A result, if it keeps to `limit` bytes.
pub fn output(result: wit::ToolResult, limit: u64) -> Result<ToolOutput, CallError> {
    if result.content.len() > ITEMS_MAX {
        let message = format!("{} contents, {ITEMS_MAX} at most", result.content.len());
        return Err(CallError::TooMuchOutput(message));
    }
    let structured = match result.structured {
        None => None,
        Some(text) if text.len() as u64 > limit => return Err(too_large(text.len(), limit)),
        Some(text) => Some(
            serde_json::from_str(&text)
                .map_err(|error| CallError::InvalidResult(format!("it is not JSON: {error}")))?,
        ),
    };
    let content = result.content.into_iter().map(content).collect();
    let output = ToolOutput { content, structured, is_error: result.is_error };
    if output.size() as u64 > limit { Err(too_large(output.size(), limit)) } else { Ok(output) }
}

fn too_large(bytes: usize, limit: u64) -> CallError {
    CallError::TooMuchOutput(format!("{bytes} bytes, {limit} at most"))
}

fn content(content: types::Content) -> Content {
    match content {
        types::Content::Text(text) => Content::Text(text),
        types::Content::Image(blob) => Content::Image { data: blob.data, mime_type: blob.mime_type },
        types::Content::Audio(blob) => Content::Audio { data: blob.data, mime_type: blob.mime_type },
        types::Content::ResourceLink(link) => Content::Link {
            uri: link.uri,
            name: link.name,
            mime_type: link.mime_type,
            description: link.description,
        },
        types::Content::EmbeddedResource(embedded) => Content::Embedded {
            uri: embedded.uri,
            mime_type: embedded.mime_type,
            body: match embedded.body {
                types::Body::Text(text) => Body::Text(text),
                types::Body::Blob(blob) => Body::Blob(blob),
            },
        },
    }
}

/// A failure that the component itself told.
pub fn told(error: types::ToolError, tool: &str) -> CallError {
    use super::guest::plain;
    match error {
        types::ToolError::UnknownTool(_) => CallError::UnknownTool(tool.to_owned()),
        types::ToolError::InvalidArguments(why) => CallError::InvalidArguments(plain(&why)),
        types::ToolError::Denied(why) => CallError::Denied(plain(&why)),
        types::ToolError::Unavailable(why) => CallError::Unavailable(plain(&why)),
        types::ToolError::Internal(why) => CallError::Internal(plain(&why)),
    }
}
