//! What has to happen so that one more backend fits into memory. Pure: figures in, a decision out.
//! Knows no process and no queue.
//!
//! | what is in the way                | what happens                                            |
//! |-----------------------------------|---------------------------------------------------------|
//! | nothing                           | it starts                                               |
//! | the limit itself, or pinned ones  | it is refused: waiting would not help                   |
//! | another start, an end under way   | it waits                                                |
//! | idle ones                         | the least valuable of them stop                         |
//! | idle ones that have just started  | it waits until they have stayed for `min_stay`          |
//! | busy ones                         | they take no more requests, finish, and make way        |
//! | critical pressure                 | it waits                                                |

use std::time::Duration;

/// A backend that holds memory, or is about to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resident {
    /// Bytes: what it is expected to need, or what it was seen to use if that is more.
    pub charge: u64,
    pub standing: Standing,
    pub pinned: bool,
}

/// How far a backend is, as far as making room depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its memory grows and cannot be measured yet.
    Starting,
    Ready {
        /// Since it became ready.
        age: Duration,
        /// Since its last request left; none while it has requests, inside or waiting.
        idle: Option<Duration>,
        /// How long it took to load.
        reload: Duration,
    },
    /// It is draining or stopping and gives its memory back.
    Leaving,
}

/// What there is to share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Room {
    /// Bytes that all backends may use together.
    pub limit: u64,
    /// Bytes that the machine has left; none where that is not known or no longer waited for.
    pub available: Option<u64>,
    /// Memory is so short that nothing may start.
    pub critical: bool,
    /// How long a backend that became ready is left alone.
    pub min_stay: Duration,
}

/// What becomes of a start: it goes ahead, others go first, it waits, or it can never fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    Start,
    /// These idle ones stop, by their place in the list.
    Stop(Vec<usize>),
    /// These busy ones let nobody else in, and stop when they are empty.
    Yield(Vec<usize>),
    Wait(Hold),
    Refuse(Shortage),
}

/// What a start waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Others are before it.
    Turn,
    /// Another backend starts.
    Starting,
    /// Backends that stop have not given everything back.
    Leaving,
    /// Backends that were just started stay that much longer.
    Stay(Duration),
    /// The budget has room, the machine has not.
    NotSeen,
    Pressure,
}

/// Why it can never fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage {
    pub need: u64,
    pub limit: u64,
    /// Of the limit, what pinned backends hold.
    pub pinned: u64,
}

/// Whether a backend that needs `need` bytes may start beside `residents`.
pub fn decide(need: u64, residents: &[Resident], room: &Room) -> Decision {
    if let Some(shortage) = never_fits(need, residents, room.limit) {
        return Decision::Refuse(shortage);
    }
    if room.critical {
        return Decision::Wait(Hold::Pressure);
    }
    if residents.iter().any(|resident| resident.standing == Standing::Starting) {
        return Decision::Wait(Hold::Starting);
    }
    let used = sum(residents.iter());
    let over_limit = used.saturating_add(need).saturating_sub(room.limit);
    let unseen = room.available.map_or(0, |available| need.saturating_sub(available));
    let short = over_limit.max(unseen);
    if short == 0 {
        return Decision::Start;
    }
    let leaving = sum(residents.iter().filter(|resident| resident.standing == Standing::Leaving));
    if leaving > 0 && leaving >= short {
        return Decision::Wait(Hold::Leaving);
    }
    make_way(short - leaving, residents, room).unwrap_or({
        let hold = if leaving > 0 { Hold::Leaving } else { Hold::NotSeen };
        Decision::Wait(hold)
    })
}

/// Set when no patience helps.
pub fn never_fits(need: u64, residents: &[Resident], limit: u64) -> Option<Shortage> {
    let stays = |resident: &&Resident| resident.pinned && resident.standing != Standing::Leaving;
    let pinned = sum(residents.iter().filter(stays));
    (need > 0 && need.saturating_add(pinned) > limit).then_some(Shortage { need, limit, pinned })
}

/// The idle backend that is missed least, for when memory is critical.
pub fn least_valuable(residents: &[Resident]) -> Option<usize> {
    by_value(residents, |standing| idle_for(standing).is_some()).into_iter().next()
}

