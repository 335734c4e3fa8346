//! The rows of built-in kinds, one function each; kinds without one show name and age.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::text::{
    NONE, age, containers, duration, items, labels, or, plain, selector, text, three,
};
use super::{batch, is, pods};
use crate::sandbox::api_server::kinds::Kind;

type Row = fn(&Value, Timestamp) -> Vec<Value>;

const ROWS: &[(&str, Row)] = &[
    ("pods", pods::cells),
    ("services", service),
    ("endpoints", endpoints),
    ("configmaps", config_map),
    ("secrets", secret),
    ("namespaces", namespace),
    ("nodes", node),
    ("events", event),
    ("events.k8s.io/events", event),
    ("persistentvolumeclaims", claim),
    ("persistentvolumes", volume),
    ("resourcequotas", quota),
    ("limitranges", created_at),
    ("replicationcontrollers", replica_set),
    ("apps/deployments", deployment),
    ("apps/replicasets", replica_set),
    ("apps/statefulsets", stateful_set),
    ("apps/daemonsets", daemon_set),
    ("apps/controllerrevisions", controller_revision),
    ("batch/jobs", batch::job),
    ("batch/cronjobs", batch::cron_job),
    ("autoscaling/horizontalpodautoscalers", batch::autoscaler),
    ("policy/poddisruptionbudgets", disruption_budget),
    ("discovery.k8s.io/endpointslices", endpoint_slice),
    ("networking.k8s.io/ingresses", ingress),
    ("networking.k8s.io/ingressclasses", ingress_class),
    ("networking.k8s.io/networkpolicies", network_policy),
    ("networking.k8s.io/ipaddresses", ip_address),
    ("networking.k8s.io/servicecidrs", service_cidr),
    ("rbac.authorization.k8s.io/roles", created_at),
    ("rbac.authorization.k8s.io/clusterroles", created_at),
    ("rbac.authorization.k8s.io/rolebindings", role_binding),
    ("rbac.authorization.k8s.io/clusterrolebindings", role_binding),
    ("apiextensions.k8s.io/customresourcedefinitions", created_at),
    ("admissionregistration.k8s.io/validatingwebhookconfigurations", webhooks),
    ("admissionregistration.k8s.io/mutatingwebhookconfigurations", webhooks),
    ("admissionregistration.k8s.io/validatingadmissionpolicies", admission_policy),
    ("admissionregistration.k8s.io/validatingadmissionpolicybindings", admission_binding),
    ("admissionregistration.k8s.io/mutatingadmissionpolicies", admission_policy),
    ("admissionregistration.k8s.io/mutatingadmissionpolicybindings", admission_binding),
    ("certificates.k8s.io/certificatesigningrequests", signing_request),
    ("coordination.k8s.io/leases", lease),
    ("scheduling.k8s.io/priorityclasses", priority_class),
    ("storage.k8s.io/storageclasses", storage_class),
    ("storage.k8s.io/csidrivers", csi_driver),
    ("storage.k8s.io/csistoragecapacities", created_at),
    ("storage.k8s.io/volumeattributesclasses", attributes_class),
    ("node.k8s.io/runtimeclasses", runtime_class),
    ("podtemplates", pod_template),
    ("apiregistration.k8s.io/apiservices", api_service),
];

pub(super) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    match ROWS.iter().find(|(name, _)| is(kind, name)) {
        Some((_, row)) => row(object, now),
        None => vec![name(object), json!(created(object, now))],
    }
}

fn name(object: &Value) -> Value {
    json!(text(&object["metadata"], "name"))
}

fn created(object: &Value, now: Timestamp) -> String {
    age(&object["metadata"]["creationTimestamp"], now)
}

fn number(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or(0)
}

fn size(value: &Value) -> usize {
    value.as_object().map_or(0, serde_json::Map::len)
}

fn created_at(object: &Value, _: Timestamp) -> Vec<Value> {
    vec![name(object), object["metadata"]["creationTimestamp"].clone()]
}

fn signing_request(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let has = |kind: &str| items(status, "conditions").iter().any(|found| found["type"] == kind);
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !text(status, "certificate").is_empty() {
        state.push_str(",Issued");
    }
    let asked = spec["expirationSeconds"].as_i64();
    vec![
        name(object),
        json!(created(object, now)),
        spec["signerName"].clone(),
        spec["username"].clone(),
        json!(asked.map_or_else(|| NONE.to_owned(), duration)),
        json!(state),
    ]
}

fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let n_entries = size(&object["data"]) + size(&object["binaryData"]);
    vec![name(object), json!(n_entries), json!(created(object, now))]
}

fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    let n_entries = size(&object["data"]);
    vec![name(object), object["type"].clone(), json!(n_entries), json!(created(object, now))]
}

fn namespace(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), object["status"]["phase"].clone(), json!(created(object, now))]
}

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let ports: Vec<String> = items(spec, "ports")
        .iter()
        .map(|port| {
            let (number, protocol) = (plain(&port["port"]), text(port, "protocol"));
            match port["nodePort"].as_i64().unwrap_or(0) {
                0 => format!("{number}/{protocol}"),
                node => format!("{number}:{node}/{protocol}"),
            }
        })
        .collect();
    vec![
        name(object),
        spec["type"].clone(),
        json!(or(text(spec, "clusterIP"), NONE)),
        json!(external_addresses(object)),
        json!(or(&ports.join(","), NONE)),
        json!(created(object, now)),
        json!(labels(&spec["selector"])),
    ]
}

fn external_addresses(service: &Value) -> String {
    let spec = &service["spec"];
    let given: Vec<&str> = items(spec, "externalIPs").iter().filter_map(Value::as_str).collect();
    match text(spec, "type") {
        "ExternalName" => text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let mut all = balanced(&service["status"]["loadBalancer"]);
            all.extend(given.iter().map(|address| (*address).to_owned()));
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => or(&given.join(","), NONE).to_owned(),
    }
}

/// The addresses and names of a load balancer.
fn balanced(status: &Value) -> Vec<String> {
    items(status, "ingress")
        .iter()
        .map(|ingress| or(text(ingress, "ip"), text(ingress, "hostname")).to_owned())
        .filter(|address| !address.is_empty())
        .collect()
}

fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut all = Vec::new();
    for subset in items(object, "subsets") {
        for address in items(subset, "addresses") {
            let ip = text(address, "ip");
            let ports = items(subset, "ports");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|port| format!("{ip}:{}", plain(&port["port"]))));
        }
    }
    vec![name(object), json!(three(&all, NONE)), json!(created(object, now))]
}

fn endpoint_slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let ports: Vec<String> = items(object, "ports")
        .iter()
        .map(|port| if port["port"].is_null() { "*".to_owned() } else { plain(&port["port"]) })
        .collect();
    let addresses: Vec<String> = items(object, "endpoints")
        .iter()
        .flat_map(|endpoint| items(endpoint, "addresses"))
        .filter_map(|address| address.as_str().map(str::to_owned))
        .collect();
    vec![
        name(object),
        object["addressType"].clone(),
        json!(three(&ports, "<unset>")),
        json!(three(&addresses, "<unset>")),
        json!(created(object, now)),
    ]
}

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    const ROLE: &str = "node-role.kubernetes.io/";
    let (spec, status) = (&object["spec"], &object["status"]);
    let ready = items(status, "conditions").iter().find(|condition| condition["type"] == "Ready");
    let mut state = match ready.map(|condition| text(condition, "status")) {
        Some("True") => "Ready".to_owned(),
        Some(_) => "NotReady".to_owned(),
        None => "Unknown".to_owned(),
    };
    if spec["unschedulable"] == true {
        state.push_str(",SchedulingDisabled");
    }
    let given = object["metadata"]["labels"].as_object();
    let mut roles: Vec<&str> = given
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.strip_prefix(ROLE) {
            Some(role) if !role.is_empty() => Some(role),
            _ => value.as_str().filter(|value| key == "kubernetes.io/role" && !value.is_empty()),
        })
        .collect();
    roles.sort_unstable();
    let address = |kind: &str| {
        let found = items(status, "addresses").iter().find(|address| address["type"] == kind);
        json!(found.map_or(NONE, |address| text(address, "address")))
    };
    let info = &status["nodeInfo"];
    vec![
        name(object),
        json!(state),
        json!(or(&roles.join(","), NONE)),
        json!(created(object, now)),
        info["kubeletVersion"].clone(),
        address("InternalIP"),
        address("ExternalIP"),
        json!(or(text(info, "osImage"), "<unknown>")),
        json!(or(text(info, "kernelVersion"), "<unknown>")),
        json!(or(text(info, "containerRuntimeVersion"), "<unknown>")),
    ]
}

fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    // Events of `events.k8s.io` name some fields otherwise.
    let involved = if object["involvedObject"].is_object() {
        &object["involvedObject"]
    } else {
        &object["regarding"]
    };
    let source =
        if object["source"].is_object() { &object["source"] } else { &object["deprecatedSource"] };
    let first_of =
        |fields: &[&str]| fields.iter().map(|field| &object[*field]).find(|value| !value.is_null());
    let began = first_of(&["firstTimestamp", "deprecatedFirstTimestamp", "eventTime"]);
    let last = first_of(&["lastTimestamp", "deprecatedLastTimestamp"]);
    let last = match &object["series"]["lastObservedTime"] {
        Value::Null => last.or(began),
        seen => Some(seen),
    };
    let since = |moment: Option<&Value>| age(moment.unwrap_or(&Value::Null), now);
    let target = format!("{}/{}", text(involved, "kind").to_lowercase(), text(involved, "name"));
    let component = or(text(source, "component"), text(object, "reportingComponent"));
    let component = or(component, text(object, "reportingController"));
    let host = or(text(source, "host"), text(object, "reportingInstance"));
    let origin = if text(source, "host").is_empty() || host.is_empty() {
        component.to_owned()
    } else {
        format!("{component}, {host}")
    };
    let count = object["count"]
        .as_i64()
        .or(object["deprecatedCount"].as_i64())
        .or(object["series"]["count"].as_i64());
    let message = or(text(object, "message"), text(object, "note")).trim();
    vec![
        json!(since(last)),
        object["type"].clone(),
        object["reason"].clone(),
        json!(target),
        json!(text(involved, "fieldPath")),
        json!(origin),
        json!(message),
        json!(since(began)),
        json!(count.unwrap_or(1)),
        name(object),
    ]
}

fn access_modes(list: &Value) -> String {
    let short = |mode: &Value| match mode.as_str().unwrap_or_default() {
        "ReadWriteOnce" => "RWO",
        "ReadOnlyMany" => "ROX",
        "ReadWriteMany" => "RWX",
        _ => "RWOP",
    };
    let modes = list.as_array().map(Vec::as_slice).unwrap_or_default();
    modes.iter().map(short).collect::<Vec<_>>().join(",")
}

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let phase = if object["metadata"]["deletionTimestamp"].is_null() {
        text(status, "phase")
    } else {
        "Terminating"
    };
    let volume = text(spec, "volumeName");
    let (capacity, modes) = if volume.is_empty() {
        (String::new(), String::new())
    } else {
        (plain(&status["capacity"]["storage"]), access_modes(&status["accessModes"]))
    };
    vec![
        name(object),
        json!(phase),
        json!(volume),
        json!(capacity),
        json!(modes),
        json!(text(spec, "storageClassName")),
        json!(or(text(spec, "volumeAttributesClassName"), "<unset>")),
        json!(created(object, now)),
        json!(or(text(spec, "volumeMode"), "<unset>")),
    ]
}

fn volume(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let phase = if object["metadata"]["deletionTimestamp"].is_null() {
        text(status, "phase")
    } else {
        "Terminating"
    };
    let claim = &spec["claimRef"];
    let claim = if claim.is_object() {
        format!("{}/{}", text(claim, "namespace"), text(claim, "name"))
    } else {
        String::new()
    };
    vec![
        name(object),
        json!(plain(&spec["capacity"]["storage"])),
        json!(access_modes(&spec["accessModes"])),
        spec["persistentVolumeReclaimPolicy"].clone(),
        json!(phase),
        json!(claim),
        json!(text(spec, "storageClassName")),
        json!(or(text(spec, "volumeAttributesClassName"), "<unset>")),
        json!(text(status, "reason")),
        json!(created(object, now)),
        json!(or(text(spec, "volumeMode"), "<unset>")),
    ]
}

fn quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let (hard, used) = (&object["status"]["hard"], &object["status"]["used"]);
    let list = |limits: bool| {
        let mut keys: Vec<&String> = hard
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| key.starts_with("limits") == limits)
            .collect();
        keys.sort();
        let shown = |key: &String| format!("{key}: {}/{}", plain(&used[key]), plain(&hard[key]));
        keys.into_iter().map(shown).collect::<Vec<_>>().join(", ")
    };
    vec![name(object), json!(list(false)), json!(list(true)), json!(created(object, now))]
}

