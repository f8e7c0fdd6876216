//! How figures grow with connections and with open streams: the gateway alone, one scenario a size.

use crate::scenarios::{Scenario, Target, Unit, Work};
use crate::traffic::StreamPlan;

const CONNECTIONS: [(&str, usize); 5] = [
    ("connections-1", 1),
    ("connections-16", 16),
    ("connections-64", 64),
    ("connections-256", 256),
    ("connections-1000", 1000),
];
const STREAMS: [(&str, usize); 4] =
    [("streams-100", 100), ("streams-500", 500), ("streams-1000", 1000), ("streams-2000", 2000)];
/// Far enough apart that 2,000 streams leave the machine time.
const CHUNKS: StreamPlan = StreamPlan { chunks: 30, interval_us: 100_000, batch: 1 };

pub fn all(base: Work) -> Vec<Scenario> {
    let connections = CONNECTIONS.map(|(id, connections)| Scenario {
        id,
        title: "non-streamed chat completions, kept busy by so many connections",
        unit: Unit::Request,
        targets: &[Target::Gateway],
        work: Work { connections, measure_memory: true, ..base },
    });
    let streams = STREAMS.map(|(id, connections)| Scenario {
        id,
        title: "so many streams at once, a chunk per 100 ms each",
        unit: Unit::Chunk,
        targets: &[Target::Gateway],
        work: Work { plan: Some(CHUNKS), connections, requests: 1, warm_up: 1, measure_memory: true, ..base },
    });
    connections.into_iter().chain(streams).collect()
}
