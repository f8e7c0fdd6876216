//! What was used: one record per request, kept exactly once, with live counters while it runs.
//! Knows no HTTP, and no SQL.

mod changes;
mod days;
mod figures;
mod ids;
mod ledger;
mod live;
mod recorder;
mod report;
mod retention;
mod throughput;
mod view;

pub use crate::store::requests::{AttemptRecord, Filter, LIST_MAX, RequestRecord, Status, Tokens};
pub use changes::Changes;
pub use figures::decode_tokens_per_s;
pub use ledger::{CANCELLED, CANCELLED_CODE, Ledger, NewRequest, Outcome};
pub use live::{Abort, Live};
pub use recorder::Recorder;
pub use report::{GroupBy, UsageError, UsageQuery, usage};
pub use retention::{prune_if_trusted, prune_once, retain};
pub use throughput::{Throughput, WINDOW};
pub use view::{
    AttemptView, ByStatus, LiveView, Percentiles, RequestView, UsageGroup, UsageReport, rfc3339,
    without_server_log,
};

use crate::system::clock::Clock;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
