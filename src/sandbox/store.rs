//! The objects of the sandbox, their revisions and the log of their changes (the etcd of the sandbox).
//!
//! Objects are kept as canonical JSON text; the trees that readers ask for are parsed on demand and shared while they
//! are in use. One lock orders all writes, so a revision names one state of the whole store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::mpsc;

use super::api::EventType;

/// Changes that a late watcher can still be told of.
const HISTORY_EVENTS: usize = 10_000;
/// Bytes of object text that the history may keep alive.
const HISTORY_BYTES: usize = 48 << 20;
/// Bytes of object text that stay parsed although nobody uses the trees, which are several times as large.
const PARSED_BYTES: usize = 512 << 10;

/// A resource in all of its versions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct GroupResource {
    pub group: String,
    /// `deployments`
    pub plural: String,
}

impl GroupResource {
    /// `GroupResource::new("apps", "deployments")`
    pub(super) fn new(group: &str, plural: &str) -> Self {
        Self { group: group.to_owned(), plural: plural.to_owned() }
    }
}

/// Namespace (empty for cluster-scoped objects) and name.
pub(super) type ObjectKey = (String, String);

/// One revision of one object.
#[derive(Debug)]
pub(super) struct StoredObject {
    pub key: ObjectKey,
    /// `metadata.resourceVersion`
    pub revision: u64,
    kind: Arc<str>,
    api_version: Arc<str>,
    /// Everything after `kind` and `apiVersion`: `"metadata":{…},…}`.
    rest: Bytes,
    parsed: Mutex<Weak<Value>>,
}

impl StoredObject {
    /// The object with its group version replaced, as conversion by strategy `None` does.
    pub(super) fn json_as(&self, api_version: &str) -> Vec<u8> {
        let mut text =
            Vec::with_capacity(self.rest.len() + api_version.len() + self.kind.len() + 32);
        text.extend_from_slice(b"{\"kind\":\"");
        text.extend_from_slice(self.kind.as_bytes());
        text.extend_from_slice(b"\",\"apiVersion\":\"");
        text.extend_from_slice(api_version.as_bytes());
        text.extend_from_slice(b"\",");
        text.extend_from_slice(&self.rest);
        text
    }

    /// Appends the object without `kind` and `apiVersion`, as items of built-in lists are written.
    pub(super) fn write_bare(&self, text: &mut Vec<u8>) {
        text.push(b'{');
        text.extend_from_slice(&self.rest);
    }

    /// Whether its text holds another: a quick look that parses nothing.
    pub(super) fn mentions(&self, text: &str) -> bool {
        self.rest.windows(text.len()).any(|found| found == text.as_bytes())
    }

    /// Bytes of its text.
    pub(super) fn size(&self) -> usize {
        self.rest.len()
    }

    fn parse(&self) -> Value {
        serde_json::from_slice(&self.json_as(&self.api_version)).unwrap_or_default()
    }
}

/// One change, as watchers see it.
#[derive(Clone, Debug)]
pub(super) struct StoreEvent {
    pub resource: Arc<GroupResource>,
    pub event: EventType,
    pub revision: u64,
    /// The object after the change; for a deletion its last state, at the deletion's revision.
    pub object: Arc<StoredObject>,
    /// The object before the change.
    pub previous: Option<Arc<StoredObject>>,
}

/// The object was changed or removed since it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

/// The revision asked for is older than the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expired {
    /// The oldest revision from which a watch can still start.
    pub oldest: u64,
}

/// An object with the name of its resource.
pub(super) type Placed = (Arc<GroupResource>, Arc<StoredObject>);

/// An object that comes from a saved state, at the revision that it had there.
pub(super) struct Restored {
    pub resource: GroupResource,
    pub key: ObjectKey,
    pub revision: u64,
    pub object: Value,
}

type Collection = BTreeMap<ObjectKey, Arc<StoredObject>>;
/// The changes of a resource as they happen. Whoever is further behind than the history is told no more: a client that does
/// not read must not fill the memory.
pub(super) type Changes = mpsc::Receiver<Weak<StoreEvent>>;
/// Called under the store's lock after each write, in the order of revisions.
pub(super) type OnChange = Box<dyn Fn(&StoreEvent) + Send>;

