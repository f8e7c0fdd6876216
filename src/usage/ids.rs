//! Ids of requests: UUIDv7, in the order of their making, without a system call each.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::{Builder, Uuid};

/// Makes ids. They name requests and are no secrets, so a mixed counter is random enough.
#[derive(Debug)]
pub(super) struct Ids {
    seed: u64,
    made: AtomicU64,
}

impl Ids {
    pub(super) fn new() -> Ids {
        // The standard library's hash keys are random per process.
        Ids { seed: RandomState::new().hash_one(std::process::id()), made: AtomicU64::new(0) }
    }

    pub(super) fn make(&self, unix_ms: i64) -> Uuid {
        let count = self.made.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0; 10];
        // Ids of one millisecond sort as they were made: the counter comes right after the time.
        bytes[..2].copy_from_slice(&(count as u16 & 0x0fff).to_be_bytes());
        bytes[2..].copy_from_slice(&mix(self.seed.wrapping_add(count)).to_be_bytes());
        Builder::from_unix_timestamp_millis(u64::try_from(unix_ms).unwrap_or(0), &bytes).into_uuid()
    }
}

/// The time that an id of version 7 carries, in milliseconds since 1970.
pub(super) fn unix_ms(id: Uuid) -> Option<i64> {
    (id.get_version_num() == 7).then(|| (id.as_u128() >> 80) as i64)
}

/// SplitMix64: a bijection, so that two counts never meet.
fn mix(count: u64) -> u64 {
    let mut z = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_millisecond_differ_and_sort_as_they_were_made() {
        let ids = Ids::new();
        let made: Vec<Uuid> = (0..4000).map(|_| ids.make(1_750_000_000_123)).collect();
        assert!(made.is_sorted());
        assert!(made.windows(2).all(|pair| pair[0] != pair[1]));
        assert_eq!((made[0].get_version_num(), unix_ms(made[0])), (7, Some(1_750_000_000_123)));
    }

    #[test]
    fn two_processes_make_different_ids() {
        assert_ne!(Ids::new().make(1), Ids::new().make(1));
    }
}
