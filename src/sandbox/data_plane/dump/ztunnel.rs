//! ztunnel's `/config_dump` for its node: workloads, services, policies, certificates.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::super::{DataPlane, policy};
use crate::sandbox::controllers::endpoints::target_port;
use crate::sandbox::controllers::kinds::{
    AUTHORIZATION_POLICIES, PEER_AUTHENTICATIONS, PODS, SERVICES,
};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::policy_status;
use crate::sandbox::mesh::presence;
use crate::sandbox::mesh::waypoint::{self, Binding};

/// The whole dump.
pub(in crate::sandbox::data_plane) fn ztunnel(plane: &DataPlane, ztunnel: &Value) -> Value {
    let api = &*plane.api;
    let node = ztunnel["spec"]["nodeName"].as_str().unwrap_or_default();
    let root = presence::root_namespace(api).unwrap_or_else(|| "istio-system".to_owned());
    let pods: Vec<_> = api
        .list(&PODS, "")
        .into_iter()
        .filter(|pod| {
            pod["status"]["podIP"].is_string()
                && pod["spec"]["hostNetwork"] != true
                && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
        })
        .collect();
    let workloads: Vec<Value> = pods.iter().map(|pod| workload(plane, pod, &root)).collect();
    let services: Vec<Value> =
        api.list(&SERVICES, "").iter().map(|service| service_entry(plane, service)).collect();
    let mut certificates = Vec::new();
    for pod in
        pods.iter().filter(|pod| presence::is_captured(pod) && pod["spec"]["nodeName"] == node)
    {
        let identity = format!("spiffe://{}", policy::identity(pod));
        if certificates.iter().any(|found: &Value| found["identity"] == identity.as_str()) {
            continue;
        }
        certificates.push(certificate(plane, pod, &identity));
    }
    json!({
        "workloads": workloads,
        "services": services,
        "policies": policies(plane, &root),
        "certificates": certificates,
    })
}

fn workload(plane: &DataPlane, pod: &Value, root: &str) -> Value {
    let (namespace, name) = object::key(pod);
    let captured = presence::is_captured(pod);
    let owner = object::controller_of(pod);
    let owner_name = owner.and_then(|owner| owner["name"].as_str()).unwrap_or(&name);
    let hash = object::label(pod, "pod-template-hash").unwrap_or_default();
    let workload_name = owner_name.trim_end_matches(hash).trim_end_matches('-');
    let canonical = object::label(pod, "service.istio.io/canonical-name")
        .or_else(|| object::label(pod, "app.kubernetes.io/name"))
        .or_else(|| object::label(pod, "app"))
        .unwrap_or(workload_name);
    let services: Vec<String> = plane
        .api
        .list(&SERVICES, &namespace)
        .iter()
        .filter(|service| {
            object::selects_map(&service["spec"]["selector"], &pod["metadata"]["labels"])
        })
        .map(|service| {
            format!("{namespace}/{}.{namespace}.svc.cluster.local", object::name(service))
        })
        .collect();
    let mut found = json!({
        "workloadIps": [pod["status"]["podIP"]],
        "protocol": if captured { "HBONE" } else { "TCP" },
        "networkMode": "Standard",
        "uid": format!("Kubernetes//Pod/{namespace}/{name}"),
        "name": name,
        "namespace": namespace,
        "trustDomain": "cluster.local",
        "serviceAccount": pod["spec"]["serviceAccountName"].as_str().unwrap_or("default"),
        "workloadName": workload_name,
        "workloadType": match owner.and_then(|owner| owner["kind"].as_str()) {
            Some("ReplicaSet") => "deployment",
            Some("DaemonSet") => "daemonset",
            Some("StatefulSet") => "statefulset",
            Some("Job") => "job",
            _ => "pod",
        },
        "canonicalName": canonical,
        "canonicalRevision": object::label(pod, "version").unwrap_or("latest"),
        "clusterId": "Kubernetes",
        "node": pod["spec"]["nodeName"],
        "status": if object::is_true(pod, "Ready") { "Healthy" } else { "Unhealthy" },
        "services": services,
    });
    let policies = policies_of(plane, pod, root);
    if captured && !policies.is_empty() {
        found["authorizationPolicies"] = json!(policies);
    }
    found
}

/// The policies that ztunnel holds a workload to by selector; namespace and mesh wide ones apply without a name.
fn policies_of(plane: &DataPlane, pod: &Value, root: &str) -> Vec<String> {
    let namespace = object::namespace(pod);
    let mut found = Vec::new();
    if strict_somewhere(plane, namespace, root) {
        found.push(format!("{root}/istio_converted_static_strict"));
    }
    for policy in plane.api.list(&AUTHORIZATION_POLICIES, namespace) {
        let selector = &policy["spec"]["selector"]["matchLabels"];
        if policy_status::targets(&policy).is_empty()
            && object::selects_map(selector, &pod["metadata"]["labels"])
        {
            found.push(format!("{namespace}/{}", object::name(&policy)));
        }
    }
    found
}

