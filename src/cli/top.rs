//! `top`: the machine and the backends, drawn anew every second; as JSON, the gateway's own events.

use std::time::Duration;

use http::Method;
use serde_json::json;

use super::api::{Servers, System};
use super::exit::CliError;
use super::{Context, format, ps};

/// Between two drawings.
const DRAW_EVERY: Duration = Duration::from_secs(1);
const EVENTS: &str = "/api/v1/events?topics=servers,system";

pub async fn run(context: &mut Context) -> Result<(), CliError> {
    if context.out.json() {
        return events(context).await;
    }
    loop {
        let system = context.client.get::<System>("/api/v1/system").await?.value;
        let servers = context.client.get::<Servers>("/api/v1/servers").await?.value.servers;
        context.out.clear()?;
        context.out.line(&headline(&system))?;
        context.out.line("")?;
        context.out.table(&ps::table(&servers))?;
        // In a file or a pipe one look is what is wanted.
        if !context.out.draws() {
            return Ok(());
        }
        tokio::time::sleep(DRAW_EVERY).await;
    }
}

/// One line of JSON per event, until the gateway ends.
async fn events(context: &mut Context) -> Result<(), CliError> {
    let mut lines = context.client.lines(Method::GET, EVENTS).await?;
    let mut name = String::new();
    while let Some(line) = lines.next().await? {
        if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
            context.out.raw_json(json!({"event": name, "data": data}).to_string().as_bytes())?;
        }
    }
    Ok(())
}

fn headline(system: &System) -> String {
    let mut facts = vec![format!("mlx-gateway {}", system.version.as_deref().unwrap_or("?"))];
    facts.extend(system.uptime_s.map(|seconds| format!("up {}", format::duration(seconds))));
    facts.push(format!("CPU {}", percent(system.cpu_percent)));
    facts.push(format!("GPU {}", percent(system.gpu.as_ref().and_then(|gpu| gpu.percent))));
    if let Some(memory) = &system.memory {
        let bytes = |bytes: Option<u64>| bytes.map_or("n/a".to_owned(), format::bytes);
        facts.push(format!(
            "memory {} used by models, {} promised of {}, {} free",
            bytes(memory.used_bytes),
            bytes(memory.promised_bytes),
            bytes(memory.budget_bytes),
            bytes(memory.available_bytes),
        ));
        facts.extend(memory.pressure.as_ref().map(|pressure| format!("pressure {pressure}")));
    }
    facts.extend(system.thermal.as_ref().map(|thermal| format!("thermal {thermal}")));
    facts.join(" · ")
}

fn percent(percent: Option<f64>) -> String {
    percent.map_or("n/a".to_owned(), |percent| format!("{percent:.0} %"))
}
