//! Recorded streams of the engines against what clients get of them.

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;

use super::aggregate::Aggregate;
use super::facts::Facts;
use super::repair::Repair;
use super::sse;

/// The body of a recorded answer.
fn recorded(path: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/transcripts/");
    let text = std::fs::read(format!("{root}{path}.response.txt")).expect(path);
    let at = memchr::memmem::find(&text, b"\r\n\r\n").expect("headers");
    text[at + 4..].to_vec()
}

/// Feeds `body` cut at `cuts`, event by complete event, as the data plane does.
fn in_pieces(body: &[u8], cuts: &[usize], mut feed: impl FnMut(&[u8])) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (body.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut held, mut from) = (Vec::new(), 0);
    for cut in cuts.into_iter().chain([body.len()]) {
        let searched = held.len();
        held.extend_from_slice(&body[from..cut]);
        from = cut;
        if let Some(end) = sse::last_boundary(&held, searched) {
            feed(&held[..end]);
            held.drain(..end);
        }
    }
    assert!(held.is_empty(), "a rest that is no event: {:?}", String::from_utf8_lossy(&held));
}

fn repaired(body: &[u8], cuts: &[usize], usage: bool, max_tokens: u64) -> (String, Facts) {
    let mut repair = Repair::new("qwen", usage, Some(max_tokens));
    let (mut out, mut facts) = (BytesMut::new(), Facts::default());
    in_pieces(body, cuts, |events| repair.feed(events, &mut out, &mut facts));
    (String::from_utf8(out.to_vec()).unwrap(), facts)
}

fn aggregated(body: &[u8], cuts: &[usize], max_tokens: u64) -> (Result<Value, String>, Facts) {
    let (mut aggregate, mut facts) = (Aggregate::new("qwen", Some(max_tokens)), Facts::default());
    in_pieces(body, cuts, |events| aggregate.feed(events, &mut facts));
    let answer = aggregate.finish(&mut facts);
    (answer.map(|json| serde_json::from_slice(&json).unwrap()).map_err(|failure| failure.message), facts)
}

fn tail(text: &str, events: usize) -> String {
    let all: Vec<&str> = text.split_terminator("\n\n").collect();
    all[all.len().saturating_sub(events)..].join("\n")
}

#[test]
fn a_thinking_answer_of_mlx_openai_server() {
    let body = recorded("mlx-openai-server-1.8.1/05-stream");
    let (text, facts) = repaired(&body, &[], true, 100);
    insta::assert_snapshot!(text.split("\n\n").take(3).collect::<Vec<_>>().join("\n"));
    insta::assert_snapshot!(tail(&text, 4));
    insta::assert_debug_snapshot!(facts);
    assert_eq!(text.matches("\"role\"").count(), 1);
    let (text, _) = repaired(&body, &[], false, 100);
    assert!(!text.contains("usage"));
    let (answer, _) = aggregated(&body, &[], 100);
    insta::assert_json_snapshot!(answer.unwrap());
}

