//! Server-side apply: typed merge, and who owns which field (`metadata.managedFields`).
//!
//! Pure functions over a `Schema` and JSON; the caller stores, defaults, validates and passes the time in. Behaviour and
//! texts are those of kube-apiserver 1.36.3 (structured-merge-diff 6.3 and apimachinery's managedfields).
//!
//! How the verb pipeline uses it:
//! - POST, PUT and patches other than apply: decode and default the new object, then `update`, then mutating admission
//!   and the strategy's own changes (cluster IPs, generation), which nobody owns.
//! - apply: `apply`, then default, admission and validation as for any other write. `object` holds its managedFields.
//! - Before storing, `keep_timestamps(old, &mut new)`: an object that differs from the stored one in nothing but the
//!   times of its entries is not a change, so compare after it.
//! - `reset_fields` says what an endpoint ignores; pass its answer in the request.
//!
//! Reading order: `path`, `set`, `fields_v1` (its JSON form), `types` (what a schema means here), `typed` (the walks),
//! `managed` (the entries), `updater` (merge, prune, ownership), this file (the whole of a request), `zero` (the form
//! of built-in objects).

mod error;
mod fields_v1;
pub(in crate::sandbox) mod go_text;
mod last_applied;
mod managed;
mod path;
mod reset;
mod set;
mod typed;
mod types;
mod updater;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value};

pub use error::{ApplyError, Conflict};
pub use fields_v1::{FieldsV1Error, decode as decode_fields, encode as encode_fields};
pub use managed::{ManagerId, Operation};
pub use path::{PathElement, path_text};
pub use reset::{ResetFields, reset_fields};
pub use set::Set;

use self::managed::Managed;
use self::typed::Duplicates;
use self::types::TypeRef;
use self::updater::{Refusal, Updater};
use crate::sandbox::go_form::go_form;
use crate::sandbox::schema::Schema;

/// The name under which fields are kept that were there before ownership was recorded.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Where the kind of an object comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A kind of the API server's own, decoded into Go structs: see `zero`.
    BuiltIn,
    /// A kind of a CRD, kept as it is.
    Custom,
}

/// What a request is about, for applies and updates alike.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The schema of the whole object; without one every list and every scalar is a leaf.
    pub schema: Option<&'a Schema>,
    pub origin: Origin,
    /// The version of the request: `apps/v1`.
    pub api_version: &'a str,
    pub kind: &'a str,
    /// The other versions in which the kind is served; entries of versions not served are dropped.
    pub other_versions: &'a [(&'a str, Option<&'a Schema>)],
    /// `""`, `status`, `scale`, …
    pub subresource: &'a str,
    /// What the endpoint ignores.
    pub reset_fields: &'a ResetFields,
    /// The time of the request, whole seconds of which are recorded.
    pub time: Timestamp,
}

/// An apply patch.
#[derive(Clone, Copy, Debug)]
pub struct ApplyRequest<'a> {
    pub target: Target<'a>,
    /// The stored object in the request's version; `None` creates.
    pub live: Option<&'a Value>,
    /// The configuration as sent.
    pub applied: &'a Value,
    pub manager: &'a str,
    pub force: bool,
}

/// What an apply comes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The merged object with `metadata.managedFields`.
    pub object: Value,
    /// Whether anything but ownership changed.
    pub changed: bool,
}

/// A POST, a PUT or a patch that is no apply.
#[derive(Clone, Copy, Debug)]
pub struct UpdateRequest<'a> {
    pub target: Target<'a>,
    /// The stored object in the request's version; `None` creates.
    pub live: Option<&'a Value>,
    /// The object as it is to be, defaults included.
    pub new: &'a Value,
    pub manager: &'a str,
}

