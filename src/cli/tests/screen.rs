//! A terminal or a pair of pipes that remember what was written to them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use tokio::sync::Notify;

use crate::cli::interrupt::Interrupt;
use crate::cli::out::{Out, Pipe};

/// Whoever sees this on stdout presses Ctrl-C.
pub const ENOUGH: &str = "<enough>";

#[derive(Clone, Default)]
pub struct Screen {
    stdout: Sink,
    stderr: Sink,
}

#[derive(Clone, Default)]
struct Sink {
    written: Arc<Mutex<Vec<u8>>>,
    enough: Arc<Notify>,
}

impl Screen {
    /// Ends that are pipes.
    pub fn out(&self, json: bool) -> Out {
        self.ends(json, false)
    }

    pub fn out_to_terminal(&self, json: bool) -> Out {
        self.ends(json, true)
    }

    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    pub fn interrupt(&self) -> Interrupt {
        let enough = self.stdout.enough.clone();
        Interrupt::when(move || {
            let enough = enough.clone();
            async move { enough.notified().await }.boxed()
        })
    }

    fn ends(&self, json: bool, terminal: bool) -> Out {
        let pipe =
            |sink: &Sink| Pipe { to: Box::new(sink.clone()), terminal, colour: terminal, mid_line: false };
        Out::new(pipe(&self.stdout), pipe(&self.stderr), json)
    }
}

impl Sink {
    fn text(&self) -> String {
        let bytes = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        if memchr::memmem::find(bytes, ENOUGH.as_bytes()).is_some() {
            self.enough.notify_one();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
