//! What the facts of a machine mean for the gateway, and how to mend what is wrong. Pure.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Serialize;

/// Below this a download of any useful model fails.
const DISK_LOW_BYTES: u64 = 10_000_000_000;
const DISK_FULL_BYTES: u64 = 1_000_000_000;
/// Below this only the smallest models run.
const MEMORY_LOW_BYTES: u64 = 6_000_000_000;

/// How one thing stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Finding {
    /// `engine`, `python`, `hub`, `disk`, `memory`, `ports`, `network`, `access` or `permissions`.
    pub id: &'static str,
    pub title: &'static str,
    pub level: Level,
    pub message: String,
    /// A command, or what to do; none where nothing is to be done.
    pub mend: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warning,
    Failed,
    Unknown,
}

/// What was looked at.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    pub engines: Vec<Engine>,
    /// Programs of engines that are not managed are where they should be.
    pub program_found: bool,
    /// A Python or uv that engines can be installed with.
    pub runtime: Option<String>,
    pub hub: String,
    pub hub_answers: bool,
    pub disk_free_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
    pub memory_budget_bytes: u64,
    /// Base URLs of a gateway that serves.
    pub serving: Option<Vec<String>>,
    pub taken: Vec<SocketAddr>,
    pub loopback_only: bool,
    pub port: Option<u16>,
    pub lan_address: Option<String>,
    pub host_name: Option<String>,
    pub access: Access,
    pub data_dir: PathBuf,
    pub data_dir_mode: Option<u32>,
    pub data_dir_writable: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Engine {
    pub name: String,
    pub version: Option<String>,
    pub managed: bool,
    pub installed: bool,
    pub program: Option<String>,
}

/// Who needs a credential.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// Whether an API key is required, and why.
    pub message: String,
    /// `auth.api = "required"`.
    pub is_required: bool,
    pub has_accounts: bool,
    /// Links by which the first account is made; none for callers who may not see them.
    pub setup_links: Vec<String>,
    /// A proxy is configured, or has forwarded a request.
    pub has_proxy: bool,
}

/// One finding for each thing that is looked at, always in this order.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    vec![
        engine(facts),
        runtime(facts),
        hub(facts),
        disk(facts),
        memory(facts),
        ports(facts),
        network(facts),
        access(&facts.access),
        permissions(facts),
    ]
}

fn engine(facts: &Facts) -> Finding {
    let found =
        |level, message: String, mend: Option<&str>| finding("engine", "Engine", level, message, mend);
    if let Some(foreign) = facts.engines.iter().find(|engine| !engine.managed) {
        let program = foreign.program.clone().unwrap_or_default();
        return if facts.program_found {
            found(Level::Ok, format!("{} runs as {program}, installed by you", foreign.name), None)
        } else {
            let mend = "Correct engine.mlx-openai-server.command in config.toml, or remove it and set managed = true";
            found(Level::Failed, format!("there is no program {program}"), Some(mend))
        };
    }
    match facts.engines.iter().find(|engine| engine.installed) {
        Some(engine) => {
            let version = engine.version.as_deref().unwrap_or("of an unknown version");
            found(Level::Ok, format!("{} {version} is installed", engine.name), None)
        }
        None => found(
            Level::Warning,
            "no engine is installed yet; the first start of a model installs it, which takes a few minutes"
                .into(),
            Some("mlx-gateway engine install mlx-openai-server"),
        ),
    }
}

fn runtime(facts: &Facts) -> Finding {
    let found = |level, message: String, mend| finding("python", "Python", level, message, mend);
    match &facts.runtime {
        Some(name) => found(Level::Ok, format!("{name} is there to install engines with"), None),
        None => found(
            Level::Warning,
            "neither Python 3.11 or 3.12 nor uv is on PATH; the gateway fetches uv when it needs one".into(),
            Some("brew install uv"),
        ),
    }
}

fn hub(facts: &Facts) -> Finding {
    let found = |level, message: String, mend| finding("hub", "Model hub", level, message, mend);
    if facts.hub_answers {
        return found(Level::Ok, format!("{} answers", facts.hub), None);
    }
    let mend = "Check the network, or set hub.endpoint (HF_ENDPOINT) to a mirror; models that are here work without it";
    found(
        Level::Warning,
        format!("{} cannot be reached, so nothing can be downloaded", facts.hub),
        Some(mend),
    )
}

fn disk(facts: &Facts) -> Finding {
    let found = |level, message: String, mend| finding("disk", "Disk", level, message, mend);
    let mend = Some("mlx-gateway models du");
    match facts.disk_free_bytes {
        None => found(Level::Unknown, "the free room is not known".into(), None),
        Some(free) if free < DISK_FULL_BYTES => {
            found(Level::Failed, format!("only {} are free", gb(free)), mend)
        }
        Some(free) if free < DISK_LOW_BYTES => {
            found(Level::Warning, format!("{} are free: few models fit", gb(free)), mend)
        }
        Some(free) => found(Level::Ok, format!("{} are free", gb(free)), None),
    }
}

