//! The event bus: bounded, numbered and resumable. Each event says which callers may read its document with
//! GET; the bus does not know the callers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::broadcast;

/// Events that are kept for a listener who comes back.
const KEPT: usize = 1024;

/// Events that a listener may be behind before it has to begin anew.
const BACKLOG: usize = 1024;

/// What an event is about; a listener chooses by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    Servers,
    Models,
    Downloads,
    Profiles,
    Requests,
    Users,
    Plugins,
    Chats,
    System,
}

impl Topic {
    /// Every topic, in the order in which they are documented.
    pub const ALL: [Topic; 9] = [
        Topic::Servers,
        Topic::Models,
        Topic::Downloads,
        Topic::Profiles,
        Topic::Requests,
        Topic::Users,
        Topic::Plugins,
        Topic::Chats,
        Topic::System,
    ];

    /// As listeners write it.
    pub fn name(self) -> &'static str {
        match self {
            Topic::Servers => "servers",
            Topic::Models => "models",
            Topic::Downloads => "downloads",
            Topic::Profiles => "profiles",
            Topic::Requests => "requests",
            Topic::Users => "users",
            Topic::Plugins => "plugins",
            Topic::Chats => "chats",
            Topic::System => "system",
        }
    }

    /// The topic of that name.
    pub fn named(name: &str) -> Option<Topic> {
        Topic::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal in $topic:ident,)*) => {
        /// Every event there is; `tests/it/event_views.rs` has a row for each. The data is a document that a GET
        /// answers with, or some of its fields, and `"removed": true` with the id of what is gone.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// The event's name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$kind => $name,)* }
            }

            /// The topic that listeners choose it by.
            pub fn topic(self) -> Topic {
                match self { $(Kind::$kind => Topic::$topic,)* }
            }
        }
    };
}

kinds! {
    /// An entry of `/api/v1/servers`.
    ServerChanged = "server.changed" in Servers,
    /// The id of `/api/v1/models/{id}`.
    ModelChanged = "model.changed" in Models,
    /// `/api/v1/downloads/{id}`
    DownloadChanged = "download.changed" in Downloads,
    /// `/api/v1/profiles/{name}`
    ProfileChanged = "profile.changed" in Profiles,
    /// `/v1/models/{id}`: a profile as those see it who may use it.
    ProfileAvailable = "profile.available" in Profiles,
    /// The id of `/api/v1/requests/{id}`, of an account's newest request that began or ended.
    RequestChanged = "request.changed" in Requests,
    /// An entry of `/api/v1/users` that is new and waits for approval.
    UserPending = "user.pending" in Users,
    /// An entry of `/api/v1/users`.
    UserChanged = "user.changed" in Users,
    /// `/api/v1/users/pending/count`
    UsersPendingCount = "users.pending_count" in Users,
    /// `/api/v1/plugins/{name}`
    PluginChanged = "plugin.changed" in Plugins,
    /// The id of `/api/v1/chats/{id}`.
    ChatChanged = "chat.changed" in Chats,
    /// The field `config` of `/api/v1/system`.
    ConfigChanged = "config.changed" in System,
    /// `/api/v1/captures`
    CapturesChanged = "captures.changed" in System,
}

/// The callers that may read an event's document with GET. There is no audience of all listeners: each
/// variant is a permission that a GET asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Those that may read everything.
    Readers,
    /// The account with this id, and no administrator; empty: callers without an account.
    Owner(Arc<str>),
    /// The account with this id, and those that may read everything.
    OwnerAndReaders(Arc<str>),
    /// Those that may use the profile of this name.
    ProfileUsers(Arc<str>),
}

/// Something changed.
#[derive(Debug, Clone)]
pub struct Event {
    /// Counts from 1 in every run of the process.
    pub sequence: u64,
    pub kind: Kind,
    pub audience: Audience,
    /// A JSON document.
    pub data: Arc<str>,
}

/// Where events are told and heard. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    events: VecDeque<Arc<Event>>,
}

/// What a listener gets next.
#[derive(Debug)]
pub enum Heard {
    Event(Arc<Event>),
    /// Events were lost: what the listener knows has to be read anew.
    Lost,
    /// The bus is gone.
    End,
}

/// One listener.
#[derive(Debug)]
pub struct Subscription {
    /// What was missed and is still kept; then what comes.
    missed: VecDeque<Arc<Event>>,
    lost: bool,
    live: broadcast::Receiver<Arc<Event>>,
}

