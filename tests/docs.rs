//! What the documents show works: every `toml` block is a configuration that `mlx-gateway check`
//! accepts, and every line of a `sh` block is a command that some test runs: make targets are looked
//! up here; `mlx-gateway` and `curl` are run by the test that stands beside the document in `RUN_BY`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const DOCUMENTS: &[&str] = &["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs"];
/// Which test runs the commands of which document.
const RUN_BY: &[(&str, &str)] = &[
    ("README.md", "tests/sdk/python/test_readme.py"),
    ("docs/accounts-and-keys.md", "tests/it/accounts.rs"),
    ("docs/models.md", "tests/it/models.rs"),
    ("docs/profiles.md", "tests/it/profiles.rs"),
    ("docs/migration.md", "tests/docs_commands.rs"),
    ("docs/operations.md", "tests/docs_commands.rs"),
    ("docs/plugins.md", RUNS_WHOLE),
    ("docs/getting-started.md", "tests/docs_commands.rs"),
    ("docs/clients.md", "tests/sdk/python/test_clients.py"),
];
const RUN: &[&str] = &["mlx-gateway", "curl"];
/// Runs its document from the first command to the last, whatever program each asks for.
const RUNS_WHOLE: &str = "tests/plugins/run.py";

/// A fenced block of a document.
struct Block {
    /// `README.md:12`
    place: String,
    language: String,
    text: String,
}

#[test]
fn every_configuration_in_the_documents_is_valid() {
    let blocks = blocks_in("toml");
    assert!(!blocks.is_empty(), "the README shows configurations");
    for block in blocks {
        let output = check(&block.text);
        assert!(output.status.success(), "{}: {}", block.place, String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn the_shipped_configuration_is_valid() {
    let shipped = fs::read_to_string(root().join("config.toml")).expect("config.toml is shipped");
    let output = check(&shipped);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_wrong_configuration_would_be_noticed() {
    let output = check("[[profile]]\nname = \"demo\"\nmodle = \"builtin:demo\"\n");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("modle"), "{said}");
}

#[test]
fn every_command_in_the_documents_is_run_by_a_test() {
    let makefile = fs::read_to_string(root().join("Makefile")).expect("there is a Makefile");
    for block in blocks_in("sh") {
        for command in commands(&block.text) {
            assert!(is_known(&block.place, &command, &makefile), "{}: no test runs `{command}`", block.place);
        }
    }
    assert!(!is_known("README.md:1", "make coffee", &makefile));
    assert!(!is_known("README.md:1", "rm -rf target", &makefile));
    assert!(!is_known("docs/new.md:1", "mlx-gateway ps", &makefile));
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for (path, text) in documents() {
        let folder = path.parent().expect("a document lies in a folder");
        for target in links(&text) {
            let there = folder.join(&target);
            assert!(there.exists(), "{}: {target}", path.display());
        }
    }
}

#[test]
fn every_rule_and_requirement_names_tests_that_are_there() {
    let mut sources = Vec::new();
    for folder in ["src", "tests", "web/e2e"] {
        sources_in(&root().join(folder), &mut sources);
    }
    for (document, at_least) in [("docs/security.md", 20), ("docs/requirements.md", 30)] {
        let text = fs::read_to_string(root().join(document)).expect("the rules are written down");
        let rules = rows(&text);
        assert!(rules.len() >= at_least, "{document}: {} rules", rules.len());
        for rule in rules {
            let tests = rule.trim_end_matches(" |").rsplit(" | ").next().unwrap_or_default();
            let named: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "{document}: no test is named: {rule}");
            for name in named {
                let there = sources.iter().any(|source| holds_test(source, name));
                assert!(there, "{document}: there is no test {name}: {rule}");
            }
        }
    }
}

/// The rows of a text's tables without their heads.
fn rows(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let is_row = |line: &str| line.starts_with("| ") && line.ends_with(" |");
    let is_head = |at: usize| lines.get(at + 1).is_some_and(|next| next.starts_with("|---"));
    let rows = lines.iter().enumerate().filter(|(at, line)| is_row(line) && !is_head(*at));
    rows.map(|(_, line)| *line).collect()
}

/// A function of Rust, or a test of the browser's whose title begins so.
fn holds_test(source: &str, name: &str) -> bool {
    let starts =
        [format!("fn {name}("), format!("test('{name}"), format!("test(\"{name}"), format!("test(`{name}")];
    starts.iter().any(|start| source.contains(start))
}

fn sources_in(folder: &Path, into: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder can be listed") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            sources_in(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs" || ending == "mjs") {
            into.push(fs::read_to_string(&path).expect("source is text"));
        }
    }
}

/// Runs `mlx-gateway check` over this text, untouched by the environment of whoever runs the test.
fn check(config: &str) -> Output {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("config.toml");
    fs::write(&file, config).expect("the file is written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_mlx-gateway"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MLX_") {
            command.env_remove(name);
        }
    }
    command
        .arg("check")
        .arg("--config")
        .arg(&file)
        .arg("--data-dir")
        .arg(folder.path().join("data"))
        // Named in the README as the variable that holds another gateway's key.
        .env("BIG_MACHINE_KEY", "secret")
        .output()
        .expect("the gateway runs")
}

fn is_known(place: &str, command: &str, makefile: &str) -> bool {
    let mut words = command.split_whitespace();
    match (words.next(), words.next()) {
        (Some("make"), Some(target)) => makefile.lines().any(|line| line.starts_with(&format!("{target}:"))),
        (Some(program), _) => is_run(place, |test| RUN.contains(&program) || test == RUNS_WHOLE),
        (None, _) => true,
    }
}

/// Whether the test that is said to run a document's commands names that document, and runs such a command.
fn is_run(place: &str, runs: impl Fn(&str) -> bool) -> bool {
    RUN_BY.iter().any(|(document, test)| {
        let named = fs::read_to_string(root().join(test)).is_ok_and(|text| text.contains(document));
        place.contains(&format!("{document}:")) && named && runs(test)
    })
}

/// The commands of a block, continued lines joined, comments left out.
fn commands(block: &str) -> Vec<String> {
    block
        .replace("\\\n", " ")
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(line).trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

fn blocks_in(language: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = documents().iter().flat_map(|(path, text)| blocks_of(path, text)).collect();
    blocks.retain(|block| block.language == language);
    blocks
}

fn blocks_of(path: &Path, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), open.take()) {
            (Some(language), None) => {
                open = Some(Block {
                    place: format!("{}:{}", path.display(), number + 1),
                    language: language.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some(block)) => blocks.push(block),
            (None, Some(mut block)) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (None, None) => {}
        }
    }
    blocks
}

/// The targets of relative links: `[text](target)`.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|target| !target.contains("://") && !target.starts_with('#'))
        .map(|target| target.split('#').next().unwrap_or(target).to_owned())
        .collect()
}

fn documents() -> Vec<(PathBuf, String)> {
    let mut paths = Vec::new();
    for name in DOCUMENTS {
        collect(&root().join(name), &mut paths);
    }
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a document is text");
            (path, text)
        })
        .collect()
}

fn collect(path: &Path, into: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("a folder can be listed") {
            collect(&entry.expect("its entries can be read").path(), into);
        }
    } else if path.extension().is_some_and(|ending| ending == "md") {
        into.push(path.to_owned());
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
