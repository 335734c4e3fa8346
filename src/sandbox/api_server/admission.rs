//! Admission: namespaces in deletion, service accounts of pods, policies, webhooks.

use serde_json::{Value, json};

use super::kinds::{Kind, metadata_text};
use super::{ApiServer, Request, status};
use crate::sandbox::api::Status;
use crate::sandbox::mesh::webhook;
use crate::sandbox::store::GroupResource;
use crate::sandbox::validation::selector;

/// The refusal of new objects in a namespace that goes.
pub(crate) fn namespace_terminating(kind: &Kind, namespace: &str) -> Status {
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut refused = status::forbidden(&kind.group, &kind.plural, "", &why);
    refused.details["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace"
    }]);
    refused
}

/// Admission that changes objects.
pub(crate) fn mutate(
    server: &ApiServer,
    kind: &Kind,
    live: Option<&Value>,
    object: &mut Value,
    operation: &str,
) -> Result<(), Status> {
    if kind.custom.is_none() && operation == "CREATE" {
        match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "pods") => pod_account(server, object)?,
            ("", "namespaces") => {}
            ("", "persistentvolumeclaims") => default_class(server, object),
            _ => {}
        }
    }
    webhooks(server, kind, live, Some(object), operation, true)
}

/// Admission that only refuses.
pub(crate) fn validate(
    server: &ApiServer,
    kind: &Kind,
    live: Option<&Value>,
    object: Option<&Value>,
    operation: &str,
    subresource: &str,
    request: &mut Request,
) -> Result<(), Status> {
    if !subresource.is_empty() || kind.group == "admissionregistration.k8s.io" {
        return Ok(());
    }
    super::policies::check(server, kind, live, object, operation, request)?;
    webhooks(server, kind, live, object, operation, false)
}

/// A pod runs as the default service account and gets its token.
fn pod_account(server: &ApiServer, object: &mut Value) -> Result<(), Status> {
    let namespace = metadata_text(object, "namespace").to_owned();
    let name = metadata_text(object, "name").to_owned();
    let account = object["spec"]["serviceAccountName"].as_str().unwrap_or("default").to_owned();
    let accounts = GroupResource::new("", "serviceaccounts");
    let Some(stored) = server.store.get(&accounts, &namespace, &account) else {
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
        );
        return Err(status::forbidden("", "pods", &name, &why));
    };
    let found = server.store.value(&stored);
    object["spec"]["serviceAccountName"] = account.clone().into();
    object["spec"]["serviceAccount"] = account.into();
    if object["spec"]["imagePullSecrets"].is_null() && found["imagePullSecrets"].is_array() {
        object["spec"]["imagePullSecrets"] = found["imagePullSecrets"].clone();
    }
    let automount = object["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or(found["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    tolerations(object);
    fill_pod(object);
    app_armor(object);
    if automount {
        mount_token(server, object);
    }
    Ok(())
}

fn fill_pod(object: &mut Value) {
    let spec = &mut object["spec"];
    if spec["enableServiceLinks"].is_null() {
        spec["enableServiceLinks"] = json!(true);
    }
    if spec["preemptionPolicy"].is_null() {
        spec["preemptionPolicy"] = json!("PreemptLowerPriority");
    }
    if spec["priority"].is_null() {
        let system = match spec["priorityClassName"].as_str() {
            Some("system-node-critical") => 2_000_001_000,
            Some("system-cluster-critical") => 2_000_000_000,
            _ => 0,
        };
        spec["priority"] = json!(system);
    }
}

/// The profiles of AppArmor that old annotations name appear as fields.
fn app_armor(object: &mut Value) {
    let Some(annotations) = object["metadata"]["annotations"].as_object().cloned() else { return };
    for list in ["initContainers", "containers"] {
        let Some(containers) = object["spec"].get_mut(list).and_then(Value::as_array_mut) else {
            continue;
        };
        for container in containers.iter_mut().filter(|container| container.is_object()) {
            let name = container["name"].as_str().unwrap_or_default();
            let key = format!("container.apparmor.security.beta.kubernetes.io/{name}");
            let Some(profile) = annotations.get(&key).and_then(Value::as_str) else { continue };
            let profile = match profile {
                "unconfined" => json!({ "type": "Unconfined" }),
                "runtime/default" => json!({ "type": "RuntimeDefault" }),
                other => match other.strip_prefix("localhost/") {
                    Some(path) => json!({ "type": "Localhost", "localhostProfile": path }),
                    None => continue,
                },
            };
            let context = &mut container["securityContext"];
            if context["appArmorProfile"].is_null() {
                context["appArmorProfile"] = profile;
            }
        }
    }
}

