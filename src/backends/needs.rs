//! How much memory a backend will need: as configured, else as it was measured with these launch
//! settings before, else as estimated from the model's files. Knows no process.

use super::launcher::Launcher;
use crate::config::LaunchSettings;
use crate::profiles::LaunchSpec;
use crate::store::{Store, measured_memory};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A peak that grew by less than one part in so many is not worth a write.
const WORTH_NOTING: u64 = 50;
/// Launch settings whose measured use is kept.
const KEPT_MAX: usize = 1_000;

/// Bytes and where the figure comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub bytes: u64,
    pub source: NeedSource,
}

/// Where the bytes that a backend is expected to need come from, the best known first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum NeedSource {
    /// `memory` of the profile.
    Configured,
    /// The most that was seen with these launch settings.
    Measured,
    /// Weights, one full context and overhead, from the model's files.
    Estimated,
}

pub struct Needs {
    launcher: Arc<dyn Launcher>,
    store: Option<Store>,
    measured: Mutex<HashMap<String, u64>>,
    /// Estimates made so far, to be shown; made anew for every start, for files may come.
    estimated: Mutex<HashMap<String, u64>>,
}

impl Needs {
    pub fn new(launcher: Arc<dyn Launcher>, store: Option<Store>) -> Needs {
        Needs { launcher, store, measured: Mutex::default(), estimated: Mutex::default() }
    }

    /// Takes over what earlier runs measured.
    pub async fn load(&self) {
        let Some(store) = &self.store else { return };
        match measured_memory::all(store).await {
            Ok(rows) => self.lock().extend(rows.into_iter().take(KEPT_MAX)),
            Err(error) => {
                tracing::warn!(%error, "What was measured of backends cannot be read; they are estimated anew");
            }
        }
    }

    /// None: nobody can say.
    pub async fn of(&self, spec: &LaunchSpec) -> Option<Need> {
        if let Some(need) = self.seen(&spec.settings) {
            return Some(need);
        }
        let bytes = self.launcher.estimate(spec).await?;
        let mut estimated = self.estimated.lock().unwrap_or_else(PoisonError::into_inner);
        if estimated.len() < KEPT_MAX {
            estimated.insert(key(&spec.settings), bytes);
        }
        Some(Need { bytes, source: NeedSource::Estimated })
    }

    /// What is known without a look at any file.
    pub fn known(&self, settings: &LaunchSettings) -> Option<Need> {
        self.seen(settings).or_else(|| {
            let estimated = self.estimated.lock().unwrap_or_else(PoisonError::into_inner);
            let bytes = *estimated.get(&key(settings))?;
            Some(Need { bytes, source: NeedSource::Estimated })
        })
    }

    /// As configured or measured.
    fn seen(&self, settings: &LaunchSettings) -> Option<Need> {
        let configured = settings.memory.map(|bytes| Need { bytes, source: NeedSource::Configured });
        configured.or_else(|| {
            let bytes = *self.lock().get(&key(settings))?;
            Some(Need { bytes, source: NeedSource::Measured })
        })
    }

    /// A backend with these settings was seen to use that much.
    pub async fn note(&self, settings: &LaunchSettings, peak: u64, now_ms: i64) {
        let key = key(settings);
        {
            let mut measured = self.lock();
            let before = measured.get(&key).copied().unwrap_or(0);
            if peak <= before.saturating_add(before / WORTH_NOTING) {
                return;
            }
            if measured.len() >= KEPT_MAX && !measured.contains_key(&key) {
                return;
            }
            measured.insert(key.clone(), peak);
        }
        let Some(store) = &self.store else { return };
        if let Err(error) = measured_memory::put(store, key, peak, now_ms).await {
            tracing::warn!(%error, "What was measured of a backend cannot be kept");
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.measured.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One name for equal settings, from which nothing of them can be read.
fn key(settings: &LaunchSettings) -> String {
    let text = format!("{:?}", LaunchSettings { memory: None, ..settings.clone() });
    Sha256::digest(text.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestLauncher, spec_with};
    use super::*;

    #[tokio::test]
    async fn what_was_measured_counts_more_than_an_estimate_and_less_than_what_was_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store.db")).unwrap();
        let needs = |store: &Store| Needs::new(TestLauncher::shell(""), Some(store.clone()));
        let first = needs(&store);
        let spec = spec_with(|_| {});
        assert_eq!(first.of(&spec).await, None);
        first.note(&spec.settings, 700, 1).await;
        first.note(&spec.settings, 600, 2).await;
        let later = needs(&store);
        later.load().await;
        let measured = Need { bytes: 700, source: NeedSource::Measured };
        assert_eq!(later.of(&spec).await, Some(measured));
        let said = spec_with(|spec| spec.settings.memory = Some(900));
        assert_eq!(later.of(&said).await, Some(Need { bytes: 900, source: NeedSource::Configured }));
        let other = spec_with(|spec| spec.settings.context_length = Some(4_096));
        assert_eq!(later.of(&other).await, None);
        store.close().await;
    }
}
