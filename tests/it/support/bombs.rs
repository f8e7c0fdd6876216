//! JSON schemas that are small and cost much: to compile, to check in time, and to check in memory.

use serde_json::{Value, json};

/// A schema whose check takes memory in the depth of the value.
pub const GROWING: &str = r##"{"type":"object","$defs":{"t":{"anyOf":[{"properties":{"a":{"$ref":"#/$defs/t"}},"required":["a","b"]},{"properties":{"a":{"$ref":"#/$defs/t"}},"required":["a","c"]},{"type":"null"}]}},"$ref":"#/$defs/t"}"##;

/// A value for that.
pub fn deep() -> String {
    format!("{}null{}", "{\"a\":".repeat(20), "}".repeat(20))
}

/// A schema whose check takes twice as long with each level.
pub fn doubling() -> Value {
    let level = |n: usize| {
        let next = json!({"$ref": format!("#/$defs/a{}", n + 1)});
        (format!("a{n}"), json!({"allOf": [next, next]}))
    };
    let mut levels: serde_json::Map<String, Value> = (0..28).map(level).collect();
    levels.insert("a28".into(), json!({"type": "object"}));
    json!({"$defs": levels, "$ref": "#/$defs/a0"})
}

/// Patterns that are large when compiled.
pub fn pattern_bomb() -> Value {
    let property =
        |n: usize| (format!("a{n}"), json!({"pattern": format!("[\\p{{L}}\\p{{N}}]{{{}}}", 150 + n)}));
    json!({"type": "object", "properties": (0..50).map(property).collect::<serde_json::Map<_, _>>()})
}
