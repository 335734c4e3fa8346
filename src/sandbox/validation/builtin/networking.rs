//! Ingresses and NetworkPolicies.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;

use crate::sandbox::validation::{names, selector};

use super::check::{Check, each, is_empty, join, list, text};

pub(super) fn ingress(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    if spec["defaultBackend"].is_null() && list(&spec["rules"]).is_empty() {
        let detail = "either `defaultBackend` or `rules` must be specified";
        check.invalid("spec", &Value::Null, detail);
    }
    if !spec["defaultBackend"].is_null() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", check);
    }
    let class = text(spec, "ingressClassName");
    if !spec["ingressClassName"].is_null() {
        check.syntax("spec.ingressClassName", class, names::dns1123_subdomain(class));
    }
    for (tls, path) in each(spec, "tls", "spec") {
        for (found, path) in each(tls, "hosts", &path) {
            host(found.as_str().unwrap_or_default(), &path, check);
        }
    }
    for (rule, path) in each(spec, "rules", "spec") {
        let name = text(rule, "host");
        let host_path = join(&path, "host");
        if name.parse::<IpAddr>().is_ok() {
            check.invalid(&host_path, &name.into(), "must be a DNS name, not an IP address");
        } else if !name.is_empty() {
            host(name, &host_path, check);
        }
        if rule["http"].is_object() && list(&rule["http"]["paths"]).is_empty() {
            check.required(&join(&path, "http.paths"), "");
        }
        for (found, path) in each(&rule["http"], "paths", &join(&path, "http")) {
            ingress_path(found, &path, check);
        }
    }
}

fn host(name: &str, path: &str, check: &mut Check) {
    let why = if name.contains('*') {
        names::wildcard_subdomain(name)
    } else {
        names::dns1123_subdomain(name)
    };
    check.syntax(path, name, why);
}

fn ingress_path(found: &Value, path: &str, check: &mut Check) {
    const PARTS: [&str; 6] = ["//", "/./", "/../", "%2f", "%2F", "/.."];
    let place = text(found, "path");
    let place_path = join(path, "path");
    match found["pathType"].as_str() {
        None => check.required(&join(path, "pathType"), "pathType must be specified"),
        Some("Exact" | "Prefix") => {
            if place.starts_with('/') {
                let in_the_middle = &PARTS[..5];
                for part in in_the_middle.iter().filter(|part| place.contains(*part)) {
                    check.invalid(&place_path, &place.into(), format!("must not contain '{part}'"));
                }
                for end in ["/..", "/."].iter().filter(|end| place.ends_with(*end)) {
                    check.invalid(&place_path, &place.into(), format!("cannot end with '{end}'"));
                }
            } else {
                check.invalid(&place_path, &place.into(), "must be an absolute path");
            }
        }
        Some("ImplementationSpecific") => {
            if !place.is_empty() && !place.starts_with('/') {
                check.invalid(&place_path, &place.into(), "must be an absolute path");
            }
        }
        Some(_) => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            check.unsupported(&join(path, "pathType"), &found["pathType"], &supported);
        }
    }
    // Without a type nothing else of the path is looked at.
    if found["pathType"].is_string() {
        backend(&found["backend"], &join(path, "backend"), check);
    }
}

fn backend(backend: &Value, path: &str, check: &mut Check) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            check.invalid(path, &"".into(), "cannot set both resource and service backends");
        }
        (false, false) => {
            check.invalid(path, &"".into(), "resource or service backend is required");
        }
        (false, true) => {
            check.present(resource, "kind", &join(path, "resource"));
            check.present(resource, "name", &join(path, "resource"));
        }
        (true, false) => {
            let name = text(service, "name");
            if name.is_empty() {
                check.required(&join(path, "service.name"), "");
            } else {
                let path = join(path, "service.name");
                check.syntax(&path, name, names::dns1035_label(name));
            }
            let (number, port_name) = (&service["port"]["number"], text(&service["port"], "name"));
            let numbered = number.as_i64().unwrap_or_default() != 0;
            if numbered && !port_name.is_empty() {
                check.invalid(path, &"".into(), "cannot set both port name & port number");
            } else if numbered {
                check.port(number, &join(path, "service.port.number"));
            } else if port_name.is_empty() {
                check.required(path, "port name or number is required");
            } else {
                let path = join(path, "service.port.name");
                check.syntax(&path, port_name, names::port_name(port_name));
            }
        }
    }
}

