//! `models search`: what the hub has.

use super::shape::{Found, Hit, abilities, bytes_of, fits, parameters, quantization};
use super::{SearchArgs, SortBy};
use crate::cli::Context;
use crate::cli::client::encode;
use crate::cli::exit::CliError;
use crate::cli::format::{self, or_none};
use crate::cli::out::Column::{Left, Right};
use crate::cli::out::Table;

pub async fn run(args: &SearchArgs, context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Found>(&path(args)).await?;
    if let Some(problem) = answer.value.problem {
        return Err(CliError::Failed(problem.message));
    }
    if context.out.json() {
        return context.out.raw_json(&answer.raw);
    }
    if answer.value.models.is_empty() {
        return context.out.note("The hub has no such model.");
    }
    context.out.table(&table(&answer.value.models))?;
    if answer.value.next_offset.is_some() {
        context.out.note(&format!("There are more: --page {}", args.page + 1))?;
    }
    Ok(())
}

fn path(args: &SearchArgs) -> String {
    let sort = match args.sort {
        SortBy::Downloads => "downloads",
        SortBy::Likes => "likes",
        SortBy::Date => "date",
        SortBy::Trending => "trending",
    };
    let offset = (args.page - 1).saturating_mul(args.limit);
    let mut path = format!("/api/v1/models/search?sort={sort}&limit={}&offset={offset}", args.limit);
    let words = args.words.join(" ");
    let library = if args.any { "any" } else { "" };
    for (name, value) in
        [("q", words.as_str()), ("author", args.author.as_deref().unwrap_or_default()), ("library", library)]
    {
        if !value.is_empty() {
            path.push_str(&format!("&{name}={}", encode(value)));
        }
    }
    path
}

fn table(hits: &[Hit]) -> Table {
    let mut table = Table::new([
        Left("MODEL"),
        Right("PARAMETERS"),
        Left("QUANTIZED"),
        Right("SIZE"),
        Left("FITS"),
        Left("CAN"),
        Right("DOWNLOADS"),
        Right("LIKES"),
        Left("LICENSE"),
        Left("HERE"),
    ]);
    for hit in hits {
        let size = hit.facts.get("size_bytes").and_then(|size| bytes_of(size, "value"));
        let licence = match (hit.gated, hit.license.clone()) {
            (true, licence) => format!("{} (gated)", licence.unwrap_or_else(|| "-".into())),
            (false, licence) => or_none(licence, |licence| licence),
        };
        table.row([
            hit.id.clone(),
            or_none(parameters(&hit.facts), |text| text),
            or_none(quantization(&hit.facts), |text| text),
            or_none(size, |text| text),
            or_none(fits(&hit.fit), |text| text),
            or_none(Some(abilities(&hit.facts)).filter(|text| !text.is_empty()), |text| text),
            or_none(hit.downloads, format::count),
            or_none(hit.likes, format::count),
            licence,
            if hit.local { "yes".into() } else { "-".into() },
        ]);
    }
    table
}
