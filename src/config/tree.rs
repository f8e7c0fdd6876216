//! The settings as a tree of values, each with the place it came from: the file parsed with its line
//! numbers, and single values from the environment. Knows no setting by name.

use std::borrow::Cow;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Origin, Problem};

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub value: Value,
    pub origin: Origin,
}

#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// From the environment: text that is whatever the setting wants it to be.
    Untyped(String),
    /// What no setting takes, by what it is called.
    Unusable(&'static str),
}

/// In the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    /// Where the key stands, which for a long list is not where the value ends.
    pub origin: Origin,
    pub node: Node,
}

/// Parses a whole file. Where only keys come twice, the first of each is kept and the rest is still
/// worth checking; after any other syntax error nothing is.
pub(super) fn parse(text: &str, file: Option<&Path>) -> (Option<Table>, Vec<Problem>) {
    let lines = Lines::of(text, file.is_some());
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut only_duplicates = true;
    let mut problems: Vec<Problem> = Vec::new();
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        let origin = lines.origin(span.start);
        let duplicate = error.message() == "duplicate key";
        only_duplicates &= duplicate;
        let problem = if duplicate {
            let key = text.get(span).unwrap_or_default();
            Problem::at(file, &origin, key, "is given twice").suggest("keep one of them")
        } else {
            Problem::at(file, &origin, "", format!("not valid TOML: {}", error.message()))
        };
        // One slip often yields several errors; the first of a line says it.
        if problems.iter().all(|p| p.line != problem.line) {
            problems.push(problem);
        }
    }
    problems.sort_by_key(|problem| problem.line);
    let table = only_duplicates.then(|| table_of(document.get_ref(), &lines));
    (table, problems)
}

impl Table {
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.key == key)
    }

    /// Puts `value` under `path`, making tables on the way, over what is there. False, and nothing
    /// done, where a value that is no table is in the way.
    pub(super) fn put(&mut self, path: &[&str], value: Value, origin: &Origin) -> bool {
        let [key, rest @ ..] = path else { return false };
        let entry = match self.entries.iter().position(|e| e.key == *key) {
            Some(index) => &mut self.entries[index],
            None => {
                let node = Node { value: Value::Table(Table::default()), origin: origin.clone() };
                self.entries.push(Entry { key: (*key).to_owned(), origin: origin.clone(), node });
                let last = self.entries.len() - 1;
                &mut self.entries[last]
            }
        };
        if rest.is_empty() {
            entry.origin = origin.clone();
            entry.node = Node { value, origin: origin.clone() };
            return true;
        }
        match &mut entry.node.value {
            Value::Table(table) => table.put(rest, value, origin),
            _ => false,
        }
    }
}

impl Node {
    /// What it is called when something else was wanted. Says the type only: values may be secret.
    pub(super) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Text(_) | Value::Untyped(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a number with a fraction",
            Value::Boolean(_) => "true or false",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Unusable(kind) => kind,
        }
    }

    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match &self.value {
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Untyped(raw) => match toml_value(raw, &self.origin) {
                Some(Node { value: Value::Text(text), .. }) => Some(Cow::Owned(text)),
                _ => Some(Cow::Borrowed(raw)),
            },
            _ => None,
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match &self.value {
            Value::Integer(integer) => Some(*integer),
            Value::Untyped(raw) => raw.trim().parse().ok(),
            _ => None,
        }
    }

    pub(super) fn boolean(&self) -> Option<bool> {
        match &self.value {
            Value::Boolean(boolean) => Some(*boolean),
            Value::Untyped(raw) => raw.trim().parse().ok(),
            _ => None,
        }
    }

    /// From the environment a list is TOML or separated by commas.
    pub(super) fn list(&self) -> Option<Cow<'_, [Node]>> {
        match &self.value {
            Value::List(nodes) => Some(Cow::Borrowed(nodes)),
            Value::Untyped(raw) => match toml_value(raw, &self.origin) {
                Some(Node { value: Value::List(nodes), .. }) => Some(Cow::Owned(nodes)),
                _ => {
                    let parts = raw.split(',').map(str::trim).filter(|part| !part.is_empty());
                    let untyped = |part: &str| Node {
                        value: Value::Untyped(part.to_owned()),
                        origin: self.origin.clone(),
                    };
                    Some(Cow::Owned(parts.map(untyped).collect()))
                }
            },
            _ => None,
        }
    }
}

/// `raw` as a TOML value, if it is one.
pub(super) fn toml_value(raw: &str, origin: &Origin) -> Option<Node> {
    let value = DeValue::parse(raw.trim()).ok()?;
    Some(node_of(&value, &Lines { starts: Vec::new(), fixed: Some(origin.clone()) }))
}

/// Offsets to places.
struct Lines {
    starts: Vec<usize>,
    fixed: Option<Origin>,
}

impl Lines {
    /// Values of the built-in configuration are defaults.
    fn of(text: &str, is_file: bool) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Lines {
            starts: std::iter::once(0).chain(newlines).collect(),
            fixed: (!is_file).then_some(Origin::Default),
        }
    }

    fn origin(&self, offset: usize) -> Origin {
        match &self.fixed {
            Some(origin) => origin.clone(),
            None => Origin::File { line: self.starts.partition_point(|start| *start <= offset).max(1) },
        }
    }
}

fn table_of(table: &DeTable<'_>, lines: &Lines) -> Table {
    let mut spans: Vec<_> = table.iter().collect();
    spans.sort_by_key(|(key, _)| key.span().start);
    let entries = spans.into_iter().map(|(key, value)| Entry {
        key: key.get_ref().clone().into_owned(),
        origin: lines.origin(key.span().start),
        node: node_of(value, lines),
    });
    Table { entries: entries.collect() }
}

fn node_of(value: &Spanned<DeValue<'_>>, lines: &Lines) -> Node {
    let origin = lines.origin(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Unusable("an integer of more than 64 bits"),
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(float) if float.is_finite() => Value::Float(float),
            _ => Value::Unusable("a number without a finite value"),
        },
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => Value::Unusable("a date or time"),
        DeValue::Array(array) => Value::List(array.iter().map(|item| node_of(item, lines)).collect()),
        DeValue::Table(table) => Value::Table(table_of(table, lines)),
    };
    Node { value, origin }
}
