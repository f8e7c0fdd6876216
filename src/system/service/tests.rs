//! What is written for the supervisors.

use super::*;

fn setup() -> Setup {
    Setup {
        program: "/opt/tools & more/mlx-gateway".into(),
        config: Some("/Users/ada/100% mine/config.toml".into()),
        data_dir: "/Users/ada/Library/Application Support/mlx-gateway".into(),
        home: "/Users/ada".into(),
        user: "ada".into(),
        user_id: 501,
        path: "/opt/homebrew/bin:/usr/bin:/bin".into(),
    }
}

#[test]
fn an_agent_of_launchd_has_absolute_paths_and_a_home() {
    let plan = plan(Kind::LaunchAgent, &setup());
    assert_eq!(plan.file, Path::new("/Users/ada/Library/LaunchAgents/mlx-gateway.plist"));
    assert_eq!(
        plan.install,
        [["launchctl", "bootstrap", "gui/501", "/Users/ada/Library/LaunchAgents/mlx-gateway.plist"]]
    );
    assert_eq!(plan.uninstall, [["launchctl", "bootout", "gui/501/mlx-gateway"]]);
    insta::assert_snapshot!("launch_agent", plan.text);
}

#[test]
fn a_daemon_of_launchd_runs_as_the_user_without_a_log_in() {
    let plan = plan(Kind::LaunchDaemon, &setup());
    assert_eq!(plan.file, Path::new("/Library/LaunchDaemons/mlx-gateway.plist"));
    assert_eq!(plan.install[0][2], "system");
    insta::assert_snapshot!("launch_daemon", plan.text);
}

#[test]
fn a_unit_of_systemd_survives_spaces_and_percent_signs() {
    let plan = plan(Kind::SystemdUser, &setup());
    assert_eq!(plan.file, Path::new("/Users/ada/.config/systemd/user/mlx-gateway.service"));
    insta::assert_snapshot!("systemd_user", plan.text);
}

/// Debian's systemd is there on every Linux machine that could use the unit.
#[cfg(target_os = "linux")]
#[test]
fn systemd_finds_nothing_wrong_with_its_unit() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let home = folder.path().to_owned();
    let of_here = Setup { program, home: home.clone(), data_dir: home.join("da ta"), ..setup() };
    let file = folder.path().join("mlx-gateway.service");
    std::fs::write(&file, plan(Kind::SystemdUser, &of_here).text).unwrap();
    let checked = Command::new("systemd-analyze")
        .args(["verify", "--user", "--man=no"])
        .arg(&file)
        .env("XDG_RUNTIME_DIR", folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("mlx-gateway.service")).collect();
    assert!(checked.status.success() && of_ours.is_empty(), "{said}");
}

#[test]
fn a_service_that_was_never_installed_is_not_removed() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = Setup { home: folder.path().to_owned(), ..setup() };
    assert!(!uninstall(&plan(Kind::SystemdUser, &nowhere)).unwrap());
}
