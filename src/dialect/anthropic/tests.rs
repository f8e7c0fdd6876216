//! Messages against the chats they become, and recorded chats against the messages they become.

use bytes::BytesMut;
use serde_json::{Value, json};

use super::*;
use crate::dialect::aggregate::Aggregate;
use crate::dialect::facts::Facts;
use crate::dialect::repair::Repair;

/// Everything at once, as a coding assistant sends it.
fn rich() -> Value {
    json!({
        "model": "claude-x", "max_tokens": 512, "stream": true, "temperature": 0.2, "top_k": 5,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "Be kind."}],
        "stop_sequences": ["END"], "metadata": {"user_id": "u1"}, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "tools": [{"name": "read", "description": "Reads.", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": true},
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "text", "text": "Let me look."},
                {"type": "tool_use", "id": "toolu_1", "name": "read", "input": {"path": "a"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": true, "content": [
                    {"type": "text", "text": "gone"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}},
                ]},
                {"type": "text", "text": "and now?", "cache_control": {"type": "ephemeral"}},
            ]},
        ],
    })
}

#[test]
fn a_rich_request_becomes_the_chat_it_means() {
    insta::assert_json_snapshot!(chat(&rich(), true).unwrap(), @r#"
    {
      "model": "claude-x",
      "max_tokens": 512,
      "messages": [
        {
          "role": "system",
          "content": "Be brief.\n\nBe kind."
        },
        {
          "role": "user",
          "content": "hi"
        },
        {
          "role": "assistant",
          "content": "Let me look.",
          "tool_calls": [
            {
              "id": "toolu_1",
              "type": "function",
              "function": {
                "name": "read",
                "arguments": "{\"path\":\"a\"}"
              }
            }
          ]
        },
        {
          "role": "tool",
          "tool_call_id": "toolu_1",
          "content": "Error: gone"
        },
        {
          "role": "user",
          "content": [
            {
              "type": "image_url",
              "image_url": {
                "url": "data:image/png;base64,QQ=="
              }
            },
            {
              "type": "text",
              "text": "and now?"
            }
          ]
        }
      ],
      "temperature": 0.2,
      "top_k": 5,
      "stop": [
        "END"
      ],
      "user": "u1",
      "tools": [
        {
          "type": "function",
          "function": {
            "name": "read",
            "parameters": {
              "type": "object"
            },
            "description": "Reads."
          }
        }
      ],
      "tool_choice": "required",
      "parallel_tool_calls": false,
      "chat_template_kwargs": {
        "enable_thinking": true
      },
      "stream": true,
      "stream_options": {
        "include_usage": true
      }
    }
    "#);
    assert!(estimated_tokens(&chat(&rich(), true).unwrap()) > 50);
}

#[test]
fn what_cannot_be_understood_is_named_by_its_place() {
    let with = |key: &str, value: Value| {
        let mut request = rich();
        request[key] = value;
        chat(&request, true).unwrap_err().to_string()
    };
    for (key, value, words) in [
        ("max_tokens", Value::Null, "max_tokens"),
        ("max_tokens", json!(0), "max_tokens"),
        ("messages", json!([]), "at least one"),
        ("messages", json!([{"role": "robot", "content": "x"}]), "messages.0.role"),
        ("messages", json!([{"role": "user", "content": 7}]), "messages.0.content"),
        ("messages", json!([{"role": "user", "content": [{"type": "video"}]}]), "\"video\""),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "tool_result"}]}]),
            "messages.0.content.0.tool_use_id",
        ),
        (
            "messages",
            json!([{"role": "user", "content": [{"type": "document", "source": {"type": "base64"}}]}]),
            "text only",
        ),
        ("system", json!([{"type": "image"}]), "system: text blocks only"),
        ("tools", json!([{"type": "web_search_20250305", "name": "web_search"}]), "runs at Anthropic"),
        ("tool_choice", json!({"type": "maybe"}), "tool_choice.type"),
    ] {
        let told = with(key, value.clone());
        assert!(told.contains(words), "{key} = {value}: {told}");
    }
    assert!(chat(&json!([]), true).is_err());
    assert!(chat(&json!({"model": "m", "messages": [{"role": "user", "content": "x"}]}), false).is_ok());
}

/// The body of a recorded answer of mlx-openai-server.
fn recorded(name: &str) -> Vec<u8> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/transcripts/mlx-openai-server-1.8.1/");
    let text = std::fs::read(format!("{root}{name}.response.txt")).unwrap();
    let at = memchr::memmem::find(&text, b"\r\n\r\n").unwrap();
    text[at + 4..].to_vec()
}

