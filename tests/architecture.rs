//! The structure of the source holds: which module may use which, which crate is named where, how
//! long a file may be, and how each one opens. Reads text, not types; knows nothing of what the code
//! does. ARCHITECTURE.md tells why the edges are as they are.

#[path = "architecture/source.rs"]
mod source;

use source::{SourceFile, all_files, product_files};

/// What each top-level module may use of the others; `a::B` allows that one name of `a`. A module
/// that is not in this table fails the test, so that adding one is a decision.
const EDGES: &[(&str, &str)] = &[
    ("main", "app shutdown cli http config system logging worker"),
    ("app", "cli http UPPER LOWER BASE"),
    ("shutdown", "app http UPPER LOWER BASE"),
    ("cli", "UPPER LOWER BASE"),
    ("http", "UPPER LOWER BASE"),
    ("tools", "LOWER BASE"),
    ("chats", "LOWER BASE"),
    ("responses", "LOWER BASE"),
    (
        "proxy",
        "dialect backends usage profiles auth::Caller auth::Scope auth::Permit auth::Estimate auth::Standing auth::Rate auth::LimitError BASE",
    ),
    ("dialect", "BASE"),
    ("backends", "profiles::LaunchSpec auth::Caller BASE"),
    (
        "usage",
        "auth::Caller auth::Scope auth::Permit auth::Estimate auth::Standing auth::LimitError auth::Right BASE",
    ),
    ("auth", "BASE"),
    ("backup", "system"),
    ("captures", "BASE"),
    ("hub", "BASE"),
    ("profiles", "BASE"),
    ("models", "system::files"),
    ("events", ""),
    ("fair", ""),
    ("outward", ""),
    ("bodies", ""),
    ("store", "system::private"),
    ("system", ""),
    ("config", "outward::Network system::files system::offload"),
    ("metrics", ""),
    ("logging", "system::private system::terminal"),
    ("worker", "models fair system::files system::offload"),
];
/// The layers that EDGES names as a whole.
const LAYERS: &[(&str, &str)] = &[
    ("UPPER", "tools proxy chats responses"),
    ("LOWER", "dialect backends usage auth backup captures hub profiles"),
    ("BASE", "bodies fair models events store system config metrics logging outward worker"),
];

/// Crates and paths that only some modules may name, and why.
const FENCES: &[(&str, &str, &str)] = &[
    ("axum", "http", "below the edge nothing knows the framework"),
    ("hyper::server", "http app", "connections are served in one place"),
    ("hyper_util::server", "http app", "connections are served in one place"),
    ("rusqlite", "store", "the store speaks operations, not SQL"),
    ("wasmtime", "tools", "plugins are run in one place"),
    ("tokenizers", "worker::child", "a stranger's tokenizer runs in the worker process alone"),
    ("minijinja", "worker::child", "a stranger's template runs in the worker process alone"),
    ("minijinja_contrib", "worker::child", "a stranger's template runs in the worker process alone"),
    ("jsonschema", "worker::child", "a stranger's schema runs in the worker process alone"),
    ("hf_hub", "hub", "one client of the model hub"),
    ("nix", "backends system", "signals, groups and ids stay with processes"),
    ("libc", "backends system", "signals, groups and ids stay with processes"),
    ("tracing_subscriber", "logging", "where log lines go is decided in one place"),
    ("prometheus_client", "metrics", "what monitoring reads is named in one place"),
    ("sysinfo", "system", "the machine is read in one place"),
    ("std::process::Command", "backends system worker::process", "one layer starts processes"),
    ("tokio::process", "backends system", "one layer starts processes"),
    ("clap", "main cli", "flags are read at the edge"),
    ("mimalloc", "main", "the binary chooses its allocator"),
    ("rustix", "system", "the machine is read in one place"),
    (
        "tokio::sync::Mutex",
        "auth backends hub profiles tools",
        "no lock is held over an await between a request and its answer; clippy refuses it for the others",
    ),
    ("SystemTime::now", "system", "time comes from the clock that was handed in"),
];

/// What makes a body out of a stream or another body, and the files of `src/http` that may: everything else goes through
/// `http::stream`, whose bodies end with the right of their caller.
const STREAMS: &[(&str, &str)] = &[
    ("from_stream(", "src/http/stream.rs"),
    ("Body::new", "src/http/edge.rs src/http/error.rs src/http/holding.rs src/http/once.rs"),
    ("StreamBody", ""),
    ("sse::Sse", ""),
];

