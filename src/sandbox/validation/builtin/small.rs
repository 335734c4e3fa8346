//! Kinds of which little is checked: a field that must be there, a number that must be positive.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::sandbox::quantity::thousandths;
use crate::sandbox::validation::{Cause, names};

use super::check::{Check, each, is_empty, join, list, same, text};
use super::pod;

/// A text field that must be there; the detail is upstream's.
fn needed(object: &Value, pointer: &str, detail: &str, check: &mut Check) {
    let found = pointer.split('.').fold(object, |value, part| &value[part]);
    if is_empty(found) {
        check.required(pointer, detail);
    }
}

pub(super) fn ingress_class(object: &Value, check: &mut Check) {
    needed(object, "spec.controller", "", check);
}

pub(super) fn ip_address(object: &Value, check: &mut Check) {
    needed(object, "spec.parentRef", "", check);
}

pub(super) fn service_cidr(object: &Value, check: &mut Check) {
    needed(object, "spec.cidrs", "at least one CIDR required", check);
}

pub(super) fn storage_class(object: &Value, check: &mut Check) {
    needed(object, "provisioner", "", check);
}

pub(super) fn runtime_class(object: &Value, check: &mut Check) {
    let handler = text(object, "handler");
    if handler.is_empty() {
        check.required("handler", "");
    } else {
        check.syntax("handler", handler, names::dns1123_label(handler));
    }
}

pub(super) fn update_runtime_class(object: &Value, old: &Value, check: &mut Check) {
    check.immutable(&object["handler"], &old["handler"], "handler");
}

pub(super) fn volume_attachment(object: &Value, check: &mut Check) {
    needed(object, "spec.attacher", "", check);
    let node = text(&object["spec"], "nodeName");
    check.syntax("spec.nodeName", node, names::dns1123_subdomain(node));
    let source = &object["spec"]["source"];
    if source["inlineVolumeSpec"].is_null() && source["persistentVolumeName"].is_null() {
        let detail = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
        check.required("spec.source", detail);
    }
}

pub(super) fn storage_capacity(object: &Value, check: &mut Check) {
    let class = text(object, "storageClassName");
    check.syntax("storageClassName", class, names::dns1123_subdomain(class));
}

pub(super) fn attributes_class(object: &Value, check: &mut Check) {
    needed(object, "driverName", "", check);
    needed(object, "parameters", "must contain at least one key/value pair", check);
}

pub(super) fn controller_revision(object: &Value, check: &mut Check) {
    if object["data"].is_null() {
        check.required("data", "data is mandatory");
    }
    check.not_negative(object, "revision", "");
}

/// The data of a revision never changes; the API server says so of any change to a revision.
pub(super) fn update_controller_revision(object: &Value, old: &Value, check: &mut Check) {
    if object["data"] != old["data"] || object["revision"] != old["revision"] {
        check.invalid("data", &object["data"], "field is immutable");
    }
}

pub(super) fn pod_template(object: &Value, check: &mut Check) {
    pod::spec(&object["template"]["spec"], "template.spec", check);
}

pub(super) fn replication_controller(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    for field in ["replicas", "minReadySeconds"] {
        check.not_negative(spec, field, "spec");
    }
    if is_empty(&spec["selector"]) {
        check.required("spec.selector", "");
    }
    if is_empty(&spec["template"]) {
        check.required("spec.template", "");
    } else {
        pod::spec(&spec["template"]["spec"], "spec.template.spec", check);
    }
}

pub(super) fn event(object: &Value, check: &mut Check) {
    let own = text(&object["metadata"], "namespace");
    let field =
        if object["apiVersion"] == "events.k8s.io/v1" { "regarding" } else { "involvedObject" };
    let about = text(&object[field], "namespace");
    let path = "involvedObject.namespace";
    let new_form = object["apiVersion"] == "events.k8s.io/v1";
    if new_form {
        if object["eventTime"].is_null() {
            check.required("eventTime", "");
        }
        let kind = text(object, "type");
        if !["Normal", "Warning"].contains(&kind) {
            check.invalid("type", &kind.into(), format!("has invalid value: {kind}"));
        }
    }
    let wanted = if about.is_empty() && own == "default" { "default" } else { about };
    if own != wanted {
        check.invalid(path, &about.into(), "does not match event.namespace");
    }
}