fn tolerations(object: &mut Value) {
    let spec = &mut object["spec"];
    let mut list = spec["tolerations"].as_array().cloned().unwrap_or_default();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let has = list.iter().any(|toleration| {
            (toleration["key"] == key || toleration["key"].is_null())
                && matches!(toleration["effect"].as_str(), None | Some("" | "NoExecute"))
        });
        if !has {
            list.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300
            }));
        }
    }
    spec["tolerations"] = list.into();
}

const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

fn mount_token(server: &ApiServer, object: &mut Value) {
    let pod = format!("{}/{}", metadata_text(object, "namespace"), metadata_text(object, "name"));
    let spec = &mut object["spec"];
    let named = |volume: &Value| {
        volume["name"].as_str().is_some_and(|name| name.starts_with("kube-api-access-"))
    };
    let mut volumes = spec["volumes"].as_array().cloned().unwrap_or_default();
    let name = match volumes.iter().find(|volume| named(volume)) {
        Some(volume) => volume["name"].as_str().unwrap_or_default().to_owned(),
        None => format!("kube-api-access-{}", server.random_for(&pod).suffix(5)),
    };
    let mut mounted = false;
    for list in ["initContainers", "containers"] {
        let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) else { continue };
        for container in containers {
            let mut mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == TOKEN_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_PATH}));
            container["volumeMounts"] = mounts.into();
            mounted = true;
        }
    }
    if mounted && !volumes.iter().any(named) {
        volumes.push(json!({
            "name": name,
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {
                        "name": "kube-root-ca.crt",
                        "items": [{"key": "ca.crt", "path": "ca.crt"}]
                    }},
                    {"downwardAPI": {"items": [{
                        "path": "namespace",
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
                    }]}}
                ]
            }
        }));
        spec["volumes"] = volumes.into();
    }
}

fn default_class(server: &ApiServer, object: &mut Value) {
    if !object["spec"]["storageClassName"].is_null() {
        return;
    }
    let classes = GroupResource::new("storage.k8s.io", "storageclasses");
    for stored in server.store.list(&classes, "", None, 0).objects {
        let class = server.store.value(&stored);
        let annotations = &class["metadata"]["annotations"];
        if annotations["storageclass.kubernetes.io/is-default-class"] == "true" {
            object["spec"]["storageClassName"] = class["metadata"]["name"].clone();
            return;
        }
    }
}

/// Webhooks whose Service is in the sandbox. Those that change objects (sidecar injection) change none here: nobody
/// asks for sidecars in an ambient mesh, but whether they can be reached matters.
fn webhooks(
    server: &ApiServer,
    kind: &Kind,
    live: Option<&Value>,
    object: Option<&Value>,
    operation: &str,
    mutating: bool,
) -> Result<(), Status> {
    if kind.group == "admissionregistration.k8s.io" {
        return Ok(());
    }
    let plural =
        if mutating { "mutatingwebhookconfigurations" } else { "validatingwebhookconfigurations" };
    let resource = GroupResource::new("admissionregistration.k8s.io", plural);
    for stored in server.store.list(&resource, "", None, 0).objects {
        let configuration = server.store.value(&stored);
        for webhook in configuration["webhooks"].as_array().into_iter().flatten() {
            let subject = object.or(live).unwrap_or(&Value::Null);
            if applies(server, webhook, kind, subject, operation) {
                call(server, webhook, object, operation)?;
            }
        }
    }
    Ok(())
}

fn applies(
    server: &ApiServer,
    webhook: &Value,
    kind: &Kind,
    subject: &Value,
    operation: &str,
) -> bool {
    let rules = webhook["rules"].as_array().into_iter().flatten();
    rules.into_iter().any(|rule| rule_matches(rule, kind, operation))
        && chosen_by(&webhook["objectSelector"], &subject["metadata"]["labels"])
        && namespace_matches(server, &webhook["namespaceSelector"], kind, subject)
}