/// Files that determine a request's transport, and those that derive rights or the words of a refusal from it.
const MAY_NAME_TRANSPORTS: &[&str] = &[
    "src/app.rs",
    "src/auth/gate.rs",
    "src/auth/service.rs",
    "src/auth/transport.rs",
    "src/http/caller.rs",
    "src/http/edge.rs",
    "src/http/peer.rs",
    "src/http/serve.rs",
];

/// Files that may print: the one that owns the terminal, and the start of the program.
const MAY_PRINT: &[&str] = &["src/cli/out.rs", "src/main.rs"];
const PRINTING: &[&str] = &["println", "eprintln", "print", "eprint", "dbg"];

/// What waits for a disk, and the files of `src/http` and `src/proxy` that may name it: in a closure that
/// `system::offload` runs, or before the first and after the last request. Handlers run on serving threads.
const DISK: &[&str] = &[
    "std::fs",
    "tokio::fs",
    "tempfile",
    ".is_file(",
    ".is_dir(",
    ".exists(",
    ".metadata(",
    ".canonicalize(",
    "models::read(",
    "cached_snapshot(",
    "disk::free_bytes(",
    "system::files",
];
const MAY_WAIT_FOR_DISK: &[&str] = &[
    "src/http/admin/backup.rs",
    "src/http/admin/doctor/mod.rs",
    "src/http/admin/hub.rs",
    "src/http/admin/models.rs",
    "src/http/admin/profiles/edit.rs",
    "src/http/admin/settings.rs",
    "src/http/serve.rs",
    "src/http/tls.rs",
];

const LINES_MAX: usize = 500;
const LINES_MEDIAN_MAX: usize = 150;
const LINES_MAIN_MAX: usize = 200;

#[test]
fn modules_use_only_what_lies_below_them() {
    report("edges", product_files().iter().flat_map(bad_edges));
}

#[test]
fn crates_are_named_only_behind_their_fence() {
    report("fences", product_files().iter().flat_map(broken_fences));
}

#[test]
fn transports_are_told_apart_only_where_one_is_determined_or_trusted() {
    let named = |file: &SourceFile| {
        let kinds = ["UnixSocket", "Loopback", "Proxied", "Network"];
        let is_kind = |path: &Vec<String>| path.get(1).is_some_and(|kind| kinds.contains(&kind.as_str()));
        file.paths_from("Transport").iter().any(is_kind)
    };
    let others = product_files()
        .into_iter()
        .filter(|file| named(file) && !MAY_NAME_TRANSPORTS.contains(&file.path.as_str()))
        .map(|file| format!("{}: ask AuthGate::trust instead", file.path));
    report("transports", others);
}

#[test]
fn nothing_prints_but_the_file_that_owns_the_terminal() {
    report("debug output", product_files().iter().flat_map(printing));
}

#[test]
fn streams_are_made_only_where_they_end_with_their_callers_right() {
    let made = |file: &SourceFile| -> Vec<String> {
        let is_elsewhere = |(_, allowed): &&(&str, &str)| {
            file.module.first().is_some_and(|module| module == "http")
                && !allowed.split_whitespace().any(|allowed| file.path.ends_with(allowed))
        };
        let names = STREAMS.iter().filter(is_elsewhere).map(|(name, _)| name);
        let found = names.filter(|name| file.product_code().contains(**name));
        found.map(|name| format!("{}: {name} outside of src/http/stream.rs", file.path)).collect()
    };
    report("streams", product_files().iter().flat_map(made));
}

#[test]
fn handlers_wait_for_no_disk() {
    let waits = |file: &SourceFile| -> Vec<String> {
        let serves = file.module.first().is_some_and(|module| module == "http" || module == "proxy");
        if !serves || MAY_WAIT_FOR_DISK.contains(&file.path.as_str()) {
            return Vec::new();
        }
        let found = DISK.iter().filter(|name| file.product_code().contains(**name));
        found.map(|name| format!("{}: {name} blocks; use system::offload", file.path)).collect()
    };
    report("files on serving threads", product_files().iter().flat_map(waits));
}

#[test]
fn every_module_has_its_place_in_the_table() {
    let known = |name: &str| EDGES.iter().any(|(module, _)| *module == name);
    let strangers = product_files().into_iter().filter_map(|file| {
        let module = file.module.first()?;
        (!known(module)).then(|| format!("{}: module {module} is not in EDGES", file.path))
    });
    report("unknown modules", strangers);
}

#[test]
fn the_library_root_is_a_map_without_code() {
    report("lib.rs", code_in_the_map(&SourceFile::read("src/lib.rs")));
}

