//! How an upstream's answer ends without being complete: the one classification, and the one table of what a client
//! gets for it. Every reader of an answer (pass-through, aggregation, rounds) reports one of these.

use std::time::Duration;

use super::failure::Failure;
use super::upstream::UpstreamError;
use crate::dialect::failure::UpstreamFailure;

/// Why an answer is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamEnd {
    /// No connection could be made, or it broke before an answer began.
    Unreachable(String),
    /// The connection broke within the answer.
    Died(String),
    /// The answer ended without its final event.
    Incomplete,
    /// One of `timeouts` has passed.
    TimedOut(Timeout, Duration),
    /// The gateway sends no more requests to this upstream for now.
    Shed(String),
    /// The upstream reported a failure, as an error answer or as an event.
    Reported(UpstreamFailure),
    /// The answer is not what was asked for, such as JSON in place of a stream.
    Unusable(String),
}

/// A limit of a profile's `timeouts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    FirstToken,
    Idle,
    Total,
}

impl Timeout {
    /// Returns its name in the config.
    pub fn name(self) -> &'static str {
        match self {
            Timeout::FirstToken => "first_token",
            Timeout::Idle => "idle",
            Timeout::Total => "total",
        }
    }
}

impl From<UpstreamEnd> for Failure {
    fn from(end: UpstreamEnd) -> Failure {
        match end {
            UpstreamEnd::Unreachable(why) => Failure::backend(why),
            UpstreamEnd::Died(how) => Failure::backend(format!("the backend broke off in mid-answer: {how}")),
            UpstreamEnd::Incomplete => {
                Failure::backend("the backend broke off in mid-answer: it closed the connection")
            }
            UpstreamEnd::TimedOut(timeout, limit) => Failure::timed_out(format!(
                "timeouts.{} of {} s has passed",
                timeout.name(),
                limit.as_secs_f64()
            )),
            UpstreamEnd::Shed(why) => Failure::overloaded(why),
            UpstreamEnd::Reported(failure) => failure.into(),
            UpstreamEnd::Unusable(why) => Failure::backend(why),
        }
    }
}

impl From<UpstreamError> for UpstreamEnd {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Shed => UpstreamEnd::Shed(error.to_string()),
            UpstreamError::Deadline(limit) => UpstreamEnd::TimedOut(Timeout::FirstToken, limit),
            _ => UpstreamEnd::Unreachable(error.to_string()),
        }
    }
}
