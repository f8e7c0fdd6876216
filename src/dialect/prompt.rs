//! The texts of a prompt that a model reads, out of a request's body; media are left out, unread.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(default, borrow)]
    messages: Vec<Message<'a>>,
    #[serde(default, borrow)]
    tools: Option<&'a RawValue>,
    #[serde(default, borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(default, borrow)]
    input: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(default, borrow)]
    content: Option<&'a RawValue>,
    #[serde(default, borrow)]
    tool_calls: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(default, borrow)]
    text: Option<Cow<'a, str>>,
}

/// Every text of a chat, text completion or embedding; none of what is not one.
pub fn texts(body: &[u8]) -> Vec<String> {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return Vec::new() };
    let mut texts = Vec::new();
    for message in &body.messages {
        texts.extend(message.content.into_iter().flat_map(of));
        texts.extend(message.tool_calls.map(|calls| calls.get().to_owned()));
    }
    texts.extend(body.prompt.into_iter().flat_map(of));
    texts.extend(body.input.into_iter().flat_map(of));
    texts.extend(body.tools.map(|tools| tools.get().to_owned()));
    texts
}

/// The chat that a body is, as its engine gets it: with the profile's prompt where the client sends none. None: it
/// is no chat.
pub fn chat(body: &[u8], system: Option<&str>) -> Option<Value> {
    let mut chat: Value = serde_json::from_slice(body).ok()?;
    let messages = chat.get_mut("messages")?.as_array_mut()?;
    let brings_its_own =
        messages.iter().any(|message| message["role"] == "system" || message["role"] == "developer");
    if let Some(system) = system.filter(|_| !brings_its_own) {
        messages.insert(0, json!({"role": "system", "content": system}));
    }
    if chat["tool_choice"] == "none" {
        chat["tools"] = Value::Null;
    }
    if chat["reasoning_effort"] == "none" {
        let arguments = chat.as_object_mut()?.entry("chat_template_kwargs").or_insert_with(|| json!({}));
        arguments.as_object_mut()?.entry("enable_thinking").or_insert(false.into());
    }
    Some(chat)
}

/// A string, or the texts in a list of parts or strings.
fn of(content: &RawValue) -> Vec<String> {
    if let Ok(text) = serde_json::from_str::<String>(content.get()) {
        return vec![text];
    }
    if let Ok(texts) = serde_json::from_str::<Vec<String>>(content.get()) {
        return texts;
    }
    let parts: Vec<Part<'_>> = serde_json::from_str(content.get()).unwrap_or_default();
    parts.into_iter().filter_map(|part| part.text.map(Cow::into_owned)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_model_reads_is_found_and_media_are_not() {
        let chat = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Be \"brief\"."},
                {"role": "user", "content": [
                    {"type": "text", "text": "What\nis it?"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                ]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "a"}]},
            ],
            "tools": [{"type": "function"}],
        });
        assert_eq!(
            texts(chat.to_string().as_bytes()),
            ["Be \"brief\".", "What\nis it?", "[{\"id\":\"a\"}]", "[{\"type\":\"function\"}]"]
        );
        assert_eq!(texts(br#"{"prompt":"Once"}"#), ["Once"]);
        assert_eq!(texts(br#"{"prompt":["a","b"]}"#), ["a", "b"]);
        assert_eq!(texts(br#"{"input":["c","d"]}"#), ["c", "d"]);
        assert!(texts(br#"{"input":[1,2]}"#).is_empty());
        assert!(texts(b"{\"messages\":7}").is_empty() && texts(b"nonsense").is_empty());
    }

    #[test]
    fn a_chat_has_the_profiles_prompt_where_the_client_sends_none() {
        let sent = json!({"messages": [{"role": "user", "content": "x"}], "tools": [1], "tool_choice": "none",
            "reasoning_effort": "none"});
        let made = chat(sent.to_string().as_bytes(), Some("Be brief.")).unwrap();
        assert_eq!(made["messages"][0], json!({"role": "system", "content": "Be brief."}));
        assert_eq!(
            (&made["tools"], &made["chat_template_kwargs"]["enable_thinking"]),
            (&json!(null), &json!(false))
        );
        let own = json!({"messages": [{"role": "developer", "content": "x"}]});
        let made = chat(own.to_string().as_bytes(), Some("Be brief.")).unwrap();
        assert_eq!(made["messages"].as_array().unwrap().len(), 1);
        assert_eq!(chat(b"{\"prompt\":\"x\"}", None), None);
        assert_eq!(
            chat(b"{\"messages\":[],\"chat_template_kwargs\":7,\"reasoning_effort\":\"none\"}", None),
            None
        );
    }
}
