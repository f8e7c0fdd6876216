//! Questions to the worker and its replies, as bytes. Pure. Both sides read what the other one sends as untrusted: a
//! worker may be confused by what it evaluates.
//!
//! A frame is a length (u32, little-endian) and a message of at most [`FRAME_MAX`] bytes. A message is a tag and its
//! fields; texts and lists are preceded by their length.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::Count;

/// Bytes of one message, in either direction.
pub const FRAME_MAX: usize = 8 << 20;
/// Number of this protocol; another program at the worker's path may speak another one.
pub const VERSION: u64 = 1;
const PREFIX: usize = 4;

/// A model's folder, and a number that changes with its tokenizer or template.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Folder {
    pub path: PathBuf,
    pub version: u64,
}

/// What the worker is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Tokens of texts, counted until there are more than `limit`.
    CountTexts { folder: Folder, texts: Vec<String>, limit: u64 },
    /// Tokens of a chat (a request's JSON) as the model's template writes it.
    CountChat { folder: Folder, chat: String, limit: u64 },
    /// The texts of token numbers.
    Decode { folder: Folder, lists: Vec<Vec<u32>> },
    /// Whether a JSON schema can be used.
    Compile { digest: [u8; 32], schema: String },
    /// Whether a JSON text fits a schema; at most `faults` are reported.
    Check { digest: [u8; 32], schema: String, value: String, faults: u64 },
}

/// What the worker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// First message of a worker.
    Hello {
        version: u64,
    },
    /// The worker begins to read a model's files; the reply to the question follows.
    Loading,
    /// It has read them.
    Loaded,
    Count(Count),
    Texts(Vec<String>),
    /// There is no tokenizer or template; or one that cannot be used, and why.
    Nothing {
        problem: Option<String>,
    },
    /// The token numbers are another model's.
    Foreign,
    /// The reply would have more than [`FRAME_MAX`] bytes.
    TooLarge,
    /// The schema can be used, but for these patterns.
    Compiled {
        unchecked: Vec<String>,
    },
    /// The schema cannot be used.
    Refused {
        problem: String,
    },
    Fits,
    /// The value does not fit.
    Faults(Vec<String>),
    /// The value is not JSON.
    NotJson(String),
    /// The code that answers panicked.
    Panicked,
}

/// Why bytes are not a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("the message ends early")]
    Short,
    #[error("the message has bytes behind its end")]
    Long,
    #[error("the message has an unknown tag")]
    Tag,
    #[error("a text is not UTF-8")]
    Text,
}

/// Reads one frame's message; none: the other side has closed.
pub fn read_frame(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut prefix = [0; PREFIX];
    match from.read_exact(&mut prefix) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let mut message = vec![0; frame_length(prefix)?];
    from.read_exact(&mut message)?;
    Ok(Some(message))
}

/// Length of the message behind a prefix.
pub fn frame_length(prefix: [u8; PREFIX]) -> io::Result<usize> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > FRAME_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too large"));
    }
    Ok(length)
}

impl Question {
    /// The frame of this question; none: it has more than [`FRAME_MAX`] bytes.
    pub fn to_frame(&self) -> Option<Vec<u8>> {
        let mut out = Writer::new();
        match self {
            Question::CountTexts { folder, texts, limit } => {
                out.tag(0).folder(folder).texts(texts).number(*limit);
            }
            Question::CountChat { folder, chat, limit } => {
                out.tag(1).folder(folder).text(chat).number(*limit);
            }
            Question::Decode { folder, lists } => {
                out.tag(2).folder(folder).length(lists.len());
                for list in lists {
                    out.length(list.len());
                    list.iter().for_each(|number| out.0.extend_from_slice(&number.to_le_bytes()));
                }
            }
            Question::Compile { digest, schema } => {
                out.tag(3).0.extend_from_slice(digest);
                out.text(schema);
            }
            Question::Check { digest, schema, value, faults } => {
                out.tag(4).0.extend_from_slice(digest);
                out.text(schema).text(value).number(*faults);
            }
        }
        out.finish()
    }

