//! How long one decision takes: 100 profiles of which some have to make way, 1,000 requests waiting; and with
//! fewer and more.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mlx_gateway::backends::FairQueue;
use mlx_gateway::backends::admission::{Resident, Room, Standing, decide};

const PROFILES: u64 = 100;
const OTHER_PROFILES: [u64; 2] = [10, 1_000];
const WAITERS: usize = 1_000;
const OTHER_WAITERS: [usize; 2] = [100, 10_000];
const CALLERS: usize = 50;
const GIB: u64 = 1 << 30;

/// Every other one idle, none alike.
fn residents(count: u64) -> Vec<Resident> {
    let resident = |n: u64| Resident {
        charge: GIB + n * 7_919,
        standing: Standing::Ready {
            age: Duration::from_secs(60 + n),
            idle: n.is_multiple_of(2).then(|| Duration::from_secs(n * 13 % 600)),
            reload: Duration::from_secs(2 + n * 7 % 40),
        },
        pinned: n.is_multiple_of(10),
    };
    (0..count).map(resident).collect()
}

fn queue(lanes: &[Arc<str>], count: usize) -> FairQueue<usize> {
    let mut queue = FairQueue::default();
    for n in 0..count {
        queue.push(&lanes[n % lanes.len()], (n % 3) as i32, n);
    }
    queue
}

/// Almost full.
fn room(profiles: u64) -> Room {
    Room {
        limit: profiles * GIB + 2 * GIB,
        available: Some(64 * GIB),
        critical: false,
        min_stay: Duration::from_secs(30),
    }
}

fn choosing(criterion: &mut Criterion) {
    let (residents, room) = (residents(PROFILES), room(PROFILES));
    criterion.bench_function("choose who makes way among 100 profiles", |bencher| {
        bencher.iter(|| decide(black_box(12 * GIB), black_box(&residents), black_box(&room)));
    });
    let lanes: Vec<Arc<str>> = (0..CALLERS).map(|n| Arc::from(format!("key-{n}"))).collect();
    criterion.bench_function("one turn in a queue of 1,000 requests", |bencher| {
        bencher.iter_batched_ref(
            || queue(&lanes, WAITERS),
            |queue| {
                let served = queue.pop();
                queue.push(&lanes[7], 1, WAITERS);
                served
            },
            BatchSize::LargeInput,
        );
    });
    criterion.bench_function("choose, with 100 profiles and 1,000 waiting", |bencher| {
        bencher.iter_batched_ref(
            || queue(&lanes, WAITERS),
            |queue| (queue.pop(), decide(black_box(12 * GIB), black_box(&residents), black_box(&room))),
            BatchSize::LargeInput,
        );
    });
}

fn growing(criterion: &mut Criterion) {
    for profiles in OTHER_PROFILES {
        let (residents, room) = (residents(profiles), room(profiles));
        criterion.bench_function(&format!("choose who makes way among {profiles} profiles"), |bencher| {
            bencher.iter(|| decide(black_box(12 * GIB), black_box(&residents), black_box(&room)));
        });
    }
    let lanes: Vec<Arc<str>> = (0..CALLERS).map(|n| Arc::from(format!("key-{n}"))).collect();
    for waiters in OTHER_WAITERS {
        criterion.bench_function(&format!("one turn in a queue of {waiters} requests"), |bencher| {
            bencher.iter_batched_ref(
                || queue(&lanes, waiters),
                |queue| {
                    let served = queue.pop();
                    queue.push(&lanes[7], 1, waiters);
                    served
                },
                BatchSize::LargeInput,
            );
        });
    }
}

criterion_group!(benches, choosing, growing);
criterion_main!(benches);
