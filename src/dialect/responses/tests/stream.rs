//! Streams and whole answers as OpenAI's clients read them.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dialect::responses::*;

const STEM: &str = "0a";

fn events(request: Value) -> Events {
    let mut request = request;
    (request["model"], request["input"]) = ("m".into(), "x".into());
    let asked = Asked::read(&request, STEM).unwrap();
    Events::new(asked.response("resp_0a", "qwen", 100), STEM, asked.manner(&[]))
}

fn chunk(delta: Value, finish: Value) -> String {
    format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
}

fn call(index: u64, id: &str, name: &str, arguments: &str) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}}]})
}

/// Names and data of events.
fn told(text: &[u8]) -> Vec<(String, Value)> {
    let text = std::str::from_utf8(text).unwrap();
    let event = |event: &str| {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        assert_eq!(data["type"], name.as_str());
        (name, data)
    };
    text.split("\n\n").filter(|event| event.starts_with("event: ")).map(event).collect()
}

/// What a stream is told as, and its end.
fn run(mut events: Events, stream: &str) -> (Vec<(String, Value)>, End) {
    let mut all = events.feed(stream.as_bytes());
    let end = events.finish(200);
    all.extend_from_slice(&end.events);
    let told = told(&all);
    for (number, (_, event)) in told.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    (told, end)
}

fn names(told: &[(String, Value)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.strip_prefix("response.").unwrap_or(name)).collect()
}

#[test]
fn thinking_words_and_calls_come_in_openais_order() {
    let stream = [
        ": loading\n\n".to_owned(),
        chunk(json!({"role": "assistant", "content": ""}), Value::Null),
        chunk(json!({"reasoning_content": "Hm"}), Value::Null),
        chunk(json!({"content": "Let "}), Value::Null),
        chunk(json!({"content": "me."}), Value::Null),
        chunk(call(0, "x", "f", "{\"a\""), Value::Null),
        chunk(call(0, "", "", ":1}"), Value::Null),
        chunk(call(1, "y", "g", "{}"), "tool_calls".into()),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6,\"prompt_tokens_details\":{\"cached_tokens\":1}}}\n\ndata: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let (told, end) = run(events(json!({"metadata": {"a": "b"}})), &stream);
    assert_eq!(
        names(&told),
        [
            "created",
            "in_progress",
            "output_item.added",
            "content_part.added",
            "reasoning_text.delta",
            "reasoning_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "output_item.added",
            "function_call_arguments.delta",
            "function_call_arguments.done",
            "output_item.done",
            "completed",
        ]
    );
    let response = end.response;
    assert_eq!(told.last().unwrap().1["response"], response);
    let output = response["output"].as_array().unwrap();
    let kinds: Vec<&str> = output.iter().map(kind).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "function_call"]);
    assert_eq!(output[1]["content"][0]["text"], "Let me.");
    assert_eq!((&output[2]["arguments"], &output[2]["status"]), (&json!("{\"a\":1}"), &json!("completed")));
    assert_ne!(output[2]["call_id"], output[3]["call_id"]);
    assert_eq!((&response["status"], &response["completed_at"]), (&json!("completed"), &json!(200)));
    assert_eq!(response["metadata"], json!({"a": "b"}));
    assert_eq!(
        (&response["usage"]["input_tokens"], &response["usage"]["total_tokens"]),
        (&json!(4), &json!(10))
    );
    assert_eq!(response["usage"]["input_tokens_details"]["cached_tokens"], 1);
}

