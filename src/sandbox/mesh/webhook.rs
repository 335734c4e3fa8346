//! The validating webhooks of istiod and MetalLB: whether they can be reached and what they refuse.

use std::net::IpAddr;

use serde_json::Value;

use super::presence;
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{ENDPOINT_SLICES, SERVICES};
use crate::sandbox::controllers::object;

/// Whether a webhook's Service leads to somebody, or the API server's words for why not.
pub fn reachable(api: &dyn Api, namespace: &str, name: &str) -> Result<(), String> {
    if api.get(&SERVICES, namespace, name).is_none() {
        return Err(format!("service \"{name}\" not found"));
    }
    let ready = api
        .list(&ENDPOINT_SLICES, namespace)
        .iter()
        .filter(|slice| object::label(slice, "kubernetes.io/service-name") == Some(name))
        .flat_map(|slice| object::items(slice, "endpoints").to_vec())
        .any(|endpoint| endpoint["conditions"]["ready"] == true);
    if ready { Ok(()) } else { Err(format!("no endpoints available for service \"{name}\"")) }
}

/// Whether the sandbox knows what a webhook says: its Service is istiod's or MetalLB's.
pub fn is_modelled(service: &str) -> bool {
    service.starts_with("istiod") || service == "metallb-webhook-service"
}

/// What the webhook behind `service` and `path` says to an object: `Err` refuses with its words.
pub fn review(api: &dyn Api, service: &str, path: &str, object: &Value) -> Result<(), String> {
    if service == "metallb-webhook-service" {
        return review_metal_lb(api, object);
    }
    if !path.starts_with("/validate") || presence::istiod(api).is_none() {
        return Ok(());
    }
    let problems = istio_problems(object);
    if problems.is_empty() {
        return Ok(());
    }
    let count = problems.len();
    let noun = if count == 1 { "error" } else { "errors" };
    let list: String = problems.iter().map(|problem| format!("\n\t* {problem}")).collect();
    Err(format!("configuration is invalid: {count} {noun} occurred:{list}\n\n"))
}

fn istio_problems(object: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    match object["kind"].as_str().unwrap_or_default() {
        "AuthorizationPolicy" => authorization_problems(object, &mut problems),
        "Gateway"
            if object["apiVersion"]
                .as_str()
                .is_some_and(|v| v.starts_with("networking.istio.io"))
                && object::items(&object["spec"], "servers").is_empty() =>
        {
            problems.push("gateway must have at least one server".to_owned());
        }
        _ => {}
    }
    problems
}

fn authorization_problems(policy: &Value, problems: &mut Vec<String>) {
    for rule in object::items(&policy["spec"], "rules") {
        for from in object::items(rule, "from") {
            let source = &from["source"];
            for field in ["ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks"] {
                for block in object::items(source, field) {
                    let text = block.as_str().unwrap_or_default();
                    if !is_block(text) {
                        problems.push(format!("{field}: invalid IP address: {text}"));
                    }
                }
            }
            if source.as_object().is_none_or(serde_json::Map::is_empty) {
                problems
                    .push("`from.source` must not be empty, found at rules[0].from[0]".to_owned());
            }
        }
    }
}

fn is_block(text: &str) -> bool {
    match text.split_once('/') {
        Some((address, bits)) => address.parse::<IpAddr>().is_ok_and(|address| {
            let most = if address.is_ipv4() { 32 } else { 128 };
            bits.parse::<u8>().is_ok_and(|bits| bits <= most)
        }),
        None => text.parse::<IpAddr>().is_ok(),
    }
}

fn review_metal_lb(api: &dyn Api, object: &Value) -> Result<(), String> {
    if object["kind"] != "IPAddressPool" {
        return Ok(());
    }
    let mut own = Vec::new();
    for range in object::items(&object["spec"], "addresses") {
        let text = range.as_str().unwrap_or_default();
        own.push(super::metal_lb::range(text).ok_or_else(|| {
            format!("parsing address pool {}: invalid CIDR \"{text}\"", object::name(object))
        })?);
    }
    let pools = &crate::sandbox::controllers::kinds::ADDRESS_POOLS;
    for pool in api.list(pools, "") {
        if object::name(&pool) == object::name(object) {
            continue;
        }
        for other in object::items(&pool["spec"], "addresses") {
            let Some((first, last)) = super::metal_lb::range(other.as_str().unwrap_or_default())
            else {
                continue;
            };
            if own.iter().any(|(from, to)| *from <= last && first <= *to) {
                return Err(format!(
                    "CIDR \"{}\" in pool \"{}\" overlaps with already defined CIDR \"{}\"",
                    object::items(&object["spec"], "addresses")[0].as_str().unwrap_or_default(),
                    object::name(object),
                    other.as_str().unwrap_or_default()
                ));
            }
        }
    }
    Ok(())
}
