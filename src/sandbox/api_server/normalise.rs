//! What the API server does to built-in kinds beyond their schema: defaults that depend on other fields, addresses,
//! fields of their status, generation.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::kinds::{Kind, metadata_text};
use super::{ApiServer, Request, status};
use crate::sandbox::api::Status;
use crate::sandbox::limit_range;
use crate::sandbox::validation::Cause;

/// Cluster IPs and node ports in use, by the `namespace/name` of their Service.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    cluster_ips: BTreeMap<String, String>,
    node_ports: BTreeMap<u16, String>,
}

const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// Kinds of the API server that count their spec's changes.
const WITH_GENERATION: &[(&str, &str)] = &[
    ("", "pods"),
    ("", "podtemplates"),
    ("", "replicationcontrollers"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"),
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    ("apps", "daemonsets"),
    ("apps", "deployments"),
    ("apps", "replicasets"),
    ("apps", "statefulsets"),
    ("batch", "cronjobs"),
    ("batch", "jobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("flowcontrol.apiserver.k8s.io", "flowschemas"),
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"),
    ("networking.k8s.io", "ingressclasses"),
    ("networking.k8s.io", "ingresses"),
    ("networking.k8s.io", "networkpolicies"),
    ("policy", "poddisruptionbudgets"),
    ("resource.k8s.io", "deviceclasses"),
    ("resource.k8s.io", "resourceslices"),
    ("scheduling.k8s.io", "priorityclasses"),
];

fn is(kind: &Kind, group: &str, plural: &str) -> bool {
    kind.custom.is_none() && kind.group == group && kind.plural == plural
}

/// Whether objects of the kind carry `metadata.generation`.
pub(crate) fn has_generation(kind: &Kind) -> bool {
    kind.custom.is_some() || WITH_GENERATION.contains(&(kind.group.as_str(), kind.plural.as_str()))
}

/// Whether a PUT must name the revision that it replaces.
pub(crate) fn needs_revision(kind: &Kind) -> bool {
    kind.custom.is_some()
        || matches!(
            (kind.group.as_str(), kind.plural.as_str()),
            ("admissionregistration.k8s.io" | "flowcontrol.apiserver.k8s.io", _)
                | ("apiextensions.k8s.io", "customresourcedefinitions")
                | ("coordination.k8s.io", "leases")
                | ("policy", "poddisruptionbudgets")
        )
}

/// Whether writes of the object itself leave `status` alone.
pub(crate) fn keeps_status_apart(kind: &Kind) -> bool {
    kind.has_subresource("status")
}

/// Whether a change counts for `metadata.generation`.
pub(crate) fn changes_generation(kind: &Kind, live: &Value, new: &Value) -> bool {
    if !has_generation(kind) {
        return false;
    }
    let ignored: &[&str] = match &kind.custom {
        Some(custom) if !custom.has_status() => &["metadata"],
        _ => &["metadata", "status"],
    };
    if is(kind, "scheduling.k8s.io", "priorityclasses") {
        // It has no spec, and its strategy counts none of its fields.
        return false;
    }
    let content = |object: &Value| -> Map<String, Value> {
        let fields = object.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| !ignored.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    content(live) != content(new)
}

/// Defaults that depend on other fields.
pub(crate) fn defaults(kind: &Kind, object: &mut Value) {
    if kind.custom.is_some() {
        return;
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => {
            pod_only(&mut object["spec"]);
            pod_spec(&mut object["spec"]);
            service_account_name(&mut object["spec"]);
        }
        ("", "services") => service(object),
        ("", "secrets") => secret(object),
        ("", "namespaces") => namespace(object),
        ("apps", "deployments") => {
            rolling_update(&mut object["spec"], "strategy", "25%");
            pod_template(object, &["spec", "template"]);
        }
        ("apps", "daemonsets") => {
            let generation = &mut object["metadata"]["annotations"];
            fill(generation, "deprecated.daemonset.template.generation", json!("1"));
            if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
                let rolling = &mut object["spec"]["updateStrategy"]["rollingUpdate"];
                fill(rolling, "maxSurge", json!(0));
                fill(rolling, "maxUnavailable", json!(1));
            }
            pod_template(object, &["spec", "template"]);
        }
        ("apps", "statefulsets") => {
            if object["spec"]["updateStrategy"]["type"] == "RollingUpdate" {
                fill(&mut object["spec"]["updateStrategy"]["rollingUpdate"], "partition", json!(0));
            }
            let claims = object.pointer_mut("/spec/volumeClaimTemplates");
            for claim in claims.and_then(Value::as_array_mut).into_iter().flatten() {
                fill(claim, "apiVersion", json!("v1"));
                fill(claim, "kind", json!("PersistentVolumeClaim"));
            }
            pod_template(object, &["spec", "template"]);
        }
        ("apps", "replicasets") => pod_template(object, &["spec", "template"]),
        ("", "replicationcontrollers") => {
            pod_template(object, &["spec", "template"]);
            labels_of_template(object);
        }
        ("", "podtemplates") => pod_template(object, &["template"]),
        ("batch", "jobs") => {
            job(&mut object["spec"]);
            // Labels that the server gave to the template are taken over when the Job is read: see `when_read`.
            let labels = &object["spec"]["template"]["metadata"]["labels"];
            if labels["controller-uid"].is_null() {
                labels_of_template(object);
            }
        }
        ("batch", "cronjobs") => {
            if let Some(spec) = object.pointer_mut("/spec/jobTemplate/spec") {
                job_template(spec);
            }
        }
        ("storage.k8s.io", "csidrivers") if object["spec"].is_object() => {
            fill(&mut object["spec"], "volumeLifecycleModes", json!(["Persistent"]));
        }
        ("apiregistration.k8s.io", "apiservices") => {
            if let Some(service) = object.pointer_mut("/spec/service").filter(|it| it.is_object()) {
                fill(service, "port", json!(443));
            }
        }
        ("resource.k8s.io", "resourceclaims") => device_requests(object, "/spec"),
        ("resource.k8s.io", "resourceclaimtemplates") => device_requests(object, "/spec/spec"),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => binding(object),
        ("networking.k8s.io", "networkpolicies") => network_policy(&mut object["spec"]),
        ("apiextensions.k8s.io", "customresourcedefinitions") => custom_definition(object),
        ("autoscaling", "horizontalpodautoscalers") => autoscaler(object),
        ("flowcontrol.apiserver.k8s.io", "flowschemas")
            if object["spec"]["matchingPrecedence"] == 0 =>
        {
            object["spec"]["matchingPrecedence"] = json!(1_000);
        }
        ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations") => {
            if let Some(limited) = object.pointer_mut("/spec/limited").filter(|it| it.is_object())
                && limited["nominalConcurrencyShares"].is_null()
            {
                limited["nominalConcurrencyShares"] = json!(30);
            }
        }
        ("networking.k8s.io", "ingressclasses") => {
            if let Some(parameters) =
                object.pointer_mut("/spec/parameters").filter(|it| it.is_object())
                && parameters["scope"].is_null()
            {
                parameters["scope"] = json!("Cluster");
            }
        }
        ("", "limitranges") => limit_range::defaults(&mut object["spec"]),
        _ => {}
    }
}

fn fill(value: &mut Value, field: &str, default: Value) {
    if value.is_null() {
        *value = json!({});
    }
    if let Some(fields) = value.as_object_mut() {
        fields.entry(field).or_insert(default);
    }
}

fn rolling_update(spec: &mut Value, field: &str, share: &str) {
    if !spec.is_object() || spec[field]["type"] != "RollingUpdate" {
        return;
    }
    let rolling = &mut spec[field]["rollingUpdate"];
    fill(rolling, "maxSurge", json!(share));
    fill(rolling, "maxUnavailable", json!(share));
}

fn pod_template(object: &mut Value, path: &[&str]) {
    let mut found = object;
    for part in path {
        if !found.is_object() {
            return;
        }
        found = &mut found[*part];
    }
    if found.is_object() {
        pod_spec(&mut found["spec"]);
        service_account_name(&mut found["spec"]);
    }
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are written.
fn service_account_name(spec: &mut Value) {
    let Some(fields) = spec.as_object_mut() else { return };
    let named = |value: Option<&Value>| {
        value.and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
    };
    let name = named(fields.get("serviceAccountName")).or(named(fields.get("serviceAccount")));
    if let Some(name) = name {
        fields.insert("serviceAccountName".to_owned(), name.clone().into());
        fields.insert("serviceAccount".to_owned(), name.into());
    }
}

/// What is defaulted in pods but not in their templates.
fn pod_only(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    fill(spec, "enableServiceLinks", json!(true));
    let host_network = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers.iter_mut().filter(|container| container.is_object()) {
            if host_network
                && let Some(ports) = container.get_mut("ports").and_then(Value::as_array_mut)
            {
                for port in ports.iter_mut().filter(|port| port.is_object()) {
                    if port["hostPort"].as_i64().unwrap_or(0) == 0 {
                        port["hostPort"] = port["containerPort"].clone();
                    }
                }
            }
            let limits = container["resources"]["limits"].clone();
            for (name, limit) in limits.as_object().into_iter().flatten() {
                fill(&mut container["resources"]["requests"], name, limit.clone());
            }
        }
    }
}

fn pod_spec(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers.iter_mut().filter(|container| container.is_object()) {
            if container["imagePullPolicy"].is_null() {
                let image = container["image"].as_str().unwrap_or_default();
                container["imagePullPolicy"] = pull_policy(image).into();
            }
        }
    }
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        for volume in volumes {
            let Some(fields) = volume.as_object_mut() else { continue };
            if fields.len() == 1 && fields.contains_key("name") {
                fields.insert("emptyDir".to_owned(), json!({}));
            }
        }
    }
}

