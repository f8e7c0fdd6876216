//! A request whose body still arrives, and which has no record yet. One that is dropped meanwhile has lost its client:
//! that is recorded like any other end.

use std::sync::Arc;

use uuid::Uuid;

use super::failure::Failure;
use super::{Proxy, in_flight};
use crate::auth::Caller;

/// Records the request as left by its client when it is dropped before its body was read.
pub struct Arriving<'a> {
    proxy: &'a Proxy,
    endpoint: &'static str,
    caller: &'a Caller,
    id: Uuid,
    client_id: Option<Arc<str>>,
    has_arrived: bool,
}

impl Proxy {
    /// A request of which the head has come.
    pub fn arriving<'a>(
        &'a self,
        endpoint: &'static str,
        caller: &'a Caller,
        id: Uuid,
        client_id: Option<Arc<str>>,
    ) -> Arriving<'a> {
        Arriving { proxy: self, endpoint, caller, id, client_id, has_arrived: false }
    }
}

impl Arriving<'_> {
    /// Its body has been read: whoever goes on with it records it.
    pub fn arrived(mut self) {
        self.has_arrived = true;
    }

    /// It is refused for what has come of it.
    pub fn refuse(mut self, failure: &Failure) {
        self.has_arrived = true;
        in_flight::fail(self.begin(), failure);
    }

    fn begin(&mut self) -> crate::usage::Ledger {
        self.proxy.begin(self.endpoint, self.caller, self.id, self.client_id.take(), None)
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        if !self.has_arrived {
            // Dropped at once, it ends as one whose client has left.
            drop(self.begin());
        }
    }
}
