//! The loop that lets a model use tools: its calls are run, their results go back, until it answers.
//! Knows rounds only by [`Round`]; who asks the model, and how, is its giver's to know.

mod aside;
mod request;
mod run;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

pub use aside::Aside;
pub use request::{Choice, Plan, Wanted};
pub use run::{Chat, Stop};

use crate::dialect::facts::Usage;
use crate::tools::Tool;

/// Asks the model, one round after the other, within one request.
pub trait Round: Send {
    /// Why a round could not begin.
    type Failure: Send;

    /// Begins a round; what was begun before has ended.
    fn begin<'a>(&'a mut self, body: &'a Value) -> BoxFuture<'a, Result<(), Self::Failure>>;

    /// The next bytes of its event stream; none at its end.
    fn next(&mut self) -> BoxFuture<'_, Option<Bytes>>;

    /// Whether the round came to its end. What else became of it, the stream has told, and the
    /// request has ended with it.
    fn completed(&mut self) -> bool;

    /// Takes note of a tool's call.
    fn called(&mut self, call: &Called);
}

/// A call that was run, for the record.
#[derive(Debug, Clone)]
pub struct Called {
    pub tool: String,
    pub duration: Duration,
    /// A code, where it failed.
    pub error: Option<String>,
}

/// What came of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub finish_reason: String,
    pub usage: Option<Usage>,
    pub deltas: u64,
}

/// Which of `tools` take part, in the order of their names.
pub fn choose(wanted: &Wanted, profile: &[String], tools: Vec<Arc<Tool>>) -> Vec<Arc<Tool>> {
    let takes_part = |tool: &Arc<Tool>| match wanted {
        Wanted::None => false,
        Wanted::Profile => profile.contains(&tool.name),
        Wanted::All => tool.destructive != Some(true),
        Wanted::Named(names) => names.contains(&tool.name),
    };
    tools.into_iter().filter(|tool| tool.withheld.is_none() && takes_part(tool)).collect()
}
