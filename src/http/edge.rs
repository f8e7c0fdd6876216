//! What happens to every request before its route is looked for, and to every answer after: host and
//! origin, the request id, also in its log lines, and the drain.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body::{Frame, SizeHint};
use tower::Service;
use uuid::Uuid;

use super::anthropic;
use super::body_timeout::Timed;
use super::caller::has_credential;
use super::capture::{self, Captured};
use super::connection::{Busy, Connection};
use super::error::ApiError;
use super::hosts::{HostError, HostKind};
use super::mcp;
use super::openai::inference::{infer, operation};
use super::peer::Peer;
use super::responses;
use super::state::Shared;
use super::working::working;
use crate::auth::Transport;
use crate::dialect::operation::Operation;
use crate::logging::{InRequest, RequestFields};
use crate::proxy::{Answer, BoxError, Failure, failed};
use crate::usage::Live;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a client's own request id.
const CLIENT_ID_LIMIT: usize = 128;

/// How a request came in; every route may look at it.
#[derive(Debug, Clone)]
pub struct Arrival {
    pub transport: Transport,
    /// The client's, proxies that are trusted left out; none: over the local socket.
    pub address: Option<IpAddr>,
    /// Encrypted all the way that we know of.
    pub secure: bool,
    pub id: Uuid,
    pub client_id: Option<Arc<str>>,
    /// Whichever of the two the client is told.
    pub told_id: HeaderValue,
    pub connection: Arc<Connection>,
    /// What its log lines say.
    pub log: RequestFields,
}

/// The routes with what stands around them.
#[derive(Clone)]
pub struct Edge {
    routes: Router,
    gateway: Shared,
    peer: Peer,
    connection: Arc<Connection>,
}

impl Edge {
    /// For requests that come in over `transport`.
    pub fn new(routes: Router, gateway: Shared, transport: Transport) -> Edge {
        let peer = Peer { address: None, transport, secure: false };
        Edge { routes, gateway, peer, connection: Connection::new() }
    }

    /// For one connection.
    pub fn of(&self, address: Option<IpAddr>, secure: bool, connection: Arc<Connection>) -> Edge {
        let address = address.map(|address| address.to_canonical());
        let is_elsewhere = address.is_some_and(|address| !address.is_loopback());
        let transport = if is_elsewhere { Transport::Network } else { self.peer.transport };
        Edge { peer: Peer { address, transport, secure }, connection, ..self.clone() }
    }

    /// The connection whose requests come in here.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    fn admit<B>(&self, request: &Request<B>, arrival: &Arrival) -> Result<(), ApiError> {
        match arrival.address {
            Some(address) => self.check_host(request, address)?,
            None if arrival.transport == Transport::UnixSocket => {}
            None => {
                let message = "the local socket makes its callers the gateway's owner, so it takes no forwarded requests; let the proxy connect to server.listen";
                return Err(Failure::not_allowed(message).into());
            }
        }
        let path = request.uri().path();
        if self.gateway.is_draining() && !matches!(path, "/livez" | "/health" | "/readyz") {
            return Err(Failure::shutting_down().into());
        }
        Ok(())
    }

    fn check_host<B>(&self, request: &Request<B>, address: IpAddr) -> Result<(), ApiError> {
        let headers = request.headers();
        let kind = self.gateway.hosts.check(request.uri(), headers)?;
        // A page that was rebound to this machine connects from this machine.
        let may_be_rebound = kind == HostKind::Rebindable && address.is_loopback();
        if may_be_rebound && !has_credential(headers, request.method(), &self.gateway) {
            let host = text(headers, &header::HOST).unwrap_or_default();
            return Err(HostError::Rebindable(host.to_owned()).into());
        }
        Ok(())
    }

    fn arrival(&self, headers: &HeaderMap) -> Arrival {
        let id = self.gateway.proxy.recorder.new_id();
        let client = headers.get(REQUEST_ID).filter(|value| is_valid_id(value)).cloned();
        let client_id = client.as_ref().and_then(|value| value.to_str().ok()).map(Arc::from);
        let told_id = client.unwrap_or_else(|| own_id(id));
        let log = RequestFields::new(id, client_id.clone());
        let Peer { address, transport, secure } = self.peer.resolve(headers, &self.gateway.trusted_proxies);
        if transport == Transport::Proxied {
            self.gateway.note_proxy(self.peer.address);
        }
        Arrival {
            transport,
            address,
            secure,
            id,
            client_id,
            told_id,
            connection: Arc::clone(&self.connection),
            log,
        }
    }
}

