//! The API server of the sandbox: one verb pipeline over kinds that are data.
//!
//! A request is an HTTP request (`http`) or a controller's call (`client`); both end in the verbs (`verbs`), which work
//! on JSON trees and the `Kind` that names them. Reading order: `kinds` and `crd` (what is served), `go_decode`,
//! `normalise`, `rules`, `admission` and `extensions` (what a write passes through), `verbs`, `http`, `runner` (controllers).
//! Behaviour and texts are those of kube-apiserver 1.36.3; what is not modelled answers 501 and is noted.

pub(crate) mod access;
mod admission;
mod client;
mod crd;
mod crd_lifecycle;
mod discovery;
mod events;
mod extensions;
mod go_decode;
mod go_json;
pub(crate) mod http;
mod json;
pub(crate) mod kinds;
mod label_selector;
mod normalise;
mod openapi_v2;
mod pod_warnings;
mod random;
mod rules;
pub(crate) mod runner;
mod selectors;
mod signers;
pub(crate) mod state;
pub(crate) mod status;
mod subresources;
mod table;
mod verbs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use self::kinds::{Kind, Kinds};
use self::random::Random;
pub(crate) use self::status::group_resource;
use super::api::{Control, Nodes, Status};
use super::authz::User;
use super::faults::Faults;
use super::store::{Store, StoredObject};
use crate::base::clock::Clock as _;
use crate::base::virtual_clock::VirtualClock;

/// The version that the sandbox answers as.
pub(crate) const GIT_VERSION: &str = "v1.36.3";

/// Requests that clients sent over HTTP.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Counters {
    pub(crate) fn count(&self, write: bool) {
        if write { &self.writes } else { &self.reads }.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn total(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.writes.load(Ordering::Relaxed))
    }
}

/// The server's state; shared by connections and controllers.
pub(crate) struct ApiServer {
    pub(crate) store: Store,
    pub(crate) kinds: Kinds,
    pub(crate) clock: Arc<VirtualClock>,
    pub(crate) counters: Counters,
    seed: u64,
    random: Mutex<Random>,
    /// How many names were made of a prefix.
    generated: Mutex<BTreeMap<String, u64>>,
    not_modelled: Mutex<BTreeSet<String>>,
    nodes: RwLock<Option<Arc<dyn Nodes>>>,
    /// Policies and addresses that writes ask for, kept up to date by `crd_lifecycle` and `normalise`.
    addresses: Mutex<normalise::Addresses>,
    extensions: extensions::Extensions,
    /// Without them nobody is known by a token.
    tokens: RwLock<Option<access::Tokens>>,
    /// What clients are to meet instead of an answer.
    pub(crate) faults: Faults,
    control: RwLock<Option<Arc<dyn Control>>>,
}

/// Who sends a request and how it is to be treated.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) manager: String,
    pub(crate) user: String,
    pub(crate) groups: Vec<String>,
    pub(crate) dry_run: bool,
    pub(crate) validation: FieldValidation,
    pub(crate) force: bool,
    /// A patch cannot mean another object of the same name: its uid is a field like others.
    pub(crate) is_patch: bool,
    pub(crate) is_apply: bool,
    /// Texts for `Warning` headers.
    pub(crate) warnings: Vec<String>,
    /// What the body's decoder says of fields that came twice.
    pub(crate) duplicates: Vec<String>,
    /// The body as it came: complaints follow its order.
    pub(crate) body: bytes::Bytes,
}

impl Request {
    /// Who asks, as authorization sees it.
    fn as_user(&self) -> User {
        User { name: self.user.clone(), groups: self.groups.clone(), ..User::default() }
    }

    /// A controller's request.
    pub(crate) fn internal(manager: &str) -> Self {
        Self {
            manager: manager.to_owned(),
            user: format!("system:serviceaccount:kube-system:{manager}"),
            groups: vec!["system:masters".to_owned(), "system:authenticated".to_owned()],
            dry_run: false,
            validation: FieldValidation::Ignore,
            force: true,
            is_patch: false,
            is_apply: false,
            warnings: Vec::new(),
            duplicates: Vec::new(),
            body: bytes::Bytes::new(),
        }
    }
}

/// What happens to fields that the schema does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    Warn,
    Strict,
}

