//! Collections followed by list and watch; whoever waits for objects of one kind and namespace shares one.
//!
//! A watch lives as long as somebody holds it. It goes on after the server ends it (time limit), after lost connections
//! and after 410 Gone (by a new list), and never polls.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use http_body_util::BodyExt as _;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;
use tokio::sync::{OnceCell, watch};
use tokio::task::JoinHandle;

use super::cluster::Cluster;
use super::error::Error;
use super::read::{Listed, list_page_by_page};
use super::request::Request;
use super::resource::Resource;
use super::secrets;

/// The server ends a watch after this time; ours is a little longer, for servers that vanish without a word.
const SERVER_LIMIT: Duration = Duration::from_secs(290);
const OWN_LIMIT: Duration = Duration::from_secs(300);
/// The first and the longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The watches that are open.
#[derive(Default)]
pub(super) struct Watches {
    open: Mutex<BTreeMap<Key, Weak<Watch>>>,
}

/// What is followed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    resource: Arc<Resource>,
    namespace: Option<String>,
    fields: String,
    /// The only objects that it knows from the beginning; none: it began with a list.
    begun_with: Vec<String>,
}

/// Where a watch begins.
pub(super) enum Beginning {
    /// With a list of its own.
    List,
    /// With a list that was just made.
    Listed(Listed),
    /// With some objects as they were at these versions; others come with their next change.
    Objects(Vec<Arc<Value>>),
}

/// A followed collection.
pub(super) struct Watch {
    state: Arc<State>,
    started: OnceCell<()>,
    task: OnceLock<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

struct State {
    /// By namespace and name.
    objects: RwLock<BTreeMap<(String, String), Arc<Value>>>,
    /// Counts changes.
    changes: watch::Sender<u64>,
    /// Why nothing more will come.
    failed: RwLock<Option<Arc<Error>>>,
}

impl State {
    fn fill(&self, items: impl IntoIterator<Item = Arc<Value>>) {
        let objects = items.into_iter().map(|item| (key_of(&item), item)).collect();
        *self.objects.write() = objects;
        self.changes.send_modify(|count| *count += 1);
    }
}

fn key_of(object: &Value) -> (String, String) {
    let text = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (text("namespace"), text("name"))
}

impl Watch {
    /// One object as it is now.
    pub(super) fn get(&self, namespace: Option<&str>, name: &str) -> Option<Arc<Value>> {
        let key = (namespace.unwrap_or_default().to_owned(), name.to_owned());
        self.state.objects.read().get(&key).cloned()
    }

    /// All objects as they are now.
    pub(super) fn all(&self) -> Vec<Arc<Value>> {
        self.state.objects.read().values().cloned().collect()
    }

    /// Tells of changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.state.changes.subscribe()
    }

    /// Why the watch ended, if it did.
    pub(super) fn failure(&self) -> Option<Arc<Error>> {
        self.state.failed.read().clone()
    }
}

impl Cluster {
    /// The watch on a collection if one is open already.
    pub(super) fn open_watch(
        &self,
        resource: &Arc<Resource>,
        namespace: Option<&str>,
        fields: &str,
    ) -> Option<Arc<Watch>> {
        let key = key(resource, namespace, fields, Vec::new());
        let watch = self.watches().open.lock().get(&key)?.upgrade()?;
        watch.started.initialized().then_some(watch)
    }

    /// Follows a collection; shared with everybody who follows it.
    pub(super) async fn watch(
        &self,
        resource: &Arc<Resource>,
        namespace: Option<&str>,
        fields: &str,
        beginning: Beginning,
    ) -> Result<Arc<Watch>, Error> {
        let begun_with = match &beginning {
            Beginning::List | Beginning::Listed(_) => Vec::new(),
            Beginning::Objects(objects) => objects.iter().map(|object| key_of(object).1).collect(),
        };
        let key = key(resource, namespace, fields, begun_with);
        let watch = {
            let mut open = self.watches().open.lock();
            open.retain(|_, watch| watch.strong_count() > 0);
            let found = open.get(&key).and_then(Weak::upgrade);
            found.unwrap_or_else(|| {
                let watch = Arc::new(Watch {
                    state: Arc::new(State {
                        objects: RwLock::default(),
                        changes: watch::Sender::new(0),
                        failed: RwLock::default(),
                    }),
                    started: OnceCell::new(),
                    task: OnceLock::new(),
                });
                open.insert(key.clone(), Arc::downgrade(&watch));
                watch
            })
        };
        let start = async {
            let (objects, version) = match beginning {
                Beginning::List => arcs(key.list(self).await?),
                Beginning::Listed(listed) => arcs(listed),
                Beginning::Objects(objects) => {
                    let version = oldest(&objects);
                    (objects, version)
                }
            };
            watch.state.fill(objects);
            let follow = follow(self.clone(), key, watch.state.clone(), version);
            // Only one caller gets here: the cell is initialised once.
            let _ = watch.task.set(tokio::spawn(follow));
            Ok::<_, Error>(())
        };
        watch.started.get_or_try_init(|| start).await?;
        Ok(watch)
    }
}

fn arcs(listed: Listed) -> (Vec<Arc<Value>>, String) {
    (listed.items.into_iter().map(Arc::new).collect(), listed.resource_version)
}

