//! Reading and changing objects as the controllers do: names, labels, selectors, owners, conditions.
//!
//! Objects are plain JSON; whatever is absent or of another type reads as empty, since a stored object has already
//! passed validation and a custom one may hold anything.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::base::clock::Clock as _;
use crate::sandbox::api::{Api, Resource, Status};

/// `metadata.name`
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

/// `metadata.namespace`, empty for cluster-scoped objects.
pub fn namespace(object: &Value) -> &str {
    object["metadata"]["namespace"].as_str().unwrap_or_default()
}

/// `metadata.uid`
pub fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap_or_default()
}

/// `metadata.generation`
pub fn generation(object: &Value) -> i64 {
    object["metadata"]["generation"].as_i64().unwrap_or_default()
}

/// The key under which controllers know an object.
pub fn key(object: &Value) -> (String, String) {
    (namespace(object).to_owned(), name(object).to_owned())
}

/// One label.
pub fn label<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["labels"].get(name)?.as_str()
}

/// One annotation.
pub fn annotation<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object["metadata"]["annotations"].get(name)?.as_str()
}

/// Whether the object waits for its end.
pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// The items of a list field; empty if it is absent.
pub fn items<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Whether a plain map of labels (a Service's selector) selects a set of labels. An empty one selects nothing.
pub fn selects_map(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| {
        !wanted.is_empty() && wanted.iter().all(|(k, v)| labels.get(k) == Some(v))
    })
}

/// Whether a `LabelSelector` selects a set of labels. An empty one selects everything, an absent one nothing.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    crate::sandbox::validation::selector::matches(selector, labels)
}

/// One `LabelSelectorRequirement`, also as node selectors write it.
pub fn expression_holds(expression: &Value, labels: &Value) -> bool {
    let found = expression["key"].as_str().and_then(|key| labels.get(key));
    let listed = found.is_some_and(|found| items(expression, "values").contains(found));
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
    let bound = items(expression, "values").first().and_then(number);
    match expression["operator"].as_str().unwrap_or_default() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => found.is_some(),
        "DoesNotExist" => found.is_none(),
        "Gt" => found.and_then(number).zip(bound).is_some_and(|(found, bound)| found > bound),
        "Lt" => found.and_then(number).zip(bound).is_some_and(|(found, bound)| found < bound),
        _ => false,
    }
}

/// The owner reference with `controller: true`.
pub fn controller_of(object: &Value) -> Option<&Value> {
    items(&object["metadata"], "ownerReferences").iter().find(|owner| owner["controller"] == true)
}

/// Whether `owner` controls `object`.
pub fn is_controlled_by(object: &Value, owner: &Value) -> bool {
    controller_of(object).is_some_and(|reference| reference["uid"] == owner["metadata"]["uid"])
}

/// The key of the controller of a kind, if that kind controls the object.
pub fn controller_key(object: &Value, kind: &str) -> Option<(String, String)> {
    let owner = controller_of(object).filter(|owner| owner["kind"] == kind)?;
    Some((namespace(object).to_owned(), owner["name"].as_str()?.to_owned()))
}

/// The owner reference that a controller writes into what it makes.
pub fn controller_reference(owner: &Value) -> Value {
    json!({
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": true,
        "blockOwnerDeletion": true,
    })
}

/// The time of the cluster, as objects hold it.
pub fn now(api: &dyn Api) -> String {
    time_text(api.clock().now())
}

/// A time as objects hold it: whole seconds.
pub fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A time that an object holds.
pub fn time_of(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// How long ago a time of an object was; zero if it is absent.
pub fn age(api: &dyn Api, time: &Value) -> Duration {
    let Some(time) = time_of(time) else { return Duration::ZERO };
    Duration::try_from(api.clock().now().duration_since(time)).unwrap_or_default()
}

/// One condition of `status.conditions`.
pub fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    items(&object["status"], "conditions").iter().find(|condition| condition["type"] == kind)
}

/// Whether a condition is `True`.
pub fn is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| condition["status"] == "True")
}

/// What a condition is to say.
#[derive(Clone, Debug)]
pub struct Condition {
    pub kind: &'static str,
    /// `True`, `False`, `Unknown`
    pub status: &'static str,
    pub reason: String,
    pub message: String,
}

impl Condition {
    /// A condition that holds (`True`) or not (`False`).
    pub fn new(kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            status: if holds { "True" } else { "False" },
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// Puts a condition into a list in the form of `metav1.Condition`: in place if it is there, else at the end. The
/// transition time moves only with the status, and nothing moves when nothing changed.
pub fn set_condition(
    list: &mut Vec<Value>,
    condition: &Condition,
    generation: Option<i64>,
    now: &str,
) {
    let at = list.iter().position(|found| found["type"] == condition.kind);
    let since = at
        .map(|at| &list[at])
        .filter(|found| found["status"] == condition.status)
        .map_or_else(|| json!(now), |found| found["lastTransitionTime"].clone());
    let mut entry = Map::new();
    entry.insert("lastTransitionTime".into(), since);
    entry.insert("message".into(), json!(condition.message));
    if let Some(generation) = generation {
        entry.insert("observedGeneration".into(), json!(generation));
    }
    entry.insert("reason".into(), json!(condition.reason));
    entry.insert("status".into(), json!(condition.status));
    entry.insert("type".into(), json!(condition.kind));
    match at {
        Some(at) => list[at] = Value::Object(entry),
        None => list.push(Value::Object(entry)),
    }
}

/// The whole number of an int-or-percent of `total`, rounded up or down.
pub fn scaled(value: &Value, total: i64, round_up: bool, default: &str) -> i64 {
    let percent = |text: &str| {
        let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
        if round_up { (percent * total + 99) / 100 } else { percent * total / 100 }
    };
    match value {
        Value::Number(number) => number.as_i64().unwrap_or(0),
        Value::String(text) => percent(text),
        _ => percent(default),
    }
}

/// A hash written with the letters of generated names, as the template hashes of Kubernetes look.
pub fn short_hash(value: &Value) -> String {
    const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let hash = value
        .to_string()
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.to_string()
        .bytes()
        .map(|digit| char::from(LETTERS[usize::from(digit) % LETTERS.len()]))
        .collect()
}

/// Writes `status` if it differs from what the object has.
pub fn put_status(
    api: &dyn Api,
    manager: &str,
    object: &Value,
    status: Value,
) -> Result<(), Status> {
    if object["status"] == status {
        return Ok(());
    }
    let mut object = object.clone();
    object["status"] = status;
    api.update_status(manager, object).map(drop)
}

/// Takes a finalizer off an object, which may be gone by then.
pub fn drop_finalizer(
    api: &dyn Api,
    manager: &str,
    resource: &Resource,
    object: &Value,
    finalizer: &str,
) -> Result<(), Status> {
    let found = items(&object["metadata"], "finalizers").iter();
    let left: Vec<_> = found.filter(|found| *found != finalizer).collect();
    let patch = json!({ "metadata": { "finalizers": left } });
    match api.merge_patch(manager, resource, namespace(object), name(object), "", patch) {
        Err(status) if status.code != 404 => Err(status),
        _ => Ok(()),
    }
}
