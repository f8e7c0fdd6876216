//! `response_format`: what a structured answer has to be, and whether it is. Pure.

use jsonschema::{Draft, Validator};
use serde_json::Value;

use super::request::BadRequest;

/// Bytes of a schema, written out.
const SCHEMA_MAX: usize = 256 << 10;
/// Characters of a reason.
const WHY_MAX: usize = 300;

/// What an answer has to be.
#[derive(Debug)]
pub enum Format {
    /// Any JSON object.
    Object,
    /// What a schema describes.
    Schema(Box<Validator>),
}

impl Format {
    /// Reads `response_format`; none: the answer is text.
    pub fn read(value: &Value) -> Result<Option<Format>, BadRequest> {
        let bad = |words: String| BadRequest::new("response_format", words);
        match value.get("type").and_then(Value::as_str) {
            Some("text") => Ok(None),
            Some("json_object") => Ok(Some(Format::Object)),
            Some("json_schema") => {
                let schema = value.pointer("/json_schema/schema").or_else(|| value.get("schema"));
                let missing = || bad("\"response_format\" needs its schema in json_schema.schema".to_owned());
                Format::of_schema(schema.ok_or_else(missing)?).map(Some).map_err(bad)
            }
            other => Err(bad(format!(
                "\"response_format\" has the type text, json_object or json_schema, not \"{}\"",
                other.unwrap_or("none")
            ))),
        }
    }

    fn of_schema(schema: &Value) -> Result<Format, String> {
        if schema.to_string().len() > SCHEMA_MAX {
            return Err(format!("the schema of \"response_format\" is larger than {SCHEMA_MAX} bytes"));
        }
        // Nothing is fetched: a reference to elsewhere is an error.
        let validator = jsonschema::options().with_draft(Draft::Draft202012).build(schema);
        let validator =
            validator.map_err(|error| format!("the schema of \"response_format\" is not valid: {error}"))?;
        Ok(Format::Schema(Box::new(validator)))
    }

    /// What is wrong with an answer; none: it is as it has to be.
    pub fn fault(&self, answer: &str) -> Option<String> {
        let value: Value = match serde_json::from_str(answer) {
            Ok(value) => value,
            Err(error) => return Some(format!("it is not JSON: {error}")),
        };
        let why = match self {
            Format::Object if value.is_object() => return None,
            Format::Object => "it is JSON, and no object".to_owned(),
            Format::Schema(validator) => {
                let error = validator.validate(&value).err()?;
                let place = error.instance_path().to_string();
                format!("{}: {error}", if place.is_empty() { "the whole" } else { place.as_str() })
            }
        };
        Some(why.chars().take(WHY_MAX).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn format(value: Value) -> Result<Option<Format>, String> {
        Format::read(&value).map_err(|error| error.message)
    }

    #[test]
    fn an_answer_is_held_against_what_was_asked_for() {
        let object = format(json!({"type": "json_object"})).unwrap().unwrap();
        assert_eq!(object.fault("{\"a\": 1}"), None);
        assert!(object.fault("[1]").unwrap().contains("no object"));
        assert!(object.fault("Sure! {}").unwrap().contains("not JSON"));
        let schema = json!({"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]});
        let schema = format(json!({"type": "json_schema", "json_schema": {"name": "r", "schema": schema}}));
        let schema = schema.unwrap().unwrap();
        assert_eq!(schema.fault(" {\"ok\": true} "), None);
        assert!(schema.fault("{\"ok\": 1}").unwrap().starts_with("/ok: "));
        assert!(schema.fault("{}").unwrap().contains("ok"));
        assert!(format(json!({"type": "text"})).unwrap().is_none());
    }

    #[test]
    fn what_asks_for_nothing_sensible_is_refused() {
        for (value, words) in [
            (json!({"type": "xml"}), "not \"xml\""),
            (json!({}), "not \"none\""),
            (json!({"type": "json_schema"}), "needs its schema"),
            (json!({"type": "json_schema", "json_schema": {"schema": {"type": 7}}}), "is not valid"),
            (
                json!({"type": "json_schema", "json_schema": {"schema": {"$ref": "http://x.example/s"}}}),
                "is not valid",
            ),
        ] {
            let told = format(value.clone()).map(drop).unwrap_err();
            assert!(told.contains(words), "{value}: {told}");
        }
    }
}
