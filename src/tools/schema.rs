//! Names and schemas of tools: what is accepted, and whether a value fits. Pure.

use std::sync::OnceLock;

use jsonschema::{Draft, Validator};
use serde_json::Value;

/// Characters of a function's name, as OpenAI bounds it.
const NAME_MAX: usize = 64;
/// Bytes of a schema.
const SCHEMA_MAX: usize = 256 << 10;
/// Faults of a value that are told.
const FAULTS_TOLD: usize = 5;

/// A schema and what checks values against it, built when it is first needed: that takes some megabytes of the
/// program into memory.
#[derive(Debug)]
pub struct Schema {
    pub value: Value,
    validator: OnceLock<Result<Validator, String>>,
}

/// OpenAI's pattern for function names, `^[A-Za-z0-9_-]{1,64}$`.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(format!("`{name}` is not a name of 1 to {NAME_MAX} letters, digits, - and _"))
}

impl Schema {
    /// JSON Schema 2020-12 for an object.
    pub fn parse(text: &str) -> Result<Schema, String> {
        let schema = Schema::known(text)?;
        match schema.validator() {
            Ok(_) => Ok(schema),
            Err(why) => Err(why.clone()),
        }
    }

    /// The same, where it is known to be valid; nothing is built yet.
    pub fn known(text: &str) -> Result<Schema, String> {
        if text.len() > SCHEMA_MAX {
            return Err(format!("the schema is larger than {SCHEMA_MAX} bytes"));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        if value.get("type").and_then(Value::as_str) != Some("object") {
            return Err("the schema has to say \"type\": \"object\" at its root".to_owned());
        }
        Ok(Schema { value, validator: OnceLock::new() })
    }

    fn validator(&self) -> Result<&Validator, &String> {
        let built = || {
            let options = jsonschema::options().with_draft(Draft::Draft202012);
            let invalid = |error| format!("the schema is not valid JSON Schema 2020-12: {error}");
            options.build(&self.value).map_err(invalid)
        };
        self.validator.get_or_init(built).as_ref()
    }

    /// What of `value` does not fit, in words.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let validator = self.validator().map_err(String::clone)?;
        if validator.is_valid(value) {
            return Ok(());
        }
        let told = |error: jsonschema::ValidationError<'_>| match error.instance_path().as_str() {
            "" => error.to_string(),
            path => format!("{path}: {error}"),
        };
        let faults: Vec<String> = validator.iter_errors(value).take(FAULTS_TOLD).map(told).collect();
        Err(faults.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_those_of_functions() {
        for good in ["a", "get_weather", "x-1", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a.b", "é", "a/b", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schemas_are_for_objects_and_valid() {
        for bad in ["", "[]", "{}", "{\"type\":\"string\"}", "{\"type\":\"object\",\"required\":7}"] {
            assert!(Schema::parse(bad).is_err(), "{bad}");
        }
        assert!(Schema::parse("{\"type\":\"object\",\"$ref\":\"https://example.com/x\"}").is_err());
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_place() {
        let schema = Schema::parse(
            "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]}",
        )
        .unwrap();
        assert_eq!(schema.check(&json!({"a": 1})), Ok(()));
        assert!(schema.check(&json!({"a": "x"})).unwrap_err().starts_with("/a: "));
        assert!(schema.check(&json!({})).unwrap_err().contains("\"a\" is a required property"));
    }
}
