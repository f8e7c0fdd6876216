//! Bounds in bytes for answers that are kept in memory until they are complete. Every place that puts an answer
//! together counts here; what passes on as it comes is not counted.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::failure::UpstreamFailure;

/// Bytes of text that one answer may grow to: about a million tokens.
pub const TEXT_MAX: usize = 4 << 20;
/// Bytes of the events of one answer that are kept as they came.
pub const EVENTS_MAX: usize = 32 << 20;
/// Bytes of one answer that is no text, such as embeddings.
pub const BODY_MAX: usize = 32 << 20;
/// Bytes of all answers that are kept at one time.
pub const TOTAL_MAX: usize = 512 << 20;

static TOTAL: AtomicUsize = AtomicUsize::new(0);

/// Counts what is kept of one answer, as long as it lives.
#[derive(Debug)]
pub struct Assembled {
    limit: usize,
    kept: usize,
}

impl Assembled {
    /// For the text of an answer.
    pub fn text() -> Assembled {
        Assembled::of(TEXT_MAX)
    }

    /// For events as they came.
    pub fn events() -> Assembled {
        Assembled::of(EVENTS_MAX)
    }

    /// For an answer that is no text.
    pub fn body() -> Assembled {
        Assembled::of(BODY_MAX)
    }

    fn of(limit: usize) -> Assembled {
        Assembled { limit, kept: 0 }
    }

    /// Bytes that are counted.
    pub fn bytes(&self) -> usize {
        self.kept
    }

    /// Counts bytes that are about to be kept. A failure ends the answer; nothing was counted then.
    pub fn keep(&mut self, bytes: usize) -> Result<(), UpstreamFailure> {
        if bytes > self.limit - self.kept {
            let mib = self.limit as f64 / f64::from(1 << 20);
            return Err(UpstreamFailure::too_large(format!(
                "the answer is larger than {mib} MiB, which is the most that the gateway puts together of one"
            )));
        }
        if TOTAL.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > TOTAL_MAX {
            TOTAL.fetch_sub(bytes, Ordering::Relaxed);
            return Err(UpstreamFailure::overloaded(format!(
                "the answers that are being put together take {} MiB already; try again later",
                TOTAL_MAX >> 20
            )));
        }
        self.kept += bytes;
        Ok(())
    }

    /// Appends a piece of text.
    pub fn push(&mut self, text: &mut String, piece: &str) -> Result<(), UpstreamFailure> {
        self.keep(piece.len())?;
        text.push_str(piece);
        Ok(())
    }

    /// Appends bytes.
    pub fn extend(&mut self, bytes: &mut Vec<u8>, piece: &[u8]) -> Result<(), UpstreamFailure> {
        self.keep(piece.len())?;
        bytes.extend_from_slice(piece);
        Ok(())
    }
}

impl Drop for Assembled {
    fn drop(&mut self) {
        TOTAL.fetch_sub(self.kept, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assembled_refuses_what_exceeds_its_limit_and_counts_nothing_of_it() {
        let (mut kept, mut text) = (Assembled::of(5), String::new());
        kept.push(&mut text, "four").unwrap();
        let failure = kept.push(&mut text, "xx").unwrap_err();
        assert_eq!((failure.status, failure.code), (502, "answer_too_large"));
        kept.push(&mut text, "5").unwrap();
        assert_eq!(text, "four5");
    }

    #[test]
    fn assembled_refuses_more_than_all_answers_may_take_until_others_are_dropped() {
        let mut all: Vec<Assembled> = (0..TOTAL_MAX / BODY_MAX).map(|_| Assembled::body()).collect();
        // Other tests of this process may keep something too.
        let full = all.iter_mut().map(|one| one.keep(BODY_MAX)).filter(Result::is_ok).count();
        assert!(full >= TOTAL_MAX / BODY_MAX - 1);
        let mut one_more = Assembled::body();
        assert_eq!(one_more.keep(BODY_MAX).unwrap_err().status, 429);
        drop(all);
        one_more.keep(BODY_MAX).unwrap();
    }
}
