//! The end, in order: turn new requests away, let those under way finish within their grace, stop the
//! backends, close the connections, write what was used, close the store. A second signal skips the
//! waiting, never the cleaning up.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::app::App;
use crate::http::Listeners;
use crate::system::limits;

/// Time open connections have once nothing is left to answer.
const CLOSE_GRACE: Duration = Duration::from_secs(2);

/// What a signal asks for.
#[derive(Debug)]
pub struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    /// Taken, so that it does not end the process; the write that brought it has failed, and says so.
    _file_too_large: tokio::signal::unix::Signal,
}

impl Signals {
    /// From now on signals no longer end the process by themselves.
    pub fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            _file_too_large: signal(SignalKind::from_raw(limits::FILE_TOO_LARGE))?,
        })
    }

    /// The next SIGINT or SIGTERM.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

/// Ends everything; returns when no process, socket or unwritten record is left.
pub async fn shut_down(app: &App, listeners: &Listeners, signals: &mut Signals) {
    let grace = app.config.server.shutdown_grace;
    tracing::info!(
        grace_s = grace.as_secs_f64(),
        requests = app.gateway.proxy.recorder.live().len(),
        "Shutting down: new requests are turned away, those under way may finish"
    );
    app.gateway.drain();
    app.gateway.hub.downloads.shutdown().await;
    tokio::select! {
        () = app.backends.shutdown(grace) => {}
        name = signals.next() => {
            tracing::warn!(signal = name, "A second signal: backends are stopped at once");
            app.backends.shutdown(Duration::ZERO).await;
        }
    }
    app.gateway.tasks.close();
    if tokio::time::timeout(CLOSE_GRACE, app.gateway.tasks.wait()).await.is_err() {
        tracing::warn!(
            tasks = app.gateway.tasks.len(),
            "Work in the background was still under way at the end"
        );
    }
    listeners.close(CLOSE_GRACE).await;
    let worker = app.gateway.proxy.worker.clone();
    if tokio::time::timeout(CLOSE_GRACE, tokio::task::spawn_blocking(move || worker.close())).await.is_err() {
        tracing::warn!("Workers were still ending at the end");
    }
    app.store.close().await;
    tracing::info!("Everything has ended");
}
