//! `defaults` of a profile: request fields filled in where the client left them out. Owns the list of
//! fields that may stand there and what each has to be; the order of the file is kept, so that what
//! reaches the backend is the same bytes every time.

use serde_json::{Map, Value as Json};

use super::reader::Reader;
use super::tree::{Node, Value};
use super::values::{self, Fault};

/// What a field has to be.
#[derive(Clone, Copy)]
enum Kind {
    Number(f64, f64),
    Integer(i64, i64),
    Boolean,
    Text,
    TextOrTexts,
    TextOrTable,
    Table,
}

const MOST: i64 = u32::MAX as i64;

/// The sampling and limit fields of OpenAI's API and of the MLX servers.
const FIELDS: [(&str, Kind); 26] = [
    ("temperature", Kind::Number(0.0, 2.0)),
    ("top_p", Kind::Number(0.0, 1.0)),
    ("top_k", Kind::Integer(-1, MOST)),
    ("min_p", Kind::Number(0.0, 1.0)),
    ("max_tokens", Kind::Integer(1, MOST)),
    ("max_completion_tokens", Kind::Integer(1, MOST)),
    ("seed", Kind::Integer(i64::MIN, i64::MAX)),
    ("stop", Kind::TextOrTexts),
    ("n", Kind::Integer(1, 128)),
    ("presence_penalty", Kind::Number(-2.0, 2.0)),
    ("presence_context_size", Kind::Integer(0, MOST)),
    ("frequency_penalty", Kind::Number(-2.0, 2.0)),
    ("frequency_context_size", Kind::Integer(0, MOST)),
    ("repetition_penalty", Kind::Number(0.0, 10.0)),
    ("repetition_context_size", Kind::Integer(0, MOST)),
    ("xtc_probability", Kind::Number(0.0, 1.0)),
    ("xtc_threshold", Kind::Number(0.0, 1.0)),
    ("logit_bias", Kind::Table),
    ("logprobs", Kind::Boolean),
    ("top_logprobs", Kind::Integer(0, 20)),
    ("chat_template_kwargs", Kind::Table),
    ("reasoning_effort", Kind::Text),
    ("verbosity", Kind::Text),
    ("tool_choice", Kind::TextOrTable),
    ("parallel_tool_calls", Kind::Boolean),
    ("response_format", Kind::Table),
];

/// Reads the table itself.
pub(super) fn read(reader: &Reader<'_>) -> Map<String, Json> {
    let mut defaults = Map::new();
    for entry in reader.entries() {
        let kind = FIELDS.iter().find(|(name, _)| *name == entry.key).map(|(_, kind)| *kind);
        let checked = match kind {
            Some(kind) => check(&entry.node, kind).and_then(|()| json(&entry.node)),
            None => Err(unknown(&entry.key)),
        };
        match checked {
            Ok(value) => {
                reader.note_origin(&entry.key, &entry.node.origin);
                defaults.insert(entry.key.clone(), value);
            }
            Err(fault) => reader.report(&entry.key, &entry.origin, fault),
        }
    }
    if defaults.contains_key("max_tokens") && defaults.contains_key("max_completion_tokens") {
        let fault = Fault::new("says the same as `max_tokens`").suggest("keep one of them");
        reader.problem("max_completion_tokens", fault);
    }
    defaults
}

fn unknown(key: &str) -> Fault {
    let fault = Fault::new("is not a request field that can have a default");
    match key {
        "model" => fault.suggest("the profile's own `model` decides"),
        "messages" | "prompt" | "input" => fault.suggest("use `system_prompt` of the profile"),
        "tools" => fault.suggest("use `tools` of the profile"),
        "stream" | "stream_options" => fault.suggest("the client decides whether it wants a stream"),
        _ => match values::closest(key, FIELDS.iter().map(|(name, _)| *name)) {
            Some(known) => fault.suggest(format!("did you mean `{known}`?")),
            None => fault,
        },
    }
}

fn check(node: &Node, kind: Kind) -> Result<(), Fault> {
    let fits = match (kind, &node.value) {
        (Kind::Number(least, most), Value::Integer(_) | Value::Float(_)) => {
            let number = match node.value {
                Value::Integer(integer) => integer as f64,
                Value::Float(float) => float,
                _ => f64::NAN,
            };
            if !(least..=most).contains(&number) {
                return Err(Fault::out_of_range(number, least, most));
            }
            true
        }
        (Kind::Integer(least, most), Value::Integer(integer)) => {
            if !(least..=most).contains(integer) {
                return Err(Fault::out_of_range(integer, least, most));
            }
            true
        }
        (Kind::TextOrTexts, Value::List(items)) => {
            items.iter().all(|item| matches!(item.value, Value::Text(_)))
        }
        (Kind::Text | Kind::TextOrTexts | Kind::TextOrTable, Value::Text(_)) => true,
        (Kind::Table | Kind::TextOrTable, Value::Table(_)) => true,
        (Kind::Boolean, Value::Boolean(_)) => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(Fault::wrong_type(wanted(kind), node)) }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Number(..) => "a number",
        Kind::Integer(..) => "an integer",
        Kind::Boolean => "true or false",
        Kind::Text => "a string",
        Kind::TextOrTexts => "a string or a list of strings",
        Kind::TextOrTable => "a string or a table",
        Kind::Table => "a table",
    }
}

fn json(node: &Node) -> Result<Json, Fault> {
    Ok(match &node.value {
        Value::Text(text) | Value::Untyped(text) => Json::from(text.as_str()),
        Value::Integer(integer) => Json::from(*integer),
        Value::Float(float) => Json::from(*float),
        Value::Boolean(boolean) => Json::from(*boolean),
        Value::List(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Value::Table(table) => {
            let entries = table.entries.iter().map(|entry| Ok((entry.key.clone(), json(&entry.node)?)));
            Json::Object(entries.collect::<Result<_, Fault>>()?)
        }
        Value::Unusable(kind) => return Err(Fault::new(format!("must not hold {kind}"))),
    })
}
