//! From flags, environment and file to a checked [`Config`], or to everything that is wrong with them.
//! Owns the order of precedence; what each section may say stands in that section's file.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::environment::{overlay, overlay_flags};
use super::locate::{self, Located};
use super::reader::{Context, Findings, Reader};
use super::tree::{self, Table};
use super::values::Bases;
use super::{
    Auth, Config, Engines, Hub, LoadError, Log, Media, Memory, Origins, Plugins, Problem, Responses, Server,
    Usage, Warning, profile_read,
};

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
    /// `--listen`, any number of times.
    pub listen: Vec<String>,
    /// `--insecure`
    pub insecure: bool,
    /// `--log-file`
    pub log_file: Option<PathBuf>,
}

/// Everything a configuration is made of. Has no `Debug`: the environment holds secrets.
#[derive(Clone)]
pub struct Sources {
    pub flags: Flags,
    pub environment: BTreeMap<String, String>,
    pub current_dir: PathBuf,
    pub home: Option<PathBuf>,
    /// Whether macOS' conventions for folders hold.
    pub macos: bool,
}

impl Sources {
    /// This process' environment, folder and home. Variables that are not UTF-8 are left out.
    pub fn of_process(flags: Flags) -> std::io::Result<Self> {
        let variables = std::env::vars_os();
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Ok(Sources {
            flags,
            environment: variables.filter_map(text).collect(),
            current_dir: std::env::current_dir()?,
            home: std::env::home_dir().filter(|home| home.is_absolute()),
            macos: cfg!(target_os = "macos"),
        })
    }
}

/// Reads and checks everything: flag over environment over file over default.
pub fn load(sources: &Sources) -> Result<(Config, Vec<Warning>), LoadError> {
    let refuse = |problems, warnings| LoadError { problems, warnings };
    let Located { file, text } =
        locate::locate(sources).map_err(|problem| refuse(vec![*problem], Vec::new()))?;
    let (table, syntax) = tree::parse(&text, file.as_deref());
    let Some(mut table) = table else {
        return Err(refuse(syntax, Vec::new()));
    };
    let warnings = overlay(&mut table, &sources.environment);
    overlay_flags(&mut table, &sources.flags);

    let findings = Findings { problems: syntax, warnings, ..Findings::default() };
    let (mut config, mut findings) = read(sources, file.as_deref(), &table, findings);
    if findings.problems.is_empty() {
        config.origins = findings.origins;
        return Ok((config, findings.warnings));
    }
    // In the order of the file, what stands elsewhere after it.
    findings.problems.sort_by_key(|problem: &Problem| problem.line.unwrap_or(usize::MAX));
    Err(refuse(findings.problems, findings.warnings))
}

fn read(sources: &Sources, file: Option<&Path>, table: &Table, findings: Findings) -> (Config, Findings) {
    let data_dir = locate::default_data_dir(sources);
    let folder = file.and_then(Path::parent).unwrap_or(&sources.current_dir);
    let context = Context {
        file,
        bases: Bases { file: folder, current_dir: &sources.current_dir, home: sources.home.as_deref() },
        environment: &sources.environment,
        findings: RefCell::new(findings),
    };
    let config = Reader::root(&context, table, |root| read_sections(root, sources, file, data_dir));
    (config, context.findings.into_inner())
}

fn read_sections(
    root: &Reader<'_>,
    sources: &Sources,
    file: Option<&Path>,
    data_dir: Option<PathBuf>,
) -> Config {
    let auth = root.table("auth", |reader| Auth::read(reader, &sources.environment));
    let server = root.table("server", |reader| {
        let server = Server::read(reader, data_dir.as_deref(), sources.flags.insecure);
        server.check_exposure(&auth, reader);
        server
    });
    // Without a file of its own the gateway keeps to its data directory.
    let folder = file.and_then(Path::parent).unwrap_or(&server.data_dir);
    let default_plugins = folder.join("plugins");
    Config {
        memory: root.table("memory", Memory::read),
        usage: root.table("usage", Usage::read),
        responses: root.table("responses", Responses::read),
        media: root.table("media", Media::read),
        hub: root.table("hub", Hub::read),
        log: root.table("log", Log::read),
        plugins: root.table("plugins", |reader| Plugins::read(reader, &default_plugins)),
        engines: root.table("engine", Engines::read),
        profiles: profile_read::read_all(root),
        file: file.map(Path::to_path_buf),
        origins: Origins::default(),
        server,
        auth,
    }
}
