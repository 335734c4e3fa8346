//! Containers: names, images, ports, environment, mounts, probes, resources.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::sandbox::validation::{Cause, names};

use super::check::{Check, each, join, list, text};
use super::pod::no_back_steps;

const HANDLERS: &[&str] = &["exec", "httpGet", "tcpSocket", "grpc", "sleep"];
const STANDARD_RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Checks the containers of all lists of a pod's spec.
pub(super) fn all(spec: &Value, volumes: &BTreeSet<String>, path: &str, check: &mut Check) {
    let mut names = BTreeSet::new();
    let host_network = spec["hostNetwork"].as_bool().unwrap_or(false);
    if list(&spec["containers"]).is_empty() {
        check.required(&join(path, "containers"), "");
    }
    for field in ["initContainers", "containers"] {
        let mut ports = BTreeSet::new();
        for (container, path) in each(spec, field, path) {
            let name = text(container, "name");
            if check.present(container, "name", &path) {
                let name_path = join(&path, "name");
                check.syntax(&name_path, name, names::dns1123_label(name));
                if !names.insert(name.to_owned()) {
                    check.duplicate(&name_path, &name.into());
                }
            }
            one(container, volumes, host_network, &path, check);
            host_ports(container, &mut ports, &path, check);
        }
    }
}

fn one(
    container: &Value,
    volumes: &BTreeSet<String>,
    host_network: bool,
    path: &str,
    check: &mut Check,
) {
    let image = text(container, "image");
    let image_path = join(path, "image");
    if image.is_empty() {
        check.required(&image_path, "");
    }
    check.one_of(container, "imagePullPolicy", path, &["Always", "IfNotPresent", "Never"]);
    check.one_of(container, "terminationMessagePolicy", path, &["File", "FallbackToLogsOnError"]);
    ports(container, host_network, path, check);
    environment(container, path, check);
    mounts(container, volumes, path, check);
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if container[field].is_object() {
            probe(&container[field], field, &join(path, field), check);
        }
    }
    for hook in ["postStart", "preStop"] {
        let handler = &container["lifecycle"][hook];
        if handler.is_object() {
            handlers(handler, &join(path, &format!("lifecycle.{hook}")), check);
        }
    }
    resources(&container["resources"], &join(path, "resources"), check);
    security(&container["securityContext"], &join(path, "securityContext"), check);
}

fn ports(container: &Value, host_network: bool, path: &str, check: &mut Check) {
    let mut known = BTreeSet::new();
    for (port, path) in each(container, "ports", path) {
        let name = text(port, "name");
        if !name.is_empty() {
            let name_path = join(&path, "name");
            let why = names::port_name(name);
            if why.is_empty() && !known.insert(name.to_owned()) {
                check.duplicate(&name_path, &name.into());
            }
            check.syntax(&name_path, name, why);
        }
        let number = &port["containerPort"];
        if number.as_i64().unwrap_or_default() == 0 {
            check.required(&join(&path, "containerPort"), "");
        } else {
            check.port(number, &join(&path, "containerPort"));
        }
        let host_port = &port["hostPort"];
        if host_port.as_i64().is_some_and(|port| port != 0) {
            check.port(host_port, &join(&path, "hostPort"));
            if host_network && host_port != number {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                check.invalid(&join(&path, "hostPort"), host_port, detail);
            }
        }
        check.one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"]);
    }
}

/// A host port can be taken once.
fn host_ports(container: &Value, taken: &mut BTreeSet<String>, path: &str, check: &mut Check) {
    for (port, path) in each(container, "ports", path) {
        let Some(number) = port["hostPort"].as_i64().filter(|port| *port != 0) else { continue };
        let protocol =
            Some(text(port, "protocol")).filter(|found| !found.is_empty()).unwrap_or("TCP");
        let key = format!("{protocol}/{}/{number}", text(port, "hostIP"));
        if !taken.insert(key.clone()) {
            check.duplicate(&join(&path, "hostPort"), &key.into());
        }
    }
}

fn environment(container: &Value, path: &str, check: &mut Check) {
    for (variable, path) in each(container, "env", path) {
        let name = text(variable, "name");
        if name.is_empty() {
            check.required(&join(&path, "name"), "");
        } else {
            check.syntax(&join(&path, "name"), name, names::env_var_name(name));
        }
        if variable["valueFrom"].is_object() {
            env_source(variable, &join(&path, "valueFrom"), check);
        }
    }
    for (source, path) in each(container, "envFrom", path) {
        let given: Vec<&str> = ["configMapRef", "secretRef"]
            .into_iter()
            .filter(|kind| source[*kind].is_object())
            .collect();
        if given.is_empty() {
            let detail = "must specify one of: `configMapRef` or `secretRef`";
            check.invalid(&without_index(&path), &"".into(), detail);
        }
        for kind in given {
            check.present(&source[kind], "name", &join(&path, kind));
        }
    }
}

/// Upstream leaves the index out in some paths.
fn without_index(path: &str) -> String {
    path.rsplit_once('[').map_or(path, |(head, _)| head).to_owned()
}

