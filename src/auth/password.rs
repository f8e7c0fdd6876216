//! Passwords: argon2id on a few threads, so that a crowd at the door does not take the machine. An
//! unknown account costs the same work as a known one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;

use super::error::AuthFault;

/// Hashes at one time; each takes 19 MiB and a processor.
const AT_ONCE: usize = 2;
/// Hashes that may wait; later ones are refused.
const WAITING_MAX: usize = 64;
/// Of these, how many may be of unknown devices, so that a flood of guesses does not keep known ones out.
const STRANGERS_MAX: usize = 48;
/// Bytes of a password. Longer ones would only cost time.
pub const LONGEST: usize = 1024;
/// Characters of a password.
pub const SHORTEST: usize = 8;

/// Whose password is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Stranger,
    /// A browser that has logged in to the account before.
    KnownDevice,
}

/// Checks and makes hashes. A cheap clone.
#[derive(Clone)]
pub struct Passwords {
    inner: Arc<Inner>,
}

struct Inner {
    argon2: Argon2<'static>,
    /// Of a password that nobody has.
    dummy: String,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    verified: AtomicU64,
}

impl Passwords {
    /// With the cost that OWASP names for argon2id: 19 MiB, two passes.
    pub fn new() -> Result<Passwords, AuthFault> {
        Passwords::with(Params::default())
    }

    pub(super) fn with(params: Params) -> Result<Passwords, AuthFault> {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = hash(&argon2, &super::secret::secret("")?)?;
        let turns = Arc::new(Semaphore::new(AT_ONCE));
        let (waiting, verified) = (AtomicUsize::new(0), AtomicU64::new(0));
        Ok(Passwords { inner: Arc::new(Inner { argon2, dummy, turns, waiting, verified }) })
    }

    /// The PHC form of a new password.
    pub async fn hash(&self, password: String) -> Result<String, AuthFault> {
        check(&password)?;
        self.work(Lane::Stranger, move |inner| hash(&inner.argon2, &password)).await
    }

    /// Whether the password is the one of `known`. Without an account the answer is no, after the
    /// same work.
    pub async fn verify(
        &self,
        password: String,
        known: Option<String>,
        lane: Lane,
    ) -> Result<bool, AuthFault> {
        self.work(lane, move |inner| {
            inner.verified.fetch_add(1, Ordering::Relaxed);
            let is_known = known.is_some();
            let text = known.as_deref().unwrap_or(&inner.dummy);
            let fits = password.len() <= LONGEST;
            let hash = PasswordHash::new(text).map_err(|error| AuthFault::Internal(error.to_string()))?;
            let shown = if fits { password.as_bytes() } else { b"" };
            Ok(inner.argon2.verify_password(shown, &hash).is_ok() && is_known && fits)
        })
        .await
    }

    /// How many hashes were verified, those of unknown accounts included.
    pub fn verified(&self) -> u64 {
        self.inner.verified.load(Ordering::Relaxed)
    }

    async fn work<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Inner) -> Result<T, AuthFault> + Send + 'static,
    ) -> Result<T, AuthFault> {
        let place = Place::take(&self.inner, lane)?;
        let turn = Arc::clone(&self.inner.turns).acquire_owned().await;
        let turn = turn.map_err(|closed| AuthFault::Internal(closed.to_string()))?;
        let done = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&place.0)
        });
        done.await.map_err(|error| AuthFault::Internal(error.to_string()))?
    }
}

/// A place among those that wait.
struct Place(Arc<Inner>);

impl Place {
    fn take(inner: &Arc<Inner>, lane: Lane) -> Result<Place, AuthFault> {
        let place = Place(Arc::clone(inner));
        let before = inner.waiting.fetch_add(1, Ordering::AcqRel);
        let most = match lane {
            Lane::Stranger => STRANGERS_MAX,
            Lane::KnownDevice => WAITING_MAX,
        };
        if before >= most { Err(AuthFault::Busy) } else { Ok(place) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

fn check(password: &str) -> Result<(), AuthFault> {
    if password.chars().count() < SHORTEST {
        return Err(AuthFault::Invalid(format!("a password has at least {SHORTEST} characters"), "password"));
    }
    if password.len() > LONGEST {
        return Err(AuthFault::Invalid(format!("a password has at most {LONGEST} bytes"), "password"));
    }
    Ok(())
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String, AuthFault> {
    let hash = argon2.hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| AuthFault::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> Passwords {
        Passwords::with(Params::new(64, 1, 1, None).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_known_again_by_its_hash_alone() {
        let passwords = quick();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$") && !hash.contains("horse"));
        assert!(passwords.verify("correct horse".into(), Some(hash.clone()), Lane::Stranger).await.unwrap());
        assert!(!passwords.verify("correct house".into(), Some(hash.clone()), Lane::Stranger).await.unwrap());
        assert!(!passwords.verify("x".repeat(LONGEST + 1), Some(hash), Lane::Stranger).await.unwrap());
    }

    #[tokio::test]
    async fn an_unknown_account_costs_the_verification_of_the_dummy_hash() {
        let passwords = quick();
        let (before, began) = (passwords.verified(), PasswordHash::new(&passwords.inner.dummy).is_ok());
        assert!(began, "the dummy is a real hash, with the cost of all others");
        assert!(!passwords.verify("anything".into(), None, Lane::Stranger).await.unwrap());
        assert!(!passwords.verify(String::new(), None, Lane::Stranger).await.unwrap());
        assert_eq!(passwords.verified() - before, 2);
        let real = passwords.hash("correct horse".into()).await.unwrap();
        let cost = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cost(&passwords.inner.dummy), cost(&real));
    }

    #[tokio::test]
    async fn short_and_endless_passwords_are_refused() {
        let passwords = quick();
        for password in ["short".to_owned(), "x".repeat(LONGEST + 1)] {
            assert!(matches!(passwords.hash(password).await, Err(AuthFault::Invalid(_, "password"))));
        }
    }

    #[tokio::test]
    async fn a_flood_of_strangers_is_refused_and_a_known_device_is_not() {
        let passwords = quick();
        let full: Vec<_> =
            (0..STRANGERS_MAX).map(|_| Place::take(&passwords.inner, Lane::Stranger).unwrap()).collect();
        assert_eq!(passwords.verify("x".into(), None, Lane::Stranger).await, Err(AuthFault::Busy));
        assert_eq!(passwords.verify("x".into(), None, Lane::KnownDevice).await, Ok(false));
        let known = STRANGERS_MAX..WAITING_MAX;
        let rest: Vec<_> = known.map(|_| Place::take(&passwords.inner, Lane::KnownDevice).unwrap()).collect();
        assert_eq!(passwords.verify("x".into(), None, Lane::KnownDevice).await, Err(AuthFault::Busy));
        drop((full, rest));
        assert_eq!(passwords.verify("x".into(), None, Lane::Stranger).await, Ok(false));
    }
}
