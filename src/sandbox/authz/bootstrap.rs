//! The roles and bindings that every cluster starts with, as kube-apiserver 1.36.3 makes them.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

/// Recorded from the API server, without what it adds to every object.
const BOOTSTRAP: &[u8] = include_bytes!("bootstrap.json.gz");

/// ClusterRoles, ClusterRoleBindings, Roles and RoleBindings with the label `kubernetes.io/bootstrapping`.
pub fn bootstrap() -> Vec<Value> {
    let mut text = String::new();
    if GzDecoder::new(BOOTSTRAP).read_to_string(&mut text).is_err() {
        return Vec::new();
    }
    serde_json::from_str(&text).unwrap_or_default()
}
