//! Characters that steer a terminal, end a line or turn the direction of a text, and how they are written so that they
//! do nothing. Model output, requests, logs of engines and names all come from others.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Whether a character does more than show itself: controls, line and paragraph separators, and the marks that embed,
/// override or isolate a direction.
pub fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text on one line.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, |c| steers(c) && c != '\t')
}

/// Text that keeps its line ends and tabs.
pub fn lines(text: &str) -> Cow<'_, str> {
    let steering = |c| steers(c) && c != '\t' && c != '\n';
    match text.contains("\r\n") {
        true => Cow::Owned(escape(&text.replace("\r\n", "\n"), steering).into_owned()),
        false => escape(text, steering),
    }
}

/// JSON that stays the same JSON: beyond ASCII it has characters in strings only.
pub fn json(json: &str) -> Cow<'_, str> {
    let steering = |c| steers(c) && c != '\n' && c != '\t';
    if !json.contains(steering) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 64);
    for c in json.chars() {
        match c {
            // Between values; in a string it is escaped.
            '\r' => {}
            c if steering(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn escape(text: &str, steering: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&steering) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if steering(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Writes text on one line, whatever is written to it.
pub struct OneLine<W>(pub W);

impl<W: Write> Write for OneLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(&escape(text, steers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Line ends of every kind, an escape sequence in both forms, a title, overrides of direction.
    const HOSTILE: &str = "a\nb\rc\x1b[31md\u{9b}2Je\x1b]0;t\x07\u{2028}\u{2029}f\u{202e}g\u{2066}h\0\x7f\t";

    #[test]
    fn nothing_that_steers_is_left_and_everything_is_shown() {
        let shown = "a\\nb\\rc\\u{1b}[31md\\u{9b}2Je\\u{1b}]0;t\\u{7}\\u{2028}\\u{2029}f\\u{202e}g\\u{2066}h\\u{0}\\u{7f}";
        assert_eq!(one_line(HOSTILE), format!("{shown}\t"));
        let mut line = OneLine(String::new());
        write!(line, "{HOSTILE}").unwrap();
        assert_eq!(line.0, format!("{shown}\\t"));
        assert_eq!(lines("a\r\nb\n\tc\rd\x1b[2J"), "a\nb\n\tc\\rd\\u{1b}[2J");
    }

    #[test]
    fn plain_text_of_any_script_is_left_alone() {
        for text in ["", "äöü – 日本語", "שלום \u{200f}עולם", "👩\u{200d}💻", "a\tb"] {
            assert!(matches!(one_line(text), Cow::Borrowed(_)), "{text}");
            assert!(matches!(json(text), Cow::Borrowed(_)), "{text}");
        }
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({"a": HOSTILE, HOSTILE: ["ä", 1]});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap().replace('\n', "\r\n")] {
            let safe = json(&text);
            assert!(!safe.contains(|c| steers(c) && c != '\n'), "{safe:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        }
    }
}