    /// Reads a frame's message.
    pub fn decode(message: &[u8]) -> Result<Question, ProtocolError> {
        let mut from = Reader(message);
        let question = match from.tag()? {
            0 => Question::CountTexts { folder: from.folder()?, texts: from.texts()?, limit: from.number()? },
            1 => Question::CountChat { folder: from.folder()?, chat: from.text()?, limit: from.number()? },
            2 => Question::Decode { folder: from.folder()?, lists: from.lists()? },
            3 => Question::Compile { digest: from.digest()?, schema: from.text()? },
            4 => Question::Check {
                digest: from.digest()?,
                schema: from.text()?,
                value: from.text()?,
                faults: from.number()?,
            },
            _ => return Err(ProtocolError::Tag),
        };
        from.finish().map(|()| question)
    }
}

impl Reply {
    /// The frame of this reply; [`Reply::TooLarge`] in place of one that has more than [`FRAME_MAX`] bytes.
    pub fn to_frame(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Reply::Hello { version } => drop(out.tag(0).number(*version)),
            Reply::Loading => drop(out.tag(1)),
            Reply::Loaded => drop(out.tag(2)),
            Reply::Count(Count { tokens, whole, estimate }) => {
                out.tag(3).number(*tokens).tag(u8::from(*whole)).number(*estimate);
            }
            Reply::Texts(texts) => drop(out.tag(4).texts(texts)),
            Reply::Nothing { problem } => drop(out.tag(5).texts(problem.as_slice())),
            Reply::Foreign => drop(out.tag(6)),
            Reply::TooLarge => drop(out.tag(7)),
            Reply::Compiled { unchecked } => drop(out.tag(8).texts(unchecked)),
            Reply::Refused { problem } => drop(out.tag(9).text(problem)),
            Reply::Fits => drop(out.tag(10)),
            Reply::Faults(faults) => drop(out.tag(11).texts(faults)),
            Reply::NotJson(problem) => drop(out.tag(12).text(problem)),
            Reply::Panicked => drop(out.tag(13)),
        }
        // A frame of one tag always fits.
        out.finish().unwrap_or_else(|| Reply::TooLarge.to_frame())
    }

    /// Reads a frame's message.
    pub fn decode(message: &[u8]) -> Result<Reply, ProtocolError> {
        let mut from = Reader(message);
        let reply = match from.tag()? {
            0 => Reply::Hello { version: from.number()? },
            1 => Reply::Loading,
            2 => Reply::Loaded,
            3 => Reply::Count(Count {
                tokens: from.number()?,
                whole: from.tag()? != 0,
                estimate: from.number()?,
            }),
            4 => Reply::Texts(from.texts()?),
            5 => Reply::Nothing { problem: from.texts()?.pop() },
            6 => Reply::Foreign,
            7 => Reply::TooLarge,
            8 => Reply::Compiled { unchecked: from.texts()? },
            9 => Reply::Refused { problem: from.text()? },
            10 => Reply::Fits,
            11 => Reply::Faults(from.texts()?),
            12 => Reply::NotJson(from.text()?),
            13 => Reply::Panicked,
            _ => return Err(ProtocolError::Tag),
        };
        from.finish().map(|()| reply)
    }
}

/// Puts a message together, behind room for its length.
struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Writer {
        Writer(vec![0; PREFIX])
    }

    fn tag(&mut self, tag: u8) -> &mut Writer {
        self.0.push(tag);
        self
    }

    fn number(&mut self, number: u64) -> &mut Writer {
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    /// What is too long for a length is too long for a frame.
    fn length(&mut self, length: usize) -> &mut Writer {
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        self
    }

    fn text(&mut self, text: &str) -> &mut Writer {
        self.length(text.len()).0.extend_from_slice(text.as_bytes());
        self
    }

    fn texts(&mut self, texts: &[String]) -> &mut Writer {
        self.length(texts.len());
        texts.iter().fold(self, |out, text| out.text(text))
    }

    fn folder(&mut self, folder: &Folder) -> &mut Writer {
        let path = folder.path.as_os_str().as_encoded_bytes();
        self.length(path.len()).0.extend_from_slice(path);
        self.number(folder.version)
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        let length =
            u32::try_from(self.0.len() - PREFIX).ok().filter(|length| *length as usize <= FRAME_MAX)?;
        self.0.get_mut(..PREFIX)?.copy_from_slice(&length.to_le_bytes());
        Some(self.0)
    }
}

