//! What was answered to changes that named an `Idempotency-Key`, so that a repeated one is answered the
//! same and does nothing. Bounded, in memory, each caller's by itself. Knows no HTTP framework and no clock.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// How long an answer is remembered.
pub const KEPT: Duration = Duration::from_secs(60 * 60);
/// Answers remembered of one caller, and of all; the oldest goes first.
const CALLER_MAX: usize = 100;
const ALL_MAX: usize = 2_000;
/// Bytes of one answer; of a larger one it is only known that there was one.
pub const ANSWER_MAX: usize = 64 << 10;

/// Who asks, and by which key of theirs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    pub caller: String,
    pub key: String,
}

/// An answer that can be given again.
#[derive(Debug, Clone)]
pub struct Told {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// `None`: too large to keep.
    pub body: Option<Bytes>,
}

/// What is to be done with a change.
#[derive(Debug)]
pub enum Verdict {
    /// The first of its name: do it, then [`Replays::done`] or [`Replays::forget_unanswered`].
    Act,
    Again(Told),
    /// The first one has not been answered yet.
    Running,
    /// The name was given to another request.
    Reused,
}

/// What is remembered.
#[derive(Debug, Default)]
pub struct Replays {
    known: HashMap<Name, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Of method, path and body.
    digest: [u8; 32],
    at: Duration,
    told: Option<Told>,
}

impl Replays {
    pub fn begin(&mut self, name: &Name, digest: [u8; 32], at: Duration) -> Verdict {
        self.known.retain(|_, entry| entry.told.is_none() || entry.at + KEPT > at);
        match self.known.get(name) {
            Some(entry) if entry.digest != digest => return Verdict::Reused,
            Some(Entry { told: Some(told), .. }) => return Verdict::Again(told.clone()),
            Some(Entry { told: None, .. }) => return Verdict::Running,
            None => {}
        }
        self.make_room(&name.caller);
        self.known.insert(name.clone(), Entry { digest, at, told: None });
        Verdict::Act
    }

    pub fn done(&mut self, name: &Name, told: Told) {
        if let Some(entry) = self.known.get_mut(name) {
            entry.told = Some(told);
        }
    }

    /// Unless it was answered it was not done, so that another try may do it.
    pub fn forget_unanswered(&mut self, name: &Name) {
        if self.known.get(name).is_some_and(|entry| entry.told.is_none()) {
            self.known.remove(name);
        }
    }

    fn make_room(&mut self, caller: &str) {
        let theirs = self.known.keys().filter(|name| name.caller == caller).count();
        if theirs >= CALLER_MAX {
            self.drop_oldest(|name| name.caller == caller);
        } else if self.known.len() >= ALL_MAX {
            self.drop_oldest(|_| true);
        }
    }

    fn drop_oldest(&mut self, meant: impl Fn(&Name) -> bool) {
        let oldest = self.known.iter().filter(|(name, _)| meant(name)).min_by_key(|(_, entry)| entry.at);
        if let Some(name) = oldest.map(|(name, _)| name.clone()) {
            self.known.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(caller: &str, key: &str) -> Name {
        Name { caller: caller.into(), key: key.into() }
    }

    fn told(body: &'static str) -> Told {
        Told {
            status: StatusCode::CREATED,
            headers: HeaderMap::new(),
            body: Some(Bytes::from_static(body.as_bytes())),
        }
    }

    const START: Duration = Duration::from_secs(1);

    #[test]
    fn the_first_acts_and_those_after_it_hear_what_it_heard() {
        let mut replays = Replays::default();
        let ours = name("ada", "1");
        assert!(matches!(replays.begin(&ours, [1; 32], START), Verdict::Act));
        assert!(matches!(replays.begin(&ours, [1; 32], START), Verdict::Running));
        assert!(matches!(replays.begin(&ours, [2; 32], START), Verdict::Reused));
        assert!(matches!(replays.begin(&name("ben", "1"), [2; 32], START), Verdict::Act), "each by itself");
        replays.done(&ours, told("made"));
        let Verdict::Again(again) = replays.begin(&ours, [1; 32], START + KEPT / 2) else {
            panic!("forgotten")
        };
        assert_eq!((again.status, again.body.as_deref()), (StatusCode::CREATED, Some(&b"made"[..])));
        assert!(matches!(replays.begin(&ours, [1; 32], START + KEPT), Verdict::Act), "not for ever");
        replays.forget_unanswered(&ours);
        assert!(matches!(replays.begin(&ours, [3; 32], START), Verdict::Act));
    }

    #[test]
    fn no_caller_fills_the_memory_or_pushes_others_out() {
        let mut replays = Replays::default();
        replays.begin(&name("ben", "his"), [0; 32], START);
        for n in 0..2 * CALLER_MAX {
            replays.begin(&name("ada", &n.to_string()), [0; 32], START + Duration::from_secs(1 + n as u64));
        }
        assert_eq!(replays.known.len(), CALLER_MAX + 1);
        assert!(replays.known.contains_key(&name("ben", "his")));
        for n in 0..2 * ALL_MAX {
            replays.begin(&name(&n.to_string(), "1"), [0; 32], START + Duration::from_secs(1000));
        }
        assert_eq!(replays.known.len(), ALL_MAX);
    }
}
