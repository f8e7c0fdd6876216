//! Bytes of request bodies that the gateway holds at once, bounded in all and by caller. What a body becomes (a tree, a
//! translated request) counts too, until it is dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

/// Bytes of all bodies, unless `server.max_body` allows larger ones.
const TOTAL: u64 = 512 << 20;
/// Bodies of the largest size that there is room for at least.
const LARGEST_BODIES: u64 = 4;
/// Large bodies that are parsed at the same time.
const PARSERS: usize = 2;
/// Bytes of a body that is parsed where it was read; larger ones are parsed on a thread of their own.
const PARSED_INLINE_MAX: usize = 256 << 10;
/// Bytes that the tree of one body may take beyond its text.
const TREE_MAX: u64 = 64 << 20;
/// Bytes that an object takes in a tree, with its members' slots; and any value.
const OBJECT_BYTES: u64 = 640;
const VALUE_BYTES: u64 = 80;

/// The bound; clones share it.
#[derive(Debug, Clone)]
pub struct Bodies(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total: u64,
    state: Mutex<State>,
    parsers: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    held: u64,
    /// By lane; those that hold nothing are in it no longer.
    lanes: HashMap<Arc<str>, u64>,
}

/// There is no room for a body now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the gateway holds as many request bodies as fit into {} MiB, and one caller's into half of what others leave; try \
     again when earlier requests have been answered",
    total >> 20
)]
pub struct Full {
    /// Bytes.
    pub total: u64,
}

/// Why a body was not parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error(
        "the body consists of too many JSON values: they would take {} MiB of memory, and may take {}; send fewer",
        .0 >> 20,
        TREE_MAX >> 20
    )]
    TooManyValues(u64),
    #[error("the body could not be parsed")]
    Ended,
}

/// A part of the bound, until it is dropped.
#[derive(Debug)]
pub struct Held {
    shared: Arc<Shared>,
    lane: Arc<str>,
    bytes: Mutex<u64>,
}

impl Bodies {
    /// A bound for bodies of at most `max_body` bytes.
    pub fn new(max_body: u64) -> Bodies {
        let total = TOTAL.max(max_body.saturating_mul(LARGEST_BODIES));
        let parsers = Arc::new(Semaphore::new(PARSERS));
        Bodies(Arc::new(Shared { total, state: Mutex::default(), parsers }))
    }

    /// Takes `bytes` for a body of a caller. A caller gets at most as much as is left when it has it: half if it is
    /// the only one, a third if another one has a third, so that something is left for the next one.
    pub fn hold(&self, lane: &Arc<str>, bytes: u64) -> Result<Held, Full> {
        let held = Held { shared: Arc::clone(&self.0), lane: Arc::clone(lane), bytes: Mutex::new(0) };
        held.resize(bytes)?;
        Ok(held)
    }

    /// What a refusal says.
    pub fn full(&self) -> Full {
        Full { total: self.0.total }
    }

    /// Bytes that are held now.
    pub fn bytes(&self) -> u64 {
        self.0.lock().held
    }

    /// Parses a body by `parse`: a large one off the serving thread and with few others, for its tree can be many
    /// times as large as its text. `parse` must drop the tree.
    pub async fn parse<T, F>(&self, body: bytes::Bytes, parse: F) -> Result<T, ParseError>
    where
        T: Send + 'static,
        F: FnOnce(&[u8]) -> T + Send + 'static,
    {
        let is_small = body.len() <= PARSED_INLINE_MAX;
        let parse = move || Weight::of(&body).check().map(|_| parse(&body));
        if is_small { parse() } else { self.off_thread(parse).await? }
    }

    /// Runs what parses a body off the serving thread, with few others.
    pub async fn off_thread<T, F>(&self, work: F) -> Result<T, ParseError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let place = Arc::clone(&self.0.parsers).acquire_owned().await.ok();
        let work = move || {
            // Kept until the end of the work, which the client's leaving does not end.
            let _place = place;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| ParseError::Ended)
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Holds at least `bytes`, as a body grows that says no length.
    pub fn grow(&self, bytes: u64) -> Result<(), Full> {
        if bytes > *self.bytes() { self.resize(bytes) } else { Ok(()) }
    }

    /// Holds that much more.
    pub fn add(&self, bytes: u64) -> Result<(), Full> {
        let now = *self.bytes();
        self.resize(now.saturating_add(bytes))
    }

