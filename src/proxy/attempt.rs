//! One try at a backend for a request: lease, send, and the answer in the shape the client asked for. The ledger goes
//! into the answer's body, or back to the caller with the failure.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body::Body;

use super::Proxy;
use super::answer::Answer;
use super::cpu_watch::CpuWatch;
use super::deadlines::{COMMENT_AFTER, Deadlines};
use super::events::Events;
use super::failure::Failure;
use super::headers::{self, Head};
use super::in_flight::{self, InFlight};
use super::limits::Limits;
use super::metered::Metered;
use super::plan::Plan;
use super::reading::{aggregated, collect, embedded, encoded, error_answer, next_piece, renamed};
use super::upload::Outcome;
use super::upstream::{UpstreamBody, UpstreamError};
use super::upstream_end::UpstreamEnd;
use super::waiting::Waiting;
use super::whole::Whole;
use crate::backends::{Asker, Lease, Waits};
use crate::dialect::assembled::Assembled;
use crate::dialect::facts::Facts;
use crate::dialect::transcript;
use crate::usage::Ledger;

/// How long a dead process may go unnoticed by its supervisor, and how often that is asked.
const GONE_LIMIT: Duration = Duration::from_secs(2);
const GONE_LOOK: Duration = Duration::from_millis(20);
/// How long a process whose connections break may take to be seen to be gone.
const SEEN_GONE: Duration = Duration::from_millis(200);

/// A request about to be tried.
pub struct Attempt {
    pub proxy: Arc<Proxy>,
    pub plan: Arc<Plan>,
    pub ledger: Ledger,
    pub asker: Asker,
    pub head: Head,
    /// The process of the first try, which could not be reached any more.
    pub gone: Option<u32>,
}

/// A request that no backend answered.
pub struct Unanswered {
    pub ledger: Ledger,
    pub failure: Failure,
}

/// An upstream's good answer whose body has not been read.
struct Answered {
    response: Response<UpstreamBody>,
    in_flight: InFlight,
    deadlines: Deadlines,
}

impl Attempt {
    /// Returns the answer for the client. A stream that has to wait for longer than [`COMMENT_AFTER`] gets its headers
    /// then, and the rest when it comes.
    pub async fn answer(self: Box<Self>) -> Response<Answer> {
        if self.plan.stream { self.streamed().await } else { self.whole().await }
    }

    async fn whole(self: Box<Self>) -> Response<Answer> {
        let (mut plan, head) = (Arc::clone(&self.plan), self.head.clone());
        let answered = self.run().await;
        if let Some(plan) = Arc::get_mut(&mut plan) {
            plan.forget_body();
        }
        match answered {
            // A form may ask for a stream behind its file.
            Ok(answered)
                if plan.upload().is_some() && headers::is_event_stream(answered.response.headers()) =>
            {
                answered.stream(&plan, &head)
            }
            Ok(answered) => answered.whole(&plan, &head).await,
            Err(unanswered) => head.failed(&unanswered.end(&plan)),
        }
    }

    async fn streamed(self: Box<Self>) -> Response<Answer> {
        let (plan, head) = (Arc::clone(&self.plan), self.head.clone());
        let live = Arc::clone(self.ledger.live());
        let mut run = Box::pin(self.run());
        match tokio::time::timeout(COMMENT_AFTER, &mut run).await {
            Ok(Ok(answered)) => answered.stream(&plan, &head),
            Ok(Err(unanswered)) => head.failed(&unanswered.end(&plan)),
            Err(_) => {
                head.progress.begin();
                live.responded(200);
                let answer = async move {
                    let metered = match run.await {
                        Ok(answered) => answered.metered(&plan),
                        Err(unanswered) => Err(unanswered),
                    };
                    metered.map_err(|unanswered| unanswered.end(&plan))
                };
                let waiting = Waiting::new(&head, Box::pin(answer));
                head.stream(Answer::Events(Events::of_request(&live, waiting)))
            }
        }
    }

    /// Returns the event stream of one round among several; its ledger comes back from [`Metered::end_round`].
    pub async fn round(self: Box<Self>) -> Result<Metered<UpstreamBody>, Box<Unanswered>> {
        let plan = Arc::clone(&self.plan);
        self.run().await?.metered(&plan).map(Metered::into_round)
    }

