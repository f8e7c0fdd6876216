//! Takes out of a report what is nobody else's business: names of people and machines, addresses, keys. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::Value;

/// What is taken out wherever it stands.
#[derive(Debug, Default)]
pub struct Private {
    /// With what stands in its place; the longest first.
    words: Vec<(String, &'static str)>,
}

/// How keys begin.
const KEYS: [&str; 5] = ["sk-", "sk_", "hf_", "ghp_", "xoxb-"];
/// Shorter ones are words.
const SHORTEST_KEY: usize = 8;
/// Words shorter than this stand in too many others.
const SHORTEST: usize = 3;

impl Private {
    pub fn new(words: impl IntoIterator<Item = (String, &'static str)>) -> Private {
        let mut words: Vec<_> = words.into_iter().filter(|(word, _)| word.len() >= SHORTEST).collect();
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        Private { words }
    }

    /// Every text of the value, keys left as they are.
    pub fn redact(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.redact(value)),
            Value::Object(members) => members.values_mut().for_each(|value| self.redact(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, instead) in &self.words {
            text = text.replace(word, instead);
        }
        by_tokens(&text)
    }
}

/// Looks at each run of characters that keys, addresses and the like are made of.
fn by_tokens(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut secret_follows = false;
    while let Some(start) = rest.find(is_part) {
        let (before, from) = rest.split_at(start);
        let (token, after) = from.split_at(from.find(|c| !is_part(c)).unwrap_or(from.len()));
        out.push_str(before);
        match if secret_follows && token.len() >= SHORTEST_KEY {
            Some("REDACTED".to_owned())
        } else {
            instead(token)
        } {
            Some(instead) => out.push_str(&instead),
            None => out.push_str(token),
        }
        secret_follows = ["bearer", "basic"].iter().any(|word| token.eq_ignore_ascii_case(word));
        rest = after;
    }
    out.push_str(rest);
    out
}

fn is_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._%+@:~-".contains(c)
}

/// What stands in the place of a token that says too much.
fn instead(token: &str) -> Option<String> {
    if KEYS.iter().any(|key| token.starts_with(key)) && token.len() >= SHORTEST_KEY {
        return Some("REDACTED".to_owned());
    }
    let bare = token.trim_end_matches(['.', ':']);
    if bare.split_once('@').is_some_and(|(name, host)| !name.is_empty() && host.contains('.')) {
        return Some(token.replace(bare, "EMAIL"));
    }
    let (address, port) = bare.split_once(':').unwrap_or((bare, ""));
    if let Ok(address) = address.parse::<Ipv4Addr>() {
        let telling = !address.is_loopback() && !address.is_unspecified();
        let port = if port.is_empty() { String::new() } else { format!(":{port}") };
        return telling.then(|| token.replace(bare, &format!("ADDRESS{port}")));
    }
    let address = bare.split('%').next().unwrap_or(bare);
    let telling = |address: Ipv6Addr| !address.is_loopback() && !address.is_unspecified();
    address.parse().is_ok_and(telling).then(|| token.replace(bare, "ADDRESS"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_addresses_and_keys_go_and_figures_stay() {
        let private = Private::new([
            ("/Users/ada".to_owned(), "~"),
            ("ada".to_owned(), "USER"),
            ("adas-mini".to_owned(), "HOST"),
            ("me".to_owned(), "USER"),
        ]);
        let mut report = json!({
            "data_dir": "/Users/ada/Library/x",
            "host": "adas-mini.local listens on 192.168.1.20:10242 and 127.0.0.1:10242",
            "lines": ["Authorization: Bearer abcdefghijkl", "key sk-mgw-0123456789abcdef", "hf_abcdefghij", "from ada@example.com"],
            "six": "fe80:0:0:0:1234:5678:9abc:def0 at 12:30:05",
            "memory": 123,
            "read_as": "Machine { memory_total: Some(8) } version 1.2.3",
        });
        private.redact(&mut report);
        assert_eq!(
            report,
            json!({
                "data_dir": "~/Library/x",
                "host": "HOST.local listens on ADDRESS:10242 and 127.0.0.1:10242",
                "lines": ["Authorization: Bearer REDACTED", "key REDACTED", "REDACTED", "from EMAIL"],
                "six": "ADDRESS at 12:30:05",
                "memory": 123,
                "read_as": "Machine { memory_total: Some(8) } version 1.2.3",
            })
        );
    }
}
