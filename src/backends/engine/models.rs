//! What engines ask of whoever brings models to this machine. Knows neither the hub nor downloads.

use std::path::PathBuf;

use futures_util::future::BoxFuture;

/// How far a model is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub done_bytes: u64,
    /// 0 until it is known.
    pub total_bytes: u64,
}

/// Brings models here.
pub trait ModelFetcher: Send + Sync + 'static {
    /// The folder of a Hub model, if all of it is here. Blocks on the disk.
    fn find(&self, id: &str) -> Option<PathBuf>;

    /// Fetches a Hub model and gives its folder, or says why not. Whoever stops waiting does not stop
    /// it.
    fn fetch<'a>(
        &'a self,
        id: &'a str,
        report: &'a (dyn Fn(Arrival) + Send + Sync),
    ) -> BoxFuture<'a, Result<PathBuf, String>>;
}
