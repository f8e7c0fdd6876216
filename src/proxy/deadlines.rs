//! How long an answer may take: cancellation, `timeouts`, and when its client gets a comment. Every reader of an answer
//! waits here. One timer per answer, which is set rarely: bytes only leave a time stamp.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use super::cpu_watch::CpuWatch;
use super::failure::Failure;
use super::in_flight::InFlight;
use super::upstream_end::{Timeout, UpstreamEnd};
use crate::config::Timeouts;
use crate::usage::Live;

/// Silence after which a waiting client gets a comment.
pub const COMMENT_AFTER: Duration = Duration::from_secs(10);

/// The waits of one answer.
#[derive(Debug)]
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
    /// None: the answer never had to wait.
    alarm: Option<Pin<Box<Sleep>>>,
    watch: CpuWatch,
}

/// A wait that is over.
pub enum Passed {
    /// The client should get a comment.
    Comment,
    Failed(Failure),
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
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
    /// Returns the waits of an answer to a request that was sent at `began`.
    pub fn new(timeouts: Timeouts, began: Instant) -> Deadlines {
        Deadlines {
            timeouts,
            began,
            first: false,
            progress: began,
            told: began,
            comments: false,
            alarm: None,
            watch: CpuWatch::default(),
        }
    }

    /// Has the client get comments.
    pub fn with_comments(mut self) -> Deadlines {
        self.comments = true;
        self
    }

    /// Bytes came from upstream.
    pub fn progressed(&mut self, now: Instant, has_token: bool) {
        self.progress = now;
        self.first |= has_token;
        self.watch.reset();
    }

    /// Bytes went to the client.
    pub fn told(&mut self, now: Instant) {
        self.told = now;
    }

    /// Begins the wait anew: a busy backend is not idle.
    fn extend(&mut self, now: Instant) {
        self.progress = now;
    }

    /// Returns what is due at `now`.
    fn due(&self, now: Instant) -> Due {
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

    /// Checks with every piece of an answer whether its request has to end: one that never pauses ends too.
    ///
    /// # Errors
    /// If the request was cancelled, or `timeouts.total` has passed.
    pub fn check(&self, live: &Live, now: Instant) -> Result<(), Failure> {
        if live.is_cancelled() {
            return Err(Failure::of_cancelled(live));
        }
        if now >= self.end() { Err(self.timed_out(Due::Total)) } else { Ok(()) }
    }

    /// Resolves once a wait for the next bytes is over. A backend that computes is not idle, however long it sends
    /// nothing: a long tool call comes in one piece.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>, in_flight: &InFlight) -> Poll<Passed> {
        let (live, lease) = (in_flight.live(), in_flight.lease());
        if live.poll_cancelled(cx).is_ready() {
            return Poll::Ready(Passed::Failed(Failure::of_cancelled(live)));
        }
        loop {
            let due = ready!(self.poll_due(cx));
            let now = Instant::now();
            match due {
                Due::Comment => {
                    self.told(now);
                    return Poll::Ready(Passed::Comment);
                }
                Due::Idle | Due::Silent if self.watch.is_working(lease, now) => self.extend(now),
                // What a server elsewhere does before its first token is unknown.
                Due::Silent if lease.pid().is_none() => self.extend(now),
                due => {
                    if matches!(due, Due::Idle | Due::Silent) {
                        let limit = self.timeouts.idle.as_secs_f64();
                        lease.suspect(format!("it was silent and did nothing for {limit} s"));
                    }
                    return Poll::Ready(Passed::Failed(self.timed_out(due)));
                }
            }
        }
    }

    /// Does the same for an answer whose client gets no comments.
    pub fn poll_failed(&mut self, cx: &mut Context<'_>, in_flight: &InFlight) -> Poll<Failure> {
        loop {
            if let Passed::Failed(failure) = ready!(self.poll_passed(cx, in_flight)) {
                return Poll::Ready(failure);
            }
        }
    }

    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        loop {
            if let Some(alarm) = &mut self.alarm {
                ready!(alarm.as_mut().poll(cx));
            }
            match (self.due(Instant::now()), &mut self.alarm) {
                (Due::Later(at), Some(alarm)) => alarm.as_mut().reset(at.into()),
                (Due::Later(at), none) => *none = Some(Box::pin(tokio::time::sleep_until(at.into()))),
                (due, _) => return Poll::Ready(due),
            }
        }
    }

    fn timed_out(&self, due: Due) -> Failure {
        let (timeout, limit) = match due {
            Due::FirstToken => (Timeout::FirstToken, self.timeouts.first_token),
            Due::Total => (Timeout::Total, self.timeouts.total),
            _ => (Timeout::Idle, self.timeouts.idle),
        };
        UpstreamEnd::TimedOut(timeout, limit).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn deadlines(comments: bool) -> (Deadlines, Instant) {
        let began = Instant::now();
        let timeouts = Timeouts { start: S, first_token: 100 * S, idle: 60 * S, total: 300 * S };
        (Deadlines { comments, ..Deadlines::new(timeouts, began) }, began)
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
