//! Ctrl-C. Owns how work is given up, not what happens then.

use std::future::pending;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::exit::CliError;

/// Tells when somebody wants no more of it.
#[derive(Clone)]
pub struct Interrupt(Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>);

impl Interrupt {
    pub fn at_ctrl_c() -> Interrupt {
        Interrupt::when(|| {
            async {
                // Where the signal cannot be listened to it ends the process by itself.
                if tokio::signal::ctrl_c().await.is_err() {
                    pending::<()>().await;
                }
            }
            .boxed()
        })
    }

    /// Interrupts when the future that `wait` makes is ready.
    pub fn when(wait: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) -> Interrupt {
        Interrupt(Arc::new(wait))
    }

    /// Does the work, or drops it at the first interruption.
    pub async fn or<T>(&self, work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
        tokio::select! {
            result = work => result,
            () = (self.0)() => Err(CliError::Interrupted),
        }
    }
}