fn deployment(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        name(object),
        json!(format!("{}/{}", number(status, "readyReplicas"), number(spec, "replicas"))),
        json!(number(status, "updatedReplicas")),
        json!(number(status, "availableReplicas")),
        json!(created(object, now)),
        json!(names),
        json!(images),
        json!(selector(&spec["selector"])),
    ]
}

fn replica_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    // A ReplicationController selects by labels alone.
    let chosen = &spec["selector"];
    let by_labels = chosen["matchLabels"].is_null() && chosen["matchExpressions"].is_null();
    vec![
        name(object),
        json!(number(spec, "replicas")),
        json!(number(status, "replicas")),
        json!(number(status, "readyReplicas")),
        json!(created(object, now)),
        json!(names),
        json!(images),
        json!(if by_labels { labels(chosen) } else { selector(chosen) }),
    ]
}

fn stateful_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        name(object),
        json!(format!("{}/{}", number(status, "readyReplicas"), number(spec, "replicas"))),
        json!(created(object, now)),
        json!(names),
        json!(images),
    ]
}

fn daemon_set(object: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&object["spec"], &object["status"]);
    let (names, images) = containers(&spec["template"]["spec"]);
    vec![
        name(object),
        json!(number(status, "desiredNumberScheduled")),
        json!(number(status, "currentNumberScheduled")),
        json!(number(status, "numberReady")),
        json!(number(status, "updatedNumberScheduled")),
        json!(number(status, "numberAvailable")),
        json!(labels(&spec["template"]["spec"]["nodeSelector"])),
        json!(created(object, now)),
        json!(names),
        json!(images),
        json!(selector(&spec["selector"])),
    ]
}

fn controller_revision(object: &Value, now: Timestamp) -> Vec<Value> {
    let owner = items(&object["metadata"], "ownerReferences")
        .iter()
        .find(|owner| owner["controller"] == true);
    let owner = owner.map_or_else(
        || NONE.to_owned(),
        |owner| {
            let group = text(owner, "apiVersion").split_once('/').map_or("", |(group, _)| group);
            let kind = text(owner, "kind").to_lowercase();
            let kind = if group.is_empty() { kind } else { format!("{kind}.{group}") };
            format!("{kind}/{}", text(owner, "name"))
        },
    );
    let revision = number(object, "revision");
    vec![name(object), json!(owner), json!(revision), json!(created(object, now))]
}

fn disruption_budget(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let limit = |field: &str| json!(or(&plain(&spec[field]), "N/A"));
    vec![
        name(object),
        limit("minAvailable"),
        limit("maxUnavailable"),
        json!(number(&object["status"], "disruptionsAllowed")),
        json!(created(object, now)),
    ]
}

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let hosts: Vec<String> = items(spec, "rules")
        .iter()
        .map(|rule| text(rule, "host").to_owned())
        .filter(|host| !host.is_empty())
        .collect();
    let ports = if items(spec, "tls").is_empty() { "80" } else { "80, 443" };
    vec![
        name(object),
        json!(or(text(spec, "ingressClassName"), NONE)),
        json!(three(&hosts, "*")),
        json!(balanced(&object["status"]["loadBalancer"]).join(",")),
        json!(ports),
        json!(created(object, now)),
    ]
}

fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let given = &spec["parameters"];
    let parameters = if given.is_object() {
        let kind = text(given, "kind");
        let group = text(given, "apiGroup");
        let kind = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        format!("{kind}/{}", text(given, "name"))
    } else {
        NONE.to_owned()
    };
    vec![name(object), spec["controller"].clone(), json!(parameters), json!(created(object, now))]
}

fn network_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), json!(selector(&object["spec"]["podSelector"])), json!(created(object, now))]
}

fn ip_address(object: &Value, _: Timestamp) -> Vec<Value> {
    let parent = &object["spec"]["parentRef"];
    let parts = ["group", "resource", "namespace", "name"].map(|field| text(parent, field));
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    vec![name(object), json!(parts.join("/"))]
}

fn service_cidr(object: &Value, now: Timestamp) -> Vec<Value> {
    let ranges: Vec<&str> =
        items(&object["spec"], "cidrs").iter().filter_map(Value::as_str).collect();
    vec![name(object), json!(ranges.join(",")), json!(created(object, now))]
}

