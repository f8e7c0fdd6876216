//! Embeddings as OpenAI gives them: fewer dimensions, base64, and usage, where the engine knows of none.
//! Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::edit::Edits;
use super::facts::{Facts, Usage};
use super::request::{BadRequest, Scanned};
use super::rope::Rope;
use super::scan::Kind;

/// Bytes of text that make a token, about.
const BYTES_PER_TOKEN: usize = 4;
/// Bytes of an input that tell what it is.
const LOOK: usize = 256;
/// Texts of one request.
const INPUTS_MAX: usize = 2_048;

/// How a client wants its embeddings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    pub base64: bool,
    pub dimensions: Option<usize>,
    /// Tokens of the input, about, for an engine that does not count.
    pub prompt_tokens: u64,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmbeddingError {
    #[error("the backend's answer holds no embeddings: {0}")]
    Unreadable(String),
    #[error("the model gives {found} dimensions, which is less than the {asked} asked for")]
    TooFew { asked: usize, found: usize },
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<Item>,
    usage: Option<Value>,
}

#[derive(Deserialize)]
struct Item {
    embedding: Vec<f64>,
}

impl Wish {
    /// Reads what the request asks for. Where engines of ours are asked (`managed`), what they cannot take is
    /// refused here.
    pub fn read(request: &Scanned, managed: bool) -> Result<Wish, BadRequest> {
        let base64 = match request.text("encoding_format")?.as_deref() {
            None | Some("float") => false,
            Some("base64") => true,
            Some(other) => {
                let words = format!("\"encoding_format\" is float or base64, not \"{other}\"");
                return Err(BadRequest::new("encoding_format", words));
            }
        };
        let dimensions = match request.json("dimensions")? {
            None => None,
            Some(wanted) => match wanted.as_u64().filter(|wanted| *wanted > 0) {
                Some(wanted) => Some(usize::try_from(wanted).unwrap_or(usize::MAX)),
                None => {
                    return Err(BadRequest::new(
                        "dimensions",
                        "\"dimensions\" must be a whole number above 0",
                    ));
                }
            },
        };
        let bytes = if managed { input(request)? } else { 0 };
        Ok(Wish { base64, dimensions, prompt_tokens: bytes.div_ceil(BYTES_PER_TOKEN) as u64 })
    }

    /// The engine's answer as the client asked for it.
    pub fn fulfil(&self, model: &str, answer: &[u8], facts: &mut Facts) -> Result<Vec<u8>, EmbeddingError> {
        let answer: Answer =
            serde_json::from_slice(answer).map_err(|error| EmbeddingError::Unreadable(error.to_string()))?;
        let told = answer.usage.as_ref().and_then(|usage| Usage::read(usage.to_string().as_bytes()));
        facts.usage = told.filter(|usage| usage.prompt.is_some());
        let counted = facts.usage.and_then(|usage| usage.prompt);
        facts.estimated_prompt = counted.is_none().then_some(self.prompt_tokens);
        let tokens = counted.unwrap_or(self.prompt_tokens);
        let data: Vec<Value> =
            (0..).zip(answer.data).map(|(index, item)| self.item(index, item)).collect::<Result<_, _>>()?;
        let answer = json!({
            "object": "list",
            "data": data,
            "model": model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        });
        Ok(answer.to_string().into_bytes())
    }

    fn item(&self, index: usize, item: Item) -> Result<Value, EmbeddingError> {
        let mut numbers = item.embedding;
        if let Some(asked) = self.dimensions {
            if numbers.len() < asked {
                return Err(EmbeddingError::TooFew { asked, found: numbers.len() });
            }
            shorten(&mut numbers, asked);
        }
        let embedding = if self.base64 {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
            Value::from(STANDARD.encode(bytes))
        } else {
            json!(numbers)
        };
        Ok(json!({"object": "embedding", "index": index, "embedding": embedding}))
    }
}

