//! Service + pods → EndpointSlice and Endpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES};
use super::{MANAGER, object, pod_set};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The endpoint slice and the endpoints controller.
#[derive(Default)]
pub(super) struct Endpoints {
    /// When a Service and its pods last changed, by their Service: an index of what was already written.
    seen: BTreeMap<(String, String), Triggers>,
}

/// The moments that endpoints go back to.
#[derive(Default)]
struct Triggers {
    service: String,
    pods: BTreeMap<String, String>,
}

impl Endpoints {
    /// The first change since the last look; `None` when neither the Service nor a pod is why endpoints are written.
    fn last_change(&mut self, service: &Value, pods: &[Arc<Value>]) -> Option<String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let created = text(&service["metadata"]["creationTimestamp"]);
        let times: BTreeMap<String, String> = pods
            .iter()
            .filter_map(|pod| {
                let ready = object::condition(pod, "Ready")?;
                Some((object::name(pod).to_owned(), text(&ready["lastTransitionTime"])))
            })
            .collect();
        let key = object::key(service);
        let is_new = !self.seen.contains_key(&key);
        let seen = self.seen.entry(key).or_default();
        let changed = times.iter().filter(|(pod, time)| seen.pods.get(*pod) < Some(time));
        let first = changed
            .map(|(_, time)| time)
            .chain((created > seen.service).then_some(&created))
            .min()
            .cloned();
        *seen = Triggers { service: created.clone(), pods: times };
        if is_new { Some(created) } else { first }
    }
}

impl Controller for Endpoints {
    fn name(&self) -> &'static str {
        "endpointslice-controller"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "services" => vec![object::key(&change.object)],
            "pods" => {
                let labels = &change.object["metadata"]["labels"];
                api.list(&SERVICES, object::namespace(&change.object))
                    .iter()
                    .filter(|service| object::selects_map(&service["spec"]["selector"], labels))
                    .map(|service| object::key(service))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(service) = api.get(&SERVICES, namespace, name) else {
            self.seen.remove(&(namespace.to_owned(), name.to_owned()));
            return remove(api, namespace, name);
        };
        if service["spec"]["selector"].as_object().is_none_or(|labels| labels.is_empty()) {
            return Ok(Requeue::OnChange);
        }
        let pods: Vec<_> = api
            .list(&PODS, namespace)
            .into_iter()
            .filter(|pod| {
                object::selects_map(&service["spec"]["selector"], &pod["metadata"]["labels"])
                    && pod["status"]["podIP"].is_string()
                    && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
            })
            .collect();
        let changed = last_change(self.last_change(&service, &pods));
        write_slice(api, &service, &pods, &changed)?;
        write_endpoints(api, &service, &pods, &changed)?;
        Ok(Requeue::OnChange)
    }
}

/// What belongs to a Service that is gone goes with it: slices by the garbage collector, Endpoints here.
fn remove(api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
    if api.get(&ENDPOINTS, namespace, name).is_some() {
        api.delete(&ENDPOINTS, namespace, name, "Background")?;
    }
    Ok(Requeue::OnChange)
}

/// The number of a Service's target port on a pod.
pub(crate) fn target_port(port: &Value, pod: &Value) -> Option<u16> {
    let number = |value: &Value| value.as_u64().and_then(|number| u16::try_from(number).ok());
    match &port["targetPort"] {
        Value::String(name) => object::items(&pod["spec"], "containers")
            .iter()
            .flat_map(|container| object::items(container, "ports"))
            .find(|found| found["name"] == name.as_str())
            .and_then(|found| number(&found["containerPort"])),
        Value::Null => number(&port["port"]),
        value => number(value),
    }
}

fn ports(service: &Value, pod: Option<&Value>) -> Vec<Value> {
    object::items(&service["spec"], "ports")
        .iter()
        .filter_map(|port| {
            let target = pod.and_then(|pod| target_port(port, pod))?;
            let mut entry = json!({
                "name": port["name"].as_str().unwrap_or_default(),
                "port": target,
                "protocol": port["protocol"].as_str().unwrap_or("TCP"),
            });
            if port["appProtocol"].is_string() {
                entry["appProtocol"] = port["appProtocol"].clone();
            }
            Some(entry)
        })
        .collect()
}