#[test]
fn the_gateways_own_calls_are_items_too() {
    let note = |note: Value| format!("data: {note}\n\n");
    let tool = json!({"name": "sum", "input_schema": {"type": "object"}});
    let stream = [
        note(crate::dialect::notes::tools(vec![tool])),
        chunk(json!({"content": "First"}), Value::Null),
        note(crate::dialect::notes::calls(vec![
            json!({"id": "call_0", "name": "sum", "arguments": "{}"}),
            json!({"id": "call_1", "name": "sum", "arguments": "{\"a\":"}),
        ])),
        note(crate::dialect::notes::results(vec![
            json!({"id": "call_0", "text": "42", "failed": false}),
            json!({"id": "call_1", "text": "Error: not JSON", "failed": true}),
        ])),
        chunk(json!({"content": "It is 42."}), "stop".into()),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let ours = json!({"tools": [{"type": "mcp", "server_label": "mlx-gateway"}]});
    let (told, end) = run(events(ours), &stream);
    let names = names(&told);
    let at = |name: &str| names.iter().position(|told| *told == name).unwrap();
    assert_eq!(
        names[2..6],
        ["output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.completed", "output_item.done"]
    );
    assert!(
        at("mcp_call.in_progress") < at("mcp_call_arguments.done")
            && at("mcp_call_arguments.done") < at("mcp_call.completed")
    );
    assert!(at("mcp_call.completed") < at("mcp_call.failed"));
    let output = end.response["output"].as_array().unwrap();
    let kinds: Vec<&str> = output.iter().map(kind).collect();
    assert_eq!(kinds, ["mcp_list_tools", "message", "mcp_call", "mcp_call", "message"]);
    assert_eq!((&output[2]["output"], &output[2]["status"]), (&json!("42"), &json!("completed")));
    assert_eq!((&output[3]["output"], &output[3]["status"]), (&Value::Null, &json!("failed")));
    assert_eq!(output[3]["error"]["content"][0]["text"], "Error: not JSON");
    let plain = events(json!({}));
    let (_, end) = run(plain, &stream);
    assert_eq!(kind(&end.response["output"][0]), "message", "tools are listed for who asks for them");
}

#[test]
fn an_answer_that_is_cut_or_fails_says_so() {
    let cut = [chunk(json!({"content": "Once"}), "length".into()), "data: [DONE]\n\n".into()].concat();
    let (told, end) = run(events(json!({})), &cut);
    assert_eq!(told.last().unwrap().0, "response.incomplete");
    assert_eq!(end.response["incomplete_details"], json!({"reason": "max_output_tokens"}));
    assert_eq!(end.response["output"][0]["status"], "incomplete");
    let fails = "data: {\"error\":{\"message\":\"gone\",\"type\":\"rate_limit_error\",\"code\":\"queue_full\"}}\n\ndata: [DONE]\n\n";
    let (told, end) = run(events(json!({})), fails);
    assert_eq!(told.last().unwrap().0, "response.failed");
    assert_eq!(end.response["error"], json!({"code": "rate_limit_exceeded", "message": "gone"}));
    let (told, end) = run(events(json!({})), &chunk(json!({"content": "Once"}), Value::Null));
    assert_eq!(told.last().unwrap().0, "response.failed");
    assert_eq!(
        (&end.response["status"], &end.response["error"]["code"]),
        (&json!("failed"), &json!("server_error"))
    );
}

#[test]
fn thinking_is_told_as_a_summary_and_wrapped_where_that_is_asked_for() {
    let stream =
        [chunk(json!({"reasoning_content": "Hm"}), "stop".into()), "data: [DONE]\n\n".into()].concat();
    let wish = json!({"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]});
    let (told, end) = run(events(wish), &stream);
    assert_eq!(
        names(&told)[2..8],
        [
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
        ]
    );
    let item = &end.response["output"][0];
    assert_eq!(item["summary"], json!([{"type": "summary_text", "text": "Hm"}]));
    let bare = json!({"encrypted_content": item["encrypted_content"]});
    assert_eq!(thought::of(&bare), "Hm");
    assert_eq!(thought::of(&json!({"encrypted_content": "bm90IG91cnM="})), "");
}

#[test]
fn the_input_of_a_custom_tool_is_text() {
    let stream = [
        chunk(call(0, "x", "patch", "{\"input\": \"*** Begin"), Value::Null),
        chunk(call(0, "", "", "\"}"), "tool_calls".into()),
        "data: [DONE]\n\n".into(),
    ]
    .concat();
    let (told, end) = run(events(json!({"tools": [{"type": "custom", "name": "patch"}]})), &stream);
    assert_eq!(
        names(&told)[2..6],
        [
            "output_item.added",
            "custom_tool_call_input.delta",
            "custom_tool_call_input.done",
            "output_item.done"
        ]
    );
    assert_eq!(end.response["output"][0]["input"], "*** Begin");
}

#[test]
fn a_call_of_a_namespaces_function_says_whose_it_is() {
    let stream =
        [chunk(call(0, "x", "agents__close", "{}"), "tool_calls".into()), "data: [DONE]\n\n".into()].concat();
    let tools =
        json!([{"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "close"}]}]);
    let (_, end) = run(events(json!({"tools": tools})), &stream);
    let item = &end.response["output"][0];
    assert_eq!((&item["namespace"], &item["name"]), (&json!("agents"), &json!("close")));
}

#[test]
fn a_whole_completion_gives_the_same_output_as_its_stream() {
    let completion = json!({
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": "Let me.", "reasoning_content": "Hm",
            "tool_calls": [{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        }}],
        "usage": {"prompt_tokens": 4, "completion_tokens": 6},
    });
    let mut whole = events(json!({}));
    whole.take(&completion);
    let stream = [
        chunk(json!({"reasoning_content": "H"}), Value::Null),
        chunk(json!({"reasoning_content": "m"}), Value::Null),
        chunk(json!({"content": "Let me."}), Value::Null),
        chunk(call(0, "x", "f", "{}"), "tool_calls".into()),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6}}\n\n".to_owned(),
    ];
    let (_, streamed) = run(events(json!({})), &stream.concat());
    assert_eq!(whole.finish(200).response, streamed.response);
}

proptest! {
    #[test]
    fn it_makes_no_difference_how_a_stream_is_cut(cuts in proptest::collection::vec(1_usize..200, 1..40)) {
        let stream = [
            chunk(json!({"reasoning_content": "Hm, é"}), Value::Null),
            chunk(json!({"content": "Öffne "}), Value::Null),
            chunk(call(0, "x", "f", "{\"a\":1}"), "tool_calls".into()),
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":6}}\n\ndata: [DONE]\n\n".to_owned(),
        ]
        .concat();
        let (mut pieces, mut rest) = (events(json!({})), stream.as_bytes());
        let mut all = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            all.extend(pieces.feed(piece));
            rest = left;
        }
        all.extend(pieces.finish(200).events);
        prop_assert_eq!(told(&all), run(events(json!({})), &stream).0);
    }
}

#[test]
fn events_give_each_call_an_item_whatever_the_server_numbers_it() {
    let object =
        json!({"tool_calls": [{"index": 0, "id": "b", "function": {"name": "g", "arguments": {"n": 2}}}]});
    let stream = [
        chunk(call(0, "a", "f", ""), Value::Null),
        chunk(json!({"content": "Now."}), Value::Null),
        chunk(call(0, "", "", "{\"n\":"), Value::Null),
        chunk(object, Value::Null),
        chunk(call(0, "a", "", "1}"), "tool_calls".into()),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat();
    let (_, end) = run(events(json!({})), &stream);
    let items = end.response["output"].as_array().unwrap();
    let text = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
    let said: Vec<_> =
        items.iter().map(|item| [text(item, "type"), text(item, "name"), text(item, "arguments")]).collect();
    assert_eq!(
        said,
        [["function_call", "f", "{\"n\":1}"], ["function_call", "g", "{\"n\":2}"], ["message", "", ""]]
    );
    assert_eq!(items[2]["content"][0]["text"], "Now.");
    let unreadable = chunk(json!({"tool_calls": "f"}), Value::Null);
    let mut failed = events(json!({}));
    failed.feed(unreadable.as_bytes());
    assert!(failed.abort_reason().unwrap().message.contains("cannot be read"));
    assert_eq!(failed.finish(200).response["status"], "failed");
}