/// The first dimensions, of length 1 again.
fn shorten(numbers: &mut Vec<f64>, to: usize) {
    if numbers.len() == to {
        return;
    }
    numbers.truncate(to);
    let length = numbers.iter().map(|number| number * number).sum::<f64>().sqrt();
    if length > 0.0 {
        numbers.iter_mut().for_each(|number| *number /= length);
    }
}

/// Whether the input is token numbers, one list or several; only its beginning is looked at.
pub fn holds_tokens(request: &Scanned) -> bool {
    let input = request.scan.get("input").filter(|input| input.kind == Kind::Array);
    let begins = input
        .map(|input| request.body.read(input.value.start + 1..input.value.end.min(input.value.start + LOOK)));
    let first = begins.and_then(|begins| begins.into_iter().find(|byte| !byte.is_ascii_whitespace()));
    first.is_some_and(|first| first == b'[' || first == b'-' || first.is_ascii_digit())
}

/// The token numbers to embed, a list for each text.
pub fn tokens(request: &Scanned) -> Result<Vec<Vec<u32>>, BadRequest> {
    let wrong = |words: String| BadRequest::new("input", words);
    let input = request.json("input")?.unwrap_or_default();
    let lists = match input.as_array().map(Vec::as_slice) {
        Some([Value::Array(_), ..]) => serde_json::from_value(input),
        _ => serde_json::from_value(input).map(|one| vec![one]),
    };
    let lists: Vec<Vec<u32>> = lists.map_err(|_not_so| {
        wrong(
            "\"input\" must be texts, or token numbers: whole numbers from 0, in one list or a list of lists"
                .into(),
        )
    })?;
    match lists.len() {
        1..=INPUTS_MAX => Ok(lists),
        _ => Err(wrong(format!("\"input\" holds 1 to {INPUTS_MAX} texts"))),
    }
}

/// The request with texts for its token numbers.
pub fn with_texts(request: &Scanned, texts: &[String]) -> Rope {
    let mut edits = Edits::default();
    if let Some(input) = request.scan.get("input") {
        edits.replace(input.value.clone(), json!(texts).to_string());
    }
    edits.apply(&request.body, &request.scan)
}