/// Takes a message apart. Nothing is reserved for a length before its bytes are there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], ProtocolError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(ProtocolError::Short)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtocolError> {
        self.bytes(N)?.try_into().map_err(|_| ProtocolError::Short)
    }

    fn tag(&mut self) -> Result<u8, ProtocolError> {
        self.array::<1>().map(|[tag]| tag)
    }

    fn number(&mut self) -> Result<u64, ProtocolError> {
        self.array().map(u64::from_le_bytes)
    }

    fn length(&mut self) -> Result<usize, ProtocolError> {
        self.array().map(|length| u32::from_le_bytes(length) as usize)
    }

    fn digest(&mut self) -> Result<[u8; 32], ProtocolError> {
        self.array()
    }

    fn text(&mut self) -> Result<String, ProtocolError> {
        let length = self.length()?;
        let bytes = self.bytes(length)?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ProtocolError::Text)
    }

    fn texts(&mut self) -> Result<Vec<String>, ProtocolError> {
        (0..self.length()?).map(|_| self.text()).collect()
    }

    fn folder(&mut self) -> Result<Folder, ProtocolError> {
        use std::os::unix::ffi::OsStrExt;
        let length = self.length()?;
        let path = Path::new(std::ffi::OsStr::from_bytes(self.bytes(length)?)).to_owned();
        Ok(Folder { path, version: self.number()? })
    }

    fn lists(&mut self) -> Result<Vec<Vec<u32>>, ProtocolError> {
        let list = |from: &mut Self| {
            let length = from.length()?;
            let bytes = from.bytes(length.checked_mul(4).ok_or(ProtocolError::Short)?)?;
            let number = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).unwrap_or_default();
            Ok(bytes.chunks_exact(4).map(number).collect())
        };
        (0..self.length()?).map(|_| list(self)).collect()
    }

    fn finish(self) -> Result<(), ProtocolError> {
        if self.0.is_empty() { Ok(()) } else { Err(ProtocolError::Long) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> Folder {
        Folder { path: "/models/é".into(), version: 7 }
    }

    #[test]
    fn questions_survive_the_way_to_the_worker() {
        let digest = [9; 32];
        for question in [
            Question::CountTexts {
                folder: folder(),
                texts: vec![String::new(), "é".into()],
                limit: u64::MAX,
            },
            Question::CountChat { folder: folder(), chat: "{}".into(), limit: 0 },
            Question::Decode { folder: folder(), lists: vec![vec![], vec![1, u32::MAX]] },
            Question::Compile { digest, schema: "true".into() },
            Question::Check { digest, schema: "{}".into(), value: "[1]".into(), faults: 5 },
        ] {
            let frame = question.to_frame().unwrap();
            let message = read_frame(&mut frame.as_slice()).unwrap().unwrap();
            assert_eq!(Question::decode(&message), Ok(question));
            assert_eq!(Question::decode(&message[..message.len() - 1]), Err(ProtocolError::Short));
            assert_eq!(Question::decode(&[message.as_slice(), b"x"].concat()), Err(ProtocolError::Long));
        }
    }

    #[test]
    fn replies_survive_the_way_back() {
        for reply in [
            Reply::Hello { version: VERSION },
            Reply::Loading,
            Reply::Loaded,
            Reply::Count(Count { tokens: 1, whole: false, estimate: 2 }),
            Reply::Texts(vec!["a".into()]),
            Reply::Nothing { problem: Some("p".into()) },
            Reply::Nothing { problem: None },
            Reply::Foreign,
            Reply::TooLarge,
            Reply::Compiled { unchecked: vec!["(?=x)".into()] },
            Reply::Refused { problem: "p".into() },
            Reply::Fits,
            Reply::Faults(vec!["f".into()]),
            Reply::NotJson("n".into()),
            Reply::Panicked,
        ] {
            let frame = reply.to_frame();
            let message = read_frame(&mut frame.as_slice()).unwrap().unwrap();
            assert_eq!(Reply::decode(&message), Ok(reply));
        }
        assert_eq!(Reply::decode(&[99]), Err(ProtocolError::Tag));
    }

    #[test]
    fn frames_are_bounded_in_both_directions() {
        let chat = "x".repeat(FRAME_MAX);
        assert_eq!(Question::CountChat { folder: folder(), chat: chat.clone(), limit: 0 }.to_frame(), None);
        assert_eq!(Reply::NotJson(chat).to_frame(), Reply::TooLarge.to_frame());
        let long = u32::try_from(FRAME_MAX + 1).unwrap().to_le_bytes();
        assert_eq!(read_frame(&mut long.as_slice()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(read_frame(&mut [].as_slice()).unwrap().is_none());
        // A length without its bytes reserves nothing.
        let many = [&[0_u8][..], &[0; 12], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Question::decode(&many), Err(ProtocolError::Short));
    }
}
