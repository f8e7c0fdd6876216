//! Which accounts have requests that began or ended since somebody looked. Costs a request one relaxed load while nobody
//! wants to know; knows no events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

/// Accounts of which it is noted between two looks; the others hear of their next request.
const ACCOUNTS_MAX: usize = 10_000;

/// The newest request of each account, by its id; `None`: of callers without an account.
#[derive(Debug, Default)]
pub struct Changes {
    watched: AtomicBool,
    newest: Mutex<HashMap<Option<Arc<str>>, Uuid>>,
}

impl Changes {
    /// Notes changes from now on: somebody has begun to listen.
    pub fn watch(&self) {
        self.watched.store(true, Ordering::Relaxed);
    }

    /// Returns what was noted since the last call, and whether it is noted from now on.
    pub fn take(&self, watch: bool) -> HashMap<Option<Arc<str>>, Uuid> {
        self.watched.store(watch, Ordering::Relaxed);
        std::mem::take(&mut *self.newest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn note(&self, user: Option<&Arc<str>>, request: Uuid) {
        if !self.watched.load(Ordering::Relaxed) {
            return;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let user = user.cloned();
        if newest.len() < ACCOUNTS_MAX || newest.contains_key(&user) {
            newest.insert(user, request);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_keep_the_newest_request_of_each_account_while_they_are_watched() {
        let (changes, ada) = (Changes::default(), Arc::<str>::from("ada"));
        changes.note(Some(&ada), Uuid::from_u128(1));
        assert!(changes.take(true).is_empty(), "nobody watched");
        changes.note(Some(&ada), Uuid::from_u128(2));
        changes.note(Some(&ada), Uuid::from_u128(3));
        changes.note(None, Uuid::from_u128(4));
        let expected = HashMap::from([(Some(ada.clone()), Uuid::from_u128(3)), (None, Uuid::from_u128(4))]);
        assert_eq!(changes.take(false), expected);
        changes.note(Some(&ada), Uuid::from_u128(5));
        assert!(changes.take(true).is_empty());
    }
}
