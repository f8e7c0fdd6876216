//! Counts the bodies of routed requests: before one is read there has to be room for it. Inference has no route, and
//! holds its bodies in `proxy`.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::request::Parts;
use http_body::{Body as _, Frame, SizeHint};

use super::caller::{identify, transport};
use super::edge::Arrival;
use super::error::ApiError;
use super::mcp;
use super::state::Shared;
use crate::bodies::{Full, Held};
use crate::proxy::Failure;

/// Bytes of the largest body that a route takes; of what declares more no byte is read.
const LARGEST: u64 = 96 << 20;

/// The bytes that a request's body takes of the bound. Stored in the request's extensions: work that goes on after the
/// answer has begun keeps it.
#[derive(Debug, Clone)]
pub struct BodyHeld(#[expect(dead_code, reason = "kept for its drop")] Arc<Held>);

/// Stands around every route: refuses a body that there is no room for, and counts it until its answer begins.
pub async fn hold_body(State(gateway): State<Shared>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let is_mcp = parts.uri.path() == mcp::PATH;
    let declared = body.size_hint().lower().min(LARGEST);
    let held = match gateway.proxy.bodies.hold(&lane(&gateway, &parts), declared) {
        Ok(held) => Arc::new(held),
        Err(full) => return room_error(full, is_mcp),
    };
    parts.extensions.insert(BodyHeld(Arc::clone(&held)));
    let was_refused = Arc::new(AtomicBool::new(false));
    let body = Counted { body, arrived: 0, held: Arc::clone(&held), was_refused: Arc::clone(&was_refused) };
    let answer = next.run(Request::from_parts(parts, Body::new(body))).await;
    if was_refused.load(Ordering::Relaxed) { room_error(gateway.proxy.bodies.full(), is_mcp) } else { answer }
}

/// Returns the 503 for a body that there is no room for, in the shape of its API.
fn room_error(full: Full, is_mcp: bool) -> Response {
    let failure = Failure::from(full);
    if is_mcp { mcp::no_room(&failure) } else { ApiError::from(failure).into_response() }
}

/// Who shares a part of the bound: a caller's requests, or those of strangers from one network.
fn lane(gateway: &Shared, parts: &Parts) -> Arc<str> {
    match identify(&parts.headers, &parts.method, transport(&parts.extensions), gateway) {
        Ok(caller) => caller.fairness,
        Err(_) => {
            let address = parts.extensions.get::<Arrival>().and_then(|arrival| arrival.address);
            format!("stranger {}", address.map(network).unwrap_or_default()).into()
        }
    }
}

/// An address, or of IPv6 the /64 network, which is one line's.
fn network(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// A body that is counted as it arrives, should it be longer than it said.
struct Counted {
    body: Body,
    arrived: u64,
    held: Arc<Held>,
    was_refused: Arc<AtomicBool>,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(piece) = frame.data_ref()
        {
            self.arrived += piece.len() as u64;
            if let Err(full) = self.held.grow(self.arrived.min(LARGEST)) {
                self.was_refused.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(axum::Error::new(full))));
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_is_an_address_or_what_one_line_has() {
        let of = |address: &str| network(address.parse().unwrap());
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
        assert_eq!(of("2001:db8::1"), of("2001:db8:0:0:ffff::1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