    /// Leases a backend, sends the request, and returns its good answer.
    async fn run(self: Box<Self>) -> Result<Box<Answered>, Box<Unanswered>> {
        let lease = match self.lease().await {
            Ok(lease) => lease,
            Err(failure) => return Err(Box::new(Unanswered { ledger: self.ledger, failure })),
        };
        let Attempt { proxy, plan, ledger, asker, head, gone } = *self;
        head.progress.served(Waits { queue_ms: lease.queue_ms(), start_ms: lease.start_ms() });
        let request = plan.upstream(lease.target());
        let live = Arc::clone(ledger.live());
        let mut in_flight = InFlight::new(ledger, lease);
        let began = Instant::now();
        let limits = Limits::since(&live, began, plan.timeouts().total);
        let sending = async {
            tokio::select! {
                biased;
                sent = proxy.upstreams.send(request) => sent,
                why = stuck(in_flight.lease(), &plan) => Err(UpstreamError::Broken(why)),
            }
        };
        let failure = match limits.run(sending).await {
            Err(ended) => ended,
            Ok(Ok(response)) => {
                in_flight.set_upstream_status(response.status().as_u16());
                for warning in plan.upload().and_then(Outcome::end).iter().flat_map(|end| &end.warnings) {
                    live.warn(warning.clone());
                }
                if response.status().is_success() {
                    let deadlines = Deadlines::new(plan.timeouts(), began);
                    in_flight.set_deadline(deadlines.end());
                    return Ok(Box::new(Answered { response, in_flight, deadlines }));
                }
                Box::pin(error_answer(response, &limits)).await
            }
            Ok(Err(_)) if plan.upload().and_then(Outcome::failure).is_some() => {
                plan.upload().and_then(Outcome::failure).unwrap_or_else(Failure::cancelled)
            }
            // Not one byte has come from a process that is gone: a fresh one may serve it.
            Ok(Err(error))
                if gone.is_none()
                    && plan.is_whole()
                    && Box::pin(is_lost(&error, in_flight.lease())).await =>
            {
                let gone = in_flight.lease().pid();
                let failure = Failure::from(UpstreamEnd::from(error));
                let ledger = in_flight.end_attempt(&failure, &Facts::default());
                let next = Box::new(Attempt { proxy, plan, ledger, asker, head, gone });
                return Box::pin(next.run()).await;
            }
            Ok(Err(error)) => UpstreamEnd::from(error).into(),
        };
        tracing::warn!(
            backend.id = in_flight.lease().backend_id(),
            error.code = failure.code,
            error.message = failure.message,
            "Backend did not serve a request"
        );
        Err(unanswered(in_flight, failure))
    }

    /// Returns a lease on a backend that is not known to be gone.
    async fn lease(&self) -> Result<Lease, Failure> {
        let until = Instant::now() + GONE_LIMIT;
        let limits = Limits::before_sending(self.ledger.live());
        loop {
            let lease = match self.proxy.backends.try_acquire(&self.plan.launch) {
                Some(lease) => lease,
                None => {
                    let acquiring =
                        self.proxy.backends.acquire(&self.plan.launch, &self.asker, &self.head.progress);
                    limits.run(acquiring).await??
                }
            };
            if self.gone.is_none() || lease.pid() != self.gone || Instant::now() >= until {
                return Ok(lease);
            }
            drop(lease);
            limits.run(tokio::time::sleep(GONE_LOOK)).await?;
        }
    }
}

impl Unanswered {
    /// Ends the request and returns the failure for its caller.
    pub fn end(self, plan: &Plan) -> Failure {
        in_flight::fail(self.ledger, &self.failure);
        self.failure.for_caller(plan.sees_servers)
    }
}

fn unanswered(in_flight: InFlight, failure: Failure) -> Box<Unanswered> {
    Box::new(Unanswered { ledger: in_flight.end_attempt(&failure, &Facts::default()), failure })
}

impl Answered {
    /// Answers with an event stream.
    fn stream(self: Box<Self>, plan: &Plan, head: &Head) -> Response<Answer> {
        match self.metered(plan) {
            Ok(metered) => {
                if let Some(live) = metered.live() {
                    live.responded(200);
                }
                head.stream(Answer::Stream(Box::new(metered)))
            }
            Err(unanswered) => head.failed(&unanswered.end(plan)),
        }
    }

    fn metered(self: Box<Self>, plan: &Plan) -> Result<Metered<UpstreamBody>, Box<Unanswered>> {
        let failure = if headers::is_event_stream(self.response.headers()) {
            headers::encoding(self.response.headers()).map(encoded)
        } else {
            let why = "the backend answered a request for a stream with something else";
            Some(UpstreamEnd::Unusable(why.to_owned()).into())
        };
        if let Some(failure) = failure {
            return Err(unanswered(self.in_flight, failure));
        }
        Ok(Metered::new(
            self.response.into_body(),
            plan.flow(),
            self.in_flight,
            self.deadlines.with_comments(),
        ))
    }