/// `Always` for the tag `latest`, given or implied.
fn pull_policy(image: &str) -> &'static str {
    if image.contains('@') {
        return "IfNotPresent";
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        None | Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
    }
}

/// Defaults that depend on what the server itself wrote, which the API server fills in when it reads the object from its
/// storage.
pub(crate) fn when_read(kind: &Kind, object: &mut Value) {
    if (kind.group.as_str(), kind.plural.as_str()) == ("batch", "jobs") {
        labels_of_template(object);
    }
}

/// A controller without labels takes those of its template.
fn labels_of_template(object: &mut Value) {
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    let own = &object["metadata"]["labels"];
    let none = own.is_null() || own.as_object().is_some_and(Map::is_empty);
    if none && labels.as_object().is_some_and(|labels| !labels.is_empty()) {
        object["metadata"]["labels"] = labels;
    }
}

/// Devices are asked for by a number, one when nothing is said.
fn device_requests(object: &mut Value, spec: &str) {
    let requests = object.pointer_mut(&format!("{spec}/devices/requests"));
    for request in requests.and_then(Value::as_array_mut).into_iter().flatten() {
        if request["exactly"].is_object() && request["exactly"]["allocationMode"] == "ExactCount" {
            fill(&mut request["exactly"], "count", json!(1));
        }
    }
}

