//! Expressions: read and worked out in one pass, with the place of whatever is wrong.

use crate::decimal::{Decimal, Outcome, Trouble};
use crate::functions::{self, Refusal};

/// Bytes of an expression.
const LENGTH_MAX: usize = 10_000;
/// Parentheses, signs and powers within each other.
const DEPTH_MAX: u32 = 100;

/// What is wrong, and where: a byte of the expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub at: usize,
    pub message: String,
}

impl Fault {
    /// The fault with the expression and a mark below its place.
    pub fn shown(&self, expression: &str) -> String {
        let column = expression.get(..self.at).map_or(0, |before| before.chars().count());
        if expression.chars().count() > 200 || expression.contains('\n') {
            return format!("{} (at character {})", self.message, column + 1);
        }
        format!("{} (at character {})\n{expression}\n{}^", self.message, column + 1, " ".repeat(column))
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// The value of `expression`.
pub fn evaluate(expression: &str) -> Result<Decimal> {
    if expression.len() > LENGTH_MAX {
        return fault(0, format!("the expression is longer than {LENGTH_MAX} bytes"));
    }
    if expression.trim().is_empty() {
        return fault(0, "the expression is empty");
    }
    let mut parser = Parser { text: expression, at: 0, depth: 0 };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(_) => parser.unexpected(),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: u32,
}

impl Parser<'_> {
    /// `product (+|- product)*`
    fn sum(&mut self) -> Result<Decimal> {
        let mut value = self.product()?;
        loop {
            let at = self.skip();
            if self.take(&["+"]) {
                let right = self.product()?;
                value = checked(at, value.add(right))?;
            } else if self.take(&["-", "−"]) {
                let right = self.product()?;
                value = checked(at, value.sub(right))?;
            } else {
                return Ok(value);
            }
        }
    }

    /// `unary (*|/|% unary)*`
    fn product(&mut self) -> Result<Decimal> {
        let mut value = self.unary()?;
        loop {
            let at = self.skip();
            if self.take(&["*", "×", "·"]) {
                let right = self.unary()?;
                value = checked(at, value.mul(right))?;
            } else if self.take(&["/", "÷"]) {
                let right = self.unary()?;
                value = checked(at, value.div(right))?;
            } else if self.take(&["%"]) {
                let right = self.unary()?;
                value = checked(at, value.rem(right))?;
            } else {
                return Ok(value);
            }
        }
    }

    /// `-unary | power`
    fn unary(&mut self) -> Result<Decimal> {
        self.skip();
        self.deeper(|parser| {
            if parser.take(&["-", "−"]) {
                return parser.unary().map(Decimal::negated);
            }
            if parser.take(&["+"]) {
                return parser.unary();
            }
            parser.power()
        })
    }

    /// `postfix (^ unary)?`, from the right.
    fn power(&mut self) -> Result<Decimal> {
        let base = self.postfix()?;
        let at = self.skip();
        if !self.take(&["^", "**"]) {
            return Ok(base);
        }
        let exponent = self.unary()?;
        functions::power(base, exponent).map_err(|refusal| match refusal {
            Refusal::Trouble(trouble) => told(at, trouble),
            _ => Fault { at, message: "a negative number has no such power".into() },
        })
    }

    /// `primary (!|%)*`
    fn postfix(&mut self) -> Result<Decimal> {
        let mut value = self.primary()?;
        loop {
            let at = self.skip();
            if self.peek() == Some('!') {
                self.at += 1;
                let needs = || Fault { at, message: "the factorial needs a whole number from 0 to 2000".into() };
                value = checked(at, functions::factorial(value).ok_or_else(needs)?)?;
            } else if self.peek() == Some('%') && self.is_percent() {
                self.at += 1;
                value = checked(at, value.div(Decimal::whole(100)))?;
            } else {
                return Ok(value);
            }
        }
    }

    fn primary(&mut self) -> Result<Decimal> {
        let at = self.skip();
        match self.peek() {
            None => fault(at, "a number is missing at the end"),
            Some('(') => {
                self.at += 1;
                let value = self.deeper(Parser::sum)?;
                self.close(at)?;
                Ok(value)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if is_letter(c) => self.named(),
            Some(_) => self.unexpected(),
        }
    }

    fn number(&mut self) -> Result<Decimal> {
        let at = self.at;
        let bytes = self.text.as_bytes();
        let is_part = |at: usize| bytes.get(at).is_some_and(|b| b.is_ascii_digit() || *b == b'.' || *b == b'_');
        while is_part(self.at) {
            self.at += 1;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            let signed = matches!(bytes.get(self.at + 1), Some(b'+' | b'-'));
            let first = self.at + 1 + usize::from(signed);
            if bytes.get(first).is_some_and(u8::is_ascii_digit) {
                self.at = first;
                while bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
                    self.at += 1;
                }
            }
        }
        let text = &self.text[at..self.at];
        match Decimal::parse(text) {
            Some(Ok(value)) => Ok(value),
            Some(Err(_)) => fault(at, format!("`{text}` is too large")),
            None => fault(at, format!("`{text}` is not a number")),
        }
    }

    /// A constant, or a function with its arguments.
    fn named(&mut self) -> Result<Decimal> {
        let at = self.at;
        while self.peek().is_some_and(|c| is_letter(c) || c.is_ascii_digit() || c == '_') {
            self.at += self.peek().map_or(0, char::len_utf8);
        }
        let name = self.text[at..self.at].to_ascii_lowercase();
        let open = self.skip();
        if self.peek() != Some('(') {
            self.at = open;
            return functions::constant(&name)
                .ok_or_else(|| Fault { at, message: format!("unknown name `{name}`") });
        }
        self.at += 1;
        let mut arguments = Vec::new();
        self.skip();
        if self.peek() != Some(')') {
            loop {
                arguments.push(self.deeper(Parser::sum)?);
                self.skip();
                if !self.take(&[",", ";"]) {
                    break;
                }
            }
        }
        self.close(open)?;
        functions::call(&name, &arguments).map_err(|refusal| match refusal {
            Refusal::Trouble(trouble) => told(at, trouble),
            Refusal::Unknown => Fault { at, message: format!("unknown function `{name}`") },
            Refusal::Arguments { takes } => {
                Fault { at, message: format!("{name} takes {takes}, not {}", arguments.len()) }
            }
            Refusal::Undefined => {
                let shown: Vec<String> = arguments.iter().map(ToString::to_string).collect();
                Fault { at, message: format!("{name} is not defined for {}", shown.join(", ")) }
            }
        })
    }

    /// Whether a `%` stands behind its number for good, or asks for a remainder.
    fn is_percent(&self) -> bool {
        let rest = self.text[self.at + 1..].trim_start();
        rest.chars().next().is_none_or(|c| !(is_letter(c) || c.is_ascii_digit() || c == '(' || c == '.'))
    }

    fn close(&mut self, open: usize) -> Result<()> {
        self.skip();
        if self.take(&[")"]) {
            return Ok(());
        }
        if self.peek().is_none() { fault(open, "this parenthesis is never closed") } else { self.unexpected() }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return fault(self.at, "the expression is nested too deeply");
        }
        self.depth += 1;
        let value = parse(self);
        self.depth -= 1;
        value
    }

    /// Goes past white space; where the next sign stands.
    fn skip(&mut self) -> usize {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }

    fn take(&mut self, signs: &[&str]) -> bool {
        let rest = &self.text[self.at..];
        let Some(sign) = signs.iter().find(|sign| rest.starts_with(**sign)) else { return false };
        // `**` is a power.
        if *sign == "*" && rest.starts_with("**") {
            return false;
        }
        self.at += sign.len();
        true
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn unexpected<T>(&self) -> Result<T> {
        let sign = self.peek().map_or_else(|| "end".to_owned(), |c| format!("`{c}`"));
        fault(self.at, format!("unexpected {sign}"))
    }
}

/// What names are made of.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || matches!(c, 'π' | 'τ' | 'φ')
}

fn fault<T>(at: usize, message: impl Into<String>) -> Result<T> {
    Err(Fault { at, message: message.into() })
}

fn checked(at: usize, outcome: Outcome) -> Result<Decimal> {
    outcome.map_err(|trouble| told(at, trouble))
}

fn told(at: usize, trouble: Trouble) -> Fault {
    let message = match trouble {
        Trouble::TooLarge => "the result is too large",
        Trouble::DivisionByZero => "division by zero",
    };
    Fault { at, message: message.into() }
}
