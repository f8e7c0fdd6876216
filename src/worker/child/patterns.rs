//! The regular expressions in a JSON schema: found, counted, and taken out where the linear engine cannot express
//! them. Pure; compiles nothing.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// Different patterns of one schema, and their bytes in all.
pub const PATTERNS_MAX: usize = 64;
pub const BYTES_MAX: usize = 64 << 10;

/// Keywords whose value is data.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords whose value has a schema for each name.
const NAMED: [&str; 4] = ["properties", "$defs", "definitions", "dependentSchemas"];
/// Constructs of ECMAScript's patterns that need an engine which tries again and again.
const BACKTRACKING: [&str; 6] = ["(?=", "(?!", "(?<=", "(?<!", "(?>", "\\k<"];

/// Returns the different patterns of a schema, or which bound they exceed.
pub fn collect(schema: &Value) -> Result<BTreeSet<&str>, String> {
    let mut patterns = BTreeSet::new();
    visit(schema, &mut patterns);
    if patterns.len() > PATTERNS_MAX {
        return Err(format!("the schema has {} patterns, {PATTERNS_MAX} at most", patterns.len()));
    }
    let bytes: usize = patterns.iter().map(|pattern| pattern.len()).sum();
    if bytes > BYTES_MAX {
        return Err(format!("the patterns of the schema have {bytes} bytes, {BYTES_MAX} at most"));
    }
    Ok(patterns)
}

/// Returns whether a pattern has look-around or back-references, which no linear engine can express.
pub fn needs_backtracking(pattern: &str) -> bool {
    let refers_back = |pair: &[u8]| pair[0] == b'\\' && (b'1'..=b'9').contains(&pair[1]);
    BACKTRACKING.iter().any(|construct| pattern.contains(construct))
        || pattern.as_bytes().windows(2).any(refers_back)
}

/// Takes patterns out of a schema. A name that such a pattern would match is not an additional or unevaluated one, so
/// these keywords go with it.
pub fn remove(schema: &mut Value, unchecked: &BTreeSet<String>) {
    if take_out(schema, unchecked) {
        remove_keyword(schema, "unevaluatedProperties");
    }
}

fn visit<'a>(schema: &'a Value, patterns: &mut BTreeSet<&'a str>) {
    match schema {
        Value::Array(schemas) => schemas.iter().for_each(|schema| visit(schema, patterns)),
        Value::Object(keywords) => {
            for (keyword, value) in keywords {
                match value {
                    Value::String(pattern) if keyword == "pattern" => drop(patterns.insert(pattern)),
                    Value::Object(named) if keyword == "patternProperties" => {
                        patterns.extend(named.keys().map(String::as_str));
                        named.values().for_each(|schema| visit(schema, patterns));
                    }
                    Value::Object(named) if NAMED.contains(&keyword.as_str()) => {
                        named.values().for_each(|schema| visit(schema, patterns));
                    }
                    value if !DATA.contains(&keyword.as_str()) => visit(value, patterns),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Returns whether names of properties were among the patterns.
fn take_out(schema: &mut Value, unchecked: &BTreeSet<String>) -> bool {
    let mut had_names = false;
    each_schema(schema, &mut |keywords| {
        let is_unchecked = |pattern: &Value| pattern.as_str().is_some_and(|text| unchecked.contains(text));
        if keywords.get("pattern").is_some_and(is_unchecked) {
            keywords.remove("pattern");
        }
        let Some(Value::Object(named)) = keywords.get_mut("patternProperties") else { return };
        let before = named.len();
        named.retain(|pattern, _| !unchecked.contains(pattern));
        if named.len() < before {
            had_names = true;
            keywords.remove("additionalProperties");
        }
    });
    had_names
}

fn remove_keyword(schema: &mut Value, keyword: &str) {
    each_schema(schema, &mut |keywords| drop(keywords.remove(keyword)));
}

fn each_schema(schema: &mut Value, change: &mut dyn FnMut(&mut Map<String, Value>)) {
    match schema {
        Value::Array(schemas) => schemas.iter_mut().for_each(|schema| each_schema(schema, change)),
        Value::Object(keywords) => {
            change(keywords);
            for (keyword, value) in keywords {
                match value {
                    Value::Object(named)
                        if keyword == "patternProperties" || NAMED.contains(&keyword.as_str()) =>
                    {
                        named.values_mut().for_each(|schema| each_schema(schema, change));
                    }
                    value if !DATA.contains(&keyword.as_str()) => each_schema(value, change),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn patterns_are_found_in_schemas_and_not_in_data() {
        let schema = json!({
            "properties": {"pattern": {"pattern": "a"}, "const": {"pattern": "b"}, "again": {"pattern": "a"}},
            "patternProperties": {"c": {"items": [{"pattern": "d"}]}},
            "const": {"pattern": "x"}, "enum": [{"pattern": "y"}],
            "allOf": [{"pattern": "e"}],
        });
        let found: Vec<&str> = collect(&schema).unwrap().into_iter().collect();
        assert_eq!(found, ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn too_many_or_too_large_patterns_are_refused_with_the_bound() {
        let many: Vec<Value> = (0..=PATTERNS_MAX).map(|n| json!({"pattern": n.to_string()})).collect();
        assert!(collect(&json!({"anyOf": many})).unwrap_err().contains("65 patterns, 64 at most"));
        let large = json!({"pattern": "x".repeat(BYTES_MAX + 1)});
        assert!(collect(&large).unwrap_err().contains("65537 bytes, 65536 at most"));
    }

    #[test]
    fn look_around_and_back_references_are_recognised() {
        for pattern in ["^(?!x)", "(?=a)b", "(?<=a)b", "(?<!a)b", r"(a)\1", r"(?<n>a)\k<n>"] {
            assert!(needs_backtracking(pattern), "{pattern}");
        }
        for pattern in ["^a+$", r"\d{4}-\d\d", "(?:a|b)", "(?<name>a)", r"\p{L}"] {
            assert!(!needs_backtracking(pattern), "{pattern}");
        }
    }

    #[test]
    fn unchecked_patterns_are_taken_out_and_nothing_that_they_match_is_refused() {
        let mut schema = json!({
            "properties": {"a": {"type": "string", "pattern": "(?=x)"}},
            "patternProperties": {"(?=x)": {"type": "string"}, "^y": {}},
            "additionalProperties": false, "unevaluatedProperties": false,
            "const": {"pattern": "(?=x)"},
        });
        remove(&mut schema, &BTreeSet::from(["(?=x)".to_owned()]));
        assert_eq!(
            schema,
            json!({
                "properties": {"a": {"type": "string"}}, "patternProperties": {"^y": {}},
                "const": {"pattern": "(?=x)"},
            })
        );
    }
}