#[test]
fn an_answer_that_reached_its_limit_says_length() {
    let body = recorded("mlx-openai-server-1.8.1/09-stream-max-tokens");
    let (text, facts) = repaired(&body, &[], false, 12);
    assert!(tail(&text, 2).contains(r#""finish_reason":"length""#), "{text}");
    assert_eq!(facts.finish_reason.as_deref(), Some("length"));
    assert_eq!(aggregated(&body, &[], 12).0.unwrap()["choices"][0]["finish_reason"], "length");
}

#[test]
fn a_tool_call_of_either_engine() {
    for engine in ["mlx-openai-server-1.8.1", "mlx-lm-server-0.31.3"] {
        let body = recorded(&format!("{engine}/11-tools-stream"));
        let (answer, facts) = aggregated(&body, &[], 100);
        let answer = answer.unwrap();
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{engine}");
        assert_eq!(choice["message"]["content"], Value::Null);
        let function = &choice["message"]["tool_calls"][0]["function"];
        assert_eq!(function["name"], "get_weather");
        assert_eq!(function["arguments"], "{\"city\": \"Paris\"}");
        assert_eq!(facts.deltas, 1);
        let (text, _) = repaired(&body, &[], false, 100);
        assert!(text.contains(r#""finish_reason":"tool_calls""#), "{text}");
    }
}

#[test]
fn mlx_lm_reasons_under_the_same_name() {
    let body = recorded("mlx-lm-server-0.31.3/06-stream-usage");
    let (text, facts) = repaired(&body, &[], true, 100);
    assert!(text.contains(r#""reasoning_content":"They""#), "{text}");
    assert!(!text.contains("keepalive"));
    insta::assert_snapshot!(tail(&text, 3));
    assert_eq!(facts.usage.unwrap().completion, Some(29));
    assert!(!repaired(&body, &[], false, 100).0.contains("usage"));
}

#[test]
fn an_error_in_the_stream_ends_it_and_the_pretended_finish_is_not_told() {
    let body = recorded("mlx-openai-server-1.8.1/40-overload-stream-2");
    let (text, facts) = repaired(&body, &[], false, 100);
    insta::assert_snapshot!(text);
    assert_eq!(facts.failure.unwrap().status, 429);
    assert_eq!(facts.finish_reason, None);
    assert!(aggregated(&body, &[], 100).0.unwrap_err().contains("Too many requests"));
}

#[test]
fn a_stream_that_stops_in_the_middle_is_no_answer() {
    let body = recorded("mlx-openai-server-1.8.1/05-stream");
    let cut = sse::last_boundary(&body[..1500], 0).unwrap();
    assert!(aggregated(&body[..cut], &[], 100).0.unwrap_err().contains("mid-answer"));
}

proptest! {
    #[test]
    fn chunking_changes_nothing(cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        for name in ["05-stream", "11-tools-stream", "40-overload-stream-2"] {
            let body = recorded(&format!("mlx-openai-server-1.8.1/{name}"));
            prop_assert_eq!(repaired(&body, &cuts, true, 100), repaired(&body, &[], true, 100));
            prop_assert_eq!(aggregated(&body, &cuts, 100), aggregated(&body, &[], 100));
        }
    }

    #[test]
    fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,80}") {
        for data in [bytes, format!("data: {text}\n\n").into_bytes(), format!("data: {{\"choices\":[{text}]}}\n\n").into_bytes()] {
            let mut out = BytesMut::new();
            Repair::new("m", true, None).feed(&data, &mut out, &mut Facts::default());
            let (mut aggregate, mut facts) = (Aggregate::new("m", None), Facts::default());
            aggregate.feed(&data, &mut facts);
            prop_assert!(aggregate.finish(&mut facts).is_err());
        }
    }
}

/// A stream of mlx-openai-server that says these pieces as content.
fn saying(pieces: &[&str]) -> Vec<u8> {
    let mut body = String::new();
    let event = |delta: Value, finish: Value| {
        let choice = serde_json::json!({"index": 0, "delta": delta, "finish_reason": finish});
        format!(
            "data: {}\n\n",
            serde_json::json!({"id": "c", "created": 1, "model": "served", "choices": [choice]})
        )
    };
    body += &event(serde_json::json!({"role": "assistant"}), Value::Null);
    for piece in pieces {
        body += &event(serde_json::json!({"role": "assistant", "content": piece}), Value::Null);
    }
    body += &event(serde_json::json!({}), "stop".into());
    (body + "data: [DONE]\n\n").into_bytes()
}

/// Content, reasoning and finish of a stream as a client puts it together, and of the whole answer.
fn both_ways(body: &[u8], cuts: &[usize], stops: &[&str]) -> [(String, String, String); 2] {
    let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let mut repair = Repair::new("qwen", true, Some(100)).stopping_at(&stops, 7);
    let (mut out, mut facts) = (BytesMut::new(), Facts::default());
    in_pieces(body, cuts, |events| repair.feed(events, &mut out, &mut facts));
    assert!(out.ends_with(sse::DONE_EVENT) && facts.done);
    let mut seen = (String::new(), String::new(), String::new());
    for data in sse::events(&out).filter(|data| data.as_ref() != sse::DONE) {
        let chunk: Value = serde_json::from_slice(&data).unwrap();
        let Some(choice) = chunk["choices"].get(0) else { continue };
        seen.0 += choice["delta"]["content"].as_str().unwrap_or_default();
        seen.1 += choice["delta"]["reasoning_content"].as_str().unwrap_or_default();
        seen.2 += choice["finish_reason"].as_str().unwrap_or_default();
    }
    let (mut aggregate, mut facts) = (Aggregate::new("qwen", Some(100)).reading(&stops), Facts::default());
    in_pieces(body, cuts, |events| aggregate.feed(events, &mut facts));
    let answer: Value = serde_json::from_slice(&aggregate.finish(&mut facts).unwrap()).unwrap();
    let choice = &answer["choices"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let message = &choice["message"];
    [seen, (text(&message["content"]), text(&message["reasoning_content"]), text(&choice["finish_reason"]))]
}

#[test]
fn a_recorded_answer_ends_where_a_stop_string_begins() {
    for engine in ["mlx-openai-server-1.8.1", "mlx-lm-server-0.31.3"] {
        let body = recorded(&format!("{engine}/05-stream"));
        for told in both_ways(&body, &[], &["greet", "real backend"]) {
            assert_eq!(told.0, "Hello! This tiny model runs on the ", "{engine}");
            assert_eq!(told.1, "They greet me, so I reply politely now", "thinking is no answer");
            assert_eq!(told.2, "stop");
        }
    }
}

#[test]
fn what_ends_early_says_what_it_used_about_and_nothing_after_it() {
    let mut repair = Repair::new("qwen", true, Some(100)).stopping_at(&["END".to_owned()], 7);
    let (mut out, mut facts) = (BytesMut::new(), Facts::default());
    repair.feed(&saying(&["one E", "ND two", " three"]), &mut out, &mut facts);
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(!text.contains(r#""content":"E"#) && !text.contains("two") && !text.contains("three"), "{text}");
    let last: Vec<&str> = text.split_terminator("\n\n").collect();
    assert!(
        last[last.len() - 2]
            .contains(r#""usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}"#),
        "{text}"
    );
    assert!(facts.stopped && facts.usage.is_none(), "the record counts what went through");
}

#[test]
fn thinking_that_the_engine_left_in_the_text_is_told_apart() {
    for (pieces, content, thought) in [
        (&["<thi", "nk>Let me", " see.</th", "ink>\n\nYes."][..], "\n\nYes.", "Let me see."),
        (&["<think>cut off by the lim"], "", "cut off by the lim"),
        (
            &[
                "<|channel|>analysis<|mess",
                "age|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
            ],
            "Yes.",
            "Hm.",
        ),
        (&["  as ", "written <think>x</think>"], "  as written <think>x</think>", ""),
        (&["x < y", " <"], "x < y <", ""),
    ] {
        for told in both_ways(&saying(pieces), &[], &[]) {
            assert_eq!((told.0.as_str(), told.1.as_str()), (content, thought));
        }
    }
}

proptest! {
    #[test]
    fn stop_strings_and_thinking_do_not_depend_on_how_the_bytes_were_cut(
        cuts in prop::collection::vec(0_usize..4000, 0..12),
    ) {
        let body = saying(&["<think>a", "b</think>c", "d EN", "D e"]);
        let [stream, whole] = both_ways(&body, &cuts, &["END"]);
        prop_assert_eq!(&stream, &("cd ".to_owned(), "ab".to_owned(), "stop".to_owned()));
        prop_assert_eq!(stream, whole);
    }
}

/// A chunk of the choice of that index; none: the chunk does not say.
fn chunk_of(index: Option<u64>, delta: Value, finish: Value) -> Value {
    let mut choice = serde_json::json!({"delta": delta, "finish_reason": finish});
    if let Some(index) = index {
        choice["index"] = index.into();
    }
    serde_json::json!({"id": "c", "created": 7, "model": "served", "choices": [choice]})
}

/// Aggregates the chunks both ways: as bytes, and parsed already.
fn aggregate_both_ways(choices: usize, stops: &[String], chunks: &[Value]) -> (Result<Value, String>, Facts) {
    let begin = || (Aggregate::new("m", None).with_choices(choices).reading(stops), Facts::default());
    let end = |aggregate: Aggregate, facts: &mut Facts| {
        let answer = aggregate.finish(facts).map_err(|failure| failure.message);
        answer.map(|json| serde_json::from_slice::<Value>(&json).unwrap())
    };
    let (mut raw, mut raw_facts) = begin();
    let (mut parsed, mut parsed_facts) = begin();
    for chunk in chunks {
        raw.feed(format!("data: {chunk}\n\n").as_bytes(), &mut raw_facts);
        parsed.push(chunk, &mut parsed_facts);
    }
    assert_eq!(raw_facts, parsed_facts);
    let answers = (end(raw, &mut raw_facts), end(parsed, &mut parsed_facts));
    assert_eq!(answers.0, answers.1);
    assert_eq!(raw_facts, parsed_facts);
    (answers.0, raw_facts)
}

#[test]
fn aggregate_collects_choices_by_their_index() {
    let text = |text: &str| serde_json::json!({"content": text});
    let call = serde_json::json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"n": 1}}}]});
    let usage = serde_json::json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}});
    let mut chunks = vec![
        chunk_of(Some(1), text("b"), Value::Null),
        // Choice 0.
        chunk_of(None, text("a"), Value::Null),
        chunk_of(Some(2), call, "tool_calls".into()),
        chunk_of(Some(1), serde_json::json!({"reasoning": "hm", "content": "b"}), "stop".into()),
        chunk_of(Some(0), text("a"), Value::Null),
        usage,
        chunk_of(Some(0), Value::Null, "length".into()),
    ];
    let (answer, facts) = aggregate_both_ways(3, &[], &chunks);
    let answer = answer.unwrap();
    let choices = answer["choices"].as_array().unwrap();
    let seen: Vec<_> = choices
        .iter()
        .map(|choice| (&choice["index"], &choice["message"]["content"], &choice["finish_reason"]))
        .collect();
    let [zero, one, two] = [0, 1, 2].map(Value::from);
    let [aa, bb] = ["aa", "bb"].map(Value::from);
    let [length, stop, calls] = ["length", "stop", "tool_calls"].map(Value::from);
    assert_eq!(seen, [(&zero, &aa, &length), (&one, &bb, &stop), (&two, &Value::Null, &calls)]);
    assert_eq!(choices[2]["message"]["tool_calls"][0]["function"]["arguments"], "{\"n\":1}");
    assert_eq!(choices[1]["message"]["reasoning_content"], "hm");
    assert_eq!((&answer["usage"]["completion_tokens"], &answer["created"]), (&5.into(), &7.into()));
    assert_eq!((facts.deltas, facts.reasoning_deltas), (5, 1));

    // The last choice never ends.
    let (answer, _) = aggregate_both_ways(4, &[], &chunks);
    assert!(answer.unwrap_err().contains("mid-answer"));
    chunks.push(chunk_of(Some(3), text("d"), Value::Null));
    let (answer, _) = aggregate_both_ways(3, &[], &chunks);
    assert!(answer.unwrap_err().contains("not asked for"));
}