/// Merges a configuration into the object.
///
/// # Errors
/// Conflicts with other managers, configurations that do not fit their type.
pub fn apply(request: &ApplyRequest<'_>) -> Result<Applied, ApplyError> {
    let target = &request.target;
    check_applied(target, request.applied)?;
    let read = managed::decode(managed_fields(request.live));
    let mut managed = read.map_err(|error| ApplyError::Internal {
        message: format!("failed to decode managed fields: {error}"),
    })?;
    let live = target.stored(request.live);
    let updater = target.updater();
    if managed.is_empty() && request.live.is_some() {
        let id = target.manager(BEFORE_FIRST_APPLY, Operation::Update);
        managed = record_update(target, &updater, &target.stored(None), &live, managed, &id)
            .map_err(|message| ApplyError::Internal {
                message: format!("failed to create manager for existing fields: {message}"),
            })?;
    }
    let name = || object_name(request.applied, target);
    typed::validate(request.applied, updater.typ, Duplicates::Refused).map_err(|errors| {
        ApplyError::Internal {
            message: format!("failed to create typed patch object ({}): {errors}", name()),
        }
    })?;
    typed::validate(&live, updater.typ, Duplicates::Allowed).map_err(|errors| {
        ApplyError::Internal {
            message: format!("failed to create typed live object ({}): {errors}", name()),
        }
    })?;

    let id = target.manager(request.manager, Operation::Apply);
    let run = |managed: Managed, force| updater.apply(&live, request.applied, managed, &id, force);
    let outcome = match run(managed.clone(), request.force) {
        Err(Refusal::Conflicts(conflicts)) if request.manager == last_applied::MANAGER => {
            // Fields that `kubectl apply` owns by its annotation pass to `kubectl apply --server-side`.
            match last_applied::remaining_conflicts(&updater, &live, &conflicts) {
                Some(rest) if rest.is_empty() => run(managed, true),
                Some(rest) => Err(Refusal::Conflicts(rest)),
                None => Err(Refusal::Conflicts(conflicts)),
            }
        }
        outcome => outcome,
    };
    let (merged, mut managed) = outcome.map_err(|refusal| match refusal {
        Refusal::Conflicts(conflicts) => ApplyError::Conflicts(conflicts),
        Refusal::Types(message) => ApplyError::Internal { message },
    })?;
    strip_system_fields(&mut managed, &id);
    let changed = merged.is_some();
    if changed && let Some(owned) = managed.get_mut(&id) {
        owned.time = target.moment();
    }
    let mut object = match merged {
        Some(merged) => merged,
        None => request.live.cloned().unwrap_or(live),
    };
    target.finish(&mut object);
    if request.manager == last_applied::MANAGER {
        last_applied::refresh(&mut object, request.applied);
    }
    managed::store(&mut object, &managed);
    Ok(Applied { object, changed })
}

/// The new object with `metadata.managedFields` brought up to date.
pub fn update(request: &UpdateRequest<'_>) -> Value {
    let target = &request.target;
    let mut object = request.new.clone();
    target.finish(&mut object);
    let managed = updated_fields(request, &object).unwrap_or_default();
    managed::store(&mut object, &managed);
    object
}

fn updated_fields(request: &UpdateRequest<'_>, new: &Value) -> Option<Managed> {
    let target = &request.target;
    let stored = || managed::decode(managed_fields(request.live)).unwrap_or_default();
    let given = managed_fields(Some(request.new));
    let managed = if !target.subresource.is_empty() {
        // A subresource cannot set managedFields.
        stored()
    } else if managed::is_reset(given) {
        Managed::new()
    } else {
        match managed::decode(given) {
            Ok(managed) if !managed.is_empty() => managed,
            _ => stored(),
        }
    };
    if managed.is_empty() && request.live.is_some() {
        // Ownership was given up, or never recorded: it begins again with the first apply.
        return None;
    }
    let live = target.stored(request.live);
    let new = target.compared(new.clone());
    let id = target.manager(request.manager, Operation::Update);
    record_update(target, &target.updater(), &live, &new, managed, &id).ok()
}

/// Ownership after an update, with its time if it took anything.
fn record_update(
    target: &Target<'_>,
    updater: &Updater<'_>,
    live: &Value,
    new: &Value,
    managed: Managed,
    id: &ManagerId,
) -> Result<Managed, String> {
    for object in [new, live] {
        typed::validate(object, updater.typ, Duplicates::Allowed)
            .map_err(|errors| errors.to_string())?;
    }
    // Under a name of its own, what this request alone takes can be told from what its manager had.
    let own = ManagerId {
        manager: "current-operation".to_owned(),
        operation: Operation::Update,
        api_version: String::new(),
        subresource: String::new(),
    };
    let mut managed = match updater.update(live, new, managed, &own) {
        Ok(managed) => managed,
        Err(Refusal::Types(message)) => return Err(message),
        // An update takes whatever it changes.
        Err(Refusal::Conflicts(_)) => return Err("an update has no conflicts".to_owned()),
    };
    strip_system_fields(&mut managed, &own);
    if let Some(mut owned) = managed.remove(&own) {
        if let Some(before) = managed.get(id) {
            owned.set.extend(&before.set);
        }
        owned.time = target.moment();
        managed.insert(id.clone(), owned);
    }
    managed::cap_updaters(&mut managed);
    Ok(managed)
}

