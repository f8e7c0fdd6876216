//! Requests and conversations as OpenAI's clients know them.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::dialect::responses::*;

const STEM: &str = "0a";

fn asked(request: &Value) -> Asked {
    Asked::read(request, STEM).unwrap()
}

/// The chat of a request with those fields besides `model`.
fn chat(mut request: Value) -> Value {
    request["model"] = "m".into();
    asked(&request).chat(&[]).unwrap()
}

fn refusal(mut request: Value) -> ResponsesError {
    request["model"] = "m".into();
    let read = Asked::read(&request, STEM);
    read.and_then(|asked| asked.chat(&[]).map(drop)).unwrap_err()
}

#[test]
fn a_request_becomes_a_chat() {
    let image = "data:image/png;base64,AA==";
    let function = json!({"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true});
    let chat = chat(json!({
        "instructions": "Be brief.",
        "input": [
            {"role": "developer", "content": "In French."},
            {"role": "user", "content": [
                {"type": "input_text", "text": "What is it?"},
                {"type": "input_image", "image_url": image},
            ]},
        ],
        "tools": [function, {"type": "mcp", "server_label": "mlx-gateway", "allowed_tools": {"tool_names": ["a"]}}],
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 5, "temperature": 0.5, "stream": true, "seed": 7, "user": null,
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "json_schema", "name": "r", "schema": {"type": "object"}, "strict": true}},
        "safety_identifier": "x", "prompt_cache_key": "y", "include": ["reasoning.encrypted_content"],
    }));
    assert_eq!(
        chat,
        json!({
            "model": "m", "temperature": 0.5, "max_tokens": 5, "seed": 7,
            "response_format": {"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}, "strict": true}},
            "reasoning_effort": "low",
            "tool_choice": {"type": "function", "function": {"name": "f"}},
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}},
                {"type": "mcp", "server_label": "mlx-gateway", "allowed_tools": ["a"]},
            ],
            "stream": true, "stream_options": {"include_usage": true},
            "messages": [
                {"role": "system", "content": "Be brief.\n\nIn French."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What is it?"},
                    {"type": "image_url", "image_url": {"url": image}},
                ]},
            ],
        })
    );
}

#[test]
fn a_conversation_with_calls_is_told_as_templates_know_it() {
    let chat = chat(json!({"input": [
        {"role": "user", "content": "Sum and weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "mcp_call", "id": "mcp_1", "name": "sum", "arguments": "{}", "output": "3"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "sunny"}]},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"},
        {"type": "reasoning", "summary": [], "encrypted_content": thought::wrapped("Then.")},
        {"role": "assistant", "content": "3, and sunny."},
        {"role": "user", "content": "Thanks"},
    ]}));
    let call = |id, name, arguments| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    assert_eq!(
        chat["messages"],
        json!([
            {"role": "user", "content": "Sum and weather?"},
            {"role": "assistant", "content": "Let me see.", "reasoning_content": "Hm.", "tool_calls": [
                call("mcp_1", "sum", "{}"), call("c1", "f", "{\"a\":1}"), call("c2", "patch", "{\"input\":\"*** Begin\"}"),
            ]},
            {"role": "tool", "tool_call_id": "mcp_1", "content": "3"},
            {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
            {"role": "tool", "tool_call_id": "c2", "content": "done"},
            {"role": "assistant", "content": "3, and sunny.", "reasoning_content": "Then."},
            {"role": "user", "content": "Thanks"},
        ])
    );
}

#[test]
fn what_cannot_be_served_is_refused_by_its_name() {
    let user = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let with = |name: &str, value: Value| json!({"input": "x", name: value});
    for (request, param, words) in [
        (json!({}), "input", "is needed"),
        (json!({"input": 7}), "input", "a string or a list"),
        (json!({"input": []}), "input", "something to answer"),
        (with("colour", json!("red")), "colour", "not a parameter"),
        (with("conversation", json!("c")), "conversation", "not supported"),
        (json!({"input": "x", "background": true, "store": false}), "background", "needs \"store\""),
        (with("truncation", json!("auto")), "truncation", "nothing of a conversation"),
        (with("top_logprobs", json!(3)), "top_logprobs", "no logprobs"),
        (with("include", json!(["message.output_text.logprobs"])), "include", "logprobs"),
        (with("include", json!(["x"])), "include", "does not know"),
        (with("store", json!("yes")), "store", "true or false"),
        (with("temperature", json!("hot")), "temperature", "a number"),
        (with("max_output_tokens", json!(0)), "max_output_tokens", "above 0"),
        (with("metadata", json!({"a": 1})), "metadata.a", "holds strings"),
        (with("text", json!({"format": {"type": "xml"}})), "text.format", "not \"xml\""),
        (with("text", json!({"format": {"type": "json_schema"}})), "text.format.schema", "is needed"),
        (with("tools", json!([{"type": "file_search"}])), "tools[0]", "runs at OpenAI"),
        (with("tools", json!([{"type": "function"}])), "tools[0].name", "a string"),
        (
            with("tools", json!([{"type": "mcp", "server_label": "x"}])),
            "tools[0].server_label",
            "mlx-gateway",
        ),
        (
            with(
                "tools",
                json!([{"type": "mcp", "server_label": "mlx-gateway", "require_approval": "always"}]),
            ),
            "tools[0].require_approval",
            "never",
        ),
        (with("tool_choice", json!("maybe")), "tool_choice", "auto, none"),
        (json!({"input": [{"type": "computer_call"}]}), "input[0]", "computer_call"),
        (json!({"input": [{"role": "king", "content": "x"}]}), "input[0].role", "one of user"),
        (json!({"input": [{"type": "function_call", "name": "f"}]}), "input[0].call_id", "a string"),
        (user(json!({"type": "input_file", "file_id": "f"})), "input[0].content[0]", "as input_text"),
        (
            user(json!({"type": "input_image", "file_id": "f"})),
            "input[0].content[0].file_id",
            "send the image",
        ),
        (
            json!({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}]}),
            "input",
            "no tool output for the function call c",
        ),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}),
            "input",
            "no tool call for the function call output c",
        ),
    ] {
        let told = refusal(request.clone());
        assert!(told.param == param && told.message.contains(words), "{request}: {told:?}");
    }
    assert_eq!(refusal(with("colour", json!(1))).code, "unknown_parameter");
}

