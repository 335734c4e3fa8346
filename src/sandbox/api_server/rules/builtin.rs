//! Rules of the API server's own kinds: required fields, formats, what never changes.

use serde_json::Value;

use super::pods;
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::validation::selector;
use crate::sandbox::validation::{Cause, metadata, names};

/// Fields that an update may not change, by kind.
const IMMUTABLE: &[(&str, &str, &[&str])] = &[
    ("apps", "deployments", &["spec.selector"]),
    ("apps", "replicasets", &["spec.selector"]),
    ("apps", "daemonsets", &["spec.selector"]),
    (
        "batch",
        "jobs",
        &["spec.completions", "spec.selector", "spec.template", "spec.completionMode"],
    ),
    ("rbac.authorization.k8s.io", "rolebindings", &["roleRef"]),
    ("rbac.authorization.k8s.io", "clusterrolebindings", &["roleRef"]),
    ("", "secrets", &["type"]),
    (
        "storage.k8s.io",
        "storageclasses",
        &["provisioner", "parameters", "reclaimPolicy", "volumeBindingMode"],
    ),
    (
        "apiextensions.k8s.io",
        "customresourcedefinitions",
        &["spec.group", "spec.scope", "spec.names.plural"],
    ),
    ("discovery.k8s.io", "endpointslices", &["addressType"]),
    ("scheduling.k8s.io", "priorityclasses", &["value", "preemptionPolicy"]),
    ("networking.k8s.io", "ingressclasses", &["spec.controller"]),
];

pub(super) fn check(kind: &Kind, live: Option<&Value>, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "configmaps") => {
            for part in ["data", "binaryData"] {
                causes.extend(keys(&object[part], part));
            }
            causes.extend(immutable_object(live, object, &["data", "binaryData"]));
        }
        ("", "secrets") => {
            causes.extend(keys(&object["data"], "data"));
            causes.extend(secret(object));
            causes.extend(immutable_object(live, object, &["data"]));
        }
        ("", "services") => causes.extend(service(live, object)),
        ("", "pods") => {
            causes.extend(pods::spec(&object["spec"], "spec"));
            if let Some(live) = live {
                causes.extend(pods::update(live, object));
            }
        }
        ("apps", "deployments" | "replicasets" | "daemonsets" | "statefulsets") => {
            causes.extend(workload(kind, live, object));
        }
        ("batch", "jobs") => {
            causes.extend(pods::job_template(&object["spec"]["template"], "spec.template"));
        }
        ("batch", "cronjobs") => {
            causes.extend(pods::job_template(
                &object["spec"]["jobTemplate"]["spec"]["template"],
                "spec.jobTemplate.spec.template",
            ));
            if object["spec"]["schedule"].as_str().is_none_or(str::is_empty) {
                causes.push(Cause::required("spec.schedule", ""));
            }
        }
        ("rbac.authorization.k8s.io", "roles" | "clusterroles") => causes.extend(rules(object)),
        ("rbac.authorization.k8s.io", _) => causes.extend(binding(object)),
        ("policy", "poddisruptionbudgets") => {
            let spec = &object["spec"];
            if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
                causes.push(Cause::invalid(
                    "spec",
                    spec,
                    "minAvailable and maxUnavailable cannot be both set",
                ));
            }
        }
        ("autoscaling", "horizontalpodautoscalers") => {
            let spec = &object["spec"];
            let max = spec["maxReplicas"].as_i64().unwrap_or(0);
            if max < 1 {
                causes.push(Cause::invalid(
                    "spec.maxReplicas",
                    &max.into(),
                    "must be greater than 0",
                ));
            } else if spec["minReplicas"].as_i64().is_some_and(|min| min > max) {
                causes.push(Cause::invalid(
                    "spec.maxReplicas",
                    &max.into(),
                    "must be greater than or equal to `minReplicas`",
                ));
            }
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            causes.extend(custom_definition(object));
        }
        _ => {}
    }
    if let Some(live) = live {
        causes.extend(immutable(kind, live, object));
    }
    causes
}

fn field<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, part| &value[part])
}

fn immutable(kind: &Kind, live: &Value, object: &Value) -> Vec<Cause> {
    let row =
        IMMUTABLE.iter().find(|(group, plural, _)| *group == kind.group && *plural == kind.plural);
    let fields = row.map(|(_, _, fields)| *fields).unwrap_or_default();
    fields
        .iter()
        .filter(|path| field(live, path) != field(object, path))
        .map(|path| {
            let detail =
                if *path == "roleRef" { "cannot change roleRef" } else { "field is immutable" };
            let mut shown = field(object, path).clone();
            if *path == "roleRef" {
                // Shown as the Go struct without JSON names.
                let text = |name: &str| shown[name].clone();
                shown = serde_json::json!({
                    "APIGroup": text("apiGroup"), "Kind": text("kind"), "Name": text("name")
                });
            }
            Cause::invalid(path, &shown, detail)
        })
        .collect()
}

