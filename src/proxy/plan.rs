//! What is to be done for one request, decided before any backend is asked. Pure.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderMap;

use super::estimate::{self, Measured, Prompt, Size};
use super::failure::Failure;
use super::flow::Flow;
use super::upload::{Outcome, Rest, Upload};
use super::upstream::{Message, UpstreamRequest};
use crate::auth::Estimate;
use crate::backends::{LaunchSpec, Target};
use crate::config::{ModelRef, Profile, Timeouts};
use crate::dialect::embeddings::Wish;
use crate::dialect::operation::Operation;
use crate::dialect::quirks::Quirks;
use crate::dialect::repair::Repair;
use crate::dialect::request::{self, Rewrite, Scanned};
use crate::profiles::Entry;

/// A request and the way it will take.
#[derive(Debug)]
pub struct Plan {
    pub profile: Arc<Profile>,
    pub launch: Arc<LaunchSpec>,
    pub quirks: &'static Quirks,
    pub stream: bool,
    include_usage: bool,
    pub max_tokens: Option<u64>,
    pub warnings: Vec<String>,
    message: Arc<Message>,
    /// What is to be done with what is still arriving of a form, and how that stands once it is sent.
    rewrite: Option<Rewrite>,
    upload: Option<Outcome>,
    /// Upstream knows the model by another name than the client.
    pub renamed: bool,
    pub operation: Operation,
    /// What ends an answer, where the engine cannot be trusted to see it.
    pub stops: Vec<String>,
    /// How embeddings have to be made out of what the engine answers.
    pub embeddings: Option<Wish>,
    /// A transcription of an engine of ours, and whether it is to be text.
    pub transcript: Option<bool>,
    /// Tokens of the prompt, about.
    pub prompt_tokens: u64,
    /// Tokens that the whole request may use.
    pub estimate: Estimate,
    /// Whether the caller may read why a backend failed.
    pub sees_servers: bool,
}

impl Plan {
    /// Decides how `request` is served by `entry`, or why it cannot be. `budget`: tokens that the caller
    /// has left, if those are counted; an answer without a limit of its own gets what is left as one.
    /// `measured`: what is known of the prompt's tokens.
    pub fn new(
        entry: &Entry,
        request: &Scanned,
        operation: Operation,
        headers: HeaderMap,
        budget: Option<u64>,
        measured: &Measured,
    ) -> Result<Plan, Failure> {
        let profile = &entry.profile;
        let quirks = Quirks::of(profile.launch.engine);
        let served_name = served_name(entry);
        let prompt = Prompt::of(Size::of(entry, request, operation), measured);
        let target = request::Target {
            operation,
            quirks,
            served_name: &served_name,
            system_prompt: profile.system_prompt.as_deref(),
            defaults: &profile.defaults,
            context_length: profile.launch.context_length,
            answer_max: budget.map(|left| prompt.answer_max(left)),
        };
        let mut prepared = request::prepare(request, target)?;
        prepared.body.hold(request.body.reservation());
        let choices = estimate::choices(request, operation);
        let context = measured.context.or(profile.launch.context_length.map(u64::from));
        Ok(Plan {
            prompt_tokens: prompt.likely,
            estimate: prompt.estimate(operation, prepared.max_tokens, choices, context),
            stream: prepared.stream,
            include_usage: prepared.include_usage,
            max_tokens: prepared.max_tokens,
            warnings: prepared.warnings,
            message: Arc::new(Message {
                path: operation.upstream(),
                headers,
                body: prepared.body,
                upload: Mutex::default(),
            }),
            rewrite: prepared.rest,
            upload: None,
            quirks,
            renamed: served_name != profile.name || !quirks.names_model,
            operation,
            embeddings: prepared.embeddings,
            transcript: prepared.transcript,
            stops: prepared.stops,
            profile: Arc::clone(profile),
            launch: Arc::clone(&entry.launch),
            sees_servers: false,
        })
    }

    /// Lets the rest of the form follow as it arrives.
    pub fn followed_by(&mut self, rest: Rest) {
        if let (Some(message), Some(rewrite)) = (Arc::get_mut(&mut self.message), self.rewrite.take()) {
            let upload = Upload::new(rest, std::mem::take(&mut message.body), rewrite);
            self.upload = Some(upload.outcome());
            message.upload = Mutex::new(Some(upload));
        }
    }

    /// Lets go of the request's body, which has been answered.
    pub fn forget_body(&mut self) {
        self.message = Arc::default();
    }

    /// How the upload of a form stands that goes on while it arrives.
    pub fn upload(&self) -> Option<&Outcome> {
        self.upload.as_ref()
    }

    /// Whether nothing of it is used up, so that it can be sent again.
    pub fn is_whole(&self) -> bool {
        self.upload.is_none() || self.message.holds_upload()
    }

    /// Whether a transcription is to be text; of a form that arrived late, once it has.
    pub fn wants_text(&self) -> bool {
        let late = self.upload().and_then(Outcome::end);
        self.transcript.is_some() && late.map_or(self.transcript == Some(true), |end| end.plain)
    }

    pub fn timeouts(&self) -> Timeouts {
        self.profile.timeouts
    }

    /// The request for a backend that is ready.
    pub fn upstream(&self, target: &Arc<Target>) -> UpstreamRequest {
        UpstreamRequest {
            target: Arc::clone(target),
            message: Arc::clone(&self.message),
            first_byte: match &self.upload {
                // The backend waits for the client.
                Some(_) => self.profile.timeouts.total.max(self.profile.timeouts.first_token),
                None => self.profile.timeouts.first_token.max(Duration::from_millis(1)),
            },
            // A kept connection may turn out to be closed, and then what was sent is lost.
        }
    }

    /// Whether the engine was asked for a stream, whatever the client asked for.
    pub fn is_always_streamed(&self) -> bool {
        self.quirks.always_stream && self.operation == Operation::Chat
    }

    /// How an event stream goes on to the client.
    pub fn flow(&self) -> Flow {
        let name = &self.profile.name;
        if self.quirks.repair && self.operation == Operation::Chat {
            let repair = Repair::new(name, self.include_usage, self.max_tokens);
            Flow::repair(repair.stopping_at(&self.stops, self.prompt_tokens))
        } else if self.transcript.is_some() {
            Flow::transcript()
        } else if self.renamed {
            Flow::rename(name)
        } else {
            Flow::pass()
        }
    }
}

/// The name upstream knows the model by.
fn served_name(entry: &Entry) -> String {
    let launch = &entry.profile.launch;
    if launch.engine.runs_mlx() {
        return entry.launch.served_name.clone();
    }
    match &launch.model {
        Some(model @ (ModelRef::Hub(_) | ModelRef::Folder(_))) => model.to_string(),
        _ => entry.profile.name.clone(),
    }
}
