//! The audit log: who changed what, when and from where. One place notes every change that goes
//! through the admin API, so that no handler can forget it.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponseParts, Response, ResponseParts};
use http::Method;
use http::request::Parts;
use percent_encoding::percent_decode_str;

use super::caller::{identify, transport};
use super::edge::Arrival;
use super::state::Shared;
use crate::auth::{Buckets, Caller, Limit, Name, networks, new_id};
use crate::store::audit::{self, AuditRow};
use crate::system::terminal;

/// What the admin API lies under.
pub const PREFIX: &str = "/api/v1/";
/// What people write to a model is theirs, and changes nothing for anybody else.
const PRIVATE: &str = "/api/v1/chats";
/// Characters of a target that are kept.
const TARGET_CHARS: usize = 200;

/// What a change was about, where the path does not say it.
#[derive(Debug, Clone)]
pub struct Target(String);

impl Target {
    pub fn of(target: &str) -> Target {
        Target(target.chars().take(TARGET_CHARS).collect())
    }
}

impl IntoResponseParts for Target {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Addresses whose refusals are remembered for a minute.
const ADDRESSES_MAX: usize = 5_000;
/// Rows for refused requests of callers without a credential, by address.
const REFUSED: Limit = Limit { burst: 1, every: Duration::from_secs(60) };

/// Allows one row a minute and address (IPv6: /64) for refused requests without a credential, so that guessing
/// passwords does not fill the log.
#[derive(Debug)]
pub struct Refusals(Mutex<Buckets>);

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals(Mutex::new(Buckets::new(ADDRESSES_MAX)))
    }
}

impl Refusals {
    /// Whether a refusal at that time (since the start) gets a row.
    fn take(&self, address: Option<IpAddr>, at: Duration) -> bool {
        let Some(address) = address else { return true };
        let name = Name::of(&[&networks(address).0]);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(&[(name, REFUSED)], at).is_ok()
    }
}

/// Stands around every route; notes what changes something, once it has been answered.
pub async fn note(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let Some(route) =
        matched.filter(|route| changes && route.starts_with(PREFIX) && !route.starts_with(PRIVATE))
    else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let address = parts.extensions.get::<Arrival>().and_then(|arrival| arrival.address);
    let entry = entry(&gateway, &parts, &route);
    let response = next.run(Request::from_parts(parts, body)).await;
    let Some(mut entry) = entry else { return response };
    entry.status = response.status().as_u16();
    if let Some(Target(target)) = response.extensions().get::<Target>() {
        entry.target = Some(target.clone());
    }
    let is_refused = entry.actor == STRANGER && !response.status().is_success();
    if is_refused
        && (matches!(entry.status, 400 | 413 | 415 | 429)
            || !gateway.refusals.take(address, gateway.uptime()))
    {
        return response;
    }
    let (action, told) = (entry.action.clone(), audit::add(gateway.proxy.recorder.store(), entry).await);
    if let Err(error) = told {
        tracing::error!(audit.action = action, %error, "A change could not be noted in the audit log");
    }
    response
}

/// The actor of what needs no caller, such as logging in.
const STRANGER: &str = "anonymous";

fn entry(gateway: &Shared, parts: &Parts, route: &str) -> Option<AuditRow> {
    let arrival = parts.extensions.get::<Arrival>();
    let caller = identify(&parts.headers, &parts.method, transport(&parts.extensions), gateway).ok();
    let needs_none = route.starts_with("/api/v1/auth/");
    let (actor, actor_name, via) = match &caller {
        Some(caller) => (actor(caller), caller.name.to_string(), caller.via.name()),
        None if needs_none => (STRANGER.to_owned(), STRANGER.to_owned(), "none"),
        // Turned away before anything happened.
        None => return None,
    };
    Some(AuditRow {
        id: new_id(),
        at: gateway.proxy.clock.unix_ms(),
        actor,
        actor_name,
        via: via.to_owned(),
        action: action(&parts.method, route),
        target: target(route, parts.uri.path()),
        status: 0,
        address: arrival.and_then(|arrival| arrival.address).map(|address| address.to_string()),
        request: arrival.map(|arrival| arrival.id.to_string()),
    })
}

fn actor(caller: &Caller) -> String {
    caller.user.as_deref().or(caller.key.as_deref()).unwrap_or(&caller.name).to_owned()
}

/// `POST /api/v1/users/{id}/approve` is `users.approve`, `DELETE /api/v1/keys/{id}` is `keys.delete`.
fn action(method: &Method, route: &str) -> String {
    let segments: Vec<&str> = route.trim_start_matches(PREFIX).split('/').collect();
    let mut words: Vec<&str> = segments.iter().copied().filter(|segment| !segment.starts_with('{')).collect();
    let ends_with_parameter = segments.last().is_some_and(|segment| segment.starts_with('{'));
    if ends_with_parameter || words.len() == 1 {
        words.push(match *method {
            Method::POST => "create",
            Method::DELETE => "delete",
            _ => "update",
        });
    }
    words.join(".")
}

/// What stands in the path where the route has parameters.
fn target(route: &str, path: &str) -> Option<String> {
    let mut values = Vec::new();
    let mut segments = path.split('/');
    for part in route.split('/') {
        if part.starts_with("{*") {
            values.push(segments.by_ref().collect::<Vec<_>>().join("/"));
        } else {
            let segment = segments.next()?;
            if part.starts_with('{') {
                values.push(segment.to_owned());
            }
        }
    }
    let joined = values.join(" ");
    let text = percent_decode_str(&joined).decode_utf8_lossy();
    (!text.is_empty()).then(|| text.chars().take(TARGET_CHARS).filter(|c| !terminal::steers(*c)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_named_after_their_routes() {
        for (method, route, named) in [
            (Method::POST, "/api/v1/users/{id}/approve", "users.approve"),
            (Method::DELETE, "/api/v1/users/{id}", "users.delete"),
            (Method::POST, "/api/v1/keys", "keys.create"),
            (Method::PUT, "/api/v1/profiles/{name}", "profiles.update"),
            (Method::POST, "/api/v1/auth/login", "auth.login"),
            (Method::DELETE, "/api/v1/models/{*id}", "models.delete"),
        ] {
            assert_eq!(action(&method, route), named);
        }
    }

    #[test]
    fn refusals_make_one_row_a_minute_and_address() {
        let refusals = Refusals::default();
        let take = |address: &str, seconds| {
            refusals.take(Some(address.parse().unwrap()), Duration::from_secs(seconds))
        };
        assert_eq!((take("10.0.0.1", 5), take("10.0.0.1", 64), take("10.0.0.2", 64)), (true, false, true));
        assert_eq!((take("2001:db8::1", 5), take("2001:db8::2", 6)), (true, false), "one /64");
        assert!(take("10.0.0.1", 65));
    }

    #[test]
    fn targets_stand_in_the_path() {
        let of = |route, path| target(route, path);
        assert_eq!(of("/api/v1/users/{id}/approve", "/api/v1/users/a%40b/approve"), Some("a@b".into()));
        assert_eq!(of("/api/v1/models/{*id}", "/api/v1/models/org/name"), Some("org/name".into()));
        assert_eq!(of("/api/v1/keys", "/api/v1/keys"), None);
    }
}
