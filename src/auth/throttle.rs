//! The rate of failed log-ins, by device, account and address. No number of failures locks an account: they slow
//! down their sender at the same address, and a browser that has logged in before has a limit of its own.

use std::net::IpAddr;
use std::time::Duration;

use super::buckets::{Buckets, Limit, Name};

/// Failures of one account from one address, and of one known device.
pub const PER_PAIR: Limit = Limit { burst: 10, every: Duration::from_secs(30) };
/// Failures from one address (IPv4) or /64 network (IPv6), whichever accounts they name.
pub const PER_ADDRESS: Limit = Limit { burst: 30, every: Duration::from_secs(10) };
/// Failures from one /48 network (IPv6).
pub const PER_NETWORK: Limit = Limit { burst: 120, every: Duration::from_millis(2_500) };
/// Failures of one account from all unknown devices together.
pub const PER_ACCOUNT: Limit = Limit { burst: 100, every: Duration::from_secs(3) };
/// Names of unknown devices; 64 bytes each.
const NAMES_MAX: usize = 20_000;
/// Names of known devices. They have room of their own, so that no flood of others refuses them.
const DEVICES_MAX: usize = 5_000;

/// Who tries to log in.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The account that is named; none: only the address counts.
    pub account: Option<&'a str>,
    pub address: IpAddr,
    /// A browser that has logged in to this account before.
    pub device: Option<&'a str>,
}

/// Counts failures.
#[derive(Debug)]
pub struct Throttle {
    strangers: Buckets,
    devices: Buckets,
}

impl Default for Throttle {
    fn default() -> Throttle {
        Throttle { strangers: Buckets::new(NAMES_MAX), devices: Buckets::new(DEVICES_MAX) }
    }
}

impl Throttle {
    /// Counts a failure, or returns how long to wait. It counts until [`Throttle::succeeded`], so that attempts
    /// at the same time are bounded too.
    pub fn begin(&mut self, attempt: &Attempt<'_>, at: Duration) -> Result<(), Duration> {
        match attempt.device {
            Some(device) => self.devices.take(&[(device_name(device), PER_PAIR)], at),
            None => self.strangers.take(&names(attempt), at),
        }
    }

    /// Takes the failure back that [`Throttle::begin`] counted.
    pub fn succeeded(&mut self, attempt: &Attempt<'_>) {
        if let Some(device) = attempt.device {
            return self.devices.fill(&device_name(device));
        }
        for (name, limit) in names(attempt) {
            if limit == PER_PAIR { self.strangers.fill(&name) } else { self.strangers.put_back(&name) }
        }
    }
}

fn device_name(device: &str) -> Name {
    Name::of(&[b"device", device.as_bytes()])
}

fn names(attempt: &Attempt<'_>) -> Vec<(Name, Limit)> {
    let (address, network) = networks(attempt.address);
    let mut names = vec![(Name::of(&[b"address", &address]), PER_ADDRESS)];
    names.extend(network.map(|network| (Name::of(&[b"network", &network]), PER_NETWORK)));
    if let Some(account) = attempt.account {
        let account = account.as_bytes();
        names.push((Name::of(&[b"pair", account, &address]), PER_PAIR));
        names.push((Name::of(&[b"account", account]), PER_ACCOUNT));
    }
    names
}

