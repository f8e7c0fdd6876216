//! The event stream: changes are pushed, numbered, and can be resumed by `Last-Event-ID`. Each listener gets
//! the events that show what it may read with GET.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Deserialize;

use crate::auth::Caller;
use crate::events::{Event, Heard, Subscription, Topic};
use crate::http::caller::{ApiCaller, may_read};
use crate::http::error::ApiError;
use crate::http::extract::Query;
use crate::http::state::Shared;
use crate::http::stream;

/// Silence after which a listener hears a comment, so that no proxy on the way gives up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Milliseconds after which a browser comes back.
const RETRY_MS: u32 = 1_000;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What to listen to.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Names separated by commas: `servers,downloads`. Without it: everything.
    topics: Option<String>,
}

/// One open event stream.
struct Listener {
    gateway: Shared,
    subscription: Subscription,
    caller: Caller,
    topics: Vec<Topic>,
    /// Of this run of the gateway: numbers of another run mean nothing here.
    epoch: String,
    /// Said first.
    opening: Option<Bytes>,
}

/// Where a listener begins.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    Now,
    /// After the event of that number.
    After(u64),
    /// What the listener knows is of another run of the gateway.
    Anew,
}

/// Listen to what changes, as server-sent events with ids `epoch-sequence`.
///
/// Each event shows what the same caller may read with GET: `server.changed` (`/servers`), `profile.available`
/// (`/v1/models/{id}`), `profile.changed`, `download.changed`, `model.changed`, `plugin.changed`, `chat.changed`,
/// `request.changed` (the id of `/requests/{id}`), `user.pending` and `user.changed` (`/users`), `users.pending_count`, `config.changed` (`/system`) and
/// `captures.changed`. After `stream.reset` read again whatever you keep.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(EventsQuery),
    responses((status = 200, description = "Server-sent events", content_type = "text/event-stream", body = String))
)]
pub async fn listen(
    State(gateway): State<Shared>,
    ApiCaller(caller): ApiCaller,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let topics = topics(query.topics.as_deref())?;
    let epoch = format!("{:x}", gateway.about.started_at);
    let shown = headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or_default());
    let start = start(shown, &epoch);
    let (subscription, from) = match start {
        Start::After(last) => (gateway.events.subscribe(Some(last)), last),
        Start::Now | Start::Anew => {
            let last = gateway.events.last();
            (gateway.events.subscribe(Some(last)), last)
        }
    };
    gateway.proxy.recorder.changes().watch();
    let name = if start == Start::Anew { "stream.reset" } else { "stream.opened" };
    let opening = format!("retry: {RETRY_MS}\n{}", written(&epoch, from, name, "{}"));
    let opening = Some(opening.into());
    let listener = Listener { gateway, subscription, caller: caller.clone(), topics, epoch, opening };
    let events = unfold(listener, |mut listener| async move {
        let said = listener.next().await?;
        Some((Ok::<_, Infallible>(said), listener))
    });
    let body = stream::body(&caller, events);
    let head = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((head, body).into_response())
}

impl Listener {
    /// What is said next; nothing once the gateway drains.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening);
        }
        loop {
            let heard = tokio::select! {
                biased;
                () = self.gateway.ending() => return None,
                heard = self.subscription.next() => heard,
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b": heartbeat\n\n")),
            };
            match heard {
                Heard::Event(event)
                    if self.topics.contains(&event.kind.topic())
                        && may_read(&self.caller, &event.audience) =>
                {
                    return Some(self.event(&event));
                }
                Heard::Event(_) => {}
                Heard::Lost => {
                    let last = self.gateway.events.last();
                    return Some(written(&self.epoch, last, "stream.reset", "{}").into());
                }
                Heard::End => return None,
            }
        }
    }

    fn event(&self, event: &Event) -> Bytes {
        written(&self.epoch, event.sequence, event.kind.name(), &event.data).into()
    }
}

/// One event as it goes over the wire; JSON has no line ends of its own.
fn written(epoch: &str, sequence: u64, name: &str, data: &str) -> String {
    format!("id: {epoch}-{sequence}\nevent: {name}\ndata: {data}\n\n")
}

fn topics(asked: Option<&str>) -> Result<Vec<Topic>, ApiError> {
    let Some(asked) = asked else { return Ok(Topic::ALL.to_vec()) };
    let names = asked.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            Topic::named(name).ok_or_else(|| {
                let known: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
                let message = format!("there is no topic \"{name}\"; there are {}", known.join(", "));
                ApiError::bad_request(message, "topics")
            })
        })
        .collect()
}

fn start(shown: Option<&str>, epoch: &str) -> Start {
    let Some(shown) = shown.filter(|shown| !shown.is_empty()) else { return Start::Now };
    let sequence = shown.strip_prefix(epoch).and_then(|rest| rest.strip_prefix('-')?.parse().ok());
    sequence.map_or(Start::Anew, Start::After)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_goes_on_where_it_was_unless_the_gateway_is_another() {
        assert_eq!(start(None, "19a"), Start::Now);
        assert_eq!(start(Some(""), "19a"), Start::Now);
        assert_eq!(start(Some("19a-42"), "19a"), Start::After(42));
        for foreign in ["19b-42", "19a", "19a-", "19a-x", "42", "19a42-1"] {
            assert_eq!(start(Some(foreign), "19a"), Start::Anew, "{foreign}");
        }
    }

    #[test]
    fn topics_are_chosen_by_name_and_a_wrong_name_is_told() {
        assert_eq!(topics(None).unwrap().len(), Topic::ALL.len());
        assert_eq!(topics(Some("servers, downloads")).unwrap(), [Topic::Servers, Topic::Downloads]);
        let error = topics(Some("servers,weather")).unwrap_err();
        assert_eq!(error.0.status, 400);
        assert!(error.0.message.contains("weather") && error.0.message.contains("plugins"), "{error:?}");
    }
}
