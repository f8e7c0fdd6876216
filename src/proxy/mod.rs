//! The data plane: one inference request from its body to the last byte of its answer. Knows hyper
//! and tower, and nothing of the HTTP framework above it.

mod answer;
mod attempt;
mod body;
mod context;
mod cpu_watch;
mod deadlines;
mod estimate;
mod events;
mod failure;
mod flow;
mod headers;
mod in_flight;
mod limits;
mod media;
mod metered;
mod plan;
mod reading;
mod resolve;
mod resolved;
mod rounds;
mod tap;
mod upload;
mod upstream;
mod upstream_end;
mod waiting;
mod whole;

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body;
use uuid::Uuid;

pub use answer::Answer;
pub use body::discard;
pub use context::Contexts;
pub use events::Events;
pub use failure::{BodyTimeout, Failure};
pub use headers::{Head, JSON, failed, rate_limit_headers, with_rate_limits};
pub use in_flight::refuse;
pub use limits::Limits;
pub use media::Media;
pub use metered::BoxError;
pub use resolved::ResolvedRequest;
pub use rounds::Rounds;
pub use upstream::Upstreams;
pub use waiting::Comments;

use estimate::Measured;
use upload::Rest;

use crate::auth::{Caller, Scope};
use crate::backends::Backends;
use crate::bodies::{Bodies, Held};
use crate::dialect::operation::Operation;
use crate::dialect::request::Scanned;
use crate::profiles::{Entry, LocalModels, ProfileSet};
use crate::system::clock::Clock;
use crate::usage::{Ledger, NewRequest, Recorder};
use crate::worker::Worker;

/// What the data plane works with.
pub struct Proxy {
    pub profiles: ArcSwap<ProfileSet>,
    pub backends: Backends,
    pub recorder: Recorder,
    pub upstreams: Upstreams,
    pub models: Arc<LocalModels>,
    pub contexts: Contexts,
    pub worker: Worker,
    pub media: Media,
    pub clock: Arc<dyn Clock>,
    /// Bytes.
    pub max_body: u64,
    /// Bounds the bodies of all requests.
    pub bodies: Bodies,
}

/// An inference request as the HTTP layer hands it over.
pub struct Inference<B> {
    pub operation: Operation,
    /// Begun by [`Proxy::begin`].
    pub ledger: Ledger,
    pub caller: Caller,
    /// Whichever of the two the client is told.
    pub told_id: HeaderValue,
    pub headers: HeaderMap,
    pub body: B,
    /// What a body that was made here takes of the bound already; none: one that is yet to be read.
    pub held: Option<Arc<Held>>,
}

