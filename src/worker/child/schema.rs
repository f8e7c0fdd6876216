//! JSON schemas, compiled with an engine for patterns that takes linear time, and values checked against them.
//! Compiled ones are kept by their digest.

use std::collections::{BTreeSet, VecDeque};

use jsonschema::{Draft, PatternOptions, ValidationError, ValidationOptions, Validator};
use serde_json::{Value, json};

use super::patterns;
use crate::worker::protocol::Reply;

/// Bytes of one compiled pattern, and of the states that are kept while it is matched.
const PATTERN_SIZE_MAX: usize = 1 << 20;
/// Compiled schemas in memory, and their weight in all; the one that was used longest ago goes first.
const CACHED_MAX: usize = 64;
const WEIGHT_MAX: usize = 128 << 20;
/// Bytes that a compiled schema is assumed to take for each of its text.
const WEIGHT_PER_BYTE: usize = 32;
/// Characters of one message about a schema or a value.
const MESSAGE_MAX: usize = 1000;

/// Compiled schemas.
#[derive(Default)]
pub struct Schemas {
    /// In the order of their use.
    cached: VecDeque<Compiled>,
}

/// A schema that values can be checked against.
pub struct Compiled {
    digest: [u8; 32],
    validator: Validator,
    /// Patterns that are not checked.
    pub unchecked: Vec<String>,
    weight: usize,
}

impl Schemas {
    /// Returns the schema with that digest, compiled from its text if it is not there.
    pub fn compile(&mut self, digest: [u8; 32], text: &str) -> Result<&Compiled, String> {
        let known = self.cached.iter().position(|compiled| compiled.digest == digest);
        let compiled = match known.and_then(|at| self.cached.remove(at)) {
            Some(compiled) => compiled,
            None => Compiled::new(digest, text)?,
        };
        let mut weight: usize = self.cached.iter().map(|compiled| compiled.weight).sum();
        while self.cached.len() >= CACHED_MAX || weight + compiled.weight > WEIGHT_MAX {
            let Some(oldest) = self.cached.pop_front() else { break };
            weight -= oldest.weight;
        }
        self.cached.push_back(compiled);
        self.cached.back().ok_or_else(|| "it could not be kept".to_owned())
    }

    /// Checks a JSON text against the schema with that digest; at most `faults` are reported.
    pub fn check(&mut self, digest: [u8; 32], schema: &str, value: &str, faults: u64) -> Reply {
        let value: Value = match serde_json::from_str(value) {
            Ok(value) => value,
            Err(error) => return Reply::NotJson(error.to_string()),
        };
        let compiled = match self.compile(digest, schema) {
            Ok(compiled) => compiled,
            Err(problem) => return Reply::Refused { problem },
        };
        if compiled.validator.is_valid(&value) {
            return Reply::Fits;
        }
        let message = |error: ValidationError<'_>| match error.instance_path().as_str() {
            "" => short(&error.to_string()),
            path => short(&format!("{path}: {error}")),
        };
        let faults = usize::try_from(faults).unwrap_or(usize::MAX);
        Reply::Faults(compiled.validator.iter_errors(&value).take(faults).map(message).collect())
    }
}

impl Compiled {
    fn new(digest: [u8; 32], text: &str) -> Result<Compiled, String> {
        let mut schema: Value =
            serde_json::from_str(text).map_err(|error| format!("the schema is not JSON: {error}"))?;
        let patterns = patterns::collect(&schema)?;
        let weight = WEIGHT_PER_BYTE * text.len() + PATTERN_SIZE_MAX * patterns.len();
        let invalid = |error: &dyn std::fmt::Display| {
            short(&format!("the schema is not valid JSON Schema 2020-12: {error}"))
        };
        let error = match options().build(&schema) {
            Ok(validator) => return Ok(Compiled { digest, validator, unchecked: Vec::new(), weight }),
            Err(error) => invalid(&error),
        };
        let unchecked = unchecked(&patterns)?;
        if unchecked.is_empty() {
            return Err(error);
        }
        patterns::remove(&mut schema, &unchecked);
        let validator = options().build(&schema).map_err(|error| invalid(&error))?;
        Ok(Compiled { digest, validator, unchecked: unchecked.into_iter().collect(), weight })
    }
}

/// Returns the patterns that the linear engine cannot express. One that it cannot compile for another reason is an
/// error.
fn unchecked(patterns: &BTreeSet<&str>) -> Result<BTreeSet<String>, String> {
    let mut unchecked = BTreeSet::new();
    for pattern in patterns {
        if patterns::needs_backtracking(pattern) {
            unchecked.insert((*pattern).to_owned());
        } else if options().build(&json!({"pattern": pattern})).is_err() {
            return Err(short(&format!(
                "a pattern of the schema is no regular expression, or has more than {PATTERN_SIZE_MAX} bytes \
                 when compiled: {pattern}"
            )));
        }
    }
    Ok(unchecked)
}