/// The Job inside a CronJob gets no defaults of its own before it is one.
fn job_template(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    if spec["template"].is_object() {
        pod_spec(&mut spec["template"]["spec"]);
        service_account_name(&mut spec["template"]["spec"]);
    }
}

fn job(spec: &mut Value) {
    if !spec.is_object() {
        return;
    }
    for (field, default) in [
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
        ("suspend", json!(false)),
    ] {
        fill(spec, field, default);
    }
    if spec["completions"].is_null() && spec["parallelism"].is_null() {
        spec["completions"] = json!(1);
        spec["parallelism"] = json!(1);
    } else if spec["parallelism"].is_null() {
        spec["parallelism"] = json!(1);
    }
    if spec["podFailurePolicy"].is_object() {
        spec["podReplacementPolicy"] = json!("Failed");
    }
    if spec["template"].is_object() {
        pod_spec(&mut spec["template"]["spec"]);
        service_account_name(&mut spec["template"]["spec"]);
    }
}

fn binding(object: &mut Value) {
    let group = json!("rbac.authorization.k8s.io");
    if let Some(subjects) = object.get_mut("subjects").and_then(Value::as_array_mut) {
        for subject in subjects {
            if matches!(subject["kind"].as_str(), Some("User" | "Group")) {
                fill(subject, "apiGroup", group.clone());
            }
        }
    }
    if object["roleRef"].is_object()
        && object["roleRef"]["apiGroup"].as_str().is_none_or(str::is_empty)
    {
        object["roleRef"]["apiGroup"] = group;
    }
}

fn network_policy(spec: &mut Value) {
    if spec.is_object() && spec["policyTypes"].is_null() {
        let egress = spec["egress"].as_array().is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] =
            if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    }
}

fn namespace(object: &mut Value) {
    let name = metadata_text(object, "name").to_owned();
    if !name.is_empty() && object["metadata"].is_object() {
        let labels = &mut object["metadata"]["labels"];
        if labels.is_null() {
            *labels = json!({});
        }
        labels["kubernetes.io/metadata.name"] = name.into();
    }
}

