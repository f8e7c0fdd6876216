//! Who waits for a backend, in which order. Bounded, and fair between callers: each caller's
//! requests keep their order, and callers with waiting requests take turns. Knows nothing of what
//! is waited for.

use std::collections::VecDeque;
use std::sync::Arc;

/// Waiting entries, first to be served in front.
#[derive(Debug)]
pub struct FairQueue<T> {
    entries: VecDeque<Entry<T>>,
    next_ticket: u64,
    /// The round of the newest entry served. Whoever comes new stands in the round after it: turns
    /// not used are not saved up, and nobody is overtaken by a caller who was just served.
    round: u64,
}

#[derive(Debug)]
struct Entry<T> {
    ticket: u64,
    lane: Arc<str>,
    /// Higher ones are served first.
    priority: i32,
    /// The n-th waiting request of a caller stands in the n-th round from now.
    round: u64,
    value: T,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue { entries: VecDeque::new(), next_ticket: 0, round: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Adds an entry of the caller `lane`; the ticket names it from then on. Higher priorities come
    /// first; among equals callers take turns.
    pub fn push(&mut self, lane: &Arc<str>, priority: i32, value: T) -> u64 {
        let of_lane =
            |e: &&Entry<T>| e.priority == priority && (Arc::ptr_eq(&e.lane, lane) || e.lane == *lane);
        // In order of rounds within a priority, so the last of the lane stands in its highest round.
        let behind = self.entries.iter().rev().find(of_lane).map(|e| e.round);
        let round = behind.unwrap_or(self.round) + 1;
        let before = |entry: &Entry<T>| {
            entry.priority > priority || (entry.priority == priority && entry.round <= round)
        };
        let at = self.entries.partition_point(before);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.entries.insert(at, Entry { ticket, lane: Arc::clone(lane), priority, round, value });
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

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// From the first to be served.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(lanes: &[(&str, u32)]) -> FairQueue<u32> {
        let mut queue = FairQueue::default();
        for (lane, value) in lanes {
            queue.push(&Arc::from(*lane), 0, *value);
        }
        queue
    }

    fn all(mut queue: FairQueue<u32>) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn one_caller_is_served_in_order() {
        assert_eq!(all(queue(&[("a", 1), ("a", 2), ("a", 3)])), [1, 2, 3]);
    }

    #[test]
    fn callers_take_turns_however_many_requests_one_of_them_sends() {
        let mixed = queue(&[("a", 1), ("a", 2), ("a", 3), ("b", 10), ("c", 20), ("b", 11)]);
        assert_eq!(all(mixed), [1, 10, 20, 2, 11, 3]);
    }

    #[test]
    fn a_caller_who_comes_late_waits_one_round_at_most() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3)]);
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.pop(), Some(2));
        queue.push(&Arc::from("b"), 0, 10);
        assert_eq!(all(queue), [3, 10]);
    }

    #[test]
    fn a_caller_who_asks_again_at_once_does_not_overtake() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("b", 10)]);
        assert_eq!(queue.pop(), Some(1));
        assert_eq!(queue.pop(), Some(10));
        queue.push(&Arc::from("b"), 0, 11);
        assert_eq!(all(queue), [2, 11]);
    }

    #[test]
    fn who_matters_more_goes_first_and_among_those_callers_take_turns() {
        let mut queue = queue(&[("a", 1), ("a", 2)]);
        for (lane, value) in [("b", 10), ("b", 11), ("c", 20)] {
            queue.push(&Arc::from(lane), 5, value);
        }
        queue.push(&Arc::from("d"), -1, 30);
        assert_eq!(all(queue), [10, 20, 11, 1, 2, 30]);
    }

    #[test]
    fn whoever_leaves_frees_the_place_at_once() {
        let mut queue = FairQueue::default();
        let lane = Arc::from("a");
        let first = queue.push(&lane, 0, 1);
        queue.push(&lane, 0, 2);
        assert_eq!(queue.remove(first), Some(1));
        assert_eq!(queue.remove(first), None);
        assert_eq!(queue.len(), 1);
        assert_eq!(all(queue), [2]);
    }

    #[test]
    fn what_matches_is_taken_out_in_order() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3), ("a", 4)]);
        assert_eq!(queue.take_if(|value| value % 2 == 0), [2, 4]);
        assert_eq!(all(queue), [1, 3]);
    }
}
