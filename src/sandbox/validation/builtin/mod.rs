//! What only Go code of the API server knows about built-in kinds: checks beyond their schema, and fields that an update
//! must leave alone.
//!
//! One function per kind, with paths and texts as kube-apiserver 1.36.3 gives them; `table` says which kinds there are.
//! Objects come with their defaults filled in, and may lack them. Go types that have no JSON form of their own are shown
//! with Go's field names, as the API server does.

mod admission;
mod batch;
mod certificates;
mod check;
mod config;
mod container;
mod definition;
mod networking;
mod pod;
mod policy;
mod rbac;
mod resources;
mod schema_cel;
mod schema_rules;
mod service;
mod small;
mod workload;

use serde_json::Value;

use crate::sandbox::validation::Cause;

use check::Check;

type Validate = fn(&Value, &mut Check);
type Compare = fn(&Value, &Value, &mut Check);

/// A kind's checks: of the object, of a new one alone, and of an update (new, old).
struct Row {
    group: &'static str,
    kind: &'static str,
    validate: Validate,
    create: Validate,
    compare: Compare,
}

const fn row(group: &'static str, kind: &'static str, validate: Validate, compare: Compare) -> Row {
    Row { group, kind, validate, create: unchecked, compare }
}

fn unchecked(_: &Value, _: &mut Check) {}

fn free(_: &Value, _: &Value, _: &mut Check) {}

const APPS: &str = "apps";
const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const CERTIFICATES: &str = "certificates.k8s.io";
const NETWORKING: &str = "networking.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

static TABLE: &[Row] = &[
    row("", "ConfigMap", config::config_map, config::update_config_map),
    row("", "Event", small::event, free),
    row("", "LimitRange", small::limit_range, free),
    row("", "PersistentVolume", small::persistent_volume, small::update_persistent_volume),
    row("", "PersistentVolumeClaim", resources::claim, resources::update_claim),
    row("", "Pod", workload::pod, workload::update_pod),
    row("", "PodTemplate", small::pod_template, free),
    row("", "ReplicationController", small::replication_controller, free),
    row("", "ResourceQuota", resources::quota, resources::update_quota),
    row("", "Secret", config::secret, config::update_secret),
    row("", "Service", service::service, service::update),
    row(ADMISSION, "MutatingAdmissionPolicy", small::mutating_policy, free),
    row(ADMISSION, "MutatingAdmissionPolicyBinding", small::mutating_binding, free),
    row(ADMISSION, "MutatingWebhookConfiguration", admission::webhooks, free),
    row(ADMISSION, "ValidatingAdmissionPolicy", policy::policy, free),
    row(ADMISSION, "ValidatingAdmissionPolicyBinding", admission::binding, free),
    row(ADMISSION, "ValidatingWebhookConfiguration", admission::webhooks, free),
    Row {
        group: "apiextensions.k8s.io",
        kind: "CustomResourceDefinition",
        validate: definition::definition,
        create: definition::name,
        compare: definition::update,
    },
    row("apiregistration.k8s.io", "APIService", small::api_service, free),
    row(APPS, "ControllerRevision", small::controller_revision, small::update_controller_revision),
    row(APPS, "DaemonSet", workload::daemon_set, workload::update_selector),
    row(APPS, "Deployment", workload::deployment, workload::update_selector),
    row(APPS, "ReplicaSet", workload::replica_set, workload::update_selector),
    row(APPS, "StatefulSet", workload::stateful_set, workload::update_stateful_set),
    row("autoscaling", "HorizontalPodAutoscaler", resources::autoscaler, free),
    Row {
        group: "batch",
        kind: "CronJob",
        validate: batch::cron_job,
        create: batch::new_cron_job,
        compare: free,
    },
    row("batch", "Job", batch::job, batch::update_job),
    row(CERTIFICATES, "CertificateSigningRequest", certificates::signing_request, free),
    row("coordination.k8s.io", "Lease", small::lease, free),
    row("discovery.k8s.io", "EndpointSlice", small::endpoint_slice, networking::update_slice),
    row("events.k8s.io", "Event", small::event, free),
    row("flowcontrol.apiserver.k8s.io", "FlowSchema", small::flow_schema, free),
    row("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration", small::priority_level, free),
    row(NETWORKING, "Ingress", networking::ingress, free),
    row(NETWORKING, "IPAddress", small::ip_address, free),
    row(NETWORKING, "IngressClass", small::ingress_class, networking::update_class),
    row(NETWORKING, "NetworkPolicy", networking::policy, free),
    row(NETWORKING, "ServiceCIDR", small::service_cidr, free),
    row("node.k8s.io", "RuntimeClass", small::runtime_class, small::update_runtime_class),
    row("policy", "PodDisruptionBudget", resources::disruption_budget, free),
    row(RBAC, "ClusterRole", rbac::cluster_role, free),
    row(RBAC, "ClusterRoleBinding", rbac::cluster_binding, rbac::update_binding),
    row(RBAC, "Role", rbac::role, free),
    row(RBAC, "RoleBinding", rbac::binding, rbac::update_binding),
    Row {
        group: "scheduling.k8s.io",
        kind: "PriorityClass",
        validate: unchecked,
        create: resources::priority_class,
        compare: resources::update_priority_class,
    },
    row("resource.k8s.io", "ResourceSlice", small::resource_slice, free),
    row(STORAGE, "CSIStorageCapacity", small::storage_capacity, free),
    row(STORAGE, "StorageClass", small::storage_class, resources::update_storage_class),
    row(STORAGE, "VolumeAttachment", small::volume_attachment, free),
    row(STORAGE, "VolumeAttributesClass", small::attributes_class, free),
];

fn find(group: &str, kind: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| (row.group, row.kind) == (group, kind))
}

/// Whether the kind's own checks are known; for the others, the enums of their schema are what there is
/// (`Validator::validate_fields`).
pub fn is_covered(group: &str, kind: &str) -> bool {
    find(group, kind).is_some()
}

/// The kinds whose own checks are known.
pub fn covered() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE.iter().map(|row| (row.group, row.kind))
}

/// Checks a new object, without its metadata.
pub fn validate(group: &str, kind: &str, object: &Value) -> Vec<Cause> {
    let mut check = Check::default();
    if let Some(row) = find(group, kind) {
        (row.validate)(object, &mut check);
        (row.create)(object, &mut check);
    }
    check.causes
}

/// Checks an update of a status.
pub fn validate_status(group: &str, kind: &str, object: &Value, old: &Value) -> Vec<Cause> {
    let mut check = Check::default();
    match (group, kind) {
        (CERTIFICATES, "CertificateSigningRequest") => {
            certificates::status(object, old, &mut check);
        }
        ("", "Service") => service::status(object, &mut check),
        (NETWORKING, "Ingress") => service::load_balancer(object, &mut check),
        _ => {}
    }
    check.causes
}

/// Checks an update of a subresource of its own, as `approval` of a CertificateSigningRequest is one.
pub fn validate_subresource(
    group: &str,
    kind: &str,
    subresource: &str,
    object: &Value,
    old: &Value,
) -> Vec<Cause> {
    let mut check = Check::default();
    if (group, kind, subresource) == (CERTIFICATES, "CertificateSigningRequest", "approval") {
        certificates::approval(object, old, &mut check);
    }
    check.causes
}

/// Checks an update, without the object's metadata.
pub fn validate_update(group: &str, kind: &str, object: &Value, old: &Value) -> Vec<Cause> {
    let mut check = Check::default();
    if let Some(row) = find(group, kind) {
        (row.validate)(object, &mut check);
        (row.compare)(object, old, &mut check);
    }
    check.causes
}