fn memory(facts: &Facts) -> Finding {
    let found = |level, message: String, mend| finding("memory", "Memory", level, message, mend);
    let Some(total) = facts.memory_total_bytes else {
        return found(Level::Unknown, "the memory of this machine is not known".into(), None);
    };
    let budget = facts.memory_budget_bytes;
    let message = format!("backends may use {} of {}", gb(budget), gb(total));
    if budget > total {
        let mend = "Lower memory.budget in config.toml below what the machine has, or set it to \"auto\"";
        return found(Level::Failed, message, Some(mend));
    }
    if budget < MEMORY_LOW_BYTES {
        return found(Level::Warning, message, Some("Choose 4-bit models of up to 3 B parameters"));
    }
    found(Level::Ok, message, None)
}

fn ports(facts: &Facts) -> Finding {
    let found = |level, message: String, mend: Option<&str>| finding("ports", "Port", level, message, mend);
    if let Some(serving) = &facts.serving {
        return found(Level::Ok, format!("the gateway listens on {}", serving.join(", ")), None);
    }
    match facts.taken.first() {
        Some(address) => {
            let mend = format!(
                "lsof -nP -iTCP:{} -sTCP:LISTEN   # who has it; or choose another server.listen",
                address.port()
            );
            found(Level::Failed, format!("another program listens on {address}"), Some(&mend))
        }
        None => found(Level::Ok, "the gateway does not run; its port is free".into(), None),
    }
}

fn network(facts: &Facts) -> Finding {
    let found = |level, message: String, mend: Option<&str>| {
        finding("network", "Other machines", level, message, mend)
    };
    let port = facts.port.unwrap_or_default();
    if facts.loopback_only {
        let mend = format!(
            "To serve others too: create an API key, then set server.listen = \"0.0.0.0:{port}\" and auth.api = \"required\""
        );
        return found(Level::Ok, "only this machine can reach the gateway".into(), Some(&mend));
    }
    let Some(address) = &facts.lan_address else {
        return found(
            Level::Warning,
            "this machine is on no network".into(),
            Some("Connect it, then look again"),
        );
    };
    let name = facts.host_name.as_deref().and_then(|name| name.split('.').next()).unwrap_or(address);
    found(
        Level::Ok,
        format!("others reach it at http://{name}.local:{port}/v1 or http://{address}:{port}/v1"),
        None,
    )
}

fn access(access: &Access) -> Finding {
    let mut message = access.message.clone();
    let mut mend = Vec::new();
    let is_exposed = access.has_proxy && !access.is_required;
    if is_exposed {
        message.push_str(
            "; requests come through a proxy, and those without X-Forwarded-For look like requests of this machine",
        );
        mend.push("Set auth.api = \"required\" and list the proxy in server.trusted_proxies".to_owned());
    } else if !access.is_required {
        mend.push("Behind a reverse proxy set auth.api = \"required\": nginx does not mark forwarded requests by default".to_owned());
    }
    match access.setup_links.first() {
        Some(link) => mend.push(format!("To create the administrator's account, open {link}")),
        None if !access.has_accounts => mend.push(
            "To create the administrator's account, open the set-up link that the gateway prints when it starts".to_owned(),
        ),
        None => {}
    }
    let level = if is_exposed { Level::Warning } else { Level::Ok };
    let mend = (!mend.is_empty()).then(|| mend.join(". "));
    finding("access", "Access", level, message, mend.as_deref())
}

fn permissions(facts: &Facts) -> Finding {
    let found = |level, message: String, mend: Option<&str>| {
        finding("permissions", "Permissions", level, message, mend)
    };
    let folder = facts.data_dir.display();
    if !facts.data_dir_writable {
        let mend = format!("chown -R \"$USER\" '{folder}' && chmod 700 '{folder}'");
        return found(Level::Failed, format!("{folder} cannot be written"), Some(&mend));
    }
    match facts.data_dir_mode {
        Some(mode) if mode & 0o077 != 0 => {
            let mend = format!("chmod 700 '{folder}'");
            found(
                Level::Warning,
                format!("other users of this machine can look into {folder} (mode {mode:o})"),
                Some(&mend),
            )
        }
        _ => found(Level::Ok, format!("{folder} is yours alone"), None),
    }
}

fn finding(
    id: &'static str,
    title: &'static str,
    level: Level,
    message: String,
    mend: Option<&str>,
) -> Finding {
    Finding { id, title, level, message, mend: mend.map(ToOwned::to_owned) }
}

