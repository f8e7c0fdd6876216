//! The bytes both ends agree on: what the generator asks, what the mock upstream answers, and hence
//! what has to arrive. Pure. Knows nothing of sockets and of what stands between the two.

use serde::{Deserialize, Serialize};

/// Every content event has this size; with its chunk framing it is 256 bytes.
pub const EVENT_BYTES: usize = 250;
const SEQUENCE_DIGITS: usize = 8;
const PROMPT_TOKENS: usize = 12;
/// Above every count used here, so that `length` is never the right finish_reason.
const MAX_TOKENS: usize = 1_000_000;
/// The prompt starts with this; the mock looks for it.
const ORDER: &str = "bench:";
/// The mock looks for the order and `stream` this close to either end of a body.
const SCANNED_BYTES: usize = 4096;
const LARGE_BODY_BYTES: usize = 1024 * 1024;

/// What the mock is asked to stream.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StreamPlan {
    pub chunks: usize,
    /// 0: back to back.
    pub interval_us: u64,
    /// Events that share one write.
    pub batch: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum BodyKind {
    Small,
    /// 1 MB of image, `model` before it.
    LargeModelFirst,
    /// 1 MB of image, `model` after it.
    LargeModelLast,
}

/// How an upstream writes its events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Style {
    /// As OpenAI specifies, with a usage chunk of its own.
    OpenAi,
    /// As mlx-openai-server: `role` in every delta, usage on the last choice.
    Mlx,
}

/// The events of one stream.
pub struct Events {
    style: Style,
    model: String,
    /// A content event with eight zeros at `sequence_at`.
    template: Vec<u8>,
    sequence_at: usize,
}

impl Events {
    pub fn new(style: Style, model: &str) -> Events {
        let (before, after) = match style {
            Style::OpenAi => (
                format!(
                    r#"data: {{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1795301972,"model":"{model}","choices":[{{"index":0,"delta":{{"content":""#
                ),
                "\"},\"finish_reason\":null}]}\n\n".to_owned(),
            ),
            Style::Mlx => (
                r#"data: {"id": "chatcmpl_bench", "choices": [{"delta": {"content": ""#.to_owned(),
                format!(
                    "\", \"role\": \"assistant\"}}, \"index\": 0}}], \"created\": 1795301972, \
                     \"model\": \"{model}\", \"object\": \"chat.completion.chunk\"}}\n\n"
                ),
            ),
        };
        let mut template = before.into_bytes();
        let sequence_at = template.len();
        template.extend_from_slice(&[b'0'; SEQUENCE_DIGITS]);
        template.push(b' ');
        template.resize(EVENT_BYTES.saturating_sub(after.len()).max(template.len()), b'x');
        template.extend_from_slice(after.as_bytes());
        Events { style, model: model.to_owned(), template, sequence_at }
    }

    pub fn role(&self) -> Vec<u8> {
        let model = &self.model;
        match self.style {
            Style::OpenAi => format!(
                "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
                 \"created\":1795301972,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\
                 \"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"finish_reason\":null}}]}}\n\n"
            ),
            Style::Mlx => format!(
                "data: {{\"id\": \"chatcmpl_bench\", \"choices\": [{{\"delta\": \
                 {{\"role\": \"assistant\"}}, \"index\": 0}}], \"created\": 1795301972, \
                 \"model\": \"{model}\", \"object\": \"chat.completion.chunk\"}}\n\n"
            ),
        }
        .into_bytes()
    }

    /// A content event to be stamped with [`Events::stamp`].
    pub fn blank(&self) -> Vec<u8> {
        self.template.clone()
    }

    /// Writes the sequence number into an event that starts at the slice's start.
    pub fn stamp(&self, event: &mut [u8], sequence: usize) {
        let digits = &mut event[self.sequence_at..self.sequence_at + SEQUENCE_DIGITS];
        let mut rest = sequence;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
    }

    /// The text of one content event.
    pub fn content(&self, sequence: usize) -> String {
        let mut event = self.blank();
        self.stamp(&mut event, sequence);
        let text = &event[self.sequence_at..];
        let end = text.iter().position(|byte| *byte == b'"').unwrap_or(text.len());
        String::from_utf8_lossy(&text[..end]).into_owned()
    }

