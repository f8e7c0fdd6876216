//! How long a future works, its waits left out. Knows nothing of what it does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

/// Runs `future` and tells how long its polls took together: what it computed, not what it waited for.
pub fn working<F: Future>(future: F) -> Working<F> {
    Working { future, worked: Duration::ZERO }
}

pin_project! {
    /// No `async fn`, which would keep room for `future` twice.
    pub struct Working<F> {
        #[pin]
        future: F,
        worked: Duration,
    }
}

impl<F: Future> Future for Working<F> {
    type Output = (F::Output, Duration);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let began = Instant::now();
        let polled = this.future.poll(cx);
        *this.worked += began.elapsed();
        polled.map(|output| (output, *this.worked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_is_not_work() {
        let hour = Duration::from_secs(3600);
        let (before, began) = (tokio::time::Instant::now(), Instant::now());
        let (answer, worked) = working(async {
            tokio::time::sleep(hour).await;
            7
        })
        .await;
        assert_eq!(answer, 7);
        assert!(before.elapsed() >= hour, "it waited an hour of the runtime's time");
        assert!(worked <= began.elapsed());
    }

    #[tokio::test]
    async fn work_is_counted_in_every_poll() {
        let spin = || {
            let until = Instant::now() + Duration::from_millis(2);
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        };
        let (_, worked) = working(async {
            spin();
            tokio::task::yield_now().await;
            spin();
        })
        .await;
        assert!(worked >= Duration::from_millis(4), "{worked:?}");
    }
}
