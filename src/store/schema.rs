//! Opening the file: its mode, pragmas and schema version. Knows no table beyond its migration.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::{StoreError, reason};
use super::{before_upgrade, rollup};
use crate::system::private;

/// In order; the version of a store is the number of them that it has seen.
const MIGRATIONS: [&str; 16] = [
    include_str!("migrations/0001_requests.sql"),
    include_str!("migrations/0002_profiles.sql"),
    include_str!("migrations/0003_downloads.sql"),
    include_str!("migrations/0004_measured_memory.sql"),
    include_str!("migrations/0005_accounts.sql"),
    include_str!("migrations/0006_plugin_grants.sql"),
    include_str!("migrations/0007_usage_sums.sql"),
    include_str!("migrations/0008_chats.sql"),
    include_str!("migrations/0009_pages.sql"),
    include_str!("migrations/0010_user_tools.sql"),
    include_str!("migrations/0011_key_limits.sql"),
    include_str!("migrations/0012_responses.sql"),
    include_str!("migrations/0013_responses_under_way.sql"),
    include_str!("migrations/0014_grants_of_components.sql"),
    include_str!("migrations/0015_bytes_of_chats.sql"),
    include_str!("migrations/0016_bytes_of_chats_counted_once.sql"),
];
const SCHEMA: &str = include_str!("schema.sql");

/// The migration whose table is filled out of the records that are there.
const SUMS: u32 = 7;

/// Another program (a backup, `sqlite3`) may hold the file for a moment.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a store that is verified as a whole at every start.
const VERIFIED_MAX: i64 = 64 << 20;
/// Tables that decide who may do what. They are small in every store.
const ACCESS_TABLES: [&str; 7] =
    ["users", "api_keys", "sessions", "reset_links", "profiles", "plugin_grants", "settings"];
/// Past this the write-ahead log is cut back after a checkpoint.
const WAL_BYTES_MAX: u32 = 64 << 20;

/// The connection that writes, its schema brought up to date.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let open_error = |reason: String| StoreError::Open { path: path.to_owned(), reason };
    // SQLite gives its side files the mode of the main one.
    let restricted = private::append(path).and_then(|file| private::restrict(&file));
    restricted.map_err(|error| open_error(error.to_string()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(path, flags).map_err(|e| unopened(path, &e))?;
    set_up(&conn).map_err(|e| unopened(path, &e))?;
    migrate(&mut conn, path)?;
    verify(&conn, path)?;
    Ok(conn)
}

/// Notices damage that SQLite would notice only when it reads the page, zeroed pages among it: all of a small store, and
/// of a large one the tables that decide who may do what.
fn verify(conn: &Connection, path: &Path) -> Result<(), StoreError> {
    let number = |pragma: &str| conn.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let unopened = |error: rusqlite::Error| unopened(path, &error);
    let bytes = number("page_count").and_then(|pages| Ok(pages * number("page_size")?)).map_err(unopened)?;
    let checks: &[&str] = if bytes <= VERIFIED_MAX { &["1"] } else { &ACCESS_TABLES };
    for check in checks {
        let check = format!("PRAGMA quick_check({check})");
        let verdict: String = conn.query_row(&check, [], |row| row.get(0)).map_err(unopened)?;
        if verdict != "ok" {
            return Err(StoreError::Damaged { path: path.to_owned() });
        }
    }
    Ok(())
}

/// A connection that can only read.
pub(super) fn open_reader(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(conn)
}

/// Whether a store at rest is whole, and not of a later version than this program knows.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let conn = open_reader(path).map_err(|e| unopened(path, &e))?;
    let found = version(&conn).map_err(|e| unopened(path, &e))?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    }
    let verdict: String =
        conn.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(|e| unopened(path, &e))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Damaged { path: path.to_owned() }) }
}

fn set_up(conn: &Connection) -> Result<(), rusqlite::Error> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "journal_mode", "wal")?;
    // A commit survives the death of the process; only a power cut may cost the last ones.
    conn.pragma_update(None, "synchronous", "normal")?;
    conn.pragma_update(None, "foreign_keys", true)?;
    conn.pragma_update(None, "journal_size_limit", WAL_BYTES_MAX)
}

fn migrate(conn: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let open_error = |e: rusqlite::Error| unopened(path, &e);
    let found = version(conn).map_err(open_error)?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(StoreError::TooNew { path: path.to_owned(), found, known });
    }
    if found == 0 {
        return apply(conn, SCHEMA, known).map_err(open_error);
    }
    if found < known {
        let copy = before_upgrade::keep(conn, path, found)?;
        tracing::info!(
            store.from = found,
            store.to = known,
            "The store is brought up to date; what it was before lies in {}.",
            copy.display()
        );
    }
    for (done, sql) in (1..).zip(MIGRATIONS).skip(found as usize) {
        apply(conn, sql, done).map_err(open_error)?;
    }
    Ok(())
}

fn apply(conn: &mut Connection, sql: &str, version: u32) -> Result<(), rusqlite::Error> {
    let tx = conn.transaction()?;
    tx.execute_batch(sql)?;
    if version == SUMS {
        rollup::fill(&tx)?;
    }
    tx.pragma_update(None, "user_version", version)?;
    tx.commit()
}

