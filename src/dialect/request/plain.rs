//! Text completions, embeddings and images made fit for their engine: their fields, names and limits. What a
//! chat has beyond that (prompts, templates, tools) they have not.

use serde_json::Value;

use super::{BadRequest, Prepared, Scanned, Target, checks, drop_unknown, fill, name_model};
use crate::dialect::edit::Edits;
use crate::dialect::embeddings::Wish;
use crate::dialect::operation::Operation;
use crate::dialect::scan::Kind;

/// Fields of embeddings that the gateway itself sees to.
const OURS: [&str; 2] = ["encoding_format", "dimensions"];

pub fn prepare(request: &Scanned, target: Target<'_>, include_usage: bool) -> Result<Prepared, BadRequest> {
    let quirks = target.quirks;
    let (mut edits, mut warnings) = (Edits::default(), Vec::new());
    let fields = quirks.fields_of(target.operation);
    if let Some(fields) = fields {
        match target.operation {
            Operation::Completion => {
                prompt(request, &mut edits)?;
                unsupported(request)?;
                checks::unsupported(request, quirks)?;
            }
            Operation::Image => {
                image(request)?;
                checks::unsupported(request, quirks)?;
            }
            Operation::Chat | Operation::Embedding | Operation::ImageEdit | Operation::Transcription => {}
        }
        checks::kinds(&request.scan, fields)?;
        drop_unknown(&request.scan, fields, &mut edits, &mut warnings);
    }
    name_model(request, target, &mut edits)?;
    let mut prepared = Prepared {
        body: request.body.clone(),
        stream: false,
        include_usage,
        max_tokens: None,
        warnings,
        stops: Vec::new(),
        embeddings: None,
        transcript: None,
        rest: None,
    };
    if target.operation == Operation::Embedding {
        prepared.embeddings = fields.is_some().then(|| Wish::read(request, true)).transpose()?;
        prepared.warnings.retain(|warning| !OURS.iter().any(|ours| warning.contains(&format!("\"{ours}\""))));
    } else if target.operation == Operation::Completion {
        prepared.stream = request.wants_stream()?;
        prepared.stops = fill::stop(request, target, &mut edits)?;
        prepared.max_tokens = fill::max_tokens(request, target, &mut edits)?;
    }
    prepared.body = edits.apply(&request.body, &request.scan);
    Ok(prepared)
}

/// One text; a list of one is that text.
fn prompt(request: &Scanned, edits: &mut Edits) -> Result<(), BadRequest> {
    let wrong = |words: &str| Err(BadRequest::new("prompt", words));
    let Some(member) = request.scan.get("prompt") else {
        return wrong("send the text to go on with in \"prompt\"");
    };
    if member.kind == Kind::String {
        return Ok(());
    }
    match request.json("prompt")? {
        Some(Value::Array(list)) => match list.as_slice() {
            [text @ Value::String(_)] => {
                edits.replace(member.value.clone(), text.to_string());
                Ok(())
            }
            [Value::Number(_) | Value::Array(_), ..] => {
                wrong("this profile's engine takes no token numbers; send \"prompt\" as text")
            }
            _ => wrong("this profile's engine takes one prompt at a time; send \"prompt\" as a string"),
        },
        _ => wrong("\"prompt\" must be a string"),
    }
}

/// A prompt, and an answer that the engine can give: it has nowhere to keep pictures.
fn image(request: &Scanned) -> Result<(), BadRequest> {
    if request.text("prompt")?.is_none_or(|prompt| prompt.trim().is_empty()) {
        return Err(BadRequest::new("prompt", "describe the image in \"prompt\""));
    }
    match request.text("response_format")?.as_deref() {
        None | Some("b64_json") => Ok(()),
        Some(_) => {
            let words = "this profile's engine gives images as b64_json only; leave \"response_format\" out";
            Err(BadRequest::new("response_format", words))
        }
    }
}

