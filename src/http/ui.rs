//! The pages: files out of the binary, compressed ahead, under a strict policy. Owns which path is a
//! file, a page or neither; knows nothing of what the pages show.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::caller::{cookie_named, identify, transport};
use super::state::Shared;
use super::unknown_path;

/// A file of the built pages.
struct Asset {
    path: &'static str,
    plain: &'static [u8],
    brotli: Option<&'static [u8]>,
    gzip: Option<&'static [u8]>,
}

static ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/web_assets.rs"));

const INDEX: &str = "/index.html";
/// Names below hold the hash of their content.
const HASHED: &str = "/assets/";
/// Below these, an unknown path is an error and never a page.
const NOT_PAGES: [&str; 5] = ["/v1", "/api", "/mcp", "/metrics", "/docs"];
/// Pages that need no session: the way to one.
const OPEN_PAGES: [&str; 3] = ["/login", "/reset", "/setup"];
/// Set by the page when somebody leaves the set-up.
const SETUP_LEFT: &str = "mlx_gateway_setup";

/// No script, style, picture or request from anywhere else, and no script within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What a path leads to.
#[derive(Debug, PartialEq, Eq)]
enum Found<'a> {
    File(&'a str),
    Page,
    Nothing,
}

/// `GET /`: the first page for a browser, a sentence for anything else.
pub async fn index(state: State<Shared>, request: Request) -> Response {
    let accepts = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    if accepts.is_some_and(|kinds| kinds.contains("text/html")) {
        return serve(state, request).await;
    }
    "mlx-gateway is running. OpenAI clients: use this address with /v1 at its end.\n".into_response()
}

/// Whatever no other route answers: a file, a page, or an error.
pub async fn serve(State(gateway): State<Shared>, request: Request) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let path = request.uri().path();
    let found = if reads { find(path, |path| asset(path).is_some()) } else { Found::Nothing };
    match found {
        Found::File(path) => file(path, request.headers()),
        Found::Page => {
            let from = request.uri().path_and_query().map_or("/", |whole| whole.as_str());
            match entrance(path, from, visitor(&gateway, &request)) {
                Some(to) => see_other(&to),
                None => file(INDEX, request.headers()),
            }
        }
        Found::Nothing => unknown_path(request).await.into_response(),
    }
}

fn find(path: &str, is_file: impl Fn(&str) -> bool) -> Found<'_> {
    let below = |prefix: &&str| {
        path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if NOT_PAGES.iter().any(below) {
        return Found::Nothing;
    }
    if path != INDEX && is_file(path) {
        return Found::File(path);
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    // The page of a profile or model may well have a dot in its name; a missing file must not be a page.
    let of_a_thing = path.starts_with("/profiles/") || path.starts_with("/models/");
    if last.contains('.') && !of_a_thing || path.starts_with(HASHED) { Found::Nothing } else { Found::Page }
}

/// Who asks for a page.
#[derive(Debug, Clone, Copy)]
struct Visitor {
    /// They have a session, or nobody needs one.
    let_in: bool,
    /// Neither a key nor an account exists.
    is_fresh: bool,
    /// They have left the set-up once.
    has_left_setup: bool,
}

fn visitor(gateway: &Shared, request: &Request) -> Visitor {
    let transport = transport(request.extensions());
    Visitor {
        let_in: identify(request.headers(), request.method(), transport, gateway).is_ok(),
        is_fresh: gateway.accounts.gate.is_fresh(),
        has_left_setup: cookie_named(request.headers(), SETUP_LEFT).is_some(),
    }
}

/// Where a visitor has to go first. `from` comes from the request line of our own host, so it is a
/// path of ours.
fn entrance(path: &str, from: &str, visitor: Visitor) -> Option<String> {
    if OPEN_PAGES.contains(&path) {
        return None;
    }
    if visitor.is_fresh && (!visitor.let_in || path == "/" && !visitor.has_left_setup) {
        return Some("/setup".to_owned());
    }
    if visitor.let_in {
        return None;
    }
    let next = percent_encoding::utf8_percent_encode(from, percent_encoding::NON_ALPHANUMERIC);
    Some(if from == "/" { "/login".to_owned() } else { format!("/login?next={next}") })
}

fn see_other(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(to) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, to);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

fn file(path: &str, asked: &HeaderMap) -> Response {
    let Some(asset) = asset(path) else { return StatusCode::NOT_FOUND.into_response() };
    let tag = tag(asset.plain);
    let seen = asked.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let (encoding, bytes) = encoded(asset, asked);
    let mut response = if seen.is_some_and(|seen| seen.contains(&tag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Body::from(bytes).into_response()
    };
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, kind(path));
    set(header::VARY, "accept-encoding");
    set(header::ETAG, &tag);
    let kept = if path.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
    set(header::CACHE_CONTROL, kept);
    if let Some(encoding) = encoding {
        set(header::CONTENT_ENCODING, encoding);
    }
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::REFERRER_POLICY, "same-origin");
    set(header::X_FRAME_OPTIONS, "DENY");
    response
}

