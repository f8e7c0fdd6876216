//! Owns the reading of a program's `--version` and `--help` texts. Pure; must not know what the
//! options are for.

use std::collections::BTreeMap;

/// The options a program knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Such as `1.8.1`.
    pub version: Option<String>,
    /// By option; the values are the choices it is limited to, if it is.
    options: BTreeMap<String, Vec<String>>,
}

impl Capabilities {
    /// Reads texts as click and argparse print them: an option stands at the beginning of a line
    /// that is indented by two, its choices in brackets or braces behind it.
    pub fn parse(version_text: &str, help_text: &str) -> Capabilities {
        let options = help_text
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .filter(|line| line.starts_with('-'))
            .flat_map(options_of)
            .collect();
        Capabilities { version: find_version(version_text), options }
    }

    /// Whether the engine's `launch --help` names that option, such as `--context-length`.
    pub fn knows(&self, option: &str) -> bool {
        self.options.contains_key(option)
    }

    /// Whether the option exists and takes the value.
    pub fn accepts(&self, option: &str, value: &str) -> bool {
        self.options
            .get(option)
            .is_some_and(|choices| choices.is_empty() || choices.iter().any(|one| one == value))
    }
}

fn options_of(line: &str) -> Vec<(String, Vec<String>)> {
    // Two spaces set the description apart.
    let declared = line.split("  ").next().unwrap_or_default();
    let words: Vec<&str> = declared.split_whitespace().collect();
    let choices = words.last().map(|word| choices(word)).unwrap_or_default();
    words
        .iter()
        .map(|word| word.trim_end_matches(','))
        .filter(|word| word.starts_with("--"))
        .map(|word| (word.to_owned(), choices.clone()))
        .collect()
}

fn choices(word: &str) -> Vec<String> {
    let bracketed = |open, close| word.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    if let Some(inner) = bracketed('[', ']') {
        return inner.split('|').map(str::to_owned).collect();
    }
    bracketed('{', '}').map(|inner| inner.split(',').map(str::to_owned).collect()).unwrap_or_default()
}

fn find_version(text: &str) -> Option<String> {
    text.split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.split('.').count() >= 2 && word.starts_with(|first: char| first.is_ascii_digit()))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(version: &str) -> Capabilities {
        let read = |kind: &str| {
            let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/engine");
            std::fs::read_to_string(format!("{dir}/{kind}-{version}.txt")).unwrap()
        };
        Capabilities::parse(&read("version"), &read("help"))
    }

    #[test]
    fn each_version_tells_its_number() {
        for version in ["1.6.3", "1.7.1", "1.8.1"] {
            assert_eq!(fixture(version).version.as_deref(), Some(version));
        }
    }

    #[test]
    fn options_come_and_go_between_versions() {
        let known = |option: &str| ["1.6.3", "1.7.1", "1.8.1"].map(|v| fixture(v).knows(option));
        assert_eq!(known("--max-concurrency"), [true, false, false]);
        assert_eq!(known("--served-model-name"), [false, true, true]);
        assert_eq!(known("--prompt-cache-dir"), [false, false, true]);
        assert_eq!(known("--disable-batching"), [false, false, true]);
        assert_eq!(known("--model-path"), [true, true, true]);
        assert_eq!(known("--no-such-option"), [false, false, false]);
    }

    #[test]
    fn choices_are_limits() {
        let old = fixture("1.6.3");
        assert!(old.accepts("--tool-call-parser", "hermes"));
        assert!(!old.accepts("--tool-call-parser", "gemma4"));
        assert!(fixture("1.8.1").accepts("--tool-call-parser", "gemma4"));
        assert!(old.accepts("--port", "1"), "no choices: any value");
        assert!(!old.accepts("--none", "1"));
    }

    #[test]
    fn argparse_texts_are_read_too() {
        let help = "options:\n  -h, --help            show\n  --log-level {DEBUG,INFO}\n                        level\n  --port PORT  the port, not --host\n";
        let known = Capabilities::parse("", help);
        assert!(known.knows("--help") && known.knows("--port") && !known.knows("--host"));
        assert!(known.accepts("--log-level", "INFO") && !known.accepts("--log-level", "LOUD"));
    }
}