pub(super) fn lease(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    if spec["leaseDurationSeconds"].as_i64().is_some_and(|seconds| seconds <= 0) {
        let detail = "must be greater than 0";
        check.invalid("spec.leaseDurationSeconds", &spec["leaseDurationSeconds"], detail);
    }
    check.not_negative(spec, "leaseTransitions", "spec");
}

pub(super) fn mutating_policy(object: &Value, check: &mut Check) {
    needed(object, "spec.matchConstraints", "", check);
    if list(&object["spec"]["mutations"]).is_empty() {
        check.required("spec.mutations", "mutations must contain at least one item");
    }
    needed(object, "spec.reinvocationPolicy", "", check);
}

pub(super) fn mutating_binding(object: &Value, check: &mut Check) {
    needed(object, "spec.policyName", "", check);
}

pub(super) fn api_service(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    let (group, version) = (text(spec, "group"), text(spec, "version"));
    let wanted = format!("{version}.{group}");
    let name = text(&object["metadata"], "name");
    if name != wanted {
        let detail = format!("must be `spec.version+\".\"+spec.group`: \"{wanted}\"");
        check.invalid("metadata.name", &name.into(), detail);
    }
    if group.is_empty() && version != "v1" {
        let detail = "only v1 may have an empty group and it better be legacy kube";
        check.required("spec.group", detail);
    }
    check.syntax("spec.version", version, names::dns1035_label(version));
    for (field, most) in [("groupPriorityMinimum", 20_000), ("versionPriority", 1_000)] {
        let value = spec[field].as_i64().unwrap_or(0);
        if value <= 0 || value > most {
            let detail = format!("must be positive and less than {most}");
            check.invalid(&format!("spec.{field}"), &value.into(), detail);
        }
    }
}

pub(super) fn flow_schema(object: &Value, check: &mut Check) {
    let detail = "must reference a priority level";
    needed(object, "spec.priorityLevelConfiguration.name", detail, check);
}

pub(super) fn priority_level(object: &Value, check: &mut Check) {
    needed(object, "spec.type", "", check);
}

pub(super) fn resource_slice(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    let places = ["nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection"];
    if places.iter().filter(|field| !is_empty(&spec[**field])).count() != 1 {
        let detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required";
        check.required("spec", detail);
    }
    needed(object, "spec.driver", "", check);
    needed(object, "spec.pool.name", "", check);
    let count = spec["pool"]["resourceSliceCount"].as_i64().unwrap_or(0);
    if count <= 0 {
        check.invalid("spec.pool.resourceSliceCount", &count.into(), "must be greater than zero");
    }
}

pub(super) fn endpoint_slice(object: &Value, check: &mut Check) {
    if text(object, "addressType").is_empty() {
        check.required("addressType", "");
    }
    for (endpoint, path) in each(object, "endpoints", "") {
        if list(&endpoint["addresses"]).is_empty() {
            check.required(&join(&path, "addresses"), "must contain at least 1 address");
        }
        for (address, path) in each(endpoint, "addresses", &path) {
            let is_address = address.as_str().is_some_and(|text| text.parse::<IpAddr>().is_ok());
            if !is_address && object["addressType"] != "FQDN" {
                let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
                check.invalid(&path, address, detail);
            }
        }
        let hostname = text(endpoint, "hostname");
        if !hostname.is_empty() {
            check.syntax(&join(&path, "hostname"), hostname, names::dns1123_label(hostname));
        }
    }
    let mut known = BTreeSet::new();
    for (port, path) in each(object, "ports", "") {
        let name = text(port, "name");
        if !name.is_empty() {
            check.syntax(&join(&path, "name"), name, names::dns1123_label(name));
        }
        if !known.insert(name.to_owned()) {
            check.duplicate(&join(&path, "name"), &name.into());
        }
        check.one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"]);
    }
}

/// The kinds of sources that a persistent volume can have.
fn volume_sources(spec: &Value) -> Vec<&str> {
    const OTHERS: &[&str] = &[
        "capacity",
        "accessModes",
        "claimRef",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "mountOptions",
        "volumeMode",
        "nodeAffinity",
        "volumeAttributesClassName",
    ];
    let fields = spec.as_object().into_iter().flatten();
    fields.map(|(name, _)| name.as_str()).filter(|name| !OTHERS.contains(name)).collect()
}