/// What would change the answer's meaning, were it ignored.
fn unsupported(request: &Scanned) -> Result<(), BadRequest> {
    let refuse = |key: &str, what: &str| {
        Err(BadRequest::new(key, format!("this profile's engine {what}; leave \"{key}\" out")))
    };
    if request.json("echo")? == Some(Value::Bool(true)) {
        return refuse("echo", "does not repeat the prompt");
    }
    if request.json("suffix")?.is_some_and(|suffix| suffix != "") {
        return refuse("suffix", "does not fill in the middle");
    }
    if request.json("best_of")?.is_some_and(|best| best != 1) {
        return refuse("best_of", "gives one answer at a time");
    }
    if request.json("logprobs")?.is_some() {
        return refuse("logprobs", "gives no logprobs");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::dialect::quirks::{MLX_LM, MLX_OPENAI_SERVER, PASSTHROUGH, Quirks};
    use crate::dialect::request::scanned_for_tests as scanned;

    fn run(
        operation: Operation,
        quirks: &'static Quirks,
        body: &str,
    ) -> Result<(Value, Prepared), BadRequest> {
        let defaults = Map::new();
        let target = Target {
            operation,
            quirks,
            served_name: "served",
            system_prompt: Some("Be terse."),
            defaults: &defaults,
            context_length: Some(4096),
            answer_max: None,
        };
        let prepared = super::super::prepare(&scanned(body), target)?;
        Ok((serde_json::from_slice(&prepared.body.to_vec()).unwrap(), prepared))
    }

    #[test]
    fn a_completion_reaches_mlx_lm_as_one_prompt_with_a_limit() {
        let (body, prepared) = run(
            Operation::Completion,
            &MLX_LM,
            r#"{"model":"m","prompt":["Once upon"],"stop":"END","stream":true,"adapters":"/etc"}"#,
        )
        .unwrap();
        assert_eq!(body, json!({"prompt": "Once upon", "stop": ["END"], "stream": true, "max_tokens": 4096}));
        assert!(prepared.stream && prepared.warnings.len() == 1, "{:?}", prepared.warnings);
        for (wrong, words) in [
            (r#"{"model":"m"}"#, "send the text"),
            (r#"{"model":"m","prompt":["a","b"]}"#, "one prompt at a time"),
            (r#"{"model":"m","prompt":[1,2]}"#, "token numbers"),
            (r#"{"model":"m","prompt":"x","echo":true}"#, "echo"),
            (r#"{"model":"m","prompt":"x","suffix":"y"}"#, "middle"),
            (r#"{"model":"m","prompt":"x","n":2}"#, "\"n\""),
            (r#"{"model":"m","prompt":"x","logprobs":3}"#, "logprobs"),
        ] {
            let error = run(Operation::Completion, &MLX_LM, wrong).unwrap_err();
            assert!(error.message.contains(words), "{wrong}: {error}");
        }
    }

    #[test]
    fn embeddings_reach_the_engine_without_what_the_gateway_does_itself() {
        let wish = r#"{"model":"m","input":["a"],"encoding_format":"base64","dimensions":2,"x":1}"#;
        let (body, prepared) = run(Operation::Embedding, &MLX_OPENAI_SERVER, wish).unwrap();
        assert_eq!(body, json!({"model": "served", "input": ["a"]}));
        assert_eq!(prepared.warnings, ["the field \"x\" was left out"]);
        let wish = prepared.embeddings.unwrap();
        assert!(wish.base64 && wish.dimensions == Some(2));
    }

    #[test]
    fn an_image_is_asked_for_with_what_the_engine_knows() {
        let (body, _) = run(
            Operation::Image,
            &MLX_OPENAI_SERVER,
            r#"{"model":"m","prompt":"a heron","size":"512x512","n":1,"quality":"hd"}"#,
        )
        .unwrap();
        assert_eq!(body, json!({"model": "served", "prompt": "a heron", "size": "512x512", "n": 1}));
        for (wrong, words) in [
            (r#"{"model":"m"}"#, "describe the image"),
            (r#"{"model":"m","prompt":"x","response_format":"url"}"#, "b64_json only"),
            (r#"{"model":"m","prompt":"x","n":4}"#, "\"n\""),
        ] {
            let error = run(Operation::Image, &MLX_OPENAI_SERVER, wrong).unwrap_err();
            assert!(error.message.contains(words), "{wrong}: {error}");
        }
    }

    #[test]
    fn other_servers_get_what_was_sent_under_their_models_name() {
        for (operation, body) in [
            (Operation::Embedding, r#"{"model":"m","input":[[1,2]],"dimensions":3}"#),
            (Operation::Completion, r#"{"model":"m","prompt":[1,2],"suffix":"x"}"#),
        ] {
            let (sent, prepared) = run(operation, &PASSTHROUGH, body).unwrap();
            let mut expected: Value = serde_json::from_str(body).unwrap();
            expected["model"] = json!("served");
            assert_eq!(sent, expected);
            assert!(prepared.embeddings.is_none() && prepared.warnings.is_empty());
        }
    }
}
