//! What may not be kept of a text: credentials, and where so chosen everything that was said. Pure.

use serde_json::{Map, Value};

/// What stands in a credential's place.
pub const REDACTED: &str = "[redacted]";
/// Parts of the names of headers whose values are credentials.
const HEADERS: [&str; 9] =
    ["auth", "api-key", "apikey", "token", "secret", "cookie", "password", "session", "credential"];
/// How credentials of well-known kinds begin.
const BEGINNINGS: [&str; 13] = [
    "sk-",
    "sk_",
    "hf_",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "AIza",
    "eyJ",
];
/// A shorter one is a word like any other.
const CREDENTIAL_CHARS: usize = 16;
/// Names whose values are credentials wherever they stand.
const NAMES: [&str; 16] = [
    "api_key",
    "apikey",
    "api-key",
    "x-api-key",
    "authorization",
    "access_token",
    "refresh_token",
    "auth_token",
    "id_token",
    "client_secret",
    "secret_key",
    "password",
    "passwd",
    "private_key",
    "secret",
    "access_key",
];
/// Fields whose words are the protocol's own, not anybody's.
const PROTOCOL: [&str; 14] = [
    "model",
    "role",
    "type",
    "object",
    "id",
    "finish_reason",
    "stop_reason",
    "code",
    "name",
    "tool_choice",
    "tool_call_id",
    "system_fingerprint",
    "service_tier",
    "reasoning_effort",
];
/// Fields below which numbers too are what was said.
const SAID: [&str; 8] =
    ["input", "prompt", "content", "arguments", "embedding", "logprobs", "metadata", "structuredContent"];

/// A header's value, or that it was one.
pub fn header(name: &str, value: &str) -> String {
    let name = name.to_ascii_lowercase();
    if HEADERS.iter().any(|part| name.contains(part)) { REDACTED.to_owned() } else { credentials(value) }
}

/// The text without what is known to be, or is named as, a credential.
pub fn credentials(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let (word, after) = from.split_at(from.find(|c| !is_word(c)).unwrap_or(from.len()));
        if is_credential(word) {
            out.push_str(REDACTED);
            rest = after;
            continue;
        }
        out.push_str(word);
        rest = after;
        if let Some((between, value)) = value_of(word, after) {
            out.push_str(between);
            out.push_str(REDACTED);
            rest = after.get(between.len() + value.len()..).unwrap_or_default();
        }
    }
    out.push_str(rest);
    out
}

/// The shape of a JSON text or an event stream without what was said; none: it is neither.
pub fn contents(text: &str) -> Option<String> {
    if let Ok(mut value) = serde_json::from_str::<Value>(text) {
        blank(&mut value, false);
        return Some(value.to_string());
    }
    if !text.lines().any(|line| line.starts_with("data:")) {
        return None;
    }
    let mut out = String::new();
    for line in text.lines() {
        match line.strip_prefix("data:").map(str::trim) {
            Some("[DONE]") => out.push_str("data: [DONE]"),
            Some(data) => {
                let shape = serde_json::from_str::<Value>(data).map(|mut value| {
                    blank(&mut value, false);
                    value.to_string()
                });
                out.push_str("data: ");
                out.push_str(shape.as_deref().unwrap_or(REDACTED));
            }
            None if line.starts_with("event:") || line.is_empty() => out.push_str(line),
            None => continue,
        }
        out.push('\n');
    }
    Some(out)
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

fn is_credential(word: &str) -> bool {
    word.len() >= CREDENTIAL_CHARS && BEGINNINGS.iter().any(|begins| word.starts_with(begins))
}

/// As credentials are introduced in a header.
fn is_scheme(word: &str) -> bool {
    word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")
}

/// What is between a name and its value, and the value, where the name is one of a credential.
fn value_of<'a>(name: &str, after: &'a str) -> Option<(&'a str, &'a str)> {
    if is_scheme(name) {
        let value = after.strip_prefix(' ')?;
        let end = value.find(|c: char| !(is_word(c) || "+/=~".contains(c))).unwrap_or(value.len());
        let value = value.get(..end)?;
        // "Basic facts" is prose.
        let telling = value.contains(|c: char| c.is_ascii_digit() || "+/=_-.~".contains(c));
        return (end >= CREDENTIAL_CHARS / 2 && telling).then_some((" ", value));
    }
    if !NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return None;
    }
    // `"name" : "value"`, `\"name\":\"value\"`, `name=value`.
    let closed = after.trim_start_matches('\\').trim_start_matches('"').trim_start();
    let told = closed.strip_prefix([':', '='])?.trim_start();
    let escapes = told.len() - told.trim_start_matches('\\').len();
    let quoted = told.get(escapes..)?.strip_prefix('"');
    let scheme = told.split_once(' ').filter(|(scheme, _)| quoted.is_none() && is_scheme(scheme));
    let value = quoted.or(scheme.map(|(_, value)| value)).unwrap_or(told);
    let end = match quoted {
        Some(value) => quote_end(value, escapes),
        None => value.find(|c: char| c.is_whitespace() || "&,;\"'\\}".contains(c)).unwrap_or(value.len()),
    };
    let between = after.len() - value.len();
    // `null` and what is empty give nothing away.
    (end > 0 && value.get(..end) != Some("null"))
        .then(|| Some((after.get(..between)?, value.get(..end)?)))
        .flatten()
}