#[test]
fn no_source_file_is_longer_than_a_reader_can_hold() {
    report("sizes", all_files().iter().filter_map(too_long));
}

#[test]
fn most_source_files_are_short() {
    let mut lines: Vec<usize> = product_files().iter().map(SourceFile::lines).collect();
    let median = median(&mut lines);
    assert!(median < LINES_MEDIAN_MAX, "the median file in src has {median} lines");
}

#[test]
fn every_rust_file_opens_by_saying_what_it_owns() {
    report("openings", all_files().iter().filter_map(without_opening));
}

/// Fails with every finding at once.
fn report(what: &str, findings: impl IntoIterator<Item = String>) {
    let findings: Vec<String> = findings.into_iter().collect();
    assert!(findings.is_empty(), "{what}:\n  {}\n", findings.join("\n  "));
}

fn bad_edges(file: &SourceFile) -> Vec<String> {
    let Some(from) = file.module.first() else {
        return Vec::new();
    };
    let allowed = allowed(from);
    let foreign = |path: &Vec<String>| {
        path.first().is_some_and(|to| to != from && EDGES.iter().any(|(module, _)| module == to))
    };
    file.own_paths()
        .into_iter()
        .filter(foreign)
        .filter(|path| !allowed.iter().any(|prefix| starts_with(path, prefix)))
        .map(|path| format!("{}: {from} may not use {}", file.path, path.join("::")))
        .collect()
}

/// The prefixes of paths that a module may use, layers spelled out.
fn allowed(module: &str) -> Vec<&'static str> {
    let row = EDGES.iter().find(|(name, _)| *name == module);
    row.map_or("", |(_, uses)| uses)
        .split_whitespace()
        .flat_map(|name| match LAYERS.iter().find(|(layer, _)| *layer == name) {
            Some((_, members)) => members.split_whitespace().collect(),
            None => vec![name],
        })
        .collect()
}

fn broken_fences(file: &SourceFile) -> Vec<String> {
    let inside = |modules: &str| modules.split_whitespace().any(|allowed| starts_with(&file.module, allowed));
    FENCES
        .iter()
        .filter(|(fenced, modules, _)| !inside(modules) && names(file, fenced))
        .map(|(fenced, modules, reason)| {
            format!("{}: {fenced} may be named in {modules} only: {reason}", file.path)
        })
        .collect()
}

fn names(file: &SourceFile, fenced: &str) -> bool {
    let root = fenced.split("::").next().unwrap_or(fenced);
    file.paths_from(root).iter().any(|path| starts_with(path, fenced))
}

fn starts_with(path: &[String], prefix: &str) -> bool {
    let mut segments = path.iter();
    prefix.split("::").all(|wanted| segments.next().is_some_and(|segment| segment == wanted))
}

fn printing(file: &SourceFile) -> Vec<String> {
    if MAY_PRINT.contains(&file.path.as_str()) {
        return Vec::new();
    }
    PRINTING
        .iter()
        .filter(|name| file.calls_macro(name))
        .map(|name| format!("{}: {name}! in product code", file.path))
        .collect()
}

fn code_in_the_map(file: &SourceFile) -> Vec<String> {
    file.product_code()
        .lines()
        .map(str::trim)
        .filter(|line| !(line.is_empty() || line.starts_with("pub mod ") && line.ends_with(';')))
        .map(|line| format!("{}: `{line}` is not a `pub mod`", file.path))
        .collect()
}

fn too_long(file: &SourceFile) -> Option<String> {
    let limit = if file.path == "src/main.rs" { LINES_MAIN_MAX } else { LINES_MAX };
    let lines = file.lines();
    (lines > limit).then(|| format!("{}: {lines} lines, {limit} at most", file.path))
}

fn median(lines: &mut [usize]) -> usize {
    lines.sort_unstable();
    lines.get(lines.len() / 2).copied().unwrap_or(0)
}

fn without_opening(file: &SourceFile) -> Option<String> {
    let rust = file.path.ends_with(".rs");
    (rust && !file.text.starts_with("//!"))
        .then(|| format!("{}: opens without `//!` that says what it owns and must not know", file.path))
}

/// Each check can fail: samples that break one rule each.
mod samples {
    use super::*;

    fn edges(path: &str, text: &str) -> Vec<String> {
        bad_edges(&SourceFile::new(path, text))
    }

    #[test]
    fn an_upward_use_is_found() {
        assert_eq!(
            edges("src/store/mod.rs", "use crate::usage::Recorder;"),
            ["src/store/mod.rs: store may not use usage::Recorder"]
        );
    }