    /// What follows the content: the last choice, the usage and the end mark, one event each.
    pub fn ending(&self, chunks: usize) -> Vec<Vec<u8>> {
        let model = &self.model;
        let total = PROMPT_TOKENS + chunks;
        let mut events = match self.style {
            Style::OpenAi => vec![
                format!(
                    "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
                     \"created\":1795301972,\"model\":\"{model}\",\"choices\":[{{\"index\":0,\
                     \"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\n"
                ),
                format!(
                    "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\
                     \"created\":1795301972,\"model\":\"{model}\",\"choices\":[],\"usage\":\
                     {{\"prompt_tokens\":{PROMPT_TOKENS},\"completion_tokens\":{chunks},\
                     \"total_tokens\":{total}}}}}\n\n"
                ),
            ],
            Style::Mlx => vec![format!(
                "data: {{\"id\": \"chatcmpl_bench\", \"choices\": [{{\"delta\": {{}}, \
                 \"finish_reason\": \"stop\", \"index\": 0}}], \"created\": 1795301972, \
                 \"model\": \"{model}\", \"object\": \"chat.completion.chunk\", \"usage\": \
                 {{\"prompt_tokens\": {PROMPT_TOKENS}, \"total_tokens\": {total}, \
                 \"completion_tokens\": {chunks}, \"prompt_tokens_details\": \
                 {{\"cached_tokens\": 0}}}}}}\n\n"
            )],
        };
        events.push("data: [DONE]\n\n".to_owned());
        events.into_iter().map(String::into_bytes).collect()
    }
}

/// The answer to a request that asks for no stream.
pub fn completion(model: &str) -> String {
    format!(
        "{{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1795301972,\
         \"model\":\"{model}\",\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",\
         \"content\":\"Hello! This answer has always the same words, as many as a short chat \
         answer has, so that every byte of it can be checked.\",\"refusal\":null}},\
         \"logprobs\":null,\"finish_reason\":\"stop\"}}],\"usage\":{{\"prompt_tokens\":12,\
         \"completion_tokens\":29,\"total_tokens\":41}}}}"
    )
}

/// A request that needs no edit on its way to an OpenAI-compatible upstream.
pub fn request_body(kind: BodyKind, model: &str, plan: Option<StreamPlan>, ask_stream: bool) -> String {
    let StreamPlan { chunks, interval_us, batch } =
        plan.unwrap_or(StreamPlan { chunks: 0, interval_us: 0, batch: 1 });
    let order = format!("{ORDER}{chunks}:{interval_us}:{batch}: say hello");
    let stream = if ask_stream { r#""stream":true,"stream_options":{"include_usage":true},"# } else { "" };
    let head = format!(r#"{stream}"max_tokens":{MAX_TOKENS},"temperature":0.7"#);
    let image = || {
        let pixels = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ".repeat(LARGE_BODY_BYTES / 44);
        format!(
            r#"[{{"role":"user","content":[{{"type":"text","text":"{order}"}},{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{pixels}"}}}}]}}]"#
        )
    };
    match kind {
        BodyKind::Small => format!(
            r#"{{"model":"{model}",{head},"messages":[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{order}"}}]}}"#
        ),
        BodyKind::LargeModelFirst => {
            format!(r#"{{"model":"{model}",{head},"messages":{}}}"#, image())
        }
        BodyKind::LargeModelLast => {
            format!(r#"{{{head},"messages":{},"model":"{model}"}}"#, image())
        }
    }
}

/// What a request asks the mock for: a stream, or `None` for a whole answer.
pub fn order_of(body: &[u8]) -> Option<StreamPlan> {
    let head = &body[..body.len().min(SCANNED_BYTES)];
    let tail = &body[body.len().saturating_sub(SCANNED_BYTES)..];
    let has = |needle: &str| {
        [head, tail].iter().any(|part| memchr::memmem::find(part, needle.as_bytes()).is_some())
    };
    if !has(r#""stream":true"#) && !has(r#""stream": true"#) {
        return None;
    }
    let at = memchr::memmem::find(head, ORDER.as_bytes())? + ORDER.len();
    let mut numbers = head[at..].split(|byte| *byte == b':');
    let mut number = || std::str::from_utf8(numbers.next()?).ok()?.parse::<u64>().ok();
    let (chunks, interval_us, batch) = (number()?, number()?, number()?);
    Some(StreamPlan { chunks: chunks as usize, interval_us, batch: batch.max(1) as usize })
}