/// The smallest form that was asked for.
fn encoded(asset: &Asset, asked: &HeaderMap) -> (Option<&'static str>, &'static [u8]) {
    let accepts =
        asked.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let takes = |name: &str| {
        accepts.split(',').any(|part| {
            let mut words = part.split(';').map(str::trim);
            words.next() == Some(name) && !words.any(|word| matches!(word, "q=0" | "q=0.0"))
        })
    };
    match (asset.brotli, asset.gzip) {
        (Some(brotli), _) if takes("br") => (Some("br"), brotli),
        (_, Some(gzip)) if takes("gzip") => (Some("gzip"), gzip),
        _ => (None, asset.plain),
    }
}

/// Short and stable for equal content.
fn tag(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(bytes);
    let hex: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

fn kind(path: &str) -> &'static str {
    match path.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("woff2") => "font/woff2",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_file_a_page_or_nothing() {
        let is_file = |path: &str| path == "/assets/index-1.js" || path == "/favicon.svg";
        for (path, expected) in [
            ("/", Found::Page),
            ("/servers", Found::Page),
            ("/profiles/qwen2.5", Found::Page),
            ("/nowhere/at/all", Found::Page),
            ("/assets/index-1.js", Found::File("/assets/index-1.js")),
            ("/favicon.svg", Found::File("/favicon.svg")),
            ("/assets/old-2.js", Found::Nothing),
            ("/assets/old", Found::Nothing),
            ("/robots.txt", Found::Nothing),
            ("/.env", Found::Nothing),
            ("/v1", Found::Nothing),
            ("/v1/nope", Found::Nothing),
            ("/api/v1/nope", Found::Nothing),
            ("/mcp/x", Found::Nothing),
            ("/metrics", Found::Nothing),
            ("/docs/x", Found::Nothing),
            ("/v1beta", Found::Page),
        ] {
            assert_eq!(find(path, is_file), expected, "{path}");
        }
    }

    #[test]
    fn a_form_is_sent_only_to_who_takes_it() {
        let asset = Asset { path: "/a.js", plain: b"plain", brotli: Some(b"br"), gzip: Some(b"gz") };
        for (accepts, expected) in [
            ("", None),
            ("gzip, deflate, br", Some("br")),
            ("gzip", Some("gzip")),
            ("br;q=0, gzip;q=0.5", Some("gzip")),
            ("broken", None),
        ] {
            let mut asked = HeaderMap::new();
            asked.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepts));
            assert_eq!(encoded(&asset, &asked).0, expected, "{accepts}");
        }
    }

    #[test]
    fn strangers_are_led_to_the_log_in_and_the_first_visitor_to_the_set_up() {
        let of = |let_in, is_fresh, has_left_setup| Visitor { let_in, is_fresh, has_left_setup };
        let (stranger, known) = (of(false, false, false), of(true, false, false));
        for (from, visitor, expected) in [
            ("/", stranger, Some("/login")),
            ("/servers?q=a&b", stranger, Some("/login?next=%2Fservers%3Fq%3Da%26b")),
            ("//evil.example.com", stranger, Some("/login?next=%2F%2Fevil%2Eexample%2Ecom")),
            ("/login?next=%2F", stranger, None),
            ("/setup", stranger, None),
            ("/servers", known, None),
            ("/", of(true, true, false), Some("/setup")),
            ("/servers", of(true, true, false), None),
            ("/", of(true, true, true), None),
            ("/servers", of(false, true, true), Some("/setup")),
        ] {
            let path = from.split('?').next().unwrap();
            assert_eq!(entrance(path, from, visitor).as_deref(), expected, "{from} {visitor:?}");
        }
    }
}
