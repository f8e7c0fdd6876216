//! A model's thinking as the item that clients hand back: in words, or wrapped for those who keep nothing
//! here and ask for `reasoning.encrypted_content`. Wrapped is not hidden: it is the client's own answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::text;

/// What wrapped thinking begins with, so that nobody else's is taken for it.
const MARK: &str = "mlx-gateway-1:";

pub fn wrapped(thought: &str) -> String {
    STANDARD.encode(format!("{MARK}{thought}"))
}

/// The thinking in a reasoning item; empty where there is none that can be read.
pub fn of(item: &Value) -> String {
    let joined = |key: &str| {
        let parts = item.get(key).and_then(Value::as_array).into_iter().flatten();
        parts.map(|part| text(part, "text")).collect::<Vec<_>>().join("\n\n")
    };
    let plain = Some(joined("content")).filter(|text| !text.is_empty());
    let plain = plain.or_else(|| Some(joined("summary")).filter(|text| !text.is_empty()));
    plain.or_else(|| unwrapped(text(item, "encrypted_content"))).unwrap_or_default()
}

fn unwrapped(wrapped: &str) -> Option<String> {
    let text = String::from_utf8(STANDARD.decode(wrapped).ok()?).ok()?;
    text.strip_prefix(MARK).map(str::to_owned)
}
