//! One try at a backend for a request: lease, send, and the answer in the shape the client asked for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Response, StatusCode, header};

use super::answer::Answer;
use super::deadlines::{COMMENT_AFTER, Deadlines};
use super::ending::{self, Ending};
use super::failure::Failure;
use super::limits::Limits;
use super::metered::Metered;
use super::plan::Plan;
use super::reading::{aggregated, collect, embedded, encoded, error_answer, first_piece, renamed};
use super::rounds::Back;
use super::upload::Outcome;
use super::upstream::{UpstreamBody, UpstreamError};
use super::waiting::Waiting;
use super::whole::Whole;
use super::{Proxy, headers, refused};
use crate::backends::{Asker, Lease, Progress, Waits};
use crate::dialect::assembled::Assembled;
use crate::dialect::facts::Facts;
use crate::dialect::transcript;
use crate::usage::Ongoing;

/// How long a dead process may go unnoticed by its supervisor, and how often that is asked.
const GONE_LIMIT: Duration = Duration::from_secs(2);
const GONE_LOOK: Duration = Duration::from_millis(20);
/// How long a process whose connections break may take to be seen to be gone.
const SEEN_GONE: Duration = Duration::from_millis(200);

/// Whether processor time is more than the little that an idle process uses: 5 % of one.
pub fn is_work(used: Duration, over: Duration) -> bool {
    used * 20 > over
}

/// A request about to be tried.
pub struct Attempt {
    proxy: Arc<Proxy>,
    plan: Arc<Plan>,
    ongoing: Ongoing,
    asker: Asker,
    progress: Progress,
    /// From 0.
    number: u32,
    /// A process that could not be reached any more.
    gone: Option<u32>,
    /// Of one that is a round among several: its place in the record, and where the request goes back to.
    round: Option<(u32, Back)>,
}

/// An upstream's good answer whose body has not been read.
struct Answered {
    response: Response<UpstreamBody>,
    ending: Ending,
    began: Instant,
    limits: Limits,
}

impl Attempt {
    pub fn new(proxy: Arc<Proxy>, plan: Plan, ongoing: Ongoing, asker: Asker, progress: Progress) -> Attempt {
        Attempt { proxy, plan: Arc::new(plan), ongoing, asker, progress, number: 0, gone: None, round: None }
    }

    /// The answer for the client. A stream that has to wait for longer than [`COMMENT_AFTER`] gets
    /// its headers then, and the rest when it comes.
    pub async fn answer(self) -> Response<Answer> {
        let progress = self.progress.clone();
        let mut response = if self.plan.stream { self.streamed().await } else { self.whole().await };
        // A stream that goes out while it waits tells its present place, all others their first.
        let place = match response.body() {
            Answer::Waiting(..) => progress.place(),
            _ => progress.first_place(),
        };
        headers::place(response.headers_mut(), place);
        response
    }

    async fn whole(self) -> Response<Answer> {
        let mut plan = Arc::clone(&self.plan);
        let answered = self.run().await;
        if let Some(plan) = Arc::get_mut(&mut plan) {
            plan.forget_body();
        }
        match answered {
            // Whether a stream is wanted may have stood behind the file.
            Ok(answered)
                if plan.upload().is_some() && headers::is_event_stream(answered.response.headers()) =>
            {
                answered.stream(&plan).await
            }
            Ok(answered) => answered.whole(&plan).await,
            Err(failure) => refused(&failure, plan.standing),
        }
    }

    async fn streamed(self) -> Response<Answer> {
        let plan = Arc::clone(&self.plan);
        let (progress, live) = (self.progress.clone(), Arc::clone(self.ongoing.live()));
        let mut run = Box::pin(self.run());
        match tokio::time::timeout(COMMENT_AFTER, &mut run).await {
            Ok(Ok(answered)) => answered.stream(&plan).await,
            Ok(Err(failure)) => refused(&failure, plan.standing),
            Err(_) => {
                progress.begin();
                let name = Arc::from(plan.profile.name.as_str());
                let later = Arc::clone(&plan);
                let answer = Box::pin(async move { run.await?.metered(&later) });
                let mut response = headers::response(
                    plan.standing,
                    Answer::Waiting(Box::new(Waiting::new(name, progress, answer)), live),
                );
                headers::event_stream(response.headers_mut());
                // How long the waits will be is not known yet.
                headers::profile(response.headers_mut(), &plan.profile.name);
                response
            }
        }
    }

    /// The event stream of one round among several.
    pub async fn round(mut self, place: u32, back: Back) -> Result<Metered<UpstreamBody>, Failure> {
        self.round = Some((place, back));
        let (plan, progress) = (Arc::clone(&self.plan), self.progress.clone());
        let answered = self.run().await?;
        let lease = answered.ending.lease();
        progress.served(Waits { queue_ms: lease.queue_ms(), start_ms: lease.start_ms() });
        answered.metered(&plan)
    }

