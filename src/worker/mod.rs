//! The worker process: chat templates, tokenizers and JSON schemas are compiled and evaluated in a second process of
//! this program, never in the gateway itself. What it is asked about comes from strangers, so every question has a
//! bound in time (the gateway kills the worker), memory (the worker's allocator) and stack (a thread of fixed size).

mod blocked;
pub mod child;
mod client;
mod pool;
mod process;
pub mod protocol;
mod schema;

use std::time::Duration;

pub use client::Worker;
pub use process::Program;
pub use schema::{CompileError, JsonSchema, Verdict};

use protocol::Reply;

/// The argument by which the program starts as a worker.
pub const ARGUMENT: &str = "worker";

/// Workers at one time. The second one starts only while the first one is busy.
pub const WORKERS_MAX: usize = 2;
/// Time of one question; the worker is killed after it.
pub const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Time to read a model's tokenizer and template, which happens once in a while before a question about the model.
pub const LOAD_TIME: Duration = Duration::from_secs(5);
/// Bytes of memory that a worker's allocator has, with a unit that the allocator reads.
pub const MEMORY: &str = "768MiB";
/// Bytes of stack of the thread that answers.
pub const STACK: usize = 8 << 20;
/// Time that a question waits for its turn.
pub const QUEUE_TIME: Duration = Duration::from_secs(2);
/// Questions that wait for a worker.
pub const QUEUE_MAX: usize = 64;
/// Bytes of all questions that wait for a worker.
pub const QUEUE_BYTES_MAX: usize = 32 << 20;
/// A worker without questions ends after this time.
pub const IDLE_TIME: Duration = Duration::from_secs(5 * 60);
/// Time during which a model's folder is not read again after it cost a worker its life.
pub const BLOCK_TIME: Duration = Duration::from_secs(10 * 60);

/// Number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Tokens that were counted.
    pub tokens: u64,
    /// Whether all of the text was counted.
    pub whole: bool,
    /// Tokens of all of the text: counted, or else estimated from the part that was.
    pub estimate: u64,
}

/// Why token numbers cannot be turned into text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotText {
    #[error("the model has no tokenizer.json here that could read them")]
    NoTokenizer,
    #[error("they are not what this model's own tokenizer makes of any text, so another model's made them")]
    Foreign,
    #[error("one text has at most {0} of them, and all texts together have at most {1}")]
    TooMany(usize, usize),
    #[error("the model's tokenizer did not answer ({0})")]
    Unanswered(Unanswered),
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    #[error("it takes longer than {} s", ANSWER_TIME.as_secs())]
    Time,
    #[error("the worker process, which has {MEMORY} of memory and {} MiB of stack, died of it", STACK >> 20)]
    Crash,
    #[error("it has more than {0} bytes")]
    TooLarge(usize),
    #[error("too many other questions wait; try again in a few seconds")]
    Busy,
    #[error("the worker process cannot be used: {0}")]
    Unavailable(String),
}

/// What a question leads to.
type Answered = Result<Reply, Unanswered>;
