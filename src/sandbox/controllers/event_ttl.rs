//! Events live for an hour after they were last written (`--event-ttl`).
//!
//! The API server leaves that to leases of etcd. Here they go when the next Event is written: nothing waits for them, so the
//! clock of a rehearsal, which jumps to whatever is awaited, does not jump for their sake.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

use super::kinds::EVENTS;
use super::object;
use crate::base::clock::Clock as _;
use crate::sandbox::api::{Api, Changed, Controller, EventType, Requeue, Status};

const TTL: Duration = Duration::from_secs(3_600);

/// Removes Events whose time has come.
#[derive(Default)]
pub(super) struct EventTtl {
    /// When each Event was written, the earliest first; one that was written again is there again.
    written: VecDeque<(Timestamp, (String, String))>,
    last: BTreeMap<(String, String), Timestamp>,
}

impl Controller for EventTtl {
    fn name(&self) -> &'static str {
        "event-ttl"
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        if change.resource != *EVENTS {
            return Vec::new();
        }
        match change.event {
            EventType::Deleted => Vec::new(),
            EventType::Added | EventType::Modified => vec![object::key(&change.object)],
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let now = api.clock().now();
        let key = (namespace.to_owned(), name.to_owned());
        self.written.push_back((now, key.clone()));
        self.last.insert(key, now);
        while let Some((moment, _)) = self.written.front()
            && moment.checked_add(TTL).is_ok_and(|end| end <= now)
        {
            let Some((moment, key)) = self.written.pop_front() else { break };
            if self.last.get(&key) != Some(&moment) {
                continue;
            }
            self.last.remove(&key);
            // Somebody may have deleted it before.
            match api.delete(&EVENTS, &key.0, &key.1, "Background") {
                Err(refused) if refused.code != 404 => return Err(refused),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(Requeue::OnChange)
    }
}
