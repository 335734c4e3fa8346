//! WATCH: changes from a revision on, with selectors, bookmarks and initial events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _};
use futures::{FutureExt as _, stream};
use serde_json::{Value, json};

use super::read;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::virtual_clock::Waiting;
use crate::sandbox::api::{EventType, Status};
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::api_server::selectors::Selection;
use crate::sandbox::api_server::{ApiServer, status};
use crate::sandbox::store::{Changes, StoreEvent, StoredObject};

/// Real time between bookmarks, as far as the API server's own habit matters to clients.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// The query of a watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchOptions {
    pub(crate) resource_version: String,
    pub(crate) bookmarks: bool,
    pub(crate) send_initial_events: Option<bool>,
    pub(crate) timeout: Option<Duration>,
}

/// Writes an object as text.
pub(crate) type Write<T> = Arc<dyn Fn(&T) -> Vec<u8> + Send + Sync>;

/// How an event's object is written (as it is, as a table row, metadata only): a stored one, and one that was changed
/// since or only marks a revision.
#[derive(Clone)]
pub(crate) struct Render {
    pub(crate) stored: Write<StoredObject>,
    pub(crate) value: Write<Value>,
}

impl Render {
    fn bookmark(&self, kind: &Kind, revision: u64, initial_end: bool) -> Bytes {
        let mut object = json!({
            "kind": kind.kind,
            "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": revision.to_string()},
        });
        if initial_end {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        line("BOOKMARK", &(self.value)(&object))
    }
}

struct Watch {
    server: Arc<ApiServer>,
    kind: Arc<Kind>,
    namespace: String,
    selection: Selection,
    render: Render,
    ready: VecDeque<Bytes>,
    receiver: Changes,
    bookmarks: bool,
    /// The first bookmark ends the initial events, and has not come yet.
    marks_initial_end: bool,
    /// Tells when kinds come and go: a watch ends with the definition of its kind.
    kinds: tokio::sync::watch::Receiver<()>,
    /// The last revision told, for bookmarks.
    revision: u64,
    clock: SystemClock,
    /// Real time at which the server ends the watch: the cluster's clock stands still while nobody works.
    ends: Option<Duration>,
    /// Whoever watches waits: time may pass.
    _waiting: Option<Waiting>,
}

impl ApiServer {
    /// The stream of a watch: one JSON document per line.
    pub(crate) fn watch(
        self: &Arc<Self>,
        kind: &Arc<Kind>,
        namespace: &str,
        selection: Selection,
        options: &WatchOptions,
        render: Render,
    ) -> Result<BoxStream<'static, Bytes>, Status> {
        let mut ready = VecDeque::new();
        let wants_initial = options.send_initial_events == Some(true);
        let from_now = matches!(options.resource_version.as_str(), "" | "0");
        let (revision, receiver) =
            if wants_initial || (from_now && options.send_initial_events.is_none()) {
                let (revision, objects, receiver) =
                    self.store.list_and_watch(&kind.resource, namespace);
                for stored in objects {
                    if selection.is_everything() || selection.matches(&self.store.value(&stored)) {
                        ready.push_back(line("ADDED", &(render.stored)(&stored)));
                    }
                }
                if wants_initial && options.bookmarks {
                    ready.push_back(render.bookmark(kind, revision, true));
                }
                (revision, receiver)
            } else {
                let after = if from_now {
                    self.store.revision()
                } else {
                    read::revision(&options.resource_version)?
                };
                let (past, receiver) = match self.store.watch(&kind.resource, after) {
                    Ok(found) => found,
                    Err(expired) => return Ok(too_old(after, expired.oldest + 1)),
                };
                let watch_past: Vec<_> = past;
                for event in watch_past {
                    if let Some(text) = self.told(&event, namespace, &selection, &render) {
                        ready.push_back(text);
                    }
                }
                (after, receiver)
            };
        let clock = SystemClock::new();
        let ends = options.timeout;
        let watch = Watch {
            server: self.clone(),
            kind: kind.clone(),
            namespace: namespace.to_owned(),
            selection,
            render,
            ready,
            receiver,
            bookmarks: options.bookmarks,
            marks_initial_end: from_now && options.send_initial_events.is_none(),
            kinds: self.kinds.changes(),
            revision,
            clock,
            ends,
            _waiting: self.clock.waiting(),
        };
        Ok(stream::unfold(watch, Watch::next).boxed())
    }

    /// What a watcher is told of a change: an object that leaves its selection is gone, one that enters is new.
    fn told(
        &self,
        event: &StoreEvent,
        namespace: &str,
        selection: &Selection,
        render: &Render,
    ) -> Option<Bytes> {
        if !namespace.is_empty() && event.object.key.0 != namespace {
            return None;
        }
        let chosen = |stored: &StoredObject| {
            selection.is_everything() || selection.matches(&self.store.value(stored))
        };
        let before = event.previous.as_deref().is_some_and(chosen);
        let after = event.event != EventType::Deleted && chosen(&event.object);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(line("ADDED", &(render.stored)(&event.object))),
            (true, true) => Some(line("MODIFIED", &(render.stored)(&event.object))),
            (true, false) if event.event == EventType::Deleted => {
                Some(line("DELETED", &(render.stored)(&event.object)))
            }
            (true, false) => {
                // The last state that was chosen, at the revision at which it left.
                let previous = event.previous.as_ref()?;
                let mut gone = (*self.store.value(previous)).clone();
                gone["metadata"]["resourceVersion"] = event.revision.to_string().into();
                Some(line("DELETED", &(render.value)(&gone)))
            }
        }
    }
}

