//! What the gateway does beside a model's words, as events within a chat's stream, for those who ask to be
//! told: which of its tools take part, what they are called with, what they said.

use serde_json::{Value, json};

/// The label by which a request names the gateway's own tools.
pub const LABEL: &str = "mlx-gateway";

/// The key by which such an event is told from a chunk.
pub const KEY: &str = "mlx_gateway";

/// Tools that take part, as MCP lists them.
pub fn tools(tools: Vec<Value>) -> Value {
    json!({KEY: {"tools": tools}})
}

/// Calls that begin: each an id, a name and arguments.
pub fn calls(calls: Vec<Value>) -> Value {
    json!({KEY: {"calls": calls}})
}

/// What came of calls: each the id, the text that the model reads, and whether it failed.
pub fn results(results: Vec<Value>) -> Value {
    json!({KEY: {"results": results}})
}