#[test]
fn references_stand_for_the_items_that_are_kept() {
    let request = json!({"model": "m", "input": [{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "And?"}]});
    let mut with = asked(&request);
    assert_eq!(with.references(), ["msg_1"]);
    let found = json!({"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]});
    with.resolve(&[found]).unwrap();
    assert_eq!(with.chat(&[]).unwrap()["messages"][0]["content"], "Yes.");
    assert!(asked(&request).resolve(&[]).unwrap_err().message.contains("not kept here"));
}

#[test]
fn functions_of_a_namespace_are_known_by_both_names() {
    let inner = json!([{"type": "function", "name": "close", "parameters": {"type": "object"}}]);
    let tools = json!([{"type": "namespace", "name": "agents", "tools": inner}, {"type": "web_search"}]);
    let call = json!({"type": "function_call", "call_id": "c", "namespace": "agents", "name": "close", "arguments": "{}"});
    let output = json!({"type": "function_call_output", "call_id": "c", "output": "closed"});
    let chat = chat(json!({"input": [call, output], "tools": tools, "client_metadata": {"a": "b"}}));
    assert_eq!(chat["tools"].as_array().unwrap().len(), 1, "a web search is not offered");
    assert_eq!(chat["tools"][0]["function"]["name"], "agents__close");
    assert_eq!(chat["messages"][0]["tool_calls"][0]["function"]["name"], "agents__close");
    let wrong =
        json!({"input": "x", "tools": [{"type": "namespace", "name": "a", "tools": [{"type": "custom"}]}]});
    assert!(refusal(wrong).message.contains("holds functions"));
}

#[test]
fn only_the_allowed_tools_are_offered() {
    let function = |name: &str| json!({"type": "function", "name": name});
    let choice = json!({"type": "allowed_tools", "mode": "required", "tools": [function("b")]});
    let chat = chat(json!({"input": "x", "tools": [function("a"), function("b")], "tool_choice": choice}));
    assert_eq!(chat["tools"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&chat["tools"][0]["function"]["name"], &chat["tool_choice"]),
        (&json!("b"), &json!("required"))
    );
}

proptest! {
    #[test]
    fn no_request_makes_it_panic(request in any_json()) {
        if let Ok(asked) = Asked::read(&request, STEM) {
            drop(asked.chat(&[]));
        }
        let mut with_input = json!({"model": "m", "input": [request]});
        drop(Asked::read(&with_input, STEM).map(|asked| asked.chat(&[])));
        with_input["tools"] = with_input["input"].take();
        with_input["input"] = "x".into();
        drop(Asked::read(&with_input, STEM).map(|asked| asked.chat(&[])));
    }
}

/// JSON with the words of requests in it.
fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("type"),
        Just("role"),
        Just("content"),
        Just("input"),
        Just("model"),
        Just("user"),
        Just("message"),
        Just("function_call"),
        Just("function_call_output"),
        Just("call_id"),
        Just("output"),
        Just("reasoning"),
        Just("input_image"),
        Just("image_url"),
        Just("input_text"),
        Just("text"),
        Just("tools"),
        Just("mcp"),
        Just("mcp_call"),
        Just("name"),
        Just("item_reference"),
        Just("id"),
        Just("assistant"),
        Just("arguments"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..6).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            )),
        ]
    })
}