fn write_slice(
    api: &dyn Api,
    service: &Value,
    pods: &[Arc<Value>],
    changed: &Value,
) -> Result<(), Status> {
    let (namespace, name) = object::key(service);
    let publish = service["spec"]["publishNotReadyAddresses"] == true;
    let mut endpoints: Vec<Value> = pods
        .iter()
        .map(|pod| {
            let (ready, ends) = (pod_set::is_ready(pod), object::is_deleting(pod));
            json!({
                "addresses": [pod["status"]["podIP"]],
                "conditions": {
                    "ready": publish || (ready && !ends),
                    "serving": publish || ready,
                    "terminating": ends,
                },
                "nodeName": pod["spec"]["nodeName"],
                "targetRef": target(pod),
            })
        })
        .collect();
    endpoints.sort_by_key(|endpoint| endpoint["addresses"][0].as_str().map(str::to_owned));
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert(
        "endpointslice.kubernetes.io/managed-by".into(),
        json!("endpointslice-controller.k8s.io"),
    );
    labels.insert(SERVICE_NAME.into(), json!(name));
    if service["spec"]["clusterIP"] == "None" {
        labels.insert("service.kubernetes.io/headless".into(), json!(""));
    }
    let mut slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports(service, pods.first().map(AsRef::as_ref)),
    });
    let old = api
        .list(&ENDPOINT_SLICES, &namespace)
        .into_iter()
        .find(|slice| object::label(slice, SERVICE_NAME) == Some(name.as_str()));
    let Some(old) = old else {
        slice["metadata"] = json!({
            "generateName": format!("{name}-"),
            "namespace": namespace,
            "labels": labels,
            "annotations": changed.clone(),
            "ownerReferences": [object::controller_reference(service)],
        });
        return api.create(MANAGER, slice).map(drop);
    };
    let same = old["endpoints"] == slice["endpoints"]
        && (old["ports"] == slice["ports"] || pods.is_empty())
        && old["metadata"]["labels"].as_object() == Some(&labels);
    if same || object::is_deleting(&old) {
        return Ok(());
    }
    if pods.is_empty() {
        slice["ports"] = old["ports"].clone();
    }
    let mut metadata = old["metadata"].clone();
    metadata["labels"] = Value::Object(labels);
    metadata["annotations"] = changed.clone();
    slice["metadata"] = metadata;
    api.update(MANAGER, slice).map(drop)
}

/// The annotations of endpoints that go back to a moment.
fn last_change(changed: Option<String>) -> Value {
    match changed {
        Some(time) => json!({ "endpoints.kubernetes.io/last-change-trigger-time": time }),
        None => json!({}),
    }
}

fn target(pod: &Value) -> Value {
    json!({
        "kind": "Pod",
        "name": object::name(pod),
        "namespace": object::namespace(pod),
        "uid": object::uid(pod),
    })
}

fn write_endpoints(
    api: &dyn Api,
    service: &Value,
    pods: &[Arc<Value>],
    changed: &Value,
) -> Result<(), Status> {
    let (namespace, name) = object::key(service);
    let address = |pod: &Arc<Value>| {
        json!({
            "ip": pod["status"]["podIP"],
            "nodeName": pod["spec"]["nodeName"],
            "targetRef": target(pod),
        })
    };
    let (ready, unready): (Vec<_>, Vec<_>) =
        pods.iter().filter(|pod| !object::is_deleting(pod)).partition(|pod| pod_set::is_ready(pod));
    let mut subsets = Vec::new();
    if !ready.is_empty() || !unready.is_empty() {
        let mut subset = json!({ "ports": ports(service, pods.first().map(AsRef::as_ref)) });
        for (field, pods) in [("addresses", ready), ("notReadyAddresses", unready)] {
            if !pods.is_empty() {
                subset[field] = pods.into_iter().map(address).collect();
            }
        }
        subsets.push(subset);
    }
    let mut labels = service["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    labels.insert("endpoints.kubernetes.io/managed-by".into(), json!("endpoint-controller"));
    let mut endpoints = json!({
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "annotations": changed.clone(),
        },
    });
    if !subsets.is_empty() {
        endpoints["subsets"] = Value::Array(subsets);
    }
    match api.get(&ENDPOINTS, &namespace, &name) {
        None => api.create(MANAGER, endpoints).map(drop),
        Some(old)
            if old["subsets"] == endpoints["subsets"]
                && old["metadata"]["labels"] == endpoints["metadata"]["labels"] =>
        {
            Ok(())
        }
        Some(old) => {
            let mut metadata = old["metadata"].clone();
            metadata["labels"] = endpoints["metadata"]["labels"].clone();
            metadata["annotations"] = endpoints["metadata"]["annotations"].clone();
            endpoints["metadata"] = metadata;
            api.update(MANAGER, endpoints).map(drop)
        }
    }
}
