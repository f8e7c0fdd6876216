//! The settings as people are shown them: every key with its value and where that came from. Secrets
//! are told as set or not set.

use serde_json::{Value, json};

use super::{ByteSize, Config, MemoryBudget, Origin, Registration, show_duration};

/// One setting.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// As in the file: `server.listen`.
    pub key: &'static str,
    pub value: Value,
    pub origin: Origin,
}

/// Every setting but the profiles, in the order of the file.
pub fn shown(config: &Config) -> Vec<Shown> {
    let server = &config.server;
    let engine = &config.engines.mlx_openai_server;
    let texts = |all: Vec<String>| json!(all);
    let all = [
        ("server.listen", texts(server.listen.iter().map(ToString::to_string).collect())),
        ("server.data_dir", json!(server.data_dir)),
        ("server.max_body", json!(size(server.max_body))),
        ("server.body_timeout", json!(show_duration(server.body_timeout))),
        ("server.allowed_hosts", json!(server.allowed_hosts)),
        ("server.cors_origins", json!(server.cors_origins)),
        ("server.trusted_proxies", texts(server.trusted_proxies.iter().map(ToString::to_string).collect())),
        ("server.tls", json!(server.tls.as_ref().map(|tls| &tls.cert))),
        ("server.shutdown_grace", json!(show_duration(server.shutdown_grace))),
        ("auth.api", json!(config.auth.api.name())),
        ("auth.registration", json!(registration(config.auth.registration))),
        ("auth.session_days", json!(config.auth.session_days)),
        ("auth.audit_days", json!(config.auth.audit_days)),
        ("auth.environment_key", json!(is_set(config.auth.environment_key.is_some()))),
        ("memory.budget", json!(budget(config.memory.budget))),
        ("memory.min_stay", json!(show_duration(config.memory.min_stay))),
        ("usage.retention_days", json!(config.usage.retention_days)),
        ("log.file", json!(config.log.file)),
        ("log.max_size", json!(size(config.log.max_size))),
        ("log.keep", json!(config.log.keep)),
        ("responses.retention_days", json!(config.responses.retention_days)),
        ("media.fetch", json!(config.media.fetch)),
        ("media.max_size", json!(size(config.media.max_size))),
        ("media.timeout", json!(show_duration(config.media.timeout))),
        ("media.allow_private", texts(config.media.allow_private.iter().map(ToString::to_string).collect())),
        ("hub.endpoint", json!(config.hub.endpoint)),
        ("hub.token", json!(is_set(config.hub.token.is_some()))),
        ("hub.token_file", json!(config.hub.token_file)),
        ("plugins.dir", json!(config.plugins.dir)),
        ("plugins.max_rounds", json!(config.plugins.max_rounds)),
        ("engine.mlx-openai-server.managed", json!(engine.managed)),
        ("engine.mlx-openai-server.command", json!(engine.command)),
    ];
    all.into_iter().map(|(key, value)| Shown { key, value, origin: config.origins.of(key) }).collect()
}

fn size(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

fn is_set(set: bool) -> &'static str {
    if set { "set" } else { "not set" }
}

fn registration(mode: Registration) -> &'static str {
    match mode {
        Registration::Approval => "approval",
        Registration::Closed => "closed",
    }
}

fn budget(budget: MemoryBudget) -> String {
    match budget {
        MemoryBudget::Auto => "auto".to_owned(),
        MemoryBudget::Bytes(bytes) => size(bytes),
        MemoryBudget::Percent(percent) => format!("{percent}%"),
    }
}