impl Bus {
    /// A bus that nobody listens to, with an id of its own run.
    pub fn new() -> Bus {
        let live = broadcast::Sender::new(BACKLOG);
        Bus(Arc::new(Shared { kept: Mutex::default(), live }))
    }

    /// Publishes an event. Never waits: a listener that is too slow gets [`Heard::Lost`].
    pub fn publish(&self, kind: Kind, audience: Audience, data: &impl Serialize) {
        let data = match serde_json::to_string(data) {
            Ok(data) => data.into(),
            Err(error) => {
                tracing::error!(event.name = kind.name(), %error, "Event is not valid JSON");
                return;
            }
        };
        let mut kept = self.kept();
        kept.last += 1;
        let event = Arc::new(Event { sequence: kept.last, kind, audience, data });
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::clone(&event));
        // Sent under the lock, so that order is the order of the numbers. Nobody may be listening.
        drop(self.0.live.send(event));
    }

    /// Listens from now on, or from the event after `last` where those are still kept.
    pub fn subscribe(&self, last: Option<u64>) -> Subscription {
        let kept = self.kept();
        let live = self.0.live.subscribe();
        let last = last.unwrap_or(kept.last);
        let oldest = kept.events.front().map_or(kept.last + 1, |event| event.sequence);
        let lost = last > kept.last || last + 1 < oldest;
        let missed = kept.events.iter().filter(|event| !lost && event.sequence > last).cloned().collect();
        Subscription { missed, lost, live }
    }

    /// The number of the newest event; 0 before the first.
    pub fn last(&self) -> u64 {
        self.kept().last
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        self.0.live.receiver_count()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl Subscription {
    /// The next event. Cancel safe.
    pub async fn next(&mut self) -> Heard {
        if std::mem::take(&mut self.lost) {
            return Heard::Lost;
        }
        if let Some(event) = self.missed.pop_front() {
            return Heard::Event(event);
        }
        match self.live.recv().await {
            Ok(event) => Heard::Event(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Lost,
            Err(broadcast::error::RecvError::Closed) => Heard::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bus: &Bus, count: usize) {
        for n in 0..count {
            bus.publish(Kind::ConfigChanged, Audience::Readers, &n);
        }
    }

    async fn sequences(listener: &mut Subscription, count: usize) -> Vec<u64> {
        let mut heard = Vec::new();
        for _ in 0..count {
            match listener.next().await {
                Heard::Event(event) => heard.push(event.sequence),
                other => panic!("{other:?}"),
            }
        }
        heard
    }

    #[tokio::test]
    async fn a_listener_hears_what_is_told_from_then_on() {
        let bus = Bus::new();
        told(&bus, 2);
        let mut listener = bus.subscribe(None);
        told(&bus, 2);
        assert_eq!(sequences(&mut listener, 2).await, [3, 4]);
    }

    #[tokio::test]
    async fn who_comes_back_hears_what_was_missed_and_then_what_comes() {
        let bus = Bus::new();
        told(&bus, 5);
        let mut listener = bus.subscribe(Some(2));
        told(&bus, 1);
        assert_eq!(sequences(&mut listener, 4).await, [3, 4, 5, 6]);
    }

    #[tokio::test]
    async fn who_missed_more_than_is_kept_is_told_to_begin_anew() {
        let bus = Bus::new();
        told(&bus, KEPT + 2);
        let mut listener = bus.subscribe(Some(1));
        assert!(matches!(listener.next().await, Heard::Lost));
        told(&bus, 1);
        assert_eq!(sequences(&mut listener, 1).await, [KEPT as u64 + 3]);
    }

    #[tokio::test]
    async fn a_number_of_another_run_begins_anew() {
        let bus = Bus::new();
        told(&bus, 1);
        assert!(matches!(bus.subscribe(Some(900)).next().await, Heard::Lost));
    }

    #[tokio::test]
    async fn a_slow_listener_loses_events_and_is_told() {
        let bus = Bus::new();
        let mut slow = bus.subscribe(None);
        told(&bus, BACKLOG + 1);
        assert!(matches!(slow.next().await, Heard::Lost));
        assert_eq!(sequences(&mut slow, 1).await, [2]);
    }

    #[tokio::test]
    async fn a_bus_that_is_gone_ends_its_listeners() {
        let bus = Bus::new();
        let mut listener = bus.subscribe(None);
        drop(bus);
        assert!(matches!(listener.next().await, Heard::End));
    }
}
