//! launchd: the property list, and launchctl's words. Pure.

use std::path::PathBuf;

use super::{Kind, NAME, Plan, Setup, log_file, words};

pub fn plan(kind: Kind, setup: &Setup) -> Plan {
    let file = format!("{NAME}.plist");
    let (file, domain) = if kind == Kind::LaunchDaemon {
        (PathBuf::from("/Library/LaunchDaemons").join(file), "system".to_owned())
    } else {
        (setup.home.join("Library/LaunchAgents").join(file), format!("gui/{}", setup.user_id))
    };
    let target = format!("{domain}/{NAME}");
    Plan {
        text: text(kind, setup),
        install: vec![words(&["launchctl", "bootstrap", &domain, &file.display().to_string()])],
        uninstall: vec![words(&["launchctl", "bootout", &target])],
        is_running: words(&["launchctl", "print", &target]),
        file,
    }
}

fn text(kind: Kind, setup: &Setup) -> String {
    let log = log_file(&setup.data_dir).display().to_string();
    let arguments = [setup.arguments(), vec!["--log-file".to_owned(), log]].concat();
    let arguments: String =
        arguments.iter().map(|word| format!("    <string>{}</string>\n", escaped(word))).collect();
    // Standard error has what comes before the log begins; the log itself is kept short by the gateway.
    let before = escaped(&setup.data_dir.join("service.log").display().to_string());
    // A daemon runs as root unless it is told otherwise.
    let user = if kind == Kind::LaunchDaemon {
        format!("  <key>UserName</key>\n  <string>{}</string>\n", escaped(&setup.user))
    } else {
        String::new()
    };
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{NAME}</string>
  <key>ProgramArguments</key>
  <array>
{arguments}  </array>
{user}  <key>EnvironmentVariables</key>
  <dict>
    <key>HOME</key>
    <string>{home}</string>
    <key>PATH</key>
    <string>{path}</string>
  </dict>
  <key>WorkingDirectory</key>
  <string>{home}</string>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <dict>
    <key>SuccessfulExit</key>
    <false/>
  </dict>
  <key>ThrottleInterval</key>
  <integer>10</integer>
  <key>ExitTimeOut</key>
  <integer>45</integer>
  <key>ProcessType</key>
  <string>Interactive</string>
  <key>StandardOutPath</key>
  <string>{before}</string>
  <key>StandardErrorPath</key>
  <string>{before}</string>
</dict>
</plist>
"#,
        home = escaped(&setup.home.display().to_string()),
        path = escaped(&setup.path),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
