//! Pod specs, in pods and in the templates of workloads.

use serde_json::Value;

use super::builtin::unsupported;
use crate::sandbox::validation::{Cause, names};

pub(super) fn spec(spec: &Value, path: &str) -> Vec<Cause> {
    let mut causes = Vec::new();
    let mut volumes = Vec::new();
    for (index, volume) in spec["volumes"].as_array().into_iter().flatten().enumerate() {
        let at = format!("{path}.volumes[{index}].name");
        let name = volume["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            causes.push(Cause::required(&at, ""));
        } else {
            let complaints = names::dns1123_label(name);
            causes.extend(complaints.iter().map(|why| Cause::invalid(&at, &volume["name"], why)));
            if volumes.contains(&name) {
                causes.push(Cause::duplicate(&at, &volume["name"]));
            }
        }
        volumes.push(name);
    }
    let mut seen = Vec::new();
    for list in ["initContainers", "containers"] {
        let containers = spec[list].as_array().map(Vec::as_slice).unwrap_or_default();
        if list == "containers" && containers.is_empty() {
            causes.push(Cause::required(&format!("{path}.containers"), ""));
        }
        for (index, found) in containers.iter().enumerate() {
            let at = format!("{path}.{list}[{index}]");
            causes.extend(container(found, &at, &volumes, &mut seen));
        }
    }
    unsupported(
        &spec["restartPolicy"],
        &format!("{path}.restartPolicy"),
        &["Always", "Never", "OnFailure"],
        &mut causes,
    );
    unsupported(
        &spec["dnsPolicy"],
        &format!("{path}.dnsPolicy"),
        &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        &mut causes,
    );
    causes
}

fn container<'a>(
    container: &'a Value,
    path: &str,
    volumes: &[&str],
    seen: &mut Vec<&'a str>,
) -> Vec<Cause> {
    let mut causes = Vec::new();
    let at = |name: &str| format!("{path}.{name}");
    let name = container["name"].as_str().unwrap_or_default();
    if name.is_empty() {
        causes.push(Cause::required(&at("name"), ""));
    } else {
        let complaints = names::dns1123_label(name);
        causes.extend(
            complaints.iter().map(|why| Cause::invalid(&at("name"), &container["name"], why)),
        );
        if seen.contains(&name) {
            causes.push(Cause::duplicate(&at("name"), &container["name"]));
        }
        seen.push(name);
    }
    if container["image"].as_str().is_none_or(str::is_empty) {
        causes.push(Cause::required(&at("image"), ""));
    }
    let mut port_names = Vec::new();
    for (index, port) in container["ports"].as_array().into_iter().flatten().enumerate() {
        let at = |name: &str| format!("{path}.ports[{index}].{name}");
        if let Some(name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            let complaints = names::port_name(name);
            causes.extend(
                complaints.iter().map(|why| Cause::invalid(&at("name"), &port["name"], why)),
            );
            if port_names.contains(&name) {
                causes.push(Cause::duplicate(&at("name"), &port["name"]));
            }
            port_names.push(name);
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => causes.push(Cause::required(&at("containerPort"), "")),
            1..=65_535 => {}
            _ => causes.push(Cause::invalid(
                &at("containerPort"),
                &port["containerPort"],
                "must be between 1 and 65535, inclusive",
            )),
        }
        unsupported(&port["protocol"], &at("protocol"), &["SCTP", "TCP", "UDP"], &mut causes);
    }
    for (index, variable) in container["env"].as_array().into_iter().flatten().enumerate() {
        if variable["name"].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(&format!("{path}.env[{index}].name"), ""));
        }
        if variable["value"].as_str().is_some_and(|value| !value.is_empty())
            && variable["valueFrom"].is_object()
        {
            causes.push(Cause::invalid(
                &format!("{path}.env[{index}].valueFrom"),
                &Value::String(String::new()),
                "may not be specified when `value` is not empty",
            ));
        }
    }
    let mut paths = Vec::new();
    for (index, mount) in container["volumeMounts"].as_array().into_iter().flatten().enumerate() {
        let at = |name: &str| format!("{path}.volumeMounts[{index}].{name}");
        let volume = mount["name"].as_str().unwrap_or_default();
        if volume.is_empty() {
            causes.push(Cause::required(&at("name"), ""));
        } else if !volumes.contains(&volume) {
            causes.push(Cause::not_found(&at("name"), &mount["name"]));
        }
        let mount_path = mount["mountPath"].as_str().unwrap_or_default();
        if mount_path.is_empty() {
            causes.push(Cause::required(&at("mountPath"), ""));
        } else if paths.contains(&mount_path) {
            causes.push(Cause::invalid(&at("mountPath"), &mount["mountPath"], "must be unique"));
        }
        paths.push(mount_path);
    }
    unsupported(
        &container["imagePullPolicy"],
        &at("imagePullPolicy"),
        &["Always", "IfNotPresent", "Never"],
        &mut causes,
    );
    let (limits, requests) =
        (&container["resources"]["limits"], &container["resources"]["requests"]);
    for (name, request) in requests.as_object().into_iter().flatten() {
        if let (Some(limit), Some(request)) = (quantity(&limits[name]), quantity(request))
            && request > limit
        {
            causes.push(Cause::invalid(
                &format!("{path}.resources.requests"),
                &requests[name],
                format!(
                    "must be less than or equal to {name} limit of {}",
                    limits[name].as_str().unwrap_or_default()
                ),
            ));
        }
    }
    causes
}

/// A quantity's size, for comparisons.
fn quantity(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let factor = match &text[end..] {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1_024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    Some(number * factor)
}

/// The template of a Job: its pods end.
pub(super) fn job_template(template: &Value, path: &str) -> Vec<Cause> {
    let mut causes = spec(&template["spec"], &format!("{path}.spec"));
    let policy = &template["spec"]["restartPolicy"];
    if !matches!(policy.as_str(), Some("OnFailure" | "Never")) {
        let field = format!("{path}.spec.restartPolicy");
        causes.push(match policy.as_str() {
            None | Some("Always") => {
                Cause::required(&field, "valid values: \"OnFailure\", \"Never\"")
            }
            Some(_) => Cause::unsupported(&field, policy, &["Never", "OnFailure"]),
        });
    }
    causes
}

/// Hardly anything of a pod's spec may change.
pub(super) fn update(live: &Value, object: &Value) -> Vec<Cause> {
    let closed = |object: &Value| -> Value {
        let mut spec = object["spec"].clone();
        for list in ["containers", "initContainers"] {
            if let Some(containers) = spec.get_mut(list).and_then(Value::as_array_mut) {
                for container in containers.iter_mut().filter_map(Value::as_object_mut) {
                    container.remove("image");
                }
            }
        }
        if let Some(fields) = spec.as_object_mut() {
            // The scheduler's binding, once, and what may change by rule.
            if live["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
                fields.remove("nodeName");
            }
            for name in [
                "activeDeadlineSeconds",
                "tolerations",
                "terminationGracePeriodSeconds",
                "schedulingGates",
            ] {
                fields.remove(name);
            }
        }
        spec
    };
    if closed(live) == closed(object) {
        return Vec::new();
    }
    vec![Cause::forbidden(
        "spec",
        "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
    )]
}
