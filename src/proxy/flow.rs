//! What happens to an answer's bytes on their way: noted and passed on, renamed, or repaired. Works
//! on complete events, so that nothing depends on how they were cut.

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::failure::Failure;
use super::tap;
use crate::dialect::facts::Facts;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::repair::Repair;
use crate::dialect::sse;
use crate::dialect::transcript::Transcript;

/// Bytes of one event that are waited for; a larger one is an error.
pub const EVENT_LIMIT: usize = 16 << 20;

/// An event stream being passed on.
#[derive(Debug)]
pub struct Flow {
    kind: Kind,
    /// What came from upstream and has not gone on; what was looked at already comes first.
    held: BytesMut,
    /// Bytes of `held` in which no event ends, as far as they were looked at.
    looked_at: usize,
    /// What may go, where it is not the input itself.
    out: BytesMut,
    pub facts: Facts,
}

#[derive(Debug)]
enum Kind {
    Pass,
    /// The name the client gets to see, as JSON.
    Rename(String),
    Repair(Box<Repair>),
    /// Transcriptions of mlx engines, and what is written of them.
    Transcript(Transcript, Vec<u8>),
}

impl Flow {
    /// Everything passes as it is.
    pub fn pass() -> Flow {
        Flow::new(Kind::Pass)
    }

    /// `model` in each event becomes `name`.
    pub fn rename(name: &str) -> Flow {
        Flow::new(Kind::Rename(serde_json::Value::from(name).to_string()))
    }

    /// A stream of mlx engines.
    pub fn repair(repair: Repair) -> Flow {
        Flow::new(Kind::Repair(Box::new(repair)))
    }

    /// A stream of transcriptions of mlx engines.
    pub fn transcript() -> Flow {
        Flow::new(Kind::Transcript(Transcript::default(), Vec::new()))
    }

    fn new(kind: Kind) -> Flow {
        let (held, out) = (BytesMut::new(), BytesMut::new());
        Flow { kind, held, looked_at: 0, out, facts: Facts::default() }
    }

    /// Takes bytes from upstream.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Bytes that came and were not looked at yet.
    pub fn fresh(&self) -> usize {
        self.held.len() - self.looked_at
    }

    /// What may go on by now: all events that are complete. Looks at all of them at once, for that
    /// costs less than one by one.
    pub fn take(&mut self) -> Result<Bytes, Failure> {
        let Some(end) = sse::last_boundary(&self.held, self.looked_at) else {
            self.looked_at = self.held.len();
            if self.held.len() > EVENT_LIMIT {
                return Err(event_too_large());
            }
            return Ok(Bytes::new());
        };
        let events = self.held.split_to(end);
        self.looked_at = self.held.len();
        match &mut self.kind {
            Kind::Pass => {
                tap::events(&events, &mut self.facts);
                return Ok(events.freeze());
            }
            Kind::Rename(name) => {
                tap::events(&events, &mut self.facts);
                rename(&events, name, &mut self.out);
            }
            Kind::Transcript(transcript, told) => {
                tap::events(&events, &mut self.facts);
                transcript.feed(&events, told)?;
                self.out.extend_from_slice(told);
                told.clear();
            }
            Kind::Repair(repair) => repair.feed(&events, &mut self.out, &mut self.facts),
        }
        Ok(self.out.split().freeze())
    }

    /// Whether upstream left an event unfinished.
    pub fn is_broken_off(&self) -> bool {
        self.held.iter().any(|byte| !byte.is_ascii_whitespace())
    }
}

/// The failure of an event without end.
pub fn event_too_large() -> Failure {
    let words = format!("the backend sent an event of more than {} MiB", EVENT_LIMIT >> 20);
    UpstreamFailure::too_large(words).into()
}

/// Copies events with the value of each one's first `model` replaced.
fn rename(events: &[u8], name: &str, out: &mut BytesMut) {
    let mut rest = events;
    while let Some(at) = memmem::find(rest, b"\"model\"") {
        let after = at + b"\"model\"".len();
        let blanks = |bytes: &[u8]| bytes.len() - bytes.trim_ascii_start().len();
        let colon = after + blanks(&rest[after..]);
        let value = colon + 1 + rest.get(colon + 1..).map_or(0, blanks);
        let is_text = rest.get(colon) == Some(&b':') && rest.get(value) == Some(&b'"');
        let end = is_text.then(|| string_end(rest, value + 1)).flatten();
        let Some(end) = end else {
            out.extend_from_slice(&rest[..after]);
            rest = &rest[after..];
            continue;
        };
        out.extend_from_slice(&rest[..value]);
        out.extend_from_slice(name.as_bytes());
        rest = &rest[end..];
        // The next one is the next event's.
        let next = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        out.extend_from_slice(&rest[..next]);
        rest = &rest[next..];
    }
    out.extend_from_slice(rest);
}

/// Offset behind the closing quote of the string whose inside begins at `from`.
fn string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at + 1),
            _ => at += 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn through(mut flow: Flow, pieces: &[&[u8]]) -> (String, Facts) {
        let mut out = Vec::new();
        for piece in pieces {
            flow.feed(piece);
            out.extend_from_slice(&flow.take().unwrap());
        }
        (String::from_utf8(out).unwrap(), flow.facts)
    }

    #[test]
    fn only_whole_events_go_on() {
        let (out, _) = through(Flow::pass(), &[b"data: {\"a\":1}\n", b"\ndata: {\"b\""]);
        assert_eq!(out, "data: {\"a\":1}\n\n");
        let mut flow = Flow::pass();
        flow.feed(b"data: x");
        assert!(flow.take().unwrap().is_empty() && flow.is_broken_off() && flow.fresh() == 0);
        flow.feed(b"\n\n");
        assert!(flow.take().unwrap() == "data: x\n\n" && !flow.is_broken_off());
    }

    #[test]
    fn the_models_name_becomes_the_profiles() {
        let events = b"data: {\"id\":1,\"model\" : \"a\\\"b\",\"x\":\"model\"}\n\ndata: {\"model\":null}\n\n";
        let (out, _) = through(Flow::rename("q"), &[events]);
        assert_eq!(out, "data: {\"id\":1,\"model\" : \"q\",\"x\":\"model\"}\n\ndata: {\"model\":null}\n\n");
    }

    #[test]
    fn an_event_without_end_is_an_error() {
        let mut flow = Flow::pass();
        let piece = vec![b'x'; EVENT_LIMIT / 2];
        for fits in [true, true, false] {
            flow.feed(&piece);
            assert_eq!(flow.take().is_ok(), fits);
        }
    }

    proptest! {
        #[test]
        fn chunking_changes_neither_bytes_nor_facts(texts in prop::collection::vec("[^\n\r]{0,20}", 0..6), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
            let mut stream = String::new();
            for text in texts {
                let said = serde_json::json!(text);
                stream += &format!("data: {{\"model\":\"m\",\"choices\":[{{\"delta\":{{\"content\":{said}}}}}]}}\n\n");
            }
            stream += "data: {\"choices\":[],\"usage\":{\"completion_tokens\":3}}\r\n\r\ndata: [DONE]\n\n";
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            let (out, facts) = through(Flow::pass(), &pieces);
            prop_assert_eq!(&out, &stream);
            prop_assert_eq!(&facts, &through(Flow::pass(), &[bytes]).1);
            prop_assert_eq!(through(Flow::rename("new"), &pieces), through(Flow::rename("new"), &[bytes]));
        }
    }
}
