//! Pod specs, of pods and of templates.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::sandbox::validation::names;

use super::check::{Check, each, is_empty, join, list, text};
use super::container;

/// The types of volumes: at most one per volume.
const VOLUME_TYPES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flexVolume",
    "configMap",
    "rbd",
    "quobyte",
    "downwardAPI",
    "fc",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "persistentVolumeClaim",
    "cephfs",
    "flocker",
    "cinder",
    "csi",
    "ephemeral",
    "image",
];

/// Checks a pod's spec.
pub(super) fn spec(spec: &Value, path: &str, check: &mut Check) {
    let volumes = volumes(spec, path, check);
    container::all(spec, &volumes, path, check);
    check.one_of(spec, "restartPolicy", path, &["Always", "OnFailure", "Never"]);
    check.one_of(
        spec,
        "dnsPolicy",
        path,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    let deadline = &spec["activeDeadlineSeconds"];
    if deadline.as_i64().is_some_and(|seconds| !(1..=i64::from(i32::MAX)).contains(&seconds)) {
        let path = join(path, "activeDeadlineSeconds");
        check.invalid(&path, deadline, "must be between 1 and 2147483647, inclusive");
    }
    let mut labels = Vec::new();
    let selector = join(path, "nodeSelector");
    crate::sandbox::validation::metadata::labels(&spec["nodeSelector"], &selector, &mut labels);
    check.causes.append(&mut labels);
    for field in ["serviceAccountName", "priorityClassName", "runtimeClassName"] {
        let name = text(spec, field);
        if !name.is_empty() {
            check.syntax(&join(path, field), name, names::dns1123_subdomain(name));
        }
    }
    for field in ["hostname", "subdomain"] {
        let name = text(spec, field);
        if !name.is_empty() {
            check.syntax(&join(path, field), name, names::dns1123_label(name));
        }
    }
    tolerations(spec, path, check);
    dns(spec, path, check);
    for (alias, path) in each(spec, "hostAliases", path) {
        if text(alias, "ip").parse::<std::net::IpAddr>().is_err() {
            let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
            check.invalid(&join(&path, "ip"), &text(alias, "ip").into(), detail);
        }
    }
    for (constraint, path) in each(spec, "topologySpreadConstraints", path) {
        check.present(constraint, "topologyKey", &path);
        check.present(constraint, "whenUnsatisfiable", &path);
        if constraint["maxSkew"].as_i64().unwrap_or_default() <= 0 {
            check.invalid(
                &join(&path, "maxSkew"),
                &constraint["maxSkew"],
                "must be greater than zero",
            );
        }
    }
}

fn dns(spec: &Value, path: &str, check: &mut Check) {
    if text(spec, "dnsPolicy") == "None" {
        let path = join(path, "dnsConfig");
        if spec["dnsConfig"].is_null() {
            check.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if list(&spec["dnsConfig"]["nameservers"]).is_empty() {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            check.required(&join(&path, "nameservers"), detail);
        }
    }
}

fn tolerations(spec: &Value, path: &str, check: &mut Check) {
    for (toleration, path) in each(spec, "tolerations", path) {
        let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
        if !key.is_empty() {
            check.syntax(&join(&path, "key"), key, names::qualified_name(key));
        }
        let operator_path = join(&path, "operator");
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            check.invalid(&operator_path, &operator.into(), detail);
        }
        if !toleration["tolerationSeconds"].is_null() && text(toleration, "effect") != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            check.invalid(&join(&path, "effect"), &text(toleration, "effect").into(), detail);
        }
        match operator {
            "" | "Equal" => {
                let value = text(toleration, "value");
                let why = names::label_value(value);
                if !why.is_empty() {
                    check.invalid(&operator_path, &value.into(), why.join(";"));
                }
            }
            "Exists" => {
                if !text(toleration, "value").is_empty() {
                    let detail = "value must be empty when `operator` is 'Exists'";
                    check.invalid(&operator_path, &toleration["value"], detail);
                }
            }
            _ => check.unsupported(&operator_path, &toleration["operator"], &["Equal", "Exists"]),
        }
        if !text(toleration, "effect").is_empty() {
            check.one_of(
                toleration,
                "effect",
                &path,
                &["NoSchedule", "PreferNoSchedule", "NoExecute"],
            );
        }
    }
}