/// An answer that is being made.
type Answering = Pin<Box<dyn Future<Output = Result<Response<Running>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for Edge
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response<Running>;
    type Error = Infallible;
    type Future = InRequest<Answering>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let arrival = self.arrival(request.headers());
        let log = arrival.log.clone();
        let told_id = arrival.told_id.clone();
        let origin = text(request.headers(), &header::ORIGIN);
        let listed = origin.filter(|origin| self.gateway.hosts.is_listed(origin));
        let listed = listed.and_then(|origin| HeaderValue::from_str(origin).ok());
        let mut visit = log.run(|| self.visit(&request, &arrival, listed.is_some()));
        let busy = self.connection.begin();
        if busy.is_none() {
            visit.admitted = Err(Failure::too_many_connections().into());
        }
        let is_mcp = request.uri().path() == mcp::PATH;
        let timed = |body| Timed::new(body, self.gateway.body_timeout, Arc::clone(&self.connection));
        let request = request.map(timed);
        let of_body = log.clone();
        let answering: Answering = Box::pin(async move {
            let mut response = visit.answer(request, arrival).await;
            let timeout = busy.as_ref().and_then(|busy| busy.answer(response.body().live()));
            if let Some(timeout) = timeout {
                response = timed_out(response, &Failure::body_timeout(timeout), is_mcp);
            }
            let headers = response.headers_mut();
            headers.insert(REQUEST_ID, told_id);
            secure_headers(headers);
            if let Some(origin) = listed {
                allow_origin(headers, origin);
            }
            Ok(response.map(|reply| Running { reply: InRequest::new(&of_body, reply), _busy: busy }))
        });
        let mut answering = InRequest::new(&log, answering);
        // If the client closes its side right behind its request, hyper drops the future without polling it. Begun here,
        // the request leaves a record.
        match Pin::new(&mut answering).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answered) => InRequest::new(&log, Box::pin(std::future::ready(answered))),
            Poll::Pending => answering,
        }
    }
}

impl Edge {
    fn visit<B>(&self, request: &Request<B>, arrival: &Arrival, listed: bool) -> Visit {
        let inference = operation(request.method(), request.uri().path());
        Visit {
            admitted: self.admit(request, arrival),
            preflight: listed && request.method() == Method::OPTIONS,
            inference,
            // Most requests have no use for the router.
            routes: inference.is_none().then(|| self.routes.clone()),
            gateway: self.gateway.clone(),
        }
    }
}

/// What is known of a request before anything is done for it.
struct Visit {
    admitted: Result<(), ApiError>,
    preflight: bool,
    inference: Option<Operation>,
    routes: Option<Router>,
    gateway: Shared,
}

impl Visit {
    /// The answer of the route, or why there is none.
    async fn answer<B>(self, request: Request<B>, arrival: Arrival) -> Response<Reply>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if let Err(error) = self.admitted {
            return error.into_response().map(Reply::Routed);
        }
        if self.preflight {
            return StatusCode::NO_CONTENT.into_response().map(Reply::Routed);
        }
        // Inference takes the short way: its body and answer stay what they are.
        if let Some(operation) = self.inference
            && !self.gateway.captures.is_on()
        {
            return openai(&self.gateway, operation, arrival, request).await.map(Reply::Answer);
        }
        // What is rarer has a place of its own in memory, so that it takes none with each inference.
        if let Some(model) = Model::of(self.inference, &request) {
            return Box::pin(model.noted(&self.gateway, arrival, request)).await;
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(arrival);
        let Some(mut routes) = self.routes else {
            return StatusCode::NOT_FOUND.into_response().map(Reply::Routed);
        };
        match Box::pin(routes.call(request)).await {
            Ok(response) => response.map(Reply::Routed),
            Err(never) => match never {},
        }
    }
}

/// What is asked of a model, in which of the dialects. A new dialect here is captured like the others.
enum Model {
    OpenAi(Operation),
    Anthropic(anthropic::Asked),
    Responses(responses::Asked),
}

impl Model {
    fn of<B>(inference: Option<Operation>, request: &Request<B>) -> Option<Model> {
        let (method, path) = (request.method(), request.uri().path());
        let anthropic = || anthropic::Asked::of(method, path).map(Model::Anthropic);
        let responses = || responses::Asked::of(method, path).map(Model::Responses);
        inference.map(Model::OpenAi).or_else(anthropic).or_else(responses)
    }

