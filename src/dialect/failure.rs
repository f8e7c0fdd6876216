//! What a backend says when it fails, in any of its shapes, as one thing with OpenAI's fields.

use serde_json::Value;

/// A failure that came from upstream, as it will be told to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamFailure {
    /// The status for a client whose answer has not begun.
    pub status: u16,
    /// OpenAI's `type`.
    pub kind: &'static str,
    pub code: &'static str,
    pub message: String,
    pub param: Option<String>,
}

/// Bytes of a message that are passed on.
const MESSAGE_LIMIT: usize = 2_000;

impl UpstreamFailure {
    /// A failure of the backend itself.
    pub fn backend(message: impl Into<String>) -> Self {
        UpstreamFailure {
            status: 502,
            kind: "api_error",
            code: "backend_error",
            message: message.into(),
            param: None,
        }
    }

    /// An answer of which more would have to be kept than the gateway does.
    pub fn too_large(message: impl Into<String>) -> Self {
        UpstreamFailure { code: "answer_too_large", ..UpstreamFailure::backend(message) }
    }

    /// There is no room for the answer at present.
    pub fn overloaded(message: impl Into<String>) -> Self {
        let failure = UpstreamFailure::backend(message);
        UpstreamFailure { status: 429, kind: "rate_limit_error", code: "queue_full", ..failure }
    }

    /// Reads an error answer: status and body as the upstream sent them.
    pub fn from_answer(status: u16, body: &[u8]) -> Self {
        let told = read(body);
        let message = told.message.unwrap_or_else(|| {
            format!("the backend answered {status} without saying why; its log may tell (mlx-gateway logs)")
        });
        if let Some((own, kind, code)) = told.own.filter(|_| status == 200) {
            return UpstreamFailure { status: own, kind, code, message, param: told.param };
        }
        let status = told.code.filter(|_| status == 200).unwrap_or(status);
        let failure = |status, kind, code| UpstreamFailure {
            status,
            kind,
            code,
            message: message.clone(),
            param: told.param.clone(),
        };
        match status {
            429 => failure(429, "rate_limit_error", "rate_limit_exceeded"),
            413 => failure(413, "invalid_request_error", "request_too_large"),
            // The client's own key and model were right: these are between the gateway and upstream.
            401 | 403 => {
                UpstreamFailure::backend(format!("the upstream refused the gateway's key: {message}"))
            }
            404 => UpstreamFailure::backend(format!("the upstream does not serve this: {message}")),
            // Ended by the upstream's operator: not the fault of this client.
            499 => UpstreamFailure::backend(message),
            400..=499 => failure(400, "invalid_request_error", "invalid_request_error"),
            _ => failure(502, "api_error", "backend_error"),
        }
    }

    /// Reads the `error` value of an in-stream event.
    pub fn from_event(error: &[u8]) -> Self {
        let body = [&b"{\"error\":"[..], error, b"}"].concat();
        UpstreamFailure::from_answer(200, &body)
    }

    /// The event that tells it in a stream that has begun, with the one that ends the stream.
    pub fn as_events(&self) -> Vec<u8> {
        let mut out = b"data: ".to_vec();
        out.extend_from_slice(&self.as_json());
        out.extend_from_slice(b"\n\n");
        out.extend_from_slice(super::sse::DONE_EVENT);
        out
    }

    /// OpenAI's error object as bytes.
    pub fn as_json(&self) -> Vec<u8> {
        self.as_value().to_string().into_bytes()
    }

    /// OpenAI's error object.
    pub fn as_value(&self) -> Value {
        serde_json::json!({"error": {
            "message": self.message, "type": self.kind, "param": self.param, "code": self.code,
        }})
    }
}

#[derive(Default)]
struct Told {
    message: Option<String>,
    param: Option<String>,
    code: Option<u16>,
    /// A failure of the gateway's own in a stream that it reads again: status, type and code.
    own: Option<(u16, &'static str, &'static str)>,
}

/// Codes of the gateway's own that mean something to a client whose answer has not begun.
const OWN: [(u16, &str, &str); 4] = [
    (502, "api_error", "answer_too_large"),
    (504, "server_error", "timeout"),
    (499, "server_error", "cancelled"),
    (429, "rate_limit_error", "queue_full"),
];

