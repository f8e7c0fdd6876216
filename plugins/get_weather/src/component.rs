//! The weather as a plugin: one tool, `get_weather`, and requests over `wasi:http`.

use serde_json::Value;

use crate::{Fetch, Question, Services, Trouble, Units, weather};

wit_bindgen::generate!({ path: "../wit", world: "http-tool-plugin", generate_all });

use exports::mlx_gateway::plugin::tools::Guest;
use mlx_gateway::plugin::config;
use mlx_gateway::plugin::types::{Annotations, CallContext, Content, Tool, ToolError, ToolResult};
use wasi::http::outgoing_handler::handle;
use wasi::http::types::{ErrorCode, Fields, Method, OutgoingRequest, Scheme};
use wasi::io::streams::StreamError;

const NAME: &str = "get_weather";
const DESCRIPTION: &str = "Current weather and the forecast for the coming days at a place, by its name. \
Name the region or country behind a comma when the name alone is ambiguous.";
const INPUT: &str = r#"{"type":"object","properties":{"location":{"type":"string","description":"The place, such as Paris or Springfield, Illinois","minLength":1,"maxLength":200},"city":{"type":"string","description":"The same as location","minLength":1,"maxLength":200},"units":{"type":"string","enum":["metric","imperial","celsius","fahrenheit"],"description":"metric (the default) or imperial"},"days":{"type":"integer","minimum":1,"maximum":7,"description":"Days of forecast, 3 by default"}},"anyOf":[{"required":["location"]},{"required":["city"]}]}"#;
const DEFAULT_DAYS: u32 = 3;
/// Bytes of one answer.
const ANSWER_MAX: usize = 1 << 20;

struct Weather;
export!(Weather);

impl Guest for Weather {
    fn list_tools() -> Result<Vec<Tool>, String> {
        Ok(vec![Tool {
            name: NAME.into(),
            title: Some("Weather".into()),
            description: DESCRIPTION.into(),
            input_schema: INPUT.into(),
            output_schema: None,
            annotations: Some(Annotations {
                read_only: Some(true),
                destructive: Some(false),
                idempotent: Some(true),
                open_world: Some(true),
            }),
        }])
    }

    fn call_tool(name: String, arguments: String, _context: CallContext) -> Result<ToolResult, ToolError> {
        if name != NAME {
            return Err(ToolError::UnknownTool(name));
        }
        let wrong = || ToolError::InvalidArguments("give \"location\", a place".into());
        let arguments: Value = serde_json::from_str(&arguments).map_err(|_| wrong())?;
        let text = |key: &str| arguments[key].as_str();
        let units = match text("units") {
            Some("imperial" | "fahrenheit") => Units::Imperial,
            _ => Units::Metric,
        };
        let location = text("location").or_else(|| text("city")).ok_or_else(wrong)?.to_owned();
        let days = arguments["days"].as_u64().and_then(|days| u32::try_from(days).ok()).unwrap_or(DEFAULT_DAYS);
        let question = Question { location, units, days };
        let service = |key: &str, usual: &str| config::get(key).unwrap_or_else(|| usual.into());
        let services = Services {
            geocoding: service("geocoding_url", "https://geocoding-api.open-meteo.com"),
            forecast: service("forecast_url", "https://api.open-meteo.com"),
        };
        match weather(&question, &services, &Requests) {
            Ok((text, data)) => {
                Ok(ToolResult { content: vec![Content::Text(text)], structured: Some(data), is_error: false })
            }
            Err(Trouble::Place(words)) => {
                Ok(ToolResult { content: vec![Content::Text(words)], structured: None, is_error: true })
            }
            Err(Trouble::Unavailable(why)) => Err(ToolError::Unavailable(why)),
        }
    }
}

struct Requests;

impl Fetch for Requests {
    fn get(&self, url: &str) -> Result<String, String> {
        let (scheme, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(("http", rest)) => (Scheme::Http, rest),
            _ => return Err("the service's address in the configuration is no URL".into()),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let wrong = |()| String::from("the request could not be made");
        let fields = Fields::from_list(&[("accept".into(), b"application/json".to_vec())])
            .map_err(|_| wrong(()))?;
        let request = OutgoingRequest::new(fields);
        request.set_method(&Method::Get).map_err(wrong)?;
        request.set_scheme(Some(&scheme)).map_err(wrong)?;
        request.set_authority(Some(authority)).map_err(wrong)?;
        request.set_path_with_query(Some(if path.is_empty() { "/" } else { path })).map_err(wrong)?;
        let failed = |code: ErrorCode| format!("{authority} could not be reached: {}", reason(&code));
        let pending = handle(request, None).map_err(failed)?;
        pending.subscribe().block();
        let response = match pending.get() {
            Some(Ok(Ok(response))) => response,
            Some(Ok(Err(code))) => return Err(failed(code)),
            _ => return Err("there was no answer".into()),
        };
        let status = response.status();
        let body = response.consume().map_err(wrong)?;
        let stream = body.stream().map_err(wrong)?;
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(64 << 10) {
                Ok(piece) => bytes.extend_from_slice(&piece),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(_)) => return Err(format!("{authority} broke off its answer")),
            }
            if bytes.len() > ANSWER_MAX {
                return Err(format!("{authority} answered too much"));
            }
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("{authority} answered no text"))?;
        // Refusals come with 400 and say why; anything else is told by its status.
        if status == 200 || (status == 400 && text.contains("\"reason\"")) {
            Ok(text)
        } else {
            Err(format!("{authority} answered with status {status}"))
        }
    }
}

/// The usual reasons in words.
fn reason(code: &ErrorCode) -> &'static str {
    match code {
        ErrorCode::HttpRequestDenied => "the gateway does not allow it",
        ErrorCode::DestinationIpProhibited => "the gateway does not allow its address",
        ErrorCode::DnsError(_) | ErrorCode::DnsTimeout => "its name is not known",
        ErrorCode::ConnectionRefused => "it refuses connections",
        ErrorCode::ConnectionTimeout | ErrorCode::ConnectionReadTimeout | ErrorCode::HttpResponseTimeout => {
            "it did not answer in time"
        }
        ErrorCode::TlsProtocolError | ErrorCode::TlsCertificateError => "its certificate is not trusted",
        _ => "the request failed",
    }
}
