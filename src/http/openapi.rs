//! The OpenAPI document: what the routes say about themselves, completed with what all of them have in
//! common, and the page that shows it. Knows no single route.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, LicenseBuilder, ObjectBuilder, OpenApi, OpenApiBuilder, PathItem, Ref,
    RefOr, Required, ResponseBuilder, SecurityRequirement, Type,
};

use super::caller::DocsReader;
use super::state::Shared;

/// The tag of routes that need no caller.
pub const PUBLIC_TAG: &str = "public";

const PAGE: &str = include_str!("docs/index.html");
const SCRIPT: &str = include_str!("docs/docs.js");
const STYLE: &str = include_str!("docs/docs.css");
/// Only what the gateway serves itself, and no inline script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `{"error": {…}}`: how every refusal is worded.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct ErrorBody {
    pub error: ErrorDetail,
}

#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct ErrorDetail {
    /// What was wrong, and what to do.
    pub message: String,
    #[serde(rename = "type")]
    pub kind: String,
    /// The part of the request that is meant.
    pub param: Option<String>,
    pub code: Option<String>,
}

/// The document before any route is in it.
pub fn frame() -> OpenApi {
    let info = InfoBuilder::new()
        .title("mlx-gateway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("The admin API of mlx-gateway: everything that its pages and its command line do."))
        .license(Some(LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build()));
    OpenApiBuilder::new().info(info).build()
}

/// Adds what no route has to say for itself: error answers, credentials, names.
pub fn complete(document: &mut OpenApi) {
    let components = document.components.get_or_insert_default();
    let mut schemas = Vec::new();
    <ErrorBody as utoipa::ToSchema>::schemas(&mut schemas);
    schemas.push(("ErrorBody".into(), <ErrorBody as utoipa::PartialSchema>::schema()));
    components.schemas.extend(schemas);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("An API key, or the token of a session.")).build();
    let cookie = ApiKey::Cookie(ApiKeyValue::with_description(
        super::caller::SESSION_COOKIE,
        "The session of a page of the gateway.",
    ));
    components.security_schemes.insert("bearer".into(), SecurityScheme::Http(bearer).into());
    components.security_schemes.insert("session".into(), SecurityScheme::ApiKey(cookie).into());
    for (path, mut item) in std::mem::take(&mut document.paths.paths) {
        for (method, operation) in operations(&mut item) {
            describe(operation);
            if method == HttpMethod::Post && operation.security.is_some() && path.starts_with("/api/") {
                may_be_sent_again(operation);
            }
        }
        // A name with slashes in it is a parameter like any other.
        document.paths.paths.insert(path.replace("{*", "{"), item);
    }
}

/// The document as it is served and committed.
pub fn text(document: &OpenApi) -> String {
    document.to_pretty_json().unwrap_or_else(|error| {
        tracing::error!(%error, "The OpenAPI document could not be written");
        "{}".to_owned()
    })
}

/// Each operation of a path with its method.
pub fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [
        (HttpMethod::Get, get),
        (HttpMethod::Put, put),
        (HttpMethod::Post, post),
        (HttpMethod::Delete, delete),
        (HttpMethod::Patch, patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Show this document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "system", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"))
)]
pub async fn document(State(gateway): State<Shared>, _caller: DocsReader) -> Response {
    asset("application/json", gateway.openapi.get().cloned().unwrap_or_default())
}

/// `GET /docs`
pub async fn page(_caller: DocsReader) -> Response {
    let mut response = asset("text/html; charset=utf-8", PAGE.to_owned());
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

/// `GET /docs/docs.js`
pub async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT.to_owned())
}

/// `GET /docs/docs.css`
pub async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE.to_owned())
}

fn asset(kind: &'static str, text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

fn describe(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
    if let Some(name) = operation.operation_id.take() {
        operation.operation_id = Some(format!("{tag}_{name}"));
    }
    let mut errors = vec![
        ("500", "Something went wrong in the gateway; its log says more"),
        ("503", "The gateway is shutting down"),
    ];
    errors.push(("400", "The request cannot be understood"));
    errors.push(("403", "Not allowed to this caller, this page or this host"));
    if tag != PUBLIC_TAG {
        errors.push(("401", "Nobody has been identified: the key or session is missing or not valid"));
        let way = |name: &str| SecurityRequirement::new(name, std::iter::empty::<String>());
        operation.security = Some(vec![way("bearer"), way("session")]);
    }
    let in_path = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => parameter.parameter_in == ParameterIn::Path,
        RefOr::Ref(_) => false,
    };
    if operation.parameters.iter().flatten().any(in_path) {
        errors.push(("404", "There is nothing of that name"));
    }
    if operation.request_body.is_some() {
        errors.push(("413", "The body is too large"));
        errors.push(("415", "The body is not JSON"));
    }
    for (status, known) in &mut operation.responses.responses {
        let untold = |known: &utoipa::openapi::Response| known.content.is_empty() && status.as_str() >= "400";
        if let RefOr::T(known) = known
            && untold(known)
        {
            let words = if known.description.is_empty() { "Refused" } else { known.description.as_str() };
            *known = error(words);
        }
    }
    for (status, description) in errors {
        let known = &mut operation.responses.responses;
        known.entry(status.to_owned()).or_insert_with(|| RefOr::T(error(description)));
    }
}

/// What [`super::once`] does for every change.
fn may_be_sent_again(operation: &mut Operation) {
    let key = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(255));
    let header = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A name of the client's for this change, such as a UUID: sent again within an hour by the same \
             caller, the change is not made again, and its first answer is given once more.",
        ))
        .schema(Some(key));
    operation.parameters.get_or_insert_default().push(header.build().into());
    let known = &mut operation.responses.responses;
    for (status, description) in [
        ("409", "The first request with this Idempotency-Key has not been answered yet"),
        ("413", "The body is too large"),
        ("422", "The Idempotency-Key was sent with another request"),
    ] {
        known.entry(status.to_owned()).or_insert_with(|| RefOr::T(error(description)));
    }
}

fn error(description: &str) -> utoipa::openapi::Response {
    let schema = Ref::from_schema_name("ErrorBody");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    ResponseBuilder::new().description(description).content("application/json", content).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMITTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/openapi.json");
    /// Set: the committed document is written anew.
    const UPDATE: &str = "UPDATE_OPENAPI";

    #[test]
    fn the_committed_document_is_what_the_routes_say() {
        let (_, document) = crate::http::described();
        let text = text(&document) + "\n";
        if std::env::var_os(UPDATE).is_some() {
            std::fs::write(COMMITTED, &text).unwrap();
        }
        let committed = std::fs::read_to_string(COMMITTED).unwrap_or_default();
        assert!(
            committed == text,
            "docs/openapi.json is out of date: run `{UPDATE}=1 cargo test --lib openapi`"
        );
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_words_and_errors() {
        let (_, mut document) = crate::http::described();
        let mut names = std::collections::BTreeSet::new();
        for (path, item) in &mut document.paths.paths {
            for (_, operation) in operations(item) {
                let name = operation.operation_id.clone().unwrap_or_default();
                assert!(names.insert(name.clone()), "{path}: the name {name} is taken");
                assert!(operation.summary.is_some(), "{path}: {name} has no summary");
                assert!(operation.tags.iter().flatten().count() == 1, "{path}: {name} needs one tag");
                assert!(operation.responses.responses.contains_key("500"), "{path}: {name}");
            }
        }
    }
}
