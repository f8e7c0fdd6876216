//! `response_format`: the form that an answer has to have. Pure; a schema is compiled and checked by the worker.

use serde_json::Value;

use super::request::BadRequest;
use crate::worker::JsonSchema;

/// Bytes of a schema, written out.
const SCHEMA_MAX: usize = 256 << 10;

/// The form of an answer.
#[derive(Debug, Clone)]
pub enum Format {
    /// Any JSON object.
    Object,
    /// JSON that fits a schema.
    Schema(JsonSchema),
}

impl Format {
    /// Reads `response_format`; none: the answer is text. The schema is not compiled yet.
    pub fn read(value: &Value) -> Result<Option<Format>, BadRequest> {
        let bad = |words: String| BadRequest::new("response_format", words);
        match value.get("type").and_then(Value::as_str) {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(Format::Object)),
            Some("json_schema") => {
                let schema = value.pointer("/json_schema/schema").or_else(|| value.get("schema"));
                let missing = || bad("\"response_format\" needs its schema in json_schema.schema".to_owned());
                let schema = schema.ok_or_else(missing)?.to_string();
                if schema.len() > SCHEMA_MAX {
                    let words = format!(
                        "the schema of \"response_format\" has {} bytes, {SCHEMA_MAX} at most",
                        schema.len()
                    );
                    return Err(bad(words));
                }
                Ok(Some(Format::Schema(JsonSchema::new(&schema))))
            }
            other => Err(bad(format!(
                "\"response_format\" has the type text, json_object or json_schema, not \"{}\"",
                other.unwrap_or("none")
            ))),
        }
    }
}

/// Returns why an answer is no JSON object; none: it is one.
pub fn object_fault(answer: &str) -> Option<String> {
    match serde_json::from_str::<serde::de::IgnoredAny>(answer) {
        Err(error) => Some(not_json(&error.to_string())),
        Ok(_) if answer.trim_start().starts_with('{') => None,
        Ok(_) => Some("it is JSON, and no object".to_owned()),
    }
}

/// Returns the fault of an answer that is not JSON.
pub fn not_json(error: &str) -> String {
    format!("it is not JSON: {error}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn format(value: Value) -> Result<Option<Format>, String> {
        Format::read(&value).map_err(|error| error.message)
    }

    #[test]
    fn an_answer_that_is_no_object_has_a_fault() {
        assert!(matches!(format(json!({"type": "json_object"})), Ok(Some(Format::Object))));
        assert!(format(json!({"type": "text"})).unwrap().is_none());
        assert_eq!(object_fault(" {\"a\": 1}"), None);
        assert!(object_fault("[1]").unwrap().contains("no object"));
        assert!(object_fault("Sure! {}").unwrap().contains("not JSON"));
        assert!(object_fault("{} {}").unwrap().contains("not JSON"));
    }

    #[test]
    fn a_format_that_is_not_known_is_refused() {
        for (value, words) in [
            (json!({"type": "xml"}), "not \"xml\""),
            (json!({}), "not \"none\""),
            (json!({"type": "json_schema"}), "needs its schema"),
            (json!({"type": "json_schema", "schema": "x".repeat(SCHEMA_MAX)}), "262144 at most"),
        ] {
            let told = format(value.clone()).map(drop).unwrap_err();
            assert!(told.contains(words), "{told}");
        }
        let schema = json!({"type": "json_schema", "json_schema": {"schema": {"type": 7}}});
        assert!(matches!(format(schema), Ok(Some(Format::Schema(_)))), "the worker compiles it later");
    }
}