    #[test]
    fn a_use_inside_nested_braces_is_found() {
        assert_eq!(
            edges("src/backends/actor.rs", "use crate::{config::Config, proxy::{self, tap::Tap}};"),
            [
                "src/backends/actor.rs: backends may not use proxy",
                "src/backends/actor.rs: backends may not use proxy::tap::Tap"
            ]
        );
    }

    #[test]
    fn a_path_in_an_expression_is_found() {
        assert_eq!(edges("src/models/mod.rs", "fn f() { crate::config::parse_bytes(\"1\") }").len(), 1);
    }

    #[test]
    fn a_use_by_way_of_super_is_found() {
        assert_eq!(
            edges("src/usage/record.rs", "use super::super::http::Api;"),
            ["src/usage/record.rs: usage may not use http::Api"]
        );
        assert!(edges("src/usage/record.rs", "use super::Recorder;").is_empty());
    }

    #[test]
    fn of_auth_the_proxy_may_use_the_identity_alone() {
        assert!(edges("src/proxy/mod.rs", "use crate::auth::{Caller, Scope};").is_empty());
        assert_eq!(edges("src/proxy/mod.rs", "use crate::auth::Keys;").len(), 1);
    }

    #[test]
    fn the_binary_is_checked_by_the_name_of_the_library() {
        assert_eq!(edges("src/main.rs", "use mlx_gateway::store::Store;").len(), 1);
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text = "//! crate::http is above.\n\
            /* crate::http /* nested */ crate::http */\n\
            const S: &str = \"crate::http\"; const R: &str = r#\"\"crate::http\"#;\n\
            fn lifetime<'a>(c: char) -> bool { c == '\"' || c == '\\'' }\n\
            #[cfg(test)]\nmod tests { use crate::http::Api; }\n";
        assert!(edges("src/store/mod.rs", text).is_empty());
        assert_eq!(edges("src/store/mod.rs", &format!("{text} use crate::http::Api;")).len(), 1);
    }

    #[test]
    fn a_crate_beyond_its_fence_is_found() {
        let broken = |path: &str, text: &str| broken_fences(&SourceFile::new(path, text)).len();
        assert_eq!(broken("src/proxy/mod.rs", "use axum::Router;"), 1);
        assert_eq!(broken("src/http/mod.rs", "use axum::Router;"), 0);
        assert_eq!(broken("src/usage/mod.rs", "fn f(c: &rusqlite::Connection) {}"), 1);
        assert_eq!(broken("src/proxy/mod.rs", "use hyper::{body::Bytes, server::conn::http1};"), 1);
        assert_eq!(broken("src/proxy/mod.rs", "use hyper::client;"), 0);
        assert_eq!(broken("src/cli/mod.rs", "fn f() { std::process::Command::new(\"sh\"); }"), 1);
        assert_eq!(broken("src/usage/mod.rs", "let now = SystemTime::now();"), 1);
        assert_eq!(broken("src/worker/pool.rs", "use jsonschema::Validator;"), 1);
        assert_eq!(broken("src/worker/child/schema.rs", "use jsonschema::Validator;"), 0);
    }

    #[test]
    fn printing_is_found_and_a_name_that_ends_alike_is_not() {
        let found = |text: &str| printing(&SourceFile::new("src/app.rs", text)).len();
        assert_eq!(found("fn f() { dbg!(1); println!(); }"), 2);
        assert_eq!(found("fn f() { my_println!(); blueprint(); }"), 0);
        assert!(printing(&SourceFile::new("src/cli/out.rs", "fn f() { println!(); }")).is_empty());
    }

    #[test]
    fn code_in_the_library_root_is_found() {
        let map = "//! Map.\n\npub mod app;\n";
        assert!(code_in_the_map(&SourceFile::new("src/lib.rs", map)).is_empty());
        let code = format!("{map}pub use app::App;\n");
        assert_eq!(code_in_the_map(&SourceFile::new("src/lib.rs", &code)).len(), 1);
    }

    #[test]
    fn long_files_and_bare_openings_are_found() {
        let long = "\n".repeat(LINES_MAX + 1);
        assert!(too_long(&SourceFile::new("tests/it/a.rs", &long)).is_some());
        assert!(too_long(&SourceFile::new("tests/it/a.rs", "\n")).is_none());
        assert!(without_opening(&SourceFile::new("src/a.rs", "use std::fs;")).is_some());
        assert!(without_opening(&SourceFile::new("src/a.rs", "//! Owns a.")).is_none());
        assert_eq!(median(&mut [9, 1, 5]), 5);
    }
}