impl Proxy {
    /// Serves one request: read, resolve, plan, then one attempt whose answer goes on to the client.
    /// Every request ends exactly once in the records, here or with its answer's body.
    pub async fn forward<B>(self: &Arc<Self>, request: Inference<B>) -> Response<Answer>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match self.open(request).await {
            Ok(request) => request.answer().await,
            Err(failure) => failed(&failure),
        }
    }

    /// Reads a request and finds its profile. A failure is recorded already.
    pub async fn open<B>(self: &Arc<Self>, request: Inference<B>) -> Result<Box<ResolvedRequest>, Failure>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let Inference { operation, ledger, caller, told_id, headers, body, held } = request;
        let kind = headers.get(header::CONTENT_TYPE).cloned();
        let limits = Limits::before_sending(ledger.live());
        let read = limits.run(self.read(&caller, operation, kind.as_ref(), body, held)).await;
        let (read, rest) = match read.and_then(|read| read) {
            Ok((scanned, rest)) => (Ok(scanned), rest),
            Err(failure) => (Err(failure), None),
        };
        if let Ok(scanned) = &read {
            let streamed = scanned.wants_stream().unwrap_or(false);
            ledger.set_requested(scanned.model().ok().map(Arc::from), streamed);
        }
        let resolved = match read {
            Ok(scanned) => self.resolved(&caller, operation, &scanned).await.map(|entry| (scanned, entry)),
            Err(failure) => Err(failure),
        };
        if let Ok((_, entry)) = &resolved {
            ledger.set_profile(&entry.name, Some(&entry.model));
        }
        let has_limits = ledger.has_token_limits();
        let ready = match resolved {
            // Rare, and in a place of its own: most prompts are short texts, and hold what they show.
            Ok((scanned, entry))
                if scanned.scan.foreign_media.is_some()
                    || self.contexts.is_measured(&entry, operation, &scanned, has_limits)
                    || self.contexts.holds_tokens(&entry, operation, &scanned) =>
            {
                let ready = self.made_ready(scanned, entry, operation, &caller.fairness, has_limits);
                limits.run(Box::pin(ready)).await.and_then(|ready| ready)
            }
            Ok((scanned, entry)) => Ok((scanned, entry, Measured::default())),
            Err(failure) => Err(failure),
        };
        let (scanned, entry, measured) = match ready {
            Ok(ready) => ready,
            Err(failure) => return Err(in_flight::refuse(ledger, failure)),
        };
        let mut headers = headers::upstream(&headers, &told_id);
        if let Some(kind) = kind.filter(|_| operation.is_form()) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
        let proxy = Arc::clone(self);
        Ok(Box::new(ResolvedRequest {
            proxy,
            entry,
            scanned,
            rest,
            operation,
            headers,
            ledger,
            caller,
            measured,
        }))
    }

    /// Reads a body, if there is room for it: all of it, or of a long form as much as it takes to know the model.
    async fn read<B>(
        &self,
        caller: &Caller,
        operation: Operation,
        kind: Option<&HeaderValue>,
        body: B,
        held: Option<Arc<Held>>,
    ) -> Result<(Scanned, Option<Mutex<Rest>>), Failure>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<BoxError>,
    {
        // Nobody's files are read who may not ask.
        if !caller.has(Scope::Inference) {
            return Err(Failure::no_inference());
        }
        let held = match held {
            Some(held) => held,
            None => {
                let expected = body::expected(&body, operation.is_form()).min(self.max_body);
                Arc::new(self.bodies.hold(&caller.fairness, expected)?)
            }
        };
        let (mut scanned, rest) = if operation.is_form() {
            let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let (scanned, rest) = Box::pin(body::read_form(body, self.max_body, kind, &held)).await?;
            (scanned, rest.map(Mutex::new))
        } else {
            (body::read(body, self.max_body, &held).await?, None)
        };
        scanned.body.hold(Some(held));
        Ok((scanned, rest))
    }

    /// The profile that a request names, if its caller may use it and its model does what is asked.
    async fn resolved(
        &self,
        caller: &Caller,
        operation: Operation,
        scanned: &Scanned,
    ) -> Result<Entry, Failure> {
        let entry = resolve::resolve(&self.profiles.load(), caller, scanned.model()?)?.clone();
        let (profile, launch) = (&entry.profile.name, &entry.profile.launch);
        match operation.refused_by(profile, launch.engine, self.models.model_type(launch).await) {
            Some(words) => Err(Failure::invalid(words, Some("model".to_owned()))),
            None => Ok(entry),
        }
    }

    /// A request whose pictures are in it, whose texts are texts, and whose prompt fits. `has_limits`: its tokens are
    /// counted, if they can be.
    async fn made_ready(
        &self,
        mut scanned: Scanned,
        entry: Entry,
        operation: Operation,
        lane: &Arc<str>,
        has_limits: bool,
    ) -> Result<(Scanned, Entry, Measured), Failure> {
        let held = scanned.body.reservation();
        if self.contexts.holds_tokens(&entry, operation, &scanned) {
            scanned = body::scanned(self.contexts.as_text(&entry, &scanned, lane).await?)?;
        }
        let mut measured = Measured::default();
        if self.contexts.is_measured(&entry, operation, &scanned, has_limits) {
            measured = self.contexts.measure(&entry, operation, &scanned, lane, has_limits).await?;
        }
        if scanned.scan.foreign_media.is_some() {
            scanned = self.media.inline(scanned, self.max_body).await?;
        }
        if let Some(held) = &held {
            held.grow(scanned.body.len() as u64)?;
        }
        scanned.body.hold(held);
        Ok((scanned, entry, measured))
    }

    /// Reads a body that is to be translated into a chat, of a caller that may ask models. Beside it stands what it
    /// takes of the bound.
    pub async fn collect<B>(&self, caller: &Caller, body: B) -> Result<(Bytes, Held), Failure>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        if !caller.has(Scope::Inference) {
            return Err(Failure::no_inference());
        }
        let held = self.bodies.hold(&caller.fairness, body::expected(&body, false).min(self.max_body))?;
        let body = body::collect(body, self.max_body, &held).await?;
        Ok((body, held))
    }

    /// Tokens of a chat by its model's own tokenizer; none: it has none here, or there is no such model.
    pub async fn count_tokens(&self, caller: &Caller, model: &str, chat: Bytes) -> Option<u64> {
        let entry = self.profiles.load().entry(model)?.clone();
        self.contexts.count(&entry, chat, &caller.fairness).await
    }

    /// Whether a caller may ask a model, and there is one of that name.
    pub fn may_ask(&self, caller: &Caller, model: &str) -> Result<(), Failure> {
        resolve::resolve(&self.profiles.load(), caller, model).map(drop)
    }

    /// Puts a new set of profiles into force: the backends hear of it first, then the requests.
    pub fn apply(&self, profiles: ProfileSet) {
        let profiles = profiles.keeping_names_of(&self.profiles.load());
        self.backends.declare(profiles.launches());
        self.profiles.store(Arc::new(profiles));
    }

    /// Begins the ledger of a request, whose head has arrived. Dropped, it records that the client left.
    pub fn begin(
        &self,
        endpoint: &'static str,
        caller: &Caller,
        id: Uuid,
        client_request_id: Option<Arc<str>>,
    ) -> Ledger {
        self.recorder.begin(NewRequest {
            id: Some(id),
            client_request_id,
            endpoint,
            key: caller.key.clone(),
            user: caller.user.clone(),
            right: caller.right().clone(),
            ..NewRequest::default()
        })
    }
}
