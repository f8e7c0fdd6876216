//! Answers that take several rounds: moved on while they are read, as a stream or put together, and
//! ended once. What the rounds are is their giver's to know.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use http::Response;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Interval;

use crate::backends::Progress;
use crate::dialect::aggregate::Aggregate;
use crate::dialect::assembled::Assembled;
use crate::dialect::facts::Facts;
use crate::dialect::failure::UpstreamFailure;
use crate::dialect::sse;
use crate::proxy::{Answer, Events, Failure, Opened, Rounds, collected, comment, failed, streamed, waited};
use crate::tools::chat::{Called, Round, Stop};
use crate::usage::Live;

/// Pieces that may wait for a slow client; each may be as large as an event.
const AHEAD: usize = 4;
/// Silence after which a client hears a comment.
const COMMENT_AFTER: Duration = Duration::from_secs(10);

/// Where the rounds tell what the client is to see.
pub type Out = mpsc::Sender<Bytes>;
/// How the rounds ended.
pub type Ended = Result<Facts, Stop<Failure>>;

/// How an answer comes that no stream was asked for.
#[derive(Debug, Clone, Copy)]
pub enum Whole {
    /// As one object with so many choices.
    Object(usize),
    /// As all the events that a stream would have had.
    Events,
}

/// Answers out of what `run` does.
pub async fn answer<F>(opened: Opened, form: Whole, run: F) -> Response<Answer>
where
    F: for<'a> FnOnce(&'a mut Asking, Out) -> BoxFuture<'a, Ended> + Send + 'static,
{
    let (stream, arrived) = (opened.wants_stream(), opened.arrived);
    let (profile, total) = (opened.profile().name.clone(), opened.profile().timeouts.total);
    let (out, pieces) = mpsc::channel(AHEAD);
    let rounds = opened.rounds();
    let (progress, live) = (rounds.progress(), rounds.live());
    let until = Instant::now() + total;
    live.set_deadline(until);
    let work = Box::pin(perform(Asking(rounds), (total, until), out, run));
    let mut driven = Driven::new(work, pieces, profile.clone(), progress.clone());
    let response = if stream {
        match tokio::time::timeout(COMMENT_AFTER, driven.begin()).await {
            Ok(Err(failure)) => failed(&failure),
            Ok(Ok(())) | Err(_) => {
                progress.begin();
                streamed(Events::of_request(&live, driven), &profile, arrived)
            }
        }
    } else {
        match form {
            Whole::Object(choices) => whole(driven, &live, &profile, arrived, choices).await,
            Whole::Events => gathered(driven, &live, &profile, arrived).await,
        }
    };
    waited(response, &progress)
}

/// Runs the rounds and tells their end, once: to the client, and to the record.
async fn perform<F>(
    mut asking: Asking,
    (total, until): (Duration, Instant),
    out: Out,
    run: F,
) -> Option<Failure>
where
    F: for<'a> FnOnce(&'a mut Asking, Out) -> BoxFuture<'a, Ended>,
{
    let live = asking.0.live();
    let ended = tokio::select! {
        ended = run(&mut asking, out.clone()) => ended,
        failure = late(&live, total, until) => Err(Stop::Failed(failure)),
        () = live.cancelled() => Err(Stop::Failed(Failure::of_cancelled(&live))),
    };
    match ended {
        Ok(facts) => {
            asking.0.finish(&facts);
            say(&out, Bytes::from_static(sse::DONE_EVENT)).await;
            None
        }
        Err(Stop::Failed(failure)) => {
            asking.0.fail(&failure);
            Some(failure)
        }
        Err(Stop::Broken(failure)) => {
            let failure = Failure::from(failure);
            asking.0.fail(&failure);
            Some(failure)
        }
        Err(Stop::Unsatisfied(why)) => {
            let mut failure = Failure::backend(why);
            (failure.status, failure.code) = (502, "tool_choice_unsatisfied");
            asking.0.fail(&failure);
            Some(failure)
        }
        Err(Stop::Told(words)) => {
            say(&out, words.into()).await;
            say(&out, Bytes::from_static(sse::DONE_EVENT)).await;
            None
        }
        // Dropped, the record says that the client left.
        Err(Stop::Gone) => None,
    }
}

/// Ends the request when `total` has passed; what is dropped with it then knows why.
async fn late(live: &Live, total: Duration, until: Instant) -> Failure {
    tokio::time::sleep_until(until.into()).await;
    let failure = Failure::total_passed(total);
    live.abort(failure.to_abort(false));
    failure
}

async fn say(out: &Out, bytes: Bytes) {
    if out.send(bytes).await.is_err() {
        tracing::debug!("A client left before the end of its answer");
    }
}

/// The whole answer as one object.
async fn whole(
    mut driven: Driven,
    live: &Live,
    profile: &str,
    arrived: Instant,
    choices: usize,
) -> Response<Answer> {
    let one = || (Aggregate::new(profile, None).among(choices), Facts::default());
    let mut all: Vec<(Aggregate, Facts)> = std::iter::repeat_with(one).take(choices).collect();
    while let Some(piece) = driven.next().await {
        match all.as_mut_slice() {
            [(aggregate, facts)] => aggregate.feed(&piece, facts),
            several => feed_each(several, &piece),
        }
        let failure = all.iter().find_map(|(_, facts)| facts.failure.clone());
        // The rounds' own failure comes as the last event too.
        if let Some(failure) = failure.filter(|_| driven.failure.is_none()) {
            return driven.abort(live, failure.into()).await;
        }
    }
    if let Some(failure) = &driven.failure {
        return failed(failure);
    }
    match merged(all) {
        Ok(json) => collected(json, profile, arrived),
        Err(failure) => failed(&failure.into()),
    }
}

