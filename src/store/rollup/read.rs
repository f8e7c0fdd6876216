//! Reads of sums: whole spans out of `usage_sums`, what lies at the edges and what still runs out of
//! the records, all as of one moment.

use std::ops::Range as Span;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

use super::{By, Figures};
use crate::store::requests::{Range, UsageRow, first_id_at, usage_row, usage_sql};
use crate::store::{Store, StoreError};

/// A sum as it lies in the store.
#[derive(Clone, Copy)]
pub struct Encoded<'a>(&'a [u8]);

/// Whoever takes what is read, in no particular order.
pub trait Fold: Send + 'static {
    /// Whether a span (milliseconds since 1970) may be taken as one sum; if not, its records come.
    fn takes_whole(&mut self, span: Span<i64>) -> bool;
    /// What the span that starts then, and has that name, adds up to.
    fn sum(&mut self, start: i64, name: Option<&str>, sum: Encoded<'_>);
    /// One record, where its span may not be taken as a sum.
    fn row(&mut self, row: &UsageRow<'_>);
}

impl Encoded<'_> {
    /// Adds it to `figures`.
    pub fn add_to(self, figures: &mut Figures) {
        if figures.merge_encoded(self.0).is_none() {
            tracing::error!("A sum of usage is damaged and was left out in part.");
        }
    }
}

/// Folds what began in the range, everybody's or one account's alone.
pub async fn report<F: Fold>(
    store: &Store,
    range: Range,
    owner: Option<String>,
    by: By,
    mut fold: F,
) -> Result<F, StoreError> {
    store
        .read(move |conn| {
            // One moment for all that is read.
            let moment = conn.unchecked_transaction()?;
            let reading = Reading { conn: &moment, owner: owner.as_deref(), by };
            let (from, to) = (range.from.unwrap_or(i64::MIN), range.to.unwrap_or(i64::MAX));
            let first = range.from.map_or(from, |from| next_start(from, by.width()));
            let last = range.to.map_or(to, |to| to - to.rem_euclid(by.width()));
            if first >= last {
                reading.rows(from..to, State::Ended, &mut fold)?;
            } else {
                reading.rows(from..first, State::Ended, &mut fold)?;
                reading.sums(first..last, &mut fold)?;
                reading.rows(last..to, State::Ended, &mut fold)?;
            }
            reading.rows(from..to, State::Running, &mut fold)?;
            moment.finish()?;
            Ok(fold)
        })
        .await
}

/// Tokens that each key has used since the beginning of a day (UTC), by what has ended.
pub async fn tokens_by_key_since(store: &Store, day_start: i64) -> Result<Vec<(String, u64)>, StoreError> {
    store
        .read(move |conn| {
            let mut statement = conn.prepare_cached(
                "SELECT name, figures FROM usage_sums \
                 WHERE owner = '' AND kind = 'key' AND start >= ?1 AND name <> ''",
            )?;
            let mut rows = statement.query([day_start])?;
            let mut used = std::collections::HashMap::<String, Figures>::new();
            while let Some(row) = rows.next()? {
                Encoded(row.get_ref(1)?.as_blob()?).add_to(used.entry(row.get(0)?).or_default());
            }
            let tokens = |figures: &Figures| figures.prompt.tokens.saturating_add(figures.completion.tokens);
            Ok(used.into_iter().map(|(key, sum)| (key, tokens(&sum).max(0).unsigned_abs())).collect())
        })
        .await
}

#[derive(Clone, Copy)]
enum State {
    Ended,
    Running,
}

impl State {
    fn rows(self) -> &'static str {
        match self {
            State::Ended => "requests WHERE status <> 'running'",
            // Few, however many records there are.
            State::Running => "requests INDEXED BY requests_running WHERE status = 'running'",
        }
    }
}

struct Reading<'a> {
    conn: &'a Connection,
    owner: Option<&'a str>,
    by: By,
}

impl Reading<'_> {
    fn sums(&self, span: Span<i64>, fold: &mut impl Fold) -> Result<(), rusqlite::Error> {
        let mut statement = self.conn.prepare_cached(
            "SELECT start, name, figures FROM usage_sums \
             WHERE owner = ?1 AND kind = ?2 AND start >= ?3 AND start < ?4",
        )?;
        let owner = self.owner.unwrap_or_default();
        let mut rows = statement.query(params![owner, self.by.name(), span.start, span.end])?;
        while let Some(row) = rows.next()? {
            let start: i64 = row.get(0)?;
            let whole = start..start.saturating_add(self.by.width());
            if !fold.takes_whole(whole.clone()) {
                // A sum by time has no other name beside it, so its records come once.
                self.rows(whole, State::Ended, fold)?;
                continue;
            }
            let name = row.get_ref(1)?.as_str()?;
            if let ValueRef::Blob(figures) = row.get_ref(2)? {
                fold.sum(start, (!name.is_empty()).then_some(name), Encoded(figures));
            }
        }
        Ok(())
    }

    fn rows(&self, span: Span<i64>, state: State, fold: &mut impl Fold) -> Result<(), rusqlite::Error> {
        if span.is_empty() {
            return Ok(());
        }
        let mut statement = self.conn.prepare_cached(&usage_sql(&format!(
            "{} AND id >= ?1 AND id < ?2 AND (?3 IS NULL OR user = ?3)",
            state.rows()
        )))?;
        let first = if span.start == i64::MIN { String::new() } else { first_id_at(span.start) };
        // Above every hexadecimal digit.
        let end = if span.end == i64::MAX { "g".to_owned() } else { first_id_at(span.end) };
        let mut rows = statement.query(params![first, end, self.owner])?;
        while let Some(row) = rows.next()? {
            fold.row(&usage_row(row)?);
        }
        Ok(())
    }
}

/// Where the first whole span begins, at `from` or later.
fn next_start(from: i64, width: i64) -> i64 {
    let into = from.rem_euclid(width);
    if into == 0 { from } else { from.saturating_add(width - into) }
}
