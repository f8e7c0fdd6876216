//! Thinking told apart from the answer in plain text: `<think>` blocks and harmony's channels, for models
//! whose engine does not do it. Pure; the same for any cut of the text. Everything else passes as the
//! model wrote it.

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";
/// Harmony: `<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`.
const CHANNEL: &str = "<|channel|>";
const MESSAGE: &str = "<|message|>";
/// What ends a message, with what may stand before the next channel.
const ENDS: [&str; 3] = ["<|end|>", "<|return|>", "<|start|>"];
/// Bytes of a channel's name and recipient.
const NAME_MAX: usize = 200;
/// Bytes of white space before the text that are held back.
const BLANK_MAX: usize = 4096;

/// A piece of what a model said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Thought(String),
    Answer(String),
}

/// Where in its text a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Nothing but white space has come.
    Start,
    Thinking,
    /// In the answer, which nothing interrupts.
    Answer,
    /// Between the messages of harmony.
    Between,
    /// In the name of a channel.
    Name,
    /// In a channel's message; whether it is thought.
    Channel {
        thought: bool,
    },
}

/// Splits a text that comes in pieces.
#[derive(Debug)]
pub struct Think {
    at: At,
    held: String,
}

impl Default for Think {
    fn default() -> Think {
        Think { at: At::Start, held: String::new() }
    }
}

impl Think {
    /// Takes a piece; `said` hears what is known by now.
    pub fn feed(&mut self, piece: &str, said: &mut impl FnMut(Said)) {
        if self.at == At::Answer {
            return say(piece.to_owned(), false, said);
        }
        self.held.push_str(piece);
        while self.step(said) {}
    }

    /// Whether whatever comes is answer.
    pub fn is_over(&self) -> bool {
        self.at == At::Answer && self.held.is_empty()
    }

    /// The end of the text: what was held back belongs where it stands.
    pub fn finish(&mut self, said: &mut impl FnMut(Said)) {
        let rest = std::mem::take(&mut self.held);
        match self.at {
            At::Thinking | At::Channel { thought: true } => say(rest, true, said),
            At::Start | At::Answer | At::Channel { thought: false } => say(rest, false, said),
            // The names of channels are for machines.
            At::Between | At::Name => {}
        }
    }

    /// Goes on by one tag, if there is one; false: more has to come.
    fn step(&mut self, said: &mut impl FnMut(Said)) -> bool {
        match self.at {
            At::Answer => {
                say(std::mem::take(&mut self.held), false, said);
                false
            }
            At::Start => self.start(said),
            At::Thinking => self.until(&[CLOSE], true, At::Answer, said),
            At::Channel { thought } => self.until(&ENDS, thought, At::Between, said),
            At::Between => match self.held.find(CHANNEL) {
                Some(at) => {
                    self.held.drain(..at + CHANNEL.len());
                    self.at = At::Name;
                    true
                }
                None => {
                    // Text between messages is dropped; only the beginning of a tag is kept.
                    let keep = begun(&self.held, &[CHANNEL]);
                    self.held.drain(..self.held.len() - keep);
                    false
                }
            },
            At::Name => match self.held.find(MESSAGE) {
                Some(at) => {
                    let name = self.held.get(..at).unwrap_or_default();
                    let thought = !name.trim_start().starts_with("final");
                    self.held.drain(..at + MESSAGE.len());
                    self.at = At::Channel { thought };
                    true
                }
                None if self.held.len() > NAME_MAX => {
                    self.at = At::Channel { thought: false };
                    true
                }
                None => false,
            },
        }
    }

    fn start(&mut self, said: &mut impl FnMut(Said)) -> bool {
        let blank = self.held.len() - self.held.trim_start().len();
        let text = self.held.get(blank..).unwrap_or_default();
        for (tag, next) in [(OPEN, At::Thinking), (CHANNEL, At::Name)] {
            if text.starts_with(tag) {
                self.held.drain(..blank + tag.len());
                self.at = next;
                return true;
            }
            if tag.starts_with(text) && blank <= BLANK_MAX {
                return false;
            }
        }
        self.at = At::Answer;
        say(std::mem::take(&mut self.held), false, said);
        false
    }