/// The events of a recorded stream: their names, and what their deltas add up to.
fn events(name: &str, stops: &[&str]) -> (Vec<String>, String, String, String, Value) {
    let stops: Vec<String> = stops.iter().map(|stop| (*stop).to_owned()).collect();
    let mut repair = Repair::new("qwen", true, Some(100)).stopping_at(&stops, 7);
    let mut repaired = BytesMut::new();
    repair.feed(&recorded(name), &mut repaired, &mut Facts::default());
    let text = String::from_utf8(Events::new("claude-x", 7).feed(&repaired)).unwrap();
    let (mut names, mut last) = (Vec::new(), Value::Null);
    let (mut thinking, mut words, mut json_text) = (String::new(), String::new(), String::new());
    for event in text.split_terminator("\n\n") {
        let (name, data) = event.split_once('\n').unwrap();
        let data: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        assert_eq!(data["type"], name.as_str());
        let said = |key: &str| data["delta"][key].as_str().unwrap_or_default().to_owned();
        thinking += &said("thinking");
        words += &said("text");
        json_text += &said("partial_json");
        if name == "message_delta" {
            last = data.clone();
        }
        if names.last() != Some(&name) {
            names.push(name);
        }
    }
    (names, thinking, words, json_text, last)
}

#[test]
fn a_recorded_stream_becomes_every_event_in_anthropics_order() {
    let (names, thinking, words, _, last) = events("05-stream", &[]);
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let all: Vec<&str> = ["message_start"]
        .into_iter()
        .chain(block)
        .chain(block)
        .chain(["message_delta", "message_stop"])
        .collect();
    assert_eq!(names, all);
    assert_eq!(thinking, "They greet me, so I reply politely now");
    assert!(
        words.starts_with("Hello! This tiny model") && words.ends_with("exactly these words."),
        "{words}"
    );
    assert_eq!(last["delta"]["stop_reason"], "end_turn");
    assert_eq!(last["usage"]["output_tokens"], 29);
    let (.., last) = events("05-stream", &["real backend"]);
    assert_eq!(last["delta"], json!({"stop_reason": "stop_sequence", "stop_sequence": "real backend"}));
}

#[test]
fn a_recorded_tool_call_becomes_a_block_of_its_own() {
    let (_, _, _, arguments, last) = events("11-tools-stream", &[]);
    assert!(serde_json::from_str::<Value>(&arguments).unwrap().is_object(), "{arguments}");
    assert_eq!(last["delta"]["stop_reason"], "tool_use");
    let (mut aggregate, mut facts) = (Aggregate::new("qwen", Some(100)).reading(&[]), Facts::default());
    aggregate.feed(&recorded("11-tools-stream"), &mut facts);
    let whole: Value = serde_json::from_slice(&aggregate.finish(&mut facts).unwrap()).unwrap();
    let message = answer(&whole).unwrap();
    let call = message["content"].as_array().unwrap().last().unwrap();
    assert_eq!((&call["type"], &call["name"]), (&json!("tool_use"), &json!("get_weather")));
    assert!(call["input"].is_object());
    assert_eq!((&message["stop_reason"], &message["role"]), (&json!("tool_use"), &json!("assistant")));
}