/// Returns what an address is counted by: itself for IPv4, its /64 and its /48 for IPv6, of which one customer
/// has all addresses.
pub fn networks(address: IpAddr) -> (Vec<u8>, Option<Vec<u8>>) {
    match address.to_canonical() {
        IpAddr::V4(address) => (address.octets().to_vec(), None),
        IpAddr::V6(address) => {
            let octets = address.octets();
            (octets[..8].to_vec(), Some(octets[..6].to_vec()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn attempt<'a>(account: &'a str, address: &str, device: Option<&'a str>) -> Attempt<'a> {
        Attempt { account: Some(account), address: address.parse().unwrap(), device }
    }

    #[test]
    fn failures_slow_down_their_address_and_not_the_owner_elsewhere() {
        let mut throttle = Throttle::default();
        let guess = attempt("a@b.c", "10.0.0.1", None);
        for _ in 0..PER_PAIR.burst {
            assert_eq!(throttle.begin(&guess, at(0)), Ok(()));
        }
        assert_eq!(throttle.begin(&guess, at(10)), Err(at(20)));
        assert_eq!(throttle.begin(&attempt("a@b.c", "10.0.0.2", None), at(10)), Ok(()));
        assert_eq!(throttle.begin(&attempt("other@b.c", "10.0.0.1", None), at(10)), Ok(()));
        assert_eq!(throttle.begin(&guess, at(30)), Ok(()), "one more each half minute");
    }

    #[test]
    fn a_known_device_is_let_through_from_the_address_of_the_guesses() {
        let mut throttle = Throttle::default();
        while throttle.begin(&attempt("a@b.c", "10.0.0.1", None), at(0)).is_ok() {}
        let known = attempt("a@b.c", "10.0.0.1", Some("browser"));
        for _ in 0..PER_PAIR.burst {
            assert_eq!(throttle.begin(&known, at(0)), Ok(()));
        }
        assert!(throttle.begin(&known, at(0)).is_err(), "a stolen device guesses no faster");
        assert_eq!(throttle.begin(&attempt("a@b.c", "10.0.0.1", Some("another")), at(0)), Ok(()));
    }

    #[test]
    fn many_addresses_together_guess_at_one_account_slowly() {
        let mut throttle = Throttle::default();
        let mut let_through = 0;
        for second in 0..300 {
            for n in 0..20 {
                let address = format!("10.{n}.{}.{}", second / 250, second % 250);
                let_through +=
                    u32::from(throttle.begin(&attempt("a@b.c", &address, None), at(second)).is_ok());
            }
        }
        assert_eq!(let_through, PER_ACCOUNT.burst + 99);
        assert_eq!(throttle.begin(&attempt("a@b.c", "10.99.0.1", Some("browser")), at(299)), Ok(()));
    }

    #[test]
    fn an_address_waits_whichever_accounts_it_tries() {
        let mut throttle = Throttle::default();
        for n in 0..PER_ADDRESS.burst {
            assert_eq!(throttle.begin(&attempt(&format!("{n}@b.c"), "10.0.0.1", None), at(0)), Ok(()));
        }
        assert_eq!(throttle.begin(&attempt("new@b.c", "10.0.0.1", None), at(1)), Err(at(9)));
        assert_eq!(throttle.begin(&attempt("new@b.c", "::ffff:10.0.0.1", None), at(1)), Err(at(9)));
        assert_eq!(throttle.begin(&attempt("new@b.c", "10.0.0.2", None), at(1)), Ok(()));
    }

    #[test]
    fn ipv6_addresses_count_by_their_networks() {
        let mut throttle = Throttle::default();
        let mut let_through = |range: std::ops::Range<u32>, make: &dyn Fn(u32) -> String| {
            range
                .filter(|n| throttle.begin(&attempt(&format!("{n}@b.c"), &make(*n), None), at(0)).is_ok())
                .count()
        };
        assert_eq!(let_through(0..200, &|n| format!("2001:db8:1:1::{n:x}")), 30, "one /64");
        assert_eq!(let_through(200..600, &|n| format!("2001:db8:1:{n:x}::1")), 90, "one /48");
        assert_eq!(let_through(600..601, &|n| format!("2001:db8:{n:x}::1")), 1);
    }

    #[test]
    fn successes_cost_nothing() {
        let mut throttle = Throttle::default();
        for device in [None, Some("browser")] {
            let attempt = attempt("a@b.c", "2001:db8::1", device);
            for _ in 0..1000 {
                assert_eq!(throttle.begin(&attempt, at(0)), Ok(()));
                throttle.succeeded(&attempt);
            }
        }
    }

    #[test]
    fn a_flood_of_names_does_not_free_a_limited_address() {
        let mut throttle = Throttle::default();
        let guess = attempt("a@b.c", "10.0.0.1", None);
        while throttle.begin(&guess, at(0)).is_ok() {}
        for n in 0..30_000_u32 {
            let address = format!("11.{}.{}.{}", n >> 16, (n >> 8) & 255, n & 255);
            throttle.begin(&attempt(&format!("{n}@b.c"), &address, None), at(0)).unwrap();
        }
        assert!(throttle.begin(&guess, at(1)).is_err());
    }
}
