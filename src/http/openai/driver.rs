//! The round driver: answers a request that takes several rounds, as a stream or as one object. The rounds run while
//! the answer is read, and the request ends once, with the last of them.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::BoxFuture;
use http::Response;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::dialect::aggregate::Aggregate;
use crate::dialect::assembled::Assembled;
use crate::dialect::chat_stream::Event;
use crate::dialect::facts::{Facts, Usage};
use crate::dialect::sse;
use crate::proxy::{Answer, Comments, Events, Failure, Head, JSON, Limits, ResolvedRequest, Rounds};
use crate::tools::chat::Round;
use crate::usage::Live;

/// Events that may wait for a slow client; each may be as large as an upstream's.
const AHEAD: usize = 4;
/// Time after which a stream gets its headers, although nothing has come.
const HEADERS_AFTER: Duration = Duration::from_secs(10);

/// Where the rounds send what the client gets.
pub type Out = mpsc::Sender<Event>;
/// How the rounds ended: with a finish reason, or a failure.
pub type Ended = Result<String, Failure>;

/// The form of an answer that is not streamed.
#[derive(Debug, Clone, Copy)]
pub enum Whole {
    /// One object with so many choices.
    Object(usize),
    /// All the events of a stream at once.
    Events,
}

/// Answers with what `run` sends.
pub async fn answer<F>(request: Box<ResolvedRequest>, form: Whole, run: F) -> Response<Answer>
where
    F: for<'a> FnOnce(&'a mut Rounds, Out) -> BoxFuture<'a, Ended> + Send + 'static,
{
    let (head, live) = (request.head(), Arc::clone(request.live()));
    let (is_stream, total) = (request.wants_stream(), request.profile().timeouts.total);
    let now = Instant::now();
    live.set_deadline(now + total);
    let (out, events) = mpsc::channel(AHEAD);
    let (limits, mut rounds) = (Limits::since(&live, now, total), request.rounds(head.progress.clone()));
    let work = Box::pin(async move {
        // A round that is dropped because a limit was reached ends its request itself.
        let ended = limits.run(run(&mut rounds, out)).await.and_then(|ended| ended);
        (rounds, ended)
    });
    let mut driver = Driver::new(work, events, head.clone());
    match (is_stream, form) {
        (true, _) => match tokio::time::timeout(HEADERS_AFTER, driver.begin()).await {
            Ok(Err(failure)) => head.failed(&failure),
            Ok(Ok(())) | Err(_) => {
                head.progress.begin();
                live.responded(200);
                head.stream(Answer::Events(Events::of_request(&live, driver)))
            }
        },
        (false, Whole::Object(choices)) => object(driver, &live, choices).await,
        (false, Whole::Events) => gathered(driver, &live).await,
    }
}

/// Answers with one object.
async fn object(mut driver: Driver, live: &Arc<Live>, choices: usize) -> Response<Answer> {
    let mut aggregate = Aggregate::new(&driver.head.profile, None).with_choices(choices);
    let mut facts = Facts::default();
    while let Some(event) = driver.next_event().await {
        if let Event::Chunk(chunk, _) = &event {
            aggregate.push(chunk, &mut facts);
        }
        if let Some(failure) = facts.failure.take() {
            return driver.abort(live, &failure.into());
        }
    }
    if let Some(failure) = driver.failure.take() {
        return driver.head.failed(&failure);
    }
    let head = driver.head.clone();
    match aggregate.finish(&mut facts) {
        Ok(json) => {
            driver.complete();
            head.whole(JSON, Answer::Full(json.into()))
        }
        Err(failure) => driver.abort(live, &failure.into()),
    }
}

