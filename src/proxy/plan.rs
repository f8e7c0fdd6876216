//! What is to be done for one request, decided before any backend is asked. Pure.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::failure::Failure;
use super::flow::Flow;
use super::upstream::UpstreamRequest;
use crate::backends::{LaunchSpec, Target};
use crate::config::{EngineKind, ModelRef, Profile, Timeouts};
use crate::dialect::quirks::{self, Quirks};
use crate::dialect::repair::Repair;
use crate::dialect::request::{self, Prepared, Scanned};
use crate::profiles::Entry;

/// A request and the way it will take.
#[derive(Debug)]
pub struct Plan {
    pub profile: Arc<Profile>,
    pub launch: Arc<LaunchSpec>,
    pub quirks: &'static Quirks,
    pub prepared: Prepared,
    pub path: &'static str,
    pub headers: HeaderMap,
    /// Upstream knows the model by another name than the client.
    pub renamed: bool,
}

impl Plan {
    /// Decides how `request` is served by `entry`, or why it cannot be.
    pub fn new(
        entry: &Entry,
        request: &Scanned,
        path: &'static str,
        headers: HeaderMap,
    ) -> Result<Plan, Failure> {
        let profile = &entry.profile;
        let quirks = quirks_of(profile.launch.engine);
        let served_name = served_name(entry);
        let target = request::Target {
            quirks,
            served_name: &served_name,
            system_prompt: profile.system_prompt.as_deref(),
            defaults: &profile.defaults,
            context_length: profile.launch.context_length,
        };
        Ok(Plan {
            prepared: request::prepare(request, target)?,
            quirks,
            renamed: served_name != profile.name,
            profile: Arc::clone(profile),
            launch: Arc::clone(&entry.launch),
            path,
            headers,
        })
    }

    pub fn timeouts(&self) -> Timeouts {
        self.profile.timeouts
    }

    /// The request for a backend that is ready.
    pub fn upstream(&self, target: &Target) -> UpstreamRequest {
        UpstreamRequest {
            target: target.clone(),
            path: self.path,
            headers: self.headers.clone(),
            body: self.prepared.body.clone(),
            first_byte: self.profile.timeouts.first_token.max(Duration::from_millis(1)),
            fresh: false,
        }
    }

    /// How an event stream goes on to the client.
    pub fn flow(&self) -> Flow {
        let name = &self.profile.name;
        if self.quirks.repair {
            Flow::repair(Repair::new(name, self.prepared.include_usage, self.prepared.max_tokens))
        } else if self.renamed {
            Flow::rename(name)
        } else {
            Flow::pass()
        }
    }
}

fn quirks_of(engine: EngineKind) -> &'static Quirks {
    match engine {
        EngineKind::MlxOpenaiServer => &quirks::MLX_OPENAI_SERVER,
        EngineKind::MlxLm => &quirks::MLX_LM,
        EngineKind::Command | EngineKind::Url => &quirks::PASSTHROUGH,
    }
}

/// The name upstream knows the model by.
fn served_name(entry: &Entry) -> String {
    let launch = &entry.profile.launch;
    match (launch.engine, &launch.model) {
        (EngineKind::MlxOpenaiServer | EngineKind::MlxLm, _) => entry.launch.served_name.clone(),
        (_, Some(model @ (ModelRef::Hub(_) | ModelRef::Folder(_)))) => model.to_string(),
        _ => entry.profile.name.clone(),
    }
}
