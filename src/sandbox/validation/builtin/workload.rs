//! Pods, and what makes pods by a template.

use serde_json::{Value, json};

use crate::sandbox::validation::{Cause, selector};

use super::check::{Check, each, join, list, same};
use super::pod;

pub(super) fn pod(object: &Value, check: &mut Check) {
    pod::spec(&object["spec"], "spec", check);
    // Templates may hold anything, for others to fill in.
    for field in ["initContainers", "containers"] {
        for (container, path) in each(&object["spec"], field, "spec") {
            let image = &container["image"];
            if image.as_str().is_some_and(|text| text.trim() != text) {
                let detail = "must not have leading or trailing whitespace";
                check.invalid(&join(&path, "image"), image, detail);
            }
        }
    }
}

/// Of a pod's spec only a few fields may change.
pub(super) fn update_pod(object: &Value, old: &Value, check: &mut Check) {
    const RULE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
        `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
        tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";
    let (mut new, mut before) = (object["spec"].clone(), old["spec"].clone());
    for spec in [&mut new, &mut before] {
        for field in ["containers", "initContainers"] {
            for container in spec[field].as_array_mut().into_iter().flatten() {
                container["image"] = Value::Null;
            }
        }
        for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
            spec[field] = Value::Null;
        }
        for field in ["containers", "initContainers"] {
            if spec[field].is_null() {
                spec[field] = json!([]);
            }
        }
    }
    let kept = list(&old["spec"]["tolerations"])
        .iter()
        .all(|toleration| list(&object["spec"]["tolerations"]).contains(toleration));
    if !kept {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        check.forbidden("spec.tolerations", detail);
    }
    if new != before {
        check.forbidden("spec", RULE);
    }
}

pub(super) fn deployment(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"]
    {
        check.not_negative(spec, field, "spec");
    }
    let deadline = &spec["progressDeadlineSeconds"];
    let ready = spec["minReadySeconds"].as_i64().unwrap_or_default();
    if deadline.as_i64().is_some_and(|deadline| deadline <= ready) {
        check.invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        );
    }
    let strategy = &spec["strategy"];
    match strategy["type"].as_str() {
        Some("Recreate") => {
            if !strategy["rollingUpdate"].is_null() {
                let detail = "may not be specified when strategy `type` is 'Recreate'";
                check.forbidden("spec.strategy.rollingUpdate", detail);
            }
        }
        Some("RollingUpdate") | None => {
            rolling_update(&strategy["rollingUpdate"], "spec.strategy.rollingUpdate", check);
        }
        Some(found) => {
            let shown = format!("{{\"Type\":\"{found}\",\"RollingUpdate\":null}}");
            unsupported_shown("spec.strategy", &shown, &["Recreate", "RollingUpdate"], check);
        }
    }
    selector_and_template(spec, "deployment", true, check);
}

fn unsupported_shown(path: &str, shown: &str, supported: &[&str], check: &mut Check) {
    let mut cause = Cause::unsupported(path, &Value::Null, supported);
    cause.message = cause.message.replacen("null", shown, 1);
    check.causes.push(cause);
}

fn rolling_update(update: &Value, path: &str, check: &mut Check) {
    for field in ["maxUnavailable", "maxSurge"] {
        int_or_percent(&update[field], &join(path, field), check);
    }
    if is_zero(&update["maxUnavailable"]) && is_zero(&update["maxSurge"]) {
        let path = join(path, "maxUnavailable");
        check.invalid(&path, &update["maxUnavailable"], "may not be 0 when `maxSurge` is 0");
    }
    let percent = |value: &Value| value.as_str()?.strip_suffix('%')?.parse::<i64>().ok();
    if percent(&update["maxUnavailable"]).is_some_and(|share| share > 100) {
        let path = join(path, "maxUnavailable");
        check.invalid(&path, &update["maxUnavailable"], "must not be greater than 100%");
    }
}

fn is_zero(value: &Value) -> bool {
    value == 0 || value == "0%"
}

/// A count that is not negative, or a share.
pub(super) fn int_or_percent(value: &Value, path: &str, check: &mut Check) {
    if let Some(text) = value.as_str() {
        let digits = text.strip_suffix('%').unwrap_or_default();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let detail = "a valid percent string must be a numeric string followed by an ending '%' \
                          (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
            check.invalid(path, value, detail);
        }
    } else if value.as_i64().is_some_and(|number| number < 0) {
        check.invalid(path, value, "must be greater than or equal to 0");
    }
}

pub(super) fn replica_set(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    for field in ["replicas", "minReadySeconds"] {
        check.not_negative(spec, field, "spec");
    }
    selector_and_template(spec, "deployment", true, check);
}

pub(super) fn daemon_set(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    for field in ["minReadySeconds", "revisionHistoryLimit"] {
        check.not_negative(spec, field, "spec");
    }
    update_strategy(spec, check);
    let update = &spec["updateStrategy"]["rollingUpdate"];
    for field in ["maxUnavailable", "maxSurge"] {
        int_or_percent(
            &update[field],
            &format!("spec.updateStrategy.rollingUpdate.{field}"),
            check,
        );
    }
    selector_and_template(spec, "daemonset", false, check);
}

fn update_strategy(spec: &Value, check: &mut Check) {
    let found = spec["updateStrategy"]["type"].as_str().unwrap_or("RollingUpdate");
    if !["RollingUpdate", "OnDelete"].contains(&found) {
        let shown = format!("{{\"Type\":\"{found}\",\"RollingUpdate\":null}}");
        unsupported_shown("spec.updateStrategy", &shown, &["RollingUpdate", "OnDelete"], check);
    }
}

pub(super) fn stateful_set(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    for field in ["replicas", "minReadySeconds", "revisionHistoryLimit"] {
        check.not_negative(spec, field, "spec");
    }
    if let Some(found) = spec["podManagementPolicy"].as_str()
        && !["OrderedReady", "Parallel"].contains(&found)
    {
        let detail = "must be 'OrderedReady' or 'Parallel'";
        check.invalid("spec.podManagementPolicy", &found.into(), detail);
    }
    selector_and_template_with(spec, "statefulset", false, &volume_claims(spec), check);
}

/// The volumes that a StatefulSet adds to its pods.
fn volume_claims(spec: &Value) -> Vec<Value> {
    list(&spec["volumeClaimTemplates"])
        .iter()
        .map(|claim| {
            let name = &claim["metadata"]["name"];
            json!({"name": name, "persistentVolumeClaim": {"claimName": name}})
        })
        .collect()
}

fn selector_and_template(spec: &Value, kind: &str, of_replica_set: bool, check: &mut Check) {
    selector_and_template_with(spec, kind, of_replica_set, &[], check);
}

fn selector_and_template_with(
    spec: &Value,
    kind: &str,
    of_replica_set: bool,
    volumes: &[Value],
    check: &mut Check,
) {
    let (found, template) = (&spec["selector"], &spec["template"]);
    if found.is_null() {
        // A DaemonSet's is only held against its template's labels.
        if kind != "daemonset" {
            check.required("spec.selector", "");
        }
    } else {
        selector::validate(found, "spec.selector", &mut check.causes);
        if selector::is_empty(found) {
            let detail = format!("empty selector is invalid for {kind}");
            check.invalid("spec.selector", found, detail);
        }
    }
    let labels = &template["metadata"]["labels"];
    if !selector::matches(found, labels) {
        let detail = "`selector` does not match template `labels`";
        check.invalid("spec.template.metadata.labels", labels, detail);
    }
    let mut causes = Vec::new();
    crate::sandbox::validation::metadata::labels(labels, "spec.template.labels", &mut causes);
    let annotations = &template["metadata"]["annotations"];
    let path = "spec.template.annotations";
    crate::sandbox::validation::metadata::annotations(annotations, path, &mut causes);
    check.causes.append(&mut causes);
    let mut pod_spec = template["spec"].clone();
    if !volumes.is_empty() {
        let mut all = list(&pod_spec["volumes"]).to_vec();
        all.extend(volumes.iter().cloned());
        pod_spec["volumes"] = all.into();
    }
    pod::spec(&pod_spec, "spec.template.spec", check);
    let path = "spec.template.spec.restartPolicy";
    let policy = &template["spec"]["restartPolicy"];
    if policy.as_str().is_some_and(|policy| policy != "Always") {
        check.unsupported(path, policy, &["Always"]);
    }
    if of_replica_set && !template["spec"]["activeDeadlineSeconds"].is_null() {
        let path = "spec.template.spec.activeDeadlineSeconds";
        check.forbidden(path, "activeDeadlineSeconds in ReplicaSet is not Supported");
    }
}

/// The selector says which pods are its own for good.
pub(super) fn update_selector(object: &Value, old: &Value, check: &mut Check) {
    check.immutable(&object["spec"]["selector"], &old["spec"]["selector"], "spec.selector");
}

pub(super) fn update_stateful_set(object: &Value, old: &Value, check: &mut Check) {
    const MUTABLE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    const FIXED: &[&str] =
        &["serviceName", "podManagementPolicy", "selector", "volumeClaimTemplates"];
    if FIXED.iter().any(|field| !same(&object["spec"][*field], &old["spec"][*field])) {
        let (last, others) = (MUTABLE[MUTABLE.len() - 1], &MUTABLE[..MUTABLE.len() - 1]);
        let others: Vec<String> = others.iter().map(|field| format!("'{field}'")).collect();
        let detail = format!(
            "updates to statefulset spec for fields other than {} and '{last}' are forbidden",
            others.join(", ")
        );
        check.forbidden("spec", &detail);
    }
}
