//! `doctor`: each finding with its mend. Fails when something has to be mended.

use serde::Deserialize;

use super::Context;
use super::exit::CliError;

#[derive(Debug, Deserialize)]
struct Findings {
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Finding {
    title: String,
    level: String,
    message: String,
    mend: Option<String>,
}

pub async fn run(context: &mut Context) -> Result<(), CliError> {
    let answer = context.client.get::<Findings>("/api/v1/doctor").await?;
    if context.out.json() {
        context.out.raw_json(&answer.raw)?;
    } else {
        for line in answer.value.findings.iter().flat_map(lines) {
            context.out.line(&line)?;
        }
    }
    let failed = answer.value.findings.iter().filter(|finding| finding.level == "failed").count();
    match failed {
        0 => Ok(()),
        1 => Err(CliError::Failed("one thing has to be mended".into())),
        more => Err(CliError::Failed(format!("{more} things have to be mended"))),
    }
}

fn lines(finding: &Finding) -> Vec<String> {
    let mark = match finding.level.as_str() {
        "ok" => "ok  ",
        "warning" => "look",
        "failed" => "mend",
        _ => "?   ",
    };
    let mut lines = vec![format!("{mark}  {:<15}{}", finding.title, finding.message)];
    lines.extend(finding.mend.iter().map(|mend| format!("{:21}{mend}", "")));
    lines
}
