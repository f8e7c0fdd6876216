//! The right by which a caller's requests and streams go on, until whatever gave it is withdrawn. A right
//! ends for good: a key or session that is still valid after a change of its account gets a new one.

use tokio_util::sync::CancellationToken;

/// Ends with a revocation, a log-out, an expiry, or a change of the account. The default one never ends.
#[derive(Debug, Clone, Default)]
pub struct Right(CancellationToken);

impl Right {
    /// Whether the caller has lost it.
    pub fn has_ended(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Resolves when the caller loses it.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.clone().cancelled_owned()
    }

    pub(super) fn end(&self) {
        self.0.cancel();
    }
}
