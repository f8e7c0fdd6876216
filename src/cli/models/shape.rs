//! What the admin API says of models, as far as commands show it, and facts in a few words.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::format;

#[derive(Debug, Deserialize)]
pub struct Found {
    #[serde(default)]
    pub models: Vec<Hit>,
    pub next_offset: Option<u64>,
    pub problem: Option<Problem>,
}

#[derive(Debug, Deserialize)]
pub struct Problem {
    pub message: String,
}

#[derive(Debug, Deserialize)]
pub struct Hit {
    pub id: String,
    pub downloads: Option<u64>,
    pub likes: Option<u64>,
    pub last_modified: Option<String>,
    pub license: Option<String>,
    #[serde(default)]
    pub gated: bool,
    #[serde(default)]
    pub local: bool,
    #[serde(default)]
    pub facts: Value,
    #[serde(default)]
    pub fit: Value,
}

#[derive(Debug, Deserialize)]
pub struct Library {
    #[serde(default)]
    pub models: Vec<Local>,
    #[serde(default)]
    pub total_bytes: u64,
    pub free_bytes: Option<u64>,
    pub cache: Option<String>,
    /// Folders that do not answer.
    #[serde(default)]
    pub problems: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Local {
    pub id: String,
    pub source: String,
    pub path: String,
    pub size_bytes: u64,
    pub complete: bool,
    pub last_used_ms: Option<i64>,
    #[serde(default)]
    pub used_by: Vec<String>,
    #[serde(default)]
    pub facts: Value,
    #[serde(default)]
    pub fit: Value,
    pub problem: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Details {
    pub id: String,
    pub local: Option<Local>,
    pub hub: Option<OnHub>,
    #[serde(default)]
    pub facts: Value,
    #[serde(default)]
    pub fit: Value,
    pub problem: Option<Problem>,
}

#[derive(Debug, Deserialize)]
pub struct OnHub {
    #[serde(flatten)]
    pub model: Hit,
    pub size_bytes: u64,
    #[serde(default)]
    pub files: Vec<HubFile>,
}

#[derive(Debug, Deserialize)]
pub struct HubFile {
    pub path: String,
    pub size_bytes: u64,
    pub wanted: bool,
}

/// A download, as it goes on.
#[derive(Debug, Deserialize)]
pub struct Download {
    pub id: String,
    pub model: String,
    pub status: String,
    pub reason: Option<String>,
    pub note: Option<String>,
    #[serde(default)]
    pub done_bytes: u64,
    pub total_bytes: Option<u64>,
    pub bytes_per_s: Option<f64>,
    pub eta_s: Option<f64>,
}

/// `value` of a fact.
pub fn known<'a>(facts: &'a Value, name: &str) -> Option<&'a Value> {
    facts.get(name)?.get("value").filter(|value| !value.is_null())
}

/// `4.0 B`, `350 M`.
pub fn parameters(facts: &Value) -> Option<String> {
    let count = known(facts, "parameters")?.as_f64()?;
    Some(match count {
        n if n >= 999.5e6 => format!("{:.1} B", n / 1e9),
        n if n >= 999.5e3 => format!("{:.0} M", n / 1e6),
        n => format!("{:.0} K", n / 1e3),
    })
}

/// `4 bit`.
pub fn quantization(facts: &Value) -> Option<String> {
    let quantization = known(facts, "quantization")?;
    let bits = quantization.get("bits").and_then(Value::as_f64)?;
    Some(format!("{bits} bit"))
}

/// What it can do beyond text, in words.
pub fn abilities(facts: &Value) -> String {
    let all = facts.get("abilities").and_then(Value::as_array).into_iter().flatten();
    let words: Vec<&str> = all.filter_map(|ability| ability.get("value")?.as_str()).collect();
    words.join(", ")
}

/// `yes`, `tight`, `no`.
pub fn fits(fit: &Value) -> Option<String> {
    Some(fit.get("fit")?.as_str()?.to_owned())
}

pub fn bytes_of(value: &Value, name: &str) -> Option<String> {
    Some(format::bytes(value.get(name)?.as_u64()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn facts_are_told_in_a_few_words() {
        let facts = json!({"parameters": {"value": 4_020_000_000_u64}, "abilities": [{"value": "multimodal"}, {"value": "thinking"}],
            "quantization": {"value": {"bits": 4}}});
        assert_eq!(parameters(&facts).as_deref(), Some("4.0 B"));
        assert_eq!(quantization(&facts).as_deref(), Some("4 bit"));
        assert_eq!(abilities(&facts), "multimodal, thinking");
        assert_eq!((parameters(&json!(null)), abilities(&json!({}))), (None, String::new()));
    }
}
