//! Changing the store's profiles: checked like the file, kept, applied, and told on the bus, in this
//! order and one change at a time.

use std::path::PathBuf;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::command;
use super::view::{self, Profile};
use crate::config::{self, ModelRef, Problem, read_stored, settings_of};
use crate::events::{Audience, Kind};
use crate::http::error::ApiError;
use crate::http::state::Shared;
use crate::models;
use crate::profiles::{Placed, StoredProfile};
use crate::store::profiles::{PROFILES_MAX, ProfileRow};
use crate::store::{Store, StoreError, profiles as table};
use crate::system::offload;

/// What is wanted.
pub struct Change {
    pub settings: Map<String, Value>,
    /// The name of the profile that is there; `None`: a new one.
    pub replaces: Option<String>,
    pub if_match: Option<String>,
    pub dry_run: bool,
}

/// Settings that were not taken, all problems with their keys.
pub struct Refused(Vec<Problem>);

/// What is kept, ready for the book. Rows that are not understood any more are left out, and logged.
pub fn load(store: &Store) -> Result<Vec<StoredProfile>, StoreError> {
    let rows = table::all(store)?;
    let understood = rows.into_iter().filter_map(|row| {
        let settings: Map<String, Value> = serde_json::from_str(&row.settings).unwrap_or_default();
        match read_stored(&settings, home().as_deref()) {
            Ok((profile, _)) => Some(StoredProfile {
                profile,
                settings,
                created_at: row.created_at,
                updated_at: row.updated_at,
            }),
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                tracing::warn!(
                    profile.name = row.name,
                    ?problems,
                    "A stored profile is not understood and left out"
                );
                None
            }
        }
    });
    Ok(understood.collect())
}

pub fn find(gateway: &Shared, name: &str) -> Result<Placed, ApiError> {
    let found = gateway.profiles.get(name);
    found.ok_or_else(|| ApiError::not_found(format!("there is no profile \"{name}\"")))
}

/// Checks, keeps and applies it.
pub async fn put(gateway: &Shared, change: Change) -> Result<Result<Profile, Refused>, ApiError> {
    let _editing = gateway.profiles.editing.lock().await;
    let before = match &change.replaces {
        Some(name) => Some(changeable(gateway, name, change.if_match.as_deref())?),
        None => None,
    };
    let mut settings = change.settings;
    settings.retain(|_, value| !value.is_null());
    let (profile, warnings) = match checked(gateway, &settings, change.replaces.as_deref()).await? {
        Ok(checked) => checked,
        Err(refused) => return Ok(Err(refused)),
    };
    let now = gateway.proxy.clock.unix_ms();
    let created_at = before.as_ref().map_or(now, |before| before.created_at);
    let restart_required = before
        .as_ref()
        .is_some_and(|before| before.profile.launch != profile.launch && runs(gateway, &before.profile.name));
    let changed = before.as_ref().map(|before| difference(&before.settings, &settings)).unwrap_or_default();
    let stored = StoredProfile { profile: profile.clone(), settings, created_at, updated_at: now };
    let name = stored.profile.name.clone();
    let mut shown = if change.dry_run {
        view::bare(&stored.profile, stored.settings)
    } else {
        keep(gateway, stored).await?;
        view::of(gateway, &find(gateway, &name)?)
    };
    command::fill(gateway, &mut shown, &profile).await;
    shown.restart_required = restart_required;
    shown.changed = changed;
    shown.warnings = warnings.iter().map(ToString::to_string).collect();
    if !change.dry_run {
        gateway.events.publish(Kind::ProfileChanged, Audience::Readers, &shown);
    }
    Ok(Ok(shown))
}

/// Says whether a process still runs behind what is gone.
pub async fn remove(gateway: &Shared, name: &str, if_match: Option<&str>) -> Result<bool, ApiError> {
    let _editing = gateway.profiles.editing.lock().await;
    changeable(gateway, name, if_match)?;
    let backend_runs = runs(gateway, name);
    table::remove(&gateway.store, name).await?;
    gateway.profiles.remove(name);
    tracing::info!(profile.name = name, "A profile was removed");
    let gone = json!({"name": name, "removed": true});
    gateway.events.publish(Kind::ProfileChanged, Audience::Readers, &gone);
    Ok(backend_runs)
}

/// The settings of a copy. Aliases stay with the original: they can have one owner only.
pub fn copied(original: &Placed, name: String) -> Result<Map<String, Value>, ApiError> {
    let mut settings = match original {
        Placed::Store { stored, .. } => stored.settings.clone(),
        Placed::File(profile) => {
            let (settings, file_only) = settings_of(profile);
            if !file_only.is_empty() {
                let message = format!(
                    "\"{}\" says {}, which only config.toml may; copy it there",
                    profile.name,
                    file_only.join(", ")
                );
                return Err(ApiError::bad_request(message, "name"));
            }
            settings
        }
    };
    settings.insert("name".to_owned(), Value::from(name));
    settings.remove("aliases");
    Ok(settings)
}

