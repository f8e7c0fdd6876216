//! `run`: one question to a profile, or a conversation with it. Owns where the question comes from
//! and what a conversation remembers; how an answer is read is `answer`'s.

mod answer;
mod comments;

pub use comments::Comments;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use super::Context;
use super::args::RunArgs;
use super::exit::CliError;

const PROMPT: &str = ">>> ";
const HELP: &str = "/clear forgets what was said, /bye or Ctrl-D ends, Ctrl-C ends an answer.";

/// What is said between one profile and somebody.
struct Talk {
    profile: String,
    max_tokens: Option<u32>,
    messages: Vec<Value>,
    /// How many messages stand before the first question.
    preamble: usize,
}

pub async fn run(args: RunArgs, context: &mut Context) -> Result<(), CliError> {
    let mut talk = Talk::new(&args);
    let question = match args.prompt.join(" ") {
        prompt if !matches!(prompt.as_str(), "" | "-") => prompt,
        _ if args.prompt.is_empty() && context.input.terminal => {
            return converse(&mut talk, context).await;
        }
        _ if args.prompt == [""] => String::new(),
        _ => {
            let input = context.input.take();
            context.interrupt.or(input.read_all()).await?
        }
    };
    if question.trim().is_empty() {
        return Err(CliError::Usage(format!(
            "there is nothing to ask; write mlx-gateway run {} \"…\"",
            talk.profile
        )));
    }
    talk.ask(question, context).await
}

async fn converse(talk: &mut Talk, context: &mut Context) -> Result<(), CliError> {
    let mut lines = context.input.take().lines()?;
    context.out.note(&format!("{} listens. {HELP}", talk.profile))?;
    while let Some(line) = next_line(&mut lines, context).await? {
        match line.trim() {
            "" => {}
            "/bye" | "/exit" | "/quit" => return Ok(()),
            "/clear" => talk.forget(),
            "/help" | "/?" => context.out.note(HELP)?,
            question => match talk.ask(question.to_owned(), context).await {
                Ok(()) => {}
                Err(error) if talk.goes_on_after(&error) => {
                    if error.worth_telling() {
                        context.out.error(&error)?;
                    }
                }
                Err(error) => return Err(error),
            },
        }
    }
    context.out.note("")
}

async fn next_line(lines: &mut Receiver<String>, context: &mut Context) -> Result<Option<String>, CliError> {
    context.out.aside(PROMPT)?;
    context.interrupt.or(async { Ok(lines.recv().await) }).await
}

impl Talk {
    fn new(args: &RunArgs) -> Talk {
        let messages: Vec<Value> =
            args.system.iter().map(|text| json!({"role": "system", "content": text})).collect();
        let preamble = messages.len();
        Talk { profile: args.profile.clone(), max_tokens: args.max_tokens, messages, preamble }
    }

    /// Asks, shows the answer, and remembers both once the answer is there.
    async fn ask(&mut self, question: String, context: &mut Context) -> Result<(), CliError> {
        self.messages.push(json!({"role": "user", "content": question}));
        let interrupt = context.interrupt.clone();
        match interrupt.or(self.answer(context)).await {
            Ok(text) => {
                self.messages.push(json!({"role": "assistant", "content": text}));
                Ok(())
            }
            Err(error) => {
                self.messages.pop();
                context.out.end_line()?;
                Err(error)
            }
        }
    }

    async fn answer(&self, context: &mut Context) -> Result<String, CliError> {
        let Context { client, out, clock, .. } = context;
        out.progress(&format!("asking {} …", self.profile))?;
        let asked = clock.now();
        let body = client.open(Method::POST, "/v1/chat/completions", Some(&self.body())).await?;
        answer::show(body, asked, clock.as_ref(), out).await
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "model": self.profile,
            "messages": self.messages,
            "stream": true,
            "stream_options": {"include_usage": true},
        });
        if let Some(tokens) = self.max_tokens {
            body["max_tokens"] = tokens.into();
        }
        body
    }

    fn forget(&mut self) {
        self.messages.truncate(self.preamble);
    }

    /// A conversation outlives an answer that failed or was ended, but not a wrong profile, a lost
    /// gateway or a closed output.
    fn goes_on_after(&self, error: &CliError) -> bool {
        let begun = self.messages.len() > self.preamble;
        match error {
            CliError::Interrupted => true,
            CliError::Refused { .. } | CliError::Failed(_) => begun,
            _ => false,
        }
    }
}