#[derive(Default)]
struct State {
    revision: u64,
    /// Events up to this revision are no longer known.
    forgotten: u64,
    collections: BTreeMap<Arc<GroupResource>, Collection>,
    history: VecDeque<Arc<StoreEvent>>,
    history_bytes: usize,
    watchers: Vec<(Arc<GroupResource>, mpsc::Sender<Weak<StoreEvent>>)>,
    on_change: Vec<OnChange>,
}

/// All objects of a cluster.
#[derive(Default)]
pub(super) struct Store {
    state: Mutex<State>,
    parsed: Mutex<Parsed>,
    names: Mutex<BTreeSet<Arc<str>>>,
}

/// Trees that were asked for lately, the newest last, with the size of their text.
#[derive(Default)]
struct Parsed {
    trees: VecDeque<(Arc<Value>, usize)>,
    bytes: usize,
}

/// Objects of one page of a list.
pub(super) struct Page {
    pub revision: u64,
    pub objects: Vec<Arc<StoredObject>>,
    /// The key to go on from, and how many objects there are from it.
    pub next: Option<(ObjectKey, usize)>,
}

impl Store {
    /// The revision of the last write.
    pub(super) fn revision(&self) -> u64 {
        self.state.lock().revision
    }

    /// One object.
    pub(super) fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<StoredObject>> {
        let state = self.state.lock();
        state.collections.get(resource)?.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The objects of a namespace (all for an empty one) in order, from a key on, at most `limit` (0 is no limit).
    pub(super) fn list(
        &self,
        resource: &GroupResource,
        namespace: &str,
        from: Option<&ObjectKey>,
        limit: usize,
    ) -> Page {
        let state = self.state.lock();
        let revision = state.revision;
        let Some(collection) = state.collections.get(resource) else {
            return Page { revision, objects: Vec::new(), next: None };
        };
        page_of(collection, namespace, from, limit, revision)
    }

    /// As [`Self::list`], of the state at a revision.
    pub(super) fn list_at(
        &self,
        resource: &GroupResource,
        namespace: &str,
        from: Option<&ObjectKey>,
        limit: usize,
        revision: u64,
    ) -> Result<Page, Expired> {
        let state = self.state.lock();
        if revision < state.forgotten {
            return Err(Expired { oldest: state.forgotten });
        }
        let mut collection = state.collections.get(resource).cloned().unwrap_or_default();
        // What happened since is taken back, the last change first.
        for event in state.history.iter().rev().take_while(|event| event.revision > revision) {
            if *event.resource != *resource {
                continue;
            }
            let key = event.object.key.clone();
            match &event.previous {
                Some(previous) => collection.insert(key, previous.clone()),
                None => collection.remove(&key),
            };
        }
        drop(state);
        Ok(page_of(&collection, namespace, from, limit, revision))
    }

    /// Writes an object if it is still at the revision that the caller saw (`None`: not there). The object gets its
    /// `resourceVersion` here.
    pub(super) fn put(
        &self,
        resource: &GroupResource,
        key: ObjectKey,
        seen: Option<u64>,
        object: Value,
    ) -> Result<Arc<StoredObject>, Lost> {
        let mut state = self.state.lock();
        let resource = state.resource(resource);
        let previous = state.collections.get(&resource).and_then(|all| all.get(&key)).cloned();
        if previous.as_ref().map(|object| object.revision) != seen {
            return Err(Lost);
        }
        state.revision += 1;
        let stored = self.stored(key.clone(), state.revision, object);
        state.collections.entry(resource.clone()).or_default().insert(key, stored.clone());
        let event = if previous.is_some() { EventType::Modified } else { EventType::Added };
        state.tell(StoreEvent {
            resource,
            event,
            revision: stored.revision,
            object: stored.clone(),
            previous,
        });
        Ok(stored)
    }

    /// Removes an object if it is still at the revision that the caller saw; `last` is its last state.
    pub(super) fn remove(
        &self,
        resource: &GroupResource,
        key: &ObjectKey,
        seen: u64,
        last: Value,
    ) -> Result<Arc<StoredObject>, Lost> {
        let mut state = self.state.lock();
        let resource = state.resource(resource);
        let previous = state.collections.get(&resource).and_then(|all| all.get(key)).cloned();
        if previous.as_ref().map(|object| object.revision) != Some(seen) {
            return Err(Lost);
        }
        state.revision += 1;
        let stored = self.stored(key.clone(), state.revision, last);
        if let Some(all) = state.collections.get_mut(&resource) {
            all.remove(key);
        }
        state.tell(StoreEvent {
            resource,
            event: EventType::Deleted,
            revision: stored.revision,
            object: stored.clone(),
            previous,
        });
        Ok(stored)
    }

    /// All objects of all resources, and the revision of that state.
    pub(super) fn all(&self) -> (u64, Vec<Placed>) {
        let state = self.state.lock();
        let objects = state.collections.iter().flat_map(|(resource, objects)| {
            objects.values().map(|object| (resource.clone(), object.clone()))
        });
        (state.revision, objects.collect())
    }

    /// Puts objects in place of all that are there. Watches end, and none can be resumed from before; listeners are told
    /// of what is gone and of all that is there.
    pub(super) fn replace(&self, revision: u64, objects: Vec<Restored>) {
        let mut state = self.state.lock();
        let newest = objects.iter().map(|item| item.revision).max().unwrap_or(0);
        state.revision = state.revision.max(revision).max(newest) + 1;
        state.forgotten = state.revision;
        state.history.clear();
        state.history_bytes = 0;
        state.watchers.clear();
        let mut before = std::mem::take(&mut state.collections);
        for item in objects {
            let resource = state.resource(&item.resource);
            let stored = self.stored(item.key.clone(), item.revision, item.object);
            let previous = before.get_mut(&resource).and_then(|all| all.remove(&item.key));
            state.collections.entry(resource.clone()).or_default().insert(item.key, stored.clone());
            let event = if previous.is_some() { EventType::Modified } else { EventType::Added };
            state.tell_listeners(&StoreEvent {
                resource,
                event,
                revision: stored.revision,
                object: stored,
                previous,
            });
        }
        for (resource, gone) in before {
            for object in gone.into_values() {
                state.tell_listeners(&StoreEvent {
                    resource: resource.clone(),
                    event: EventType::Deleted,
                    revision: object.revision,
                    object: object.clone(),
                    previous: Some(object),
                });
            }
        }
    }

    /// Changes of a resource after a revision, past and to come.
    pub(super) fn watch(
        &self,
        resource: &GroupResource,
        after: u64,
    ) -> Result<(Vec<Arc<StoreEvent>>, Changes), Expired> {
        let mut state = self.state.lock();
        if after < state.forgotten {
            return Err(Expired { oldest: state.forgotten });
        }
        let past = state
            .history
            .iter()
            .filter(|event| event.revision > after && *event.resource == *resource)
            .cloned()
            .collect();
        let receiver = state.subscribe(resource);
        Ok((past, receiver))
    }

    /// All objects of a resource as they are now, and the changes from here on.
    pub(super) fn list_and_watch(
        &self,
        resource: &GroupResource,
        namespace: &str,
    ) -> (u64, Vec<Arc<StoredObject>>, Changes) {
        let mut state = self.state.lock();
        let objects = state
            .collections
            .get(resource)
            .into_iter()
            .flatten()
            .filter(|(key, _)| namespace.is_empty() || key.0 == namespace)
            .map(|(_, object)| object.clone())
            .collect();
        let receiver = state.subscribe(resource);
        (state.revision, objects, receiver)
    }

    /// Tells `listener` of every change from here on, in order.
    pub(super) fn on_change(&self, listener: OnChange) {
        self.state.lock().on_change.push(listener);
    }

    /// The tree of an object; shared with other readers.
    pub(super) fn value(&self, object: &StoredObject) -> Arc<Value> {
        let mut parsed = object.parsed.lock();
        if let Some(value) = parsed.upgrade() {
            return value;
        }
        let value = Arc::new(object.parse());
        *parsed = Arc::downgrade(&value);
        drop(parsed);
        self.keep(value.clone(), object.size());
        value
    }

    fn keep(&self, value: Arc<Value>, size: usize) {
        let mut parsed = self.parsed.lock();
        parsed.trees.push_back((value, size));
        parsed.bytes += size;
        while parsed.bytes > PARSED_BYTES && parsed.trees.len() > 1 {
            let Some((_, oldest)) = parsed.trees.pop_front() else { break };
            parsed.bytes -= oldest;
        }
    }

    /// The one copy of a text that very many objects hold.
    fn name(&self, text: &str) -> Arc<str> {
        let mut names = self.names.lock();
        if let Some(known) = names.get(text) {
            return known.clone();
        }
        let name: Arc<str> = text.into();
        names.insert(name.clone());
        name
    }

    fn stored(&self, key: ObjectKey, revision: u64, mut object: Value) -> Arc<StoredObject> {
        object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        let text_of = |field: &str| self.name(object[field].as_str().unwrap_or_default());
        let kind = text_of("kind");
        let api_version = text_of("apiVersion");
        let mut rest = Vec::with_capacity(1_024);
        if let Value::Object(fields) = &object {
            for (name, value) in fields {
                if name == "kind" || name == "apiVersion" {
                    continue;
                }
                if !rest.is_empty() {
                    rest.push(b',');
                }
                // Names and values of a JSON tree can always be written to memory.
                let _ = serde_json::to_writer(&mut rest, name);
                rest.push(b':');
                let _ = serde_json::to_writer(&mut rest, value);
            }
        }
        rest.push(b'}');
        rest.shrink_to_fit();
        let value = Arc::new(object);
        let parsed = Mutex::new(Arc::downgrade(&value));
        self.keep(value, rest.len());
        Arc::new(StoredObject { key, revision, kind, api_version, rest: rest.into(), parsed })
    }
}

fn page_of(
    collection: &Collection,
    namespace: &str,
    from: Option<&ObjectKey>,
    limit: usize,
    revision: u64,
) -> Page {
    let mut page = Page { revision, objects: Vec::new(), next: None };
    let start = match from {
        Some(key) => Bound::Included(key.clone()),
        None if namespace.is_empty() => Bound::Unbounded,
        None => Bound::Included((namespace.to_owned(), String::new())),
    };
    let mut found = collection
        .range((start, Bound::Unbounded))
        .take_while(|(key, _)| namespace.is_empty() || key.0 == namespace);
    if limit == 0 {
        page.objects = found.map(|(_, object)| object.clone()).collect();
        return page;
    }
    page.objects = found.by_ref().take(limit).map(|(_, object)| object.clone()).collect();
    if let Some((key, _)) = found.next() {
        page.next = Some((key.clone(), found.count() + 1));
    }
    page
}

impl State {
    /// The one shared name of a resource.
    fn resource(&mut self, resource: &GroupResource) -> Arc<GroupResource> {
        if let Some((known, _)) = self.collections.get_key_value(resource) {
            return known.clone();
        }
        let resource = Arc::new(resource.clone());
        self.collections.insert(resource.clone(), Collection::new());
        resource
    }

    fn subscribe(&mut self, resource: &GroupResource) -> Changes {
        let (sender, receiver) = mpsc::channel(HISTORY_EVENTS);
        let resource = self.resource(resource);
        self.watchers.retain(|(_, sender)| !sender.is_closed());
        self.watchers.push((resource, sender));
        receiver
    }

    fn tell_listeners(&self, event: &StoreEvent) {
        for listener in &self.on_change {
            listener(event);
        }
    }

    fn tell(&mut self, event: StoreEvent) {
        self.tell_listeners(&event);
        let event = Arc::new(event);
        self.watchers.retain(|(resource, sender)| {
            *resource != event.resource || sender.try_send(Arc::downgrade(&event)).is_ok()
        });
        self.history_bytes += event.object.size();
        self.history.push_back(event);
        while self.history.len() > HISTORY_EVENTS || self.history_bytes > HISTORY_BYTES {
            let Some(oldest) = self.history.pop_front() else { break };
            self.history_bytes -= oldest.object.size();
            self.forgotten = oldest.revision;
        }
    }
}
