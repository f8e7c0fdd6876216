//! The loop that lets a model use tools: its calls are run, their results go back, until it answers.
//! It asks the model only through [`Round`].

mod aside;
mod request;
mod run;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

pub use aside::Aside;
pub use request::{Choice, Plan, Wanted};
pub use run::Chat;

use crate::dialect::chat_stream::Event;
use crate::dialect::facts::Usage;
use crate::dialect::failure::UpstreamFailure;
use crate::tools::Tool;

/// Rounds of one request: each asks the model once.
pub trait Round: Send {
    /// Why the request has to end.
    type Failure: From<UpstreamFailure> + Send;

    /// Begins a round; the one before has ended.
    fn begin<'a>(&'a mut self, body: &'a Value) -> BoxFuture<'a, Result<(), Self::Failure>>;
    /// Returns the next event of the round; none at its end.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, Self::Failure>>;
    /// Ends the round, and returns the tokens that the backend reported for it.
    fn end(&mut self) -> Result<Option<Usage>, Self::Failure>;
    /// Records a tool call.
    fn called(&mut self, tool: &str, duration: Duration, error: Option<String>);
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