fn version(conn: &Connection) -> Result<u32, rusqlite::Error> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Why a store cannot be used.
pub(super) fn unopened(path: &Path, error: &rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Damaged { path },
        code => StoreError::Open { path, reason: code.map_or("an internal error", reason).to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Tables and indexes by their columns, so that the way they came about makes no difference.
    fn shape(conn: &Connection) -> Vec<String> {
        let mut lines = Vec::new();
        let names = strings(
            conn,
            "SELECT type || ' ' || name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY 1",
        );
        for entry in names {
            let (kind, name) = entry.split_once(' ').unwrap();
            let detail = match kind {
                "table" => format!(
                    "SELECT name || ' ' || type || ' ' || \"notnull\" || ' ' || pk \
                     FROM pragma_table_xinfo('{name}') ORDER BY cid"
                ),
                _ => format!("SELECT coalesce(name, '') FROM pragma_index_xinfo('{name}') ORDER BY seqno"),
            };
            lines.push(format!("{entry}: {}", strings(conn, &detail).join(", ")));
        }
        lines
    }

    fn strings(conn: &Connection, sql: &str) -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn a_migrated_schema_equals_a_fresh_one() {
        let dir = tempfile::tempdir().unwrap();
        let fresh = open_writer(&dir.path().join("fresh.db")).unwrap();
        for from in 1..=MIGRATIONS.len() {
            let path = dir.path().join(format!("from-{from}.db"));
            let mut old = Connection::open(&path).unwrap();
            for (version, sql) in (1..).zip(&MIGRATIONS[..from]) {
                apply(&mut old, sql, version).unwrap();
            }
            drop(old);
            assert_eq!(shape(&open_writer(&path).unwrap()), shape(&fresh), "from version {from}");
        }
        assert!(shape(&fresh).iter().any(|line| line.starts_with("table requests: id TEXT 1 1")));
    }

    #[test]
    fn limits_of_keys_are_taken_along() {
        let mut conn = Connection::open_in_memory().unwrap();
        let before = MIGRATIONS.iter().position(|sql| sql.contains("api_keys ADD COLUMN limits")).unwrap();
        for (version, sql) in (1..).zip(&MIGRATIONS[..before]) {
            apply(&mut conn, sql, version).unwrap();
        }
        let key = "INSERT INTO api_keys (id, name, digest, prefix, scopes, priority, created_at, parallel, tokens_per_day)
             VALUES ('k', 'k', x'00', 'p', 's', 0, 0, 3, 9007199254740993)";
        conn.execute(key, []).unwrap();
        apply(&mut conn, MIGRATIONS[before], 99).unwrap();
        let limits: String = conn.query_row("SELECT limits FROM api_keys", [], |row| row.get(0)).unwrap();
        let limits: serde_json::Value = serde_json::from_str(&limits).unwrap();
        assert_eq!(
            (&limits["parallel"], &limits["tokens_per_day"]),
            (&3.into(), &9_007_199_254_740_993_u64.into())
        );
        assert!(limits["tokens_per_month"].is_null());
    }

    #[test]
    fn a_store_is_checked_for_damage_and_version() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let conn = open_writer(&path).unwrap();
        conn.execute_batch("PRAGMA wal_checkpoint(truncate)").unwrap();
        drop(conn);
        assert_eq!(check(&path), Ok(()));
        let mut bytes = std::fs::read(&path).unwrap();
        let pages = bytes.len() / 4096;
        for byte in bytes.iter_mut().skip(4096).take((pages - 1) * 4096) {
            *byte = 0xFF;
        }
        std::fs::write(&path, bytes).unwrap();
        assert!(check(&path).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_zeroed_page_is_noticed_at_the_start_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        let conn = open_writer(&path).unwrap();
        let page = conn.pragma_query_value(None, "page_size", |row| row.get::<_, i64>(0)).unwrap() as usize;
        conn.execute_batch("PRAGMA wal_checkpoint(truncate)").unwrap();
        drop(conn);
        let whole = std::fs::read(&path).unwrap();
        assert!(open_writer(&path).is_ok() && whole.len() > 10 * page);
        for number in 1..whole.len() / page {
            let mut bytes = whole.clone();
            bytes[number * page..(number + 1) * page].fill(0);
            std::fs::write(&path, bytes).unwrap();
            let error = open_writer(&path).err();
            assert_eq!(error, Some(StoreError::Damaged { path: path.clone() }), "page {number}");
        }
    }

    #[test]
    fn tables_of_access_can_be_verified_by_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let conn = open_writer(&dir.path().join("store.db")).unwrap();
        for table in ACCESS_TABLES {
            let check = format!("PRAGMA quick_check({table})");
            assert_eq!(conn.query_row(&check, [], |row| row.get::<_, String>(0)).unwrap(), "ok", "{table}");
        }
    }

    #[test]
    fn a_store_from_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        open_writer(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        let error = open_writer(&path).unwrap_err();
        assert_eq!(
            error,
            StoreError::TooNew { path: path.clone(), found: 999, known: MIGRATIONS.len() as u32 }
        );
        assert!(error.to_string().contains("newer program"), "{error}");
    }

    #[test]
    fn the_file_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let conn = open_writer(&path).unwrap();
        for name in ["store.db", "store.db-wal", "store.db-shm"] {
            let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        drop(conn);
    }

    #[test]
    fn what_is_no_database_is_said_to_be_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.db");
        std::fs::write(&path, "this is only text, and long enough to be looked at as a header".repeat(20))
            .unwrap();
        let error = open_writer(&path).unwrap_err();
        assert!(error.to_string().ends_with("the file is not a database"), "{error}");
    }
}
