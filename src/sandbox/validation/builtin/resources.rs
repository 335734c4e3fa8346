//! Quotas, claims, autoscalers, disruption budgets, classes.

use serde_json::Value;

use crate::sandbox::validation::{Cause, names, selector};

use super::check::{Check, each, join, list, same, text};
use super::workload::int_or_percent;

const QUOTA_RESOURCES: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

fn size(amount: &Value) -> Option<i128> {
    crate::sandbox::quantity::thousandths(&shown(amount))
}

fn shown(amount: &Value) -> String {
    amount.as_str().map_or_else(|| amount.to_string(), str::to_owned)
}

pub(super) fn quota(object: &Value, check: &mut Check) {
    for (name, amount) in object["spec"]["hard"].as_object().into_iter().flatten() {
        let path = format!("spec.hard[{name}]");
        check.syntax(&path, name, names::qualified_name(name));
        let standard = QUOTA_RESOURCES.contains(&name.as_str())
            || name.starts_with("hugepages-")
            || name.starts_with("requests.hugepages-");
        if !name.contains('/') && !standard {
            for detail in [
                "must be a standard resource type or fully qualified",
                "must be a standard resource for quota",
            ] {
                check.invalid(&path, &name.as_str().into(), detail);
            }
        }
        if size(amount).is_some_and(|size| size < 0) {
            check.invalid(&path, &shown(amount).into(), "must be greater than or equal to 0");
        }
        // Things are counted in whole numbers; only what a pod asks for comes in parts.
        let parts = ["cpu", "memory", "storage"].iter().any(|part| name.contains(part));
        if !parts && size(amount).is_some_and(|size| size % 1_000 != 0) {
            let canonical = crate::sandbox::quantity::canonical(&shown(amount));
            check.invalid(&path, &canonical.unwrap_or_default().into(), "must be an integer");
        }
    }
    let scopes = &object["spec"]["scopes"];
    const OF_PODS: &[&str] = &[
        "pods",
        "cpu",
        "memory",
        "requests.cpu",
        "requests.memory",
        "limits.cpu",
        "limits.memory",
    ];
    for scope in list(scopes) {
        let allowed: &[&str] = if scope == "BestEffort" { &["pods"] } else { OF_PODS };
        let mut hard = object["spec"]["hard"].as_object().into_iter().flatten();
        if hard.any(|(name, _)| !allowed.contains(&name.as_str())) {
            check.invalid("spec.scopes", scopes, "unsupported scope applied to resource");
        }
    }
}

/// A quota stays with its scopes.
pub(super) fn update_quota(object: &Value, old: &Value, check: &mut Check) {
    check.immutable(&object["spec"]["scopes"], &old["spec"]["scopes"], "spec.scopes");
}

pub(super) fn claim(object: &Value, check: &mut Check) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    let spec = &object["spec"];
    let modes = list(&spec["accessModes"]);
    if modes.is_empty() {
        check.required("spec.accessModes", "at least 1 access mode is required");
    }
    for mode in modes {
        if mode.as_str().is_none_or(|mode| !MODES.contains(&mode)) {
            check.unsupported("spec.accessModes", mode, &MODES);
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        check.forbidden("spec.accessModes", detail);
    }
    let storage = &spec["resources"]["requests"]["storage"];
    if storage.is_null() {
        check.required("spec.resources[storage]", "");
    } else if size(storage).is_some_and(|size| size <= 0) {
        check.invalid(
            "spec.resources[storage]",
            &shown(storage).into(),
            "must be greater than zero",
        );
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        check.syntax("spec.storageClassName", class, names::dns1123_subdomain(class));
    }
    check.one_of(spec, "volumeMode", "spec", &["Block", "Filesystem"]);
}

pub(super) fn update_claim(object: &Value, old: &Value, check: &mut Check) {
    const RULE: &str = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let (new, old) = (&object["spec"], &old["spec"]);
    let fixed = [
        "accessModes",
        "selector",
        "storageClassName",
        "volumeMode",
        "dataSource",
        "dataSourceRef",
    ];
    let bound_now = text(old, "volumeName").is_empty();
    if fixed.iter().any(|field| !same(&new[*field], &old[*field]))
        || (!bound_now && !same(&new["volumeName"], &old["volumeName"]))
        || (object["status"]["phase"] != "Bound" && !same(&new["resources"], &old["resources"]))
    {
        check.forbidden("spec", RULE);
    }
    let storage = |spec: &Value| size(&spec["resources"]["requests"]["storage"]);
    if let (Some(new), Some(old)) = (storage(new), storage(old))
        && new < old
    {
        let detail = "field can not be less than status.capacity";
        check.forbidden("spec.resources.requests.storage", detail);
    }
}