/// Takes over the stored object's `managedFields` when only their times differ from the new one's.
pub fn keep_timestamps(old: &Value, new: &mut Value) {
    let (Some(before), Some(after)) = (
        managed_fields(Some(old)).and_then(Value::as_array),
        managed_fields(Some(new)).and_then(Value::as_array),
    ) else {
        return;
    };
    let timeless = |entries: &[Value]| -> Vec<Value> {
        let mut entries = entries.to_vec();
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries
    };
    if before == after || timeless(before) != timeless(after) {
        return;
    }
    let others = |object: &Value| -> Option<(Value, Map<String, Value>)> {
        let mut fields = object.as_object()?.clone();
        let mut metadata = fields.remove("metadata")?;
        metadata.as_object_mut()?.remove("managedFields");
        metadata.as_object_mut()?.remove("resourceVersion");
        Some((metadata, fields))
    };
    if others(old) != others(new) {
        return;
    }
    let before = Value::Array(before.clone());
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("managedFields".to_owned(), before);
    }
}

impl<'a> Target<'a> {
    /// The time that is recorded: of what is owned through a Scale none is.
    fn moment(&self) -> Option<Timestamp> {
        (self.subresource != "scale").then_some(self.time)
    }

    fn updater(&self) -> Updater<'a> {
        let typ = TypeRef::root(self.schema);
        let others: BTreeMap<_, _> = self
            .other_versions
            .iter()
            .map(|(version, schema)| (*version, TypeRef::root(*schema)))
            .collect();
        Updater {
            typ,
            api_version: self.api_version,
            others,
            reset: self.reset_fields,
            // The main endpoint of a custom kind knows the reset fields of its own version only.
            reset_others: self.origin == Origin::BuiltIn || self.subresource == "status",
        }
    }

    fn manager(&self, name: &str, operation: Operation) -> ManagerId {
        ManagerId::new(name, operation, self.api_version, self.subresource)
    }

    /// The stored object, or the empty one that a create starts from, as it is compared.
    fn stored(&self, live: Option<&Value>) -> Value {
        let object = live.cloned().unwrap_or_else(|| {
            let mut empty = Map::new();
            empty.insert("apiVersion".to_owned(), Value::from(self.api_version));
            empty.insert("kind".to_owned(), Value::from(self.kind));
            Value::Object(empty)
        });
        self.compared(object)
    }

    fn compared(&self, mut object: Value) -> Value {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        if let (Origin::BuiltIn, Some(schema)) = (self.origin, self.schema) {
            go_form(&mut object, schema);
        }
        object
    }

    /// The form in which an object leaves.
    fn finish(&self, object: &mut Value) {
        if let (Origin::BuiltIn, Some(schema)) = (self.origin, self.schema) {
            go_form(object, schema);
        }
    }
}

fn managed_fields(object: Option<&Value>) -> Option<&Value> {
    object?.get("metadata")?.get("managedFields").filter(|entries| !entries.is_null())
}

/// Fields of every object that nobody owns.
fn strip_system_fields(managed: &mut Managed, id: &ManagerId) {
    let Some(owned) = managed.get_mut(id) else { return };
    let system = Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ]);
    owned.set = owned.set.difference(&system);
    if owned.set.is_empty() {
        managed.remove(id);
    }
}

fn check_applied(target: &Target<'_>, applied: &Value) -> Result<(), ApplyError> {
    let text = |name: &str| applied.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version != target.api_version || kind != target.kind {
        let message = format!("invalid object type: {}", kind_text(version, kind));
        return Err(ApplyError::BadRequest { message });
    }
    if managed_fields(Some(applied)).is_some() {
        let message = "metadata.managedFields must be nil".to_owned();
        return Err(ApplyError::BadRequest { message });
    }
    Ok(())
}

/// `apps/v1, Kind=Deployment`; the core group leaves its place empty.
fn kind_text(version: &str, kind: &str) -> String {
    let slash = if version.contains('/') { "" } else { "/" };
    format!("{slash}{version}, Kind={kind}")
}

/// `default/web; apps/v1, Kind=Deployment`
fn object_name(object: &Value, target: &Target<'_>) -> String {
    let metadata = object.get("metadata");
    let text = |name: &str| {
        metadata.and_then(|metadata| metadata.get(name)).and_then(Value::as_str).unwrap_or_default()
    };
    let kind = kind_text(target.api_version, target.kind);
    format!("{}/{}; {kind}", text("namespace"), text("name"))
}
