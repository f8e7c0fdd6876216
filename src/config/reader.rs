//! Reads typed values out of the tree and collects everything that is wrong on the way, so that all
//! problems are listed at once. Knows types, no setting by name.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::tree::{Entry, Node, Table, Value};
use super::values::{self, Bases, Fault};
use super::{Origin, Origins, Problem};

/// What values are read against, and what has been found so far.
pub(super) struct Context<'a> {
    pub file: Option<&'a Path>,
    pub bases: Bases<'a>,
    pub environment: &'a BTreeMap<String, String>,
    pub findings: RefCell<Findings>,
}

#[derive(Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    pub origins: Origins,
    /// Every key that something asked for, with its table.
    pub known: Vec<(String, &'static str)>,
}

/// One table. Keys that nobody asks for are unknown.
pub(super) struct Reader<'a> {
    pub context: &'a Context<'a>,
    table: &'a Table,
    /// The table's own dotted key.
    path: String,
    origin: Origin,
    asked: RefCell<Vec<&'static str>>,
    any_key: Cell<bool>,
}

/// What an absent table reads as.
static EMPTY: Table = Table { entries: Vec::new() };

impl<'a> Reader<'a> {
    /// Reads the whole tree with `read`, then reports the keys it did not ask for.
    pub(super) fn root<T>(context: &'a Context<'a>, table: &'a Table, read: impl FnOnce(&Self) -> T) -> T {
        Reader::over(context, table, String::new(), Origin::Default, read)
    }

    /// Reads the table under `key`; one that is absent reads as an empty one.
    pub(super) fn table<T>(&self, key: &'static str, read: impl FnOnce(&Self) -> T) -> T {
        let (table, origin) = match self.entry(key) {
            None => (&EMPTY, self.origin.clone()),
            Some(Entry { node: Node { value: Value::Table(table), .. }, origin, .. }) => {
                (table, origin.clone())
            }
            Some(entry) => {
                self.report(key, &entry.origin, Fault::wrong_type("a table", &entry.node));
                (&EMPTY, entry.origin.clone())
            }
        };
        Reader::over(self.context, table, self.dotted(key), origin, read)
    }

