//! StatefulSet → pods with fixed names, one after the other, and their claims.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{CLAIMS, PODS, STATEFUL_SETS};
use super::{MANAGER, object, pod_set};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

const COMPONENT: &str = "statefulset-controller";
const HASH: &str = "controller-revision-hash";

/// The stateful set controller, and the binding of its claims.
pub(super) struct StatefulSets;

impl Controller for StatefulSets {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "statefulsets" => vec![object::key(&change.object)],
            "pods" => object::controller_key(&change.object, "StatefulSet").into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(set) = api.get(&STATEFUL_SETS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        if object::is_deleting(&set) {
            return Ok(Requeue::OnChange);
        }
        let revision = format!("{name}-{}", object::short_hash(&set["spec"]["template"]));
        let pods = pod_set::owned_pods(api, &set);
        step(api, &set, &pods, &revision)?;
        write_status(api, &set, &pods, &revision)?;
        Ok(Requeue::OnChange)
    }
}

fn ordinal(set: &Value, pod: &Value) -> Option<u64> {
    object::name(pod).strip_prefix(object::name(set))?.strip_prefix('-')?.parse().ok()
}

/// One step: create, remove or replace what is next in order.
fn step(api: &dyn Api, set: &Value, pods: &[Arc<Value>], revision: &str) -> Result<(), Status> {
    let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let parallel = set["spec"]["podManagementPolicy"] == "Parallel";
    for index in 0..wanted {
        match pods.iter().find(|pod| ordinal(set, pod) == Some(index)) {
            None => create(api, set, index, revision)?,
            Some(pod) if pod_set::is_active(pod) && pod_set::is_ready(pod) => continue,
            Some(pod) if !object::is_deleting(pod) && !pod_set::is_active(pod) => {
                pod_set::delete_pod(api, COMPONENT, set, pod)?;
            }
            Some(_) => {}
        }
        if !parallel {
            return Ok(());
        }
    }
    let mut excess: Vec<_> =
        pods.iter().filter(|pod| ordinal(set, pod).is_some_and(|index| index >= wanted)).collect();
    excess.sort_by_key(|pod| std::cmp::Reverse(ordinal(set, pod)));
    if let Some(last) = excess.first() {
        return if object::is_deleting(last) { Ok(()) } else { remove(api, set, last) };
    }
    if set["spec"]["updateStrategy"]["type"] == "OnDelete" {
        return Ok(());
    }
    let from = set["spec"]["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or(0);
    let mut old: Vec<_> = pods
        .iter()
        .filter(|pod| ordinal(set, pod).is_some_and(|index| index >= from))
        .filter(|pod| object::label(pod, HASH) != Some(revision))
        .collect();
    old.sort_by_key(|pod| std::cmp::Reverse(ordinal(set, pod)));
    match old.first() {
        Some(pod) if !object::is_deleting(pod) => remove(api, set, pod),
        _ => Ok(()),
    }
}

fn remove(api: &dyn Api, set: &Value, pod: &Value) -> Result<(), Status> {
    api.delete(&PODS, object::namespace(pod), object::name(pod), "Background")?;
    let message =
        format!("delete Pod {} in StatefulSet {} successful", object::name(pod), object::name(set));
    api.event(COMPONENT, set, "Normal", "SuccessfulDelete", &message);
    Ok(())
}

fn create(api: &dyn Api, set: &Value, index: u64, revision: &str) -> Result<(), Status> {
    let name = format!("{}-{index}", object::name(set));
    let mut volumes = object::items(&set["spec"]["template"]["spec"], "volumes").to_vec();
    for template in object::items(&set["spec"], "volumeClaimTemplates") {
        let claim_name = format!("{}-{name}", object::name(template));
        claim(api, set, template, &claim_name)?;
        volumes.push(json!({
            "name": object::name(template),
            "persistentVolumeClaim": { "claimName": claim_name },
        }));
    }
    let ordinal = index.to_string();
    let extra = [
        (HASH, revision),
        ("statefulset.kubernetes.io/pod-name", name.as_str()),
        ("apps.kubernetes.io/pod-index", ordinal.as_str()),
    ];
    let mut pod = pod_set::pod_of(set, &set["spec"]["template"], &extra);
    pod["metadata"]["name"] = json!(name);
    pod["spec"]["hostname"] = json!(name);
    if let Some(service) = set["spec"]["serviceName"].as_str().filter(|name| !name.is_empty()) {
        pod["spec"]["subdomain"] = json!(service);
    }
    if !volumes.is_empty() {
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
    match api.create(MANAGER, pod) {
        Ok(_) => {
            let message =
                format!("create Pod {name} in StatefulSet {} successful", object::name(set));
            api.event(COMPONENT, set, "Normal", "SuccessfulCreate", &message);
            Ok(())
        }
        Err(status) if status.reason == "AlreadyExists" => Ok(()),
        Err(status) => {
            let message = format!(
                "create Pod {name} in StatefulSet {} failed error: {}",
                object::name(set),
                status.message
            );
            api.event(COMPONENT, set, "Warning", "FailedCreate", &message);
            Err(status)
        }
    }
}

/// Makes a claim and binds it at once: the sandbox has no volumes to provision.
fn claim(api: &dyn Api, set: &Value, template: &Value, name: &str) -> Result<(), Status> {
    let namespace = object::namespace(set);
    if api.get(&CLAIMS, namespace, name).is_some() {
        return Ok(());
    }
    let mut labels = template["metadata"]["labels"].clone();
    if let Some(own) = set["spec"]["selector"]["matchLabels"].as_object() {
        for (key, value) in own {
            labels[key] = value.clone();
        }
    }
    let created = api.create(
        MANAGER,
        json!({
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": namespace, "labels": labels },
            "spec": template["spec"],
        }),
    )?;
    let status = json!({
        "phase": "Bound",
        "accessModes": created["spec"]["accessModes"],
        "capacity": created["spec"]["resources"]["requests"],
    });
    object::put_status(api, MANAGER, &created, status)
}

fn write_status(
    api: &dyn Api,
    set: &Value,
    pods: &[Arc<Value>],
    revision: &str,
) -> Result<(), Status> {
    let active: Vec<_> = pods.iter().filter(|pod| pod_set::is_active(pod)).collect();
    let ready = active.iter().filter(|pod| pod_set::is_ready(pod)).count();
    let updated = active.iter().filter(|pod| object::label(pod, HASH) == Some(revision)).count();
    let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let done = u64::try_from(updated).is_ok_and(|updated| updated >= wanted) && ready == updated;
    let old = set["status"]["currentRevision"].as_str().filter(|old| !old.is_empty() && !done);
    let current = old.unwrap_or(revision);
    let of_current = active.iter().filter(|pod| object::label(pod, HASH) == Some(current)).count();
    let mut status = json!({
        "availableReplicas": ready,
        "collisionCount": 0,
        "currentRevision": current,
        "observedGeneration": object::generation(set),
        "replicas": active.len(),
        "updateRevision": revision,
    });
    let fields =
        [("currentReplicas", of_current), ("readyReplicas", ready), ("updatedReplicas", updated)];
    for (field, count) in fields.into_iter().filter(|(_, count)| *count > 0) {
        status[field] = json!(count);
    }
    object::put_status(api, MANAGER, set, status)
}
