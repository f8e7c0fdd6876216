//! Event streams whose backend lets them wait: comments until the answer begins, so that no proxy on the way gives up.
//! A failure by then is an event of the stream.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use tokio::time::{Interval, MissedTickBehavior};

use super::deadlines::COMMENT_AFTER;
use super::failure::Failure;
use super::headers::Head;
use super::metered::Metered;
use super::upstream::UpstreamBody;
use crate::backends::{Progress, Waiting as WaitingFor};

/// Comments for a client that has received nothing for a while.
pub struct Comments {
    profile: Arc<str>,
    progress: Progress,
    /// The comment while the request waits for nothing.
    otherwise: &'static str,
    interval: Interval,
}

impl Comments {
    /// Returns comments that say what the request waits for, or `otherwise`.
    pub fn new(head: &Head, otherwise: &'static str) -> Comments {
        let mut interval = tokio::time::interval(COMMENT_AFTER);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        interval.reset();
        let (profile, progress) = (Arc::clone(&head.profile), head.progress.clone());
        Comments { profile, progress, otherwise, interval }
    }

    /// Notes that the client received something.
    pub fn reset(&mut self) {
        self.interval.reset();
    }

    /// Resolves to a comment once the client has received nothing for [`COMMENT_AFTER`].
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        ready!(self.interval.poll_tick(cx));
        Poll::Ready(self.comment())
    }

    fn comment(&self) -> Bytes {
        comment(&self.profile, self.progress.get(), self.otherwise, Instant::now())
    }
}

/// An event stream that begins with comments.
pub struct Waiting {
    state: State,
    comments: Comments,
}

enum State {
    /// The headers are out, and the first comment is not.
    Begun(BoxFuture<'static, Result<Metered<UpstreamBody>, Failure>>),
    Waiting(BoxFuture<'static, Result<Metered<UpstreamBody>, Failure>>),
    Answering(Box<Metered<UpstreamBody>>),
    Over,
}

impl Waiting {
    /// Waits for `answer`.
    pub fn new(head: &Head, answer: BoxFuture<'static, Result<Metered<UpstreamBody>, Failure>>) -> Waiting {
        Waiting { state: State::Begun(answer), comments: Comments::new(head, "prefill") }
    }
}

impl Stream for Waiting {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        while let State::Begun(answer) | State::Waiting(answer) = &mut this.state {
            match answer.as_mut().poll(cx) {
                Poll::Ready(Ok(metered)) => this.state = State::Answering(Box::new(metered)),
                Poll::Ready(Err(failure)) => {
                    this.state = State::Over;
                    return Poll::Ready(Some(failure.as_events().into()));
                }
                Poll::Pending => {
                    return match std::mem::replace(&mut this.state, State::Over) {
                        State::Begun(answer) => {
                            this.state = State::Waiting(answer);
                            Poll::Ready(Some(this.comments.comment()))
                        }
                        state => {
                            this.state = state;
                            this.comments.poll(cx).map(Some)
                        }
                    };
                }
            }
        }
        match &mut this.state {
            State::Answering(metered) => metered.poll_bytes(cx),
            _ => Poll::Ready(None),
        }
    }
}

/// Returns a comment line with its blank line.
fn comment(profile: &str, waiting: Option<WaitingFor>, otherwise: &str, now: Instant) -> Bytes {
    let words = match waiting {
        Some(WaitingFor::Queued { position, wait: None }) => format!("queued {position}"),
        Some(WaitingFor::Queued { position, wait: Some(wait) }) => {
            format!("queued {position}, about {}s", wait.as_secs_f64().ceil())
        }
        Some(WaitingFor::Preparing { what }) => format!("preparing {profile}: {what}"),
        Some(WaitingFor::Loading { since }) => {
            format!("loading {profile} {}s", now.saturating_duration_since(since).as_secs())
        }
        None => otherwise.to_owned(),
    };
    // A comment ends with its line, whatever a log line or path in it holds.
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!(": {line}\n\n").into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::StreamExt;

    use super::*;

    #[test]
    fn comments_say_what_is_waited_for() {
        let now = Instant::now();
        let say = |waiting| String::from_utf8(comment("qwen", waiting, "prefill", now).to_vec()).unwrap();
        assert_eq!(say(None), ": prefill\n\n");
        assert_eq!(say(Some(WaitingFor::Queued { position: 2, wait: None })), ": queued 2\n\n");
        let wait = Some(Duration::from_millis(11_200));
        assert_eq!(say(Some(WaitingFor::Queued { position: 2, wait })), ": queued 2, about 12s\n\n");
        let since = now.checked_sub(Duration::from_secs(12)).unwrap();
        assert_eq!(say(Some(WaitingFor::Loading { since })), ": loading qwen 12s\n\n");
        let what = "installing\ndata: x".to_owned();
        assert_eq!(say(Some(WaitingFor::Preparing { what })), ": preparing qwen: installing data: x\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_comment_comes_at_once_and_then_every_ten_seconds() {
        let head =
            Head { profile: "q".into(), arrived: Instant::now(), progress: Progress::new(), live: None };
        let mut waiting = Waiting::new(&head, Box::pin(std::future::pending()));
        let began = tokio::time::Instant::now();
        for n in 0..4 {
            assert_eq!(waiting.next().await.unwrap(), ": prefill\n\n");
            assert_eq!(began.elapsed().as_secs(), n * 10);
        }
    }
}
