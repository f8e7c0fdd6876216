//! Token buckets by name, in bounded memory. A name is a digest, so that its size does not depend on what a
//! client sent; a bucket that is empty is never forgotten to make room for another.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest, Sha256};

/// Interval at which full buckets are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// A bucket's name: the first half of a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name([u8; 16]);

/// Size of a bucket, and the interval at which it gains a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub burst: u32,
    pub every: Duration,
}

/// Buckets that are not full. Instants are durations since a start of the caller's choice.
#[derive(Debug)]
pub struct Buckets {
    buckets: HashMap<Name, Bucket>,
    max: usize,
    swept: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    limit: Limit,
    /// Instant at which it is full again.
    full_at: Duration,
}

impl Name {
    /// Returns the name of these parts; parts of different lengths never share a name.
    pub fn of(parts: &[&[u8]]) -> Name {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let mut name = [0; 16];
        name.copy_from_slice(&digest.finalize()[..16]);
        Name(name)
    }
}

impl Bucket {
    /// Returns the time until it has a token; zero: it has one.
    fn wait(&self, at: Duration) -> Duration {
        let capacity = self.limit.every.saturating_mul(self.limit.burst);
        (self.full_at.max(at) + self.limit.every).saturating_sub(capacity).saturating_sub(at)
    }

    fn used(&self, at: Duration) -> f64 {
        let capacity = self.limit.every.saturating_mul(self.limit.burst);
        self.full_at.saturating_sub(at).as_secs_f64() / capacity.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

impl Buckets {
    /// Returns an empty map that holds at most `max` buckets.
    pub fn new(max: usize) -> Buckets {
        Buckets { buckets: HashMap::new(), max, swept: Duration::ZERO }
    }

    /// Takes one token of each bucket, or none of any and returns how long to wait.
    pub fn take(&mut self, names: &[(Name, Limit)], at: Duration) -> Result<(), Duration> {
        let waits = names.iter().filter_map(|(name, _)| Some(self.buckets.get(name)?.wait(at)));
        if let Some(wait) = waits.max().filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        self.make_room(names, at)?;
        for (name, limit) in names {
            let bucket = self.buckets.entry(*name).or_insert(Bucket { limit: *limit, full_at: at });
            bucket.full_at = bucket.full_at.max(at) + limit.every;
        }
        Ok(())
    }

    /// Gives a token back.
    pub fn put_back(&mut self, name: &Name) {
        if let Some(bucket) = self.buckets.get_mut(name) {
            bucket.full_at = bucket.full_at.saturating_sub(bucket.limit.every);
        }
    }

    /// Fills a bucket.
    pub fn fill(&mut self, name: &Name) {
        self.buckets.remove(name);
    }

    /// Forgets full buckets now and then, and the fuller half of those with tokens when there are too many.
    fn make_room(&mut self, names: &[(Name, Limit)], at: Duration) -> Result<(), Duration> {
        let needed = names.iter().filter(|(name, _)| !self.buckets.contains_key(name)).count();
        let is_full = |buckets: &HashMap<Name, Bucket>| buckets.len() + needed > self.max;
        if is_full(&self.buckets) || at.saturating_sub(self.swept) >= SWEEP {
            self.swept = at;
            self.buckets.retain(|_, bucket| bucket.full_at > at);
        }
        if !is_full(&self.buckets) {
            return Ok(());
        }
        let asked = |name: &Name| names.iter().any(|(asked, _)| asked == name);
        let evictable = |name: &Name, bucket: &Bucket| bucket.wait(at).is_zero() && !asked(name);
        let mut used: Vec<f64> = self
            .buckets
            .iter()
            .filter(|(name, bucket)| evictable(name, bucket))
            .map(|(_, bucket)| bucket.used(at))
            .collect();
        if !used.is_empty() {
            let middle = used.len() / 2;
            let (_, median, _) = used.select_nth_unstable_by(middle, f64::total_cmp);
            let median = *median;
            self.buckets.retain(|name, bucket| !evictable(name, bucket) || bucket.used(at) > median);
        }
        if is_full(&self.buckets) { Err(SWEEP) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit { burst: 2, every: Duration::from_secs(10) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn name(n: u64) -> Name {
        Name::of(&[&n.to_le_bytes()])
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_one_token_per_interval() {
        let mut buckets = Buckets::new(10);
        let mut take = |seconds| buckets.take(&[(name(1), LIMIT)], at(seconds));
        assert_eq!((take(100), take(100), take(100)), (Ok(()), Ok(()), Err(at(10))));
        assert_eq!((take(104), take(110), take(110)), (Err(at(6)), Ok(()), Err(at(10))));
        assert_eq!(
            (take(500), take(500), take(500)),
            (Ok(()), Ok(()), Err(at(10))),
            "no more than its burst"
        );
    }

    #[test]
    fn nothing_is_taken_where_one_of_several_buckets_is_empty() {
        let mut buckets = Buckets::new(10);
        for _ in 0..2 {
            buckets.take(&[(name(1), LIMIT)], at(0)).unwrap();
        }
        assert_eq!(buckets.take(&[(name(1), LIMIT), (name(2), LIMIT)], at(0)), Err(at(10)));
        assert!(!buckets.buckets.contains_key(&name(2)));
    }

    #[test]
    fn an_empty_bucket_is_not_forgotten_for_others() {
        let mut buckets = Buckets::new(100);
        for _ in 0..2 {
            buckets.take(&[(name(0), LIMIT)], at(0)).unwrap();
        }
        for n in 1..100_000 {
            buckets.take(&[(name(n), LIMIT)], at(1)).unwrap();
            assert!(buckets.buckets.len() <= 100);
        }
        assert!(buckets.take(&[(name(0), LIMIT)], at(1)).is_err());
    }

    #[test]
    fn a_map_of_empty_buckets_refuses_new_names() {
        let mut buckets = Buckets::new(3);
        for n in 0..3 {
            for _ in 0..2 {
                buckets.take(&[(name(n), LIMIT)], at(0)).unwrap();
            }
        }
        assert_eq!(buckets.take(&[(name(9), LIMIT)], at(0)), Err(SWEEP));
        assert_eq!(buckets.take(&[(name(9), LIMIT)], at(30)), Ok(()), "they have filled again");
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let mut buckets = Buckets::new(1_000);
        for n in 0..100 {
            buckets.take(&[(name(n), LIMIT)], at(0)).unwrap();
        }
        buckets.take(&[(name(500), LIMIT)], at(100)).unwrap();
        assert_eq!(buckets.buckets.len(), 1);
    }
}
