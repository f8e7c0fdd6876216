//! The JSON grammar as a machine that takes any number of bytes at a time.

use memchr::memchr2;

use super::path::{self, Place, Wanted};
use super::{ForeignMedia, InlineMedia, Kind, MAX_DEPTH, MAX_MEMBERS, Member, Scan, ScanError};

/// Bytes of a key or wanted string that are kept; longer ones are compared by their beginning only
/// where that is enough, and otherwise refused as unknown.
const KEPT: usize = 256;

/// Reads a body piece by piece.
#[derive(Debug)]
pub struct Scanner {
    /// Offset of the next byte in the whole body.
    at: usize,
    state: State,
    stack: Vec<Frame>,
    /// Beginning of the string being read, without its quotes and as written.
    kept: Vec<u8>,
    escaped: bool,
    string_start: usize,
    utf8: Utf8,
    scan: Scan,
    done: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// After `[`: a value or `]`.
    FirstItem,
    /// After `{`: a key or `}`.
    FirstKey,
    /// After `,` in an object.
    Key,
    Colon,
    /// After a value: `,` or the container's end.
    After,
    String(Use),
    Escape(Use),
    Hex(Use, u8),
    Number(Number),
    Literal(&'static [u8], usize),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Key,
    Value(Wanted),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Int,
    Dot,
    Fraction,
    Exp,
    ExpSign,
    ExpDigits,
}

#[derive(Debug)]
struct Frame {
    place: Place,
    object: bool,
    /// The key whose value is being read; bounded by [`KEPT`].
    key: String,
    key_start: usize,
    value_start: usize,
    kind: Kind,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner {
            at: 0,
            state: State::Value,
            stack: Vec::with_capacity(8),
            kept: Vec::new(),
            escaped: false,
            string_start: 0,
            utf8: Utf8::default(),
            scan: Scan {
                members: Vec::with_capacity(8),
                braces: 0..0,
                developer_roles: Vec::new(),
                has_system: false,
                foreign_media: None,
                inline_media: InlineMedia::default(),
            },
            done: false,
        }
    }
}

