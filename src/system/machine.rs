//! What is known of the whole machine. Unknown is `None`, never 0.

use serde::Serialize;
use utoipa::ToSchema;

/// The machine at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Machine {
    /// Bytes of memory.
    pub memory_total: Option<u64>,
    /// Bytes that programs can still get without others losing theirs.
    pub memory_available: Option<u64>,
    pub swap_used: Option<u64>,
    pub pressure: Option<Pressure>,
    /// Of all processors together, 0 to 100.
    pub cpu_percent: Option<f64>,
    pub gpu: Gpu,
    pub thermal: Option<Thermal>,
}

/// What the graphics processor does.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, ToSchema)]
pub struct Gpu {
    /// 0 to 100.
    pub percent: Option<f64>,
    /// Bytes it has allocated.
    pub memory_used_bytes: Option<u64>,
    /// Bytes it may allocate and keep.
    pub memory_limit_bytes: Option<u64>,
}

/// How short memory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pressure {
    Normal,
    Warning,
    Critical,
}

/// Whether the machine slows itself down because it is hot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Thermal {
    Normal,
    Throttled,
}
