//! Begins and ends records, knows which requests run, and cancels them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::changes::Changes;
use super::ids::{self, Ids};
use super::ledger::{Ledger, NewRequest, Outcome};
use super::live::Live;
use super::throughput::Throughput;
use super::view::{LiveView, RequestView};
use super::{Clock, Filter, RequestRecord, Status, Tokens};
use crate::metrics::Metrics;
use crate::store::{Store, StoreError, requests};

/// Parts of the list of running requests, so that connections seldom meet at one lock.
const SHARDS: usize = 16;

/// Where requests are recorded. A cheap clone.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    clock: Arc<dyn Clock>,
    ids: Ids,
    throughput: Throughput,
    metrics: Metrics,
    changes: Changes,
    running: [Mutex<HashMap<Uuid, Arc<Live>>>; SHARDS],
}

impl Recorder {
    /// Records into `store`; ids and times come from `clock`.
    pub fn new(store: Store, clock: Arc<dyn Clock>) -> Recorder {
        let throughput = Throughput::new(Arc::clone(&clock));
        let (ids, metrics) = (Ids::new(), Metrics::default());
        let shared = Shared {
            store,
            clock,
            ids,
            throughput,
            metrics,
            changes: Changes::default(),
            running: Default::default(),
        };
        Recorder { shared: Arc::new(shared) }
    }

    /// An id for a request that begins now.
    pub fn new_id(&self) -> Uuid {
        self.shared.ids.make(self.shared.clock.unix_ms())
    }

    /// Begins a record; its row is in the store within 100 ms. Never waits.
    pub fn begin(&self, mut request: NewRequest) -> Ledger {
        // The id's time is the record's, for the store finds spans of time by it.
        let told = request.id.and_then(|id| Some((id, ids::unix_ms(id)?)));
        let (id, started_at) = told.unwrap_or_else(|| {
            let now = self.shared.clock.unix_ms();
            (self.shared.ids.make(now), now)
        });
        let (profile, model) = (request.profile.take(), request.model.take());
        let live = Arc::new(Live::new(id, started_at, request, Arc::clone(&self.shared.clock)));
        if let Some(profile) = profile {
            live.set_profile(&profile, model.as_ref(), &self.shared.throughput);
        }
        self.shard(id).insert(id, Arc::clone(&live));
        self.shared.changes.note(live.user(), id);
        self.submit(&live);
        Ledger::new(live, self.clone())
    }

    /// The requests that run, newest first, with their counters as of now.
    pub fn live(&self) -> Vec<LiveView> {
        let mut all: Vec<Arc<Live>> = Vec::new();
        for shard in &self.shared.running {
            all.extend(lock(shard).values().cloned());
        }
        all.sort_by_key(|live| std::cmp::Reverse(live.id()));
        all.iter().map(|live| RequestView::from(live.record())).collect()
    }

    /// How many requests run.
    pub fn running(&self) -> usize {
        self.shared.running.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Ends a running request from outside. False: no request of that id runs.
    pub fn cancel(&self, id: &str) -> bool {
        let Ok(id) = Uuid::parse_str(id) else { return false };
        let live = self.shard(id).get(&id).cloned();
        if let Some(live) = &live {
            live.cancel();
        }
        live.is_some()
    }

    /// Ends the running requests whose callers have lost their right. Returns how many.
    pub fn cancel_ended(&self) -> usize {
        let mut ended = 0;
        for shard in &self.shared.running {
            for live in lock(shard).values().filter(|live| live.has_lost_right() && !live.is_cancelled()) {
                live.cancel();
                ended += 1;
            }
        }
        ended
    }

    /// Resolves when all that was recorded so far is in the store.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.shared.store.flush().await
    }

    /// Records, newest first, as of now: what happened before the call is in the answer. Of one user they hold
    /// what that user may see.
    pub async fn list(&self, filter: Filter) -> Result<Vec<RequestView>, StoreError> {
        self.catch_up().await;
        let view = view_for(filter.user.as_deref());
        let records = requests::list(&self.shared.store, filter).await?;
        Ok(records.into_iter().map(view).collect())
    }

    /// When each model was asked last, in milliseconds since 1970.
    pub async fn last_used(&self) -> Result<HashMap<Arc<str>, i64>, StoreError> {
        self.catch_up().await;
        requests::last_used(&self.shared.store).await
    }

    /// Returns one record by our id, or the newest one with a client's `x-request-id`; of `user`, or of
    /// everyone.
    pub async fn get(&self, id: &str, user: Option<&str>) -> Result<Option<RequestView>, StoreError> {
        self.catch_up().await;
        Ok(requests::get(&self.shared.store, id, user).await?.map(view_for(user)))
    }

    /// Which accounts have requests that began or ended lately.
    pub fn changes(&self) -> &Changes {
        &self.shared.changes
    }

    /// Tokens per second, as of now.
    pub fn throughput(&self) -> &Throughput {
        &self.shared.throughput
    }

    /// What monitoring reads of the requests that have ended.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Records lost since start because the store could not take them.
    pub fn lost(&self) -> u64 {
        self.shared.store.lost()
    }

    /// Where the records are.
    pub fn store(&self) -> &Store {
        &self.shared.store
    }

    pub(super) fn end(&self, live: &Arc<Live>, outcome: Outcome) -> Tokens {
        debug_assert_ne!(outcome.status, Status::Running, "a request does not end as running");
        let tokens = live.end(outcome);
        live.count(&self.shared.metrics);
        self.shard(live.id()).remove(&live.id());
        if !self.submit(live) {
            self.shared.store.count_lost();
        }
        self.shared.changes.note(live.user(), live.id());
        tokens
    }

    /// False when the record is lost: the store's queue is full and the writer does not know it yet.
    fn submit(&self, live: &Arc<Live>) -> bool {
        if !live.enqueue() || self.shared.store.submit(Arc::clone(live) as _) {
            return true;
        }
        !live.not_queued()
    }

    /// A store that cannot write now can still be read.
    pub(super) async fn catch_up(&self) {
        if let Err(error) = self.flush().await {
            tracing::debug!(error = %error, "The newest records are not in the store yet.");
        }
    }

    fn shard(&self, id: Uuid) -> MutexGuard<'_, HashMap<Uuid, Arc<Live>>> {
        lock(&self.shared.running[id.as_u128() as usize % SHARDS])
    }
}

/// Makes a record into what `user` may see of it, or everyone's administrator.
fn view_for(user: Option<&str>) -> fn(RequestRecord) -> RequestView {
    if user.is_some() { |record| RequestView::from(record).for_owner() } else { RequestView::from }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