/// All the events, once it is known that nothing failed.
async fn gathered(mut driven: Driven, live: &Arc<Live>, profile: &str, arrived: Instant) -> Response<Answer> {
    let (mut all, mut kept) = (Vec::new(), Assembled::events());
    while let Some(piece) = driven.next().await {
        if let Err(failure) = kept.extend(&mut all, &piece) {
            return driven.abort(live, failure.into()).await;
        }
    }
    match &driven.failure {
        Some(failure) => failed(failure),
        None => {
            let all = futures_util::stream::iter([Bytes::from(all)]);
            streamed(Events::of_request(live, all), profile, arrived)
        }
    }
}

/// Each event to the choice that it is about; what is about none, to the first.
fn feed_each(all: &mut [(Aggregate, Facts)], piece: &[u8]) {
    for data in sse::events(piece) {
        let index = serde_json::from_slice::<Value>(&data)
            .ok()
            .and_then(|chunk| chunk["choices"][0]["index"].as_u64())
            .and_then(|index| usize::try_from(index).ok())
            .unwrap_or(0);
        if let Some((aggregate, facts)) = all.get_mut(index) {
            aggregate.feed(&[b"data: ", data.as_ref(), b"\n\n"].concat(), facts);
        }
    }
}

fn merged(all: Vec<(Aggregate, Facts)>) -> Result<Vec<u8>, UpstreamFailure> {
    let mut answers = Vec::new();
    for (aggregate, mut facts) in all {
        answers.push(aggregate.finish(&mut facts)?);
    }
    if answers.len() == 1 {
        return Ok(answers.swap_remove(0));
    }
    let unreadable = |_| UpstreamFailure::backend("an answer could not be put together");
    let mut answers =
        answers.iter().map(|answer| serde_json::from_slice::<Value>(answer).map_err(unreadable));
    let mut first = answers.next().ok_or_else(|| UpstreamFailure::backend("there was no answer"))??;
    for (index, other) in (1..).zip(answers) {
        let mut choice = other?["choices"][0].take();
        choice["index"] = Value::from(index);
        if let Some(choices) = first["choices"].as_array_mut() {
            choices.push(choice);
        }
    }
    Ok(first.to_string().into_bytes())
}

/// The data plane's rounds as a loop asks for them.
pub struct Asking(Rounds);

impl Asking {
    /// Reserves the caller's limits for the first round, whose body this is.
    pub fn admit(&mut self, body: &Value) -> Result<(), Failure> {
        self.0.admit(body)
    }

    /// Adds a warning to the record; between rounds alone.
    pub fn warn(&self, warning: String) {
        self.0.warn(warning);
    }
}

impl Round for Asking {
    type Failure = Failure;

    fn begin<'a>(&'a mut self, body: &'a Value) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(self.0.begin(body))
    }

    fn next(&mut self) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(self.0.next())
    }

    fn completed(&mut self) -> bool {
        self.0.completed()
    }

    fn called(&mut self, call: &Called) {
        let took = call.duration.as_secs_f64() * 1000.0;
        self.0.note(format!("tool:{}", call.tool), took, call.error.clone());
    }
}

/// A chat that moves on while its pieces are read, and ends when nobody reads them any more.
struct Driven {
    work: Option<BoxFuture<'static, Option<Failure>>>,
    pieces: mpsc::Receiver<Bytes>,
    /// Read before the headers went out.
    first: Option<Bytes>,
    /// What went wrong, told as the last words of a stream.
    failure: Option<Failure>,
    told: bool,
    comments: Interval,
    profile: String,
    progress: Progress,
}

impl Driven {
    fn new(
        work: BoxFuture<'static, Option<Failure>>,
        pieces: mpsc::Receiver<Bytes>,
        profile: String,
        progress: Progress,
    ) -> Driven {
        let mut comments = tokio::time::interval(COMMENT_AFTER);
        comments.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        comments.reset();
        let work = Some(work);
        Driven { work, pieces, first: None, failure: None, told: false, comments, profile, progress }
    }

    /// Waits for the first piece; a failure before it can still be told by its status.
    async fn begin(&mut self) -> Result<(), Failure> {
        let first = std::future::poll_fn(|cx| self.poll_piece(cx)).await;
        match (first, self.failure.take()) {
            (None, Some(failure)) => Err(failure),
            (first, failure) => {
                (self.first, self.failure) = (first, failure);
                Ok(())
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(work) = &mut self.work
            && let Poll::Ready(failure) = work.as_mut().poll(cx)
        {
            self.failure = failure;
            // With it goes the sender, and so the pieces come to an end.
            self.work = None;
        }
        self.pieces.poll_recv(cx)
    }
}

impl Driven {
    /// Ends the request as failed and waits until its record says so.
    async fn abort(mut self, live: &Live, failure: Failure) -> Response<Answer> {
        live.abort(failure.to_abort(false));
        while self.next().await.is_some() {}
        failed(&failure)
    }

    /// What is waited for, for a client that has heard nothing for a while.
    fn comment(&self) -> Bytes {
        match self.progress.get() {
            Some(waiting) => comment(&self.profile, Some(waiting), Instant::now()),
            None => Bytes::from_static(b": working\n\n"),
        }
    }
}

impl Stream for Driven {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            return Poll::Ready(Some(first));
        }
        match this.poll_piece(cx) {
            Poll::Ready(Some(piece)) => {
                this.comments.reset();
                Poll::Ready(Some(piece))
            }
            Poll::Ready(None) => {
                let words = this.failure.as_ref().filter(|_| !std::mem::replace(&mut this.told, true));
                Poll::Ready(words.map(|failure| failure.as_events().into()))
            }
            Poll::Pending => {
                ready!(this.comments.poll_tick(cx));
                Poll::Ready(Some(this.comment()))
            }
        }
    }
}
