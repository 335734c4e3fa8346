//! ReferenceGrants: which object may name which in another namespace.

use serde_json::Value;

use crate::sandbox::api::{Api, Resource};
use crate::sandbox::controllers::kinds::REFERENCE_GRANTS;
use crate::sandbox::controllers::object;

const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Whether a grant in `to_namespace` lets objects of `from` (kind, namespace) refer to `to` (group, kind, name).
pub(super) fn allows(
    api: &dyn Api,
    from: (&str, &str),
    to: (&str, &str, &str),
    to_namespace: &str,
) -> bool {
    let (kind, namespace) = from;
    let versions =
        [REFERENCE_GRANTS.clone(), Resource::new(GATEWAY_GROUP, "v1", "referencegrants")];
    let grants = versions
        .iter()
        .find(|resource| api.serves(resource))
        .map(|resource| api.list(resource, to_namespace))
        .unwrap_or_default();
    grants.iter().any(|grant| {
        let from_matches = object::items(&grant["spec"], "from").iter().any(|entry| {
            entry["group"] == GATEWAY_GROUP
                && entry["kind"] == kind
                && entry["namespace"] == namespace
        });
        let to_matches = object::items(&grant["spec"], "to").iter().any(|entry| {
            entry["group"].as_str().unwrap_or_default() == to.0
                && entry["kind"] == to.1
                && entry["name"].as_str().is_none_or(|name: &str| name.is_empty() || name == to.2)
        });
        from_matches && to_matches
    })
}

/// A field that may be absent, with the default of its kind.
pub(super) fn text<'a>(value: &'a Value, field: &str, default: &'a str) -> &'a str {
    value[field].as_str().unwrap_or(default)
}
