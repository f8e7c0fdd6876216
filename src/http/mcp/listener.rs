//! From what a plugin says while it runs to MCP's notifications, in order and bounded.

#![expect(deprecated, reason = "clients of the protocol versions of today expect messages of plugins")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use rmcp::model::{LoggingLevel, LoggingMessageNotificationParam, ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RoleServer};
use tokio::sync::mpsc;

use crate::tools::{Level, Listener};

/// Messages that may wait for a slow client; more are left out.
const WAITING_MAX: usize = 256;

/// Above all ranks.
const SILENCE: u8 = u8::MAX;

/// What a plugin said.
enum Said {
    Log(Level, String),
    Progress(f64, Option<f64>, Option<String>),
}

/// Hears one call.
pub struct Ear {
    sender: mpsc::Sender<Said>,
    threshold: Arc<Threshold>,
    wants_progress: bool,
}

/// From which level on a session wants to hear messages.
#[derive(Debug)]
pub struct Threshold(AtomicU8);

/// Tells the client what was heard.
pub struct Voice {
    receiver: mpsc::Receiver<Said>,
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    plugin: String,
}

impl Default for Threshold {
    fn default() -> Self {
        Threshold(AtomicU8::new(rank(Level::Debug)))
    }
}

impl Threshold {
    /// Of one request in the protocol of today: as it says, or silence.
    pub fn asked(level: Option<LoggingLevel>) -> Threshold {
        let threshold = Threshold(AtomicU8::new(SILENCE));
        if let Some(level) = level {
            threshold.set(level);
        }
        threshold
    }

    pub fn set(&self, level: LoggingLevel) {
        let rank = match level {
            LoggingLevel::Debug => 1,
            LoggingLevel::Info | LoggingLevel::Notice => 2,
            LoggingLevel::Warning => 3,
            _ => 4,
        };
        self.0.store(rank, Ordering::Relaxed);
    }
}

pub fn pair(
    peer: Peer<RoleServer>,
    token: Option<ProgressToken>,
    plugin: &str,
    threshold: Arc<Threshold>,
) -> (Arc<Ear>, Voice) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let ear = Ear { sender, threshold, wants_progress: token.is_some() };
    (Arc::new(ear), Voice { receiver, peer, token, plugin: plugin.to_owned() })
}

impl Listener for Ear {
    fn log(&self, level: Level, message: &str) {
        if rank(level) >= self.threshold.0.load(Ordering::Relaxed) {
            self.sender.try_send(Said::Log(level, message.to_owned())).ok();
        }
    }

    fn progress(&self, progress: f64, total: Option<f64>, message: Option<&str>) {
        if self.wants_progress {
            self.sender.try_send(Said::Progress(progress, total, message.map(str::to_owned))).ok();
        }
    }
}

impl Voice {
    /// Until the ear is gone and all has been told.
    pub async fn tell(mut self) {
        while let Some(said) = self.receiver.recv().await {
            let told = match said {
                Said::Log(level, message) => self.log(level, message).await,
                Said::Progress(progress, total, message) => self.progress(progress, total, message).await,
            };
            if !told {
                return;
            }
        }
    }

    async fn log(&self, level: Level, message: String) -> bool {
        let level = match level {
            Level::Trace | Level::Debug => LoggingLevel::Debug,
            Level::Info => LoggingLevel::Info,
            Level::Warn => LoggingLevel::Warning,
            Level::Error => LoggingLevel::Error,
        };
        let mut param = LoggingMessageNotificationParam::new(level, message.into());
        param.logger = Some(self.plugin.clone());
        let told = self.peer.notify_logging_message(param).await;
        told.is_ok()
    }

    async fn progress(&self, progress: f64, total: Option<f64>, message: Option<String>) -> bool {
        let Some(token) = &self.token else { return true };
        let mut param = ProgressNotificationParam::new(token.clone(), progress);
        (param.total, param.message) = (total, message);
        self.peer.notify_progress(param).await.is_ok()
    }
}

fn rank(level: Level) -> u8 {
    match level {
        Level::Trace => 0,
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    }
}