    /// Holds exactly `bytes`. Less is always granted.
    pub fn resize(&self, bytes: u64) -> Result<(), Full> {
        let mut mine = self.bytes();
        let mut state = self.shared.lock();
        let theirs = state.lanes.get(&self.lane).copied().unwrap_or(0) - *mine + bytes;
        let all = state.held - *mine + bytes;
        if bytes > *mine && theirs > self.shared.total.saturating_sub(all) {
            return Err(Full { total: self.shared.total });
        }
        state.held = all;
        match theirs {
            0 => drop(state.lanes.remove(&self.lane)),
            theirs => drop(state.lanes.insert(Arc::clone(&self.lane), theirs)),
        }
        *mine = bytes;
        Ok(())
    }

    fn bytes(&self) -> MutexGuard<'_, u64> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.resize(0).ok();
    }
}

/// What a JSON text takes as a tree beyond its bytes, about; never much less. Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u64);

impl Weight {
    /// Of a text that need not be valid.
    pub fn of(text: &[u8]) -> Weight {
        let (mut values, mut objects, mut in_string, mut escaped) = (1_u64, 0_u64, false, false);
        for byte in text {
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'{' => (values, objects) = (values + 1, objects + 1),
                b'[' | b',' => values += 1,
                _ => {}
            }
        }
        Weight(objects * OBJECT_BYTES + values * VALUE_BYTES)
    }

    /// Of several texts that are in memory together.
    pub fn sum(all: impl Iterator<Item = Weight>) -> Weight {
        Weight(all.map(|weight| weight.0).sum())
    }

    /// The bytes, unless they are more than one body's tree may take.
    pub fn check(self) -> Result<u64, ParseError> {
        if self.0 > TREE_MAX { Err(ParseError::TooManyValues(self.0)) } else { Ok(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[test]
    fn bodies_leave_something_to_every_other_caller() {
        let bodies = Bodies::new(1 << 20);
        let (ada, bob, eve) = (lane("ada"), lane("bob"), lane("eve"));
        assert_eq!(bodies.hold(&ada, (256 << 20) + 1).unwrap_err().total, 512 << 20);
        let first = bodies.hold(&ada, 200 << 20).unwrap();
        assert!(bodies.hold(&ada, 57 << 20).is_err());
        let second = bodies.hold(&bob, 150 << 20).unwrap();
        assert!(bodies.hold(&ada, 1).is_err(), "more than is left already");
        assert!(bodies.hold(&eve, 64 << 20).is_ok());
        assert_eq!(bodies.bytes(), 350 << 20, "what was dropped is free");
        first.resize(10).unwrap();
        assert!(second.add(20 << 20).is_ok() && second.grow(5).is_ok());
        assert!(second.grow(400 << 20).is_err());
        assert_eq!(bodies.bytes(), (170 << 20) + 10, "a refusal changes nothing");
        drop((first, second));
        assert_eq!((bodies.bytes(), bodies.0.lock().lanes.len()), (0, 0));
    }

    #[test]
    fn bodies_have_room_for_some_of_the_largest_that_are_allowed() {
        let bodies = Bodies::new(1 << 30);
        assert!(bodies.hold(&lane("ada"), 2 << 30).is_ok());
        assert_eq!(Bodies::new(u64::MAX).0.total, u64::MAX);
    }

    #[test]
    fn weight_counts_values_outside_of_strings() {
        let weight = |text: &str| Weight::of(text.as_bytes()).0;
        assert_eq!(weight("1"), VALUE_BYTES);
        assert_eq!(weight(r#"{"a":"[,{\"","b":[1,2]}"#), OBJECT_BYTES + 5 * VALUE_BYTES);
        assert!(weight(&"[],".repeat(1000)) >= 1000 * 32, "a value has at least 32 bytes");
    }

    #[tokio::test]
    async fn bodies_parse_no_body_whose_tree_is_too_large() {
        let bodies = Bodies::new(1 << 20);
        assert_eq!(bodies.parse("x".repeat(300 << 10).into(), <[u8]>::len).await, Ok(300 << 10));
        assert_eq!(bodies.parse("[1]".into(), <[u8]>::len).await, Ok(3));
        let told = bodies.parse("[],".repeat(1 << 20).into(), <[u8]>::len).await.unwrap_err();
        assert!(told.to_string().contains("may take 64"), "{told}");
    }
}
