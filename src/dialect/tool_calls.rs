//! Assembles tool calls from the deltas of a chat stream. Servers disagree about deltas: they omit `index`, repeat it
//! for different calls, send no id, interleave fragments, or send arguments as an object.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::assembled::Assembled;
use super::failure::UpstreamFailure;

/// Calls of one answer.
const CALLS_MAX: usize = 256;

/// A call of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// Empty if the server sent none.
    pub id: String,
    pub name: String,
    /// As the model wrote them; JSON if the model wrote JSON.
    pub arguments: String,
}

/// What a delta adds, in an order in which calls do not interleave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A call begins; the one before has ended.
    Begin { id: String, name: String },
    /// More arguments of the call that began last.
    Arguments(String),
}

/// The calls of one answer as their deltas arrive.
#[derive(Debug, Default)]
pub struct ToolCalls {
    calls: Vec<PartialCall>,
    /// The call whose steps are given out; earlier ones have ended.
    current: usize,
}

#[derive(Debug, Default)]
struct PartialCall {
    call: ToolCall,
    index: Option<u64>,
    arguments: Balance,
    /// Its begin was given out as a step.
    is_given: bool,
    /// Bytes of the arguments that were given out as steps.
    given_bytes: usize,
}

/// Whether a JSON text that arrives in pieces is complete.
#[derive(Debug, Default, Clone, Copy)]
struct Balance {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    has_begun: bool,
}

#[derive(Deserialize)]
struct Delta {
    index: Option<u64>,
    id: Option<String>,
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    name: Option<String>,
    arguments: Option<Value>,
}

/// One call or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Deltas {
    Many(Vec<Delta>),
    One(Delta),
}

/// Reasoning and text that arrived before the arguments of a call were complete. Messages and responses cannot
/// interleave them with the call, so they follow it.
#[derive(Debug, Default)]
pub struct Deferred {
    pub reasoning: String,
    pub text: String,
}

impl ToolCalls {
    /// Adds the `tool_calls` of a delta or of a message. Their ids, names and arguments count in `bound`.
    ///
    /// # Errors
    /// If they cannot be read, are more than 256, or exceed `bound`.
    pub fn feed(&mut self, deltas: &RawValue, bound: &mut Assembled) -> Result<(), UpstreamFailure> {
        let deltas = serde_json::from_str::<Option<Deltas>>(deltas.get());
        self.add_all(deltas.map_err(|_| unreadable())?, bound)
    }

    /// Does the same for parsed JSON.
    ///
    /// # Errors
    /// As [`ToolCalls::feed`].
    pub fn feed_value(&mut self, deltas: &Value, bound: &mut Assembled) -> Result<(), UpstreamFailure> {
        self.add_all(Option::<Deltas>::deserialize(deltas).map_err(|_| unreadable())?, bound)
    }

    fn add_all(&mut self, deltas: Option<Deltas>, bound: &mut Assembled) -> Result<(), UpstreamFailure> {
        let deltas = match deltas {
            None => return Ok(()),
            Some(Deltas::Many(deltas)) => deltas,
            Some(Deltas::One(delta)) => vec![delta],
        };
        // Without an index, the place in a list of several tells the calls apart.
        let is_list = deltas.len() > 1;
        for (at, mut delta) in (0..).zip(deltas) {
            delta.index = delta.index.or(is_list.then_some(at));
            self.add(delta, bound)?;
        }
        Ok(())
    }

    fn add(&mut self, delta: Delta, bound: &mut Assembled) -> Result<(), UpstreamFailure> {
        let id = delta.id.unwrap_or_default();
        let (name, arguments) = match delta.function {
            Some(function) => (function.name.unwrap_or_default(), text_of(function.arguments)),
            None => Default::default(),
        };
        bound.keep(id.len() + name.len() + arguments.len())?;
        let at = match self.find(delta.index, &id, &name) {
            Some(at) => at,
            None if self.calls.len() < CALLS_MAX => {
                self.calls.push(PartialCall { index: delta.index, ..PartialCall::default() });
                self.calls.len() - 1
            }
            None => {
                let message = format!("the answer has more than {CALLS_MAX} tool calls");
                return Err(UpstreamFailure::backend(message));
            }
        };
        if let Some(partial) = self.calls.get_mut(at) {
            partial.extend(id, &name, &arguments);
        }
        Ok(())
    }

