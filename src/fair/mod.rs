//! Queues that are fair between callers, in order and in capacity: each caller's entries keep their order, callers
//! with waiting entries take turns, and in a full queue the caller with the most gives way to one with fewer. Pure;
//! knows nothing of what is waited for.

mod places;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

pub use places::{Place, Places};

/// What a queue may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub entries: usize,
    pub bytes: usize,
}

/// Waiting entries, first to be served in front.
#[derive(Debug)]
pub struct FairQueue<T> {
    entries: VecDeque<Entry<T>>,
    next_ticket: u64,
    /// Round of the newest entry served. The first entry of a lane gets the round after it, so that unused turns are
    /// not saved up, and a lane that was just served overtakes no other.
    round: u64,
}

#[derive(Debug)]
struct Entry<T> {
    ticket: u64,
    lane: Arc<str>,
    /// Higher ones are served first.
    priority: i32,
    bytes: usize,
    /// The n-th waiting entry of a lane is served in the n-th round from now.
    round: u64,
    value: T,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue { entries: VecDeque::new(), next_ticket: 0, round: 0 }
    }
}

impl Bounds {
    /// A bound in number alone.
    pub fn entries(entries: usize) -> Bounds {
        Bounds { entries, bytes: usize::MAX }
    }
}

impl<T> FairQueue<T> {
    /// Takes out what has to give way for another entry of `lane`, so that the queue keeps its bounds: the last
    /// entries of the lane that has the most, of those the last one that `is_preferred`. Lanes that would then have less
    /// than the newcomer's give nothing. None: it does not fit, and nothing was taken out.
    pub fn make_room(
        &mut self,
        lane: &Arc<str>,
        bytes: usize,
        bounds: Bounds,
        is_preferred: impl Fn(&T) -> bool,
    ) -> Option<Vec<T>> {
        let mut displaced = Vec::new();
        let mut total = self.bytes();
        loop {
            // One goes for one that comes: the bound itself may have become lower.
            let is_full = displaced.is_empty() && self.entries.len() >= bounds.entries;
            if !is_full && total.saturating_add(bytes) <= bounds.bytes {
                break;
            }
            let share = |entry: &Entry<T>| if is_full { 1 } else { entry.bytes };
            let at = self.fullest(lane, if is_full { 1 } else { bytes }, &displaced, share, &is_preferred)?;
            total -= self.entries.get(at)?.bytes;
            displaced.push(at);
        }
        // From the back, so that the places of the others stay.
        displaced.sort_unstable_by_key(|at| Reverse(*at));
        Some(
            displaced.into_iter().filter_map(|at| self.entries.remove(at)).map(|entry| entry.value).collect(),
        )
    }

    /// Where the entry is that gives way first, among those that are not `gone`; none: no other lane has as much as
    /// `lane` with `more`.
    fn fullest(
        &self,
        lane: &Arc<str>,
        more: usize,
        gone: &[usize],
        share: impl Fn(&Entry<T>) -> usize,
        is_preferred: &impl Fn(&T) -> bool,
    ) -> Option<usize> {
        let rest = || self.entries.iter().enumerate().filter(|(at, _)| !gone.contains(at));
        let mut lanes: HashMap<&Arc<str>, (usize, u64)> = HashMap::new();
        for (_, entry) in rest() {
            let (all, newest) = lanes.entry(&entry.lane).or_default();
            *all += share(entry);
            *newest = entry.ticket.max(*newest);
        }
        let own = lanes.remove(lane).map_or(0, |(all, _)| all).saturating_add(more);
        let (fullest, (most, _)) = lanes.into_iter().max_by_key(|(_, share)| *share)?;
        if most < own {
            return None;
        }
        let of_fullest = || rest().filter(|(_, entry)| entry.lane == *fullest);
        let preferred = of_fullest().filter(|(_, entry)| is_preferred(&entry.value)).last();
        preferred.or_else(|| of_fullest().last()).map(|(at, _)| at)
    }

    /// Adds an entry of the caller `lane`; the ticket names it from then on. Higher priorities come
    /// first; among equals callers take turns.
    pub fn push(&mut self, lane: &Arc<str>, priority: i32, value: T) -> u64 {
        self.push_sized(lane, priority, 0, value)
    }

    /// The same for an entry that takes memory.
    pub fn push_sized(&mut self, lane: &Arc<str>, priority: i32, bytes: usize, value: T) -> u64 {
        let of_lane =
            |e: &&Entry<T>| e.priority == priority && (Arc::ptr_eq(&e.lane, lane) || e.lane == *lane);
        // Entries of a priority are in order of rounds, so the last one of the lane has its highest round.
        let behind = self.entries.iter().rev().find(of_lane).map(|e| e.round);
        let round = behind.unwrap_or(self.round) + 1;
        let before = |entry: &Entry<T>| {
            entry.priority > priority || (entry.priority == priority && entry.round <= round)
        };
        let at = self.entries.partition_point(before);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.entries.insert(at, Entry { ticket, lane: Arc::clone(lane), priority, bytes, round, value });
        ticket
    }

    /// Takes out whose turn it is.
    pub fn pop(&mut self) -> Option<T> {
        let entry = self.entries.pop_front()?;
        self.round = self.round.max(entry.round);
        Some(entry.value)
    }

    /// Takes out the entry with that ticket, if it still waits.
    pub fn remove(&mut self, ticket: u64) -> Option<T> {
        let at = self.entries.iter().position(|entry| entry.ticket == ticket)?;
        self.entries.remove(at).map(|entry| entry.value)
    }

    /// Takes out what `test` says, in order.
    pub fn take_if(&mut self, test: impl Fn(&T) -> bool) -> Vec<T> {
        let (out, keep) = self.entries.drain(..).partition::<VecDeque<_>, _>(|entry| test(&entry.value));
        self.entries = keep;
        out.into_iter().map(|entry| entry.value).collect()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that all entries take.
    pub fn bytes(&self) -> usize {
        self.entries.iter().map(|entry| entry.bytes).sum()
    }

    /// Returns whether the queue has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// From the first to be served.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }
}

#[cfg(test)]
mod tests;
