//! The calculator as a plugin: one tool, `calculator`.

use crate::evaluate;

wit_bindgen::generate!({ path: "../wit", world: "tool-plugin" });

use exports::mlx_gateway::plugin::tools::Guest;
use mlx_gateway::plugin::types::{Annotations, CallContext, Content, Tool, ToolError, ToolResult};

const NAME: &str = "calculator";
const DESCRIPTION: &str = "Works out an arithmetic expression exactly and returns the bare result. \
Operators: + - * / % (remainder, or percent behind a number) ^ or ** (power), ! (factorial), parentheses. \
Functions: sqrt cbrt abs round floor ceil trunc sign min max sum avg sin cos tan asin acos atan atan2 \
sinh cosh tanh exp ln log log2 log10 pow mod gcd lcm hypot deg rad fact. Constants: pi, tau, e, phi. \
Angles are in radians.";
const INPUT: &str = r#"{"type":"object","properties":{"expression":{"type":"string","description":"The expression, such as (0.1 + 0.2) * sqrt(16)","minLength":1,"maxLength":10000}},"required":["expression"],"additionalProperties":false}"#;

struct Calculator;
export!(Calculator);

impl Guest for Calculator {
    fn list_tools() -> Result<Vec<Tool>, String> {
        Ok(vec![Tool {
            name: NAME.into(),
            title: Some("Calculator".into()),
            description: DESCRIPTION.into(),
            input_schema: INPUT.into(),
            output_schema: None,
            annotations: Some(Annotations {
                read_only: Some(true),
                destructive: Some(false),
                idempotent: Some(true),
                open_world: Some(false),
            }),
        }])
    }

    fn call_tool(name: String, arguments: String, _context: CallContext) -> Result<ToolResult, ToolError> {
        if name != NAME {
            return Err(ToolError::UnknownTool(name));
        }
        let expression = expression(&arguments)
            .ok_or_else(|| ToolError::InvalidArguments("\"expression\" has to be a string".into()))?;
        let (text, is_error) = match evaluate(&expression) {
            Ok(value) => (value.to_string(), false),
            Err(fault) => (fault.shown(&expression), true),
        };
        Ok(ToolResult { content: vec![Content::Text(text)], structured: None, is_error })
    }
}

/// The one argument, out of JSON that the gateway has checked against the schema.
fn expression(arguments: &str) -> Option<String> {
    let rest = arguments.split_once("\"expression\"")?.1.trim_start().strip_prefix(':')?;
    string(rest.trim_start().strip_prefix('"')?)
}

/// A JSON string whose opening quote has been read.
fn string(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => out.push(match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => {
                    let code = |chars: &mut std::str::Chars<'_>| {
                        let digits: String = chars.by_ref().take(4).collect();
                        u32::from_str_radix(&digits, 16).ok()
                    };
                    let first = code(&mut chars)?;
                    let full = if (0xd800..0xdc00).contains(&first) {
                        chars.next().filter(|c| *c == '\\')?;
                        chars.next().filter(|c| *c == 'u')?;
                        0x10000 + ((first - 0xd800) << 10) + code(&mut chars)?.checked_sub(0xdc00)?
                    } else {
                        first
                    };
                    char::from_u32(full)?
                }
                other => other,
            }),
            c => out.push(c),
        }
    }
}
