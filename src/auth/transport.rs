//! How a request came in, and what that alone allows. Pure; [`Transport::trust`] is the only place that
//! derives rights from where a caller connects from.

use crate::config::ApiAuth;

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// The socket in the data directory: the same user on the same machine.
    UnixSocket,
    /// A loopback peer on a loopback listener, with no sign of a proxy in between.
    Loopback,
    /// A request that a proxy forwarded, and that does not name a client on this machine.
    Proxied,
    /// A peer on another machine, or a listener that other machines reach.
    Network,
}

/// Rights of a caller because of where it connects from, without any credential. Each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// None.
    Nothing,
    /// Read metrics and the description of the API.
    Monitoring,
    /// Everything, until a key or an account exists.
    Operator,
    /// Everything, at any time: the data directory's owner.
    Owner,
}

impl Transport {
    /// Returns what a caller may do because of where it connects from. `is_fresh`: there is no key, no
    /// operator's key and no account.
    pub fn trust(self, mode: ApiAuth, is_fresh: bool) -> Trust {
        match (self, mode) {
            (Transport::UnixSocket, _) => Trust::Owner,
            (Transport::Loopback, ApiAuth::Required) => Trust::Nothing,
            (Transport::Loopback, ApiAuth::Auto | ApiAuth::Open) if is_fresh => Trust::Operator,
            (Transport::Loopback, ApiAuth::Auto | ApiAuth::Open) => Trust::Monitoring,
            (Transport::Proxied | Transport::Network, _) => Trust::Nothing,
        }
    }

    /// Returns the transport of a forwarded request whose client is not known to be on this machine.
    pub fn forwarded(self) -> Transport {
        match self {
            Transport::UnixSocket | Transport::Loopback | Transport::Proxied => Transport::Proxied,
            Transport::Network => Transport::Network,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_follows_from_transport_mode_and_freshness_alone() {
        use ApiAuth::{Auto, Open, Required};
        use Transport::{Loopback, Network, Proxied, UnixSocket};
        use Trust::{Monitoring, Nothing, Operator, Owner};
        for (transport, mode, fresh, used) in [
            (UnixSocket, Auto, Owner, Owner),
            (UnixSocket, Open, Owner, Owner),
            (UnixSocket, Required, Owner, Owner),
            (Loopback, Auto, Operator, Monitoring),
            (Loopback, Open, Operator, Monitoring),
            (Loopback, Required, Nothing, Nothing),
            (Proxied, Auto, Nothing, Nothing),
            (Proxied, Open, Nothing, Nothing),
            (Proxied, Required, Nothing, Nothing),
            (Network, Auto, Nothing, Nothing),
            (Network, Open, Nothing, Nothing),
            (Network, Required, Nothing, Nothing),
        ] {
            assert_eq!(transport.trust(mode, true), fresh, "{transport:?} {mode:?}, fresh");
            assert_eq!(transport.trust(mode, false), used, "{transport:?} {mode:?}, with a key");
        }
    }
}
