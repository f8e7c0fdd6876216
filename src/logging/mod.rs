//! The gateway's own log: where its lines go, in which form, of which request they are, and which of them are written,
//! which can be changed while it runs. The only place that names tracing_subscriber; knows nothing of what is logged.

mod line;
mod request;
mod rotating;

pub use request::{InRequest, RequestFields};

use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{DefaultFields, Format};
use tracing_subscriber::fmt::{MakeWriter, SubscriberBuilder};

use line::{JsonEvents, JsonLines, OneLineFields};
use rotating::Rotating;

/// What is logged when nobody says otherwise.
/// hf-hub logs every refusal as an error, and rmcp four lines per session, one of them a dump; the gateway logs what
/// matters of both.
const DEFAULT_FILTER: &str = "info,hf_hub=off,rmcp=warn";
/// Bytes of a filter that are looked at.
const FILTER_MAX: usize = 4096;

/// How the log begins.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Levels by module, such as `info,mlx_gateway::backends=debug`; none: the default.
    pub filter: Option<String>,
    pub json: bool,
    /// None: standard error.
    pub file: Option<LogFile>,
}

/// A log file of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    pub path: PathBuf,
    /// Bytes after which a new one is begun.
    pub max_size: u64,
    /// Earlier ones that stay.
    pub keep: u32,
    /// One that exists is closed to other users: it lies in the data directory.
    pub is_private: bool,
}

/// What is written now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Levels {
    pub filter: String,
    /// What it was at the start, and becomes again with the next one.
    pub at_start: String,
    pub file: Option<PathBuf>,
}

/// Why the log cannot be set up or changed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "the log level is not understood ({0}); write error, warn, info, debug, trace or off, also by module: \
         info,mlx_gateway::backends=debug"
    )]
    Filter(String),
    #[error("the log file {path} cannot be written: {source}", path = .path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("this process keeps no log of its own; levels are those of a running gateway")]
    NotKept,
    #[error("the log was set up twice")]
    Twice,
}

type Apply = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// Of this process: as many as there are global subscribers.
static LOG: OnceLock<Log> = OnceLock::new();

struct Log {
    apply: Apply,
    levels: Mutex<Levels>,
}

/// Begins the log of this process, once.
pub fn init(setup: Setup) -> Result<(), LogError> {
    let text = setup.filter.unwrap_or_else(|| DEFAULT_FILTER.to_owned());
    let filter = parsed(&text)?;
    let path = setup.file.as_ref().map(|file| file.path.clone());
    let builder = tracing_subscriber::fmt();
    let apply = match setup.file {
        Some(file) => {
            let failed = |source| LogError::File { path: file.path.clone(), source };
            let file = Mutex::new(Rotating::open(file.clone()).map_err(failed)?);
            install(builder.with_ansi(false).with_writer(file), filter, setup.json)
        }
        None => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            install(builder.with_ansi(colours).with_writer(std::io::stderr), filter, setup.json)
        }
    }?;
    let levels = Mutex::new(Levels { filter: text.clone(), at_start: text, file: path });
    LOG.set(Log { apply, levels }).map_err(|_| LogError::Twice)
}

/// What is written now.
pub fn levels() -> Result<Levels, LogError> {
    let log = LOG.get().ok_or(LogError::NotKept)?;
    Ok(log.levels.lock().unwrap_or_else(PoisonError::into_inner).clone())
}

/// Changes what is written, until the next start; none: as it was at the start.
pub fn set_filter(filter: Option<String>) -> Result<Levels, LogError> {
    let log = LOG.get().ok_or(LogError::NotKept)?;
    let mut levels = log.levels.lock().unwrap_or_else(PoisonError::into_inner);
    let text = filter.unwrap_or_else(|| levels.at_start.clone());
    if !(log.apply)(parsed(&text)?) {
        return Err(LogError::NotKept);
    }
    levels.filter = text;
    Ok(levels.clone())
}

fn parsed(text: &str) -> Result<EnvFilter, LogError> {
    let text = text.trim();
    if text.is_empty() || text.len() > FILTER_MAX {
        return Err(LogError::Filter(format!("it has 1 to {FILTER_MAX} bytes")));
    }
    EnvFilter::try_new(text).map_err(|error| LogError::Filter(error.to_string()))
}

fn install<W>(
    builder: SubscriberBuilder<DefaultFields, Format, tracing::level_filters::LevelFilter, W>,
    filter: EnvFilter,
    json: bool,
) -> Result<Apply, LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    if json {
        let builder = builder
            .json()
            .map_event_format(JsonEvents)
            .map_writer(JsonLines)
            .with_env_filter(filter)
            .with_filter_reloading();
        let handle = builder.reload_handle();
        builder.try_init().map_err(|_| LogError::Twice)?;
        return Ok(Box::new(move |filter| handle.reload(filter).is_ok()));
    }
    let builder = builder.fmt_fields(OneLineFields).with_env_filter(filter).with_filter_reloading();
    let handle = builder.reload_handle();
    builder.try_init().map_err(|_| LogError::Twice)?;
    Ok(Box::new(move |filter| handle.reload(filter).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_levels_by_module_and_what_is_wrong_is_said() {
        for filter in ["debug", "info,mlx_gateway::backends=debug,hyper=off", DEFAULT_FILTER] {
            assert!(parsed(filter).is_ok(), "{filter}");
        }
        for filter in ["", "info,mlx_gateway=loud", "=", &"x,".repeat(FILTER_MAX)] {
            let error = parsed(filter).unwrap_err();
            assert!(error.to_string().contains("mlx_gateway::backends=debug"), "{error}");
        }
    }

    #[test]
    fn a_process_without_a_log_says_so() {
        assert!(matches!(levels(), Err(LogError::NotKept)));
        assert!(matches!(set_filter(None), Err(LogError::NotKept)));
    }
}
