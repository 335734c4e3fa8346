//! Events: one collection that two groups serve, core and `events.k8s.io`. They are kept in the core form; the other group
//! calls some fields by other names, as the API server's conversions between the two have it.

use serde_json::Value;

use super::ApiServer;
use super::kinds::Kind;
use crate::sandbox::go_form::go_form;

pub(super) const GROUP: &str = "events.k8s.io";

/// A field of core, and what `events.k8s.io` calls it.
const NAMES: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

/// Whether a kind is the one whose objects are kept in another's form.
pub(super) fn is_other_form(kind: &Kind) -> bool {
    kind.group == GROUP && kind.plural == "events"
}

impl ApiServer {
    /// An Event of `events.k8s.io` in the form in which it is kept.
    pub(super) fn event_to_core(&self, mut object: Value) -> Value {
        if let Some(core) = self.kinds.by_resource("", "v1", "events") {
            rename(&mut object, &core, NAMES.map(|(core, other)| (other, core)));
        }
        object
    }
}

/// A kept Event in the form of `events.k8s.io`; what has that form already stays as it is.
pub(super) fn from_core(kind: &Kind, mut object: Value) -> Value {
    if object["apiVersion"] == "v1" {
        rename(&mut object, kind, NAMES);
    }
    object
}

fn rename(object: &mut Value, kind: &Kind, names: [(&str, &str); 7]) {
    let Some(fields) = object.as_object_mut() else { return };
    for (from, to) in names {
        if let Some(value) = fields.remove(from) {
            fields.insert(to.to_owned(), value);
        }
    }
    fields.insert("apiVersion".to_owned(), kind.api_version().into());
    if let Some(schema) = kind.schema() {
        go_form(object, &schema);
    }
}