/// The version from which on a watch misses no change of any of them. Versions are compared as numbers, which the API
/// promises for those of one kind; of others the watch tells all objects anew.
fn oldest(objects: &[Arc<Value>]) -> String {
    let version = |object: &Arc<Value>| {
        object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse::<u64>().ok())
    };
    let versions: Option<Vec<u64>> = objects.iter().map(version).collect();
    versions.and_then(|all| all.into_iter().min()).map_or_else(String::new, |all| all.to_string())
}

fn key(
    resource: &Arc<Resource>,
    namespace: Option<&str>,
    fields: &str,
    begun_with: Vec<String>,
) -> Key {
    Key {
        begun_with,
        resource: resource.clone(),
        namespace: namespace.filter(|_| resource.namespaced).map(str::to_owned),
        fields: fields.to_owned(),
    }
}

impl Key {
    async fn list(&self, cluster: &Cluster) -> Result<Listed, Error> {
        let namespace = self.namespace.as_deref();
        list_page_by_page(cluster, &self.resource, namespace, "", &self.fields).await
    }

    fn request(&self, resource_version: &str) -> Request {
        let path = self.resource.path(self.namespace.as_deref());
        Request::get(&path, format!("watch {}", self.resource.qualified()))
            .query("watch", "true")
            .query("allowWatchBookmarks", "true")
            .query("resourceVersion", resource_version)
            .query("fieldSelector", &self.fields)
            .query("timeoutSeconds", &SERVER_LIMIT.as_secs().to_string())
    }
}

/// How one watch request ended.
enum Ended {
    /// By its time limit or a lost connection: goes on at the last version.
    Closed { any_event: bool },
    /// The version is too old: needs a new list.
    Gone,
    /// The server will not have it.
    Refused(Error),
}

/// Watches until nobody holds the watch any more.
async fn follow(cluster: Cluster, key: Key, state: Arc<State>, mut version: String) {
    let mut pause = FIRST_PAUSE;
    loop {
        let ended = watch_once(&cluster, &key, &state, &mut version).await;
        let relist = match ended {
            Ended::Closed { any_event: true } => {
                pause = FIRST_PAUSE;
                continue;
            }
            Ended::Closed { any_event: false } => false,
            Ended::Gone => true,
            Ended::Refused(error) => {
                *state.failed.write() = Some(Arc::new(error));
                state.changes.send_modify(|count| *count += 1);
                return;
            }
        };
        if relist {
            match key.list(&cluster).await {
                Ok(listed) => {
                    version = listed.resource_version;
                    state.fill(listed.items.into_iter().map(Arc::new));
                    continue;
                }
                Err(error) => tracing::debug!(%error, "list again for a watch"),
            }
            // An empty version makes the server answer with the state of now, and then 410 is not possible.
            version.clear();
        }
        cluster.clock().pause(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn watch_once(cluster: &Cluster, key: &Key, state: &State, version: &mut String) -> Ended {
    let response = match cluster.open(&key.request(version)).await {
        Ok(response) => response,
        Err(error) => {
            return match error.status().map(|status| status.code) {
                Some(410) => Ended::Gone,
                Some(400..=428 | 430..=499) => Ended::Refused(error),
                _ => Ended::Closed { any_event: false },
            };
        }
    };
    let mut body = response.into_body();
    let mut buffer: Vec<u8> = Vec::new();
    let mut any_event = false;
    let until = cluster.clock().sleep(OWN_LIMIT);
    tokio::pin!(until);
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = &mut until => return Ended::Closed { any_event: true },
        };
        let Some(Ok(frame)) = frame else { return Ended::Closed { any_event } };
        let Ok(data) = frame.into_data() else { continue };
        buffer.extend_from_slice(&data);
        let mut begin = 0;
        while let Some(end) = buffer[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &buffer[begin..begin + end];
            begin += end + 1;
            let Ok(event) = serde_json::from_slice::<Value>(line) else { continue };
            any_event = true;
            if let Some(ended) = take(cluster, key, state, version, event) {
                return ended;
            }
        }
        buffer.drain(..begin);
    }
}

/// Takes one event into the state.
fn take(
    cluster: &Cluster,
    key: &Key,
    state: &State,
    version: &mut String,
    mut event: Value,
) -> Option<Ended> {
    let mut object = event["object"].take();
    let kind = event["type"].as_str().unwrap_or_default();
    if kind == "ERROR" {
        return Some(if object["code"] == 410 {
            Ended::Gone
        } else {
            tracing::debug!(status = %object, "watch {}", key.resource.plural);
            Ended::Closed { any_event: false }
        });
    }
    if let Some(seen) = object["metadata"]["resourceVersion"].as_str() {
        seen.clone_into(version);
    }
    match kind {
        "ADDED" | "MODIFIED" => {
            secrets::learn(cluster.redactor(), &object);
            if let Some(metadata) = object["metadata"].as_object_mut() {
                // The largest part of an object, and nothing that a wait looks at.
                metadata.remove("managedFields");
            }
            state.objects.write().insert(key_of(&object), Arc::new(object));
        }
        "DELETED" => {
            state.objects.write().remove(&key_of(&object));
        }
        _ => return None,
    }
    state.changes.send_modify(|count| *count += 1);
    None
}