    /// Returns the call that a fragment continues; none if it begins one.
    fn find(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let agrees = |partial: &PartialCall| match (index, partial.index) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        if !id.is_empty()
            && let Some(at) = self.calls.iter().position(|partial| partial.call.id == id && agrees(partial))
        {
            return Some(at);
        }
        // The newest one: servers that number all calls 0 continue the last.
        let at = match index {
            Some(_) => self.calls.iter().rposition(|partial| partial.index == index)?,
            None => self.calls.len().checked_sub(1)?,
        };
        let partial = self.calls.get(at)?;
        let is_other_id = !id.is_empty() && !partial.call.id.is_empty();
        let is_next = !name.is_empty()
            && (partial.arguments.is_complete() || index.is_none())
            && !partial.call.name.is_empty();
        (!is_other_id && !is_next).then_some(at)
    }

    /// Returns whether there are no calls.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Returns whether the current call has been given out without the end of its arguments. Nothing else may come
    /// before their rest.
    pub fn has_open_call(&self) -> bool {
        self.calls
            .get(self.current)
            .is_some_and(|partial| partial.is_given && !partial.arguments.is_complete())
    }

    /// Returns what has been added since the last time, one call after the other: fragments of a later call wait
    /// until the arguments of the current one are complete, or until [`ToolCalls::finish`].
    pub fn take_steps(&mut self) -> Vec<Step> {
        self.steps(false)
    }

    /// Returns the steps that waited, when no more deltas come.
    pub fn finish(&mut self) -> Vec<Step> {
        self.steps(true)
    }

    fn steps(&mut self, is_over: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        let last = self.calls.len().saturating_sub(1);
        while let Some(partial) = self.calls.get_mut(self.current) {
            partial.give(is_over || self.current < last, &mut steps);
            let may_go_on = is_over || partial.arguments.is_complete();
            if self.current == last || !may_go_on {
                break;
            }
            self.current += 1;
        }
        steps
    }

    /// Returns the calls in the order in which they began.
    pub fn into_calls(self) -> Vec<ToolCall> {
        self.calls.into_iter().map(|partial| partial.call).collect()
    }
}

impl PartialCall {
    fn extend(&mut self, id: String, name: &str, arguments: &str) {
        if self.call.id.is_empty() {
            self.call.id = id;
        }
        // A name arrives in one piece, in several, or again with each fragment.
        if self.call.name != name && !self.arguments.has_begun {
            self.call.name.push_str(name);
        }
        self.call.arguments.push_str(arguments);
        self.arguments.feed(arguments);
    }

    /// Adds the steps of this call; `must_begin` even if its name has not arrived.
    fn give(&mut self, must_begin: bool, steps: &mut Vec<Step>) {
        if !self.is_given {
            if self.call.name.is_empty() && !must_begin {
                return;
            }
            self.is_given = true;
            steps.push(Step::Begin { id: self.call.id.clone(), name: self.call.name.clone() });
        }
        if let Some(more) = self.call.arguments.get(self.given_bytes..).filter(|more| !more.is_empty()) {
            steps.push(Step::Arguments(more.to_owned()));
            self.given_bytes = self.call.arguments.len();
        }
    }
}

