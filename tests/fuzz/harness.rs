//! The harness: good bytes, changed by chance for as long as it was asked, and what fails made small.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use serde_json::Value;

/// Words that mean something to one parser or another.
const WORDS: [&str; 20] = [
    "\"", "\\", "\\u00", "\\ud83d", "{", "}", "[", "]", ",", ":", "null", "1e999", "\r\n", "\n\n", "data: ",
    "--B", "<think>", "</think>", "\u{0}", "\u{feff}",
];

/// A change of bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Cut(usize, usize),
    Copy(usize, usize, usize),
    Word(usize, usize),
    End(usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), 1..40_usize).prop_map(|(at, length)| Change::Cut(at, length)),
        (any::<usize>(), 1..200_usize, any::<usize>())
            .prop_map(|(at, length, to)| Change::Copy(at, length, to)),
        (any::<usize>(), 0..WORDS.len()).prop_map(|(at, word)| Change::Word(at, word)),
        any::<usize>().prop_map(Change::End),
    ]
}

fn changed(seed: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for change in changes {
        let place = |at: &usize| at % (bytes.len() + 1);
        match change {
            Change::Set(at, byte) => {
                let at = place(at);
                if let Some(old) = bytes.get_mut(at) {
                    *old = *byte;
                }
            }
            Change::Cut(at, length) => {
                let at = place(at);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Change::Copy(at, length, to) => {
                let (at, to) = (place(at), place(to));
                let part = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(to..to, part);
            }
            Change::Word(at, word) => {
                let at = place(at);
                bytes.splice(at..at, WORDS[*word].bytes());
            }
            Change::End(at) => bytes.truncate(place(at)),
        }
    }
    bytes
}

/// Where chance begins: at the same place each time, so that what fails has been changed, or anew where that is asked for.
fn beginning() -> u64 {
    match std::env::var_os("MLX_GATEWAY_FUZZ_ANEW") {
        Some(_) => u64::from(std::process::id()) << 32,
        None => 0,
    }
}

fn runner(round: u64) -> TestRunner {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&round.to_le_bytes());
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed))
}

/// Checks changed seeds until the time is over; what fails is made small and shown.
pub fn fuzz(seeds: &[&[u8]], check: impl Fn(&[u8], &[usize])) {
    let seconds =
        std::env::var("MLX_GATEWAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let seeds: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
    let inputs =
        (0..seeds.len(), prop::collection::vec(change(), 0..12), prop::collection::vec(1..64_usize, 1..6));
    let mut rounds = 0_u64;
    while rounds == 0 || Instant::now() < until {
        let found = runner(beginning() + rounds).run(&inputs, |(seed, changes, cuts)| {
            check(&changed(&seeds[seed], &changes), &cuts);
            Ok(())
        });
        if let Err(TestError::Fail(why, (seed, changes, cuts))) = found {
            let bytes = changed(&seeds[seed], &changes);
            panic!("{why}\ncut into {cuts:?}: {:?}", String::from_utf8_lossy(&bytes));
        }
        rounds += 1;
    }
}

/// The bytes in pieces of these sizes, again and again.
pub fn pieces<'a>(mut bytes: &'a [u8], cuts: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    cuts.iter().cycle().map_while(move |cut| {
        let (piece, rest) = bytes.split_at_checked(*cut).unwrap_or((bytes, &[]));
        bytes = rest;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What has to be JSON, but for what its grammar allows and few can hold: half a character, a number without end.
pub fn tree(bytes: &[u8]) -> Option<Value> {
    match serde_json::from_slice(bytes) {
        Ok(tree) => Some(tree),
        Err(error) => {
            let words = error.to_string();
            let known = ["hex escape", "surrogate", "number out of range"];
            assert!(
                known.iter().any(|known| words.contains(known)),
                "{words}: {}",
                String::from_utf8_lossy(bytes)
            );
            None
        }
    }
}