    /// Answers with one object.
    async fn whole(self: Box<Self>, plan: &Plan, head: &Head) -> Response<Answer> {
        let is_changed = match plan.operation.is_form() {
            true => plan.wants_text(),
            false => plan.is_always_streamed() || plan.embeddings.is_some() || plan.renamed,
        };
        match is_changed {
            true => Box::pin(self.collected(plan, head)).await,
            false => Box::pin(self.passed(head)).await,
        }
    }

    /// Passes on the upstream's own bytes from the first one on: until then a failure has a status of its own.
    async fn passed(self: Box<Self>, head: &Head) -> Response<Answer> {
        let Answered { response, in_flight, mut deadlines } = *self;
        let (upstream, mut body) = response.into_parts();
        let first = match body.is_end_stream() {
            true => Ok(None),
            false => next_piece(&mut body, &in_flight, &mut deadlines).await,
        };
        match first {
            Ok(first) => {
                in_flight.live().responded(upstream.status.as_u16());
                let is_empty = first.is_none();
                let whole = Answer::Whole(Box::new(Whole::new(body, first, in_flight, deadlines)));
                head.passed(upstream, is_empty, whole)
            }
            Err(failure) => {
                in_flight.fail(&failure, &Facts::default());
                head.failed(&failure)
            }
        }
    }

    /// Answers with the whole answer, put together or renamed.
    async fn collected(self: Box<Self>, plan: &Plan, head: &Head) -> Response<Answer> {
        let Answered { response, in_flight, mut deadlines } = *self;
        let mut facts = Facts::default();
        match collected(response, plan, &in_flight, &mut deadlines, &mut facts).await {
            Ok(whole) => {
                in_flight.live().responded(200);
                in_flight.complete(&facts);
                let content_type = if plan.wants_text() { headers::TEXT } else { headers::JSON };
                head.whole(content_type, Answer::Full(whole))
            }
            Err(failure) => {
                in_flight.fail(&failure, &facts);
                head.failed(&failure)
            }
        }
    }
}

async fn collected(
    response: Response<UpstreamBody>,
    plan: &Plan,
    in_flight: &InFlight,
    deadlines: &mut Deadlines,
    facts: &mut Facts,
) -> Result<Bytes, Failure> {
    if let Some(encoding) = headers::encoding(response.headers()) {
        return Err(encoded(encoding));
    }
    let mut body = response.into_body();
    if plan.embeddings.is_none() && plan.is_always_streamed() {
        return aggregated(&mut body, plan, in_flight, deadlines, facts).await;
    }
    let mut kept = Assembled::body();
    let answer = collect(&mut body, in_flight, deadlines, &mut kept).await?;
    match &plan.embeddings {
        Some(wish) => embedded(&answer, plan, wish, facts),
        None if plan.transcript.is_some() => Ok(transcript::plain(&answer).into()),
        None => renamed(answer, plan, facts),
    }
}

/// Whether the process that should have answered is gone, or about to be.
async fn is_lost(error: &UpstreamError, lease: &Lease) -> bool {
    match error {
        UpstreamError::Connect { .. } => lease.pid().is_some(),
        UpstreamError::Broken(_) | UpstreamError::Stale => {
            // Its connections break a moment before it is seen to be gone.
            let until = Instant::now() + SEEN_GONE;
            while !lease.is_gone() && !lease.is_suspect() {
                if lease.pid().is_none() || Instant::now() >= until {
                    return false;
                }
                tokio::time::sleep(GONE_LOOK).await;
            }
            true
        }
        UpstreamError::Shed | UpstreamError::Deadline(_) | UpstreamError::Address(_) => false,
    }
}

/// Resolves once the backend has neither answered nor computed for `idle`; its supervisor then replaces it. A backend that
/// works (a long prefill) or waits for the client is left alone, as is one without a process here.
async fn stuck(lease: &Lease, plan: &Plan) -> String {
    let idle = plan.timeouts().idle;
    let mut watch = CpuWatch::default();
    loop {
        tokio::time::sleep(idle / 2).await;
        if plan.upload().is_some_and(|upload| !upload.is_told()) {
            watch.reset();
        } else if lease.cpu_time().is_some() && !watch.is_working(lease, Instant::now()) {
            let why = format!("it had a request and did nothing for {} s", idle.as_secs_f64());
            lease.suspect(why.clone());
            return why;
        }
    }
}
