//! The database of another program, MLX Model Manager, as far as profiles are made from it. Only read.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row};

use super::StoreError;
use super::error::reason;

/// A row of its `server_profiles`. Columns that a version does not have are as if they were not set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerProfile {
    pub name: String,
    pub description: Option<String>,
    pub model_path: String,
    pub model_type: String,
    pub port: i64,
    pub context_length: Option<i64>,
    pub max_concurrency: i64,
    pub queue_timeout: i64,
    pub queue_size: i64,
    pub tool_call_parser: Option<String>,
    pub reasoning_parser: Option<String>,
    pub message_converter: Option<String>,
    pub trust_remote_code: bool,
    pub chat_template_file: Option<String>,
    pub auto_start: bool,
    pub system_prompt: Option<String>,
}

/// What there is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    pub profiles: Vec<ServerProfile>,
    pub accounts: u64,
}

/// Reads the file. Blocks.
pub fn read(path: &Path) -> Result<Contents, StoreError> {
    let failed = |error: rusqlite::Error| {
        let reason = error.sqlite_error_code().map_or("it is not of a version that is known", reason);
        StoreError::Open { path: path.to_owned(), reason: reason.to_owned() }
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(failed)?;
    if !has_table(&conn, "server_profiles").map_err(failed)? {
        let reason = "it has no server profiles; is it the database of MLX Model Manager?".to_owned();
        return Err(StoreError::Open { path: path.to_owned(), reason });
    }
    let profiles = profiles(&conn).map_err(failed)?;
    let accounts = if has_table(&conn, "users").map_err(failed)? {
        conn.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).map_err(failed)?
    } else {
        0
    };
    Ok(Contents { profiles, accounts: u64::try_from(accounts).unwrap_or(0) })
}

fn profiles(conn: &Connection) -> Result<Vec<ServerProfile>, rusqlite::Error> {
    let mut statement = conn.prepare("SELECT * FROM server_profiles ORDER BY name")?;
    let rows = statement.query_map([], profile)?;
    rows.collect()
}

fn profile(row: &Row<'_>) -> Result<ServerProfile, rusqlite::Error> {
    Ok(ServerProfile {
        name: row.get("name")?,
        description: optional(row, "description")?,
        model_path: row.get("model_path")?,
        model_type: optional(row, "model_type")?.unwrap_or_else(|| "lm".to_owned()),
        port: optional(row, "port")?.unwrap_or(0),
        context_length: optional(row, "context_length")?,
        max_concurrency: optional(row, "max_concurrency")?.unwrap_or(1),
        queue_timeout: optional(row, "queue_timeout")?.unwrap_or(300),
        queue_size: optional(row, "queue_size")?.unwrap_or(100),
        tool_call_parser: optional(row, "tool_call_parser")?,
        reasoning_parser: optional(row, "reasoning_parser")?,
        message_converter: optional(row, "message_converter")?,
        trust_remote_code: optional(row, "trust_remote_code")?.unwrap_or(false),
        chat_template_file: optional(row, "chat_template_file")?,
        auto_start: optional(row, "auto_start")?.unwrap_or(false),
        system_prompt: optional(row, "system_prompt")?,
    })
}

/// A column that may be null, or not there at all.
fn optional<T: rusqlite::types::FromSql>(row: &Row<'_>, column: &str) -> Result<Option<T>, rusqlite::Error> {
    match row.get(column) {
        Err(rusqlite::Error::InvalidColumnName(_)) => Ok(None),
        other => other,
    }
}

fn has_table(conn: &Connection, name: &str) -> Result<bool, rusqlite::Error> {
    conn.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1", [name], |row| {
        row.get::<_, i64>(0)
    })
    .map(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables as version 1.1 makes them, as far as they are read.
    const TABLES: &str =
        "CREATE TABLE server_profiles (id INTEGER PRIMARY KEY, name VARCHAR, description VARCHAR, \
         model_path VARCHAR, model_type VARCHAR, port INTEGER, host VARCHAR, context_length INTEGER, \
         max_concurrency INTEGER, queue_timeout INTEGER, queue_size INTEGER, tool_call_parser VARCHAR, \
         trust_remote_code BOOLEAN, auto_start BOOLEAN, system_prompt VARCHAR);
         CREATE TABLE users (id INTEGER PRIMARY KEY, email VARCHAR);
         INSERT INTO users VALUES (1, 'a@example.com'), (2, 'b@example.com');
         INSERT INTO server_profiles VALUES (1, 'qwen', 'daily', 'mlx-community/Qwen3-4B-4bit', 'lm', 10240, \
         '127.0.0.1', 8192, 4, 120, 50, 'qwen3', 0, 1, 'Be brief.')";

    #[test]
    fn profiles_and_the_number_of_accounts_are_read_and_missing_columns_are_not_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mlx-manager.db");
        Connection::open(&path).unwrap().execute_batch(TABLES).unwrap();
        let contents = read(&path).unwrap();
        let expected = ServerProfile {
            name: "qwen".into(),
            description: Some("daily".into()),
            model_path: "mlx-community/Qwen3-4B-4bit".into(),
            model_type: "lm".into(),
            port: 10240,
            context_length: Some(8192),
            max_concurrency: 4,
            queue_timeout: 120,
            queue_size: 50,
            tool_call_parser: Some("qwen3".into()),
            auto_start: true,
            system_prompt: Some("Be brief.".into()),
            ..ServerProfile::default()
        };
        assert_eq!(contents, Contents { profiles: vec![expected], accounts: 2 });
    }

    #[test]
    fn another_database_is_said_to_be_another() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("other.db");
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (id INTEGER)").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("no server profiles"));
    }
}
