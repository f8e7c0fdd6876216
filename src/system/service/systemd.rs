//! systemd: the unit of a user service, and systemctl's words. Pure.

use super::{NAME, Plan, Setup, words};

pub fn plan(setup: &Setup) -> Plan {
    let unit = format!("{NAME}.service");
    Plan {
        file: setup.home.join(".config/systemd/user").join(&unit),
        text: text(setup),
        install: vec![
            words(&["systemctl", "--user", "daemon-reload"]),
            words(&["systemctl", "--user", "enable", "--now", &unit]),
        ],
        uninstall: vec![words(&["systemctl", "--user", "disable", "--now", &unit])],
        is_running: words(&["systemctl", "--user", "is-active", "--quiet", &unit]),
    }
}

fn text(setup: &Setup) -> String {
    let arguments: Vec<String> = setup.arguments().iter().map(|word| quoted(word)).collect();
    format!(
        "[Unit]
Description=One OpenAI-compatible endpoint for local models
After=network-online.target
Wants=network-online.target

[Service]
ExecStart={}
Environment={}
Environment={}
WorkingDirectory={}
Restart=on-failure
RestartSec=10
TimeoutStopSec=45
KillMode=mixed

[Install]
WantedBy=default.target
",
        arguments.join(" "),
        quoted(&format!("HOME={}", setup.home.display())),
        quoted(&format!("PATH={}", setup.path)),
        // Takes no quotes; a percent sign would begin a specifier.
        setup.home.display().to_string().replace('%', "%%"),
    )
}

/// In double quotes, so that neither spaces nor systemd's own signs mean anything.
fn quoted(word: &str) -> String {
    let word = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    format!("\"{word}\"")
}
