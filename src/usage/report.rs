//! What was used in a span of time, as a whole and by group, out of sums that the store keeps.

use std::collections::HashMap;
use std::ops::Range;

use jiff::tz::TimeZone;

use super::days::Days;
use super::recorder::Recorder;
use super::view::{ByStatus, Percentiles, UsageGroup, UsageReport, rfc3339, rounded, total};
use crate::store::StoreError;
use crate::store::requests::{self, UsageRow};
use crate::store::rollup::{self, By, Encoded, Figures, Fold, Histogram};

/// What usage is told apart by.
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

/// Why usage cannot be told.
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
    /// Every way of grouping.
    pub const ALL: [GroupBy; 5] =
        [GroupBy::Day, GroupBy::Key, GroupBy::User, GroupBy::Profile, GroupBy::Model];

    /// As the API and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            GroupBy::Day => "day",
            GroupBy::Key => "key",
            GroupBy::User => "user",
            GroupBy::Profile => "profile",
            GroupBy::Model => "model",
        }
    }

    /// The way of that name; `None` for any other.
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
    let range = requests::Range { from: query.from, to: query.to };
    let tally = Tally::new(query.group_by, zone);
    let tally = rollup::report(recorder.store(), range, query.user, by(query.group_by), tally).await?;
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

fn by(group_by: Option<GroupBy>) -> By {
    match group_by {
        None | Some(GroupBy::Day) => By::Time,
        Some(GroupBy::Key) => By::Key,
        Some(GroupBy::User) => By::User,
        Some(GroupBy::Profile) => By::Profile,
        Some(GroupBy::Model) => By::Model,
    }
}

/// Everything added up so far.
struct Tally {
    group_by: Option<GroupBy>,
    days: Days,
    /// What is in no group.
    total: Figures,
    named: HashMap<String, Figures>,
    /// Requests without what is grouped by, such as those of a caller without a key.
    unnamed: Option<Figures>,
}

impl Tally {
    fn new(group_by: Option<GroupBy>, zone: TimeZone) -> Tally {
        Tally {
            group_by,
            days: Days::new(zone),
            total: Figures::default(),
            named: HashMap::new(),
            unnamed: None,
        }
    }

    /// Where requests of that name go, or of that time where days are asked for.
    fn group(&mut self, at: i64, name: Option<&str>) -> &mut Figures {
        let name = match self.group_by {
            None => return &mut self.total,
            Some(GroupBy::Day) => Some(self.days.name_of(at)),
            Some(_) => name,
        };
        let Some(name) = name else { return self.unnamed.get_or_insert_default() };
        if !self.named.contains_key(name) {
            self.named.insert(name.to_owned(), Figures::default());
        }
        match self.named.get_mut(name) {
            Some(figures) => figures,
            None => self.unnamed.get_or_insert_default(),
        }
    }

    fn finish(mut self) -> (UsageGroup, Vec<UsageGroup>) {
        self.named.values().chain(&self.unnamed).for_each(|figures| self.total.merge(figures));
        let named = self.named.into_iter().map(|(name, figures)| group(&figures, Some(name)));
        let mut groups: Vec<UsageGroup> =
            named.chain(self.unnamed.map(|figures| group(&figures, None))).collect();
        if self.group_by == Some(GroupBy::Day) {
            groups.sort_by(|a, b| a.group.cmp(&b.group));
        } else {
            groups.sort_by(|a, b| b.total_tokens.cmp(&a.total_tokens).then_with(|| a.group.cmp(&b.group)));
        }
        (group(&self.total, None), groups)
    }
}

impl Fold for Tally {
    fn takes_whole(&mut self, span: Range<i64>) -> bool {
        self.group_by != Some(GroupBy::Day) || self.days.holds(&span)
    }

    fn sum(&mut self, start: i64, name: Option<&str>, sum: Encoded<'_>) {
        sum.add_to(self.group(start, name));
    }

    fn row(&mut self, row: &UsageRow<'_>) {
        let name = match self.group_by {
            None | Some(GroupBy::Day) => None,
            Some(GroupBy::Key) => row.key,
            Some(GroupBy::User) => row.user,
            Some(GroupBy::Profile) => row.profile,
            Some(GroupBy::Model) => row.model,
        };
        self.group(row.started_at, name).add(row, 1);
    }
}

fn group(figures: &Figures, name: Option<String>) -> UsageGroup {
    let share = |part: f64, of: i64| (of > 0).then(|| rounded(part / of as f64));
    let [running, completed, failed, refused, cancelled, interrupted] =
        figures.by_status.map(|count| count.max(0).unsigned_abs());
    let (prompt, completion) = (figures.prompt.sum(), figures.completion.sum());
    UsageGroup {
        group: name,
        name: None,
        requests: figures.requests().max(0).unsigned_abs(),
        by_status: ByStatus { running, completed, failed, refused, cancelled, interrupted },
        prompt_tokens: prompt,
        completion_tokens: completion,
        total_tokens: total(prompt, completion),
        cached_tokens: figures.cached.sum(),
        reasoning_tokens: figures.reasoning.sum(),
        estimated_share: share(figures.estimated as f64, figures.counted),
        ttft_ms: percentiles(&figures.ttft_ms),
        decode_tokens_per_s: percentiles(&figures.decode_tps),
        avg_duration_ms: share(figures.duration_us as f64 / 1000.0, figures.timed),
    }
}

fn percentiles(of: &Histogram) -> Percentiles {
    let percentile = |percent| of.percentile(percent).map(rounded);
    Percentiles { p50: percentile(50), p95: percentile(95) }
}