pub(super) fn autoscaler(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    let (min, max) = (&spec["minReplicas"], &spec["maxReplicas"]);
    if min.as_i64().is_some_and(|min| min < 1) {
        check.invalid("spec.minReplicas", min, "must be greater than or equal to 1");
    }
    let most = max.as_i64().unwrap_or_default();
    if most < 1 {
        check.required("spec.maxReplicas", "must be set and greater than 0");
    }
    if min.as_i64().is_some_and(|min| most < min) {
        check.invalid(
            "spec.maxReplicas",
            &most.into(),
            "must be greater than or equal to `minReplicas`",
        );
    }
    let target = &spec["scaleTargetRef"];
    check.present(target, "kind", "spec.scaleTargetRef");
    check.present(target, "name", "spec.scaleTargetRef");
    if !text(target, "apiVersion").contains('/') {
        let detail = "apiVersion must specify API group";
        check.invalid("spec.scaleTargetRef.apiVersion", &text(target, "apiVersion").into(), detail);
    }
    for (metric, path) in each(spec, "metrics", "spec") {
        metric_spec(metric, &path, check);
    }
}

fn metric_spec(metric: &Value, path: &str, check: &mut Check) {
    const TYPES: [&str; 5] = ["ContainerResource", "External", "Object", "Pods", "Resource"];
    let kind = text(metric, "type");
    if !TYPES.contains(&kind) {
        // Upstream says it twice: for the type, and for the source that it cannot find by it.
        check.unsupported(&join(path, "type"), &kind.into(), &TYPES);
        check.unsupported(&join(path, "type"), &kind.into(), &TYPES);
        return;
    }
    let field = format!("{}{}", kind[..1].to_lowercase(), &kind[1..]);
    let source = &metric[field.as_str()];
    if source.is_null() {
        let detail = "must populate information for the given metric source";
        check.required(&join(path, &field), detail);
        return;
    }
    if kind == "Resource" {
        check.present(source, "name", &join(path, &field));
        let target = &source["target"];
        let path = join(path, &format!("{field}.target"));
        if target["averageUtilization"].is_null() && target["averageValue"].is_null() {
            let detail = "must set either a target raw value or a target utilization";
            check.required(&join(&path, "averageUtilization"), detail);
        }
        if target["averageUtilization"].as_i64().is_some_and(|share| share < 1) {
            let path = join(&path, "averageUtilization");
            check.invalid(&path, &target["averageUtilization"], "must be greater than 0");
        }
    }
}

pub(super) fn disruption_budget(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    let (min, max) = (&spec["minAvailable"], &spec["maxUnavailable"]);
    if !min.is_null() && !max.is_null() {
        let shown = format!(
            "{{\"MinAvailable\":{min},\"Selector\":{},\"MaxUnavailable\":{max},\"UnhealthyPodEvictionPolicy\":{}}}",
            spec["selector"], spec["unhealthyPodEvictionPolicy"]
        );
        let detail = "minAvailable and maxUnavailable cannot be both set";
        check.causes.push(Cause::invalid_shown("spec", &shown, detail));
    }
    int_or_percent(min, "spec.minAvailable", check);
    let share = min.as_str().and_then(|text| text.strip_suffix('%')?.parse::<u64>().ok());
    if share.is_some_and(|share| share > 100) {
        check.invalid("spec.minAvailable", min, "must not be greater than 100%");
    }
    // With both set, upstream looks at the first alone.
    if min.is_null() {
        int_or_percent(max, "spec.maxUnavailable", check);
    }
    if !spec["selector"].is_null() {
        selector::validate(&spec["selector"], "spec.selector", &mut check.causes);
    }
    check.one_of(spec, "unhealthyPodEvictionPolicy", "spec", &["AlwaysAllow", "IfHealthyBudget"]);
}

pub(super) fn priority_class(object: &Value, check: &mut Check) {
    let name = text(&object["metadata"], "name");
    if name.starts_with("system-") {
        if !["system-cluster-critical", "system-node-critical"].contains(&name) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. \
                          error: ";
            let detail = format!("{detail}{name} is not a known system priority class");
            check.forbidden("metadata.name", &detail);
        }
    } else if object["value"].as_i64().is_some_and(|value| value > 1_000_000_000) {
        let detail = "maximum allowed value of a user defined priority is 1000000000";
        check.forbidden("value", detail);
    }
}

pub(super) fn update_priority_class(object: &Value, old: &Value, check: &mut Check) {
    if object["value"] != old["value"] {
        check.forbidden("value", "may not be changed in an update.");
    }
    check.immutable(&object["preemptionPolicy"], &old["preemptionPolicy"], "preemptionPolicy");
}

pub(super) fn update_storage_class(object: &Value, old: &Value, check: &mut Check) {
    check.immutable(&object["parameters"], &old["parameters"], "parameters");
    check.immutable(&object["provisioner"], &old["provisioner"], "provisioner");
    check.immutable(&object["reclaimPolicy"], &old["reclaimPolicy"], "reclaimPolicy");
    check.immutable(&object["volumeBindingMode"], &old["volumeBindingMode"], "volumeBindingMode");
}
