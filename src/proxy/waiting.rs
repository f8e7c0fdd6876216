//! A stream whose backend lets it wait: its client hears comments until the answer comes, so that no
//! proxy on the way gives up, and what fails by then fails in the stream.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::time::Interval;

use super::deadlines::COMMENT_AFTER;
use super::failure::Failure;
use super::metered::Metered;
use super::upstream::UpstreamBody;
use crate::backends::{Progress, Waiting as WaitingFor};

/// What is waited for: an answer whose body is an event stream.
pub type Answer = Pin<Box<dyn Future<Output = Result<Metered<UpstreamBody>, Failure>> + Send>>;

/// See the module.
pub struct Waiting {
    profile: Arc<str>,
    progress: Progress,
    answer: Answer,
    comments: Interval,
    /// The first comment goes with the headers.
    greeted: bool,
}

/// What came of waiting.
pub enum Turn {
    Comment(Bytes),
    Answer(Box<Metered<UpstreamBody>>),
    Failed(Failure),
}

impl Waiting {
    pub fn new(profile: Arc<str>, progress: Progress, answer: Answer) -> Waiting {
        let mut comments = tokio::time::interval(COMMENT_AFTER);
        comments.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        comments.reset();
        Waiting { profile, progress, answer, comments, greeted: false }
    }

    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        if let Poll::Ready(answer) = self.answer.as_mut().poll(cx) {
            return Poll::Ready(match answer {
                Ok(answer) => Turn::Answer(Box::new(answer)),
                Err(failure) => Turn::Failed(failure),
            });
        }
        if !self.greeted || self.comments.poll_tick(cx).is_ready() {
            self.greeted = true;
            return Poll::Ready(Turn::Comment(comment(&self.profile, self.progress.get(), Instant::now())));
        }
        Poll::Pending
    }
}

/// One comment line with its blank line.
pub fn comment(profile: &str, waiting: Option<WaitingFor>, now: Instant) -> Bytes {
    let words = match waiting {
        Some(WaitingFor::Queued { position, wait: None }) => format!("queued {position}"),
        Some(WaitingFor::Queued { position, wait: Some(wait) }) => {
            format!("queued {position}, about {}s", wait.as_secs_f64().ceil())
        }
        Some(WaitingFor::Preparing { what }) => format!("preparing {profile}: {what}"),
        Some(WaitingFor::Loading { since }) => {
            format!("loading {profile} {}s", now.saturating_duration_since(since).as_secs())
        }
        None => "prefill".to_owned(),
    };
    // A comment ends with its line, whatever a log line or path in it holds.
    let line: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    format!(": {line}\n\n").into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn comments_say_what_is_waited_for() {
        let now = Instant::now();
        let say = |waiting| String::from_utf8(comment("qwen", waiting, now).to_vec()).unwrap();
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
        let mut waiting = Waiting::new("q".into(), Progress::new(), Box::pin(std::future::pending()));
        let began = tokio::time::Instant::now();
        for n in 0..4 {
            let turn = std::future::poll_fn(|cx| waiting.poll_turn(cx)).await;
            assert!(matches!(turn, Turn::Comment(_)));
            assert_eq!(began.elapsed().as_secs(), n * 10);
        }
    }
}
