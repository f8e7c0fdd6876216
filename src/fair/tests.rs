//! Order and capacity of fair queues, by tables and by chance.

use super::*;
use proptest::prelude::*;

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

/// Offers an entry; what gave way for it, or none: it was refused.
fn offer(
    queue: &mut FairQueue<u32>,
    bounds: Bounds,
    lane: &str,
    bytes: usize,
    value: u32,
) -> Option<Vec<u32>> {
    let lane = Arc::from(lane);
    let displaced = queue.make_room(&lane, bytes, bounds, |_| true)?;
    queue.push_sized(&lane, 0, bytes, value);
    Some(displaced)
}

#[test]
fn make_room_displaces_the_last_entry_of_the_lane_with_the_most() {
    let bounds = Bounds::entries(4);
    let mut full = queue(&[("a", 1), ("a", 2), ("a", 3), ("b", 10)]);
    assert_eq!(offer(&mut full, bounds, "b", 0, 11), Some(vec![3]));
    assert_eq!(offer(&mut full, bounds, "a", 0, 4), None, "both have two");
    assert_eq!(
        offer(&mut full, bounds, "c", 0, 20),
        Some(vec![11]),
        "the newer one of two lanes that have as many"
    );
    assert_eq!(offer(&mut full, bounds, "a", 0, 5), None, "it has the most itself");
    assert_eq!(offer(&mut full, bounds, "d", 0, 30), Some(vec![2]));
    assert_eq!(offer(&mut full, bounds, "e", 0, 40), Some(vec![30]));
    assert_eq!(all(full), [1, 10, 20, 40]);
    assert_eq!(offer(&mut FairQueue::default(), Bounds::entries(0), "a", 0, 1), None);
}

#[test]
fn make_room_prefers_entries_that_can_be_refused() {
    let mut full = queue(&[("a", 1), ("a", 2), ("a", 3)]);
    let room = |queue: &mut FairQueue<u32>, test: fn(&u32) -> bool| {
        queue.make_room(&Arc::from("b"), 0, Bounds::entries(3), test)
    };
    assert_eq!(room(&mut full, |value| *value < 3), Some(vec![2]));
    full.push(&Arc::from("a"), 0, 4);
    assert_eq!(room(&mut full, |_| false), Some(vec![4]), "or else the last one");
}

#[test]
fn make_room_displaces_bytes_of_the_lane_with_the_most() {
    let bounds = Bounds { entries: 10, bytes: 100 };
    let mut full = FairQueue::default();
    for (lane, bytes, value) in [("a", 50, 1), ("a", 10, 2), ("a", 10, 3), ("b", 30, 10)] {
        assert_eq!(offer(&mut full, bounds, lane, bytes, value), Some(vec![]));
    }
    assert_eq!(offer(&mut full, bounds, "b", 50, 11), None, "it would have more than the other");
    assert_eq!(offer(&mut full, bounds, "b", 20, 11), Some(vec![3, 2]));
    assert_eq!((full.bytes(), full.len()), (100, 3));
    assert_eq!(offer(&mut full, bounds, "c", 101, 20), None, "too large for an empty queue");
}

proptest! {
    /// Each step offers an entry of a lane or serves the next.
    #[test]
    fn no_lane_with_fewer_entries_is_refused_while_another_has_more(
        steps in prop::collection::vec((prop::option::weighted(0.8, 0_usize..5), -1..2_i32, any::<bool>()), 1..200),
        size in 1_usize..12,
    ) {
        let lanes: Vec<Arc<str>> = (0..5).map(|n| Arc::from(n.to_string())).collect();
        let mut queue = FairQueue::<(usize, bool)>::default();
        let counts = |queue: &FairQueue<(usize, bool)>| {
            (0..5).map(|lane| queue.iter().filter(|entry| entry.0 == lane).count()).collect::<Vec<_>>()
        };
        for (lane, priority, is_preferred) in steps {
            let Some(lane) = lane else {
                queue.pop();
                continue;
            };
            let before = counts(&queue);
            let most = before.iter().copied().max().unwrap_or(0);
            match queue.make_room(&lanes[lane], 0, Bounds::entries(size), |entry| entry.1) {
                None => {
                    prop_assert_eq!(before.iter().sum::<usize>(), size);
                    prop_assert_eq!(before[lane], most, "a lane with fewer was refused");
                    prop_assert_eq!(counts(&queue), before, "a refusal changes nothing");
                }
                Some(displaced) => {
                    let full = before.iter().sum::<usize>() == size;
                    prop_assert_eq!(displaced.len(), usize::from(full));
                    for (of, was_preferred) in displaced {
                        prop_assert!(of != lane && before[of] == most && before[of] > before[lane]);
                        let had = queue.iter().any(|entry| entry.0 == of && entry.1);
                        prop_assert!(was_preferred || !had, "one that can be refused goes first");
                    }
                    queue.push_sized(&lanes[lane], priority, 0, (lane, is_preferred));
                }
            }
            prop_assert!(queue.len() <= size);
        }
    }

    #[test]
    fn no_lane_is_refused_its_part_of_the_bytes(
        steps in prop::collection::vec((0_usize..4, 1_usize..60), 1..100),
    ) {
        let bounds = Bounds { entries: 1000, bytes: 100 };
        let lanes: Vec<Arc<str>> = (0..4).map(|n| Arc::from(n.to_string())).collect();
        let mut queue = FairQueue::<(usize, usize)>::default();
        let bytes = |queue: &FairQueue<(usize, usize)>, lane: usize| {
            queue.iter().filter(|entry| entry.0 == lane).map(|entry| entry.1).sum::<usize>()
        };
        for (lane, size) in steps {
            let before: Vec<usize> = (0..4).map(|lane| bytes(&queue, lane)).collect();
            match queue.make_room(&lanes[lane], size, bounds, |_| true) {
                None => {
                    prop_assert!(before[lane] + size > 100 / 4);
                    prop_assert_eq!((0..4).map(|lane| bytes(&queue, lane)).collect::<Vec<_>>(), before);
                }
                Some(_) => {
                    queue.push_sized(&lanes[lane], 0, size, (lane, size));
                    prop_assert!(bytes(&queue, lane) >= before[lane] + size, "nothing of its own gave way");
                }
            }
            prop_assert!(queue.bytes() <= 100);
            prop_assert_eq!(queue.bytes(), (0..4).map(|lane| bytes(&queue, lane)).sum::<usize>());
        }
    }
}