/// Where the quote of that depth of escapes closes.
fn quote_end(value: &str, escapes: usize) -> usize {
    let mut from = 0;
    while let Some(at) = value.get(from..).and_then(|rest| rest.find('"')).map(|at| at + from) {
        let before = value.get(..at).unwrap_or_default();
        let backslashes = before.len() - before.trim_end_matches('\\').len();
        if backslashes <= escapes {
            return at - backslashes;
        }
        from = at + 1;
    }
    value.len()
}

fn blank(value: &mut Value, said: bool) {
    match value {
        Value::String(text) => *text = format!("[{} characters]", text.chars().count()),
        Value::Number(_) | Value::Bool(_) if said => *value = Value::from("[value]"),
        Value::Array(all) => all.iter_mut().for_each(|one| blank(one, said)),
        Value::Object(fields) => blank_fields(fields, said),
        Value::Null | Value::Number(_) | Value::Bool(_) => {}
    }
}

fn blank_fields(fields: &mut Map<String, Value>, said: bool) {
    for (name, value) in fields {
        // The arguments of a call have names of their own.
        if matches!(name.as_str(), "input" | "arguments") && value.is_object() {
            *value = Value::from(REDACTED);
        } else if !(value.is_string() && PROTOCOL.contains(&name.as_str())) {
            blank(value, said || SAID.contains(&name.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_that_hold_credentials_are_told_by_their_names() {
        for name in
            ["Authorization", "x-api-key", "Cookie", "x-goog-api-key", "x-auth-token", "Proxy-Authorization"]
        {
            assert_eq!(header(name, "anything"), REDACTED, "{name}");
        }
        assert_eq!(header("content-type", "application/json"), "application/json");
        assert_eq!(header("x-note", "Bearer abcdefgh12345"), "Bearer [redacted]");
    }

    #[test]
    fn credentials_go_and_everything_else_stays() {
        for (text, expected) in [
            ("use sk-mgw-abcdefghijklmnop now", "use [redacted] now"),
            ("hf_abcdefghijklmnopqrst.", "[redacted]"),
            (r#"{"api_key": "s3cret", "n": 1}"#, r#"{"api_key": "[redacted]", "n": 1}"#),
            (r#"{"password":"a\"b","x":"y"}"#, r#"{"password":"[redacted]","x":"y"}"#),
            (
                r#"{"arguments":"{\"api_key\":\"s3cret\",\"city\":\"Rome\"}"}"#,
                r#"{"arguments":"{\"api_key\":\"[redacted]\",\"city\":\"Rome\"}"}"#,
            ),
            ("Authorization: Bearer abc.def-123=\nHost: x", "Authorization: Bearer [redacted]\nHost: x"),
            ("https://x/?access_token=abc&y=1", "https://x/?access_token=[redacted]&y=1"),
            (r#"{"password":null,"secret":""}"#, r#"{"password":null,"secret":""}"#),
            (r#"{"token":"Hello","max_tokens":5}"#, r#"{"token":"Hello","max_tokens":5}"#),
            (
                "a risk-averse sk-short text, basic introduction",
                "a risk-averse sk-short text, basic introduction",
            ),
            (r#"{"api_key":"cut of"#, r#"{"api_key":"[redacted]"#),
            ("Grüße 🙂 sk-0123456789abcdefgh 🙂", "Grüße 🙂 [redacted] 🙂"),
        ] {
            assert_eq!(credentials(text), expected, "{text}");
        }
    }

    #[test]
    fn without_contents_the_shape_is_left() {
        let asked = r#"{"model":"qwen","temperature":0.5,"messages":[{"role":"user","content":"My secret"}],"input":[17,18]}"#;
        assert_eq!(
            contents(asked).unwrap(),
            r#"{"model":"qwen","temperature":0.5,"messages":[{"role":"user","content":"[9 characters]"}],"input":["[value]","[value]"]}"#
        );
        let call = r#"{"type":"tool_use","name":"pay","input":{"amount":12,"to":"Bob"}}"#;
        assert_eq!(contents(call).unwrap(), r#"{"type":"tool_use","name":"pay","input":"[redacted]"}"#);
        let stream =
            ": queued\n\nevent: x\ndata: {\"delta\":{\"text\":\"abc\"}}\n\ndata: cut of\n\ndata: [DONE]\n\n";
        assert_eq!(
            contents(stream).unwrap(),
            "\nevent: x\ndata: {\"delta\":{\"text\":\"[3 characters]\"}}\n\ndata: [redacted]\n\ndata: [DONE]\n\n"
        );
        assert_eq!(contents("{\"messages\":[{\"content\":\"cut of"), None);
    }
}