/// Bytes of the texts to embed: one, or a list of them.
fn input(request: &Scanned) -> Result<usize, BadRequest> {
    let wrong = |words: &str| BadRequest::new("input", words);
    let Some(member) = request.scan.get("input") else {
        return Err(wrong("send the text to embed in \"input\": a string, or a list of strings"));
    };
    let input = request.json("input")?.unwrap_or_default();
    let texts: Vec<&Value> = match (&input, member.kind) {
        (Value::Array(list), _) => list.iter().collect(),
        (text, Kind::String) => vec![text],
        _ => return Err(wrong("\"input\" must be a string or a list of strings")),
    };
    if texts.is_empty() || texts.len() > INPUTS_MAX {
        return Err(wrong(&format!("\"input\" holds 1 to {INPUTS_MAX} texts")));
    }
    let mut bytes = 0;
    for text in texts {
        match text {
            Value::String(text) if !text.is_empty() => bytes += text.len(),
            Value::String(_) => return Err(wrong("a text in \"input\" is empty; leave it out")),
            _ => return Err(wrong("\"input\" must be a string or a list of strings")),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::request::scanned_for_tests as scanned;

    const ANSWER: &str = r#"{"object":"list","data":[{"object":"embedding","embedding":[0.6,0.8,0.0,0.0],"index":0},
        {"object":"embedding","embedding":[0.0,0.6,0.0,0.8],"index":1}],"model":"served","usage":null}"#;

    fn read(body: &str) -> Result<Wish, BadRequest> {
        Wish::read(&scanned(body), true)
    }

    fn fulfil(wish: &Wish) -> Value {
        serde_json::from_slice(&wish.fulfil("qwen", ANSWER.as_bytes(), &mut Facts::default()).unwrap())
            .unwrap()
    }

    #[test]
    fn numbers_pass_and_usage_is_filled_in() {
        let wish = read(r#"{"input":["hi there","you"]}"#).unwrap();
        let answer = fulfil(&wish);
        assert_eq!((&answer["model"], &answer["data"][1]["index"]), (&json!("qwen"), &json!(1)));
        assert_eq!(answer["usage"], json!({"prompt_tokens": 3, "total_tokens": 3}));
        assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 4);
        let told = ANSWER.replace("null", r#"{"prompt_tokens":7,"total_tokens":7}"#);
        let mut facts = Facts::default();
        let answer = wish.fulfil("qwen", told.as_bytes(), &mut facts).unwrap();
        assert!(String::from_utf8(answer).unwrap().contains("\"prompt_tokens\":7"));
        assert_eq!((facts.usage.unwrap().prompt, facts.estimated_prompt), (Some(7), None));
        wish.fulfil("qwen", ANSWER.as_bytes(), &mut facts).unwrap();
        assert_eq!((facts.usage, facts.estimated_prompt), (None, Some(3)));
    }

    #[test]
    fn fewer_dimensions_have_the_length_of_one_again() {
        let answer = fulfil(&read(r#"{"input":"x","dimensions":2}"#).unwrap());
        let second: Vec<f64> = serde_json::from_value(answer["data"][1]["embedding"].clone()).unwrap();
        assert_eq!(second, [0.0, 1.0]);
        let more = read(r#"{"input":"x","dimensions":9}"#).unwrap();
        let error = more.fulfil("qwen", ANSWER.as_bytes(), &mut Facts::default()).unwrap_err();
        assert_eq!(error, EmbeddingError::TooFew { asked: 9, found: 4 });
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        let answer = fulfil(&read(r#"{"input":"x","encoding_format":"base64"}"#).unwrap());
        let bytes = STANDARD.decode(answer["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let numbers: Vec<f32> =
            bytes.chunks(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
        assert_eq!(numbers, [0.6, 0.8, 0.0, 0.0]);
    }

    #[test]
    fn token_numbers_are_found_and_texts_take_their_place() {
        for (body, lists) in [
            (r#"{"input":[1, 2],"model":"m"}"#, vec![vec![1, 2]]),
            (r#"{"model":"m","input": [ [1],[2,3] ]}"#, vec![vec![1], vec![2, 3]]),
        ] {
            let request = scanned(body);
            assert!(holds_tokens(&request), "{body}");
            assert_eq!(tokens(&request).unwrap(), lists);
            let changed: Value =
                serde_json::from_slice(&with_texts(&request, &["a\"b".to_owned()]).to_vec()).unwrap();
            assert_eq!(changed, json!({"model": "m", "input": ["a\"b"]}));
        }
        for texts in [r#"{"input":"1"}"#, r#"{"input":["1"]}"#, r#"{"input":[]}"#, r#"{"input":1}"#, "{}"] {
            assert!(!holds_tokens(&scanned(texts)), "{texts}");
        }
        for wrong in
            [r#"{"input":[1,"x"]}"#, r#"{"input":[-1]}"#, r#"{"input":[[1],2]}"#, r#"{"input":[1.5]}"#]
        {
            assert!(tokens(&scanned(wrong)).unwrap_err().message.contains("token numbers"), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_embedded_is_named() {
        for (body, words) in [
            (r#"{}"#, "send the text"),
            (r#"{"input":[]}"#, "1 to 2048"),
            (r#"{"input":""}"#, "is empty"),
            (r#"{"input":["x",1]}"#, "must be a string"),
            (r#"{"input":{"a":1}}"#, "must be a string"),
            (r#"{"input":"x","dimensions":0}"#, "above 0"),
            (r#"{"input":"x","encoding_format":"hex"}"#, "float or base64"),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.message.contains(words), "{body}: {error}");
        }
    }
}
