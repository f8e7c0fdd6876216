//! Bounds of the histograms. Those of OpenTelemetry's conventions for generative AI, and beyond them what
//! a cold start of a large model takes. Knows nothing of what is measured with them.

use prometheus_client::metrics::histogram::Histogram;

/// Seconds.
const DURATION: [f64; 18] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84, 327.68,
    655.36, 1310.72,
];
/// Seconds; from 10 on cold starts.
const FIRST_TOKEN: [f64; 21] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 320.0,
];
/// Seconds.
const OUTPUT_TOKEN: [f64; 13] = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5];
/// Seconds, from 10 µs to 0.1 s.
const OVERHEAD: [f64; 13] =
    [0.00001, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];
/// Tokens, by powers of four.
const TOKENS: [f64; 14] = [
    1.0,
    4.0,
    16.0,
    64.0,
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

pub fn duration() -> Histogram {
    Histogram::new(DURATION)
}

pub fn first_token() -> Histogram {
    Histogram::new(FIRST_TOKEN)
}

pub fn output_token() -> Histogram {
    Histogram::new(OUTPUT_TOKEN)
}

pub fn tokens() -> Histogram {
    Histogram::new(TOKENS)
}

pub fn overhead() -> Histogram {
    Histogram::new(OVERHEAD)
}
