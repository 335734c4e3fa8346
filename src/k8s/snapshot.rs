//! What a run that writes nothing has read already: a second run of a script needs one list per kind, not one request per object.
//!
//! A kind's objects are read once, cluster-wide, and serve every later read and every wait that is met already, as long as this
//! connection has written nothing and for at most five seconds of the target's time. With the first write all of it is forgotten for good: from
//! then on every read goes to the server (but a wait for an object that was just applied begins at the answer). Secrets are never listed for this (a list of some by their labels serves the same question again), nor kinds of more than one page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;

use super::cluster::Cluster;
use super::error::Error;
use super::read::first_page;
use super::resource::Resource;

/// How long a snapshot may be used.
const FRESH: Duration = Duration::from_secs(5);

/// How long the answer to a write may begin a watch. Servers keep the versions of some minutes; an older one costs a list.
const WRITTEN: Duration = Duration::from_secs(30);

/// Objects of one kind by namespace (empty for cluster-scoped kinds) and name.
pub(super) type Objects = BTreeMap<(String, String), Arc<Value>>;

/// The snapshots of a connection.
#[derive(Default)]
pub(super) struct Snapshots {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: BTreeMap<Resource, Taken>,
    /// Kinds that one page does not hold, or that may not be listed everywhere.
    unfit: BTreeSet<Resource>,
    /// Kinds of which a single object was read before.
    asked: BTreeSet<Resource>,
    /// Objects that a narrow list brought.
    seen: BTreeMap<(Resource, String, String), (Duration, Arc<Value>)>,
    /// Answers to narrow reads by path and query: the same question within a moment has the same answer.
    answers: BTreeMap<String, (Duration, Arc<Value>)>,
    /// Lists by labels, each with the namespace it was asked for.
    chosen: Vec<Chosen>,
    /// What the server answered to the last write: a wait goes on from there, by a watch from its resourceVersion.
    written: BTreeMap<(Resource, String, String), (Duration, Arc<Value>)>,
    /// Namespaces that this connection created, with what it has applied in them since.
    own: BTreeMap<String, BTreeSet<(Resource, String)>>,
}

struct Chosen {
    at: Duration,
    resource: Resource,
    namespace: Option<String>,
    labels: BTreeSet<(String, String)>,
    objects: Arc<Vec<Value>>,
}

struct Taken {
    at: Duration,
    objects: Arc<Objects>,
}

impl Cluster {
    /// The objects of a kind if they were read a moment ago and nothing was written since.
    pub(super) fn recall(&self, resource: &Resource) -> Option<Arc<Objects>> {
        if !self.is_quiet() {
            return None;
        }
        let now = self.clock().monotonic();
        let state = self.snapshots().state.lock();
        let taken = state.taken.get(resource)?;
        (now.saturating_sub(taken.at) <= FRESH).then(|| taken.objects.clone())
    }