/// The names of the volumes that containers may mount.
fn volumes(spec: &Value, path: &str, check: &mut Check) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for (volume, path) in each(spec, "volumes", path) {
        let name = text(volume, "name");
        let name_path = join(&path, "name");
        let before = check.causes.len();
        let types: Vec<&str> =
            VOLUME_TYPES.iter().copied().filter(|kind| !volume[*kind].is_null()).collect();
        for more in types.iter().skip(1) {
            check.forbidden(&join(&path, more), "may not specify more than 1 volume type");
        }
        if let Some(kind) = types.first() {
            volume_source(kind, &volume[*kind], &join(&path, kind), check);
        }
        if check.present(volume, "name", &path) {
            check.syntax(&name_path, name, names::dns1123_label(name));
            if known.contains(name) {
                check.duplicate(&name_path, &name.into());
            }
        }
        // Only what is right takes its name.
        if check.causes.len() == before {
            known.insert(name.to_owned());
        }
    }
    known
}

fn volume_source(kind: &str, source: &Value, path: &str, check: &mut Check) {
    match kind {
        "configMap" => {
            check.present(source, "name", path);
            mode(source, "defaultMode", path, check);
            key_paths(source, path, check);
        }
        "secret" => {
            check.present(source, "secretName", path);
            mode(source, "defaultMode", path, check);
            key_paths(source, path, check);
        }
        "hostPath" => {
            if check.present(source, "path", path) {
                no_back_steps(text(source, "path"), &join(path, "path"), check);
            }
            if !text(source, "type").is_empty() {
                let types = [
                    "BlockDevice",
                    "CharDevice",
                    "Directory",
                    "DirectoryOrCreate",
                    "File",
                    "FileOrCreate",
                    "Socket",
                ];
                check.one_of(source, "type", path, &types);
            }
        }
        "persistentVolumeClaim" => {
            check.present(source, "claimName", path);
        }
        "downwardAPI" => mode(source, "defaultMode", path, check),
        "projected" => {
            mode(source, "defaultMode", path, check);
            for (source, path) in each(source, "sources", path) {
                if is_empty(&source["serviceAccountToken"]["path"])
                    && !source["serviceAccountToken"].is_null()
                {
                    check.required(&join(&path, "serviceAccountToken.path"), "");
                }
                for kind in ["configMap", "secret"] {
                    if !source[kind].is_null() {
                        check.present(&source[kind], "name", &join(&path, kind));
                    }
                }
            }
        }
        "nfs" => {
            check.present(source, "server", path);
            check.present(source, "path", path);
        }
        "csi" => {
            check.present(source, "driver", path);
        }
        _ => {}
    }
}

fn key_paths(source: &Value, path: &str, check: &mut Check) {
    for (item, path) in each(source, "items", path) {
        check.present(item, "key", &path);
        if check.present(item, "path", &path) {
            let (found, path) = (text(item, "path"), join(&path, "path"));
            if found.starts_with('/') {
                check.invalid(&path, &found.into(), "must be a relative path");
            }
            no_back_steps(found, &path, check);
        }
        mode(item, "mode", &path, check);
    }
}

pub(super) fn no_back_steps(found: &str, path: &str, check: &mut Check) {
    if found.split('/').any(|part| part == "..") {
        check.invalid(path, &found.into(), "must not contain '..'");
    }
}

fn mode(source: &Value, field: &str, path: &str, check: &mut Check) {
    if source[field].as_i64().is_some_and(|mode| !(0..=0o777).contains(&mode)) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        check.invalid(&join(path, field), &source[field], detail);
    }
}
