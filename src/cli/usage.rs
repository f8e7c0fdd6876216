//! `usage`: tokens, requests and speed by day, key, user, profile or model.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Context;
use super::api::{Percentiles, Usage, UsageGroup};
use super::args::UsageArgs;
use super::client::encode;
use super::exit::CliError;
use super::format::{self, NONE, or_none};
use super::out::Column::{Left, Right};
use super::out::Table;
use super::period::{self, End};

pub async fn run(args: &UsageArgs, context: &mut Context) -> Result<(), CliError> {
    let now = Timestamp::from_millisecond(context.clock.unix_ms()).unwrap_or_default();
    let path = path(args, now, &context.zone)?;
    let answer = context.client.get::<Usage>(&path).await?;
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    let usage = answer.value;
    if usage.total.requests.unwrap_or_default() == 0 {
        return context.out.note("No requests in that time.");
    }
    context.out.table(&table(args, &usage))?;
    if usage.total.partly_estimated() {
        context.out.note("~ partly estimated: the backend did not count the tokens of some requests")?;
    }
    Ok(())
}

fn path(args: &UsageArgs, now: Timestamp, here: &TimeZone) -> Result<String, CliError> {
    let zone = period::zone(args.tz.as_deref(), here)?;
    // A zone without a name is this machine's own rule file; days then begin as in UTC.
    let name = zone.iana_name().unwrap_or("UTC");
    let mut path = format!("/api/v1/usage?group_by={}&tz={}", args.by.name(), encode(name));
    for (parameter, text, end) in [("from", &args.since, End::Since), ("to", &args.until, End::Until)] {
        if let Some(text) = text {
            let instant = period::parse(text, end, now, &zone)?;
            path.push_str(&format!("&{parameter}={}", encode(&instant.to_string())));
        }
    }
    Ok(path)
}

fn table(args: &UsageArgs, usage: &Usage) -> Table {
    let heading = match args.by.name() {
        "day" => "DAY",
        "key" => "KEY",
        "user" => "USER",
        "profile" => "PROFILE",
        _ => "MODEL",
    };
    let mut table = Table::new([
        Left(heading),
        Right("REQUESTS"),
        Right("UNSUCCESSFUL"),
        Right("PROMPT"),
        Right("CACHED"),
        Right("COMPLETION"),
        Right("REASONING"),
        Right("FIRST TOKEN"),
        Right("P95"),
        Right("TOKENS/S"),
    ]);
    for group in &usage.groups {
        table.row(row(or_none(group.group.clone(), |name| name), group));
    }
    table.row(row("total".into(), &usage.total));
    table
}

fn row(name: String, group: &UsageGroup) -> [String; 10] {
    let estimated = group.partly_estimated();
    let tokens = |count: Option<u64>| match count {
        Some(count) if estimated => format!("~{}", format::count(count)),
        Some(count) => format::count(count),
        None => NONE.into(),
    };
    let ttft = group.ttft_ms.as_ref();
    let of = |percentiles: Option<&Percentiles>, which: fn(&Percentiles) -> Option<f64>| {
        percentiles.and_then(which)
    };
    [
        name,
        or_none(group.requests, format::count),
        format::count(group.unsuccessful()),
        tokens(group.prompt_tokens),
        or_none(group.cached_tokens, format::count),
        tokens(group.completion_tokens),
        or_none(group.reasoning_tokens, format::count),
        or_none(of(ttft, |p| p.p50), format::millis),
        or_none(of(ttft, |p| p.p95), format::millis),
        or_none(of(group.decode_tokens_per_s.as_ref(), |p| p.p50), format::rate),
    ]
}
