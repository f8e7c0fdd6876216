//! A terminal or a pair of pipes that remember what was written to them.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cli::out::{Out, Pipe};

#[derive(Clone, Default)]
pub struct Screen {
    stdout: Sink,
    stderr: Sink,
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

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

    fn ends(&self, json: bool, terminal: bool) -> Out {
        let pipe = |sink: &Sink| Pipe {
            to: Box::new(sink.clone()),
            terminal,
            colour: terminal,
            mid_line: false,
        };
        Out::new(pipe(&self.stdout), pipe(&self.stderr), json)
    }
}

impl Sink {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