    /// The objects of a kind, read now if need be; `None` where single reads serve better.
    pub(super) async fn snapshot(
        &self,
        resource: &Resource,
    ) -> Result<Option<Arc<Objects>>, Error> {
        if let Some(objects) = self.recall(resource) {
            return Ok(Some(objects));
        }
        let fit =
            resource.plural != "secrets" && !self.snapshots().state.lock().unfit.contains(resource);
        if !self.is_quiet() || !fit {
            return Ok(None);
        }
        let page = match first_page(self, resource).await {
            Ok(page) => page,
            Err(error) if error.is_forbidden() || error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let Some(items) = page else {
            self.snapshots().state.lock().unfit.insert(resource.clone());
            return Ok(None);
        };
        let objects: Objects =
            items.into_iter().map(|item| (key_of(&item), Arc::new(item))).collect();
        let objects = Arc::new(objects);
        let taken = Taken { at: self.clock().monotonic(), objects: objects.clone() };
        self.snapshots().state.lock().taken.insert(resource.clone(), taken);
        Ok(Some(objects))
    }

    /// As [`snapshot`](Self::snapshot), for the read of a single object: of a namespaced kind only the second read makes the list worth it.
    pub(super) async fn snapshot_for_one(
        &self,
        resource: &Resource,
    ) -> Result<Option<Arc<Objects>>, Error> {
        if let Some(objects) = self.recall(resource) {
            return Ok(Some(objects));
        }
        // A cluster-scoped kind is one short list anyway.
        let first =
            resource.namespaced && self.snapshots().state.lock().asked.insert(resource.clone());
        if first { Ok(None) } else { self.snapshot(resource).await }
    }

    /// Keeps the objects of a narrow list for single reads; Secrets are not kept.
    pub(super) fn see(&self, resource: &Resource, items: &[Value]) {
        if !self.is_quiet() || resource.plural == "secrets" {
            return;
        }
        let now = self.clock().monotonic();
        let mut state = self.snapshots().state.lock();
        for item in items {
            let (namespace, name) = key_of(item);
            state.seen.insert((resource.clone(), namespace, name), (now, Arc::new(item.clone())));
        }
    }

    /// An object that a narrow list brought a moment ago.
    pub(super) fn seen(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        if !self.is_quiet() {
            return None;
        }
        let key = (resource.clone(), namespace.to_owned(), name.to_owned());
        self.fresh(self.snapshots().state.lock().seen.get(&key)?)
    }

    /// Keeps the answer to a narrow read.
    pub(super) fn keep_answer(&self, question: &str, answer: &Value) {
        if self.is_quiet() {
            let kept = (self.clock().monotonic(), Arc::new(answer.clone()));
            self.snapshots().state.lock().answers.insert(question.to_owned(), kept);
        }
    }

    /// The answer to the same read a moment ago.
    pub(super) fn kept_answer(&self, question: &str) -> Option<Arc<Value>> {
        if !self.is_quiet() {
            return None;
        }
        self.fresh(self.snapshots().state.lock().answers.get(question)?)
    }

    fn fresh(&self, kept: &(Duration, Arc<Value>)) -> Option<Arc<Value>> {
        let age = self.clock().monotonic().saturating_sub(kept.0);
        (age <= FRESH).then(|| kept.1.clone())
    }

    /// Keeps a list by labels for the same and for narrower questions.
    pub(super) fn keep_chosen(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        labels: &[(&str, &str)],
        objects: &[Value],
    ) {
        if self.is_quiet() {
            let chosen = Chosen {
                at: self.clock().monotonic(),
                resource: resource.clone(),
                namespace: namespace.map(str::to_owned),
                labels: owned(labels),
                objects: Arc::new(objects.to_vec()),
            };
            self.snapshots().state.lock().chosen.push(chosen);
        }
    }

    /// A list of a moment ago that holds all objects with these labels in a namespace (`None`: in all).
    pub(super) fn chosen(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        labels: &[(&str, &str)],
    ) -> Option<Arc<Vec<Value>>> {
        if !self.is_quiet() {
            return None;
        }
        let (now, labels) = (self.clock().monotonic(), owned(labels));
        let mut state = self.snapshots().state.lock();
        state.chosen.retain(|kept| now.saturating_sub(kept.at) <= FRESH);
        let holds = |kept: &&Chosen| {
            kept.resource == *resource
                && kept.labels.is_subset(&labels)
                && (kept.namespace.is_none() || kept.namespace.as_deref() == namespace)
        };
        state.chosen.iter().find(holds).map(|kept| kept.objects.clone())
    }

    /// Whether an object cannot be as wanted yet: its namespace is this connection's, and nothing of that name was
    /// applied in it.
    pub(super) fn is_surely_new(&self, resource: &Resource, namespace: &str, name: &str) -> bool {
        let state = self.snapshots().state.lock();
        let applied = state.own.get(namespace);
        applied.is_some_and(|applied| !applied.contains(&(resource.clone(), name.to_owned())))
    }

    /// Keeps the answer to a write; of Secrets only that it was.
    pub(super) fn wrote(&self, resource: &Resource, object: &Value, created: bool) {
        let (namespace, name) = key_of(object);
        if let Some(applied) = self.snapshots().state.lock().own.get_mut(&namespace) {
            applied.insert((resource.clone(), name.clone()));
        }
        if created && resource.plural == "namespaces" && resource.group.is_empty() {
            self.snapshots().state.lock().own.insert(name.clone(), BTreeSet::new());
        }
        if resource.plural == "secrets" {
            return;
        }
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        let now = self.clock().monotonic();
        let mut state = self.snapshots().state.lock();
        state.written.retain(|_, (at, _)| now.saturating_sub(*at) <= WRITTEN);
        state.written.insert((resource.clone(), namespace, name), (now, Arc::new(object)));
    }

    /// An object as the server answered when it was last written, a moment ago.
    pub(super) fn written(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
    ) -> Option<Arc<Value>> {
        let key = (resource.clone(), namespace.to_owned(), name.to_owned());
        let now = self.clock().monotonic();
        let state = self.snapshots().state.lock();
        let (at, object) = state.written.get(&key)?;
        (now.saturating_sub(*at) <= WRITTEN).then(|| object.clone())
    }

    /// Whether an object, as a watch shows it, is of before this connection's last write to it. Resource versions are
    /// decimal numbers that grow (Kubernetes 1.35 promises it); others compare as current.
    pub(super) fn is_behind(&self, resource: &Resource, object: &Value) -> bool {
        let (namespace, name) = key_of(object);
        let version = |object: &Value| -> Option<u64> {
            object["metadata"]["resourceVersion"].as_str()?.parse().ok()
        };
        let written = self.written(resource, &namespace, &name);
        match (written.and_then(|written| version(&written)), version(object)) {
            (Some(written), Some(shown)) => shown < written,
            _ => false,
        }
    }

    /// Forgets what was read, because the caller waits for the world to change.
    pub fn forget(&self) {
        let mut state = self.snapshots().state.lock();
        state.taken.clear();
        state.asked.clear();
        state.seen.clear();
        state.answers.clear();
        state.chosen.clear();
    }

    /// Whether this connection has written nothing.
    fn is_quiet(&self) -> bool {
        self.counter().total().1 == 0
    }
}

fn owned(labels: &[(&str, &str)]) -> BTreeSet<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn key_of(object: &Value) -> (String, String) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}
