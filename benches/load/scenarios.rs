//! What is measured: each scenario as data, and who takes part in it.

use crate::generator::Expect;
use crate::servers::gateway::{MLX_PROFILE, URL_PROFILE};
use crate::traffic::{BodyKind, StreamPlan};

/// The id of the scenario without traffic.
pub const START: &str = "start";

pub struct Scenario {
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    pub targets: &'static [Target],
    pub work: Work,
}

/// What CPU time and throughput are divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    Request,
    Chunk,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Direct,
    Nginx,
    /// hyper's parts put together plainly; takes part with `--naive`.
    Naive,
    /// The gateway with `engine = "url"`.
    Gateway,
    /// The same, asked with a key of an account.
    Keyed,
    /// The same, asked with such a key that has limits and budgets.
    Limited,
    /// The gateway with `engine = "mlx-openai-server"`: its stream repaired.
    Repaired,
    /// The same, asked for no stream.
    Aggregated,
}

/// What one run does.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    pub body: BodyKind,
    pub plan: Option<StreamPlan>,
    pub connections: usize,
    /// Requests a connection; 0: until the time is over.
    pub requests: usize,
    pub seconds: f64,
    pub pause_ms: u64,
    pub warm_up: usize,
    pub measure_memory: bool,
}

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Unit::Request => "request",
            Unit::Chunk => "chunk",
        }
    }
}

impl Target {
    pub fn name(self) -> &'static str {
        match self {
            Target::Direct => "direct",
            Target::Nginx => "nginx",
            Target::Naive => "naive hyper",
            Target::Gateway => "gateway",
            Target::Keyed => "gateway, key without limits",
            Target::Limited => "gateway, limited key",
            Target::Repaired => "gateway, mlx repaired",
            Target::Aggregated => "gateway, mlx aggregated",
        }
    }

    /// The model a request names.
    pub fn model(self) -> &'static str {
        match self {
            Target::Repaired | Target::Aggregated => MLX_PROFILE,
            _ => URL_PROFILE,
        }
    }

    pub fn expect(self) -> Expect {
        match self {
            Target::Repaired => Expect::Repaired,
            Target::Aggregated => Expect::Aggregated,
            _ => Expect::Same,
        }
    }
}

const EVERYBODY: &[Target] = &[Target::Direct, Target::Nginx, Target::Naive, Target::Gateway];
const WITH_REPAIR: &[Target] =
    &[Target::Direct, Target::Nginx, Target::Naive, Target::Gateway, Target::Repaired];

/// All scenarios but the start, which is no traffic, or those that grow; shorter ones when `quick`.
pub fn all(quick: bool, growth: bool) -> Vec<Scenario> {
    let seconds = if quick { 1.0 } else { 2.0 };
    let base = Work {
        body: BodyKind::Small,
        plan: None,
        connections: 16,
        requests: 0,
        seconds,
        pause_ms: 0,
        warm_up: 20,
        measure_memory: false,
    };
    if growth {
        return super::growth::all(base);
    }
    let mut scenarios = whole_answers(base);
    scenarios.extend(streams(base, quick));
    scenarios
}

fn whole_answers(base: Work) -> Vec<Scenario> {
    let large = Work { connections: 8, warm_up: 3, ..base };
    vec![
        Scenario {
            id: "small",
            title: "non-streamed chat completion, 16 connections",
            unit: Unit::Request,
            targets: EVERYBODY,
            work: base,
        },
        Scenario {
            id: "limited",
            title: "the same with a key that has rates and budgets, beside one that has none",
            unit: Unit::Request,
            targets: &[Target::Keyed, Target::Limited],
            work: base,
        },
        Scenario {
            id: "large-first",
            title: "1 MB body with an image, `model` first, 8 connections",
            unit: Unit::Request,
            targets: EVERYBODY,
            work: Work { body: BodyKind::LargeModelFirst, ..large },
        },
        Scenario {
            id: "large-last",
            title: "1 MB body with an image, `model` last, 8 connections",
            unit: Unit::Request,
            targets: EVERYBODY,
            work: Work { body: BodyKind::LargeModelLast, ..large },
        },
    ]
}

fn streams(base: Work, quick: bool) -> Vec<Scenario> {
    let plan = |chunks, interval_us, batch| Some(StreamPlan { chunks, interval_us, batch });
    vec![
        Scenario {
            id: "streams",
            title: "500 streams, a chunk per 20 ms each",
            unit: Unit::Chunk,
            targets: WITH_REPAIR,
            work: Work {
                plan: plan(if quick { 100 } else { 250 }, 20_000, 1),
                connections: 500,
                requests: 1,
                warm_up: 1,
                measure_memory: true,
                ..base
            },
        },
        Scenario {
            id: "first-chunk",
            title: "time to the first content chunk, one stream at a time, idle machine",
            unit: Unit::Request,
            targets: WITH_REPAIR,
            work: Work {
                plan: plan(1, 0, 1),
                connections: 1,
                requests: if quick { 100 } else { 300 },
                pause_ms: 3,
                ..base
            },
        },
        Scenario {
            id: "flood",
            title: "one stream of 20,000 chunks back to back, each a write of its own",
            unit: Unit::Chunk,
            targets: WITH_REPAIR,
            work: Work { plan: plan(20_000, 0, 1), connections: 1, warm_up: 3, ..base },
        },
        Scenario {
            id: "flood-64",
            title: "the same, 64 chunks a write",
            unit: Unit::Chunk,
            targets: WITH_REPAIR,
            work: Work { plan: plan(20_000, 0, 64), connections: 1, warm_up: 3, ..base },
        },
        Scenario {
            id: "aggregate",
            title: "an answer of 32 chunks of 250 B, 8 connections",
            unit: Unit::Request,
            targets: &[Target::Gateway, Target::Repaired, Target::Aggregated],
            work: Work { plan: plan(32, 0, 8), connections: 8, ..base },
        },
    ]
}
