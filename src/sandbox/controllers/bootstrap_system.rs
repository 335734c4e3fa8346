//! What kube-apiserver and kube-controller-manager 1.36 make for themselves: roles, accounts, priority classes, ranges.

use serde_json::{Value, json};

use super::{ClusterFacts, object};
use crate::sandbox::api::{Api, Resource, Status};
use crate::sandbox::authz;

const SERVER: &str = "kube-apiserver";

/// The accounts that the controllers use.
const ACCOUNTS: &[&str] = &[
    "attachdetach-controller",
    "certificate-controller",
    "clusterrole-aggregation-controller",
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "device-taint-eviction-controller",
    "disruption-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "endpointslicemirroring-controller",
    "ephemeral-volume-controller",
    "expand-controller",
    "generic-garbage-collector",
    "horizontal-pod-autoscaler",
    "job-controller",
    "legacy-service-account-token-cleaner",
    "namespace-controller",
    "node-controller",
    "persistent-volume-binder",
    "pod-garbage-collector",
    "pv-protection-controller",
    "pvc-protection-controller",
    "replicaset-controller",
    "replication-controller",
    "resource-claim-controller",
    "resourcequota-controller",
    "root-ca-cert-publisher",
    "service-account-controller",
    "service-cidrs-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
    "ttl-controller",
    "validatingadmissionpolicy-status-controller",
    "volumeattributesclass-protection-controller",
];

/// Makes what is not there yet.
pub(super) fn objects(api: &dyn Api, facts: &ClusterFacts) -> Result<(), Status> {
    let roles = authz::bootstrap().into_iter().map(|role| (SERVER, role));
    let accounts = ACCOUNTS.iter().map(|name| {
        let metadata = json!({ "name": name, "namespace": "kube-system" });
        let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
        (super::MANAGER, account)
    });
    let since = object::now(api);
    let since = since.split('T').next().unwrap_or_default();
    let others = [
        config_map("extension-apiserver-authentication", authentication(&facts.root_ca)),
        config_map("kube-apiserver-legacy-service-account-token-tracking", json!({ "since": since })),
        priority_class(
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
        ),
        priority_class(
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ]
    .map(|object| (SERVER, object));
    for (manager, object) in roles.chain(accounts).chain(others) {
        match api.create(manager, object) {
            Err(status) if status.reason != "AlreadyExists" => return Err(status),
            _ => {}
        }
    }
    service_range(api)
}

fn config_map(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": "kube-system" },
        "data": data,
    })
}

/// How an aggregated API server knows who is asking.
fn authentication(root_ca: &str) -> Value {
    json!({
        "client-ca-file": root_ca,
        "requestheader-allowed-names": "[\"front-proxy\"]",
        "requestheader-client-ca-file": root_ca,
        "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
        "requestheader-group-headers": "[\"X-Remote-Group\"]",
        "requestheader-username-headers": "[\"X-Remote-User\"]",
    })
}

fn priority_class(name: &str, value: i64, description: &str) -> Value {
    json!({
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": { "name": name },
        "description": description,
        "preemptionPolicy": "PreemptLowerPriority",
        "value": value,
    })
}

/// The range of cluster addresses, which says that it is ready.
fn service_range(api: &dyn Api) -> Result<(), Status> {
    let ranges = Resource::new("networking.k8s.io", "v1", "servicecidrs");
    if api.get(&ranges, "", "kubernetes").is_some() {
        return Ok(());
    }
    let created = api.create(
        SERVER,
        json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {
                "name": "kubernetes",
                "finalizers": ["networking.k8s.io/service-cidr-finalizer"],
            },
            "spec": { "cidrs": ["10.96.0.0/16"] },
        }),
    )?;
    let ready = json!({
        "lastTransitionTime": object::now(api),
        "message": "Kubernetes Service CIDR is ready",
        "reason": "",
        "status": "True",
        "type": "Ready",
    });
    object::put_status(api, "service-cidr-controller", &created, json!({ "conditions": [ready] }))
}