/// Answers with all the events, once it is known that nothing failed.
async fn gathered(mut driver: Driver, live: &Arc<Live>) -> Response<Answer> {
    let (mut all, mut kept) = (Vec::new(), Assembled::events());
    while let Some(event) = driver.next_event().await {
        if let Err(failure) = kept.extend(&mut all, &event.to_bytes()) {
            return driver.abort(live, &failure.into());
        }
    }
    if let Some(failure) = driver.failure.take() {
        return driver.head.failed(&failure);
    }
    driver.complete();
    all.extend_from_slice(sse::DONE_EVENT);
    let all = futures_util::stream::iter([Bytes::from(all)]);
    driver.head.stream(Answer::Events(Events::of_request(live, all)))
}

impl Round for Rounds {
    type Failure = Failure;

    fn begin<'a>(&'a mut self, body: &'a Value) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(Rounds::begin(self, body))
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, Failure>> {
        Box::pin(Rounds::next(self))
    }

    fn end(&mut self) -> Result<Option<Usage>, Failure> {
        self.end_round().map(|facts| facts.usage)
    }

    fn called(&mut self, tool: &str, duration: Duration, error: Option<String>) {
        self.push_tool_call(tool, duration, error);
    }
}

/// An answer whose rounds run while it is read, and end when it is dropped.
struct Driver {
    work: Option<BoxFuture<'static, (Rounds, Ended)>>,
    events: mpsc::Receiver<Event>,
    /// The rounds have ended well, and the request has not.
    ended: Option<(Rounds, String)>,
    failure: Option<Failure>,
    /// Read before the headers went out.
    first: Option<Event>,
    is_over: bool,
    comments: Comments,
    head: Head,
}

impl Driver {
    fn new(work: BoxFuture<'static, (Rounds, Ended)>, events: mpsc::Receiver<Event>, head: Head) -> Driver {
        let comments = Comments::new(&head, "working");
        let (work, ended, failure, first) = (Some(work), None, None, None);
        Driver { work, events, ended, failure, first, is_over: false, comments, head }
    }

    /// Waits for the first event.
    ///
    /// # Errors
    /// If there is none: the failure can still be the answer's status.
    async fn begin(&mut self) -> Result<(), Failure> {
        self.first = self.next_event().await;
        match self.failure.take_if(|_| self.first.is_none()) {
            Some(failure) => Err(failure),
            None => Ok(()),
        }
    }

    async fn next_event(&mut self) -> Option<Event> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        if let Some(work) = &mut self.work
            && let Poll::Ready((mut rounds, ended)) = work.as_mut().poll(cx)
        {
            // The sender is dropped with it, so the events come to an end.
            self.work = None;
            match ended {
                Ok(finish_reason) => self.ended = Some((rounds, finish_reason)),
                Err(failure) => self.failure = Some(rounds.fail(failure)),
            }
        }
        self.events.poll_recv(cx)
    }

    /// Ends the request with a complete answer.
    fn complete(&mut self) {
        if let Some((mut rounds, finish_reason)) = self.ended.take() {
            rounds.complete(finish_reason);
        }
    }

    /// Ends the request with a failure that is not the rounds' own.
    fn abort(mut self, live: &Live, failure: &Failure) -> Response<Answer> {
        if let Some((mut rounds, _)) = self.ended.take() {
            drop(rounds.fail(failure.clone()));
        }
        live.abort(failure.to_abort(false));
        self.head.failed(failure)
    }

    /// Returns the final events of the stream.
    fn last(&mut self) -> Option<Bytes> {
        if std::mem::replace(&mut self.is_over, true) {
            return None;
        }
        self.complete();
        Some(match &self.failure {
            Some(failure) => failure.as_events().into(),
            None => Bytes::from_static(sse::DONE_EVENT),
        })
    }
}

impl Stream for Driver {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first.to_bytes()));
        }
        match this.poll_event(cx) {
            Poll::Ready(Some(event)) => {
                this.comments.reset();
                Poll::Ready(Some(event.to_bytes()))
            }
            Poll::Ready(None) => Poll::Ready(this.last()),
            Poll::Pending => this.comments.poll(cx).map(Some),
        }
    }
}
