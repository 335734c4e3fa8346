//! Services.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::sandbox::validation::{metadata, names};

use super::check::{Check, each, join, list, text};

const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

pub(super) fn service(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    // Addresses are taken before anything else is looked at.
    let address = text(spec, "clusterIP");
    if !["", "None"].contains(&address) && address.parse::<IpAddr>().is_err() {
        check.invalid("spec.clusterIPs[0]", &address.into(), NOT_AN_ADDRESS);
        return;
    }
    let kind = spec["type"].as_str().unwrap_or("ClusterIP");
    check.one_of(spec, "type", "spec", &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
    check.one_of(spec, "sessionAffinity", "spec", &["ClientIP", "None"]);
    metadata::labels(&spec["selector"], "spec.selector", &mut check.causes);
    let headless = text(spec, "clusterIP") == "None";
    if kind == "ExternalName" {
        external_name(spec, check);
    } else if list(&spec["ports"]).is_empty() && !headless {
        check.required("spec.ports", "");
    }
    ports(spec, check);
    for (address, path) in each(spec, "externalIPs", "spec") {
        if address.as_str().is_none_or(|text| text.parse::<IpAddr>().is_err()) {
            check.invalid(&path, address, NOT_AN_ADDRESS);
        }
    }
    if kind == "LoadBalancer" && headless {
        let detail = "may not be set to 'None' for LoadBalancer services";
        check.invalid("spec.clusterIPs[0]", &"None".into(), detail);
    }
    let policy = text(spec, "externalTrafficPolicy");
    let external =
        ["NodePort", "LoadBalancer"].contains(&kind) || !list(&spec["externalIPs"]).is_empty();
    if !policy.is_empty() && !external {
        let detail = "may only be set for externally-accessible services";
        check.invalid("spec.externalTrafficPolicy", &policy.into(), detail);
    }
    check.one_of(spec, "internalTrafficPolicy", "spec", &["Cluster", "Local"]);
    let spread = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    check.one_of(spec, "trafficDistribution", "spec", &spread);
    if spec["ipFamilyPolicy"] == "RequireDualStack" {
        let detail = "this cluster is not configured for dual-stack services";
        check.invalid("spec.ipFamilyPolicy", &spec["ipFamilyPolicy"], detail);
    }
    let ranges = list(&spec["loadBalancerSourceRanges"]);
    if !ranges.is_empty() && kind != "LoadBalancer" {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        check.forbidden("spec.LoadBalancerSourceRanges", detail);
    }
    for (at, range) in ranges.iter().enumerate() {
        if range.as_str().is_none_or(|range| !is_cidr(range)) {
            let path = format!("spec.LoadBalancerSourceRanges[{at}]");
            let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
            check.invalid(&path, range, detail);
        }
    }
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.trim().split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    bits.parse::<u32>().is_ok_and(|bits| bits <= most)
}

fn external_name(spec: &Value, check: &mut Check) {
    let name = text(spec, "externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        check.required("spec.externalName", "");
    } else {
        check.syntax("spec.externalName", name, names::dns1123_subdomain(name));
    }
    if !text(spec, "clusterIP").is_empty() {
        let detail = "may not be set for ExternalName services";
        check.forbidden("spec.clusterIPs", detail);
    }
}

fn ports(spec: &Value, check: &mut Check) {
    let many = list(&spec["ports"]).len() > 1;
    let (mut known_names, mut known) = (BTreeSet::new(), BTreeSet::new());
    for (port, path) in each(spec, "ports", "spec") {
        let name = text(port, "name");
        if name.is_empty() {
            if many {
                check.required(&join(&path, "name"), "");
            }
        } else {
            check.syntax(&join(&path, "name"), name, names::dns1123_label(name));
            if !known_names.insert(name.to_owned()) {
                check.duplicate(&join(&path, "name"), &name.into());
            }
        }
        check.port(&port["port"], &join(&path, "port"));
        check.one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"]);
        // Without a target the port is its own, and a wrong one is told again.
        let target = &port["targetPort"];
        let target = if target.is_null() || *target == 0 { &port["port"] } else { target };
        check.port_or_name(target, &join(&path, "targetPort"));
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        if !known.insert((protocol.to_owned(), port["port"].as_i64())) {
            let shown = format!(
                "{{\"Name\":\"\",\"Protocol\":\"{protocol}\",\"AppProtocol\":null,\"Port\":{},\"TargetPort\":0,\"NodePort\":0}}",
                port["port"]
            );
            let mut cause = crate::sandbox::validation::Cause::duplicate(&path, &Value::Null);
            cause.message = cause.message.replacen("null", &shown, 1);
            check.causes.push(cause);
        }
    }
}

/// An address stays with its Service, unless it is no address of the cluster any more.
pub(super) fn update(object: &Value, old: &Value, check: &mut Check) {
    let (new, old) = (&object["spec"], &old["spec"]);
    let external = |spec: &Value| spec["type"] == "ExternalName";
    if external(new) || external(old) {
        return;
    }
    let (address, before) = (text(new, "clusterIP"), text(old, "clusterIP"));
    if !before.is_empty() && address != before {
        let all =
            if new["clusterIPs"].is_array() { new["clusterIPs"].clone() } else { json!([address]) };
        check.invalid("spec.clusterIPs[0]", &all, "may not change once set");
    }
    let (class, class_before) = (&new["loadBalancerClass"], &old["loadBalancerClass"]);
    if class != class_before && new["type"] == "LoadBalancer" && old["type"] == "LoadBalancer" {
        check.invalid("spec.loadBalancerClass", class, "may not change once set");
    }
}

/// What a load balancer may say of a Service.
pub(super) fn status(object: &Value, check: &mut Check) {
    let points = list(&object["status"]["loadBalancer"]["ingress"]);
    if !points.is_empty() && object["spec"]["type"] != "LoadBalancer" {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        check.forbidden("status.loadBalancer.ingress", detail);
    }
    load_balancer(object, check);
}

/// The addresses of a load balancer in a status.
pub(super) fn load_balancer(object: &Value, check: &mut Check) {
    for (point, path) in each(&object["status"]["loadBalancer"], "ingress", "status.loadBalancer") {
        let (ip, hostname) = (text(point, "ip"), text(point, "hostname"));
        if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
            check.invalid(&join(&path, "ip"), &ip.into(), NOT_AN_ADDRESS);
        }
        if !hostname.is_empty() {
            check.syntax(&join(&path, "hostname"), hostname, names::dns1123_subdomain(hostname));
        }
    }
}
