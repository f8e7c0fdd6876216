//! What a group of profiles with equal launch settings asks for together: one backend. Knows nothing of
//! how it is started.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::{EngineKind, KeepAlive, LaunchSettings, Profile, Queue, Timeouts};

/// What a group of profiles with equal launch settings asks for. Of what they say about the process,
/// the longest and strongest wins; places add up.
#[derive(Debug, Clone, PartialEq)]
pub struct LaunchSpec {
    /// The launch name: the first profile's name.
    pub id: String,
    pub settings: LaunchSettings,
    /// What the backend is told to call its model.
    pub served_name: String,
    pub keep_alive: KeepAlive,
    pub pinned: bool,
    pub preload: bool,
    /// A model that is not here is fetched.
    pub auto_download: bool,
    pub max_concurrent: u32,
    pub queue: Queue,
    pub timeouts: Timeouts,
    /// The names of the profiles, in the order given.
    pub profiles: Vec<String>,
}

/// One spec per kind of launch settings, in the order of the first profile of each.
pub(super) fn group(profiles: &[Arc<Profile>]) -> Vec<LaunchSpec> {
    let mut specs: Vec<LaunchSpec> = Vec::new();
    let mut by_settings: HashMap<&LaunchSettings, usize> = HashMap::new();
    for profile in profiles {
        match by_settings.get(&profile.launch).and_then(|index| specs.get_mut(*index)) {
            Some(spec) => spec.join(profile),
            None => {
                by_settings.insert(&profile.launch, specs.len());
                specs.push(LaunchSpec::of(profile));
            }
        }
    }
    specs
}

impl LaunchSpec {
    /// How long the backend may be idle before it is stopped; `None`: it stays.
    pub fn idle_limit(&self) -> Option<Duration> {
        match self.keep_alive {
            _ if self.pinned || self.settings.engine == EngineKind::Url => None,
            KeepAlive::For(limit) => Some(limit),
            KeepAlive::Forever => None,
        }
    }

    fn of(profile: &Profile) -> Self {
        LaunchSpec {
            id: profile.name.clone(),
            settings: profile.launch.clone(),
            served_name: profile.name.clone(),
            keep_alive: profile.keep_alive,
            pinned: profile.pinned,
            preload: profile.preload,
            auto_download: profile.auto_download,
            max_concurrent: profile.max_concurrent,
            queue: profile.queue,
            timeouts: profile.timeouts,
            profiles: vec![profile.name.clone()],
        }
    }

    fn join(&mut self, profile: &Profile) {
        self.keep_alive = longer(self.keep_alive, profile.keep_alive);
        self.pinned |= profile.pinned;
        self.preload |= profile.preload;
        self.auto_download |= profile.auto_download;
        self.max_concurrent = self.max_concurrent.saturating_add(profile.max_concurrent);
        self.queue.size = self.queue.size.saturating_add(profile.queue.size);
        let longest = |ours: &mut Duration, theirs: Duration| *ours = (*ours).max(theirs);
        longest(&mut self.queue.timeout, profile.queue.timeout);
        longest(&mut self.timeouts.start, profile.timeouts.start);
        longest(&mut self.timeouts.first_token, profile.timeouts.first_token);
        longest(&mut self.timeouts.idle, profile.timeouts.idle);
        longest(&mut self.timeouts.total, profile.timeouts.total);
        self.profiles.push(profile.name.clone());
    }
}

fn longer(a: KeepAlive, b: KeepAlive) -> KeepAlive {
    match (a, b) {
        (KeepAlive::For(a), KeepAlive::For(b)) => KeepAlive::For(a.max(b)),
        _ => KeepAlive::Forever,
    }
}
