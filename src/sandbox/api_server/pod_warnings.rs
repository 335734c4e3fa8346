//! What the API server warns of in pods and their templates, and in Services.

use std::collections::BTreeMap;

use serde_json::Value;

use super::kinds::{Kind, metadata_text};
use crate::sandbox::validation::names;

/// The warnings for a new or changed object of a built-in kind.
pub(crate) fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if kind.custom.is_some() {
        return found;
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => pod(object, "", &mut found),
        ("", "podtemplates") => pod(&object["template"], "template", &mut found),
        ("apps", "deployments" | "daemonsets" | "statefulsets" | "replicasets")
        | ("batch", "jobs")
        | ("", "replicationcontrollers") => {
            pod(&object["spec"]["template"], "spec.template", &mut found);
        }
        ("batch", "cronjobs") => {
            let template = &object["spec"]["jobTemplate"]["spec"]["template"];
            pod(template, "spec.jobTemplate.spec.template", &mut found);
        }
        ("", "services") => service(&object["spec"], &mut found),
        _ => {}
    }
    found
}

/// The warning for a new object whose pods are called by its name, which is no host's.
pub(crate) fn of_name(kind: &Kind, object: &Value) -> Option<String> {
    let whose = match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => "the Pod's hostname",
        ("apps", "deployments" | "replicasets")
        | ("batch", "jobs" | "cronjobs")
        | ("", "replicationcontrollers") => "Pod names and hostnames",
        _ => return None,
    };
    let why = names::dns1123_label(metadata_text(object, "name"));
    (!why.is_empty()).then(|| {
        format!(
            "metadata.name: this is used in {whose}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            why.join(" ")
        )
    })
}

fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

fn pod(pod: &Value, path: &str, found: &mut Vec<String>) {
    const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    let spec = &pod["spec"];
    let at = join(path, "spec");
    for (label, why) in OLD_LABELS {
        if !spec["nodeSelector"][*label].is_null() {
            found.push(format!("{at}.nodeSelector[{label}]: {why}"));
        }
    }
    let annotations = pod["metadata"]["annotations"].as_object();
    for name in annotations.into_iter().flat_map(|annotations| annotations.keys()) {
        if name.starts_with(APP_ARMOR) {
            let path = join(path, "metadata.annotations");
            found.push(format!(
                "{path}[{name}]: deprecated since v1.30; use the \"appArmorProfile\" field instead"
            ));
        }
    }
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        found.push(format!(
            "{at}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    for list in ["initContainers", "containers"] {
        for (index, container) in items(&spec[list]).enumerate() {
            container_warnings(container, &format!("{at}.{list}[{index}]"), found);
        }
    }
}

fn container_warnings(container: &Value, path: &str, found: &mut Vec<String>) {
    let mut names = Vec::new();
    for (index, variable) in items(&container["env"]).enumerate() {
        let name = variable["name"].as_str().unwrap_or_default();
        if names.contains(&name) {
            found.push(format!(
                "{path}.env[{index}]: hides previous definition of \"{name}\", which may be dropped when using apply"
            ));
        }
        names.push(name);
    }
    let mut ports: BTreeMap<String, usize> = BTreeMap::new();
    for (index, port) in items(&container["ports"]).enumerate() {
        let key = format!(
            "{} {} {} {}",
            port["containerPort"], port["hostPort"], port["hostIP"], port["protocol"]
        );
        match ports.get(&key) {
            Some(first) => found.push(format!(
                "{path}.ports[{index}]: duplicate port definition with {path}.ports[{first}]"
            )),
            None => {
                ports.insert(key, index);
            }
        }
    }
}

fn service(spec: &Value, found: &mut Vec<String>) {
    let headless = spec["clusterIP"] == "None";
    if headless && spec["sessionAffinity"] == "ClientIP" {
        found.push("spec.SessionAffinity is ignored for headless services".to_owned());
    }
    if spec["externalName"].is_string() && spec["type"] != "ExternalName" {
        found
            .push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if spec["trafficDistribution"] == "PreferClose" {
        found.push(
            "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""
                .to_owned(),
        );
    }
}