/// `stringData` is write-only: it ends in `data`.
fn secret(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    let Some(Value::Object(texts)) = fields.remove("stringData") else { return };
    let data = fields.entry("data").or_insert_with(|| json!({}));
    if let Some(data) = data.as_object_mut() {
        for (key, text) in texts {
            data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
        }
    }
}

fn custom_definition(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    fill(&mut spec["conversion"], "strategy", json!("None"));
    if let Some(service) = spec.pointer_mut("/conversion/webhook/clientConfig/service")
        && service.is_object()
    {
        fill(service, "port", json!(443));
    }
    let names = &mut spec["names"];
    if let Some(kind) = names["kind"].as_str().map(str::to_owned) {
        fill(names, "singular", kind.to_lowercase().into());
        fill(names, "listKind", format!("{kind}List").into());
    }
}

fn autoscaler(object: &mut Value) {
    let spec = &mut object["spec"];
    if spec.is_object()
        && spec["metrics"].as_array().is_none_or(Vec::is_empty)
        && object_is_v2(object)
    {
        object["spec"]["metrics"] = json!([{
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
        }]);
    }
}

fn object_is_v2(object: &Value) -> bool {
    object["apiVersion"] == "autoscaling/v2"
}

fn service(object: &mut Value) {
    let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    if let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) {
        for port in ports.iter_mut().filter(|port| port.is_object()) {
            let unset = matches!(&port["targetPort"], Value::Null)
                || port["targetPort"] == 0
                || port["targetPort"] == "";
            if unset {
                port["targetPort"] = port["port"].clone();
            }
        }
    }
    if spec["sessionAffinity"] == "ClientIP" {
        fill(&mut spec["sessionAffinityConfig"]["clientIP"], "timeoutSeconds", json!(10_800));
    }
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if kind == "ExternalName"
        && let Some(fields) = spec.as_object_mut()
    {
        fields.remove("internalTrafficPolicy");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    let outside = matches!(kind.as_str(), "LoadBalancer" | "NodePort")
        || spec["externalIPs"].as_array().is_some_and(|ips| !ips.is_empty());
    if outside && kind != "ExternalName" {
        fill(spec, "externalTrafficPolicy", json!("Cluster"));
    }
}

/// Fields of a new object that the server sets, whoever asks.
pub(crate) fn before_create(
    server: &ApiServer,
    kind: &Kind,
    object: &mut Value,
    request: &Request,
) -> Result<(), Status> {
    if kind.custom.is_some() {
        return Ok(());
    }
    match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "namespaces") => {
            object["spec"] = json!({"finalizers": ["kubernetes"]});
            object["status"] = json!({"phase": "Active"});
        }
        ("", "pods") => {
            object["status"] = json!({"phase": "Pending", "qosClass": qos_class(&object["spec"])});
        }
        ("", "persistentvolumeclaims") => {
            object["status"] = json!({"phase": "Pending"});
            protect(object, "kubernetes.io/pvc-protection");
        }
        ("", "persistentvolumes") => {
            let now = server.now_text();
            object["status"] = json!({"phase": "Pending", "lastPhaseTransitionTime": now});
            protect(object, "kubernetes.io/pv-protection");
        }
        ("storage.k8s.io", "volumeattributesclasses") => {
            protect(object, "kubernetes.io/vac-protection");
        }
        ("certificates.k8s.io", "certificatesigningrequests") => {
            object["status"] = json!({});
            object["spec"]["username"] = request.user.as_str().into();
            object["spec"]["groups"] = json!(request.groups);
        }
        ("", "services") => {
            object["status"] = json!({"loadBalancer": {}});
            allocate(server, object, &Value::Null, request.dry_run)?;
        }
        ("batch", "jobs") => {
            object["status"] = json!({});
            let of_template = &object["spec"]["template"]["metadata"]["labels"];
            let has_some = of_template.as_object().is_some_and(|labels| !labels.is_empty());
            job_labels(object);
            // Its labels were those of the template before the controller's came to it.
            let labels = object["spec"]["template"]["metadata"]["labels"].clone();
            let own = object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
            if has_some && own.iter().all(|(name, value)| labels[name] == *value) {
                object["metadata"]["labels"] = labels;
            }
        }
        ("apps", "deployments") => object["status"] = json!({}),
        ("apps", "replicasets") => object["status"] = json!({"replicas": 0}),
        ("apps", "statefulsets") => {
            object["status"] = json!({"replicas": 0, "availableReplicas": 0});
        }
        ("apps", "daemonsets") => {
            object["status"] = json!({
                "currentNumberScheduled": 0, "desiredNumberScheduled": 0,
                "numberMisscheduled": 0, "numberReady": 0
            });
        }
        ("policy", "poddisruptionbudgets") => {
            object["status"] = json!({
                "currentHealthy": 0, "desiredHealthy": 0,
                "disruptionsAllowed": 0, "expectedPods": 0
            });
        }
        ("autoscaling", "horizontalpodautoscalers") => {
            object["status"] = json!({"desiredReplicas": 0});
        }
        ("apiextensions.k8s.io", "customresourcedefinitions") => {
            let stored: Vec<Value> = object["spec"]["versions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|version| version["storage"] == true)
                .map(|version| version["name"].clone())
                .collect();
            object["status"] = json!({
                "acceptedNames": {"kind": "", "plural": ""},
                "conditions": null,
                "storedVersions": stored
            });
        }
        _ => {}
    }
    Ok(())
}

