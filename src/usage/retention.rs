//! Forgetting records that are older than `[usage] retention_days`.

use std::time::Duration;

use super::Clock;
use crate::store::{Store, StoreError, requests};

const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Forgets what is too old, now and once an hour, for as long as it is polled.
pub async fn retain(store: &Store, clock: &dyn Clock, retention_days: u32) {
    loop {
        match prune_once(store, clock, retention_days).await {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(usage.pruned = pruned, "Old usage records were deleted."),
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(error = %error, "Old usage records could not be deleted."),
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// Returns how many records went.
pub async fn prune_once(store: &Store, clock: &dyn Clock, retention_days: u32) -> Result<usize, StoreError> {
    let oldest = clock.unix_ms() - i64::from(retention_days) * DAY_MS;
    requests::prune(store, oldest).await
}