#[test]
fn aggregate_ends_each_choice_at_its_own_stop_string() {
    let text = |text: &str| serde_json::json!({"content": text});
    let chunks = [
        chunk_of(Some(0), text("a END b"), Value::Null),
        chunk_of(Some(0), text("c"), "length".into()),
        chunk_of(Some(1), text("d"), Value::Null),
        chunk_of(Some(1), text(" END"), Value::Null),
        chunk_of(Some(1), text("e"), Value::Null),
    ];
    let (answer, facts) = aggregate_both_ways(2, &["END".to_owned()], &chunks);
    let answer = answer.unwrap();
    let seen = [0, 1].map(|at| {
        let choice = &answer["choices"][at];
        [&choice["message"]["content"], &choice["finish_reason"], &choice["stop_reason"]]
            .map(|value| value.as_str().unwrap().to_owned())
    });
    assert_eq!(seen, [["a ", "stop", "END"], ["d ", "stop", "END"]]);
    assert!(facts.done && facts.stopped);
}

#[test]
fn aggregate_fails_when_all_choices_together_exceed_the_bound() {
    let half = serde_json::json!({"content": "x".repeat(crate::dialect::assembled::TEXT_MAX / 2 + 1)});
    let chunks = [0, 1].map(|index| chunk_of(Some(index), half.clone(), "stop".into()));
    let (answer, facts) = aggregate_both_ways(2, &[], &chunks);
    assert!(answer.is_err());
    assert_eq!(facts.failure.unwrap().code, "answer_too_large");
}