impl Scanner {
    /// Reads the next piece of the body.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ScanError> {
        if !self.utf8.check(bytes) {
            return Err(ScanError::Malformed { at: self.at, reason: "text that is not UTF-8" });
        }
        let mut i = 0;
        while i < bytes.len() {
            i += match self.state {
                State::String(of) => self.string(&bytes[i..], of)?,
                _ => self.step(bytes[i])?,
            };
        }
        Ok(())
    }

    /// The body is complete: what was found.
    pub fn finish(self) -> Result<Scan, ScanError> {
        if !self.done || !self.utf8.complete() {
            return Err(ScanError::Malformed { at: self.at, reason: "the end comes too early" });
        }
        Ok(self.scan)
    }

    /// Takes one byte, or none where a number ended just before it.
    fn step(&mut self, byte: u8) -> Result<usize, ScanError> {
        if let State::Number(number) = self.state {
            return self.number(number, byte);
        }
        let at = self.at;
        self.at += 1;
        match self.state {
            State::Escape(of) => {
                self.state = match byte {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::String(of),
                    b'u' => State::Hex(of, 4),
                    _ => return self.malformed(at, "an unknown escape in a string"),
                };
                self.keep(&[byte]);
                return Ok(1);
            }
            State::Hex(of, left) => {
                if !byte.is_ascii_hexdigit() {
                    return self.malformed(at, "a broken \\u escape");
                }
                self.keep(&[byte]);
                self.state = if left == 1 { State::String(of) } else { State::Hex(of, left - 1) };
                return Ok(1);
            }
            State::Literal(word, next) => {
                if word[next] != byte {
                    return self.malformed(at, "an unknown word");
                }
                if next + 1 == word.len() {
                    self.value_ended()?;
                } else {
                    self.state = State::Literal(word, next + 1);
                }
                return Ok(1);
            }
            _ => {}
        }
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(1);
        }
        match (self.state, byte) {
            (State::FirstItem, b']') | (State::FirstKey, b'}') => self.close(byte)?,
            (State::Value | State::FirstItem, _) => self.open_value(at, byte)?,
            (State::FirstKey | State::Key, b'"') => self.open_string(at, Use::Key),
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') => {
                let object = self.stack.last().is_some_and(|frame| frame.object);
                self.state = if object { State::Key } else { State::Value };
            }
            (State::After, b']' | b'}') => self.close(byte)?,
            (State::FirstKey | State::Key, _) => return self.malformed(at, "a key was expected"),
            (State::Colon, _) => return self.malformed(at, "a colon was expected"),
            (State::End, _) => return self.malformed(at, "something follows the object"),
            _ => return self.malformed(at, "a comma or a closing bracket was expected"),
        }
        Ok(1)
    }

    fn open_value(&mut self, at: usize, byte: u8) -> Result<(), ScanError> {
        if self.stack.is_empty() && byte != b'{' {
            return Err(ScanError::NotAnObject);
        }
        let kind = match byte {
            b'{' => Kind::Object,
            b'[' => Kind::Array,
            b'"' => Kind::String,
            b'-' | b'0'..=b'9' => Kind::Number,
            b't' | b'f' => Kind::Bool,
            b'n' => Kind::Null,
            _ => return self.malformed(at, "a value was expected").map(|_| ()),
        };
        let (parent, key) = match self.stack.last_mut() {
            Some(frame) => {
                frame.value_start = at;
                frame.kind = kind;
                (Some(frame.place), frame.object.then_some(frame.key.as_str()))
            }
            None => (None, None),
        };
        match kind {
            Kind::Object | Kind::Array => {
                let place = parent.map_or(Place::Root, |parent| path::child(parent, key));
                self.open(at, place, kind == Kind::Object)?;
            }
            Kind::String => {
                let wanted = parent.map_or(Wanted::Nothing, |parent| path::wanted(parent, key));
                self.open_string(at, Use::Value(wanted));
            }
            Kind::Number => {
                self.state = State::Number(match byte {
                    b'-' => Number::Minus,
                    b'0' => Number::Zero,
                    _ => Number::Int,
                });
            }
            Kind::Bool if byte == b't' => self.state = State::Literal(b"true", 1),
            Kind::Bool => self.state = State::Literal(b"false", 1),
            Kind::Null => self.state = State::Literal(b"null", 1),
        }
        Ok(())
    }

    fn open(&mut self, at: usize, place: Place, object: bool) -> Result<(), ScanError> {
        if self.stack.len() == MAX_DEPTH {
            return Err(ScanError::TooDeep);
        }
        if self.stack.is_empty() {
            self.scan.braces.start = at;
        }
        let key = String::new();
        self.stack.push(Frame { place, object, key, key_start: at, value_start: at, kind: Kind::Null });
        self.state = if object { State::FirstKey } else { State::FirstItem };
        Ok(())
    }

    fn close(&mut self, byte: u8) -> Result<(), ScanError> {
        let object = byte == b'}';
        match self.stack.pop() {
            Some(frame) if frame.object == object => {}
            _ => return self.malformed(self.at - 1, "a bracket closes what it did not open").map(|_| ()),
        }
        if self.stack.is_empty() {
            self.scan.braces.end = self.at;
            self.state = State::End;
            self.done = true;
            return Ok(());
        }
        self.value_ended()
    }

    /// The value under the innermost container's current key or index is complete.
    fn value_ended(&mut self) -> Result<(), ScanError> {
        self.state = State::After;
        if self.stack.len() != 1 {
            return Ok(());
        }
        let frame = &mut self.stack[0];
        let key = std::mem::take(&mut frame.key);
        if self.scan.members.iter().any(|member| member.key == key) {
            return Err(ScanError::Duplicate { key });
        }
        if self.scan.members.len() == MAX_MEMBERS {
            return Err(ScanError::TooManyMembers);
        }
        self.scan.members.push(Member {
            key,
            whole: frame.key_start..self.at,
            value: frame.value_start..self.at,
            kind: frame.kind,
        });
        Ok(())
    }

    fn open_string(&mut self, at: usize, of: Use) {
        self.kept.clear();
        self.escaped = false;
        self.string_start = at;
        self.state = State::String(of);
    }

    /// Takes as much of a string as `bytes` hold: a megabyte of base64 is one search.
    fn string(&mut self, bytes: &[u8], of: Use) -> Result<usize, ScanError> {
        let end = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
        let text = &bytes[..end];
        if has_control(text) {
            return self.malformed(self.at, "a control character in a string");
        }
        if of != Use::Value(Wanted::Nothing) {
            self.keep(text);
        }
        self.at += end;
        match bytes.get(end) {
            None => return Ok(end),
            Some(b'\\') => {
                self.escaped = true;
                self.keep(b"\\");
                self.state = State::Escape(of);
            }
            Some(_) => {
                self.at += 1;
                self.string_ended(of)?;
                return Ok(end + 1);
            }
        }
        self.at += 1;
        Ok(end + 1)
    }

    fn string_ended(&mut self, of: Use) -> Result<(), ScanError> {
        match of {
            Use::Key => {
                let key = self.kept_text();
                if let Some(frame) = self.stack.last_mut() {
                    frame.key = key;
                    frame.key_start = self.string_start;
                }
                self.state = State::Colon;
                return Ok(());
            }
            Use::Value(Wanted::Nothing) => {}
            Use::Value(Wanted::Role) => {
                let role = self.kept_text();
                self.scan.has_system |= role == "system" || role == "developer";
                if role == "developer" {
                    self.scan.developer_roles.push(self.string_start..self.at);
                }
            }
            Use::Value(Wanted::Url(part)) => self.medium(part, false),
            Use::Value(Wanted::Bare) => self.medium("input_audio", true),
        }
        self.value_ended()
    }

    fn medium(&mut self, part: &'static str, bare: bool) {
        let text = self.kept_text();
        let begins = |with: &str| text.get(..with.len()).is_some_and(|text| text.eq_ignore_ascii_case(with));
        let inline = begins("data:");
        // Models read the text of other types.
        if bare || ["data:image/", "data:audio/", "data:video/"].into_iter().any(begins) {
            self.scan.inline_media.count += 1;
            self.scan.inline_media.bytes += (self.at - self.string_start) as u64;
        }
        if !inline && self.scan.foreign_media.as_ref().is_none_or(|found| found.bare && !bare) {
            self.scan.foreign_media = Some(ForeignMedia { part, at: self.string_start, bare });
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The kept beginning of the string with its escapes resolved, so that a key cannot hide behind
    /// them.
    fn kept_text(&self) -> String {
        if self.escaped {
            let mut quoted = Vec::with_capacity(self.kept.len() + 2);
            quoted.push(b'"');
            quoted.extend_from_slice(&self.kept);
            quoted.push(b'"');
            if let Ok(text) = serde_json::from_slice(&quoted) {
                return text;
            }
        }
        String::from_utf8_lossy(&self.kept).into_owned()
    }

    fn number(&mut self, state: Number, byte: u8) -> Result<usize, ScanError> {
        use Number::{Dot, Exp, ExpDigits, ExpSign, Fraction, Int, Minus, Zero};
        let next = match (state, byte) {
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') | (Int, b'0'..=b'9') => Int,
            (Zero | Int, b'.') => Dot,
            (Dot | Fraction, b'0'..=b'9') => Fraction,
            (Zero | Int | Fraction, b'e' | b'E') => Exp,
            (Exp, b'+' | b'-') => ExpSign,
            (Exp | ExpSign | ExpDigits, b'0'..=b'9') => ExpDigits,
            (Zero | Int | Fraction | ExpDigits, _) => {
                self.value_ended()?;
                return Ok(0);
            }
            _ => return self.malformed(self.at, "a broken number"),
        };
        self.at += 1;
        self.state = State::Number(next);
        Ok(1)
    }

    fn malformed(&self, at: usize, reason: &'static str) -> Result<usize, ScanError> {
        Err(ScanError::Malformed { at, reason })
    }
}

fn has_control(text: &[u8]) -> bool {
    // Without an early exit the compiler turns this into vector instructions.
    text.chunks(4096).any(|chunk| chunk.iter().fold(false, |found, byte| found | (*byte < 0x20)))
}

/// UTF-8 checked across the borders of pieces.
#[derive(Debug, Default)]
struct Utf8 {
    carry: Vec<u8>,
}

impl Utf8 {
    fn check(&mut self, mut bytes: &[u8]) -> bool {
        while !self.carry.is_empty() {
            let Some((first, rest)) = bytes.split_first() else { return true };
            self.carry.push(*first);
            bytes = rest;
            match std::str::from_utf8(&self.carry) {
                Ok(_) => self.carry.clear(),
                Err(error) if error.error_len().is_some() || self.carry.len() > 3 => return false,
                Err(_) => {}
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => true,
            Err(error) if error.error_len().is_some() => false,
            Err(error) => {
                self.carry.extend_from_slice(&bytes[error.valid_up_to()..]);
                true
            }
        }
    }

    fn complete(&self) -> bool {
        self.carry.is_empty()
    }
}