    /// Says what stands before the first of `tags`, holding back what may be the beginning of one.
    fn until(&mut self, tags: &[&str], thought: bool, next: At, said: &mut impl FnMut(Said)) -> bool {
        let found = tags.iter().filter_map(|tag| Some((self.held.find(tag)?, tag.len()))).min();
        if let Some((at, len)) = found {
            let rest = self.held.split_off(at);
            say(std::mem::replace(&mut self.held, rest), thought, said);
            self.held.drain(..len);
            self.at = next;
            return true;
        }
        let keep = begun(&self.held, tags);
        let rest = self.held.split_off(self.held.len() - keep);
        say(std::mem::replace(&mut self.held, rest), thought, said);
        false
    }
}

/// Bytes at the end of `text` that may be the beginning of one of `tags`.
fn begun(text: &str, tags: &[&str]) -> usize {
    let begun = |tag: &&str| {
        let lengths = (1..tag.len()).rev();
        lengths.into_iter().find(|len| tag.get(..*len).is_some_and(|start| text.ends_with(start)))
    };
    tags.iter().filter_map(begun).max().unwrap_or(0)
}

fn say(text: String, thought: bool, said: &mut impl FnMut(Said)) {
    if !text.is_empty() {
        said(if thought { Said::Thought(text) } else { Said::Answer(text) });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Thought and answer.
    fn split(pieces: &[&str]) -> (String, String) {
        let (mut think, mut both) = (Think::default(), (String::new(), String::new()));
        let mut hear = |said| match said {
            Said::Thought(text) => both.0.push_str(&text),
            Said::Answer(text) => both.1.push_str(&text),
        };
        for piece in pieces {
            think.feed(piece, &mut hear);
        }
        think.finish(&mut hear);
        both
    }

    fn both(thought: &str, answer: &str) -> (String, String) {
        (thought.to_owned(), answer.to_owned())
    }

    #[test]
    fn thinking_is_split_wherever_its_tags_are_cut() {
        assert_eq!(split(&["<thi", "nk>I ", "think</thi", "nk>\n\nYes"]), both("I think", "\n\nYes"));
        assert_eq!(split(&["\n<think>", "so</think>Yes"]), both("so", "Yes"));
        assert_eq!(split(&["<think>cut by max_tok"]), both("cut by max_tok", ""), "cut in the thinking");
        assert_eq!(split(&["<think>cut</thi"]), both("cut</thi", ""));
    }

    #[test]
    fn an_answer_without_thinking_is_exactly_what_the_model_wrote() {
        for text in
            ["  indented", "<thinly veiled", "say <think> aloud</think>", "", "\n\n", "<", "a<|channel|>b"]
        {
            assert_eq!(split(&[text]), both("", text), "{text}");
        }
        assert_eq!(split(&["<think></think>a <think>b</think>"]), both("", "a <think>b</think>"));
    }

    #[test]
    fn harmony_tells_analysis_from_the_final_answer() {
        let text = "<|channel|>analysis<|message|>The user greets.<|end|><|start|>assistant<|channel|>final<|message|>Hello!<|return|>";
        assert_eq!(split(&[text]), both("The user greets.", "Hello!"));
        assert_eq!(split(&["<|channel|>final<|message|>Hi"]), both("", "Hi"));
        assert_eq!(split(&["<|channel|>analysis<|message|>cut"]), both("cut", ""));
    }

    #[test]
    fn think_holds_little_back_of_an_endless_text() {
        for (start, more) in
            [("", " "), ("<|channel|>final<|message|>a<|end|>", "x"), ("<|channel|>", "y"), ("<think>", "z")]
        {
            let mut think = Think::default();
            think.feed(start, &mut |_| {});
            for _ in 0..100 {
                think.feed(&more.repeat(1000), &mut |_| {});
            }
            assert!(think.held.len() <= BLANK_MAX + 1000, "{start}: {}", think.held.len());
        }
    }

    proptest! {
        #[test]
        fn the_cut_of_the_text_makes_no_difference(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<think>", "</think>", "<thi", "nk>", " ", "\n", "a", "é", "<|channel|>", "analysis", "final",
                "<|message|>", "<|end|>", "<|start|>", "assistant", "<",
            ]), 0..12),
        ) {
            let text = parts.concat();
            let characters: Vec<String> = text.chars().map(String::from).collect();
            let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
            prop_assert_eq!(split(&characters), split(&[&text]));
            prop_assert_eq!(split(&parts), split(&[&text]));
        }
    }
}
