//! The least pace at which a client has to send or to read. Only time spent waiting for the client counts: a pause of
//! the gateway's own is no fault of the client's.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// Measures windows of waiting, each of which has to bring some bytes. Costs two additions while nothing is waited for.
pub struct Pace {
    window: Duration,
    /// Bytes that a window has to bring.
    least: usize,
    /// Of the present window: bytes moved, and time waited without the wait under way.
    moved: usize,
    waited: Duration,
    waiting_since: Option<Instant>,
    /// Set when the client is first waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// Allows `window` of waiting for every `least` bytes.
    pub fn new(window: Duration, least: usize) -> Pace {
        Pace { window, least, moved: 0, waited: Duration::ZERO, waiting_since: None, timer: None }
    }

    /// Counts bytes that were moved.
    pub fn advance(&mut self, bytes: usize) {
        if let Some(since) = self.waiting_since.take() {
            self.waited += since.elapsed();
        }
        self.moved = self.moved.saturating_add(bytes);
        if self.moved >= self.least {
            (self.moved, self.waited) = (0, Duration::ZERO);
        }
    }

    /// Ready once the client was waited for too long. Called while nothing can be moved.
    pub fn poll_too_slow(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.window.saturating_sub(self.waited);
        let until = match self.waiting_since {
            Some(since) => since + left,
            None => {
                let now = Instant::now();
                self.waiting_since = Some(now);
                now + left
            }
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until)));
        loop {
            // A timer of an earlier wait may ring early; it is moved only then.
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Waits for one piece that comes after `pause`. False: that took too long.
    async fn comes(pace: &mut Pace, pause: Duration, bytes: usize) -> bool {
        let came =
            tokio::time::timeout(pause, std::future::poll_fn(|cx| pace.poll_too_slow(cx))).await.is_err();
        if came {
            pace.advance(bytes);
        }
        came
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_the_pace_may_take_for_ever() {
        let mut pace = Pace::new(30 * S, 1000);
        for _ in 0..1000 {
            assert!(comes(&mut pace, 29 * S, 1000).await);
        }
        for _ in 0..1000 {
            assert!(comes(&mut pace, 9 * S, 400).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_is_too_slow_after_one_window() {
        let mut pace = Pace::new(30 * S, 1000);
        assert!(comes(&mut pace, S, 1_000_000).await, "what came before earns no time");
        let began = Instant::now();
        while comes(&mut pace, 10 * S, 1).await {}
        assert_eq!(began.elapsed(), 30 * S);
    }

    #[tokio::test(start_paused = true)]
    async fn only_waiting_counts() {
        let mut pace = Pace::new(30 * S, 1000);
        for _ in 0..3 {
            assert!(comes(&mut pace, 9 * S, 1).await);
            tokio::time::sleep(3600 * S).await;
        }
        assert!(!comes(&mut pace, 4 * S, 1).await, "27 s were waited");
    }
}