fn read(body: &[u8]) -> Told {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return Told { message: clean(&String::from_utf8_lossy(body)), ..Told::default() };
    };
    let error = value.pointer("/detail/error").or_else(|| value.get("error")).or_else(|| value.get("detail"));
    match error.unwrap_or(&value) {
        Value::String(text) => Told { message: clean(text), ..Told::default() },
        Value::Array(problems) => validation(problems),
        Value::Object(error) => Told {
            message: error.get("message").and_then(Value::as_str).and_then(clean),
            param: error.get("param").and_then(Value::as_str).map(str::to_owned),
            code: error.get("code").and_then(code),
            own: OWN.into_iter().find(|(_, _, own)| error.get("code").is_some_and(|code| code == own)),
        },
        _ => Told::default(),
    }
}

/// The list of a 422: `[{"loc": ["body", "temperature"], "msg": …}]`.
fn validation(problems: &[Value]) -> Told {
    let place = |problem: &Value| {
        let path = problem.get("loc").and_then(Value::as_array).cloned().unwrap_or_default();
        let names =
            path.iter().skip(1).map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned));
        names.collect::<Vec<_>>().join(".")
    };
    let words = problems
        .iter()
        .filter_map(|problem| Some(format!("{}: {}", place(problem), problem.get("msg")?.as_str()?)));
    Told {
        message: clean(&words.collect::<Vec<_>>().join("; ")),
        param: problems.first().map(place).filter(|place| !place.is_empty()),
        ..Told::default()
    }
}

fn code(value: &Value) -> Option<u16> {
    let number = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
    u16::try_from(number).ok().filter(|code| (400..600).contains(code))
}

fn clean(text: &str) -> Option<String> {
    let text = text.trim();
    let cut = text.get(..text.floor_char_boundary(MESSAGE_LIMIT)).filter(|cut| !cut.is_empty());
    cut.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, body: &str) -> (u16, &'static str, String, Option<String>) {
        let failure = UpstreamFailure::from_answer(status, body.as_bytes());
        (failure.status, failure.code, failure.message, failure.param)
    }

    #[test]
    fn every_shape_becomes_openais() {
        let s = str::to_owned;
        assert_eq!(
            told(400, r#"{"error":{"message":"no","type":"x","param":"input","code":"400"}}"#),
            (400, "invalid_request_error", s("no"), Some(s("input")))
        );
        assert_eq!(
            told(429, r#"{"detail":{"error":{"message":"Too many","code":"429"}}}"#),
            (429, "rate_limit_exceeded", s("Too many"), None)
        );
        assert_eq!(
            told(
                422,
                r#"{"detail":[{"loc":["body","temperature"],"msg":"not a number"},{"loc":["body","messages",0],"msg":"bad"}]}"#
            ),
            (
                400,
                "invalid_request_error",
                s("temperature: not a number; messages.0: bad"),
                Some(s("temperature"))
            )
        );
        assert_eq!(
            told(404, r#"{"detail":"Not Found"}"#),
            (502, "backend_error", s("the upstream does not serve this: Not Found"), None)
        );
        assert_eq!(
            told(500, "Internal Server Error"),
            (502, "backend_error", s("Internal Server Error"), None)
        );
        let (status, code, message, _) = told(500, r#"{"error":{"message":"","code":"500"}}"#);
        assert_eq!((status, code), (502, "backend_error"));
        assert!(message.contains("without saying why"), "{message}");
        assert_eq!(told(500, "").1, "backend_error");
        assert_eq!(told(400, r#"{"error": "Invalid JSON"}"#).2, "Invalid JSON");
        assert_eq!(told(401, r#"{"error":{"message":"bad key"}}"#).0, 502);
    }

    #[test]
    fn an_in_stream_error_takes_its_status_from_its_code() {
        let busy = UpstreamFailure::from_event(br#"{"message": "full", "code": "429"}"#);
        assert_eq!((busy.status, busy.code), (429, "rate_limit_exceeded"));
        let odd = UpstreamFailure::from_event(br#"{"message": "", "code": "500"}"#);
        assert_eq!((odd.status, odd.code), (502, "backend_error"));
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let failure = UpstreamFailure::from_answer(500, "ü".repeat(3000).as_bytes());
        assert_eq!(failure.message.len(), MESSAGE_LIMIT);
    }
}
