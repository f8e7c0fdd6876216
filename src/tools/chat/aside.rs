//! What the gateway's own tools said in a round whose other calls are the client's to run: put aside until
//! the client comes back with its results, and then part of the conversation again. In memory alone, bounded
//! in number, size and age; a conversation whose results are gone goes on without them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Rounds that are remembered, their bytes together, and how long each is.
const ROUNDS_MAX: usize = 256;
const BYTES_MAX: usize = 8 << 20;
const AGE_MAX: Duration = Duration::from_secs(3600);

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Aside(Arc<Mutex<VecDeque<Kept>>>);

/// The gateway's part of one round.
#[derive(Debug, Clone)]
pub struct Part {
    /// Its calls, as an assistant's message holds them.
    pub calls: Vec<Value>,
    /// Their results, as messages.
    pub results: Vec<Value>,
}

#[derive(Debug)]
struct Kept {
    principal: Option<String>,
    /// The ids of the client's calls in the same round. They are made here and cannot be guessed.
    ids: Vec<String>,
    part: Part,
    bytes: usize,
    since: Instant,
}

impl Aside {
    /// Keeps the gateway's part of a round whose calls with `ids` went to the client.
    pub fn put(&self, principal: Option<&str>, ids: Vec<String>, part: Part) {
        let size = |value: &Value| value.to_string().len();
        let bytes = part.calls.iter().chain(&part.results).map(size).sum();
        let principal = principal.map(str::to_owned);
        let mut kept = self.kept();
        kept.push_back(Kept { principal, ids, part, bytes, since: Instant::now() });
        let mut total: usize = kept.iter().map(|one| one.bytes).sum();
        while let Some(oldest) = kept.front() {
            if kept.len() <= ROUNDS_MAX && total <= BYTES_MAX && oldest.since.elapsed() <= AGE_MAX {
                break;
            }
            total -= oldest.bytes;
            kept.pop_front();
        }
    }

    /// The conversation with the gateway's parts in their places: its calls before the client's in the same
    /// message, its results behind it. The same conversation always comes out the same.
    pub fn complete(&self, principal: Option<&str>, messages: Vec<Value>) -> Vec<Value> {
        let mut whole = Vec::with_capacity(messages.len());
        for mut message in messages {
            let part = ids(&message).find_map(|id| self.find(principal, id));
            let Some((part, calls)) = part.zip(message.get_mut("tool_calls").and_then(Value::as_array_mut))
            else {
                whole.push(message);
                continue;
            };
            calls.splice(0..0, part.calls);
            whole.push(message);
            whole.extend(part.results);
        }
        whole
    }

    fn find(&self, principal: Option<&str>, id: &str) -> Option<Part> {
        let kept = self.kept();
        let mine = |one: &&Kept| one.principal.as_deref() == principal && one.ids.iter().any(|own| own == id);
        kept.iter().find(mine).map(|one| one.part.clone())
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ids of the calls in an assistant's message.
fn ids(message: &Value) -> impl Iterator<Item = &str> {
    let calls = message.get("tool_calls").and_then(Value::as_array);
    calls.into_iter().flatten().filter_map(|call| call.get("id").and_then(Value::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn part(text: &str) -> Part {
        Part {
            calls: vec![json!({"id": "own", "type": "function"})],
            results: vec![json!({"role": "tool", "tool_call_id": "own", "content": text})],
        }
    }

    fn conversation() -> Vec<Value> {
        vec![
            json!({"role": "user", "content": "both"}),
            json!({"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]}),
            json!({"role": "tool", "tool_call_id": "a", "content": "x"}),
        ]
    }

    #[test]
    fn what_was_put_aside_is_back_in_its_place_each_time() {
        let aside = Aside::default();
        aside.put(Some("me"), vec!["a".into(), "b".into()], part("42"));
        for _ in 0..2 {
            let whole = aside.complete(Some("me"), conversation());
            assert_eq!(
                whole[1]["tool_calls"],
                json!([{"id": "own", "type": "function"}, {"id": "a"}, {"id": "b"}])
            );
            assert_eq!(
                (whole.len(), &whole[2]["content"], &whole[3]["content"]),
                (4, &json!("42"), &json!("x"))
            );
        }
    }

    #[test]
    fn nobody_elses_is_told_and_a_strange_conversation_stays_as_it_is() {
        let aside = Aside::default();
        aside.put(Some("me"), vec!["a".into()], part("42"));
        for stranger in [None, Some("you")] {
            assert_eq!(aside.complete(stranger, conversation()), conversation());
        }
        let odd = vec![json!("no message"), json!({"tool_calls": 7}), json!({"tool_calls": [{"id": "z"}]})];
        assert_eq!(aside.complete(Some("me"), odd.clone()), odd);
    }

    #[test]
    fn the_oldest_go_first_when_there_are_too_many_or_they_are_too_large() {
        let aside = Aside::default();
        for n in 0..=ROUNDS_MAX {
            aside.put(None, vec![n.to_string()], part("1"));
        }
        assert_eq!(aside.kept().len(), ROUNDS_MAX);
        assert!(aside.find(None, "0").is_none() && aside.find(None, "1").is_some());
        aside.put(None, vec!["large".into()], part(&"x".repeat(BYTES_MAX - 1000)));
        assert!(aside.find(None, "1").is_none() && aside.find(None, "large").is_some());
    }
}
