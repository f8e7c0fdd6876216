//! The data directory and everything in it is for the user that runs the gateway, whatever the umask, whatever was there.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::json;

use crate::support::{Gateway, PROFILES, run_under, write_config};

/// Gives every new file all permissions, unless its mode is set.
const WIDE_OPEN: &str = "umask 000; exec \"$0\" \"$@\"";

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything below a folder, itself included, that others may read, write or search; links have no mode.
fn open_to_others(folder: &Path) -> Vec<(PathBuf, u32)> {
    let (mut open, mut left) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(path) = left.pop() {
        let kind = fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        if !kind.is_symlink() && mode(&path) & 0o077 != 0 {
            open.push((path.clone(), mode(&path)));
        }
    }
    open
}

fn wide_open(folder: &tempfile::TempDir, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("sh");
    command.args(["-c", WIDE_OPEN, env!("CARGO_BIN_EXE_mlx-gateway")]);
    command.arg("--config").arg(folder.path().join("config.toml"));
    command.arg("--data-dir").arg(folder.path().join("data"));
    command.args(arguments).env("HOME", folder.path()).output().unwrap()
}

#[test]
fn everything_in_the_data_directory_is_for_its_user_alone_whatever_the_umask() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    write_config(folder.path(), &format!("[plugins]\ndir = {:?}\n{PROFILES}", data.join("plugins")));
    let gateway = Gateway::serve_under(Arc::clone(&folder), &[], WIDE_OPEN);
    gateway.chat("qwen", "#chunks=1");
    let admin = gateway.admin();
    gateway.key(&admin, &json!({"name": "k"}));
    let own = folder.path().join("own");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("plugin.toml"), "name = \"test_tools\"\n").unwrap();
    let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plugins/test_tools/test_tools.wasm");
    fs::copy(wasm, own.join("test_tools.wasm")).unwrap();
    let added = wide_open(&folder, &["plugins", "add", own.to_str().unwrap()]);
    assert!(added.status.success(), "{added:?}");
    let backup = folder.path().join("backup.zip");
    let written = wide_open(&folder, &["backup", backup.to_str().unwrap()]);
    assert!(written.status.success(), "{written:?}");
    assert_eq!(mode(&backup), 0o600);
    for name in [
        "gateway.db",
        "gateway.db-wal",
        "session.key",
        "gateway.lock",
        "gateway.sock",
        "logs",
        "run",
        "plugins/test_tools",
    ] {
        assert!(data.join(name).exists(), "{name}");
    }
    assert_eq!(open_to_others(&data), []);
    drop(gateway);

    let other = tempfile::tempdir().unwrap();
    write_config(other.path(), &format!("[plugins]\ndir = {:?}\n", other.path().join("plugins")));
    let restored = wide_open(&other, &["restore", backup.to_str().unwrap()]);
    assert!(restored.status.success(), "{restored:?}");
    assert!(other.path().join("plugins/test_tools/test_tools.wasm").exists());
    let open = [open_to_others(&other.path().join("data")), open_to_others(&other.path().join("plugins"))];
    assert_eq!(open, [[], []]);
    assert_eq!(mode(&other.path().join("config.toml.restored")), 0o600);
}

#[test]
fn an_open_data_directory_is_closed_at_start_and_the_log_says_so() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    for name in ["gateway.lock", "gateway.db"] {
        fs::write(data.join(name), "").unwrap();
        chmod(&data.join(name), 0o666);
    }
    let folders = ["logs", "plugin-cache", "run"].map(|name| data.join(name));
    folders.iter().for_each(|path| fs::create_dir(path).unwrap());
    folders.iter().chain([&data]).for_each(|path| chmod(path, 0o755));
    let gateway = Gateway::start_in(Arc::clone(&folder), PROFILES, &[]);
    assert_eq!(open_to_others(&data), []);
    let log = gateway.log();
    assert_eq!(log.matches("Closed a folder of the gateway to other users").count(), 4, "{log}");
    assert!(log.contains("0755"), "{log}");
    drop(gateway);
    let again = Gateway::start_in(folder, PROFILES, &[]);
    assert!(!again.log().contains("Closed a folder"), "once is enough");
}

#[test]
fn a_data_directory_that_others_share_or_own_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    write_config(folder.path(), PROFILES);
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    chmod(&data, 0o1777);
    let refused = run_under(&folder, "exec \"$0\" \"$@\"");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("shared by all users") && words.contains("--data-dir"), "{words}");
    assert_eq!((mode(&data), fs::read_dir(&data).unwrap().count()), (0o1777, 0));

    fs::remove_dir(&data).unwrap();
    let foreign = foreign(folder.path());
    std::os::unix::fs::symlink(&foreign, &data).unwrap();
    let before = mode(&foreign);
    let refused = run_under(&folder, "exec \"$0\" \"$@\"");
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("belongs to user"), "{words}");
    assert_eq!(mode(&foreign), before);
}

/// A folder of another user, for root and for others.
fn foreign(folder: &Path) -> PathBuf {
    let path = folder.join("foreign");
    fs::create_dir(&path).unwrap();
    match chown(&path, Some(65_534), None) {
        Ok(()) => path,
        // Only root may change owners; others do not own this one.
        Err(_) => PathBuf::from("/usr"),
    }
}
