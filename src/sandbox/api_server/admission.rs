//! Admission: namespaces in deletion, service accounts of pods, limits and quotas; policies and webhooks are
//! `extensions`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::access;
use super::extensions::{self, Write};
use super::kinds::{Kind, metadata_text};
use super::{ApiServer, Request, normalise, signers, status};
use crate::sandbox::api::Status;
use crate::sandbox::store::GroupResource;
use crate::sandbox::{limit_range, quota};

/// The refusal of new objects in a namespace that goes.
pub(crate) fn namespace_terminating(kind: &Kind, namespace: &str, name: &str) -> Status {
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let mut refused = status::forbidden(&kind.group, &kind.plural, name, &why);
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
    write: Write<'_>,
    object: &mut Value,
    request: &Request,
) -> Result<(), Status> {
    let Write { kind, operation, subresource, .. } = write;
    if kind.custom.is_none() && operation == "CREATE" && subresource.is_empty() {
        match (kind.group.as_str(), kind.plural.as_str()) {
            ("", "pods") => {
                pod_account(server, object)?;
                limit_range::fill(&limit_ranges(server, object), object);
                object["status"]["qosClass"] = normalise::qos_class(&object["spec"]).into();
            }
            ("", "persistentvolumeclaims") => default_class(server, object),
            // The sandbox's own nodes are there with their kubelet.
            ("", "nodes") if !request.user.starts_with("system:serviceaccount:kube-system:") => {
                not_ready(object);
            }
            _ => {}
        }
    }
    extensions::mutate(server, Write { object: Some(object), ..write }, request)
}

/// Admission that only refuses.
pub(crate) fn validate(
    server: &ApiServer,
    write: Write<'_>,
    request: &mut Request,
) -> Result<(), Status> {
    access::gives_no_more_than_it_has(server, write, request)?;
    signers::admit(server, write, request)?;
    extensions::validate(server, write, request)?;
    match write.object {
        Some(object) if write.subresource.is_empty() => limits(server, write, object),
        _ => Ok(()),
    }
}

fn in_namespace(server: &ApiServer, plural: &str, namespace: &str) -> Vec<Arc<Value>> {
    let page = server.store.list(&GroupResource::new("", plural), namespace, None, 0);
    page.objects.iter().map(|stored| server.store.value(stored)).collect()
}

fn limit_ranges(server: &ApiServer, object: &Value) -> Vec<Arc<Value>> {
    in_namespace(server, "limitranges", metadata_text(object, "namespace"))
}

/// LimitRanges and ResourceQuotas of the namespace.
fn limits(server: &ApiServer, write: Write<'_>, object: &Value) -> Result<(), Status> {
    let kind = write.kind;
    if !kind.namespaced {
        return Ok(());
    }
    let refuse = |why: String| {
        let name = metadata_text(object, "name");
        Err(status::forbidden(&kind.group, &kind.plural, name, &why))
    };
    let refusal = match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") if write.live.is_none() => {
            limit_range::pod_refusal(&limit_ranges(server, object), object)
        }
        ("", "persistentvolumeclaims") => {
            limit_range::claim_refusal(&limit_ranges(server, object), object)
        }
        _ => None,
    };
    if let Some(why) = refusal {
        return refuse(why);
    }
    let grows = kind.group.is_empty()
        && matches!(kind.plural.as_str(), "services" | "persistentvolumeclaims");
    if write.live.is_some() && !grows {
        return Ok(());
    }
    let namespace = metadata_text(object, "namespace");
    let quotas = in_namespace(server, "resourcequotas", namespace);
    if quotas.is_empty() {
        return Ok(());
    }
    let find = |group: &str, plural: &str| -> Vec<Arc<Value>> {
        let page = server.store.list(&GroupResource::new(group, plural), namespace, None, 0);
        page.objects.iter().map(|stored| server.store.value(stored)).collect()
    };
    let resource = (kind.group.as_str(), kind.plural.as_str());
    match quota::refusal(&quotas, resource, object, write.live, &find) {
        Some(why) => refuse(why),
        None => Ok(()),
    }
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

/// A node is not ready before its kubelet says so.
fn not_ready(object: &mut Value) {
    let taints = &mut object["spec"]["taints"];
    if !taints.is_array() {
        *taints = json!([]);
    }
    let taint = json!({"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"});
    if let Some(taints) = taints.as_array_mut()
        && !taints.contains(&taint)
    {
        taints.push(taint);
    }
}

fn fill_pod(object: &mut Value) {
    let spec = &mut object["spec"];
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
