//! What is typed or piped in. Reads on a thread of its own, because a read from a terminal cannot be
//! given up and would otherwise keep the process from ending. Knows nothing of prompts.

use std::io::{self, BufRead, IsTerminal, Read};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::exit::CliError;

/// Bytes of the longest text that is read from a pipe; the gateway would refuse a longer one anyway.
const MAX_PIPED: u64 = 64 << 20;
/// Lines that may wait to be answered.
const LINES_AHEAD: usize = 16;

/// Where input comes from.
pub struct Input {
    pub source: Box<dyn BufRead + Send>,
    pub terminal: bool,
}

impl Input {
    /// This process's standard input.
    pub fn standard() -> Input {
        let source = Box::new(io::BufReader::new(io::stdin()));
        Input { source, terminal: io::stdin().is_terminal() }
    }

    /// Takes it away; what stays behind is empty.
    pub fn take(&mut self) -> Input {
        Input { source: std::mem::replace(&mut self.source, Box::new(io::empty())), terminal: self.terminal }
    }

    /// All of it.
    pub async fn read_all(self) -> Result<String, CliError> {
        let (tell, told) = oneshot::channel();
        reader(move || {
            let mut text = String::new();
            let read = self.source.take(MAX_PIPED).read_to_string(&mut text).map(|_| text);
            // Nobody waits any more when the command was interrupted.
            tell.send(read).ok();
        })?;
        match told.await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(CliError::Failed(format!("standard input could not be read: {error}"))),
            Err(_) => Err(CliError::Interrupted),
        }
    }

    /// Line by line, until it ends.
    pub fn lines(self) -> Result<mpsc::Receiver<String>, CliError> {
        let (tell, told) = mpsc::channel(LINES_AHEAD);
        reader(move || {
            for line in self.source.lines().map_while(Result::ok) {
                if tell.blocking_send(line).is_err() {
                    break;
                }
            }
        })?;
        Ok(told)
    }
}

/// The thread is not waited for: it may stand in a read that never ends, and holds nothing.
fn reader(read: impl FnOnce() + Send + 'static) -> Result<(), CliError> {
    let thread = thread::Builder::new().name("stdin".into());
    thread
        .spawn(read)
        .map(drop)
        .map_err(|error| CliError::Failed(format!("standard input cannot be read: {error}")))
}