impl Watch {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            if let Some(text) = self.ready.pop_front() {
                return Some((text, self));
            }
            let left = match self.ends {
                Some(ends) => ends.checked_sub(self.clock.monotonic())?,
                None => BOOKMARK_EVERY,
            };
            let pause = self.clock.sleep(left.min(BOOKMARK_EVERY));
            let received = tokio::select! {
                biased;
                // A watcher that is further behind than the history has to begin anew.
                event = self.receiver.recv() => Some(event?.upgrade()?),
                _ = self.kinds.changed(), if self.kind.custom.is_some() => {
                    let Kind { group, version, plural, .. } = self.kind.as_ref();
                    self.server.kinds.by_resource(group, version, plural)?;
                    continue;
                }
                () = pause.fuse() => None,
            };
            match received {
                Some(event) => {
                    self.revision = event.revision;
                    if let Some(text) =
                        self.server.told(&event, &self.namespace, &self.selection, &self.render)
                    {
                        self.ready.push_back(text);
                    }
                }
                None if self.bookmarks => {
                    self.revision = self.revision.max(self.server.store.revision());
                    // Events up to that revision may wait in the channel; they go first.
                    while let Ok(event) = self.receiver.try_recv() {
                        let event = event.upgrade()?;
                        if let Some(text) =
                            self.server.told(&event, &self.namespace, &self.selection, &self.render)
                        {
                            self.ready.push_back(text);
                        }
                    }
                    let ends_initial = std::mem::take(&mut self.marks_initial_end);
                    let mark = self.render.bookmark(&self.kind, self.revision, ends_initial);
                    self.ready.push_back(mark);
                }
                None => {}
            }
        }
    }
}

/// The real server tells it as an event of a watch that has begun: kube-rs tries a version that is refused by a status again
/// and again.
fn too_old(after: u64, oldest: u64) -> BoxStream<'static, Bytes> {
    let refused = status::expired(format!("too old resource version: {after} ({oldest})"));
    let told = status::to_json(&refused).to_string();
    stream::iter([line("ERROR", told.as_bytes())]).boxed()
}

fn line(event: &str, object: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(object.len() + 40);
    text.extend_from_slice(b"{\"type\":\"");
    text.extend_from_slice(event.as_bytes());
    text.extend_from_slice(b"\",\"object\":");
    text.extend_from_slice(object);
    text.extend_from_slice(b"}\n");
    text.into()
}
