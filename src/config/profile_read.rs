//! `[[profile]]`: reads and checks profiles. Knows what their names and settings may be; what decides
//! the process is read in `launch_read`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::names::{MAX_NAME_LEN, valid_alias, valid_profile_name};
use super::reader::Reader;
use super::tree::{Node, Table};
use super::values::{self, Fault};
use super::{KeepAlive, Origin, Profile, Queue, Timeouts, defaults, launch_read};

pub(super) const DEFAULT_KEEP_ALIVE: Duration = Duration::from_secs(10 * 60);
pub(super) const DEFAULT_MAX_CONCURRENT: u32 = 8;
const MOST_MAX_CONCURRENT: u32 = 10_000;
const LONGEST_QUEUE: u32 = 100_000;
/// Longer than any of these deadlines is no deadline.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);
const LONGEST_KEEP_ALIVE: Duration = Duration::from_secs(365 * 24 * 3600);
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);

/// A profile and where its names stand.
struct Named {
    profile: Profile,
    /// The profile's dotted key.
    key: String,
    name_at: Origin,
    aliases_at: Vec<Origin>,
}

/// Reads every `[[profile]]` under the root and checks that no name means two of them.
pub(super) fn read_all(root: &Reader<'_>) -> Vec<Profile> {
    let named = root.tables("profile", dotted_name, read);
    if named.is_empty() {
        root.warning(
            "profile",
            Fault::new("there is none, so nothing can be served").suggest("add a [[profile]]"),
        );
    }
    check_names(root, &named);
    named.into_iter().map(|named| named.profile).collect()
}

/// One that stands alone, its names not held against others.
pub(super) fn read_one(reader: &Reader<'_>) -> Profile {
    read(reader).profile
}

/// A profile with something wrong in it comes out with stand-ins; by then the load has failed.
fn read(reader: &Reader<'_>) -> Named {
    if !reader.has("name") {
        reader.problem(
            "",
            Fault::new("has no `name`").suggest("add name = \"...\", which clients give as model"),
        );
    }
    let name = reader.value("name", name).unwrap_or_default();
    let aliases = reader.list("aliases", |node| Ok((alias(node)?, node.origin.clone())));
    let (aliases, aliases_at) = aliases.unwrap_or_default().into_iter().unzip();
    let profile = Profile {
        name,
        aliases,
        description: reader.text("description").unwrap_or_default(),
        launch: launch_read::read(reader),
        system_prompt: reader.text("system_prompt"),
        defaults: reader.table("defaults", defaults::read),
        keep_alive: reader.value("keep_alive", keep_alive).unwrap_or(KeepAlive::For(DEFAULT_KEEP_ALIVE)),
        pinned: reader.boolean("pinned").unwrap_or(false),
        preload: reader.boolean("preload").unwrap_or(false),
        auto_download: reader.boolean("auto_download").unwrap_or(false),
        max_concurrent: reader
            .integer("max_concurrent", 1..=MOST_MAX_CONCURRENT)
            .unwrap_or(DEFAULT_MAX_CONCURRENT),
        queue: reader.table("queue", read_queue),
        timeouts: reader.table("timeouts", read_timeouts),
        tools: reader.list("tools", values::some_text).unwrap_or_default(),
    };
    Named { profile, key: reader.dotted(""), name_at: reader.origin_of("name"), aliases_at }
}

fn read_queue(reader: &Reader<'_>) -> Queue {
    let default = Queue::default();
    Queue {
        size: reader.integer("size", 0..=LONGEST_QUEUE).unwrap_or(default.size),
        timeout: reader.duration("timeout", LEAST_TIMEOUT..=LONGEST_TIMEOUT).unwrap_or(default.timeout),
    }
}

fn read_timeouts(reader: &Reader<'_>) -> Timeouts {
    let default = Timeouts::default();
    let read = |key, default| reader.duration(key, LEAST_TIMEOUT..=LONGEST_TIMEOUT).unwrap_or(default);
    Timeouts {
        start: read("start", default.start),
        first_token: read("first_token", default.first_token),
        idle: read("idle", default.idle),
        total: read("total", default.total),
    }
}

/// Every name and every alias belongs to one profile only.
fn check_names(root: &Reader<'_>, all: &[Named]) {
    let mut owners: BTreeMap<&str, String> = BTreeMap::new();
    for named in all.iter().filter(|named| !named.profile.name.is_empty()) {
        let name = named.profile.name.as_str();
        match owners.get(name) {
            Some(owner) => {
                let fault = Fault::new(format!("the name {name:?} is taken by {owner}"));
                root.report(
                    &format!("{}.name", named.key),
                    &named.name_at,
                    fault.suggest("give one of them another name"),
                );
            }
            None => {
                owners.insert(name, format!("the profile{}", at_line(&named.name_at)));
            }
        }
    }
    for Named { profile, key, aliases_at, .. } in all {
        for (index, (alias, at)) in profile.aliases.iter().zip(aliases_at).enumerate() {
            let fault = match owners.get(alias.as_str()) {
                None => {
                    owners.insert(alias, format!("profile {:?}{}", profile.name, at_line(at)));
                    continue;
                }
                Some(_) if *alias == profile.name => {
                    Fault::new(format!("{alias:?} is the profile's own name")).suggest("remove it")
                }
                Some(owner) => Fault::new(format!("the alias {alias:?} is taken by {owner}"))
                    .suggest("remove it here or there"),
            };
            root.report(&format!("{key}.aliases[{index}]"), at, fault);
        }
    }
}

fn at_line(origin: &Origin) -> String {
    match origin {
        Origin::File { line } => format!(" in line {line}"),
        _ => String::new(),
    }
}

/// The name in dotted keys, where it can stand there.
fn dotted_name(table: &Table) -> Option<String> {
    let name = table.get("name")?.node.text()?;
    valid_profile_name(&name).then(|| name.into_owned())
}

fn name(node: &Node) -> Result<String, Fault> {
    let name = values::text(node)?;
    if valid_profile_name(&name) { Ok(name) } else { Err(bad_name(&name)) }
}

fn alias(node: &Node) -> Result<String, Fault> {
    let alias = values::text(node)?;
    if valid_alias(&alias) { Ok(alias) } else { Err(bad_name(&alias)) }
}

fn bad_name(name: &str) -> Fault {
    let shown: String = name.chars().take(MAX_NAME_LEN).collect();
    Fault::new(format!("{shown:?} is not a name"))
        .suggest("letters, digits and . _ : / - are allowed, 1 to 128 of them, a letter or digit first; aliases may hold *")
}

fn keep_alive(node: &Node) -> Result<KeepAlive, Fault> {
    if node.text().is_some_and(|text| text.trim() == "forever") {
        return Ok(KeepAlive::Forever);
    }
    let forever = "write a duration such as \"10m\", or \"forever\"";
    let allowed = Duration::ZERO..=LONGEST_KEEP_ALIVE;
    values::duration(node, &allowed).map(KeepAlive::For).map_err(|fault| fault.suggest(forever))
}
