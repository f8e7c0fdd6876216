//! Names and schemas of tools: what is accepted, and whether a value fits. The worker compiles and checks schemas.

use serde_json::Value;

use super::plain::PlainSchema;
use crate::worker::{CompileError, JsonSchema, Verdict, Worker};

/// Characters of a function's name, as OpenAI bounds it.
const NAME_MAX: usize = 64;
/// Bytes of a schema.
const SCHEMA_MAX: usize = 256 << 10;
/// Faults of a value that are reported.
const FAULTS_MAX: u64 = 5;

/// A tool's schema. The worker compiles it when it is first used.
#[derive(Debug)]
pub struct Schema {
    pub value: Value,
    schema: JsonSchema,
    /// Accepts values without the worker.
    plain: Option<PlainSchema>,
}

/// Why a value was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfit {
    /// It does not fit, and why.
    Faults(String),
    /// It could not be checked, and why.
    Unchecked(String),
}

/// Checks OpenAI's pattern for function names, `^[A-Za-z0-9_-]{1,64}$`.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(fits) {
        return Ok(());
    }
    Err(format!("`{name}` is not a name of 1 to {NAME_MAX} letters, digits, - and _"))
}

impl Schema {
    /// Reads JSON Schema 2020-12 for an object; it is not compiled yet.
    pub fn parse(text: &str) -> Result<Schema, String> {
        if text.len() > SCHEMA_MAX {
            return Err(format!("the schema is larger than {SCHEMA_MAX} bytes"));
        }
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        if value.get("type").and_then(Value::as_str) != Some("object") {
            return Err("the schema has to say \"type\": \"object\" at its root".to_owned());
        }
        Ok(Schema { plain: PlainSchema::read(&value), schema: JsonSchema::new(text), value })
    }

    /// Compiles it, to find out whether it can be used.
    pub async fn compile(&self, worker: &Worker) -> Result<(), String> {
        match worker.compile(&self.schema).await {
            Ok(unchecked) if unchecked.is_empty() => Ok(()),
            Ok(unchecked) => {
                tracing::warn!(?unchecked, "Patterns of a tool's schema are not checked");
                Ok(())
            }
            Err(CompileError::Refused(problem) | CompileError::Unavailable(problem)) => Err(problem),
            Err(CompileError::Busy) => Err("too many other schemas are being compiled".to_owned()),
        }
    }

    /// Checks a JSON text.
    pub async fn check(&self, worker: &Worker, value: &str) -> Result<(), Unfit> {
        let accepts =
            |plain: &PlainSchema| serde_json::from_str(value).is_ok_and(|value| plain.accepts(&value));
        if self.plain.as_ref().is_some_and(accepts) {
            return Ok(());
        }
        match worker.check(&self.schema, value, FAULTS_MAX).await {
            Verdict::Fits => Ok(()),
            Verdict::Faults(faults) => Err(Unfit::Faults(faults.join("; "))),
            Verdict::NotJson(problem) => Err(Unfit::Faults(format!("they are not JSON: {problem}"))),
            Verdict::Unchecked(problem) => Err(Unfit::Unchecked(problem)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Program;

    #[test]
    fn names_are_those_of_functions() {
        for good in ["a", "get_weather", "x-1", &"a".repeat(64)] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "a b", "a.b", "é", "a/b", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_schema_is_for_an_object_and_valid() {
        for bad in ["", "[]", "{}", "{\"type\":\"string\"}"] {
            assert!(Schema::parse(bad).is_err(), "{bad}");
        }
        let worker = Worker::new(Program::Thread);
        for bad in [
            "{\"type\":\"object\",\"required\":7}",
            "{\"type\":\"object\",\"$ref\":\"https://example.com/x\"}",
        ] {
            assert!(Schema::parse(bad).unwrap().compile(&worker).await.is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_value_that_does_not_fit_is_reported_with_its_place() {
        let schema = Schema::parse(
            "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"}},\"required\":[\"a\"]}",
        );
        let (schema, worker) = (schema.unwrap(), Worker::new(Program::Thread));
        assert_eq!(schema.check(&worker, "{\"a\":1}").await, Ok(()));
        for (value, words) in
            [("{\"a\":\"x\"}", "/a: "), ("{}", "\"a\" is a required property"), ("{", "not JSON")]
        {
            let Err(Unfit::Faults(faults)) = schema.check(&worker, value).await else { panic!("{value}") };
            assert!(faults.contains(words), "{faults}");
        }
    }
}
