//! Forgetting records that are older than `[usage] retention_days`.

use std::time::Duration;

use super::Clock;
use crate::store::{Store, StoreError, requests};
use crate::system::clock::ClockTrust;

const PRUNE_EVERY: Duration = Duration::from_secs(60 * 60);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Forgets what is too old, now and once an hour, for as long as it is polled.
pub async fn retain(store: &Store, clock: &dyn Clock, retention_days: u32) {
    let mut trust = ClockTrust::default();
    loop {
        match prune_if_trusted(store, clock, retention_days, &mut trust).await {
            Ok(0) => {}
            Ok(pruned) => tracing::info!(usage.pruned = pruned, "Old usage records were deleted."),
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(error = %error, "Old usage records could not be deleted."),
        }
        tokio::time::sleep(PRUNE_EVERY).await;
    }
}

/// The same once, unless the clock has just jumped: what is old by a wrong clock is not gone with it.
pub async fn prune_if_trusted(
    store: &Store,
    clock: &dyn Clock,
    retention_days: u32,
    trust: &mut ClockTrust,
) -> Result<usize, StoreError> {
    let newest = requests::newest(store).await?;
    if trust.look(clock.unix_ms(), clock.now(), newest) {
        return prune_once(store, clock, retention_days).await;
    }
    tracing::warn!(
        "The clock has jumped ahead; no record is deleted as too old until it has kept to it for a day"
    );
    Ok(0)
}

/// Returns how many records went.
pub async fn prune_once(store: &Store, clock: &dyn Clock, retention_days: u32) -> Result<usize, StoreError> {
    let oldest = clock.unix_ms() - i64::from(retention_days) * DAY_MS;
    requests::prune(store, oldest).await
}
