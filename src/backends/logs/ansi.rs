//! Takes colours and other control sequences out of a line. Knows one line at a time.

const ESCAPE: u8 = 0x1b;
const BELL: u8 = 0x07;

/// The line as text: without control sequences and control characters (tabs stay), and with what
/// is not UTF-8 replaced.
pub fn clean(line: &[u8]) -> String {
    let mut out = Vec::with_capacity(line.len());
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        rest = match byte {
            ESCAPE => skip_sequence(after),
            b'\t' | 0x20..=0x7e | 0x80.. => {
                out.push(byte);
                after
            }
            _ => after,
        };
    }
    let text = String::from_utf8_lossy(&out);
    // C1 controls, which some terminals obey, are two bytes long in UTF-8.
    if text.chars().any(|c| ('\u{80}'..='\u{9f}').contains(&c)) {
        return text.chars().filter(|c| !('\u{80}'..='\u{9f}').contains(c)).collect();
    }
    text.into_owned()
}

/// What follows the sequence that an escape began.
fn skip_sequence(rest: &[u8]) -> &[u8] {
    match rest.split_first() {
        Some((b'[', rest)) => after(rest, |byte| (0x40..=0x7e).contains(&byte)),
        Some((b']' | b'P' | b'X' | b'^' | b'_', rest)) => skip_string(rest),
        // Two-byte sequences, some with intermediate bytes: `ESC ( B`.
        Some((0x20..=0x2f, rest)) => after(rest, |byte| (0x30..=0x7e).contains(&byte)),
        Some((_, rest)) => rest,
        None => rest,
    }
}

/// After a string sequence, which ends with a bell or `ESC \`.
fn skip_string(rest: &[u8]) -> &[u8] {
    let rest = after(rest, |byte| byte == BELL || byte == ESCAPE);
    rest.strip_prefix(b"\\").unwrap_or(rest)
}

fn after(rest: &[u8], is_last: impl Fn(u8) -> bool) -> &[u8] {
    let end = rest.iter().position(|byte| is_last(*byte)).map_or(rest.len(), |at| at + 1);
    &rest[end..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_titles_and_links_go_and_the_words_stay() {
        for (line, text) in [
            ("\x1b[32m\x1b[1mINFO\x1b[0m ready", "INFO ready"),
            ("\x1b[38;5;196mred\x1b[m\tx", "red\tx"),
            ("\x1b]0;title\x07after", "after"),
            ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
            ("\x1b(Bplain\x1b7\x1b8", "plain"),
            ("bell\x07 and nul\0", "bell and nul"),
            ("größer 100 €", "größer 100 €"),
            ("cut \x1b[3", "cut "),
            ("\x1b", ""),
        ] {
            assert_eq!(clean(line.as_bytes()), text, "{line:?}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_replaced() {
        assert_eq!(clean(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(clean("a\u{9b}31mb".as_bytes()), "a31mb");
    }

    proptest! {
        #[test]
        fn no_control_character_ever_comes_through(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(clean(&bytes).chars().all(|c| c == '\t' || !c.is_control()));
        }
    }
}
