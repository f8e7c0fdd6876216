//! How long a future works, its waits left out. Knows nothing of what it does.

use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

/// Runs `future` and tells how long its polls took together: what it computed, not what it waited for.
pub async fn working<F: Future>(future: F) -> (F::Output, Duration) {
    let mut future = pin!(future);
    let mut worked = Duration::ZERO;
    let output = std::future::poll_fn(|cx| {
        let began = Instant::now();
        let polled = Pin::as_mut(&mut future).poll(cx);
        worked += began.elapsed();
        polled
    })
    .await;
    (output, worked)
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