fn chunk(delta: Value, finish: Value) -> String {
    let chunk = json!({"id": "a", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    format!("data: {chunk}\n\n")
}

fn call(id: &str, name: &str, arguments: Value) -> Value {
    json!({"tool_calls": [{"index": 0, "id": id, "function": {"name": name, "arguments": arguments}}]})
}

/// Returns each block's type, id and content, with the name of the last event. No block takes deltas of another one.
fn blocks(stream: &[String]) -> (Vec<[String; 3]>, String) {
    let mut events = Events::new("claude-x", 7);
    let mut text = stream.iter().flat_map(|piece| events.feed(piece.as_bytes())).collect::<Vec<u8>>();
    text.extend(events.end());
    let text = String::from_utf8(text).unwrap();
    let (mut blocks, mut last) = (Vec::<[String; 3]>::new(), String::new());
    for event in text.split_terminator("\n\n") {
        let (_, data) = event.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        last = data["type"].as_str().unwrap().to_owned();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match last.as_str() {
            "content_block_start" => {
                assert_eq!(data["index"], blocks.len());
                let block = &data["content_block"];
                blocks.push([text(&block["type"]), text(&block["id"]), String::new()]);
            }
            "content_block_delta" => {
                assert_eq!(data["index"], blocks.len() - 1);
                let [kind, _, content] = blocks.last_mut().unwrap();
                let key = match kind.as_str() {
                    "thinking" => "thinking",
                    "text" => "text",
                    _ => "partial_json",
                };
                *content += data["delta"][key].as_str().unwrap();
            }
            _ => {}
        }
    }
    (blocks, last)
}

#[test]
fn events_give_each_call_a_block_whatever_the_server_numbers_it() {
    let done = || "data: [DONE]\n\n".to_owned();
    let (paris, rome) = (json!({"city": "Paris"}), json!({"city": "Rome"}));
    /// A name, the chunks, and the calls: id, name and arguments.
    type Case<'a> = (&'a str, Vec<String>, &'a [[&'a str; 3]]);
    let cases: [Case<'_>; 3] = [
        (
            "the same index, interleaved",
            vec![
                chunk(call("call_a", "f", "{\"city\":".into()), Value::Null),
                chunk(json!({"content": "Two cities."}), Value::Null),
                chunk(call("call_b", "f", rome.clone()), Value::Null),
                chunk(call("call_a", "", "\"Paris\"}".into()), "tool_calls".into()),
                done(),
            ],
            &[
                ["tool_use", "call_a", "{\"city\":\"Paris\"}"],
                ["tool_use", "call_b", "{\"city\":\"Rome\"}"],
                ["text", "", "Two cities."],
            ],
        ),
        (
            "the same index, complete, without an end of the stream",
            vec![
                chunk(call("call_a", "f", paris.to_string().into()), Value::Null),
                chunk(call("call_b", "f", rome.to_string().into()), Value::Null),
                chunk(json!({}), "tool_calls".into()),
            ],
            &[["tool_use", "call_a", "{\"city\":\"Paris\"}"], ["tool_use", "call_b", "{\"city\":\"Rome\"}"]],
        ),
        (
            "reasoning and text between a name and its arguments",
            vec![
                chunk(call("call_a", "f", "".into()), Value::Null),
                chunk(json!({"content": "Now."}), Value::Null),
                chunk(json!({"reasoning": "Hm."}), Value::Null),
                chunk(call("", "", paris), "tool_calls".into()),
                done(),
            ],
            &[["tool_use", "call_a", "{\"city\":\"Paris\"}"], ["thinking", "", "Hm."], ["text", "", "Now."]],
        ),
    ];
    for (name, stream, expected) in cases {
        let (blocks, last) = blocks(&stream);
        assert_eq!(blocks, expected, "{name}");
        assert_eq!(last, "message_stop", "{name}");
    }
}

#[test]
fn events_end_with_an_error_when_the_chat_breaks_off_or_a_call_cannot_be_read() {
    let broken = [chunk(json!({"content": "Half"}), Value::Null)];
    assert_eq!(blocks(&broken).1, "error");
    let mut events = Events::new("claude-x", 7);
    let stream = chunk(json!({"tool_calls": "call f"}), Value::Null);
    let text = String::from_utf8(events.feed(stream.as_bytes())).unwrap();
    assert!(text.contains("event: error") && text.contains("cannot be read"), "{text}");
    assert!(events.abort_reason().is_some() && events.end().is_empty());
}

#[test]
fn answer_keeps_arguments_in_every_form() {
    let call = |arguments: Value| json!({"id": "", "function": {"name": "f", "arguments": arguments}});
    let calls = [json!({"n": 1}), json!("{\"n\":1}"), json!(""), Value::Null, json!("n is 1")].map(call);
    let completion = json!({"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]});
    let message = answer(&completion).unwrap();
    let content = message["content"].as_array().unwrap();
    let inputs: Vec<&Value> = content.iter().map(|call| &call["input"]).collect();
    let n = json!({"n": 1});
    assert_eq!(inputs, [&n, &n, &json!({}), &json!({}), &json!({"arguments": "n is 1"})]);
    let ids: Vec<&Value> = content.iter().map(|call| &call["id"]).collect();
    assert_eq!(ids, ["toolu_0", "toolu_1", "toolu_2", "toolu_3", "toolu_4"]);
    let unreadable = json!({"choices": [{"message": {"tool_calls": "f"}, "finish_reason": "tool_calls"}]});
    assert_eq!(answer(&unreadable).unwrap_err().status, 502);
}

#[test]
fn errors_in_a_stream_and_comments_are_told_in_anthropics_way() {
    let mut events = Events::new("m", 1);
    let ping = String::from_utf8(events.feed(b": queued 2\n\n")).unwrap();
    assert!(ping.starts_with("event: message_start") && ping.contains("event: ping"), "{ping}");
    let told = events
        .feed(b"data: {\"error\":{\"message\":\"broke off\",\"type\":\"server_error\"}}\n\ndata: [DONE]\n\n");
    let told = String::from_utf8(told).unwrap();
    assert_eq!(
        told,
        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"broke off\"},\"request_id\":null}\n\n"
    );
    let refused = error(429, &json!({"error": {"message": "slow down"}}), Some("r"));
    assert_eq!(refused["error"], json!({"type": "rate_limit_error", "message": "slow down"}));
}