    /// Returns whether the request leaves a record, which a capture is found by. Counting tokens asks no model and
    /// leaves none.
    fn is_recorded(&self) -> bool {
        !matches!(
            self,
            Model::Anthropic(anthropic::Asked::Tokens) | Model::Responses(responses::Asked::Tokens)
        )
    }

    /// The answer, and what is captured of it while that is switched on.
    async fn noted<B>(self, gateway: &Shared, arrival: Arrival, request: Request<B>) -> Response<Reply>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        if !gateway.captures.is_on() || !self.is_recorded() {
            return self.answer(gateway, arrival, request).await.map(Reply::Answer);
        }
        let (request, taking) = capture::begin(gateway, &arrival, request);
        capture::follow(self.answer(gateway, arrival, request).await, taking)
    }

    async fn answer<B>(self, gateway: &Shared, arrival: Arrival, request: Request<B>) -> Response<Answer>
    where
        B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
        B::Error: Into<BoxError>,
    {
        match self {
            Model::OpenAi(operation) => openai(gateway, operation, arrival, request).await,
            Model::Anthropic(asked) => anthropic::answer(gateway, asked, arrival, request).await,
            Model::Responses(asked) => responses::answer(gateway, asked, arrival, request).await,
        }
    }
}

async fn openai<B>(
    gateway: &Shared,
    operation: Operation,
    arrival: Arrival,
    request: Request<B>,
) -> Response<Answer>
where
    B: http_body::Body<Data = bytes::Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let (answer, worked) = working(infer(gateway, operation, arrival, request)).await;
    gateway.proxy.recorder.metrics().observe_overhead(worked.as_secs_f64());
    answer
}

/// The answer to a request whose body came too slowly, whatever its handler made of that. The connection ends with it.
fn timed_out(response: Response<Reply>, failure: &Failure, is_mcp: bool) -> Response<Reply> {
    let mut response = match response.status() {
        // Said in the words of its API.
        StatusCode::REQUEST_TIMEOUT => response,
        _ if is_mcp => mcp::timed_out(failure).map(Reply::Routed),
        _ => failed(failure).map(Reply::Answer),
    };
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// An answer's body, and the request that runs until its end.
pub struct Running {
    reply: InRequest<Reply>,
    _busy: Option<Busy>,
}

impl http_body::Body for Running {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, BoxError>>> {
        self.reply.with(|reply| Pin::new(reply).poll_frame(cx)).unwrap_or(Poll::Ready(None))
    }

    fn is_end_stream(&self) -> bool {
        self.reply.get_ref().is_none_or(Reply::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.get_ref().map(Reply::size_hint).unwrap_or_default()
    }
}

/// The body of any answer.
pub enum Reply {
    Routed(Body),
    Answer(Answer),
    Captured(Box<Captured>),
}

impl Reply {
    /// The request that it answers, while that runs.
    fn live(&self) -> Option<Arc<Live>> {
        match self {
            Reply::Routed(_) => None,
            Reply::Answer(answer) => answer.live(),
            Reply::Captured(captured) => captured.live(),
        }
    }
}

impl http_body::Body for Reply {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, BoxError>>> {
        match self.get_mut() {
            Reply::Routed(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Reply::Answer(answer) => Pin::new(answer).poll_frame(cx),
            Reply::Captured(captured) => Pin::new(captured.as_mut()).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Routed(body) => body.is_end_stream(),
            Reply::Answer(answer) => answer.is_end_stream(),
            Reply::Captured(captured) => captured.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Routed(body) => body.size_hint(),
            Reply::Answer(answer) => answer.size_hint(),
            Reply::Captured(captured) => captured.size_hint(),
        }
    }
}

/// What keeps browsers from making more of an answer than it is. Pages bring a policy of their own.
fn secure_headers(headers: &mut HeaderMap) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let nothing = || HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert_with(nothing);
}

fn allow_origin(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = "authorization, content-type, x-api-key, x-request-id, idempotency-key, anthropic-version, x-mlx-gateway-tools";
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(allowed));
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// Ids go into logs and records: letters, digits and a few signs only.
fn is_valid_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=CLIENT_ID_LIMIT).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte))
}

fn own_id(id: Uuid) -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text: &str = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
