//! A number of places that callers hold for a while. Who finds none waits in a queue that is fair between callers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::{Bounds, FairQueue};

/// Places, and those who wait for one.
#[derive(Debug, Clone)]
pub struct Places(Arc<Inner>);

/// A place; dropped, the next one gets it.
#[derive(Debug)]
pub struct Place(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Most who wait.
    waiting_max: usize,
}

#[derive(Debug)]
struct State {
    free: usize,
    waiting: FairQueue<oneshot::Sender<Place>>,
}

/// One who waits; dropped, it does so no longer.
struct Waiting<'a> {
    inner: &'a Inner,
    ticket: u64,
    place: oneshot::Receiver<Place>,
}

impl Places {
    /// So many places, and so many who may wait for one.
    pub fn new(places: usize, waiting_max: usize) -> Places {
        let state = State { free: places, waiting: FairQueue::default() };
        Places(Arc::new(Inner { state: Mutex::new(state), waiting_max }))
    }

    /// A place, once it is this caller's turn. None: too many wait, and this caller has most of them.
    pub async fn enter(&self, lane: &Arc<str>) -> Option<Place> {
        let waiting = {
            let mut state = self.0.state();
            if state.free > 0 {
                state.free -= 1;
                return Some(Place(Some(Arc::clone(&self.0))));
            }
            let bounds = Bounds::entries(self.0.waiting_max);
            let displaced = state.waiting.make_room(lane, 0, bounds, |_| true)?;
            // Their senders go, and so they get no place.
            drop(displaced);
            let (sender, place) = oneshot::channel();
            let ticket = state.waiting.push(lane, 0, sender);
            Waiting { inner: &self.0, ticket, place }
        };
        waiting.place().await
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    async fn place(mut self) -> Option<Place> {
        (&mut self.place).await.ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.inner.state().waiting.remove(self.ticket);
        drop(left);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        let mut state = inner.state();
        while let Some(next) = state.waiting.pop() {
            match next.send(Place(Some(Arc::clone(&inner)))) {
                Ok(()) => return,
                // It has left; its place goes to the next one here, not by its drop.
                Err(mut place) => place.0 = None,
            }
        }
        state.free += 1;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn lane(name: &str) -> Arc<str> {
        Arc::from(name)
    }

    #[tokio::test]
    async fn places_go_round_between_callers_and_the_one_with_the_most_gives_way() {
        let places = Places::new(1, 3);
        let (a, b) = (lane("a"), lane("b"));
        let first = places.enter(&a).await.unwrap();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(places.enter(&a))).collect();
        assert!(waiting.iter_mut().all(|one| one.as_mut().now_or_never().is_none()));
        assert!(places.enter(&a).now_or_never().unwrap().is_none(), "it has the most");
        let mut other = Box::pin(places.enter(&b));
        assert!(other.as_mut().now_or_never().is_none());
        let last = waiting.pop().unwrap();
        assert!(last.now_or_never().unwrap().is_none(), "its place in the queue went to the other");
        drop(first);
        let second = waiting.remove(0).await.unwrap();
        drop(second);
        let third = other.await.unwrap();
        drop((third, waiting));
        assert!(places.enter(&b).now_or_never().unwrap().is_some(), "all places are free again");
    }

    #[tokio::test]
    async fn a_place_is_not_lost_with_one_who_left() {
        let places = Places::new(1, 3);
        let a = lane("a");
        let first = places.enter(&a).await.unwrap();
        let mut left = Box::pin(places.enter(&a));
        assert!(left.as_mut().now_or_never().is_none());
        drop(first);
        drop(left);
        assert!(places.enter(&lane("b")).now_or_never().unwrap().is_some());
    }
}
