//! What commands need of the machine they run on: its data directory, and a gateway opened over it for
//! as long as one command takes. Knows no command.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::{App, AppError, data_dir};
use crate::backup::{self, Restored};
use crate::cli::{self, CliError, Host, Transport};
use crate::config::Config;
use crate::store::Store;
use crate::system::clock::{Clock, SystemClock};

/// This machine, for the commands of one process.
pub struct ThisMachine<L> {
    load: L,
    /// Opened for a command that runs without a gateway.
    app: Mutex<Option<App>>,
}

impl<L: Fn() -> Result<Config, CliError> + Sync> ThisMachine<L> {
    /// `load` reads the configuration that the flags lead to.
    pub fn new(load: L) -> ThisMachine<L> {
        ThisMachine { load, app: Mutex::new(None) }
    }

    /// Closes what a command has opened.
    pub async fn close(&self) {
        let app = self.app.lock().ok().and_then(|mut app| app.take());
        if let Some(app) = app {
            app.gateway.hub.downloads.shutdown().await;
            app.store.close().await;
        }
    }
}

impl<L: Fn() -> Result<Config, CliError> + Sync> Host for ThisMachine<L> {
    fn data_dir(&self) -> Result<PathBuf, CliError> {
        Ok((self.load)()?.server.data_dir)
    }

    async fn offline(&self) -> Result<Transport, CliError> {
        let app = App::open((self.load)()?).await.map_err(|error| match error {
            AppError::InUse(_) => CliError::Unreachable(error.to_string()),
            other => CliError::Failed(other.to_string()),
        })?;
        let transport = cli::in_process(app.local());
        if let Ok(mut kept) = self.app.lock() {
            *kept = Some(app);
        }
        Ok(transport)
    }

    fn restore(&self, file: &Path) -> Result<Restored, CliError> {
        let config = (self.load)()?;
        let _lock = data_dir::take(&config.server.data_dir).map_err(|error| match error {
            AppError::InUse(path) => CliError::Conflict(format!(
                "a gateway runs over the data directory {}; stop it, then restore",
                path.display()
            )),
            other => CliError::Failed(other.to_string()),
        })?;
        let places = data_dir::places(&config);
        let check = |store: &Path| Store::check(store).map_err(AppError::from);
        backup::restore(file, &places, SystemClock.unix_ms(), check)
            .map_err(|error| CliError::Failed(error.to_string()))
    }
}
