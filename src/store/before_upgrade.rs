//! The store as it was before its schema was brought up to date, so that the program of before can be gone back to:
//! one copy beside it, of the version that it had last.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::{StoreError, reason};
use crate::system::private;

/// Between the store's name and the version: `gateway.db.before-8`.
const MARK: &str = ".before-";

/// Writes the copy, and forgets older ones. Nothing has been changed when this fails.
pub(super) fn keep(conn: &Connection, path: &Path, version: u32) -> Result<PathBuf, StoreError> {
    let copy = beside(path, &format!("{MARK}{version}"));
    let part = beside(path, ".before.part");
    let failed = |reason: String| StoreError::NoCopy { path: copy.clone(), reason };
    let in_file = |error: std::io::Error| failed(error.to_string());
    // SQLite takes an empty file that is there, with its mode.
    let empty = private::create(&part).map_err(in_file)?;
    let written = conn.execute("VACUUM INTO ?1", [part.to_string_lossy()]);
    let kept = match written {
        Ok(_) => empty.sync_all().and_then(|()| fs::rename(&part, &copy)).map_err(in_file),
        Err(error) => Err(failed(error.sqlite_error_code().map_or("an internal error", reason).to_owned())),
    };
    if let Err(error) = kept {
        remove(&part).map_err(in_file)?;
        return Err(error);
    }
    for older in older(path, &copy) {
        remove(&older).map_err(in_file)?;
    }
    Ok(copy)
}

fn remove(path: &Path) -> std::io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Other copies of this store.
fn older(path: &Path, newest: &Path) -> Vec<PathBuf> {
    let prefix = beside(path, MARK);
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|other| other != newest)
        .filter(|other| other.to_string_lossy().starts_with(&*prefix.to_string_lossy()))
        .collect()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(path: &Path) -> Connection {
        let conn = Connection::open(path).unwrap();
        conn.execute_batch("PRAGMA journal_mode=wal; CREATE TABLE t (a); INSERT INTO t VALUES (7)").unwrap();
        conn
    }

    #[test]
    fn the_newest_copy_stays_and_is_whole_and_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.db");
        let conn = store(&path);
        for version in [6, 8, 8] {
            let copy = keep(&conn, &path, version).unwrap();
            let seen: i64 =
                Connection::open(&copy).unwrap().query_row("SELECT a FROM t", [], |row| row.get(0)).unwrap();
            assert_eq!(seen, 7);
            assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let mut left: Vec<String> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains("before"))
            .collect();
        left.sort();
        assert_eq!(left, ["gateway.db.before-8"]);
    }

    #[test]
    fn without_room_for_the_copy_nothing_is_begun() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.db");
        let conn = store(&path);
        // A folder lies where the copy goes.
        fs::create_dir(folder.path().join("gateway.db.before-8")).unwrap();
        let error = keep(&conn, &path, 8).unwrap_err();
        assert!(error.to_string().contains("gateway.db.before-8"), "{error}");
        assert!(!folder.path().join("gateway.db.before.part").exists());
    }
}
