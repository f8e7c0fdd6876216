//! The table `requests`: one row per request, its attempts within it.

mod attempts;
mod read;
mod record;
mod write;

use std::sync::Arc;

pub use read::{Filter, LIST_MAX, Range, UsageRow, get, last_used, list, newest};
pub(super) use read::{first_id_at, usage_row, usage_sql};
pub use record::{AttemptRecord, RequestRecord, Status, Tokens};
pub use write::prune;
pub(super) use write::{mark_interrupted, upsert};

/// A request whose row is rendered on the writer thread when its batch is written: one that begins
/// and ends within a batch costs one insert, and nothing is rendered where it would delay the request.
pub trait RowSource: Send + Sync {
    /// The row as it stands. A later change is submitted anew, or found through `changed`.
    fn row(&self) -> RequestRecord;
    /// Whether the row would differ from the one rendered last.
    fn changed(&self) -> bool;
    /// Whether the row rendered last was the final one.
    fn ended(&self) -> bool;
}

/// What a batch came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) rows: usize,
    /// Rows that the schema does not take; none is expected.
    pub(super) unusable: u64,
}

type Text = Option<Arc<str>>;
