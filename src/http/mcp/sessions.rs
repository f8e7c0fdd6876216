//! Sessions of MCP clients: rmcp's own, bounded in all and per owner. A session ends with its caller's right, and is
//! known to its caller alone.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage};
use rmcp::transport::WorkerTransport;
use rmcp::transport::streamable_http_server::session::local::{
    LocalSessionManager, LocalSessionManagerError, LocalSessionWorker,
};
use rmcp::transport::streamable_http_server::session::{ServerSseMessage, SessionId, SessionManager};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::session_table::{Full, InUse, Owner, Table};
use crate::auth::{Caller, Right};

/// Bytes of an `initialize` request; a session keeps what it says of its client.
const INITIALIZE_MAX: usize = 64 << 10;
/// How long the messages of a cancelled request can be resumed. Those of one that was answered never can.
const RESUMABLE: Duration = Duration::from_secs(2);

tokio::task_local! {
    static VISIT: Visit;
}

/// One HTTP request, as far as a session that it begins or uses is concerned.
#[derive(Debug, Clone)]
pub struct Visit {
    owner: Owner,
    right: Right,
    /// Cancelled when the session that this request begins has ended.
    ended: CancellationToken,
    refusal: Arc<OnceLock<SessionError>>,
}

/// Why a session was not begun, or cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Full(#[from] Full),
    #[error("an initialize request has at most {INITIALIZE_MAX} bytes")]
    TooLarge,
    #[error(transparent)]
    Local(#[from] LocalSessionManagerError),
}

impl Visit {
    /// A request of this caller from that address.
    pub fn new(caller: &Caller, address: Option<std::net::IpAddr>) -> Visit {
        Visit {
            owner: Owner { caller: Arc::clone(&caller.fairness), address },
            right: caller.right().clone(),
            ended: CancellationToken::new(),
            refusal: Arc::default(),
        }
    }

    /// Runs the request. An error is the reason why no session was begun for it.
    pub async fn run<T>(self, request: impl Future<Output = T>) -> Result<T, SessionError> {
        let refusal = Arc::clone(&self.refusal);
        let answer = VISIT.scope(self, request).await;
        match Arc::try_unwrap(refusal).ok().and_then(OnceLock::into_inner) {
            Some(error) => Err(error),
            None => Ok(answer),
        }
    }

    /// Returns what is cancelled when the session of the present request has ended.
    pub fn session_end() -> CancellationToken {
        VISIT.try_with(|visit| visit.ended.clone()).unwrap_or_default()
    }
}

/// All sessions; a cheap clone.
#[derive(Clone)]
pub struct Sessions {
    local: Arc<LocalSessionManager>,
    table: Arc<Mutex<Table>>,
    tasks: TaskTracker,
}

impl Sessions {
    /// No session yet; `tasks` runs what ends them.
    pub fn new(tasks: TaskTracker) -> Sessions {
        let mut local = LocalSessionManager::default();
        local.session_config.completed_cache_ttl = RESUMABLE;
        Sessions { local: Arc::new(local), table: Arc::default(), tasks }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a session without waiting for it.
    fn end(&self, id: SessionId) {
        self.table().remove(&id);
        let local = Arc::clone(&self.local);
        self.tasks.spawn(async move {
            if let Err(error) = local.close_session(&id).await {
                tracing::debug!(%error, "MCP session did not close");
            }
        });
    }

    /// Admits a session that this request begins, in the place of idle ones if need be.
    fn admit(&self, visit: &Visit, id: &SessionId) -> Result<(), Full> {
        let open = visit.ended.clone().drop_guard();
        let evicted = self.table().admit(&visit.owner, id, open)?;
        if let Some(evicted) = evicted {
            tracing::info!(session.caller = &*visit.owner.caller, "Evicting idle MCP session");
            self.end(evicted);
        }
        tracing::debug!(session.id = &**id, session.caller = &*visit.owner.caller, "MCP session began");
        let (sessions, id) = (self.clone(), Arc::clone(id));
        let (lost, ended) = (visit.right.ended(), visit.ended.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = lost => sessions.end(id),
                () = ended.cancelled() => {}
            }
        });
        Ok(())
    }

    fn use_of(&self, id: &SessionId) -> Result<InUse, SessionError> {
        let unknown = || LocalSessionManagerError::SessionNotFound(Arc::clone(id)).into();
        self.table().use_of(id).ok_or_else(unknown)
    }
}

fn refuse(error: impl Into<SessionError>) -> LocalSessionManagerError {
    let error = error.into();
    let unknown = LocalSessionManagerError::SessionNotFound("refused".into());
    VISIT.try_with(|visit| visit.refusal.set(error).ok()).ok();
    unknown
}

impl SessionManager for Sessions {
    type Error = SessionError;
    type Transport = WorkerTransport<LocalSessionWorker>;

    async fn create_session(&self) -> Result<(SessionId, Self::Transport), SessionError> {
        let (id, transport) = self.local.create_session().await?;
        // Nothing is awaited between the two: a request whose client leaves begins no session that is in no table.
        let admitted = VISIT.try_with(|visit| self.admit(visit, &id));
        if let Ok(Err(full)) = admitted {
            drop(transport);
            self.end(id);
            return Err(refuse(full).into());
        }
        Ok((id, transport))
    }

    async fn initialize_session(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<ServerJsonRpcMessage, SessionError> {
        let bytes = serde_json::to_string(&message).map_or(usize::MAX, |text| text.len());
        if bytes > INITIALIZE_MAX {
            self.end(Arc::clone(id));
            return Err(refuse(SessionError::TooLarge).into());
        }
        let _use = self.use_of(id)?;
        Ok(self.local.initialize_session(id, message).await?)
    }

    async fn has_session(&self, id: &SessionId) -> Result<bool, SessionError> {
        let is_known = VISIT.try_with(|visit| self.table().touch(id, &visit.owner)).unwrap_or(false);
        Ok(is_known && self.local.has_session(id).await?)
    }

    async fn close_session(&self, id: &SessionId) -> Result<(), SessionError> {
        // Without a visit it is rmcp that closes a session that has ended.
        let may_close = VISIT.try_with(|visit| self.table().touch(id, &visit.owner)).unwrap_or(true);
        if may_close {
            self.table().remove(id);
            self.local.close_session(id).await?;
        }
        Ok(())
    }

    async fn create_stream(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let in_use = self.use_of(id)?;
        Ok(Used { stream: Box::pin(self.local.create_stream(id, message).await?), _use: in_use })
    }

    async fn accept_message(
        &self,
        id: &SessionId,
        message: ClientJsonRpcMessage,
    ) -> Result<(), SessionError> {
        Ok(self.local.accept_message(id, message).await?)
    }

    async fn create_standalone_stream(
        &self,
        id: &SessionId,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let in_use = self.use_of(id)?;
        Ok(Used { stream: Box::pin(self.local.create_standalone_stream(id).await?), _use: in_use })
    }

    async fn resume(
        &self,
        id: &SessionId,
        last_event_id: String,
    ) -> Result<impl Stream<Item = ServerSseMessage> + Send + Sync + 'static, SessionError> {
        let in_use = self.use_of(id)?;
        Ok(Used { stream: Box::pin(self.local.resume(id, last_event_id).await?), _use: in_use })
    }
}

/// A stream of a session, which is not idle while it is open.
struct Used<S> {
    stream: Pin<Box<S>>,
    _use: InUse,
}

impl<S: Stream> Stream for Used<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.stream.as_mut().poll_next(cx)
    }
}
