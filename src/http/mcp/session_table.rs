//! Which MCP sessions there are, whose they are, and which one is evicted for a new one. Pure: the sessions themselves
//! are kept elsewhere.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::DropGuard;

/// Sessions of all owners.
pub const SESSIONS_MAX: usize = 1_000;
/// Sessions of one owner.
pub const OWNER_SESSIONS_MAX: usize = 100;

type SessionId = Arc<str>;

/// A caller at an address. Without authentication all callers are the same one, so that only the address differs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub caller: Arc<str>,
    /// None: over the local socket.
    pub address: Option<IpAddr>,
}

/// Why there is no room for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    #[error(
        "all {OWNER_SESSIONS_MAX} MCP sessions that a client may have are in use; close some of their streams or end \
         sessions with DELETE /mcp"
    )]
    OfOwner,
    #[error("all {SESSIONS_MAX} MCP sessions of the gateway are in use; try again later")]
    InAll,
}

/// Keeps a session from being idle.
#[derive(Debug)]
pub struct InUse(#[expect(dead_code, reason = "counted by its clones")] Arc<()>);

/// The sessions by their ids.
#[derive(Debug, Default)]
pub struct Table {
    sessions: HashMap<SessionId, Entry>,
    /// Counts uses, so that sessions can be told apart by their last one.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    owner: Owner,
    last_use: u64,
    in_use: Arc<()>,
    /// Tells the session's end when it is dropped.
    _open: Option<DropGuard>,
}

impl Entry {
    fn is_idle(&self) -> bool {
        Arc::strong_count(&self.in_use) == 1
    }
}

impl Table {
    /// Adds a session, and returns the idle one that has to go for it: the owner's own if the owner has as many as it
    /// may, otherwise one of the owner with the most.
    pub fn admit(
        &mut self,
        owner: &Owner,
        id: &SessionId,
        open: impl Into<Option<DropGuard>>,
    ) -> Result<Option<SessionId>, Full> {
        let mut counts: HashMap<&Owner, usize> = HashMap::new();
        for entry in self.sessions.values() {
            *counts.entry(&entry.owner).or_default() += 1;
        }
        let evicted = if counts.get(owner).is_some_and(|count| *count >= OWNER_SESSIONS_MAX) {
            Some(self.oldest_idle(|entry| entry.owner == *owner).ok_or(Full::OfOwner)?)
        } else if self.sessions.len() >= SESSIONS_MAX {
            let idle = self.sessions.values().filter(|entry| entry.is_idle());
            let most = idle.map(|entry| counts.get(&entry.owner).copied().unwrap_or(0)).max();
            let is_largest = |entry: &Entry| counts.get(&entry.owner).copied() == most;
            Some(self.oldest_idle(is_largest).ok_or(Full::InAll)?)
        } else {
            None
        };
        if let Some(evicted) = &evicted {
            self.sessions.remove(evicted);
        }
        self.uses += 1;
        let entry =
            Entry { owner: owner.clone(), last_use: self.uses, in_use: Arc::default(), _open: open.into() };
        self.sessions.insert(Arc::clone(id), entry);
        Ok(evicted)
    }

    fn oldest_idle(&self, is_meant: impl Fn(&Entry) -> bool) -> Option<SessionId> {
        let meant = self.sessions.iter().filter(|(_, entry)| entry.is_idle() && is_meant(entry));
        meant.min_by_key(|(_, entry)| entry.last_use).map(|(id, _)| Arc::clone(id))
    }

    /// Notes a use of a session; false: this caller has none with that id. It may come from another address.
    pub fn touch(&mut self, id: &str, by: &Owner) -> bool {
        self.uses += 1;
        let uses = self.uses;
        let entry = self.sessions.get_mut(id).filter(|entry| entry.owner.caller == by.caller);
        entry.map(|entry| entry.last_use = uses).is_some()
    }

    /// Keeps a session from being idle; `None`: there is none with that id.
    pub fn use_of(&mut self, id: &str) -> Option<InUse> {
        self.sessions.get(id).map(|entry| InUse(Arc::clone(&entry.in_use)))
    }

    /// Forgets a session.
    pub fn remove(&mut self, id: &str) {
        self.sessions.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(caller: &str, last: u8) -> Owner {
        Owner { caller: caller.into(), address: Some(IpAddr::from([10, 0, 0, last])) }
    }

    fn admit(table: &mut Table, owner: &Owner, id: &str) -> Result<Option<String>, Full> {
        table.admit(owner, &Arc::from(id), None).map(|evicted| evicted.map(|id| id.to_string()))
    }

    #[test]
    fn table_evicts_the_owners_oldest_idle_session_when_the_owner_has_as_many_as_it_may() {
        let (mut table, ada, bob) = (Table::default(), owner("ada", 1), owner("bob", 1));
        assert_eq!(admit(&mut table, &bob, "bob"), Ok(None));
        for n in 0..OWNER_SESSIONS_MAX {
            assert_eq!(admit(&mut table, &ada, &n.to_string()), Ok(None));
        }
        let streams = table.use_of("0").unwrap();
        assert!(table.touch("1", &owner("ada", 9)), "from another address too");
        assert_eq!(admit(&mut table, &ada, "a").unwrap().as_deref(), Some("2"), "0 is in use, 1 was used");
        drop(streams);
        assert_eq!(admit(&mut table, &ada, "b").unwrap().as_deref(), Some("0"));
        assert!(!table.touch("2", &ada) && table.touch("bob", &bob));
        assert!(!table.touch("bob", &ada), "nobody uses another's");
        assert_eq!(admit(&mut table, &owner("ada", 2), "elsewhere"), Ok(None));
    }

    #[test]
    fn table_refuses_a_session_when_none_of_the_owners_is_idle() {
        let (mut table, ada) = (Table::default(), owner("ada", 1));
        let mut streams = Vec::new();
        for n in 0..OWNER_SESSIONS_MAX {
            admit(&mut table, &ada, &n.to_string()).unwrap();
            streams.extend(table.use_of(&n.to_string()));
        }
        assert_eq!(admit(&mut table, &ada, "more"), Err(Full::OfOwner));
        assert_eq!(admit(&mut table, &owner("bob", 1), "bob"), Ok(None));
        streams.pop();
        assert_eq!(admit(&mut table, &ada, "more").unwrap().as_deref(), Some("99"));
    }

    #[test]
    fn table_holds_so_many_sessions_and_takes_room_from_the_owner_with_the_most() {
        let mut table = Table::default();
        let bob = owner("bob", 1);
        admit(&mut table, &bob, "bob").unwrap();
        for n in 0..3 * SESSIONS_MAX {
            admit(&mut table, &owner("flood", (n % 20) as u8), &n.to_string()).unwrap();
            assert!(table.sessions.len() <= SESSIONS_MAX);
        }
        assert_eq!(table.sessions.len(), SESSIONS_MAX);
        assert!(table.touch("bob", &bob), "one session is never the owner's with the most");
        let streams: Vec<_> = (0..3 * SESSIONS_MAX).filter_map(|n| table.use_of(&n.to_string())).collect();
        let bobs = table.use_of("bob");
        assert_eq!(admit(&mut table, &owner("eve", 1), "eve"), Err(Full::InAll));
        drop((streams, bobs));
        assert!(admit(&mut table, &owner("eve", 1), "eve").unwrap().is_some());
    }
}