fn make_way(short: u64, residents: &[Resident], room: &Room) -> Option<Decision> {
    let aged = |standing: &Standing| age_of(standing).is_some_and(|age| age >= room.min_stay);
    let idle = |standing: &Standing| idle_for(standing).is_some();
    let old_idle = by_value(residents, |standing| idle(standing) && aged(standing));
    if let Some(chosen) = enough(short, residents, &old_idle) {
        return Some(Decision::Stop(chosen));
    }
    let all_idle = by_value(residents, idle);
    if enough(short, residents, &all_idle).is_some() {
        return Some(Decision::Wait(stay(residents, &all_idle, room)));
    }
    // What idle ones hold is there for the taking once the busy ones have made way.
    let from_idle: u64 = all_idle.iter().filter_map(|at| residents.get(*at)).map(|r| r.charge).sum();
    let busy = by_value(residents, |standing| age_of(standing).is_some() && !idle(standing));
    let old_busy: Vec<usize> = busy.iter().copied().filter(|at| is(residents, *at, aged)).collect();
    if let Some(chosen) = enough(short.saturating_sub(from_idle), residents, &old_busy) {
        return Some(Decision::Yield(chosen));
    }
    enough(short.saturating_sub(from_idle), residents, &busy)
        .map(|_| Decision::Wait(stay(residents, &busy, room)))
}

/// The first of `order` that hold enough together, without those that turn out not to be needed.
fn enough(short: u64, residents: &[Resident], order: &[usize]) -> Option<Vec<usize>> {
    let charge = |at: &usize| residents.get(*at).map_or(0, |resident| resident.charge);
    let mut chosen = Vec::new();
    let mut freed: u64 = 0;
    for at in order {
        if freed >= short {
            break;
        }
        chosen.push(*at);
        freed = freed.saturating_add(charge(at));
    }
    if freed < short || chosen.is_empty() {
        return None;
    }
    for place in (0..chosen.len()).rev() {
        let spared = chosen.get(place).map_or(0, charge);
        if freed - spared >= short {
            chosen.remove(place);
            freed -= spared;
        }
    }
    Some(chosen)
}

/// Ready ones that may go and match, the least missed first: quick to load again, long not used.
fn by_value(residents: &[Resident], matches: impl Fn(&Standing) -> bool) -> Vec<usize> {
    let ready = |resident: &Resident| !resident.pinned && matches(&resident.standing);
    let mut order: Vec<(f64, usize)> = residents
        .iter()
        .enumerate()
        .filter(|(_, resident)| ready(resident) && resident.charge > 0)
        .map(|(at, resident)| (value(&resident.standing), at))
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    order.into_iter().map(|(_, at)| at).collect()
}

/// Seconds of loading that a stop costs, for each second that nobody asked for it. Among busy ones,
/// whoever had its turn longest makes way.
fn value(standing: &Standing) -> f64 {
    match standing {
        Standing::Ready { idle: Some(idle), reload, .. } => {
            (1.0 + reload.as_secs_f64()) / (1.0 + idle.as_secs_f64())
        }
        Standing::Ready { age, .. } => -age.as_secs_f64(),
        Standing::Starting | Standing::Leaving => f64::INFINITY,
    }
}

/// How long until one of those may be asked to go that may not yet.
fn stay(residents: &[Resident], which: &[usize], room: &Room) -> Hold {
    let left = which
        .iter()
        .filter_map(|at| age_of(&residents.get(*at)?.standing))
        .map(|age| room.min_stay.saturating_sub(age))
        .filter(|left| !left.is_zero());
    Hold::Stay(left.min().unwrap_or(room.min_stay))
}

fn is(residents: &[Resident], at: usize, test: impl Fn(&Standing) -> bool) -> bool {
    residents.get(at).is_some_and(|resident| test(&resident.standing))
}

fn idle_for(standing: &Standing) -> Option<Duration> {
    match standing {
        Standing::Ready { idle, .. } => *idle,
        Standing::Starting | Standing::Leaving => None,
    }
}

fn age_of(standing: &Standing) -> Option<Duration> {
    match standing {
        Standing::Ready { age, .. } => Some(*age),
        Standing::Starting | Standing::Leaving => None,
    }
}

fn sum<'a>(residents: impl Iterator<Item = &'a Resident>) -> u64 {
    residents.fold(0, |sum, resident| sum.saturating_add(resident.charge))
}

#[cfg(test)]
mod tests;