fn immutable_object(live: Option<&Value>, object: &Value, fields: &[&str]) -> Vec<Cause> {
    let Some(live) = live.filter(|live| live["immutable"] == true) else { return Vec::new() };
    let mut causes = Vec::new();
    if object["immutable"] != true {
        causes.push(Cause::forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for name in fields {
        if live[*name] != object[*name] {
            causes.push(Cause::forbidden(name, "field is immutable when `immutable` is set"));
        }
    }
    causes
}

fn keys(data: &Value, part: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    for key in data.as_object().into_iter().flatten().map(|(key, _)| key) {
        let complaints = names::config_map_key(key);
        let shown = Value::String(key.clone());
        causes.extend(
            complaints.iter().map(|why| Cause::invalid(&format!("{part}[{key}]"), &shown, why)),
        );
    }
    causes
}

fn secret(object: &Value) -> Vec<Cause> {
    let needed: &[&str] = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    needed
        .iter()
        .filter(|key| object["data"].get(**key).is_none())
        .map(|key| Cause::required(&format!("data[{key}]"), ""))
        .collect()
}

fn service(live: Option<&Value>, object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    let kind = spec["type"].as_str().unwrap_or_default();
    let ports = spec["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let headless = spec["clusterIP"] == "None";
    if ports.is_empty() && !headless && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    if kind == "ExternalName" && spec["externalName"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("spec.externalName", ""));
    }
    let mut seen_names = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let at = |name: &str| format!("spec.ports[{index}].{name}");
        let name = port["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            if ports.len() > 1 {
                causes.push(Cause::required(&at("name"), ""));
            }
        } else {
            let complaints = names::dns1123_label(name);
            causes.extend(
                complaints.iter().map(|why| Cause::invalid(&at("name"), &port["name"], why)),
            );
            if seen_names.contains(&name) {
                causes.push(Cause::duplicate(&at("name"), &port["name"]));
            }
            seen_names.push(name);
        }
        for field in ["port", "targetPort"] {
            let value = &port[field];
            if let Some(number) = value.as_i64() {
                if !(1..=65_535).contains(&number) {
                    causes.push(Cause::invalid(
                        &at(field),
                        value,
                        "must be between 1 and 65535, inclusive",
                    ));
                }
            } else if let Some(name) = value.as_str() {
                let complaints = names::port_name(name);
                causes.extend(complaints.iter().map(|why| Cause::invalid(&at(field), value, why)));
            } else if field == "port" {
                let zero = Value::from(0);
                causes.push(Cause::invalid(
                    &at(field),
                    &zero,
                    "must be between 1 and 65535, inclusive",
                ));
            }
        }
        unsupported(&port["protocol"], &at("protocol"), &["SCTP", "TCP", "UDP"], &mut causes);
    }
    unsupported(
        &spec["sessionAffinity"],
        "spec.sessionAffinity",
        &["ClientIP", "None"],
        &mut causes,
    );
    unsupported(
        &spec["type"],
        "spec.type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        &mut causes,
    );
    if spec["externalTrafficPolicy"].is_string() {
        unsupported(
            &spec["externalTrafficPolicy"],
            "spec.externalTrafficPolicy",
            &["Cluster", "Local"],
            &mut causes,
        );
    }
    if let Some(live) = live {
        let (old, new) = (&live["spec"], spec);
        let same_type = old["type"] != "ExternalName" && new["type"] != "ExternalName";
        if same_type && old["clusterIP"].is_string() && old["clusterIP"] != new["clusterIP"] {
            causes.push(Cause::invalid(
                "spec.clusterIPs[0]",
                &new["clusterIPs"],
                "may not change once set",
            ));
        }
    }
    causes
}

pub(super) fn unsupported(value: &Value, field: &str, known: &[&str], causes: &mut Vec<Cause>) {
    if let Some(text) = value.as_str()
        && !known.contains(&text)
    {
        causes.push(Cause::unsupported(field, value, known));
    }
}

