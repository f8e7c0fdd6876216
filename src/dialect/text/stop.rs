//! Stop strings, matched on text: engines match tokens, and so miss a string that begins or ends
//! within one. Pure; the same for any cut of the text.

/// Looks for stop strings in a text that comes in pieces. What may be the beginning of one is held back.
#[derive(Debug, Default)]
pub struct Stop {
    strings: Vec<String>,
    held: String,
    /// Which one was found.
    hit: Option<usize>,
}

impl Stop {
    /// Looks for these; empty ones are left out.
    pub fn new(strings: Vec<String>) -> Stop {
        let strings = strings.into_iter().filter(|string| !string.is_empty()).collect();
        Stop { strings, held: String::new(), hit: None }
    }

    /// Whether one was found: nothing is said after it.
    pub fn is_hit(&self) -> bool {
        self.hit.is_some()
    }

    /// The one that was found.
    pub fn found(&self) -> Option<&str> {
        self.strings.get(self.hit?).map(String::as_str)
    }

    /// Takes a piece and gives what may be said by now; never any part of a stop string.
    pub fn feed(&mut self, piece: &str) -> String {
        if self.is_hit() {
            return String::new();
        }
        self.held.push_str(piece);
        // The first to be complete counts; of two that end together the longer, which begins first.
        let ends = |(which, stop): (usize, &String)| {
            let at = self.held.find(stop.as_str())?;
            Some((at + stop.len(), at, which))
        };
        if let Some((_, at, which)) = self.strings.iter().enumerate().filter_map(ends).min() {
            self.hit = Some(which);
            self.held.truncate(at);
            return std::mem::take(&mut self.held);
        }
        let keep = self.strings.iter().map(|stop| begun(&self.held, stop)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        std::mem::replace(&mut self.held, rest)
    }

    /// What was held back, at the end of the text: it was no stop string after all.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

/// Bytes at the end of `text` that `stop` begins with.
fn begun(text: &str, stop: &str) -> usize {
    let longest = (stop.len() - 1).min(text.len());
    let lengths = (1..=longest).rev().filter(|len| stop.is_char_boundary(*len));
    lengths.into_iter().find(|len| stop.get(..*len).is_some_and(|start| text.ends_with(start))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn said(strings: &[&str], pieces: &[&str]) -> (String, bool) {
        let mut stop = Stop::new(strings.iter().map(|s| (*s).to_owned()).collect());
        let mut text: String = pieces.iter().map(|piece| stop.feed(piece)).collect();
        text.push_str(&stop.finish());
        (text, stop.is_hit())
    }

    #[test]
    fn a_stop_string_is_found_wherever_it_is_cut_and_never_shown() {
        assert_eq!(said(&["END"], &["one ", "E", "N", "D two"]), ("one ".into(), true));
        assert_eq!(said(&["END"], &["one E", "N"]), ("one EN".into(), false));
        assert_eq!(said(&["\n\n"], &["a\n", "b\n\nc"]), ("a\nb".into(), true));
        assert_eq!(said(&["", "x"], &["abc"]), ("abc".into(), false));
        assert_eq!(said(&["aab"], &["aa", "ab"]), ("a".into(), true));
        assert_eq!(said(&["ön"], &["sch", "ö", "n"]), ("sch".into(), true));
        assert_eq!(
            said(&["lo wor", "o"], &["hello world"]),
            ("hell".into(), true),
            "the first to be complete"
        );
    }

    proptest! {
        #[test]
        fn the_cut_of_the_text_makes_no_difference(
            text in "[abé]{0,40}", strings in prop::collection::vec("[abé]{1,4}", 0..4), cuts in prop::collection::vec(0_usize..40, 0..8),
        ) {
            let strings: Vec<&str> = strings.iter().map(String::as_str).collect();
            let mut at: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).chain([0, text.len()]).collect();
            at.sort_unstable();
            let pieces: Vec<&str> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let (whole, hit) = said(&strings, &[text.as_str()]);
            // Character by character is the finest cut there is.
            let characters: Vec<String> = text.chars().map(String::from).collect();
            let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
            prop_assert_eq!(said(&strings, &characters), (whole.clone(), hit));
            prop_assert_eq!(said(&strings, &pieces), (whole.clone(), hit));
            prop_assert!(strings.iter().all(|stop| !whole.contains(stop)), "{whole}");
            prop_assert_eq!(hit, strings.iter().any(|stop| text.contains(stop)));
        }
    }
}