fn role_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let role = &object["roleRef"];
    let of = |kind: &str| {
        let found = items(object, "subjects").iter().filter(|subject| subject["kind"] == kind);
        let shown = found.map(|subject| match text(subject, "namespace") {
            "" => text(subject, "name").to_owned(),
            namespace => format!("{namespace}/{}", text(subject, "name")),
        });
        json!(shown.collect::<Vec<_>>().join(", "))
    };
    vec![
        name(object),
        json!(format!("{}/{}", text(role, "kind"), text(role, "name"))),
        json!(created(object, now)),
        of("User"),
        of("Group"),
        of("ServiceAccount"),
    ]
}

fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), json!(items(object, "webhooks").len()), json!(created(object, now))]
}

fn admission_policy(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let kind = &spec["paramKind"];
    let kind = if kind.is_object() {
        format!("{}/{}", text(kind, "apiVersion"), text(kind, "kind"))
    } else {
        "<unset>".to_owned()
    };
    // One kind has validations, the other mutations.
    let n_validations = items(spec, "validations").len() + items(spec, "mutations").len();
    vec![name(object), json!(n_validations), json!(kind), json!(created(object, now))]
}

fn admission_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let given = &spec["paramRef"];
    let parameters = if given.is_object() {
        match text(given, "namespace") {
            "" => text(given, "name").to_owned(),
            namespace => format!("{namespace}/{}", text(given, "name")),
        }
    } else {
        "<unset>".to_owned()
    };
    vec![name(object), spec["policyName"].clone(), json!(parameters), json!(created(object, now))]
}

fn lease(object: &Value, now: Timestamp) -> Vec<Value> {
    let holder = text(&object["spec"], "holderIdentity");
    vec![name(object), json!(holder), json!(created(object, now))]
}

fn priority_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        json!(number(object, "value")),
        json!(object["globalDefault"] == true),
        json!(created(object, now)),
        json!(text(object, "preemptionPolicy")),
    ]
}

fn csi_driver(object: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &object["spec"];
    let audiences: Vec<&str> =
        items(spec, "tokenRequests").iter().map(|request| text(request, "audience")).collect();
    let audiences = if audiences.is_empty() { "<unset>".to_owned() } else { audiences.join(",") };
    let modes: Vec<&str> =
        items(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str).collect();
    let flag = |field: &str| json!(spec[field] == true);
    vec![
        name(object),
        flag("attachRequired"),
        flag("podInfoOnMount"),
        flag("storageCapacity"),
        json!(audiences),
        flag("requiresRepublish"),
        json!(modes.join(",")),
        json!(created(object, now)),
    ]
}

fn attributes_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), object["driverName"].clone(), json!(created(object, now))]
}

fn runtime_class(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), object["handler"].clone(), json!(created(object, now))]
}

fn pod_template(object: &Value, _: Timestamp) -> Vec<Value> {
    let template = &object["template"];
    let (names, images) = containers(&template["spec"]);
    vec![name(object), json!(names), json!(images), json!(labels(&template["metadata"]["labels"]))]
}

fn storage_class(object: &Value, now: Timestamp) -> Vec<Value> {
    const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
    let mut shown = text(&object["metadata"], "name").to_owned();
    if object["metadata"]["annotations"][DEFAULT] == "true" {
        shown.push_str(" (default)");
    }
    vec![
        json!(shown),
        object["provisioner"].clone(),
        json!(or(text(object, "reclaimPolicy"), "Delete")),
        json!(or(text(object, "volumeBindingMode"), "Immediate")),
        json!(object["allowVolumeExpansion"] == true),
        json!(created(object, now)),
    ]
}

fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = &object["spec"]["service"];
    let service = if service.is_object() {
        format!("{}/{}", text(service, "namespace"), text(service, "name"))
    } else {
        "Local".to_owned()
    };
    let available = items(&object["status"], "conditions")
        .iter()
        .find(|condition| condition["type"] == "Available");
    let state = match available {
        Some(condition) if condition["status"] == "True" => "True".to_owned(),
        Some(condition) => format!("{} ({})", text(condition, "status"), text(condition, "reason")),
        None => "Unknown".to_owned(),
    };
    vec![name(object), json!(service), json!(state), json!(created(object, now))]
}