impl ToolCall {
    /// Returns it as part of an assistant's message.
    pub fn to_json(&self) -> Value {
        json!({"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}})
    }
}

impl Balance {
    fn feed(&mut self, piece: &str) {
        for byte in piece.bytes() {
            self.has_begun |= !byte.is_ascii_whitespace();
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                b'{' | b'[' if !self.in_string => self.depth += 1,
                b'}' | b']' if !self.in_string => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_complete(self) -> bool {
        self.has_begun && self.depth == 0 && !self.in_string
    }
}

/// Returns arguments as text: some servers send the object itself.
fn text_of(arguments: Option<Value>) -> String {
    match arguments {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text,
        Some(other) => other.to_string(),
    }
}

fn unreadable() -> UpstreamFailure {
    UpstreamFailure::backend("the backend sent a tool call that cannot be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::assembled::TEXT_MAX;

    /// Each delta's `tool_calls`; the calls and the steps with the delta after which they were given.
    fn assemble(deltas: &[Value]) -> (Vec<[String; 3]>, Vec<(usize, Step)>) {
        let (mut calls, mut steps) = (ToolCalls::default(), Vec::new());
        let mut bound = Assembled::text();
        for (at, delta) in deltas.iter().enumerate() {
            calls.feed_value(delta, &mut bound).unwrap();
            steps.extend(calls.take_steps().into_iter().map(|step| (at, step)));
        }
        steps.extend(calls.finish().into_iter().map(|step| (deltas.len(), step)));
        let calls = calls.into_calls().into_iter().map(|call| [call.id, call.name, call.arguments]);
        (calls.collect(), steps)
    }

    fn delta(index: Option<u64>, id: &str, name: &str, arguments: &str) -> Value {
        let mut call = json!({"function": {"name": name, "arguments": arguments}});
        if let Some(index) = index {
            call["index"] = index.into();
        }
        if !id.is_empty() {
            call["id"] = id.into();
        }
        call
    }

    #[test]
    fn assembler_tells_calls_apart_however_servers_number_them() {
        let expected = [["a", "f", "{\"n\":1}"], ["b", "g", "{}"]];
        let (f, g, rest) = ("{\"n\"", "{}", ":1}");
        /// A name, the deltas, and the calls: id, name and arguments.
        type Case<'a> = (&'a str, Vec<Value>, [[&'a str; 3]; 2]);
        let cases: [Case<'_>; 10] = [
            (
                "as OpenAI",
                vec![
                    json!([delta(Some(0), "a", "f", "")]),
                    json!([delta(Some(0), "", "", f)]),
                    json!([delta(Some(0), "", "", rest)]),
                    json!([delta(Some(1), "b", "g", g)]),
                ],
                expected,
            ),
            (
                "index 0 for all, different ids",
                vec![
                    json!([delta(Some(0), "a", "f", f)]),
                    json!([delta(Some(0), "", "", rest)]),
                    json!([delta(Some(0), "b", "g", g)]),
                ],
                expected,
            ),
            (
                "index 0 for all, no ids",
                vec![
                    json!([delta(Some(0), "", "f", f)]),
                    json!([delta(Some(0), "", "", rest)]),
                    json!([delta(Some(0), "", "g", g)]),
                ],
                [["", "f", "{\"n\":1}"], ["", "g", "{}"]],
            ),
            (
                "no index, no ids",
                vec![
                    json!([delta(None, "", "f", f)]),
                    json!([delta(None, "", "", rest)]),
                    json!([delta(None, "", "g", g)]),
                ],
                [["", "f", "{\"n\":1}"], ["", "g", "{}"]],
            ),
            (
                "no index, ids in each fragment, interleaved",
                vec![
                    json!([delta(None, "a", "f", f)]),
                    json!([delta(None, "b", "g", "{")]),
                    json!([delta(None, "a", "", rest)]),
                    json!([delta(None, "b", "", "}")]),
                ],
                expected,
            ),
            (
                "interleaved by index",
                vec![
                    json!([delta(Some(0), "a", "f", ""), delta(Some(1), "b", "g", "")]),
                    json!([delta(Some(0), "", "", f), delta(Some(1), "", "", "{")]),
                    json!([delta(Some(1), "", "", "}"), delta(Some(0), "", "", rest)]),
                ],
                expected,
            ),
            (
                "id and name in each fragment",
                vec![
                    json!([delta(Some(0), "a", "f", f)]),
                    json!([delta(Some(0), "a", "f", rest)]),
                    json!([delta(Some(1), "b", "g", g)]),
                ],
                expected,
            ),
            (
                "a list without indices",
                vec![json!([delta(None, "a", "f", "{\"n\":1}"), delta(None, "b", "g", g)])],
                expected,
            ),
            (
                "arguments as an object, null and an object instead of a list",
                vec![
                    json!({"index": 0, "id": "a", "function": {"name": "f", "arguments": {"n": 1}}}),
                    Value::Null,
                    json!([{"index": 1, "id": "b", "function": {"name": "g", "arguments": null}}]),
                    json!([delta(Some(1), "", "", g)]),
                ],
                expected,
            ),
            (
                "a name in pieces",
                vec![
                    json!([delta(Some(0), "a", "f", f)]),
                    json!([delta(Some(0), "", "", rest)]),
                    json!([{"index": 1, "id": "b", "function": {"name": "g"}}]),
                    json!([delta(Some(1), "", "et", g)]),
                ],
                [["a", "f", "{\"n\":1}"], ["b", "get", "{}"]],
            ),
        ];
        for (name, deltas, expected) in cases {
            let (calls, _) = assemble(&deltas);
            assert_eq!(calls, expected.map(|call| call.map(str::to_owned)), "{name}");
        }
    }

    #[test]
    fn steps_never_interleave_and_come_as_early_as_they_can() {
        let begin = |id: &str, name: &str| Step::Begin { id: id.to_owned(), name: name.to_owned() };
        let more = |text: &str| Step::Arguments(text.to_owned());
        let (_, steps) = assemble(&[
            json!([delta(Some(0), "a", "f", "")]),
            json!([delta(Some(0), "", "", "{\"}\":")]),
            json!([delta(Some(1), "b", "g", "{}")]),
            json!([delta(Some(0), "", "", "1}")]),
            json!([delta(Some(2), "c", "h", "")]),
        ]);
        let expected = [
            (0, begin("a", "f")),
            (1, more("{\"}\":")),
            (3, more("1}")),
            (3, begin("b", "g")),
            (3, more("{}")),
            (4, begin("c", "h")),
        ];
        assert_eq!(steps, expected);
        // A call whose arguments never end does not keep the next one back for ever.
        let (_, steps) =
            assemble(&[json!([delta(Some(0), "a", "f", "{")]), json!([delta(Some(1), "b", "g", "{}")])]);
        let last: Vec<_> = steps.iter().filter(|(at, _)| *at == 2).map(|(_, step)| step.clone()).collect();
        assert_eq!(last, [begin("b", "g"), more("{}")]);
    }

    #[test]
    fn assembler_fails_when_calls_are_unreadable_or_exceed_a_bound() {
        let mut bound = Assembled::text();
        let mut calls = ToolCalls::default();
        let failure = calls.feed_value(&json!("call f"), &mut bound).unwrap_err();
        assert!(failure.message.contains("cannot be read"));
        let mut many = ToolCalls::default();
        let all: Vec<Value> = (0..=CALLS_MAX as u64).map(|n| delta(Some(n), "", "f", "{}")).collect();
        assert!(many.feed_value(&all.into(), &mut bound).unwrap_err().message.contains("256"));
        let (mut large, mut bound) = (ToolCalls::default(), Assembled::text());
        let half = "x".repeat(TEXT_MAX / 2);
        large.feed_value(&json!([delta(Some(0), "", "f", &half)]), &mut bound).unwrap();
        let failure = large.feed_value(&json!([delta(Some(0), "", "", &half)]), &mut bound).unwrap_err();
        assert_eq!(failure.code, "answer_too_large");
    }
}
