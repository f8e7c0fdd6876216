//! How long one decision takes: 100 profiles of which some have to make way, 1,000 requests waiting.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use mlx_gateway::backends::FairQueue;
use mlx_gateway::backends::admission::{Resident, Room, Standing, decide};

const PROFILES: u64 = 100;
const WAITERS: usize = 1_000;
const CALLERS: usize = 50;
const GIB: u64 = 1 << 30;

/// Every other one idle, none alike.
fn residents() -> Vec<Resident> {
    let resident = |n: u64| Resident {
        charge: GIB + n * 7_919,
        standing: Standing::Ready {
            age: Duration::from_secs(60 + n),
            idle: n.is_multiple_of(2).then(|| Duration::from_secs(n * 13 % 600)),
            reload: Duration::from_secs(2 + n * 7 % 40),
        },
        pinned: n.is_multiple_of(10),
    };
    (0..PROFILES).map(resident).collect()
}

fn queue(lanes: &[Arc<str>]) -> FairQueue<usize> {
    let mut queue = FairQueue::default();
    for n in 0..WAITERS {
        queue.push(&lanes[n % lanes.len()], (n % 3) as i32, n);
    }
    queue
}

fn choosing(criterion: &mut Criterion) {
    let residents = residents();
    let room = Room {
        limit: PROFILES * GIB + 2 * GIB,
        available: Some(64 * GIB),
        critical: false,
        min_stay: Duration::from_secs(30),
    };
    criterion.bench_function("choose who makes way among 100 profiles", |bencher| {
        bencher.iter(|| decide(black_box(12 * GIB), black_box(&residents), black_box(&room)));
    });
    let lanes: Vec<Arc<str>> = (0..CALLERS).map(|n| Arc::from(format!("key-{n}"))).collect();
    criterion.bench_function("one turn in a queue of 1,000 requests", |bencher| {
        bencher.iter_batched_ref(
            || queue(&lanes),
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
            || queue(&lanes),
            |queue| (queue.pop(), decide(black_box(12 * GIB), black_box(&residents), black_box(&room))),
            BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, choosing);
criterion_main!(benches);