fn gb(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            engines: vec![Engine {
                name: "e".into(),
                version: Some("1".into()),
                managed: true,
                installed: true,
                program: None,
            }],
            program_found: true,
            runtime: Some("uv".into()),
            hub: "https://hub.example.com".into(),
            hub_answers: true,
            disk_free_bytes: Some(500_000_000_000),
            memory_total_bytes: Some(64_000_000_000),
            memory_budget_bytes: 48_000_000_000,
            serving: Some(vec!["http://127.0.0.1:10242".into()]),
            loopback_only: true,
            port: Some(10242),
            lan_address: Some("10.0.0.7".into()),
            host_name: Some("studio.lan".into()),
            data_dir: "/data".into(),
            data_dir_mode: Some(0o700),
            data_dir_writable: true,
            ..Facts::default()
        }
    }

    #[test]
    fn a_machine_that_is_well_has_nothing_to_mend() {
        let findings = judge(&well());
        assert_eq!(findings.len(), 9);
        assert!(findings.iter().all(|finding| finding.level == Level::Ok), "{findings:?}");
    }

    #[test]
    fn each_trouble_is_found_and_comes_with_its_mend() {
        type Break = fn(&mut Facts);
        let troubles: [(&str, Level, Break); 13] = [
            ("engine", Level::Warning, |f| f.engines[0].installed = false),
            ("engine", Level::Failed, |f| (f.engines[0].managed, f.program_found) = (false, false)),
            ("python", Level::Warning, |f| f.runtime = None),
            ("hub", Level::Warning, |f| f.hub_answers = false),
            ("disk", Level::Warning, |f| f.disk_free_bytes = Some(5_000_000_000)),
            ("disk", Level::Failed, |f| f.disk_free_bytes = Some(1_000)),
            ("memory", Level::Failed, |f| f.memory_budget_bytes = 65_000_000_000),
            ("memory", Level::Warning, |f| f.memory_budget_bytes = 4_000_000_000),
            ("ports", Level::Failed, |f| {
                (f.serving, f.taken) = (None, vec!["127.0.0.1:10242".parse().unwrap()]);
            }),
            ("network", Level::Warning, |f| (f.loopback_only, f.lan_address) = (false, None)),
            ("access", Level::Warning, |f| f.access.has_proxy = true),
            ("permissions", Level::Failed, |f| f.data_dir_writable = false),
            ("permissions", Level::Warning, |f| f.data_dir_mode = Some(0o755)),
        ];
        for (id, level, spoil) in troubles {
            let mut facts = well();
            spoil(&mut facts);
            let findings = judge(&facts);
            let bad: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
            assert_eq!(bad.len(), 1, "{id}: {bad:?}");
            assert_eq!((bad[0].id, bad[0].level, bad[0].mend.is_some()), (id, level, true), "{bad:?}");
        }
    }

    #[test]
    fn what_is_not_known_is_said_to_be_so() {
        let facts = Facts { disk_free_bytes: None, memory_total_bytes: None, ..well() };
        let unknown: Vec<_> = judge(&facts)
            .into_iter()
            .filter(|finding| finding.level == Level::Unknown)
            .map(|finding| finding.id)
            .collect();
        assert_eq!(unknown, ["disk", "memory"]);
    }

    #[test]
    fn access_is_described_with_the_set_up_link_or_what_to_do_behind_a_proxy() {
        let plain = Access { message: "an API key is required".into(), ..Access::default() };
        let (proxy, link) =
            ("Behind a reverse proxy set auth.api = \"required\"", "http://127.0.0.1:1/setup?token=t");
        let exposed = "Set auth.api = \"required\" and list the proxy";
        let linked = Access { setup_links: vec![link.to_owned()], ..plain.clone() };
        let with_account = Access { has_accounts: true, ..plain.clone() };
        for (access, level, parts) in [
            (linked.clone(), Level::Ok, vec![proxy, link]),
            (Access { is_required: true, ..linked.clone() }, Level::Ok, vec![link]),
            (Access { has_proxy: true, ..linked }, Level::Warning, vec![exposed, link]),
            (plain, Level::Ok, vec![proxy, "set-up link that the gateway prints"]),
            (with_account.clone(), Level::Ok, vec![proxy]),
            (Access { has_proxy: true, ..with_account.clone() }, Level::Warning, vec![exposed]),
            (Access { has_proxy: true, is_required: true, ..with_account }, Level::Ok, vec![]),
        ] {
            let finding = super::access(&access);
            assert_eq!(finding.level, level, "{access:?}");
            assert!(finding.message.starts_with("an API key is required"));
            let mend = finding.mend.unwrap_or_default();
            assert_eq!(mend.split(". ").filter(|part| !part.is_empty()).count(), parts.len(), "{mend}");
            assert!(parts.iter().all(|part| mend.contains(part)), "{mend}");
        }
    }

    #[test]
    fn other_machines_are_told_where_to_find_it() {
        let facts = Facts { loopback_only: false, ..well() };
        let message = judge(&facts).remove(6).message;
        assert_eq!(message, "others reach it at http://studio.local:10242/v1 or http://10.0.0.7:10242/v1");
    }
}