pub(super) fn policy(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    selector::validate(&spec["podSelector"], "spec.podSelector", &mut check.causes);
    for (rules, peers) in [("ingress", "from"), ("egress", "to")] {
        for (rule, path) in each(spec, rules, "spec") {
            for (port, path) in each(rule, "ports", &path) {
                policy_port(port, &path, check);
            }
            for (peer, path) in each(rule, peers, &path) {
                policy_peer(peer, &path, check);
            }
        }
    }
    for (kind, path) in each(spec, "policyTypes", "spec") {
        if kind != "Ingress" && kind != "Egress" {
            check.unsupported(&path, kind, &["Ingress", "Egress"]);
        }
    }
}

fn policy_port(port: &Value, path: &str, check: &mut Check) {
    check.one_of(port, "protocol", path, &["TCP", "UDP", "SCTP"]);
    let (number, end) = (&port["port"], &port["endPort"]);
    let end_path = join(path, "endPort");
    if number.is_null() {
        if !end.is_null() {
            check.invalid(&end_path, end, "may not be specified when `port` is not specified");
        }
        return;
    }
    check.port_or_name(number, &join(path, "port"));
    if end.is_null() {
        return;
    }
    match number.as_i64() {
        None => check.invalid(&end_path, end, "may not be specified when `port` is non-numeric"),
        Some(number) => {
            if end.as_i64().is_some_and(|end| end < number) {
                check.invalid(&end_path, &number.into(), "must be greater than or equal to `port`");
            }
            if end.as_i64().is_none_or(|end| !(1..=65_535).contains(&end)) {
                check.port(end, &end_path);
            }
        }
    }
}

fn policy_peer(peer: &Value, path: &str, check: &mut Check) {
    for field in ["podSelector", "namespaceSelector"] {
        if !peer[field].is_null() {
            selector::validate(&peer[field], &join(path, field), &mut check.causes);
        }
    }
    let selects = !peer["podSelector"].is_null() || !peer["namespaceSelector"].is_null();
    let block = &peer["ipBlock"];
    if block.is_null() {
        if !selects {
            check.required(path, "must specify a peer");
        }
        return;
    }
    if selects {
        check.forbidden(path, "may not specify both ipBlock and another peer");
    }
    let path = join(path, "ipBlock");
    if is_empty(&block["cidr"]) {
        check.required(&join(&path, "cidr"), "");
        return;
    }
    let Some(cidr) = cidr(text(block, "cidr")) else {
        let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
        check.invalid(&join(&path, "cidr"), &block["cidr"], detail);
        return;
    };
    for (except, path) in each(block, "except", &path) {
        match self::cidr(except.as_str().unwrap_or_default()) {
            None => {
                let detail = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
                check.invalid(&path, except, detail);
            }
            Some(inner) => {
                if !(inner.1 > cidr.1 && covers(cidr, inner.0)) {
                    check.invalid(&path, except, "must be a strict subset of `cidr`");
                }
            }
        }
    }
}

fn cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn covers((network, bits): (IpAddr, u32), address: IpAddr) -> bool {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => u128::from(Ipv4Addr::to_bits(address)) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    let mask = if bits == 0 { 0 } else { u128::MAX << (128 - bits) };
    network.is_ipv4() == address.is_ipv4() && number(network) & mask == number(address) & mask
}

pub(super) fn update_slice(object: &Value, old: &Value, check: &mut Check) {
    check.immutable(&object["addressType"], &old["addressType"], "addressType");
}

pub(super) fn update_class(object: &Value, old: &Value, check: &mut Check) {
    check.immutable(&object["spec"]["controller"], &old["spec"]["controller"], "spec.controller");
}