fn workload(kind: &Kind, live: Option<&Value>, object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let mut causes = Vec::new();
    if spec["replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        causes.push(Cause::invalid(
            "spec.replicas",
            &spec["replicas"],
            "must be greater than or equal to 0",
        ));
    }
    let chosen = &spec["selector"];
    let empty = |part: &str| match &chosen[part] {
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => true,
    };
    if chosen.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if empty("matchLabels") && empty("matchExpressions") {
        causes.push(Cause::invalid(
            "spec.selector",
            chosen,
            format!("empty selector is invalid for {}", kind.kind.to_lowercase()),
        ));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if chosen.is_null() || !selector::matches(chosen, labels) {
        causes.push(Cause::invalid(
            "spec.template.metadata.labels",
            labels,
            "`selector` does not match template `labels`",
        ));
    }
    metadata::labels(labels, "spec.template.labels", &mut causes);
    causes.extend(pods::spec(&spec["template"]["spec"], "spec.template.spec"));
    unsupported(
        &spec["template"]["spec"]["restartPolicy"],
        "spec.template.spec.restartPolicy",
        &["Always"],
        &mut causes,
    );
    if kind.plural == "deployments"
        && let Some(strategy) = spec["strategy"]["type"].as_str()
        && !matches!(strategy, "Recreate" | "RollingUpdate")
    {
        causes.push(Cause::unsupported(
            "spec.strategy",
            &spec["strategy"],
            &["Recreate", "RollingUpdate"],
        ));
    }
    if kind.plural == "deployments"
        && spec["strategy"]["type"] == "Recreate"
        && !spec["strategy"]["rollingUpdate"].is_null()
    {
        causes.push(Cause::forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ));
    }
    if kind.plural == "statefulsets"
        && let Some(live) = live
    {
        const OPEN: &[&str] = &[
            "replicas",
            "ordinals",
            "template",
            "updateStrategy",
            "revisionHistoryLimit",
            "persistentVolumeClaimRetentionPolicy",
            "minReadySeconds",
        ];
        let closed = |object: &Value| -> serde_json::Map<String, Value> {
            let mut fields = object["spec"].as_object().cloned().unwrap_or_default();
            fields.retain(|name, _| !OPEN.contains(&name.as_str()));
            fields
        };
        if closed(live) != closed(object) {
            causes.push(Cause::forbidden("spec", "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"));
        }
    }
    causes
}

fn rules(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for (index, rule) in object["rules"].as_array().into_iter().flatten().enumerate() {
        let at = |name: &str| format!("rules[{index}].{name}");
        let none = |name: &str| rule[name].as_array().is_none_or(Vec::is_empty);
        if none("verbs") {
            causes.push(Cause::required(&at("verbs"), "verbs must contain at least one value"));
        }
        if !none("nonResourceURLs") {
            if object["kind"] == "Role" {
                causes.push(Cause::invalid(
                    &at("nonResourceURLs"),
                    &rule["nonResourceURLs"],
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            continue;
        }
        if none("apiGroups") {
            causes.push(Cause::required(
                &at("apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if none("resources") {
            causes.push(Cause::required(
                &at("resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
    causes
}

fn binding(object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let role = &object["roleRef"];
    let kinds: &[&str] = if object["kind"] == "ClusterRoleBinding" {
        &["ClusterRole"]
    } else {
        &["Role", "ClusterRole"]
    };
    if !kinds.contains(&role["kind"].as_str().unwrap_or_default()) {
        causes.push(Cause::unsupported("roleRef.kind", &role["kind"], kinds));
    }
    if role["name"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required("roleRef.name", ""));
    }
    for (index, subject) in object["subjects"].as_array().into_iter().flatten().enumerate() {
        let at = |name: &str| format!("subjects[{index}].{name}");
        if subject["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(&at("name"), ""));
        }
        match subject["kind"].as_str().unwrap_or_default() {
            "ServiceAccount" => {
                if object["kind"] == "ClusterRoleBinding"
                    && subject["namespace"].as_str().is_none_or(str::is_empty)
                {
                    causes.push(Cause::required(&at("namespace"), ""));
                }
            }
            "User" | "Group" => {}
            _ => causes.push(Cause::unsupported(
                &at("kind"),
                &subject["kind"],
                &["ServiceAccount", "User", "Group"],
            )),
        }
    }
    causes
}

fn custom_definition(object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut causes = Vec::new();
    let (plural, group) = (text(&spec["names"]["plural"]), text(&spec["group"]));
    let wanted = format!("{plural}.{group}");
    let name = text(&object["metadata"]["name"]);
    if name != wanted {
        causes.push(Cause::invalid(
            "metadata.name",
            &Value::String(name),
            format!("must be spec.names.plural+\".\"+spec.group: \"{wanted}\""),
        ));
    }
    let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        causes.push(Cause::invalid(
            "spec.versions",
            &spec["versions"],
            "must have exactly one version marked as storage version",
        ));
    }
    for (index, version) in versions.iter().enumerate() {
        if !version["schema"]["openAPIV3Schema"].is_object() {
            causes.push(Cause::required(
                &format!("spec.versions[{index}].schema.openAPIV3Schema"),
                "schemas are required",
            ));
        }
    }
    if !matches!(spec["scope"].as_str(), Some("Namespaced" | "Cluster")) {
        causes.push(Cause::unsupported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"]));
    }
    let protected =
        group.ends_with(".k8s.io") || group.ends_with(".kubernetes.io") || group == "k8s.io";
    if protected && object["metadata"]["annotations"]["api-approved.kubernetes.io"].is_null() {
        causes.push(Cause::required(
            "metadata.annotations[api-approved.kubernetes.io]",
            "protected groups must have approval annotation \"api-approved.kubernetes.io\", see https://github.com/kubernetes/enhancements/pull/1111",
        ));
    }
    causes
}