fn strict_somewhere(plane: &DataPlane, namespace: &str, root: &str) -> bool {
    let mode = |namespace: &str| {
        plane.api.list(&PEER_AUTHENTICATIONS, namespace).iter().find_map(|policy| {
            let wide = policy["spec"]["selector"].is_null();
            policy["spec"]["mtls"]["mode"].as_str().filter(|_| wide).map(str::to_owned)
        })
    };
    mode(namespace).or_else(|| mode(root)).as_deref() == Some("STRICT")
}

fn service_entry(plane: &DataPlane, service: &Value) -> Value {
    let api = &*plane.api;
    let (namespace, name) = object::key(service);
    let mut ports = Map::new();
    let mut endpoints = Map::new();
    let pods: Vec<_> = api
        .list(&PODS, &namespace)
        .into_iter()
        .filter(|pod| {
            object::selects_map(&service["spec"]["selector"], &pod["metadata"]["labels"])
                && pod["status"]["podIP"].is_string()
        })
        .collect();
    for port in object::items(&service["spec"], "ports") {
        let target = pods.first().and_then(|pod| target_port(port, pod));
        let fallback = port["targetPort"].as_u64().or_else(|| port["port"].as_u64()).unwrap_or(0);
        let number = target.map_or(fallback, u64::from);
        ports.insert(port["port"].to_string(), json!(number));
    }
    for pod in &pods {
        let uid = format!("Kubernetes//Pod/{namespace}/{}", object::name(pod));
        let status = if object::is_true(pod, "Ready") { "Healthy" } else { "Unhealthy" };
        endpoints
            .insert(uid.clone(), json!({ "workloadUid": uid, "port": ports, "status": status }));
    }
    let vips: Vec<String> = object::items(&service["spec"], "clusterIPs")
        .iter()
        .filter_map(Value::as_str)
        .filter(|ip| *ip != "None")
        .map(|ip| format!("/{ip}"))
        .collect();
    let mut found = json!({
        "name": name,
        "namespace": namespace,
        "hostname": format!("{name}.{namespace}.svc.cluster.local"),
        "vips": vips,
        "ports": ports,
        "endpoints": endpoints,
        "subjectAltNames": [],
        "ipFamilies": "IPv4",
    });
    if let Binding::To(waypoint) = waypoint::of_service(api, service) {
        let (namespace, name) = object::key(&waypoint);
        found["waypoint"] = json!({
            "destination": format!("{namespace}/{name}.{namespace}.svc.cluster.local"),
            "hboneMtlsPort": 15_008,
        });
    }
    found
}

fn policies(plane: &DataPlane, root: &str) -> Vec<Value> {
    let mut found = vec![json!({
        "name": "istio_converted_static_strict",
        "namespace": root,
        "scope": "WorkloadSelector",
        "action": "Deny",
        "rules": [[[{ "notPrincipals": [{ "Presence": {} }] }]]],
    })];
    for policy in plane.api.list(&AUTHORIZATION_POLICIES, "") {
        let action = policy["spec"]["action"].as_str().unwrap_or("ALLOW");
        if !policy_status::targets(&policy).is_empty() || !matches!(action, "ALLOW" | "DENY") {
            continue;
        }
        let scope = if policy["spec"]["selector"].is_object() {
            "WorkloadSelector"
        } else if object::namespace(&policy) == root {
            "Global"
        } else {
            "Namespace"
        };
        found.push(json!({
            "name": object::name(&policy),
            "namespace": object::namespace(&policy),
            "scope": scope,
            "action": if action == "DENY" { "Deny" } else { "Allow" },
            "rules": object::items(&policy["spec"], "rules"),
        }));
    }
    found
}

fn certificate(plane: &DataPlane, pod: &Value, identity: &str) -> Value {
    let entry = |pem: &str| {
        let parsed = x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok();
        let facts = parsed.as_ref().and_then(|(_, pem)| pem.parse_x509().ok()).map(|certificate| {
            let time = |seconds: i64| {
                jiff::Timestamp::from_second(seconds).map(object::time_text).unwrap_or_default()
            };
            (
                decimal(certificate.raw_serial()),
                time(certificate.validity().not_before.timestamp()),
                time(certificate.validity().not_after.timestamp()),
            )
        });
        let (serial, from, to) = facts.unwrap_or_default();
        json!({
            "pem": STANDARD.encode(pem),
            "serialNumber": serial,
            "validFrom": from,
            "expirationTime": to,
        })
    };
    match (plane.workload_certificate(object::uid(pod), identity), plane.authority.root()) {
        (Ok(own), Ok(root)) => json!({
            "identity": identity,
            "state": "Available",
            "certChain": [entry(&own)],
            "rootCerts": [entry(&root.certificate)],
        }),
        _ => json!({ "identity": identity, "state": "Initializing" }),
    }
}

/// A serial number as ztunnel writes it: in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    let mut digits: Vec<u8> = vec![0];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            let value = u32::from(*digit) * 256 + carry;
            *digit = (value % 10) as u8;
            carry = value / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    digits.iter().rev().map(|digit| char::from(b'0' + digit)).collect()
}