/// Fills in what follows from the model's facts, where the settings leave it open and the model is here
/// or on the hub.
pub async fn suggest(gateway: &Shared, settings: &mut Map<String, Value>) {
    let Some(model) = settings.get("model").and_then(Value::as_str) else { return };
    let facts = match folder(gateway, model).await {
        Some(folder) => {
            let path = folder.clone();
            let read = offload::run(&folder, offload::PATIENT_TIME, move || models::read(&path)).await;
            read.ok().and_then(Result::ok)
        }
        None => crate::http::admin::hub::facts_of(gateway, model).await,
    };
    let Some(facts) = facts else { return };
    let suggestion = models::suggest(&facts, gateway.about.memory_budget_bytes);
    let mut fill = |key: &str, value: Value| {
        settings.entry(key).or_insert(value);
    };
    fill("model_type", suggestion.model_type.into());
    if let Some(length) = suggestion.context_length {
        fill("context_length", length.into());
    }
    if !suggestion.defaults.is_empty() {
        fill("defaults", suggestion.defaults.into());
    }
}

async fn folder(gateway: &Shared, model: &str) -> Option<PathBuf> {
    let reference = if model.starts_with('/') {
        ModelRef::Folder(PathBuf::from(model))
    } else {
        ModelRef::Hub(model.to_owned())
    };
    gateway.engines.local_model(&reference).await
}

/// The store's profile of that name, if it may be changed.
fn changeable(
    gateway: &Shared,
    name: &str,
    if_match: Option<&str>,
) -> Result<std::sync::Arc<StoredProfile>, ApiError> {
    let Some(stored) = gateway.profiles.stored(name) else {
        find(gateway, name)?;
        let message = format!("\"{name}\" stands in config.toml, and is changed there");
        return Err(ApiError::conflict(message, "profile_in_file"));
    };
    if if_match.is_some_and(|tag| tag != view::tag(&stored.settings)) {
        let message = format!("\"{name}\" has been changed meanwhile; look at it again, then change it");
        return Err(ApiError::precondition_failed(message));
    }
    Ok(stored)
}

type Checked = Result<(config::Profile, Vec<config::Warning>), Refused>;

async fn checked(
    gateway: &Shared,
    settings: &Map<String, Value>,
    replaces: Option<&str>,
) -> Result<Checked, ApiError> {
    let model = settings.get("model").and_then(Value::as_str).unwrap_or_default();
    let (place, unread) = (PathBuf::from(model), settings.clone());
    // It looks for the model's folder.
    let reading = move || read_stored(&unread, home().as_deref());
    let (profile, warnings) = match offload::run(&place, offload::PATIENT_TIME, reading).await? {
        Ok(read) => read,
        Err(problems) => return Ok(Err(Refused(problems))),
    };
    if let Some(name) = replaces.filter(|name| *name != profile.name) {
        let message = format!("\"{name}\" keeps its name; copy it to another, then remove it");
        return Err(ApiError::bad_request(message, "name"));
    }
    let taken = gateway.profiles.taken(&profile, replaces);
    if let Some(name) = taken.iter().find(|taken| !taken.alias) {
        return Err(ApiError::conflict(name.to_string(), "profile_exists"));
    }
    if !taken.is_empty() {
        let problem = |taken: &crate::profiles::Taken| Problem {
            file: None,
            line: None,
            source: None,
            key: "aliases".to_owned(),
            message: taken.to_string(),
            suggestion: Some("remove it here or there".to_owned()),
        };
        return Ok(Err(Refused(taken.iter().map(problem).collect())));
    }
    if replaces.is_none() && gateway.profiles.stored_count() >= PROFILES_MAX {
        let message = format!("there are {PROFILES_MAX} profiles already; remove one first");
        return Err(ApiError::conflict(message, "too_many_profiles"));
    }
    Ok(Ok((profile, warnings)))
}

async fn keep(gateway: &Shared, stored: StoredProfile) -> Result<(), ApiError> {
    let row = ProfileRow {
        name: stored.profile.name.clone(),
        settings: Value::Object(stored.settings.clone()).to_string(),
        created_at: stored.created_at,
        updated_at: stored.updated_at,
    };
    tracing::info!(profile.name = row.name, "A profile is changed");
    table::put(&gateway.store, row).await?;
    gateway.profiles.put(stored);
    Ok(())
}

/// Whether a process runs behind the profile.
fn runs(gateway: &Shared, name: &str) -> bool {
    let backends = gateway.proxy.backends.snapshot();
    let of = |one: &&crate::backends::BackendSnapshot| one.profiles.iter().any(|profile| profile == name);
    backends.iter().find(of).is_some_and(|backend| backend.pid.is_some())
}

fn difference(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<String> {
    let mut keys: Vec<String> = before.keys().chain(after.keys()).cloned().collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| before.get(key) != after.get(key));
    keys
}

fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        let count =
            if self.0.len() == 1 { "1 problem".to_owned() } else { format!("{} problems", self.0.len()) };
        let error = json!({"error": {
            "message": format!("{count} in the profile:\n{}", lines.join("\n")),
            "type": "invalid_request_error",
            "param": self.0.first().map(|problem| problem.key.as_str()),
            "code": "invalid_profile",
            "problems": self.0,
        }});
        (StatusCode::BAD_REQUEST, Json(error)).into_response()
    }
}