/// Whether a rule with operations, groups, versions and resources covers a request.
pub(super) fn rule_matches(rule: &Value, kind: &Kind, operation: &str) -> bool {
    let has = |field: &str, wanted: &str| {
        rule[field]
            .as_array()
            .is_some_and(|list| list.iter().any(|found| found == "*" || found == wanted))
    };
    let scope = match rule["scope"].as_str() {
        Some("Namespaced") => kind.namespaced,
        Some("Cluster") => !kind.namespaced,
        _ => true,
    };
    has("operations", operation)
        && has("apiGroups", &kind.group)
        && has("apiVersions", &kind.version)
        && (has("resources", &kind.plural) || has("resources", "*/*"))
        && scope
}

pub(super) fn namespace_matches(
    server: &ApiServer,
    wanted: &Value,
    kind: &Kind,
    subject: &Value,
) -> bool {
    if kind.group.is_empty() && kind.plural == "namespaces" {
        return chosen_by(wanted, &subject["metadata"]["labels"]);
    }
    if !kind.namespaced {
        return true;
    }
    let namespaces = GroupResource::new("", "namespaces");
    let stored = server.store.get(&namespaces, "", metadata_text(subject, "namespace"));
    let namespace = stored.map(|stored| server.store.value(&stored));
    let labels = namespace.as_deref().map_or(&Value::Null, |found| &found["metadata"]["labels"]);
    chosen_by(wanted, labels)
}

fn call(
    server: &ApiServer,
    webhook: &Value,
    object: Option<&Value>,
    operation: &str,
) -> Result<(), Status> {
    let name = webhook["name"].as_str().unwrap_or_default();
    let client = &webhook["clientConfig"];
    let service = &client["service"];
    let text = |field: &str| service[field].as_str().unwrap_or_default();
    let key = format!("{}/{}", text("namespace"), text("name"));
    let path = service["path"].as_str().unwrap_or("/");
    let outcome = if service.is_object() {
        reviewed(server, &key, path, object, operation)
    } else {
        server.note_not_modelled(&format!("the admission webhook {name} at a URL"));
        Err(Refusal::Unreachable("the sandbox calls no webhooks by URL".to_owned()))
    };
    match outcome {
        Ok(()) => Ok(()),
        Err(Refusal::Denied(message)) => Err(Status {
            code: 400,
            reason: "BadRequest".to_owned(),
            message: format!("admission webhook \"{name}\" denied the request: {message}"),
            details: Value::Null,
        }),
        Err(Refusal::Unreachable(_)) if webhook["failurePolicy"] == "Ignore" => Ok(()),
        Err(Refusal::Unreachable(why)) => {
            let port = service["port"].as_u64().unwrap_or(443);
            let timeout = webhook["timeoutSeconds"].as_u64().unwrap_or(10);
            Err(status::internal(format!(
                "failed calling webhook \"{name}\": failed to call webhook: Post \"https://{}.{}.svc:{port}{path}?timeout={timeout}s\": {why}",
                text("name"),
                text("namespace")
            )))
        }
    }
}

enum Refusal {
    Denied(String),
    Unreachable(String),
}

/// What the pods behind a webhook's Service would say; `service` is `namespace/name`.
fn reviewed(
    server: &ApiServer,
    service: &str,
    path: &str,
    object: Option<&Value>,
    operation: &str,
) -> Result<(), Refusal> {
    let (namespace, name) = service.split_once('/').unwrap_or(("", service));
    webhook::reachable(server, namespace, name).map_err(Refusal::Unreachable)?;
    if !webhook::is_modelled(name) {
        server.note_not_modelled(&format!("the admission webhook of Service {service}"));
        return Ok(());
    }
    match object {
        Some(object) if operation != "DELETE" => {
            webhook::review(server, name, path, object).map_err(Refusal::Denied)
        }
        _ => Ok(()),
    }
}

/// Whether labels are chosen by a selector that chooses everything when it is absent.
pub(super) fn chosen_by(wanted: &Value, labels: &Value) -> bool {
    wanted.is_null() || selector::matches(wanted, labels)
}
