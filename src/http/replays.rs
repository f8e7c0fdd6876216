//! What was answered to changes that named an `Idempotency-Key`, so that a repeated one is answered the
//! same and does nothing. Bounded, in memory, each caller's by itself. Knows no HTTP framework and no clock.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// How long an answer is remembered.
pub const KEPT: Duration = Duration::from_secs(60 * 60);
/// Changes remembered of one caller, and of all; the oldest one that has been answered goes first.
pub const CALLER_MAX: usize = 100;
pub const ALL_MAX: usize = 2_000;
/// Bytes of one answer; of a larger one it is only known that there was one.
pub const ANSWER_MAX: usize = 64 << 10;
/// Bytes of answers kept of one caller, and of all. Beyond them the oldest answer of the caller with the most bytes is
/// dropped; that its change was made stays known.
const CALLER_BYTES: usize = 1 << 20;
const ALL_BYTES: usize = 16 << 20;

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
    /// `None`: too large to keep, or dropped for newer ones.
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
    /// So many are under way that none can be forgotten.
    Full,
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
        if !self.make_room(&name.caller) {
            return Verdict::Full;
        }
        self.known.insert(name.clone(), Entry { digest, at, told: None });
        Verdict::Act
    }

    pub fn done(&mut self, name: &Name, told: Told) {
        if let Some(entry) = self.known.get_mut(name) {
            entry.told = Some(told);
        }
        self.drop_answers(&name.caller);
    }

    /// Unless it was answered it was not done, so that another try may do it.
    pub fn forget_unanswered(&mut self, name: &Name) {
        if self.known.get(name).is_some_and(|entry| entry.told.is_none()) {
            self.known.remove(name);
        }
    }

    /// Forgets an answered change where there are too many. False: all of them are under way.
    fn make_room(&mut self, caller: &str) -> bool {
        let theirs = self.known.keys().filter(|name| name.caller == caller).count();
        if theirs >= CALLER_MAX {
            return self.forget_oldest(caller);
        }
        if self.known.len() < ALL_MAX {
            return true;
        }
        let most = self.largest(|entry| usize::from(entry.told.is_some()));
        most.is_some_and(|(most, _)| self.forget_oldest(&most))
    }

    /// Drops answers until those of a caller and of all are within their bounds.
    fn drop_answers(&mut self, caller: &str) {
        while self.bytes_of(caller) > CALLER_BYTES && self.drop_oldest_answer(caller) {}
        while self.known.values().map(Entry::bytes).sum::<usize>() > ALL_BYTES
            && let Some((most, _)) = self.largest(Entry::bytes)
            && self.drop_oldest_answer(&most)
        {}
    }

    fn bytes_of(&self, caller: &str) -> usize {
        self.known.iter().filter(|(name, _)| name.caller == caller).map(|(_, entry)| entry.bytes()).sum()
    }

    /// The caller whose entries come to the most, if that is not 0.
    fn largest(&self, size: impl Fn(&Entry) -> usize) -> Option<(String, usize)> {
        let mut sizes: HashMap<&str, usize> = HashMap::new();
        for (name, entry) in &self.known {
            *sizes.entry(&name.caller).or_default() += size(entry);
        }
        let most = sizes.into_iter().max_by_key(|(_, size)| *size).filter(|(_, size)| *size > 0);
        most.map(|(caller, size)| (caller.to_owned(), size))
    }

    fn drop_oldest_answer(&mut self, caller: &str) -> bool {
        let theirs = self.known.iter_mut().filter(|(name, entry)| name.caller == caller && entry.bytes() > 0);
        let oldest = theirs.map(|(_, entry)| entry).min_by_key(|entry| entry.at);
        oldest.and_then(|entry| entry.told.as_mut()).is_some_and(|told| told.body.take().is_some())
    }

    fn forget_oldest(&mut self, caller: &str) -> bool {
        let theirs = self.known.iter().filter(|(name, entry)| name.caller == caller && entry.told.is_some());
        let oldest = theirs.min_by_key(|(_, entry)| entry.at).map(|(name, _)| name.clone());
        oldest.is_some_and(|name| self.known.remove(&name).is_some())
    }
}

impl Entry {
    /// Bytes of the answer that is kept.
    fn bytes(&self) -> usize {
        self.told.as_ref().and_then(|told| told.body.as_ref()).map_or(0, Bytes::len)
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

    fn large() -> Told {
        let body = Some(Bytes::from(vec![0; ANSWER_MAX]));
        Told { status: StatusCode::OK, headers: HeaderMap::new(), body }
    }

    #[test]
    fn no_caller_fills_the_memory_or_pushes_others_out() {
        let mut replays = Replays::default();
        let at = |n: usize| START + Duration::from_millis(n as u64);
        assert!(matches!(replays.begin(&name("ben", "his"), [0; 32], START), Verdict::Act));
        replays.done(&name("ben", "his"), told("made"));
        for n in 0..2 * CALLER_MAX {
            let name = name("ada", &n.to_string());
            assert!(matches!(replays.begin(&name, [0; 32], at(n + 1)), Verdict::Act));
            replays.done(&name, told("made"));
        }
        assert_eq!(replays.known.len(), CALLER_MAX + 1);
        for n in 0..ALL_MAX - CALLER_MAX / 2 {
            let name = name(&n.to_string(), "1");
            replays.begin(&name, [0; 32], at(1000));
            replays.done(&name, told("made"));
        }
        assert_eq!(replays.known.len(), ALL_MAX);
        assert!(replays.known.contains_key(&name("ben", "his")), "the callers with most gave way");
    }

    #[test]
    fn changes_under_way_are_not_forgotten_for_newer_ones() {
        let mut replays = Replays::default();
        for n in 0..CALLER_MAX {
            replays.begin(&name("ada", &n.to_string()), [0; 32], START);
        }
        assert!(matches!(replays.begin(&name("ada", "more"), [0; 32], START), Verdict::Full));
        assert!(matches!(replays.begin(&name("ben", "1"), [0; 32], START), Verdict::Act));
        assert!(matches!(replays.begin(&name("ada", "0"), [0; 32], START), Verdict::Running));
    }

    #[test]
    fn bytes_of_answers_are_bounded_by_caller_and_in_all_and_changes_stay_known() {
        let mut replays = Replays::default();
        let total = |replays: &Replays| replays.known.values().map(Entry::bytes).sum::<usize>();
        for n in 0..CALLER_MAX {
            let name = name("ada", &n.to_string());
            replays.begin(&name, [0; 32], START + Duration::from_millis(n as u64));
            replays.done(&name, large());
            assert!(total(&replays) <= CALLER_BYTES);
        }
        let Verdict::Again(first) = replays.begin(&name("ada", "0"), [0; 32], START) else {
            panic!("forgotten")
        };
        assert!(first.body.is_none(), "the oldest answer went");
        let last = replays.begin(&name("ada", "99"), [0; 32], START);
        assert!(matches!(last, Verdict::Again(Told { body: Some(_), .. })));
        replays.begin(&name("ben", "small"), [0; 32], START);
        replays.done(&name("ben", "small"), told("made"));
        for caller in 0..20 {
            for n in 0..CALLER_BYTES / ANSWER_MAX {
                let name = name(&format!("caller {caller}"), &n.to_string());
                replays.begin(&name, [0; 32], START + Duration::from_secs(1));
                replays.done(&name, large());
            }
        }
        assert!(total(&replays) <= ALL_BYTES);
        let small = replays.begin(&name("ben", "small"), [0; 32], START);
        assert!(
            matches!(small, Verdict::Again(Told { body: Some(_), .. })),
            "callers with the most gave way"
        );
    }
}
