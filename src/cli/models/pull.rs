//! `models pull`: asks the gateway to fetch a model and shows how far it is.

use http::Method;
use serde_json::json;

use super::PullArgs;
use super::shape::Download;
use crate::cli::Context;
use crate::cli::client::encode;
use crate::cli::exit::CliError;
use crate::cli::format;

/// Characters of the bar.
const BAR: u64 = 20;

pub async fn run(args: &PullArgs, context: &mut Context) -> Result<(), CliError> {
    let body = json!({"model": args.model});
    let started =
        context.client.send::<Download>(Method::POST, "/api/v1/downloads", Some(&body), &[]).await?;
    if args.no_wait {
        if context.out.json() {
            return context.out.raw_json(&started.raw);
        }
        let words = format!("{} is being fetched; `mlx-gateway models pull` shows how far it is", args.model);
        return context.out.line(&words);
    }
    if context.out.watched() && !context.out.json() {
        context.out.note(&format!("Fetching {} (Ctrl-C leaves the gateway at it)", args.model))?;
    }
    let path = format!("/api/v1/downloads/{}/progress", encode(&started.value.id));
    let mut lines = context.client.lines(Method::GET, &path).await?;
    let (mut last, mut noted) = (started.value, None);
    while let Some(line) = lines.next().await? {
        if line.is_empty() {
            continue;
        }
        if context.out.json() {
            context.out.raw_json(line.as_bytes())?;
        }
        last = serde_json::from_str(&line).map_err(|error| {
            CliError::Failed(format!("the gateway's answer is not understood ({error}): {line}"))
        })?;
        if !context.out.json() {
            if last.note.is_some() && last.note != noted {
                context.out.note(last.note.as_deref().unwrap_or_default())?;
            }
            noted.clone_from(&last.note);
            context.out.progress(&bar(&last))?;
        }
    }
    conclude(&last, context)
}

fn conclude(last: &Download, context: &mut Context) -> Result<(), CliError> {
    let model = &last.model;
    match last.status.as_str() {
        "completed" if context.out.json() => Ok(()),
        "completed" => {
            let bytes = format::bytes(last.total_bytes.unwrap_or(last.done_bytes));
            context.out.line(&format!("{model} is here ({bytes})"))
        }
        "failed" => Err(CliError::Failed(format!(
            "{model} could not be fetched: {}",
            last.reason.as_deref().unwrap_or("the gateway's log says why")
        ))),
        "paused" => Err(CliError::Failed(format!("{model} is paused; the same command goes on with it"))),
        "cancelled" => Err(CliError::Failed(format!("the fetch of {model} was cancelled"))),
        _ => Err(CliError::Failed(format!(
            "the gateway stopped while it fetched {model}; it goes on when it is started again"
        ))),
    }
}

/// `[#####---------------] 25 %  1 GB of 4 GB  35 MB/s  1 min left`
fn bar(download: &Download) -> String {
    let Some(total) = download.total_bytes.filter(|total| *total > 0) else {
        return format!("{}: {}", download.model, download.status);
    };
    let done = download.done_bytes.min(total);
    let full = usize::try_from(u128::from(done) * u128::from(BAR) / u128::from(total)).unwrap_or_default();
    let empty = usize::try_from(BAR).unwrap_or_default().saturating_sub(full);
    let percent = u128::from(done) * 100 / u128::from(total);
    let mut line = format!(
        "[{}{}] {percent} %  {} of {}",
        "#".repeat(full),
        "-".repeat(empty),
        format::bytes(done),
        format::bytes(total)
    );
    if let Some(speed) = download.bytes_per_s.filter(|speed| *speed >= 1.0) {
        line.push_str(&format!("  {}/s", format::bytes(speed as u64)));
    }
    if let Some(left) = download.eta_s {
        line.push_str(&format!("  {} left", format::duration(left)));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_it_is_and_how_long_it_takes() {
        let view = r#"{"id":"1","model":"a/b","status":"running","done_bytes":1073741824,
            "total_bytes":4294967296,"bytes_per_s":36700160.0,"eta_s":88.0}"#;
        let mut download: Download = serde_json::from_str(view).unwrap();
        assert_eq!(bar(&download), "[#####---------------] 25 %  1 GB of 4 GB  35 MB/s  1 min left");
        download.total_bytes = None;
        assert_eq!(bar(&download), "a/b: running");
    }
}
