//! Listeners and connections: TCP and the local socket, over hyper's HTTP/1.

use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::Connections;
use super::edge::Edge;
use super::state::Shared;
use super::threads::{Accepted, Threads};
use crate::auth::Transport;
use crate::proxy::Failure;
use crate::system::{limits, private};

/// Time a client may take for the head of a request, and between two.
pub(super) const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// Wait after a failed accept, when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Something that connections come from.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// All listeners, bound and not yet serving.
pub struct Listeners {
    listeners: Vec<Listener>,
    /// The open ones, on whichever thread.
    connections: TaskTracker,
    /// Speaks TLS on every TCP listener.
    tls: Option<TlsAcceptor>,
    accepting: TaskTracker,
    /// No more accepting.
    closed: CancellationToken,
}

impl Listeners {
    /// Binds every address and the local socket.
    pub async fn bind(
        addresses: &[SocketAddr],
        socket: &Path,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<Listeners> {
        let mut listeners = Vec::new();
        for address in addresses {
            let named = |error: io::Error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            };
            listeners.push(Listener::Tcp(TcpListener::bind(address).await.map_err(named)?));
        }
        listeners.push(Listener::Unix(bind_socket(socket)?, socket.to_owned()));
        Ok(Listeners {
            listeners,
            connections: TaskTracker::new(),
            tls,
            accepting: TaskTracker::new(),
            closed: CancellationToken::new(),
        })
    }

    /// `http`, or `https` with TLS.
    pub fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// The TCP addresses as they came to be, ports chosen by the system included.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = self.listeners.iter().filter_map(|listener| match listener {
            Listener::Tcp(tcp) => tcp.local_addr().ok(),
            Listener::Unix(..) => None,
        });
        tcp.collect()
    }

    /// Serves until [`Listeners::close`].
    pub fn serve(&mut self, routes: &axum::Router, gateway: &Shared) -> io::Result<()> {
        let threads = Threads::start(&self.connections, &self.closed)?;
        let connections = Connections::new(limits::open_files()?, gateway.trusted_proxies.clone());
        tracing::debug!(limit = connections.limit(), "Limited client connections");
        for listener in std::mem::take(&mut self.listeners) {
            let transport = match &listener {
                Listener::Unix(..) => Transport::UnixSocket,
                Listener::Tcp(tcp) => match tcp.local_addr() {
                    Ok(address) if address.ip().is_loopback() => Transport::Loopback,
                    _ => Transport::Network,
                },
            };
            let edge = Edge::new(routes.clone(), gateway.clone(), transport);
            let to = (threads.clone(), Arc::clone(&connections));
            self.accepting.spawn(accept(listener, edge, to, self.tls.clone(), self.closed.clone()));
        }
        Ok(())
    }

    /// Accepts no more, lets requests under way finish for at most `grace`, and ends.
    pub async fn close(&self, grace: Duration) {
        self.closed.cancel();
        self.accepting.close();
        self.accepting.wait().await;
        self.connections.close();
        if tokio::time::timeout(grace, self.connections.wait()).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "Connections were still open at the end");
        }
    }
}

async fn accept(
    listener: Listener,
    edge: Edge,
    (mut threads, connections): (Threads, Arc<Connections>),
    tls: Option<TlsAcceptor>,
    closed: CancellationToken,
) {
    let (mut refused, mut is_full) = (0_u64, false);
    loop {
        connections.wait_for_closing().await;
        let accepted = tokio::select! {
            accepted = next(&listener, tls.as_ref()) => accepted,
            () = closed.cancelled() => break,
        };
        match accepted {
            Ok((accepted, address)) => {
                if std::mem::take(&mut refused) > 0 {
                    tracing::info!("Connections are accepted again");
                }
                let Some(place) = connections.admit(address) else {
                    if !std::mem::replace(&mut is_full, true) {
                        tracing::warn!(peer.address = ?address, "Refused a connection: too many are in use");
                    }
                    refuse(accepted);
                    continue;
                };
                is_full = false;
                let is_secure = matches!(accepted, Accepted::Tls(..));
                let edge = edge.of(address, is_secure, Arc::clone(place.connection()));
                threads.hand_over(accepted, edge, place).await;
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if refused == 0 {
                    tracing::error!(%error, "Connections cannot be accepted; they wait");
                }
                refused += 1;
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    if let Listener::Unix(_, path) = &listener
        && let Err(error) = std::fs::remove_file(path)
    {
        tracing::debug!(%error, "The local socket was already gone");
    }
}

/// Says that there is no room, as far as that can be said without waiting.
fn refuse(accepted: Accepted) {
    let failure = Failure::too_many_connections();
    let body = failure.as_json();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         retry-after: {}\r\nconnection: close\r\n\r\n{body}",
        body.len(),
        failure.retry_after_s.unwrap_or(1)
    );
    let told = match accepted {
        Accepted::Tcp(mut stream) => stream.write(answer.as_bytes()),
        Accepted::Unix(mut stream) => stream.write(answer.as_bytes()),
        Accepted::Tls(..) => return,
    };
    if let Err(error) = told {
        tracing::debug!(%error, "A refused client had left");
    }
}

async fn next(listener: &Listener, tls: Option<&TlsAcceptor>) -> io::Result<(Accepted, Option<IpAddr>)> {
    match listener {
        Listener::Tcp(tcp) => {
            let (stream, peer) = tcp.accept().await?;
            // Fails for a client that has left again, which is no reason to keep the next one waiting.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "A client left before its connection was served");
            }
            let (stream, address) = (stream.into_std()?, Some(peer.ip()));
            Ok(match tls {
                Some(tls) => (Accepted::Tls(stream, tls.clone()), address),
                None => (Accepted::Tcp(stream), address),
            })
        }
        Listener::Unix(unix, _) => loop {
            let (stream, _) = unix.accept().await?;
            let Ok(peer) = stream.peer_cred().map(|peer| peer.uid()) else { continue };
            if may_operate(peer, private::user()) {
                return Ok((Accepted::Unix(stream.into_std()?), None));
            }
            tracing::warn!(peer.uid = peer, "Refused a connection of another user to the local socket");
        },
    }
}

/// Whether a process of user `peer` may do everything over the local socket. The mode of the data directory and of the
/// socket keep others out; this holds where a file system does not keep modes.
fn may_operate(peer: u32, own: u32) -> bool {
    const ROOT: u32 = 0;
    peer == own || peer == ROOT
}

/// Binds the socket of the data directory that this process holds; a file there is left over. The directory was made
/// 0700 before, so no other user can connect before the socket has its mode.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {}: {error}", path.display()))
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_socket_is_for_its_own_user_and_root() {
        for (peer, own, may) in
            [(501, 501, true), (0, 501, true), (502, 501, false), (501, 0, false), (0, 0, true)]
        {
            assert_eq!(may_operate(peer, own), may, "{peer} at the gateway of {own}");
        }
    }
}
