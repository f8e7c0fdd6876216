//! Tells the bus what the backends do: changes of state at once, figures at most once a second and
//! only while somebody listens. Knows how backends are shown, not who listens.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use tokio::time::MissedTickBehavior;

use super::admin::server::Server;
use super::admin::servers::FIGURES_AGE;
use super::state::Shared;
use crate::events::{Audience, Topic};

/// How often figures are told.
const FIGURES_EVERY: Duration = Duration::from_secs(1);
/// A backend that installs or loads says much; its steps are told at most this often.
const SETTLE: Duration = Duration::from_millis(20);

/// Publishes `server.changed` until the gateway drains.
pub async fn tell_servers(gateway: Shared) {
    let mut changes = gateway.proxy.backends.changes();
    let mut told = BTreeMap::new();
    let mut tick = tokio::time::interval(FIGURES_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tell(&gateway, &mut told, Server::is_like);
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
            tell(&gateway, &mut told, Server::is_like);
            tokio::time::sleep(SETTLE).await;
        } else if gateway.events.listeners() > 0 {
            gateway.proxy.backends.look(FIGURES_AGE).await;
            tell(&gateway, &mut told, |now, before| !now.differs(before));
        }
    }
}

/// Publishes each backend that is not `same` as it was told last, and those that went.
fn tell(gateway: &Shared, told: &mut BTreeMap<String, Server>, same: impl Fn(&Server, &Server) -> bool) {
    let now: BTreeMap<String, Server> =
        Server::all(gateway).into_iter().map(|server| (server.id.clone(), server)).collect();
    for id in told.keys().filter(|id| !now.contains_key(*id)) {
        let gone = json!({"id": id, "removed": true});
        gateway.events.publish(Topic::Servers, "server.changed", Audience::Everyone, &gone);
    }
    told.retain(|id, _| now.contains_key(id));
    for (id, server) in now {
        if told.get(&id).is_some_and(|before| same(&server, before)) {
            continue;
        }
        gateway.events.publish(Topic::Servers, "server.changed", Audience::Everyone, &server);
        told.insert(id, server);
    }
}
