//! All profiles, from the file and from the store, and the one way in which a change of either takes
//! effect. Must not know how they are stored, nor what is done with the set that comes out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};

use super::ProfileSet;
use crate::config::Profile;

/// What is done with every new set, in the order of the changes.
pub type Apply = Box<dyn Fn(ProfileSet) + Send + Sync>;

/// File profiles and store profiles.
pub struct ProfileBook {
    sides: Mutex<Sides>,
    apply: Apply,
    /// Held while a store profile is looked at and changed, so that nobody changes it in between.
    pub editing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Sides {
    file: Vec<Arc<Profile>>,
    stored: BTreeMap<String, Arc<StoredProfile>>,
}

/// A profile that was made through the API.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredProfile {
    pub profile: Profile,
    /// As they were given: the keys of a `[[profile]]`.
    pub settings: Map<String, Value>,
    /// Milliseconds since 1970, UTC.
    pub created_at: i64,
    pub updated_at: i64,
}

/// A profile and where it stands.
#[derive(Debug, Clone)]
pub enum Placed {
    File(Arc<Profile>),
    Store {
        stored: Arc<StoredProfile>,
        /// The file has one of the same name, which goes before it.
        shadowed: bool,
    },
}

/// A name that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{taken:?} is taken by the profile {owner:?}; choose another name")]
pub struct Taken {
    pub taken: String,
    pub owner: String,
    /// It is an alias that cannot be had, not the name.
    pub alias: bool,
}

impl ProfileBook {
    /// With both sides as they stand at the start; applies them at once.
    pub fn new(file: Vec<Profile>, stored: Vec<StoredProfile>, apply: Apply) -> ProfileBook {
        let stored = stored.into_iter().map(|one| (one.profile.name.clone(), Arc::new(one))).collect();
        let sides = Sides { file: file.into_iter().map(Arc::new).collect(), stored };
        apply(sides.set());
        ProfileBook { sides: Mutex::new(sides), apply, editing: tokio::sync::Mutex::new(()) }
    }

    /// Puts what the file says now in place of what it said.
    pub fn set_file(&self, file: Vec<Profile>) {
        self.change(|sides| sides.file = file.into_iter().map(Arc::new).collect());
    }

    /// Adds a store profile, or puts it in place of the one of its name.
    pub fn put(&self, stored: StoredProfile) {
        self.change(|sides| drop(sides.stored.insert(stored.profile.name.clone(), Arc::new(stored))));
    }

    /// Forgets the stored profile of that name.
    pub fn remove(&self, name: &str) {
        self.change(|sides| drop(sides.stored.remove(name)));
    }

    /// Every profile: those of the file in its order, then those of the store by name.
    pub fn all(&self) -> Vec<Placed> {
        let sides = self.sides();
        let file = sides.file.iter().map(|profile| Placed::File(Arc::clone(profile)));
        let stored = sides.stored.values().map(|stored| sides.placed(stored));
        file.chain(stored).collect()
    }

    /// The profile of that name, the file's first.
    pub fn get(&self, name: &str) -> Option<Placed> {
        let sides = self.sides();
        match sides.of_file(name) {
            Some(profile) => Some(Placed::File(Arc::clone(profile))),
            None => sides.stored.get(name).map(|stored| sides.placed(stored)),
        }
    }

    /// The store's profile of that name, shadowed or not.
    pub fn stored(&self, name: &str) -> Option<Arc<StoredProfile>> {
        self.sides().stored.get(name).cloned()
    }

    /// How many profiles the store holds, those included that the file hides.
    pub fn stored_count(&self) -> usize {
        self.sides().stored.len()
    }

    /// The names and aliases of `profile` that another profile has. Aliases with stars may overlap.
    pub fn taken(&self, profile: &Profile, replaces: Option<&str>) -> Vec<Taken> {
        let sides = self.sides();
        let others = || {
            let stored = sides.stored.values().map(|stored| &stored.profile);
            let file = sides.file.iter().map(AsRef::as_ref);
            file.chain(stored).filter(|other| Some(other.name.as_str()) != replaces)
        };
        let owner = |name: &str| {
            let named = others().find(|other| other.name == name);
            named.or_else(|| others().find(|other| other.aliases.iter().any(|alias| alias == name)))
        };
        let name = std::iter::once((&profile.name, false));
        let names = name.chain(profile.aliases.iter().map(|alias| (alias, true)));
        let taken = names.filter_map(|(name, alias)| {
            let owner = owner(name)?.name.clone();
            Some(Taken { taken: name.clone(), owner, alias })
        });
        taken.collect()
    }

    fn change(&self, change: impl FnOnce(&mut Sides)) {
        let mut sides = self.sides();
        change(&mut sides);
        // Under the lock, so that the set that is applied last is the newest.
        (self.apply)(sides.set());
    }

    fn sides(&self) -> MutexGuard<'_, Sides> {
        self.sides.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Placed {
    /// What it says, wherever it stands.
    pub fn profile(&self) -> &Profile {
        match self {
            Placed::File(profile) => profile,
            Placed::Store { stored, .. } => &stored.profile,
        }
    }
}

impl Sides {
    /// What is in force.
    fn set(&self) -> ProfileSet {
        let stored = self.stored.values().filter(|stored| self.of_file(&stored.profile.name).is_none());
        let file = self.file.iter().map(|profile| Profile::clone(profile));
        ProfileSet::new(file.chain(stored.map(|stored| stored.profile.clone())).collect())
    }

    fn of_file(&self, name: &str) -> Option<&Arc<Profile>> {
        self.file.iter().find(|profile| profile.name == name)
    }

    fn placed(&self, stored: &Arc<StoredProfile>) -> Placed {
        let shadowed = self.of_file(&stored.profile.name).is_some();
        Placed::Store { stored: Arc::clone(stored), shadowed }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
