//! What a profile would be launched with, before it is. Shows words, runs nothing but a program's own
//! `--help`.

use std::time::Duration;

use super::view::Profile;
use crate::config::{self, EngineKind};
use crate::http::state::Shared;

/// How long a program may take to tell its options.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// Adds the command to what is shown of a profile, or why there is none.
pub async fn fill(gateway: &Shared, shown: &mut Profile, profile: &config::Profile) {
    if profile.launch.engine == EngineKind::Url {
        shown.command_note = Some("another server does it; nothing is launched".to_owned());
        return;
    }
    // Profiles that share a backend share the name that it was given.
    let served = shown.backend.clone().unwrap_or_else(|| profile.name.clone());
    let preview = gateway.engines.preview(&profile.launch, &served);
    match tokio::time::timeout(ASK_LIMIT, preview).await {
        Ok(Ok(command)) => shown.command = Some(command),
        Ok(Err(error)) => shown.command_note = Some(error.to_string()),
        Err(_elapsed) => {
            let limit = ASK_LIMIT.as_secs();
            shown.command_note = Some(format!("the engine did not tell its options within {limit} s"));
        }
    }
}