pub(super) fn persistent_volume(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    if list(&spec["accessModes"]).is_empty() {
        check.required("spec.accessModes", "");
    }
    if is_empty(&spec["capacity"]) {
        check.required("spec.capacity", "");
    }
    let only_storage =
        spec["capacity"].as_object().is_some_and(|found| found.contains_key("storage"));
    if !only_storage {
        check.unsupported("spec.capacity", &spec["capacity"], &["storage"]);
    }
    // The reclaim policy is looked at as a value and as an enum: a wrong one is told twice.
    for _ in 0..2 {
        let policies = ["Delete", "Recycle", "Retain"];
        check.one_of(spec, "persistentVolumeReclaimPolicy", "spec", &policies);
    }
    let mut sources = volume_sources(spec);
    // Upstream looks at them in the order of its struct, in which `hostPath` is an early one.
    sources.sort_by_key(|name| *name != "hostPath");
    match sources.len() {
        0 => check.required("spec", "must specify a volume type"),
        1 => {}
        _ => {
            for name in &sources[1..] {
                check.forbidden(&format!("spec.{name}"), "may not specify more than 1 volume type");
            }
        }
    }
}

pub(super) fn update_persistent_volume(object: &Value, old: &Value, check: &mut Check) {
    let (new, before) = (&object["spec"], &old["spec"]);
    let sources: Vec<&str> =
        volume_sources(new).into_iter().chain(volume_sources(before)).collect();
    if sources.iter().any(|name| !same(&new[*name], &before[*name])) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        check.forbidden("spec.persistentvolumesource", detail);
    }
    check.immutable(&new["volumeMode"], &before["volumeMode"], "volumeMode");
}

/// The limits that containers, pods and claims can have.
pub(super) fn limit_range(object: &Value, check: &mut Check) {
    let mut known = BTreeSet::new();
    for (limit, path) in each(&object["spec"], "limits", "spec") {
        let kind = text(limit, "type");
        let standard = ["Container", "Pod", "PersistentVolumeClaim"].contains(&kind);
        if !standard && !kind.contains('/') {
            let detail = "must be a standard limit type or fully qualified";
            check.invalid(&join(&path, "type"), &kind.into(), detail);
        }
        if !known.insert(kind.to_owned()) {
            check.duplicate(&join(&path, "type"), &kind.into());
        }
        if kind == "Pod" {
            for field in ["default", "defaultRequest"] {
                if !is_empty(&limit[field]) {
                    let detail = "may not be specified when `type` is 'Pod'";
                    check.forbidden(&join(&path, field), detail);
                }
            }
        }
        bounds(limit, &path, check);
    }
}

fn bounds(limit: &Value, path: &str, check: &mut Check) {
    let amount = |field: &str, name: &str| {
        let value = &limit[field][name];
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        thousandths(&text).map(|size| (size, text))
    };
    let pairs = [
        ("min", "max", "min", "max value"),
        ("min", "defaultRequest", "defaultRequest", "default request value"),
        ("min", "default", "default", "default value"),
        ("default", "max", "default", "max value"),
        ("defaultRequest", "max", "defaultRequest", "max value"),
        ("defaultRequest", "default", "defaultRequest", "default value"),
    ];
    let named = ["min", "max", "default", "defaultRequest"];
    let resources: BTreeSet<&String> = named
        .iter()
        .filter_map(|field| limit[*field].as_object())
        .flat_map(|map| map.keys())
        .collect();
    for name in resources {
        for (low, high, at, called) in pairs {
            let (Some((small, shown)), Some((large, other))) =
                (amount(low, name), amount(high, name))
            else {
                continue;
            };
            if small > large {
                let told = if at == low { &shown } else { &other };
                let what = match low {
                    "min" => "min value",
                    "default" => "default value",
                    _ => "default request value",
                };
                let detail = format!("{what} {shown} is greater than {called} {other}");
                let field = format!("{path}.{at}[{name}]");
                check.causes.push(Cause::invalid(&field, &told.as_str().into(), detail));
            }
        }
    }
}
