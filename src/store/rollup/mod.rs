//! The table `usage_sums`: what ended requests used, added up by quarter-hours and, by key, user,
//! profile and model, by days (UTC). The writer keeps it in the transactions in which it writes the
//! records, so that sums and records always agree; what still runs is not in it.

mod figures;
mod histogram;
mod read;
mod varint;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

pub use figures::{Figures, Known};
pub use histogram::Histogram;
pub use read::{Encoded, Fold, report, tokens_by_key_since};

use super::requests::UsageRow;

const QUARTER_MS: i64 = 15 * 60 * 1000;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// Sums gathered before they are written, while many records are added up.
const GATHERED_MAX: usize = 20_000;

/// What sums are by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum By {
    /// Nothing but the quarter of an hour. Every zone's days begin at one, wherever people live.
    Time,
    Key,
    User,
    Profile,
    Model,
}

impl By {
    const ALL: [By; 5] = [By::Time, By::Key, By::User, By::Profile, By::Model];

    fn name(self) -> &'static str {
        match self {
            By::Time => "time",
            By::Key => "key",
            By::User => "user",
            By::Profile => "profile",
            By::Model => "model",
        }
    }

    /// Milliseconds of one span.
    fn width(self) -> i64 {
        if self == By::Time { QUARTER_MS } else { DAY_MS }
    }

    fn value<'a>(self, row: &UsageRow<'a>) -> Option<&'a str> {
        match self {
            By::Time => None,
            By::Key => row.key,
            By::User => row.user,
            By::Profile => row.profile,
            By::Model => row.model,
        }
    }
}

/// Where a sum stands. Nobody's and nameless ones have an empty name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    /// The account whose requests alone are meant; empty: everybody's.
    owner: String,
    by: By,
    /// Milliseconds since 1970, UTC.
    start: i64,
    name: String,
}

/// What a transaction adds to the sums.
#[derive(Default)]
pub(super) struct Deltas(HashMap<Place, Figures>);

impl Deltas {
    /// Counts an ended request so many times: 1, or -1 for one that is deleted.
    pub(super) fn add(&mut self, row: &UsageRow<'_>, times: i32) {
        for owner in [Some(""), row.user].into_iter().flatten() {
            for by in By::ALL {
                let place = Place {
                    owner: owner.to_owned(),
                    by,
                    start: row.started_at - row.started_at.rem_euclid(by.width()),
                    name: by.value(row).unwrap_or_default().to_owned(),
                };
                self.0.entry(place).or_default().add(row, times);
            }
        }
    }

    /// Writes them. Part of the caller's transaction.
    pub(super) fn apply(self, conn: &Connection) -> Result<(), rusqlite::Error> {
        for (place, mut figures) in self.0 {
            let Place { owner, by, start, name } = place;
            let key = params![owner, by.name(), start, name];
            let known: Option<Vec<u8>> = conn
                .prepare_cached(
                    "SELECT figures FROM usage_sums WHERE owner = ?1 AND kind = ?2 AND start = ?3 AND name = ?4",
                )?
                .query_row(key, |row| row.get(0))
                .optional()?;
            if let Some(known) = known
                && figures.merge_encoded(&known).is_none()
            {
                tracing::error!(usage.kind = by.name(), usage.start = start, "A sum of usage was damaged.");
            }
            if figures.requests() == 0 {
                conn.prepare_cached(
                    "DELETE FROM usage_sums WHERE owner = ?1 AND kind = ?2 AND start = ?3 AND name = ?4",
                )?
                .execute(key)?;
            } else {
                conn.prepare_cached("INSERT OR REPLACE INTO usage_sums VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![owner, by.name(), start, name, figures.encode()])?;
            }
        }
        Ok(())
    }
}

/// Adds up all records that have ended, into a table that is empty. Part of the caller's transaction.
pub(super) fn fill(conn: &Connection) -> Result<(), rusqlite::Error> {
    let mut deltas = Deltas::default();
    let mut statement = conn.prepare(&super::requests::usage_sql("requests WHERE status <> 'running'"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        deltas.add(&super::requests::usage_row(row)?, 1);
        if deltas.0.len() >= GATHERED_MAX {
            std::mem::take(&mut deltas).apply(conn)?;
        }
    }
    deltas.apply(conn)
}