/// Storage in use is protected by a finalizer, as admission sets it.
fn protect(object: &mut Value, finalizer: &str) {
    let finalizers = &mut object["metadata"]["finalizers"];
    if finalizers.is_null() {
        *finalizers = json!([]);
    }
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|found| found == finalizer)
    {
        finalizers.push(finalizer.into());
    }
}

/// A Job chooses its pods by its own uid.
fn job_labels(object: &mut Value) {
    if object["spec"]["manualSelector"] == true || !object["spec"]["template"].is_object() {
        return;
    }
    let (uid, name) =
        (metadata_text(object, "uid").to_owned(), metadata_text(object, "name").to_owned());
    let labels = &mut object["spec"]["template"]["metadata"]["labels"];
    for (label, value) in [
        ("controller-uid", &uid),
        ("batch.kubernetes.io/controller-uid", &uid),
        ("job-name", &name),
        ("batch.kubernetes.io/job-name", &name),
    ] {
        fill(labels, label, value.clone().into());
    }
    let selector = &mut object["spec"]["selector"]["matchLabels"];
    fill(selector, "batch.kubernetes.io/controller-uid", uid.into());
}

pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let containers: Vec<&Value> = ["containers", "initContainers"]
        .iter()
        .filter_map(|list| spec[*list].as_array())
        .flatten()
        .collect();
    let any = containers.iter().any(|container| {
        ["limits", "requests"].iter().any(|part| {
            container["resources"][*part]
                .as_object()
                .is_some_and(|wanted| wanted.contains_key("cpu") || wanted.contains_key("memory"))
        })
    });
    let guaranteed = containers.iter().all(|container| {
        let resources = &container["resources"];
        ["cpu", "memory"].iter().all(|name| {
            resources["limits"][*name].is_string()
                && resources["limits"][*name] == resources["requests"][*name]
        })
    });
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

