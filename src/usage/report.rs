//! What was used in a span of time, as a whole and by group, in one pass over the records.

use std::collections::HashMap;

use jiff::tz::TimeZone;

use super::days::Days;
use super::recorder::Recorder;
use super::sums::Sums;
use super::view::{UsageGroup, UsageReport, rfc3339};
use crate::store::StoreError;
use crate::store::requests::{self, Range, UsageRow};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupBy {
    Day,
    Key,
    User,
    Profile,
    Model,
}

/// What is asked. `None` asks for everything.
#[derive(Debug, Clone, Default)]
pub struct UsageQuery {
    /// Milliseconds since 1970, UTC; included.
    pub from: Option<i64>,
    /// Not included.
    pub to: Option<i64>,
    /// An IANA name; UTC when absent.
    pub tz: Option<String>,
    pub group_by: Option<GroupBy>,
    /// Only this user's requests.
    pub user: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    #[error("unknown time zone \"{0}\": use an IANA name such as Europe/Berlin, or UTC")]
    UnknownTimeZone(String),
    #[error("`from` ({from}) is not before `to` ({to})")]
    EmptySpan { from: String, to: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl GroupBy {
    pub const ALL: [GroupBy; 5] =
        [GroupBy::Day, GroupBy::Key, GroupBy::User, GroupBy::Profile, GroupBy::Model];

    pub fn name(self) -> &'static str {
        match self {
            GroupBy::Day => "day",
            GroupBy::Key => "key",
            GroupBy::User => "user",
            GroupBy::Profile => "profile",
            GroupBy::Model => "model",
        }
    }

    pub fn from_name(name: &str) -> Option<GroupBy> {
        GroupBy::ALL.into_iter().find(|group| group.name() == name)
    }
}

/// Answers from all that was recorded before the call.
pub async fn usage(recorder: &Recorder, query: UsageQuery) -> Result<UsageReport, UsageError> {
    let tz_name = query.tz.as_deref().unwrap_or("UTC");
    let zone = TimeZone::get(tz_name).map_err(|_unknown| UsageError::UnknownTimeZone(tz_name.to_owned()))?;
    if let (Some(from), Some(to)) = (query.from, query.to)
        && from >= to
    {
        return Err(UsageError::EmptySpan { from: rfc3339(from), to: rfc3339(to) });
    }
    recorder.catch_up().await;
    let range = Range { from: query.from, to: query.to };
    let tally = Tally::new(query.group_by, zone);
    let tally = requests::scan(recorder.store(), range, query.user, tally, Tally::add).await?;
    let (total, groups) = tally.finish();
    Ok(UsageReport {
        from: query.from.map(rfc3339),
        to: query.to.map(rfc3339),
        tz: tz_name.to_owned(),
        group_by: query.group_by.map_or("none", GroupBy::name).to_owned(),
        total,
        groups,
    })
}

/// Everything added up so far.
struct Tally {
    group_by: Option<GroupBy>,
    days: Days,
    total: Sums,
    named: HashMap<String, Sums>,
    /// Requests without what is grouped by, such as those of a caller without a key.
    unnamed: Option<Sums>,
}

impl Tally {
    fn new(group_by: Option<GroupBy>, zone: TimeZone) -> Tally {
        Tally {
            group_by,
            days: Days::new(zone),
            total: Sums::default(),
            named: HashMap::new(),
            unnamed: None,
        }
    }

    fn add(&mut self, row: UsageRow<'_>) {
        self.total.add(&row);
        let Some(group_by) = self.group_by else { return };
        let name = match group_by {
            GroupBy::Day => Some(self.days.name_of(row.started_at)),
            GroupBy::Key => row.key,
            GroupBy::User => row.user,
            GroupBy::Profile => row.profile,
            GroupBy::Model => row.model,
        };
        match name {
            None => self.unnamed.get_or_insert_default().add(&row),
            Some(name) => match self.named.get_mut(name) {
                Some(sums) => sums.add(&row),
                None => self.named.entry(name.to_owned()).or_default().add(&row),
            },
        }
    }

    fn finish(self) -> (UsageGroup, Vec<UsageGroup>) {
        let named = self.named.into_iter().map(|(name, sums)| sums.finish(Some(name)));
        let mut groups: Vec<UsageGroup> = named.chain(self.unnamed.map(|sums| sums.finish(None))).collect();
        if self.group_by == Some(GroupBy::Day) {
            groups.sort_by(|a, b| a.group.cmp(&b.group));
        } else {
            groups.sort_by(|a, b| b.total_tokens.cmp(&a.total_tokens).then_with(|| a.group.cmp(&b.group)));
        }
        (self.total.finish(None), groups)
    }
}
