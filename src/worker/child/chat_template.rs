//! Renders a chat as the prompt of a model, by the chat template in its folder, as the model's engine does. A template
//! is a program from a stranger: it sees nothing but the chat, and runs in the worker process only.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Value as Jinja};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::models::template;
use crate::system::files;

/// Steps of one rendering, of which it has some hundred for each message; one is spent for 64 bytes of text too.
const STEPS_MAX: u64 = 2_000_000;
/// A template and the settings beside it are no larger.
const SETTINGS_MAX: u64 = 32 << 20;
/// Names under which templates ask for tokens.
const TOKENS: [&str; 4] = ["bos_token", "eos_token", "pad_token", "unk_token"];
const NAME: &str = "chat";

/// A template that could be read.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Texts of the tokens that templates name.
    tokens: Map<String, Value>,
}

impl ChatTemplate {
    /// Reads the template of a model's folder; none: it has none.
    pub fn read(folder: &Path) -> Result<Option<ChatTemplate>, String> {
        let settings = settings(folder);
        let source = template::in_folder(folder).or_else(|| template::in_settings(settings.as_ref()?));
        let Some(source) = source else { return Ok(None) };
        let made = ChatTemplate::new(source, settings.as_ref());
        made.map(Some).map_err(|error| format!("the chat template is not valid: {error}"))
    }

    fn new(source: String, settings: Option<&Value>) -> Result<ChatTemplate, Error> {
        let mut environment = Environment::new();
        environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
        environment.set_fuel(Some(STEPS_MAX));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |why: String| -> Result<Jinja, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, why))
        });
        environment.add_function("strftime_now", strftime_now);
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source)?;
        let text = |name: &str| match settings?.get(name)? {
            Value::String(text) => Some(text.clone()),
            token => token.get("content")?.as_str().map(str::to_owned),
        };
        let told = TOKENS.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?.into())));
        Ok(ChatTemplate { environment, tokens: told.collect() })
    }

    /// Renders the prompt of a chat: `messages`, `tools` and `chat_template_kwargs` of it, as a request has them.
    pub fn render(&self, chat: &Value) -> Result<String, String> {
        let mut context = self.tokens.clone();
        let tools = chat.get("tools").filter(|tools| tools.as_array().is_some_and(|all| !all.is_empty()));
        context.insert("tools".into(), tools.cloned().unwrap_or_default());
        if let Some(Value::Object(arguments)) = chat.get("chat_template_kwargs") {
            context.extend(arguments.clone());
        }
        let messages = chat.get("messages").and_then(Value::as_array).ok_or("there are no messages")?;
        context.insert("messages".into(), messages.iter().map(message).collect());
        context.insert("add_generation_prompt".into(), true.into());
        let template = self.environment.get_template(NAME).map_err(|error| error.to_string())?;
        template.render(Serde(context)).map_err(|error| format!("{error:#}"))
    }
}

/// A message as engines hand it to a template: arguments of calls as objects, and texts in one.
fn message(sent: &Value) -> Value {
    let mut message = sent.clone();
    if message["role"] == "developer" {
        message["role"] = "system".into();
    }
    for call in message.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(arguments) = call.pointer_mut("/function/arguments") else { continue };
        let read = arguments.as_str().and_then(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(read) = read.filter(Value::is_object) {
            *arguments = read;
        }
    }
    let text = message.get("content").and_then(Value::as_array).and_then(|parts| {
        let texts: Option<Vec<&str>> =
            parts.iter().map(|part| part.as_str().or_else(|| part.get("text")?.as_str())).collect();
        texts.map(|texts| texts.join("\n"))
    });
    if let Some(text) = text {
        message["content"] = text.into();
    }
    message
}

/// Some day for today: how long a prompt is does not depend on which.
fn strftime_now(format: &str) -> String {
    let today = jiff::civil::date(2026, 1, 28).at(12, 0, 0, 0);
    jiff::fmt::strtime::format(format, today).unwrap_or_else(|_| today.date().to_string())
}