/// What an update may not touch is put back.
pub(crate) fn before_update(
    server: &ApiServer,
    kind: &Kind,
    live: &Value,
    object: &mut Value,
    subresource: &str,
) -> Result<(), Status> {
    let Some(fields) = object.as_object_mut() else { return Ok(()) };
    let mut keep = |field: &str| match live.get(field) {
        Some(value) => {
            fields.insert(field.to_owned(), value.clone());
        }
        None => {
            fields.remove(field);
        }
    };
    match subresource {
        "" if keeps_status_apart(kind) => keep("status"),
        "status" if kind.custom.is_some() => {
            let managed = fields["metadata"].get("managedFields").cloned();
            let others: Vec<String> = live
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .chain(fields.keys().cloned())
                .filter(|name| name != "status")
                .collect();
            for name in others {
                match live.get(&name) {
                    Some(value) => fields.insert(name, value.clone()),
                    None => fields.remove(&name),
                };
            }
            if let (Some(managed), Some(metadata)) = (managed, fields["metadata"].as_object_mut()) {
                metadata.insert("managedFields".to_owned(), managed);
            }
        }
        "status" => keep("spec"),
        _ => {}
    }
    if kind.custom.is_some() {
        return Ok(());
    }
    match (kind.group.as_str(), kind.plural.as_str(), subresource) {
        ("", "namespaces", "") => {
            object["spec"]["finalizers"] = live["spec"]["finalizers"].clone();
        }
        ("", "services", "") => {
            allocate(server, object, live, false)?;
            if object["spec"]["type"] != "LoadBalancer" && live["spec"]["type"] == "LoadBalancer" {
                object["status"]["loadBalancer"] = json!({});
            }
        }
        ("certificates.k8s.io", "certificatesigningrequests", _) => {
            for field in ["username", "groups", "uid", "extra", "request"] {
                if let Some(value) = live["spec"].get(field) {
                    object["spec"][field] = value.clone();
                }
            }
            let now = server.now_text();
            let conditions = object.pointer_mut("/status/conditions");
            for condition in conditions.and_then(Value::as_array_mut).into_iter().flatten() {
                for field in ["lastTransitionTime", "lastUpdateTime"] {
                    if condition[field].is_null() {
                        condition[field] = now.as_str().into();
                    }
                }
            }
        }
        ("", "services", "status") => {
            let ingress = object.pointer_mut("/status/loadBalancer/ingress");
            for point in ingress.and_then(Value::as_array_mut).into_iter().flatten() {
                if point["ip"].is_string() {
                    fill(point, "ipMode", json!("VIP"));
                }
            }
        }
        ("apps", "deployments", "status") => {
            object["metadata"]["labels"] = live["metadata"]["labels"].clone();
            if object["metadata"]["labels"].is_null()
                && let Some(metadata) = object["metadata"].as_object_mut()
            {
                metadata.remove("labels");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Gives a Service its cluster IP and node ports, or keeps those it has.
fn allocate(
    server: &ApiServer,
    object: &mut Value,
    live: &Value,
    dry_run: bool,
) -> Result<(), Status> {
    let key = format!("{}/{}", metadata_text(object, "namespace"), metadata_text(object, "name"));
    let spec = &mut object["spec"];
    let kind = spec["type"].as_str().unwrap_or("ClusterIP").to_owned();
    let before = &live["spec"];
    let was = before["type"].as_str().unwrap_or_default();
    if kind == "ExternalName" {
        // What was allocated goes, unless the client asks to keep it.
        if let Some(fields) = spec.as_object_mut() {
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if live.is_null() || fields.get(field) == before.get(field) {
                    fields.remove(field);
                }
            }
        }
        drop_node_ports(spec, before);
        return Ok(());
    }
    let outside = |kind: &str| matches!(kind, "NodePort" | "LoadBalancer");
    if outside(was) && !outside(&kind) {
        drop_node_ports(spec, before);
    }
    if was == "LoadBalancer"
        && kind != was
        && let Some(fields) = spec.as_object_mut()
    {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if fields.get(field) == before.get(field) {
                fields.remove(field);
            }
        }
    }
    if spec["clusterIP"].as_str().is_none_or(str::is_empty) {
        if let Some(first) = spec["clusterIPs"][0].as_str() {
            spec["clusterIP"] = first.into();
        } else if before["clusterIP"].as_str().is_some_and(|ip| !ip.is_empty()) {
            spec["clusterIP"] = before["clusterIP"].clone();
        } else {
            spec["clusterIP"] = server.free_cluster_ip(&key, dry_run).into();
        }
    }
    // A changed address stands for the list of addresses, too.
    let changed = before["clusterIP"].is_string()
        && spec["clusterIP"] != before["clusterIP"]
        && spec["clusterIPs"] == before["clusterIPs"];
    if spec["clusterIPs"].is_null() || changed {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    let v6 = spec["clusterIP"].as_str().is_some_and(|ip| ip.contains(':'));
    fill(spec, "ipFamilies", if v6 { json!(["IPv6"]) } else { json!(["IPv4"]) });
    fill(spec, "ipFamilyPolicy", json!("SingleStack"));
    let wants_ports = kind == "NodePort"
        || (kind == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false);
    let old_ports = before["ports"].as_array().cloned().unwrap_or_default();
    if let Some(ports) = spec["ports"].as_array_mut() {
        for port in ports {
            if wants_ports && port["nodePort"].as_u64().unwrap_or(0) == 0 {
                let same = old_ports
                    .iter()
                    .find(|old| old["port"] == port["port"] && old["protocol"] == port["protocol"]);
                let kept = same.and_then(|old| old["nodePort"].as_u64()).filter(|port| *port != 0);
                port["nodePort"] = match kept {
                    Some(kept) => kept.into(),
                    None => server.free_node_port(&key, dry_run)?.into(),
                };
            } else if kind == "ClusterIP"
                && let Some(fields) = port.as_object_mut()
            {
                fields.remove("nodePort");
            }
        }
    }
    if spec["externalTrafficPolicy"] == "Local" && kind == "LoadBalancer" {
        let kept = before["healthCheckNodePort"].as_u64().filter(|port| *port != 0);
        if spec["healthCheckNodePort"].as_u64().unwrap_or(0) == 0 {
            spec["healthCheckNodePort"] = match kept {
                Some(kept) => kept.into(),
                None => server.free_node_port(&key, dry_run)?.into(),
            };
        }
    }
    Ok(())
}

/// Takes away the ports that another type of the Service had been given, and what comes with them.
fn drop_node_ports(spec: &mut Value, before: &Value) {
    let old = before["ports"].as_array().cloned().unwrap_or_default();
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let kept = old.iter().any(|old| old["nodePort"] == port["nodePort"]);
        if let Some(fields) = port.as_object_mut()
            && kept
        {
            fields.remove("nodePort");
        }
    }
    if let Some(fields) = spec.as_object_mut() {
        for field in ["externalTrafficPolicy", "healthCheckNodePort"] {
            if fields.get(field) == before.get(field) {
                fields.remove(field);
            }
        }
    }
}

impl ApiServer {
    fn free_cluster_ip(&self, key: &str, dry_run: bool) -> String {
        let mut addresses = self.addresses.lock();
        let mut random = self.random_for(&format!("address of {key}"));
        loop {
            // 10.96.0.0/16 without its first addresses, which are given by hand.
            let number = random.below(65_000) + 256;
            let address = format!("10.96.{}.{}", number / 256, number % 256);
            if !addresses.cluster_ips.contains_key(&address) {
                if !dry_run {
                    addresses.cluster_ips.insert(address.clone(), key.to_owned());
                }
                return address;
            }
        }
    }

    fn free_node_port(&self, key: &str, dry_run: bool) -> Result<u16, Status> {
        let mut addresses = self.addresses.lock();
        let mut random = self.random_for(&format!("port of {key}"));
        let span = usize::from(NODE_PORTS.end() - NODE_PORTS.start()) + 1;
        if addresses.node_ports.len() >= span {
            return Err(status::internal("failed to allocate a nodePort: range is full"));
        }
        loop {
            let offset = u16::try_from(random.below(span)).unwrap_or(0);
            let port = NODE_PORTS.start() + offset;
            if let Entry::Vacant(free) = addresses.node_ports.entry(port) {
                if !dry_run {
                    free.insert(key.to_owned());
                }
                return Ok(port);
            }
        }
    }
}

/// Brings the books of addresses up to date with a write that is about to happen.
pub(crate) fn reserve(
    server: &ApiServer,
    kind: &Kind,
    live: Option<&Value>,
    new: Option<&Value>,
) -> Result<(), Status> {
    if !is(kind, "", "services") {
        return Ok(());
    }
    let mut addresses = server.addresses.lock();
    let object = new.or(live).unwrap_or(&Value::Null);
    let key = format!("{}/{}", metadata_text(object, "namespace"), metadata_text(object, "name"));
    if let Some(new) = new {
        for ip in
            new["spec"]["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            if let Some(owner) = addresses.cluster_ips.get(ip)
                && *owner != key
                && ip != "None"
            {
                let cause = Cause::invalid(
                    "spec.clusterIPs",
                    &json!([ip]),
                    format!("failed to allocate IP {ip}: provided IP is already allocated"),
                );
                let name = metadata_text(new, "name");
                return Err(status::invalid("", "Service", name, vec![cause]));
            }
        }
    }
    addresses.cluster_ips.retain(|_, owner| *owner != key);
    addresses.node_ports.retain(|_, owner| *owner != key);
    let Some(new) = new else { return Ok(()) };
    for ip in new["spec"]["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !ip.is_empty() && ip != "None" {
            addresses.cluster_ips.insert(ip.to_owned(), key.clone());
        }
    }
    let ports = new["spec"]["ports"].as_array().into_iter().flatten();
    let health = new["spec"]["healthCheckNodePort"].as_u64();
    for port in ports.filter_map(|port| port["nodePort"].as_u64()).chain(health) {
        if let Ok(port) = u16::try_from(port)
            && port != 0
        {
            addresses.node_ports.insert(port, key.clone());
        }
    }
    Ok(())
}
