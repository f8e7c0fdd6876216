//! What requests and their answers said, for whoever has to find out why one went wrong: taken only
//! while an administrator has it switched on, for a while, within bounds, without credentials. Knows
//! nothing of who may look, nor of how a request is served.

mod document;
pub mod redact;
mod switch;
mod taking;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::sync::{Semaphore, mpsc, oneshot};
use uuid::Uuid;

pub use document::{Answer, Asked, Capture, Header, Text};
pub use switch::{Change, ChangeError, Switch};
pub use taking::{Share, Taking};

use crate::store::captures::{self, Bounds, CaptureRow, Kept};
use crate::store::{Store, StoreError, settings};
use crate::system::clock::Clock;
use taking::Taken;

/// Requests that are captured at the same time; of those beyond it nothing is taken.
const AT_ONCE: usize = 64;
/// Captures that wait to be written; those beyond it are lost.
const WAITING: usize = 64;
/// Captures that are kept, and their bytes.
const KEPT_ROWS: i64 = 2_000;
const KEPT_BYTES: i64 = 256 << 20;
/// How often it is looked for old ones.
const PRUNE_EVERY: Duration = Duration::from_secs(3_600);
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;
/// The name under which the switch stands in the store.
const SETTING: &str = "captures";

/// The switch and what was captured. A cheap clone.
#[derive(Clone)]
pub struct Captures(Arc<Shared>);

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    /// Unix, ms; 0: off. All that a request looks at while nothing is captured.
    until: AtomicI64,
    switch: ArcSwap<Switch>,
    places: Arc<Semaphore>,
    sender: mpsc::Sender<Message>,
    /// Until the writer takes it.
    inbox: Mutex<Option<mpsc::Receiver<Message>>>,
}

/// What the writer is told.
enum Message {
    Keep(Box<Taken>),
    /// Answered when everything before it is written.
    Settle(oneshot::Sender<()>),
}

impl Captures {
    /// As the store has it: a switch that was on still is, until its time has passed.
    pub async fn open(store: Store, clock: Arc<dyn Clock>) -> Result<Captures, StoreError> {
        let kept = settings::get(&store, SETTING).await?;
        let switch: Switch = kept.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let (sender, inbox) = mpsc::channel(WAITING);
        Ok(Captures(Arc::new(Shared {
            store,
            clock,
            until: AtomicI64::new(switch.until_ms.unwrap_or(0)),
            switch: ArcSwap::from_pointee(switch),
            places: Arc::new(Semaphore::new(AT_ONCE)),
            sender,
            inbox: Mutex::new(Some(inbox)),
        })))
    }

    /// Whether requests that begin now are to be captured. While they are not, this is one atomic load.
    pub fn is_on(&self) -> bool {
        let until = self.0.until.load(Ordering::Relaxed);
        until != 0 && self.0.clock.unix_ms() < until
    }

    /// Begins to capture a request; none: as many as may be are being captured.
    pub fn take(&self, request: Uuid, path: &str, headers: &HeaderMap) -> Option<Taking> {
        let place = Arc::clone(&self.0.places).try_acquire_owned().ok()?;
        let (switch, now) = (self.0.switch.load(), self.0.clock.unix_ms());
        let taken = Taken::new(request, now, path, headers, &switch);
        Some(Taking::new(taken, switch.max_bytes, place, self.clone()))
    }

    /// How it is switched, as of now.
    pub fn switch(&self) -> Switch {
        self.0.switch.load().at(self.0.clock.unix_ms())
    }

    /// Switches it, and says how it then is.
    pub async fn change(&self, change: Change) -> Result<Switch, ChangeError> {
        let switch = self.switch().changed(change, self.0.clock.unix_ms())?;
        let text = serde_json::to_string(&switch).unwrap_or_default();
        settings::set(&self.0.store, SETTING, text).await?;
        self.0.switch.store(Arc::new(switch.clone()));
        self.0.until.store(switch.until_ms.unwrap_or(0), Ordering::Relaxed);
        captures::prune(&self.0.store, self.bounds()).await?;
        Ok(switch)
    }

    /// What was captured of a request, by the id of its record.
    pub async fn get(&self, request: &str) -> Result<Option<Capture>, StoreError> {
        self.settle().await;
        let text = captures::get(&self.0.store, request).await?;
        Ok(text.and_then(|text| match serde_json::from_str(&text) {
            Ok(capture) => Some(capture),
            Err(error) => {
                tracing::error!(capture.request_id = request, %error, "Could not read capture");
                None
            }
        }))
    }

    /// Forgets what was captured of a request. False: nothing was.
    pub async fn remove(&self, request: &str) -> Result<bool, StoreError> {
        self.settle().await;
        captures::remove(&self.0.store, request).await
    }

    /// Forgets everything that was captured, and says of how many requests.
    pub async fn remove_all(&self) -> Result<usize, StoreError> {
        self.settle().await;
        captures::remove_all(&self.0.store).await
    }

    /// Of how many requests something is kept, and in how many bytes.
    pub async fn kept(&self) -> Result<Kept, StoreError> {
        self.settle().await;
        captures::kept(&self.0.store).await
    }

    /// Writes down what is captured, as long as the gateway runs. To be spawned once by whoever serves.
    pub fn write_down(&self) -> impl Future<Output = ()> + Send + use<> {
        let inbox = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).take();
        let captures = self.clone();
        async move {
            let Some(mut inbox) = inbox else { return };
            let mut prune = tokio::time::interval(PRUNE_EVERY);
            loop {
                tokio::select! {
                    message = inbox.recv() => match message {
                        Some(Message::Keep(taken)) => captures.keep(taken).await,
                        // Whoever asked may have left.
                        Some(Message::Settle(answer)) => drop(answer.send(())),
                        None => return,
                    },
                    _ = prune.tick() => captures.prune().await,
                }
            }
        }
    }

    async fn keep(&self, taken: Box<Taken>) {
        let (request, captured_at) = (taken.request.to_string(), taken.captured_at);
        let document = tokio::task::spawn_blocking(move || serde_json::to_string(&taken.document())).await;
        let Ok(Ok(document)) = document else {
            tracing::error!(capture.request_id = request, "Could not serialize capture");
            return;
        };
        let row = CaptureRow { request: request.clone(), captured_at, document };
        if let Err(error) = captures::put(&self.0.store, row, self.bounds()).await {
            tracing::warn!(capture.request_id = request, %error, "Could not store capture");
        }
    }

    async fn prune(&self) {
        if let Err(error) = captures::prune(&self.0.store, self.bounds()).await {
            tracing::warn!(%error, "Could not delete old captures");
        }
    }

    /// Ready when what was captured so far is written.
    async fn settle(&self) {
        let (answer, settled) = oneshot::channel();
        // Without a writer nothing waits to be written.
        let reads = self.0.inbox.lock().unwrap_or_else(PoisonError::into_inner).is_none();
        if reads && self.0.sender.send(Message::Settle(answer)).await.is_ok() {
            drop(settled.await);
        }
    }

    /// Takes what is complete; never waits.
    fn hand_over(&self, taken: Taken) {
        let request = taken.request;
        if self.0.sender.try_send(Message::Keep(Box::new(taken))).is_err() {
            tracing::warn!(capture.request_id = %request, "Lost capture: too many wait to be stored");
        }
    }

    fn bounds(&self) -> Bounds {
        let days = i64::from(self.0.switch.load().retention_days);
        let oldest = self.0.clock.unix_ms() - days * DAY_MS;
        Bounds { rows: KEPT_ROWS, bytes: KEPT_BYTES, oldest }
    }
}

#[cfg(test)]
mod tests;