fn env_source(variable: &Value, path: &str, check: &mut Check) {
    const KINDS: &[&str] =
        &["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let source = &variable["valueFrom"];
    let given: Vec<&str> = KINDS.iter().copied().filter(|kind| source[*kind].is_object()).collect();
    if given.is_empty() {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
        check.invalid(path, &"".into(), detail);
    }
    if !text(variable, "value").is_empty() && !given.is_empty() {
        check.invalid(path, &"".into(), "may not be specified when `value` is not empty");
    }
    if given.len() > 1 {
        check.invalid(path, &"".into(), "may not have more than one field specified at a time");
    }
    for kind in given {
        let (source, path) = (&source[kind], join(path, kind));
        match kind {
            "fieldRef" => field_reference(source, &path, check),
            "configMapKeyRef" | "secretKeyRef" => {
                let name = text(source, "name");
                check.syntax(&join(&path, "name"), name, names::dns1123_subdomain(name));
                if check.present(source, "key", &path) {
                    let key = text(source, "key");
                    check.syntax(&join(&path, "key"), key, names::config_map_key(key));
                }
            }
            "resourceFieldRef" => {
                check.present(source, "resource", &path);
            }
            _ => {}
        }
    }
}

fn field_reference(source: &Value, path: &str, check: &mut Check) {
    const FIELDS: &[&str] = &[
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
        "spec.nodeName",
        "spec.serviceAccountName",
        "status.hostIP",
        "status.hostIPs",
        "status.podIP",
        "status.podIPs",
    ];
    if !check.present(source, "fieldPath", path) {
        return;
    }
    let field = text(source, "fieldPath");
    let of_map = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .any(|head| field.starts_with(head) && field.ends_with("']"));
    if !of_map && !FIELDS.contains(&field) {
        let detail = format!("error converting fieldPath: field label not supported: {field}");
        check.invalid(&join(path, "fieldPath"), &field.into(), detail);
    }
}

fn mounts(container: &Value, volumes: &BTreeSet<String>, path: &str, check: &mut Check) {
    let mut places = BTreeSet::new();
    for (mount, path) in each(container, "volumeMounts", path) {
        let (name, place) = (text(mount, "name"), text(mount, "mountPath"));
        check.present(mount, "name", &path);
        if !volumes.contains(name) {
            check.causes.push(Cause::not_found(&join(&path, "name"), &name.into()));
        }
        check.present(mount, "mountPath", &path);
        if !places.insert(place.to_owned()) {
            check.invalid(&join(&path, "mountPath"), &place.into(), "must be unique");
        }
        for field in ["subPath", "subPathExpr"] {
            let found = text(mount, field);
            if !found.is_empty() {
                let path = join(&without_index(&path), field);
                if found.starts_with('/') {
                    check.invalid(&path, &found.into(), "must be a relative path");
                }
                no_back_steps(found, &path, check);
            }
        }
    }
}

fn probe(probe: &Value, kind: &str, path: &str, check: &mut Check) {
    handlers(probe, path, check);
    for field in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        check.not_negative(probe, field, path);
    }
    let threshold = &probe["successThreshold"];
    if kind != "readinessProbe" && threshold.as_i64().is_some_and(|n| n != 1) {
        check.invalid(&join(path, "successThreshold"), threshold, "must be 1");
    }
}

fn handlers(value: &Value, path: &str, check: &mut Check) {
    let given: Vec<&str> =
        HANDLERS.iter().copied().filter(|kind| value[*kind].is_object()).collect();
    if given.is_empty() {
        check.required(path, "must specify a handler type");
    }
    for more in given.iter().skip(1) {
        check.forbidden(&join(path, more), "may not specify more than 1 handler type");
    }
    let Some(kind) = given.first() else { return };
    let (action, path) = (&value[*kind], join(path, kind));
    match *kind {
        "exec" if list(&action["command"]).is_empty() => {
            check.required(&join(&path, "command"), "");
        }
        "httpGet" => {
            if action["path"] == "" {
                check.required(&join(&path, "path"), "");
            }
            check.port_or_name(&action["port"], &join(&path, "port"));
            check.one_of(action, "scheme", &path, &["HTTP", "HTTPS"]);
            for (header, path) in each(action, "httpHeaders", &path) {
                check.present(header, "name", &path);
            }
        }
        "tcpSocket" => check.port_or_name(&action["port"], &join(&path, "port")),
        "grpc" => check.port(&action["port"], &join(&path, "port")),
        _ => {}
    }
}

fn resources(resources: &Value, path: &str, check: &mut Check) {
    for field in ["limits", "requests"] {
        for (name, amount) in resources[field].as_object().into_iter().flatten() {
            let path = format!("{path}.{field}[{name}]");
            if !name.contains('/') && !is_standard(name) {
                for detail in [
                    "must be a standard resource type or fully qualified",
                    "must be a standard resource for containers",
                ] {
                    check.invalid(&path, &name.as_str().into(), detail);
                }
            }
            if size(amount).is_some_and(|size| size < 0) {
                let shown = Value::String(shown(amount));
                check.invalid(&path, &shown, "must be greater than or equal to 0");
            }
        }
    }
    for (name, request) in resources["requests"].as_object().into_iter().flatten() {
        let limit = &resources["limits"][name];
        let (Some(asked), Some(most)) = (size(request), size(limit)) else { continue };
        if asked > most {
            let detail = format!("must be less than or equal to {name} limit of {}", shown(limit));
            check.invalid(&format!("{path}.requests"), &shown(request).into(), detail);
        }
    }
}

fn is_standard(name: &str) -> bool {
    STANDARD_RESOURCES.contains(&name) || name.starts_with("hugepages-")
}

fn shown(amount: &Value) -> String {
    amount.as_str().map_or_else(|| amount.to_string(), str::to_owned)
}

fn size(amount: &Value) -> Option<i128> {
    if amount.is_null() { None } else { crate::sandbox::quantity::thousandths(&shown(amount)) }
}

fn security(context: &Value, path: &str, check: &mut Check) {
    for field in ["runAsUser", "runAsGroup"] {
        let id = &context[field];
        if id.as_i64().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
            check.invalid(&join(path, field), id, "must be between 0 and 2147483647, inclusive");
        }
    }
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            check.invalid(path, context, detail);
        }
        if list(&context["capabilities"]["add"]).iter().any(|found| found == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            check.invalid(path, context, detail);
        }
    }
}