/// As Python's `json.dumps` writes it, which models were trained on: blanks behind commas and colons, and no
/// character escaped for HTML.
fn to_json(value: &Jinja, options: Kwargs) -> Result<String, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::BadSerialization, error.to_string());
    let indent: Option<usize> = match options.get::<Option<Jinja>>("indent")? {
        Some(indent) if indent.kind() == ValueKind::Number => usize::try_from(indent).ok(),
        _ => None,
    };
    let mut out = Vec::new();
    let written = match indent {
        Some(width) => {
            let blanks = " ".repeat(width.min(16));
            let pretty = serde_json::ser::PrettyFormatter::with_indent(blanks.as_bytes());
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, pretty))
        }
        None => value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, AsPython)),
    };
    written.map_err(|error| failed(&error))?;
    String::from_utf8(out).map_err(|error| failed(&error))
}

struct AsPython;

impl serde_json::ser::Formatter for AsPython {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        if first { Ok(()) } else { out.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
    }
}

/// The tokenizer's settings; of those with many tokens in them the half is not needed, and they are read once.
fn settings(folder: &Path) -> Option<Value> {
    let path = folder.join("tokenizer_config.json");
    serde_json::from_slice(&files::read(&path, SETTINGS_MAX).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A template, and what Python's Jinja with Hugging Face's settings made of the chats in `chats.json`.
    fn golden(family: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/templates");
        let read = |path: &str| std::fs::read_to_string(folder.join(path)).unwrap();
        let chats: Map<String, Value> = serde_json::from_str(&read("chats.json")).unwrap();
        let settings: Value = serde_json::from_str(&read("tokens.json")).unwrap();
        let expected: Value = serde_json::from_str(&read(&format!("{family}.expected.json"))).unwrap();
        let template = ChatTemplate::new(read(&format!("{family}.jinja")), Some(&settings[family])).unwrap();
        for (name, chat) in &chats {
            let made = template.render(chat);
            match expected[name].as_str() {
                Some(expected) => assert_eq!(made.as_deref(), Ok(expected), "{family}: {name}"),
                None => assert!(made.is_err(), "{family}: {name}: {made:?}"),
            }
        }
    }

    #[test]
    fn chats_become_what_jinja_makes_of_them_for_the_demo_model() {
        golden("demo");
    }

    #[test]
    fn chats_become_what_jinja_makes_of_them_for_qwen3() {
        golden("qwen3");
    }

    #[test]
    fn chats_become_what_jinja_makes_of_them_for_llama3() {
        golden("llama3");
    }

    #[test]
    fn chats_become_what_jinja_makes_of_them_for_gemma() {
        golden("gemma");
    }

    #[test]
    fn parts_that_are_texts_alone_are_one_text_and_pictures_stay_parts() {
        let source = "{% for m in messages %}{% if m.content is string %}[{{ m.content }}]{% else %}{% for part in m.content %}<{{ part.type }}>{% endfor %}{% endif %}{% endfor %}{{ strftime_now('%d %b %Y') }}";
        let text = json!({"type": "text", "text": "a"});
        let picture = json!({"type": "image_url", "image_url": {"url": "data:,"}});
        let chat = json!({"messages": [
            {"role": "user", "content": [text, {"type": "text", "text": "b"}]}, {"role": "user", "content": [text, picture]},
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{\"x\":1}"}}]},
        ]});
        let made = ChatTemplate::new(source.to_owned(), None).unwrap().render(&chat).unwrap();
        assert_eq!(made, "[a\nb]<text><image_url>28 Jan 2026");
        assert_eq!(message(&chat["messages"][2])["tool_calls"][0]["function"]["arguments"], json!({"x": 1}));
    }

    #[test]
    fn a_template_that_cannot_be_run_says_why_and_one_without_end_is_ended() {
        let chat = json!({"messages": [{"role": "user", "content": "x"}]});
        let failing =
            |source: &str| ChatTemplate::new(source.to_owned(), None).unwrap().render(&chat).unwrap_err();
        assert!(failing("{{ raise_exception('roles must alternate') }}").contains("roles must alternate"));
        assert!(failing("{{ messages.nothing() }}").contains("method"));
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ b }}{% endfor %}{% endfor %}";
        assert!(failing(endless).contains("fuel"));
        assert!(ChatTemplate::new("{% if %}".to_owned(), None).is_err());
    }
}
