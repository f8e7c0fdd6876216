//! Publishes what changes of the backends and of the models that callers may name: states at once, figures at
//! most once a second and only while there are listeners. Each document is the one that a GET answers with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::admin::server::Server;
use super::admin::servers::FIGURES_AGE;
use super::openai::models::{self, Model};
use super::state::Shared;
use crate::events::{Audience, Kind};
use crate::profiles::ProfileSet;

/// How often figures are published.
const FIGURES_EVERY: Duration = Duration::from_secs(1);
/// How often an account hears of its requests.
const REQUESTS_EVERY: Duration = Duration::from_millis(500);
/// A backend that installs or loads changes often; its steps are published at most this often.
const SETTLE: Duration = Duration::from_millis(20);

/// What was published last, so that only differences are.
#[derive(Default)]
struct Published {
    servers: BTreeMap<String, Server>,
    models: BTreeMap<String, Model>,
    /// The profiles and states of backends that `models` follows from.
    sources: Option<(Arc<ProfileSet>, HashMap<String, &'static str>)>,
}

/// Publishes `server.changed` and `profile.available` until the gateway drains.
pub async fn publish_backends(gateway: Shared) {
    let mut changes = gateway.proxy.backends.changes();
    let mut published = Published::default();
    let mut tick = tokio::time::interval(FIGURES_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    published.servers(&gateway, Server::is_like);
    published.models(&gateway).await;
    loop {
        let changed = tokio::select! {
            () = gateway.ending() => return,
            changed = changes.changed() => match changed {
                Ok(()) => true,
                // No backend can change any more.
                Err(_) => return,
            },
            _ = tick.tick() => false,
        };
        if changed {
            published.servers(&gateway, Server::is_like);
            published.models(&gateway).await;
            tokio::time::sleep(SETTLE).await;
        } else if gateway.events.listeners() > 0 {
            gateway.proxy.backends.look(FIGURES_AGE).await;
            published.servers(&gateway, |now, before| !now.differs(before));
            published.models(&gateway).await;
        }
    }
}

impl Published {
    fn servers(&mut self, gateway: &Shared, same: impl Fn(&Server, &Server) -> bool) {
        let now = Server::all(gateway).into_iter().map(|server| (server.id.clone(), server)).collect();
        update(&mut self.servers, now, same, |id, server| match server {
            Some(server) => gateway.events.publish(Kind::ServerChanged, Audience::Readers, server),
            None => gateway.events.publish(Kind::ServerChanged, Audience::Readers, &removed(id)),
        });
    }

    async fn models(&mut self, gateway: &Shared) {
        let sources = (gateway.proxy.profiles.load_full(), models::states(gateway));
        let is_same = |(profiles, states): &(Arc<ProfileSet>, _)| {
            Arc::ptr_eq(profiles, &sources.0) && *states == sources.1
        };
        if self.sources.as_ref().is_some_and(is_same) {
            return;
        }
        let now = models::all(gateway, &sources.0, &sources.1).await;
        let now = now.into_iter().map(|model| (model.id.clone(), model)).collect();
        update(&mut self.models, now, Model::eq, |id, model| {
            let audience = Audience::ProfileUsers(Arc::from(id));
            match model {
                Some(model) => gateway.events.publish(Kind::ProfileAvailable, audience, model),
                None => gateway.events.publish(Kind::ProfileAvailable, audience, &removed(id)),
            }
        });
        self.sources = Some(sources);
    }
}

/// Publishes `request.changed` for accounts whose requests begin or end, each at most twice a second, until the gateway
/// drains.
pub async fn publish_requests(gateway: Shared) {
    let mut tick = tokio::time::interval(REQUESTS_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = gateway.ending() => return,
            _ = tick.tick() => {}
        }
        let is_heard = gateway.events.listeners() > 0;
        for (user, request) in gateway.proxy.recorder.changes().take(is_heard) {
            let audience = user.map_or(Audience::Readers, Audience::OwnerAndReaders);
            gateway.events.publish(Kind::RequestChanged, audience, &json!({"id": request.to_string()}));
        }
    }
}

fn removed(id: &str) -> serde_json::Value {
    json!({"id": id, "removed": true})
}

/// Brings `known` up to `now`, and passes on each value that is not `same` as before, and `None` for each
/// that is gone.
fn update<T>(
    known: &mut BTreeMap<String, T>,
    now: BTreeMap<String, T>,
    same: impl Fn(&T, &T) -> bool,
    mut changed: impl FnMut(&str, Option<&T>),
) {
    for id in known.keys().filter(|id| !now.contains_key(*id)) {
        changed(id, None);
    }
    known.retain(|id, _| now.contains_key(id));
    for (id, value) in now {
        if known.get(&id).is_some_and(|before| same(&value, before)) {
            continue;
        }
        changed(&id, Some(&value));
        known.insert(id, value);
    }
}