    /// Leases a backend, sends the request, and gives its good answer.
    async fn run(self) -> Result<Answered, Failure> {
        let lease = match self.lease().await {
            Ok(lease) => lease,
            Err(failure) => {
                ending::unserved(self.ongoing, &failure, self.progress.has_begun());
                return Err(failure.for_caller(self.plan.sees_servers));
            }
        };
        let Attempt { proxy, plan, ongoing, asker, progress, number, round, .. } = self;
        ongoing.set_queue_ms(lease.queue_ms());
        ongoing.set_start_ms(lease.start_ms());
        let request = plan.upstream(lease.target());
        let live = Arc::clone(ongoing.live());
        let place = round.as_ref().map_or(number, |(place, _)| place + number);
        let mut ending = Ending::new(ongoing, lease, place, proxy.clock.unix_ms());
        ending.goes_back(round.as_ref().map(|(_, back)| Arc::clone(back)));
        let began = Instant::now();
        let limits = Limits::since(&live, began, plan.timeouts().total);
        let sending = async {
            tokio::select! {
                biased;
                sent = proxy.upstreams.send(request) => sent,
                why = stuck(ending.lease(), &plan) => Err(UpstreamError::Broken(why)),
            }
        };
        let failure = match limits.run(sending).await {
            Err(ended) => ended,
            Ok(Ok(response)) => {
                ending.answered(response.status().as_u16());
                for warning in plan.upload().and_then(Outcome::end).iter().flat_map(|end| &end.warnings) {
                    live.warn(warning.clone());
                }
                if response.status().is_success() {
                    return Ok(Answered { response, ending, began, limits });
                }
                error_answer(response, &limits).await
            }
            Ok(Err(_)) if plan.upload().and_then(Outcome::failure).is_some() => {
                plan.upload().and_then(Outcome::failure).unwrap_or_else(Failure::cancelled)
            }
            // Not one byte has come from a process that is gone: a fresh one may serve it.
            Ok(Err(error)) if number == 0 && plan.is_whole() && is_lost(&error, ending.lease()).await => {
                let gone = ending.lease().pid();
                let Some(ongoing) = ending.again(&error.to_string()) else {
                    return Err(Failure::cancelled());
                };
                let next = Attempt { proxy, plan, ongoing, asker, progress, number: 1, gone, round };
                return Box::pin(next.run()).await;
            }
            Ok(Err(error)) => Failure::from(error),
        };
        tracing::warn!(
            backend.id = ending.lease().backend_id(),
            error.code = failure.code,
            "A backend did not serve a request: {}",
            failure.message
        );
        ending.fail(&failure, &Facts::default(), false);
        Err(failure)
    }

