//! When a stream has waited too long, and when its client should hear a comment. One timer per
//! stream that is set rarely: frames only leave a time stamp. Pure but for the clock it is given.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::upstream_end::{Timeout, UpstreamEnd};
use crate::config::Timeouts;

/// Silence after which a waiting client hears a comment.
pub const COMMENT_AFTER: Duration = Duration::from_secs(10);

/// The waits of one request.
#[derive(Debug, Clone)]
pub struct Deadlines {
    timeouts: Timeouts,
    /// When the request was sent upstream; the backend's start does not count.
    began: Instant,
    /// The first delta has come.
    first: bool,
    /// The last bytes from upstream.
    progress: Instant,
    /// The last bytes to the client, comments included.
    told: Instant,
    comments: bool,
}

/// The one timer of an answer; not even that for an answer that never has to wait.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready with what is due.
    pub fn poll_due(&mut self, cx: &mut Context<'_>, deadlines: &Deadlines) -> Poll<Due> {
        loop {
            if let Some(timer) = &mut self.0 {
                ready!(timer.as_mut().poll(cx));
            }
            match (deadlines.due(Instant::now()), &mut self.0) {
                (Due::Later(at), Some(timer)) => timer.as_mut().reset(at.into()),
                (Due::Later(at), none) => *none = Some(Box::pin(tokio::time::sleep_until(at.into()))),
                (due, _) => return Poll::Ready(due),
            }
        }
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing before that instant.
    Later(Instant),
    Comment,
    /// No first token in time.
    FirstToken,
    /// No byte for too long in the middle of an answer.
    Idle,
    /// No byte for as long before the first token: no reason to give up while the backend works.
    Silent,
    Total,
}

impl Deadlines {
    pub fn new(timeouts: Timeouts, began: Instant, comments: bool) -> Deadlines {
        Deadlines { timeouts, began, first: false, progress: began, told: began, comments }
    }

    /// Bytes came from upstream.
    pub fn progressed(&mut self, now: Instant, has_token: bool) {
        self.progress = now;
        self.first |= has_token;
    }

    /// Bytes went to the client.
    pub fn told(&mut self, now: Instant) {
        self.told = now;
    }

    /// A busy backend is no idle one: the wait begins again.
    pub fn extend(&mut self, now: Instant) {
        self.progress = now;
    }

    /// What to do at `now`.
    pub fn due(&self, now: Instant) -> Due {
        let silence = if self.first {
            (self.progress + self.timeouts.idle, Due::Idle)
        } else {
            (self.began + self.timeouts.first_token, Due::FirstToken)
        };
        let total = (self.end(), Due::Total);
        let comment = self.comments.then_some((self.told + COMMENT_AFTER, Due::Comment));
        let silent = (!self.first).then_some((self.progress + self.timeouts.idle, Due::Silent));
        let waits = [Some(total), Some(silence), comment, silent];
        let passed = waits.iter().flatten().find(|(at, _)| *at <= now);
        match passed {
            Some((_, due)) => *due,
            None => Due::Later(waits.iter().flatten().map(|(at, _)| *at).min().unwrap_or(now)),
        }
    }

    /// Returns when the whole answer has to have come.
    pub fn end(&self) -> Instant {
        self.began + self.timeouts.total
    }

    /// Returns the end of an answer that took longer than `timeouts.total`.
    pub fn total_passed(&self) -> UpstreamEnd {
        UpstreamEnd::TimedOut(Timeout::Total, self.timeouts.total)
    }

    pub fn timeouts(&self) -> &Timeouts {
        &self.timeouts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn deadlines(comments: bool) -> (Deadlines, Instant) {
        let began = Instant::now();
        let timeouts = Timeouts { start: S, first_token: 100 * S, idle: 60 * S, total: 300 * S };
        (Deadlines::new(timeouts, began, comments), began)
    }

    #[test]
    fn a_comment_is_due_after_ten_silent_seconds_and_moves_no_deadline() {
        let (mut deadlines, began) = deadlines(true);
        assert_eq!(deadlines.due(began), Due::Later(began + 10 * S));
        for i in 1..10 {
            assert_eq!(deadlines.due(began + i * 10 * S), Due::Comment);
            deadlines.told(began + i * 10 * S);
        }
        assert_eq!(deadlines.due(began + 100 * S), Due::FirstToken);
    }

    #[test]
    fn after_the_first_token_only_silence_counts_until_the_total() {
        let (mut deadlines, began) = deadlines(false);
        deadlines.progressed(began + 50 * S, false);
        assert_eq!(deadlines.due(began + 100 * S), Due::FirstToken, "a role is no token");
        deadlines.progressed(began + 90 * S, true);
        assert_eq!(deadlines.due(began + 149 * S), Due::Later(began + 150 * S));
        assert_eq!(deadlines.due(began + 150 * S), Due::Idle);
        deadlines.extend(began + 150 * S);
        assert_eq!(deadlines.due(began + 151 * S), Due::Later(began + 210 * S));
        deadlines.progressed(began + 299 * S, true);
        assert_eq!(deadlines.due(began + 300 * S), Due::Total);
    }
}
