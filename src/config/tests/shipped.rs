//! The config.toml that comes with the gateway.

use super::super::{ModelRef, Profile};
use super::Folder;

const SHIPPED: &str = include_str!("../../../config.toml");

/// Settings are commented out without a space, prose with one.
fn uncommented() -> String {
    let setting = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => format!("{rest}\n"),
        _ => format!("{line}\n"),
    };
    SHIPPED.lines().map(setting).collect()
}

fn names(profiles: &[Profile]) -> Vec<&str> {
    profiles.iter().map(|profile| profile.name.as_str()).collect()
}

#[test]
fn the_shipped_file_serves_the_demo_and_warns_of_nothing() {
    let folder = Folder::with(SHIPPED);
    assert_eq!(folder.warnings(), Vec::<String>::new());
    let config = folder.config();
    assert_eq!(names(&config.profiles), ["demo"]);
    assert_eq!(config.profiles[0].launch.model, Some(ModelRef::Demo));
}

#[test]
fn without_a_file_the_gateway_behaves_as_with_the_shipped_one() {
    let (empty, shipped) = (Folder::empty().config(), Folder::with(SHIPPED).config());
    assert_eq!(empty.file, None);
    assert_eq!(empty.profiles, shipped.profiles);
    assert_eq!(empty.server.listen, shipped.server.listen);
    assert!(empty.origins.0.is_empty(), "{:?}", empty.origins);
}

#[test]
fn every_setting_in_its_comments_is_valid_and_is_the_default() {
    let text = uncommented();
    assert!(text.matches('=').count() > 40);
    let folder = Folder::with(&text);
    folder.write("cert.pem", "");
    folder.write("key.pem", "");
    let config = folder.config();
    assert_eq!(names(&config.profiles), ["demo", "qwen"]);

    let plain = Folder::with(SHIPPED).config();
    let qwen = &config.profiles[1];
    let demo = &plain.profiles[0];
    assert_eq!(
        (qwen.keep_alive, qwen.queue, qwen.timeouts, qwen.max_concurrent, qwen.launch.engine),
        (demo.keep_alive, demo.queue, demo.timeouts, demo.max_concurrent, demo.launch.engine),
    );
    assert_eq!(config.server.max_body, plain.server.max_body);
    assert_eq!(config.server.body_timeout, plain.server.body_timeout);
    assert_eq!(config.server.shutdown_grace, plain.server.shutdown_grace);
    assert_eq!(config.auth.session_days, plain.auth.session_days);
    assert_eq!(config.auth.audit_days, plain.auth.audit_days);
    assert_eq!(config.memory.min_stay, plain.memory.min_stay);
    assert_eq!(config.usage.retention_days, plain.usage.retention_days);
    assert_eq!(config.responses.retention_days, plain.responses.retention_days);
    assert_eq!(
        (config.media.fetch, config.media.max_size, config.media.timeout),
        (plain.media.fetch, plain.media.max_size, plain.media.timeout),
    );
    assert_eq!(config.hub.endpoint, plain.hub.endpoint);
    assert_eq!(config.plugins.max_rounds, plain.plugins.max_rounds);
}
