//! The worker's own side: reads questions, answers them on a thread of fixed stack, and ends with its input. The only
//! place that names jsonschema, minijinja and tokenizers.

mod chat_template;
mod memory;
mod patterns;
mod schema;
mod tokens;

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, sync_channel};

pub use chat_template::ChatTemplate;
pub use schema::Schemas;
pub use tokens::Tokenizers;

use super::STACK;
use super::protocol::{Question, Reply, VERSION, read_frame};

/// Answers the questions on standard input, which is a socket, until it ends.
pub fn run() -> io::Result<()> {
    if !memory::is_bounded() {
        return Err(io::Error::other("a worker is started by a gateway, which bounds its memory"));
    }
    let input = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    serve(input, output)
}

/// Answers the questions of `input` until it ends, also while one of them is still being answered: the process is to
/// end then.
pub fn serve(mut input: impl Read, mut output: impl Write + Send + 'static) -> io::Result<()> {
    output.write_all(&Reply::Hello { version: VERSION }.to_frame())?;
    let (questions, inbox) = sync_channel(1);
    let thread = std::thread::Builder::new().name("answers".to_owned()).stack_size(STACK);
    thread.spawn(move || answer_all(&inbox, &mut output))?;
    while let Some(message) = read_frame(&mut input)? {
        if questions.send(message).is_err() {
            return Err(io::Error::other("the thread that answers has ended"));
        }
    }
    Ok(())
}

fn answer_all(inbox: &Receiver<Vec<u8>>, output: &mut impl Write) {
    let mut answers = Answers::default();
    while let Ok(message) = inbox.recv() {
        let Ok(question) = Question::decode(&message) else { return };
        drop(message);
        let mut said = Ok(());
        let mut say = |reply: &Reply| said = output.write_all(&reply.to_frame());
        let reply = std::panic::catch_unwind(AssertUnwindSafe(|| answers.answer(question, &mut say)));
        let written = said.and_then(|()| output.write_all(&reply.unwrap_or(Reply::Panicked).to_frame()));
        // The gateway has gone.
        if written.is_err() {
            return;
        }
    }
}

/// Everything that is kept from one question to the next.
#[derive(Default)]
pub struct Answers {
    tokenizers: Tokenizers,
    schemas: Schemas,
}

impl Answers {
    /// Answers one question. `say` sends [`Reply::Loading`] and [`Reply::Loaded`] before that.
    pub fn answer(&mut self, question: Question, say: &mut dyn FnMut(&Reply)) -> Reply {
        match question {
            Question::CountTexts { folder, texts, limit } => {
                self.tokenizers.of(&folder, say, |model| model.count(&texts, limit))
            }
            Question::CountChat { folder, chat, limit } => {
                self.tokenizers.of(&folder, say, |model| model.count_chat(&chat, limit))
            }
            Question::Decode { folder, lists } => {
                self.tokenizers.of(&folder, say, |model| model.decode(&lists))
            }
            Question::Compile { digest, schema } => match self.schemas.compile(digest, &schema) {
                Ok(compiled) => Reply::Compiled { unchecked: compiled.unchecked.clone() },
                Err(problem) => Reply::Refused { problem },
            },
            Question::Check { digest, schema, value, faults } => {
                self.schemas.check(digest, &schema, &value, faults)
            }
        }
    }
}