    /// A lease on a backend that is not known to be gone.
    async fn lease(&self) -> Result<Lease, Failure> {
        let until = Instant::now() + GONE_LIMIT;
        let limits = Limits::before_sending(self.ongoing.live());
        loop {
            let lease = match self.proxy.backends.try_acquire(&self.plan.launch) {
                Some(lease) => lease,
                None => {
                    let acquiring =
                        self.proxy.backends.acquire(&self.plan.launch, &self.asker, &self.progress);
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

impl Answered {
    /// As an event stream.
    async fn stream(self, plan: &Plan) -> Response<Answer> {
        let (queue_ms, start_ms) = (self.ending.lease().queue_ms(), self.ending.lease().start_ms());
        match self.metered(plan) {
            Ok(metered) => {
                let mut response = headers::response(plan.standing, Answer::Stream(Box::new(metered)));
                headers::event_stream(response.headers_mut());
                headers::profile(response.headers_mut(), &plan.profile.name);
                headers::waits(response.headers_mut(), queue_ms, start_ms);
                response
            }
            Err(failure) => refused(&failure, plan.standing),
        }
    }

    fn metered(self, plan: &Plan) -> Result<Metered<UpstreamBody>, Failure> {
        let unfit = if headers::is_event_stream(self.response.headers()) {
            headers::encoding(self.response.headers()).map(encoded)
        } else {
            Some(Failure::backend("the backend answered a request for a stream with something else"))
        };
        if let Some(failure) = unfit {
            self.ending.fail(&failure, &Facts::default(), false);
            return Err(failure);
        }
        self.ending.responded(200);
        let deadlines = Deadlines::new(plan.timeouts(), self.began, true);
        Ok(Metered::new(self.response.into_body(), plan.flow(), self.ending, deadlines))
    }

    /// As one JSON object.
    async fn whole(self, plan: &Plan) -> Response<Answer> {
        let (queue_ms, start_ms) = (self.ending.lease().queue_ms(), self.ending.lease().start_ms());
        let changed = match plan.operation.is_form() {
            true => plan.wants_text(),
            false => plan.is_always_streamed() || plan.embeddings.is_some() || plan.renamed,
        };
        let mut response = match changed {
            true => Box::pin(self.collected(plan)).await,
            false => Box::pin(self.passed(plan)).await,
        };
        headers::profile(response.headers_mut(), &plan.profile.name);
        headers::waits(response.headers_mut(), queue_ms, start_ms);
        response
    }

    /// The upstream's own bytes. They begin to go on with the first one: until then a failure has a status of its own.
    async fn passed(self, plan: &Plan) -> Response<Answer> {
        let Answered { response, ending, began, limits } = self;
        let (mut head, mut body) = response.into_parts();
        let wait = plan.timeouts().first_token.saturating_sub(began.elapsed());
        let first = limits.run(first_piece(&mut body, &ending, wait)).await;
        let first = match first.and_then(|first| first) {
            Ok(first) => first,
            Err(failure) => {
                ending.fail(&failure, &Facts::default(), false);
                return refused(&failure, plan.standing);
            }
        };
        ending.responded(head.status.as_u16());
        let deadlines = Deadlines::new(plan.timeouts(), began, false);
        let is_empty = first.is_none();
        let whole = Whole::new(body, first, ending, deadlines);
        let mut response = headers::response(plan.standing, Answer::Whole(Box::new(whole)));
        *response.status_mut() = head.status;
        if is_empty {
            return response;
        }
        for name in [header::CONTENT_TYPE, header::CONTENT_ENCODING] {
            if let Some(value) = head.headers.remove(&name) {
                response.headers_mut().insert(name, value);
            }
        }
        let json = || HeaderValue::from_static("application/json");
        response.headers_mut().entry(header::CONTENT_TYPE).or_insert_with(json);
        response
    }

    /// The whole answer, put together or renamed.
    async fn collected(self, plan: &Plan) -> Response<Answer> {
        let Answered { response, ending, limits, .. } = self;
        let mut facts = Facts::default();
        let encoding = headers::encoding(response.headers()).cloned();
        let body = response.into_body();
        let collecting = async {
            if let Some(encoding) = &encoding {
                return Err(encoded(encoding));
            }
            if plan.embeddings.is_none() && plan.is_always_streamed() {
                return aggregated(body, plan, &ending, &mut facts).await;
            }
            let mut kept = Assembled::body();
            let answer = collect(body, plan, &ending, &mut kept).await?;
            match &plan.embeddings {
                Some(wish) => embedded(&answer, plan, wish, &mut facts),
                None if plan.transcript.is_some() => Ok(transcript::plain(&answer).into()),
                None => renamed(answer, plan, &mut facts),
            }
        };
        let collected = limits.run(collecting).await;
        match collected.and_then(|collected| collected) {
            Ok(whole) => {
                ending.responded(200);
                ending.complete(&facts);
                let mut response = headers::response(plan.standing, Answer::Full(whole));
                *response.status_mut() = StatusCode::OK;
                let text = plan.wants_text();
                let kind = if text { "text/plain; charset=utf-8" } else { "application/json" };
                response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
                response
            }
            Err(failure) => {
                ending.fail(&failure, &facts, false);
                refused(&failure, plan.standing)
            }
        }
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

/// Ready once the backend has neither answered nor used a processor for `idle`; it is then told to
/// its supervisor. A backend that works (a long prefill) or waits for the client is left alone, as is one elsewhere.
async fn stuck(lease: &Lease, plan: &Plan) -> String {
    let idle = plan.timeouts().idle;
    let mut before: Option<Duration> = None;
    loop {
        tokio::time::sleep(idle / 2).await;
        if plan.upload().is_some_and(|upload| !upload.is_told()) {
            before = None;
            continue;
        }
        let used = lease.cpu_time();
        if let (Some(before), Some(used)) = (before, used)
            && !is_work(used.saturating_sub(before), idle / 2)
        {
            let why = format!("it had a request and did nothing for {} s", idle.as_secs_f64());
            lease.suspect(why.clone());
            return why;
        }
        before = used;
    }
}

impl From<UpstreamError> for Failure {
    fn from(error: UpstreamError) -> Self {
        match error {
            UpstreamError::Shed => Failure::overloaded(error.to_string()),
            UpstreamError::Deadline(_) => Failure::timed_out(error.to_string()),
            _ => Failure::backend(error.to_string()),
        }
    }
}
