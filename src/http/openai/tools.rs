//! Chats that use the gateway's tools: whether one does, and its answer out of several rounds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{Stream, StreamExt};
use http::{HeaderMap, Response};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Interval;
use uuid::Uuid;

use crate::dialect::aggregate::Aggregate;
use crate::dialect::facts::Facts;
use crate::http::state::Shared;
use crate::proxy::{Answer, Failure, Opened, Rounds, collected, failed, streamed};
use crate::tools::Tool;
use crate::tools::chat::{Called, Chat, Outcome, Plan, Round, Stop, Wanted, choose};

/// The header by which a request asks for tools.
const HEADER: &str = "x-mlx-gateway-tools";
/// Pieces that may wait for a slow client.
const AHEAD: usize = 64;
/// Silence after which a client hears a comment.
const COMMENT_AFTER: Duration = Duration::from_secs(10);

/// What a request's headers ask for.
pub fn asked(headers: &HeaderMap) -> Option<Wanted> {
    headers.get(HEADER).map(|value| Wanted::from_header(value.to_str().unwrap_or("?")))
}

/// Which tools a chat asks for; none: it has nothing to do with them and passes through.
pub fn wanted(asked: Option<Wanted>, opened: &Opened) -> Option<Wanted> {
    if let Some(wanted) = asked {
        // Without any of its own the gateway has no part in the chat.
        return (wanted != Wanted::None).then_some(wanted);
    }
    let asked = opened.tools().and_then(|tools| Wanted::from_tools(&tools));
    asked.or_else(|| (!opened.profile().tools.is_empty()).then_some(Wanted::Profile))
}

/// Answers a chat in as many rounds as it takes.
pub async fn answer(gateway: &Shared, opened: Opened, wanted: Wanted, id: Uuid) -> Response<Answer> {
    let tools = match taking_part(gateway, &opened, &wanted).await {
        Ok(tools) => tools,
        Err(failure) => return opened.refuse(&failure),
    };
    let mut plan = match opened
        .body()
        .and_then(|body| Plan::new(body, &tools).map_err(|why| Failure::invalid(why, None)))
    {
        Ok(plan) => plan,
        Err(failure) => return opened.refuse(&failure),
    };
    let (stream, arrived) = (opened.wants_stream(), opened.arrived);
    plan.include_usage |= !stream;
    plan.recall(&gateway.aside, opened.caller.principal());
    let profile = opened.profile().name.clone();
    let total = opened.profile().timeouts.total;
    let (out, pieces) = mpsc::channel(AHEAD);
    let chat = Chat {
        plan,
        tools,
        max_rounds: gateway.max_rounds,
        request_id: id.to_string(),
        model: profile.clone(),
        principal: opened.caller.principal().map(str::to_owned),
        deadline: Instant::now() + total,
        aside: gateway.aside.clone(),
        out: out.clone(),
    };
    let work = Box::pin(perform(chat, Asking(opened.rounds()), total, out));
    let mut driven = Driven::new(work, pieces);
    if !stream {
        return whole(driven, &profile, arrived).await;
    }
    match tokio::time::timeout(COMMENT_AFTER, driven.begin()).await {
        Ok(Err(failure)) => failed(&failure),
        Ok(Ok(())) | Err(_) => streamed(Box::pin(driven), &profile, arrived),
    }
}

/// The tools that the request asks for and the caller may call.
async fn taking_part(gateway: &Shared, opened: &Opened, wanted: &Wanted) -> Result<Vec<Arc<Tool>>, Failure> {
    let mut all = gateway.tools.tools().await;
    all.retain(|tool| opened.caller.may_use_tool(&tool.name));
    let names: Vec<String> =
        all.iter().filter(|tool| tool.withheld.is_none()).map(|tool| tool.name.clone()).collect();
    let asked = match wanted {
        Wanted::Named(asked) => asked.as_slice(),
        Wanted::Profile => opened.profile().tools.as_slice(),
        Wanted::All | Wanted::None => &[],
    };
    for missing in asked.iter().filter(|name| !names.contains(name)) {
        if *wanted == Wanted::Profile {
            opened.warn(format!("the tool \"{missing}\" of the profile is not available"));
        } else {
            let message = format!("there is no tool \"{missing}\" for you; there is: {}", names.join(", "));
            return Err(Failure::invalid(message, Some("tools".to_owned())));
        }
    }
    Ok(choose(wanted, &opened.profile().tools, all))
}

/// Runs the chat and tells its end, once: to the client, and to the record.
async fn perform(
    chat: Chat,
    mut asking: Asking,
    total: Duration,
    out: mpsc::Sender<Bytes>,
) -> Option<Failure> {
    let live = asking.0.live();
    let stop = {
        let run = chat.run(&mut asking);
        tokio::select! {
            ended = run => match ended {
                Ok(outcome) => Ok(outcome),
                Err(stop) => Err(stop),
            },
            () = tokio::time::sleep(total) => {
                Err(Stop::Failed(Failure::timed_out(format!("timeouts.total of {} s has passed", total.as_secs_f64()))))
            }
            () = live.cancelled() => Err(Stop::Failed(Failure::cancelled())),
        }
    };
    match stop {
        Ok(outcome) => {
            asking.0.finish(&facts(outcome));
            say(&out, Bytes::from_static(b"data: [DONE]\n\n")).await;
            None
        }
        Err(Stop::Failed(failure)) => {
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
            say(&out, Bytes::from_static(b"data: [DONE]\n\n")).await;
            None
        }
        // Dropped, the record says that the client left.
        Err(Stop::Gone) => None,
    }
}

async fn say(out: &mpsc::Sender<Bytes>, bytes: Bytes) {
    if out.send(bytes).await.is_err() {
        tracing::debug!("A client left before the end of its answer");
    }
}

fn facts(outcome: Outcome) -> Facts {
    Facts {
        deltas: outcome.deltas,
        usage: outcome.usage,
        finish_reason: Some(outcome.finish_reason),
        done: true,
        ..Facts::default()
    }
}

/// The whole answer as one object.
async fn whole(mut driven: Driven, profile: &str, arrived: Instant) -> Response<Answer> {
    let (mut aggregate, mut facts) = (Aggregate::new(profile, None), Facts::default());
    while let Some(piece) = driven.next().await {
        aggregate.feed(&piece, &mut facts);
    }
    if let Some(failure) = &driven.failure {
        return failed(failure);
    }
    match aggregate.finish(&mut facts) {
        Ok(json) => collected(json, profile, arrived),
        Err(failure) => failed(&failure.into()),
    }
}

/// The data plane's rounds as the loop asks for them.
struct Asking(Rounds);

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
}

impl Driven {
    fn new(work: BoxFuture<'static, Option<Failure>>, pieces: mpsc::Receiver<Bytes>) -> Driven {
        let mut comments = tokio::time::interval(COMMENT_AFTER);
        comments.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        comments.reset();
        Driven { work: Some(work), pieces, first: None, failure: None, told: false, comments }
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
                Poll::Ready(Some(Bytes::from_static(b": working\n\n")))
            }
        }
    }
}