    /// Reads each table of the list under `key` (`[[key]]`); `name` names it in dotted keys.
    pub(super) fn tables<T>(
        &self,
        key: &'static str,
        name: impl Fn(&Table) -> Option<String>,
        read: impl Fn(&Self) -> T,
    ) -> Vec<T> {
        let Some(entry) = self.entry(key) else {
            return Vec::new();
        };
        let Value::List(nodes) = &entry.node.value else {
            let fault = Fault::wrong_type("a list of tables", &entry.node);
            self.report(key, &entry.origin, fault.suggest(format!("write [[{key}]]")));
            return Vec::new();
        };
        let mut all = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let numbered = format!("{key}[{index}]");
            let Value::Table(table) = &node.value else {
                self.report(&numbered, &node.origin, Fault::wrong_type("a table", node));
                continue;
            };
            let path = name(table).map_or(numbered, |name| format!("{key}.{name}"));
            all.push(Reader::over(self.context, table, self.dotted(&path), node.origin.clone(), &read));
        }
        all
    }

    /// Whether the key is there at all, readable or not.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.entry(key).is_some()
    }

    /// The value under `key` as `parse` understands it; `None` when it is absent or was refused.
    pub(super) fn value<T>(
        &self,
        key: &'static str,
        parse: impl FnOnce(&Node) -> Result<T, Fault>,
    ) -> Option<T> {
        let entry = self.entry(key)?;
        match parse(&entry.node) {
            Ok(value) => {
                self.note_origin(key, &entry.node.origin);
                Some(value)
            }
            Err(fault) => {
                self.report(key, &entry.origin, fault);
                None
            }
        }
    }

    /// The list under `key`, each item as `parse` understands it; refused items are left out.
    pub(super) fn list<T>(
        &self,
        key: &'static str,
        parse: impl Fn(&Node) -> Result<T, Fault>,
    ) -> Option<Vec<T>> {
        let entry = self.entry(key)?;
        let Some(nodes) = entry.node.list() else {
            let fault = Fault::wrong_type("a list", &entry.node);
            let written = entry.node.text().map(|text| format!("write {key} = [{text:?}]"));
            self.report(key, &entry.origin, written.into_iter().fold(fault, Fault::suggest));
            return None;
        };
        self.note_origin(key, &entry.node.origin);
        let mut items = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            match parse(node) {
                Ok(item) => items.push(item),
                Err(fault) => self.report(&format!("{key}[{index}]"), &node.origin, fault),
            }
        }
        Some(items)
    }

    pub(super) fn text(&self, key: &'static str) -> Option<String> {
        self.value(key, values::text)
    }

    pub(super) fn boolean(&self, key: &'static str) -> Option<bool> {
        self.value(key, values::boolean)
    }

    pub(super) fn integer(&self, key: &'static str, allowed: RangeInclusive<u32>) -> Option<u32> {
        self.value(key, |node| values::integer(node, &allowed))
    }

    pub(super) fn bytes(&self, key: &'static str, allowed: RangeInclusive<u64>) -> Option<u64> {
        self.value(key, |node| values::bytes(node, &allowed))
    }

    pub(super) fn duration(&self, key: &'static str, allowed: RangeInclusive<Duration>) -> Option<Duration> {
        self.value(key, |node| values::duration(node, &allowed))
    }

    pub(super) fn choice<T: Copy>(&self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        self.value(key, |node| values::choice(node, choices))
    }

    pub(super) fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.value(key, |node| {
            let text = node.text().ok_or_else(|| Fault::wrong_type("a path", node))?;
            self.context.bases.absolute(&text, &node.origin)
        })
    }

    /// A program and its arguments. A program given with a path starts where it was written.
    pub(super) fn command(&self, key: &'static str) -> Option<Vec<String>> {
        let mut command = self.list(key, values::text)?;
        let program = command.first_mut()?;
        if program.trim().is_empty() {
            self.problem(key, Fault::new("names no program"));
        } else if program.contains('/') {
            match self.context.bases.absolute(program, &self.origin_of(key)) {
                Ok(path) => *program = path.to_string_lossy().into_owned(),
                Err(fault) => self.problem(key, fault),
            }
        }
        Some(command)
    }

    pub(super) fn is_empty_list(&self, key: &'static str) -> bool {
        self.entry(key).is_some_and(|entry| entry.node.list().is_some_and(|nodes| nodes.is_empty()))
    }

    /// All entries; none of them counts as unknown any more.
    pub(super) fn entries(&self) -> &'a [Entry] {
        self.any_key.set(true);
        &self.table.entries
    }

    /// Something is wrong with `key`, or with the table when `key` is absent.
    pub(super) fn problem(&self, key: &str, fault: Fault) {
        self.report(key, &self.origin_of(key), fault);
    }

    /// Something about `key` should be looked at, but keeps nothing from working.
    pub(super) fn warning(&self, key: &str, fault: Fault) {
        let warning = fault.at(self.context.file, &self.origin_of(key), &self.dotted(key));
        self.context.findings.borrow_mut().warnings.push(warning);
    }

    pub(super) fn report(&self, key: &str, origin: &Origin, fault: Fault) {
        let problem = fault.at(self.context.file, origin, &self.dotted(key));
        self.context.findings.borrow_mut().problems.push(problem);
    }

    pub(super) fn note_origin(&self, key: &str, origin: &Origin) {
        if *origin != Origin::Default {
            self.context.findings.borrow_mut().origins.0.insert(self.dotted(key), origin.clone());
        }
    }

    /// Where the value under `key` came from; where the table did when it is absent.
    pub(super) fn origin_of(&self, key: &str) -> Origin {
        self.table.get(key).map_or_else(|| self.origin.clone(), |entry| entry.origin.clone())
    }

    pub(super) fn dotted(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn over<T>(
        context: &'a Context<'a>,
        table: &'a Table,
        path: String,
        origin: Origin,
        read: impl FnOnce(&Self) -> T,
    ) -> T {
        let (asked, any_key) = (RefCell::default(), Cell::new(false));
        let reader = Reader { context, table, path, origin, asked, any_key };
        let value = read(&reader);
        reader.report_unknown();
        let asked = reader.asked.take().into_iter().map(|key| (reader.path.clone(), key));
        context.findings.borrow_mut().known.extend(asked);
        value
    }

    fn entry(&self, key: &'static str) -> Option<&'a Entry> {
        self.asked.borrow_mut().push(key);
        self.table.get(key)
    }

    /// A key that only the environment knows is a warning: other programs may share the prefix.
    fn report_unknown(&self) {
        let asked = self.asked.borrow();
        for entry in &self.table.entries {
            if self.any_key.get() || asked.contains(&entry.key.as_str()) {
                continue;
            }
            let suggestion = match values::closest(&entry.key, asked.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None => self.known_elsewhere(&entry.key).unwrap_or_else(|| known_here(&asked)),
            };
            let fault = Fault::new("unknown key").suggest(suggestion);
            match &entry.origin {
                Origin::Environment { .. } => self.warning(&entry.key, fault),
                origin => self.report(&entry.key, origin, fault),
            }
        }
    }

    /// The section of a setting that stands above all sections.
    fn known_elsewhere(&self, key: &str) -> Option<String> {
        let findings = self.context.findings.borrow();
        let in_section = |(path, known): &&(String, &str)| *known == key && !path.contains(['.', '[']);
        let (section, _) = findings.known.iter().find(in_section).filter(|_| self.path.is_empty())?;
        Some(format!("it belongs into [{section}]"))
    }
}

fn known_here(asked: &[&'static str]) -> String {
    let mut known = asked.to_vec();
    known.sort_unstable();
    known.dedup();
    format!("known here: {}", known.join(", "))
}
