//! A chunk of a chat completion stream, read in place: values keep the bytes the model's server
//! wrote.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// One event's data.
#[derive(Debug, Deserialize)]
pub struct Chunk<'a> {
    #[serde(borrow)]
    pub id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub created: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// One choice of a chunk.
#[derive(Debug, Deserialize)]
pub struct Choice<'a> {
    #[serde(borrow)]
    pub index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub finish_reason: Option<Cow<'a, str>>,
}

/// What a chunk adds to the message.
#[derive(Debug, Default, Deserialize)]
pub struct Delta<'a> {
    #[serde(borrow)]
    pub role: Option<&'a RawValue>,
    #[serde(borrow)]
    pub content: Option<&'a RawValue>,
    /// Also spelled `reasoning`.
    #[serde(borrow, alias = "reasoning")]
    pub reasoning_content: Option<&'a RawValue>,
    #[serde(borrow)]
    pub tool_calls: Option<&'a RawValue>,
}

impl Delta<'_> {
    /// Whether it carries part of an answer, an empty string not being one.
    pub fn carries(&self) -> bool {
        self.content.is_some_and(|text| text.get() != "\"\"")
            || self.reasons()
            || self.tool_calls.is_some_and(|calls| calls.get() != "[]")
    }

    /// Whether it carries reasoning.
    pub fn reasons(&self) -> bool {
        self.reasoning_content.is_some_and(|text| text.get() != "\"\"")
    }
}