/// Nothing is fetched: a reference to another document is an error.
fn options() -> ValidationOptions<'static> {
    let patterns = PatternOptions::regex().size_limit(PATTERN_SIZE_MAX).dfa_size_limit(PATTERN_SIZE_MAX);
    jsonschema::options().with_draft(Draft::Draft202012).with_pattern_options(patterns)
}

fn short(message: &str) -> String {
    message.chars().take(MESSAGE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schemas: &mut Schemas, schema: &Value, value: &str) -> Reply {
        let text = schema.to_string();
        let mut digest = [0; 32];
        text.bytes().enumerate().for_each(|(at, byte)| digest[at % 32] ^= byte.rotate_left(at as u32 % 8));
        schemas.check(digest, &text, value, 5)
    }

    fn refused(schema: &Value) -> String {
        Schemas::default().compile([0; 32], &schema.to_string()).map(drop).unwrap_err()
    }

    #[test]
    fn a_value_that_does_not_fit_is_reported_with_its_place() {
        let mut schemas = Schemas::default();
        let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]});
        assert_eq!(check(&mut schemas, &schema, " {\"a\": 1} "), Reply::Fits);
        let Reply::Faults(faults) = check(&mut schemas, &schema, "{\"a\":\"x\"}") else { panic!("it fits") };
        assert!(faults[0].starts_with("/a: "), "{faults:?}");
        let Reply::Faults(faults) = check(&mut schemas, &schema, "{}") else { panic!("it fits") };
        assert!(faults[0].contains("\"a\" is a required property"), "{faults:?}");
        assert!(matches!(check(&mut schemas, &schema, "Sure! {}"), Reply::NotJson(_)));
        assert_eq!(schemas.cached.len(), 1);
    }

    #[test]
    fn a_schema_that_is_wrong_or_refers_elsewhere_is_refused() {
        assert!(refused(&json!({"type": 7})).contains("not valid"));
        assert!(refused(&json!({"$ref": "https://example.com/x"})).contains("not valid"));
        assert!(refused(&json!({"pattern": "("})).contains("no regular expression"));
    }

    #[test]
    fn a_pattern_that_is_large_when_compiled_is_refused_with_the_bound() {
        let problem = refused(&json!({"pattern": "[\\p{L}\\p{N}]{150}"}));
        assert!(problem.contains("more than 1048576 bytes"), "{problem}");
    }

    #[test]
    fn a_pattern_that_needs_backtracking_is_not_checked_and_named() {
        let mut schemas = Schemas::default();
        let schema = json!({
            "type": "object", "properties": {"a": {"type": "string", "pattern": "^(?!x)"}, "b": {"pattern": "^y$"}},
            "patternProperties": {"(a)\\1": {"type": "integer"}}, "additionalProperties": false,
        });
        let text = schema.to_string();
        assert_eq!(schemas.compile([0; 32], &text).unwrap().unchecked, ["(a)\\1", "^(?!x)"]);
        assert_eq!(schemas.check([0; 32], &text, "{\"a\":\"x\",\"b\":\"y\",\"aa\":\"s\"}", 5), Reply::Fits);
        assert!(matches!(schemas.check([0; 32], &text, "{\"a\":1}", 5), Reply::Faults(_)));
        assert!(matches!(schemas.check([0; 32], &text, "{\"b\":\"x\"}", 5), Reply::Faults(_)));
    }

    #[test]
    fn compiled_schemas_are_bounded_and_the_oldest_goes_first() {
        let mut schemas = Schemas::default();
        for n in 0..=CACHED_MAX {
            let mut digest = [0; 32];
            digest[..8].copy_from_slice(&(n as u64).to_le_bytes());
            schemas.compile(digest, "true").unwrap();
        }
        assert_eq!(schemas.cached.len(), CACHED_MAX);
        assert!(schemas.cached.iter().all(|compiled| compiled.digest != [0; 32]));
        let patterns: Vec<Value> = (0..64).map(|n| json!({"pattern": format!("a{n}+")})).collect();
        let heavy = json!({"anyOf": patterns}).to_string();
        for n in 1..=3 {
            schemas.compile([n; 32], &heavy).unwrap();
        }
        let weight: usize = schemas.cached.iter().map(|compiled| compiled.weight).sum();
        assert!(weight <= WEIGHT_MAX && schemas.cached.len() < CACHED_MAX, "{weight}");
    }
}
