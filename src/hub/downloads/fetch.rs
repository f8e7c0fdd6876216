//! One file of a download: fetched from the byte where it stopped, tried again while that may help,
//! and named when its hash is right. Knows the hub and the file, no job.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use super::job::FileState;
use super::layout::Layout;
use super::pace::Backoff;
use super::partial::Partial;
use super::problem::Problem;
use crate::hub::HubClient;
use crate::hub::error::HubError;
use crate::hub::wire::{Ask, SILENCE};

/// Pieces of a body that may wait for the disk.
const PIECES: usize = 16;
/// Times that the bytes of a file may be wrong.
const CORRUPTIONS: u32 = 2;

/// What the files of one download have in common.
pub struct Fetcher<'a> {
    pub hub: &'a HubClient,
    pub layout: &'a Layout,
    pub model: &'a str,
    pub commit: &'a str,
    pub backoff: Backoff,
    pub stop: &'a CancellationToken,
    /// Told what is waited for, and for how long.
    pub waiting: &'a (dyn Fn(&Problem, Duration) + Send + Sync),
}

/// How often something failed in a row.
#[derive(Debug, Default)]
pub struct Failures {
    in_a_row: u32,
    corruptions: u32,
}

impl Failures {
    /// Waits before the next try, or gives the problem back when there is to be none.
    pub async fn pause(
        &mut self,
        problem: Problem,
        progressed: bool,
        backoff: &Backoff,
        stop: &CancellationToken,
        waiting: &(dyn Fn(&Problem, Duration) + Send + Sync),
    ) -> Result<(), Problem> {
        self.in_a_row = if progressed { 1 } else { self.in_a_row + 1 };
        self.corruptions += u32::from(problem.is_corruption());
        if !problem.is_temporary() || self.corruptions >= CORRUPTIONS {
            return Err(problem);
        }
        let Some(wait) = backoff.wait(self.in_a_row, problem.retry_after()) else { return Err(problem) };
        waiting(&problem, wait);
        tokio::select! {
            () = stop.cancelled() => Err(Problem::Stopped),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }
}

impl Fetcher<'_> {
    /// Returns when the file is in the cache.
    pub async fn fetch(&self, state: &FileState) -> Result<(), Problem> {
        let mut failures = Failures::default();
        let mut partial = None;
        loop {
            if self.stop.is_cancelled() {
                return Err(Problem::Stopped);
            }
            let before = state.received();
            let Err(problem) = self.advance(state, &mut partial).await else { return Ok(()) };
            let progressed = state.received() > before;
            failures.pause(problem, progressed, &self.backoff, self.stop, self.waiting).await?;
        }
    }

    /// One try; what was written stays in `partial` for the next one.
    async fn advance(&self, state: &FileState, partial: &mut Option<Partial>) -> Result<(), Problem> {
        let (layout, file) = (self.layout.clone(), state.file.clone());
        if layout.has(&file) {
            state.set_done(file.size);
            return Ok(());
        }
        let mut open = match partial.take() {
            Some(open) => open,
            None => blocking(move || Partial::open(&layout, &file)).await??,
        };
        state.set_done(open.written());
        if !open.is_whole() {
            let (back, streamed) = self.stream(state, open).await?;
            open = back;
            state.set_done(open.written());
            if let Err(problem) = streamed {
                *partial = Some(open);
                return Err(problem);
            }
        }
        let (back, finished) = blocking(move || {
            let finished = open.finish();
            (open, finished)
        })
        .await?;
        if finished.is_err() {
            state.set_done(back.written());
            *partial = Some(back);
        }
        Ok(finished?)
    }

    /// Asks for what is missing and writes it beside the reading.
    async fn stream(
        &self,
        state: &FileState,
        mut open: Partial,
    ) -> Result<(Partial, Result<(), Problem>), Problem> {
        let url = self.hub.file_url(self.model, self.commit, &state.file.path);
        let token = self.hub.token().value().await;
        let ask = Ask { url: &url, token: token.as_deref(), from: open.written(), model: self.model };
        let asking = tokio::select! {
            () = self.stop.cancelled() => return Ok((open, Err(Problem::Stopped))),
            answer = self.hub.wire().open(ask) => answer,
        };
        let answer = match asking {
            Ok(answer) => answer,
            Err(error) => return Ok((open, Err(error.into()))),
        };
        let Some(begins) = begins_at(answer.status, &answer.headers, open.written()) else {
            open.restart()?;
            return Ok((open, Err(Problem::Range { file: state.file.path.clone() })));
        };
        if begins == 0 && open.written() > 0 {
            // A server without ranges sends all of it again.
            open.restart()?;
            state.set_done(0);
        }
        let (pieces, inbox) = mpsc::channel(PIECES);
        let writer = spawn_blocking(move || write(open, inbox));
        let read = self.read(state, answer.body, pieces).await;
        let (open, written) = writer.await.map_err(|_panicked| Problem::Worker)?;
        // What the disk says counts more than what the connection says.
        let ended = written.and(read).and_then(|()| match open.is_whole() {
            true => Ok(()),
            false => {
                Err(HubError::Cut { reason: format!("{} came to its end early", state.file.path) }.into())
            }
        });
        Ok((open, ended))
    }

    async fn read(
        &self,
        state: &FileState,
        mut body: Incoming,
        pieces: mpsc::Sender<Bytes>,
    ) -> Result<(), Problem> {
        loop {
            let frame = tokio::select! {
                () = self.stop.cancelled() => return Err(Problem::Stopped),
                frame = tokio::time::timeout(SILENCE, body.frame()) => frame,
            };
            let frame = match frame {
                Err(_elapsed) => return Err(HubError::Silent { after: SILENCE }.into()),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(HubError::Cut { reason: error.to_string() }.into()),
                Ok(Some(Ok(frame))) => frame,
            };
            let Ok(data) = frame.into_data() else { continue };
            let bytes = data.len() as u64;
            if pieces.send(data).await.is_err() {
                // The writer has ended, and says why.
                return Ok(());
            }
            state.add(bytes);
        }
    }
}

/// Where the body of an answer begins in the file; `None` where that does not fit what was asked for.
fn begins_at(status: StatusCode, headers: &HeaderMap, asked: u64) -> Option<u64> {
    if status != StatusCode::PARTIAL_CONTENT {
        return Some(0);
    }
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    let first = range.strip_prefix("bytes ")?.split_once('-')?.0.parse().ok()?;
    (first == asked).then_some(first)
}

fn write(mut open: Partial, mut inbox: mpsc::Receiver<Bytes>) -> (Partial, Result<(), Problem>) {
    while let Some(piece) = inbox.blocking_recv() {
        if let Err(error) = open.write(&piece) {
            return (open, Err(error.into()));
        }
    }
    (open, Ok(()))
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    spawn_blocking(work).await.map_err(|_panicked| Problem::Worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_to_begin_where_it_was_asked_for() {
        let begins = |status: u16, range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, range.parse().unwrap());
            begins_at(StatusCode::from_u16(status).unwrap(), &headers, 5)
        };
        assert_eq!(begins(206, "bytes 5-9/10"), Some(5));
        assert_eq!(begins(206, "bytes 4-9/10"), None);
        assert_eq!(begins(206, "nonsense"), None);
        assert_eq!(begins(200, ""), Some(0));
    }
}
