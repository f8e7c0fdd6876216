//! What has to be done to the text of an answer: thinking told apart, stop strings found.

mod stop;
mod think;

pub use stop::Stop;
pub use think::{Said, Think};

/// The text of one answer on its way to the client.
#[derive(Debug, Default)]
pub struct Text {
    /// None: the engine has told thinking apart, or the answer has begun.
    think: Option<Think>,
    /// None: there is no stop string.
    stop: Option<Stop>,
}

/// What may be said by now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Piece {
    pub thought: String,
    pub answer: String,
}

impl Text {
    /// `stops`: what ends the answer and is not shown.
    pub fn new(stops: &[String]) -> Text {
        let stop = (!stops.is_empty()).then(|| Stop::new(stops.to_vec()));
        Text { think: Some(Think::default()), stop }
    }

    /// Whether text passes as it is.
    pub fn is_idle(&self) -> bool {
        self.think.is_none() && self.stop.is_none()
    }

    /// Whether a stop string was found: nothing is said after it.
    pub fn is_hit(&self) -> bool {
        self.stop.as_ref().is_some_and(Stop::is_hit)
    }

    /// The stop string that was found.
    pub fn found(&self) -> Option<&str> {
        self.stop.as_ref().and_then(Stop::found)
    }

    /// The engine tells thinking apart itself.
    pub fn engine_thinks(&mut self) {
        self.think = None;
    }

    /// Takes the next piece of the text, and gives what may be said of it by now.
    pub fn feed(&mut self, text: &str) -> Piece {
        let mut piece = Piece::default();
        match &mut self.think {
            Some(think) => {
                think.feed(text, &mut |said| piece.hear(said));
                if think.is_over() {
                    self.think = None;
                }
            }
            None => text.clone_into(&mut piece.answer),
        }
        if let Some(stop) = &mut self.stop {
            piece.answer = stop.feed(&piece.answer);
        }
        piece
    }

    /// What was held back, at the end of the text.
    pub fn finish(&mut self) -> Piece {
        let mut piece = Piece::default();
        if let Some(mut think) = self.think.take() {
            think.finish(&mut |said| piece.hear(said));
        }
        if let Some(stop) = &mut self.stop {
            piece.answer = stop.feed(&piece.answer);
            piece.answer.push_str(&stop.finish());
        }
        piece
    }
}

impl Piece {
    /// Adds what `other` holds at the end.
    pub fn append(&mut self, other: &Piece) {
        self.thought.push_str(&other.thought);
        self.answer.push_str(&other.answer);
    }

    fn hear(&mut self, said: Said) {
        match said {
            Said::Thought(text) => self.thought.push_str(&text),
            Said::Answer(text) => self.answer.push_str(&text),
        }
    }
}
