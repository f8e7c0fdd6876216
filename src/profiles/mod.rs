//! Which profile a client means by `model`, and which profiles share a backend. Pure look-ups over what
//! the configuration says; knows nothing of requests, callers or processes.

mod book;
mod glob;
mod launch;
mod local_models;

pub use book::{Apply, Placed, ProfileBook, StoredProfile, Taken};
pub use launch::LaunchSpec;
pub use local_models::LocalModels;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{EngineKind, Profile};
use glob::Glob;

/// All profiles, ready to be looked up.
#[derive(Debug, Clone, Default)]
pub struct ProfileSet {
    /// In the order given.
    entries: Vec<Entry>,
    /// By name and by alias without a star.
    exact: HashMap<String, usize>,
    /// The most specific first.
    globs: Vec<(Glob, usize)>,
    launches: Vec<Arc<LaunchSpec>>,
}

/// A profile and what is launched for it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub profile: Arc<Profile>,
    /// Shared by all profiles with equal launch settings.
    pub launch: Arc<LaunchSpec>,
    pub name: Arc<str>,
    /// What runs behind it, for people: a model, a program or an address.
    pub model: Arc<str>,
}

impl ProfileSet {
    /// Where two profiles claim one name the earlier has it, and a name goes before an alias.
    pub fn new(profiles: Vec<Profile>) -> Self {
        let profiles: Vec<Arc<Profile>> = profiles.into_iter().map(Arc::new).collect();
        let launches: Vec<Arc<LaunchSpec>> = launch::group(&profiles).into_iter().map(Arc::new).collect();
        let by_settings: HashMap<_, _> = launches.iter().map(|launch| (&launch.settings, launch)).collect();
        let entry = |profile: &Arc<Profile>| {
            let launch = Arc::clone(by_settings.get(&profile.launch)?);
            Some(Entry {
                profile: Arc::clone(profile),
                launch,
                name: Arc::from(profile.name.as_str()),
                model: Arc::from(model_of(profile)),
            })
        };
        let entries: Vec<Entry> = profiles.iter().filter_map(entry).collect();
        let (exact, globs) = index(&entries);
        drop(by_settings);
        ProfileSet { entries, exact, globs, launches }
    }

    /// The same, with backends that have the settings of one in `before` called as that one was, so
    /// that they are seen to be the same though their first profile is another.
    pub fn keeping_names_of(mut self, before: &ProfileSet) -> ProfileSet {
        let old: HashMap<_, _> = before.launches.iter().map(|launch| (&launch.settings, launch)).collect();
        let kept = |launch: &LaunchSpec| {
            old.get(&launch.settings).map(|old| (old.id.clone(), old.served_name.clone()))
        };
        let mut taken: HashSet<String> =
            self.launches.iter().filter_map(|launch| Some(kept(launch)?.0)).collect();
        let mut renamed = HashMap::new();
        for launch in &mut self.launches {
            let before = launch.id.clone();
            let mut spec = LaunchSpec::clone(launch);
            match kept(launch) {
                Some((id, served_name)) => (spec.id, spec.served_name) = (id, served_name),
                None => {
                    let mut number = 2;
                    while !taken.insert(spec.id.clone()) {
                        spec.id = format!("{before}~{number}");
                        number += 1;
                    }
                }
            }
            *launch = Arc::new(spec);
            renamed.insert(before, Arc::clone(launch));
        }
        for entry in &mut self.entries {
            if let Some(launch) = renamed.get(&entry.launch.id) {
                entry.launch = Arc::clone(launch);
            }
        }
        self
    }

    /// The profile that answers to `model`: an exact name first, then an exact alias, then the most
    /// specific alias with stars.
    pub fn resolve(&self, model: &str) -> Option<&Arc<Profile>> {
        self.entry(model).map(|entry| &entry.profile)
    }

    /// As [`ProfileSet::resolve`], with what is launched for the profile.
    pub fn entry(&self, model: &str) -> Option<&Entry> {
        let index = match self.exact.get(model) {
            Some(index) => *index,
            None => self.globs.iter().find(|(glob, _)| glob.matches(model))?.1,
        };
        self.entries.get(index)
    }

    /// The profile of exactly that name, aliases aside.
    pub fn named(&self, name: &str) -> Option<&Entry> {
        let entry = self.entries.get(*self.exact.get(name)?)?;
        (entry.profile.name == name).then_some(entry)
    }

    /// What is launched for the profile of that name.
    pub fn launch(&self, name: &str) -> Option<&Arc<LaunchSpec>> {
        self.named(name).map(|entry| &entry.launch)
    }

    /// Every profile, in the order given.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every backend there can be, in the order of the first profile of each.
    pub fn launches(&self) -> &[Arc<LaunchSpec>] {
        &self.launches
    }
}

fn index(entries: &[Entry]) -> (HashMap<String, usize>, Vec<(Glob, usize)>) {
    let mut exact = HashMap::new();
    let mut globs = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        exact.entry(entry.profile.name.clone()).or_insert(index);
    }
    for (index, entry) in entries.iter().enumerate() {
        for alias in &entry.profile.aliases {
            if alias.contains('*') {
                globs.push((Glob::new(alias), index));
            } else {
                exact.entry(alias.clone()).or_insert(index);
            }
        }
    }
    // Stable: among equally specific ones the earlier profile wins.
    globs.sort_by_key(|(glob, _)| std::cmp::Reverse(glob.literal_len()));
    (exact, globs)
}

fn model_of(profile: &Profile) -> String {
    let launch = &profile.launch;
    match (&launch.model, launch.engine) {
        (Some(model), _) => model.to_string(),
        (None, EngineKind::Url) => launch.upstream.as_ref().map(|up| up.url.clone()).unwrap_or_default(),
        (None, _) => launch.command.first().cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