impl ApiServer {
    pub(crate) fn new(clock: Arc<VirtualClock>, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            store: Store::default(),
            kinds: Kinds::builtin(),
            clock,
            counters: Counters::default(),
            seed,
            generated: Mutex::default(),
            random: Mutex::new(Random::seeded(seed)),
            not_modelled: Mutex::default(),
            nodes: RwLock::new(None),
            addresses: Mutex::default(),
            extensions: extensions::Extensions::default(),
            tokens: RwLock::new(access::Tokens::new()),
            faults: Faults::default(),
            control: RwLock::new(None),
        })
    }

    /// Registers who answers the streams of pods.
    pub(crate) fn set_nodes(&self, nodes: Option<Arc<dyn Nodes>>) {
        *self.nodes.write() = nodes;
    }

    /// Registers who carries out what a rehearsal asks of its world.
    pub(crate) fn set_control(&self, control: Arc<dyn Control>) {
        *self.control.write() = Some(control);
    }

    fn control(&self) -> Option<Arc<dyn Control>> {
        self.control.read().clone()
    }

    fn nodes(&self) -> Option<Arc<dyn Nodes>> {
        self.nodes.read().clone()
    }

    /// Notes something that a client met and the sandbox does not model.
    pub(crate) fn note_not_modelled(&self, what: &str) {
        self.not_modelled.lock().insert(what.to_owned());
    }

    pub(crate) fn not_modelled(&self) -> Vec<String> {
        self.not_modelled.lock().iter().cloned().collect()
    }

    fn refuse_not_modelled(&self, what: &str) -> Status {
        self.note_not_modelled(what);
        status::not_modelled(what)
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time as metadata holds it.
    fn now_text(&self) -> String {
        time_text(self.now())
    }

    fn random_uid(&self) -> String {
        self.random.lock().uuid()
    }

    fn random_suffix(&self, length: usize) -> String {
        self.random.lock().suffix(length)
    }

    /// A name made of a prefix: the n-th of a prefix is always the same.
    fn generated_name(&self, prefix: &str) -> String {
        let count = {
            let mut generated = self.generated.lock();
            let count = generated.entry(prefix.to_owned()).or_default();
            *count += 1;
            *count
        };
        format!("{prefix}{}", self.random_for(&format!("{prefix} {count}")).suffix(5))
    }

    /// Randomness that only depends on the seed and a name.
    fn random_for(&self, name: &str) -> Random {
        Random::for_name(self.seed, name)
    }

    /// One object in the version of `kind`.
    pub(crate) fn read(&self, kind: &Kind, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let stored = self.store.get(&kind.resource, namespace, name)?;
        Some(self.value_as(kind, &stored))
    }

    fn value_as(&self, kind: &Kind, stored: &StoredObject) -> Arc<Value> {
        let value = self.store.value(stored);
        let api_version = kind.api_version();
        if value.get("apiVersion").and_then(Value::as_str) == Some(api_version.as_str()) {
            return value;
        }
        Arc::new(in_version_of(kind, (*value).clone()))
    }

    /// One object as JSON text, in the version of `kind`.
    fn text_as(&self, kind: &Kind, stored: &StoredObject) -> Vec<u8> {
        if events::is_other_form(kind) {
            return self.value_as(kind, stored).to_string().into_bytes();
        }
        stored.json_as(&kind.api_version())
    }

    /// Appends one object as an item of a list: those of built-in kinds do not repeat their kind and version.
    fn write_item(&self, kind: &Kind, stored: &StoredObject, text: &mut Vec<u8>) {
        if kind.custom.is_some() {
            text.extend(self.text_as(kind, stored));
            return;
        }
        if !events::is_other_form(kind) {
            stored.write_bare(text);
            return;
        }
        let mut value = (*self.value_as(kind, stored)).clone();
        if let Some(fields) = value.as_object_mut() {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        text.extend(value.to_string().into_bytes());
    }
}

/// A kept object, or what was made of one, in the version of `kind`.
fn in_version_of(kind: &Kind, mut value: Value) -> Value {
    if events::is_other_form(kind) {
        return events::from_core(kind, value);
    }
    value["apiVersion"] = kind.api_version().into();
    value
}

/// Seconds in UTC, as `metav1.Time` is written.
pub(crate) fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
