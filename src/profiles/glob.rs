//! Aliases with `*`, which stands for any text, none included. Knows nothing of profiles.

/// A pattern cut at its stars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    start: String,
    middle: Vec<String>,
    end: String,
}

impl Glob {
    /// `pattern` has to hold a star; without one it is taken to end with one.
    pub(super) fn new(pattern: &str) -> Self {
        let mut parts = pattern.split('*').map(str::to_owned);
        let start = parts.next().unwrap_or_default();
        let mut middle: Vec<String> = parts.collect();
        let end = middle.pop().unwrap_or_default();
        middle.retain(|part| !part.is_empty());
        Glob { start, middle, end }
    }

    /// Bytes that have to be there: the more, the more specific.
    pub(super) fn literal_len(&self) -> usize {
        self.start.len() + self.end.len() + self.middle.iter().map(String::len).sum::<usize>()
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        // The end is cut off first, so that start and end never share a character.
        let inner =
            text.strip_prefix(self.start.as_str()).and_then(|rest| rest.strip_suffix(self.end.as_str()));
        let Some(mut rest) = inner else { return false };
        // The leftmost place for each part leaves the most room for those that follow.
        self.middle.iter().all(|part| match rest.split_once(part.as_str()) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_star_stands_for_any_text_or_none() {
        for (pattern, text, matches) in [
            ("claude-*", "claude-3", true),
            ("claude-*", "claude-", true),
            ("claude-*", "claude", false),
            ("*-mini", "gpt-4o-mini", true),
            ("*-mini", "gpt-4o-mini-x", false),
            ("gpt-*-mini", "gpt-4o-mini", true),
            ("gpt-*-mini", "gpt-mini", false),
            ("*", "", true),
            ("**", "x", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*bc*c", "abcc", true),
            ("ab*ba", "aba", false),
            ("*ü*", "für", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), matches, "{pattern} on {text}");
        }
    }

    /// The definition, without any cleverness.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|skip| slow(rest, &text[skip..])),
            ([a, rest @ ..], [b, others @ ..]) => a == b && slow(rest, others),
            (_, []) => false,
        }
    }

    proptest! {
        #[test]
        fn matching_agrees_with_its_definition(pattern in "[ab*]{0,6}\\*[ab*]{0,6}", text in "[ab]{0,12}") {
            prop_assert_eq!(Glob::new(&pattern).matches(&text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
