//! Schemas that say no more than types, names and bounds, as those of most tools do. Whether a value fits one is found
//! out in one pass over the value, so that most calls need no worker. Only acceptance counts: a value that is not
//! accepted here is checked by the worker, which knows all of JSON Schema.

use serde_json::{Map, Value};

/// Alternatives of one enumeration, each compared with the value.
const ENUM_MAX: usize = 64;
/// Keywords that describe, and check nothing.
const NOTES: [&str; 6] = ["title", "description", "default", "examples", "$comment", "deprecated"];

/// A schema without references, alternatives and patterns.
#[derive(Debug, Clone, Default)]
pub struct PlainSchema {
    kind: Option<Kind>,
    properties: Vec<(String, PlainSchema)>,
    required: Vec<String>,
    is_closed: bool,
    items: Option<Box<PlainSchema>>,
    allowed: Option<Vec<Value>>,
    /// Of an integer, and of the characters of a text.
    range: Range,
    length: Range,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    Null,
}

#[derive(Debug, Clone, Copy, Default)]
struct Range {
    least: Option<i64>,
    most: Option<i64>,
}

impl PlainSchema {
    /// Reads a schema; none: it says something that is not understood here.
    pub fn read(schema: &Value) -> Option<PlainSchema> {
        let mut plain = PlainSchema::default();
        for (keyword, value) in schema.as_object()? {
            match keyword.as_str() {
                "type" => plain.kind = Some(Kind::read(value.as_str()?)?),
                "properties" => plain.properties = properties(value.as_object()?)?,
                "required" => plain.required = texts(value)?,
                "additionalProperties" => plain.is_closed = !value.as_bool()?,
                "items" => plain.items = Some(Box::new(PlainSchema::read(value)?)),
                "enum" => plain.allowed = Some(scalars(value)?),
                "minimum" => plain.range.least = Some(value.as_i64()?),
                "maximum" => plain.range.most = Some(value.as_i64()?),
                "minLength" => plain.length.least = Some(value.as_i64()?),
                "maxLength" => plain.length.most = Some(value.as_i64()?),
                keyword if NOTES.contains(&keyword) => {}
                _ => return None,
            }
        }
        Some(plain)
    }

    /// Returns whether a value is known to fit. Each part of the value is looked at once.
    pub fn accepts(&self, value: &Value) -> bool {
        let is_allowed = self.allowed.as_ref().is_none_or(|allowed| allowed.contains(value));
        is_allowed
            && self.kind.is_none_or(|kind| kind.fits(value))
            && match value {
                Value::Object(members) => self.accepts_members(members),
                Value::Array(items) => {
                    self.items.as_ref().is_none_or(|schema| items.iter().all(|item| schema.accepts(item)))
                }
                Value::String(text) => self.length.is_empty() || self.length.holds(characters(text)),
                // Of numbers that are no integers the worker knows more.
                Value::Number(number) => {
                    self.range.is_empty() || number.as_i64().is_some_and(|number| self.range.holds(number))
                }
                Value::Null | Value::Bool(_) => true,
            }
    }

    fn accepts_members(&self, members: &Map<String, Value>) -> bool {
        let mut known = 0;
        for (name, schema) in &self.properties {
            let Some(member) = members.get(name) else { continue };
            known += 1;
            if !schema.accepts(member) {
                return false;
            }
        }
        (!self.is_closed || known == members.len())
            && self.required.iter().all(|name| members.contains_key(name))
    }
}

impl Kind {
    fn read(name: &str) -> Option<Kind> {
        Some(match name {
            "object" => Kind::Object,
            "array" => Kind::Array,
            "string" => Kind::String,
            "integer" => Kind::Integer,
            "number" => Kind::Number,
            "boolean" => Kind::Boolean,
            "null" => Kind::Null,
            _ => return None,
        })
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Kind::Object => value.is_object(),
            Kind::Array => value.is_array(),
            Kind::String => value.is_string(),
            Kind::Integer => value.is_i64(),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
            Kind::Null => value.is_null(),
        }
    }
}

impl Range {
    fn is_empty(self) -> bool {
        self.least.is_none() && self.most.is_none()
    }

    fn holds(self, number: i64) -> bool {
        self.least.is_none_or(|least| number >= least) && self.most.is_none_or(|most| number <= most)
    }
}

fn properties(named: &Map<String, Value>) -> Option<Vec<(String, PlainSchema)>> {
    named.iter().map(|(name, schema)| Some((name.clone(), PlainSchema::read(schema)?))).collect()
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|text| text.as_str().map(str::to_owned)).collect()
}

/// Numbers are left out: 1 and 1.0 are the same one to JSON Schema.
fn scalars(value: &Value) -> Option<Vec<Value>> {
    let all = value.as_array().filter(|all| all.len() <= ENUM_MAX)?;
    let is_plain = |value: &Value| value.is_string() || value.is_boolean() || value.is_null();
    all.iter().all(is_plain).then(|| all.clone())
}

fn characters(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_of_types_names_and_bounds_are_plain_and_others_are_not() {
        let plain = json!({
            "type": "object", "description": "d", "required": ["a"], "additionalProperties": false,
            "properties": {
                "a": {"type": "string", "minLength": 1, "maxLength": 3}, "b": {"type": "integer", "minimum": 0, "maximum": 9},
                "c": {"type": "array", "items": {"enum": ["x", null]}}, "d": {"type": "number"}, "e": {"type": "boolean"},
            },
        });
        let schema = PlainSchema::read(&plain).unwrap();
        for good in [json!({"a": "é"}), json!({"a": "abc", "b": 9, "c": ["x", null], "d": 1.5, "e": true})] {
            assert!(schema.accepts(&good), "{good}");
        }
        for other in [
            json!({}),
            json!([]),
            json!({"a": ""}),
            json!({"a": "abcd"}),
            json!({"a": 1}),
            json!({"a": "a", "b": 10}),
            json!({"a": "a", "b": 1.0}),
            json!({"a": "a", "c": ["y"]}),
            json!({"a": "a", "z": 1}),
            json!({"a": "a", "e": null}),
        ] {
            assert!(!schema.accepts(&other), "{other}");
        }
        for richer in [
            json!({"$ref": "#"}),
            json!({"pattern": "x"}),
            json!({"anyOf": []}),
            json!({"type": ["string", "null"]}),
            json!({"properties": {"a": {"$ref": "#"}}}),
            json!({"items": [{}]}),
            json!({"enum": [1]}),
            json!(true),
            json!({"patternProperties": {}}),
            json!({"additionalProperties": {}}),
            json!({"minimum": 0.5}),
        ] {
            assert!(PlainSchema::read(&richer).is_none(), "{richer}");
        }
    }
}
