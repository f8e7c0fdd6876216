//! What a profile would be launched with, before it is. Shows words, runs nothing but a program's own
//! `--help`.

use super::view::Profile;
use crate::config::{self, EngineKind};
use crate::http::state::Shared;

/// Adds the command to what is shown of a profile, or why there is none.
pub async fn fill(gateway: &Shared, shown: &mut Profile, profile: &config::Profile) {
    if profile.launch.engine == EngineKind::Url {
        shown.command_note = Some("another server does it; nothing is launched".to_owned());
        return;
    }
    // Profiles that share a backend share the name that it was given.
    let served = shown.backend.clone().unwrap_or_else(|| profile.name.clone());
    match gateway.engines.preview(&profile.launch, &served).await {
        Ok(command) => shown.command = Some(command),
        Err(error) => shown.command_note = Some(error.to_string()),
    }
}
