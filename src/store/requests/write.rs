//! Writes to the table `requests`.

use std::sync::Arc;

use rusqlite::{Connection, Statement, params};

use super::read::{usage_row, usage_sql};
use super::{RequestRecord, RowSource, Status, UsageRow, Written, attempts};
use crate::store::rollup::Deltas;
use crate::store::{Store, StoreError};

/// Rows deleted at one go, so that pruning never keeps the writer from its batches for long.
const PRUNE_ROWS: u32 = 5_000;

/// A row that has ended is never written over: its end is told once.
const UPSERT: &str = "\
INSERT INTO requests (
    id, started_at, status, profile, model, key, user,
    prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens, estimated,
    ttft_ms, decode_tps, duration_ms, endpoint, requested_model, streamed, http_status,
    error_code, error_message, finish_reason, client_request_id, queue_ms, start_ms, warnings, attempts
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
    ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27)
ON CONFLICT (id) DO UPDATE SET
    status = excluded.status, profile = excluded.profile, model = excluded.model,
    prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens,
    cached_tokens = excluded.cached_tokens, reasoning_tokens = excluded.reasoning_tokens,
    estimated = excluded.estimated, ttft_ms = excluded.ttft_ms, decode_tps = excluded.decode_tps,
    duration_ms = excluded.duration_ms, http_status = excluded.http_status,
    error_code = excluded.error_code, error_message = excluded.error_message,
    finish_reason = excluded.finish_reason, queue_ms = excluded.queue_ms, start_ms = excluded.start_ms,
    warnings = excluded.warnings, attempts = excluded.attempts
WHERE requests.status = 'running'";

const INTERRUPT: &str = "\
UPDATE requests SET status = 'interrupted', error_code = 'interrupted',
    error_message = 'The gateway ended while this request ran.'
WHERE status = 'running'";

const OLDEST: &str = "requests WHERE id < ?1 AND status <> 'running' ORDER BY id LIMIT ?2";

/// Renders and writes the rows in one transaction: all of them, or none.
pub(in crate::store) fn upsert(
    conn: &mut Connection,
    rows: &[Arc<dyn RowSource>],
) -> Result<Written, StoreError> {
    let mut written = Written::default();
    if rows.is_empty() {
        return Ok(written);
    }
    let tx = conn.transaction()?;
    let mut sums = Deltas::default();
    {
        let mut statement = tx.prepare_cached(UPSERT)?;
        for row in rows {
            let row = row.row();
            match write_row(&mut statement, &row).map_err(StoreError::from) {
                Ok(changed) => {
                    written.rows += 1;
                    if changed > 0 && row.status != Status::Running {
                        sums.add(&UsageRow::of(&row), 1);
                    }
                }
                Err(error) if error.is_temporary() => return Err(error),
                Err(error) => {
                    written.unusable += 1;
                    tracing::error!(request.id = row.id, error = %error, "The store refused a record.");
                }
            }
        }
    }
    sums.apply(&tx)?;
    tx.commit()?;
    Ok(written)
}

/// What a gateway that died left behind. Its counters are as of the last checkpoint.
pub(in crate::store) fn mark_interrupted(conn: &mut Connection) -> Result<usize, rusqlite::Error> {
    let tx = conn.transaction()?;
    let mut sums = Deltas::default();
    {
        let mut statement = tx.prepare(&usage_sql("requests WHERE status = 'running'"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            sums.add(&UsageRow { status: Status::Interrupted.name(), ..usage_row(row)? }, 1);
        }
    }
    let interrupted = tx.execute(INTERRUPT, [])?;
    sums.apply(&tx)?;
    tx.commit()?;
    Ok(interrupted)
}

/// Deletes the records that started before the instant. Returns how many.
pub async fn prune(store: &Store, before_unix_ms: i64) -> Result<usize, StoreError> {
    let end = super::read::first_id_at(before_unix_ms);
    let mut pruned = 0;
    loop {
        let end = end.clone();
        let deleted = store.write(move |conn| prune_some(conn, &end)).await?;
        pruned += deleted;
        if deleted < PRUNE_ROWS as usize {
            return Ok(pruned);
        }
    }
}

/// The sums forget what the records forget.
fn prune_some(conn: &mut Connection, end: &str) -> Result<usize, rusqlite::Error> {
    let tx = conn.transaction()?;
    let mut sums = Deltas::default();
    {
        let mut statement = tx.prepare_cached(&usage_sql(OLDEST))?;
        let mut rows = statement.query(params![end, PRUNE_ROWS])?;
        while let Some(row) = rows.next()? {
            sums.add(&usage_row(row)?, -1);
        }
    }
    let delete = format!("DELETE FROM requests WHERE id IN (SELECT id FROM {OLDEST})");
    let deleted = tx.prepare_cached(&delete)?.execute(params![end, PRUNE_ROWS])?;
    sums.apply(&tx)?;
    tx.commit()?;
    Ok(deleted)
}

/// Returns whether it changed anything, as a number of rows.
fn write_row(statement: &mut Statement<'_>, row: &RequestRecord) -> Result<usize, rusqlite::Error> {
    statement.execute(params![
        row.id,
        row.started_at,
        row.status.name(),
        row.profile,
        row.model,
        row.key,
        row.user,
        count(row.tokens.prompt),
        count(row.tokens.completion),
        count(row.tokens.cached),
        count(row.tokens.reasoning),
        row.tokens.estimated,
        row.ttft_ms,
        row.decode_tps,
        row.duration_ms,
        row.endpoint,
        row.requested_model,
        row.streamed,
        row.http_status,
        row.error_code,
        row.error_message,
        row.finish_reason,
        row.client_request_id,
        row.queue_ms,
        row.start_ms,
        attempts::encode_warnings(&row.warnings),
        attempts::encode(&row.attempts),
    ])
}

/// SQLite's integers are signed.
fn count(tokens: Option<u64>) -> Option<i64> {
    tokens.map(|tokens| i64::try_from(tokens).unwrap_or(i64::MAX))
}
