//! Who may talk to whom: PeerAuthentication and AuthorizationPolicy as outcomes.

use std::net::IpAddr;
use std::sync::Arc;

use http::Request;
use serde_json::Value;

use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{AUTHORIZATION_POLICIES, PEER_AUTHENTICATIONS};
use crate::sandbox::controllers::object;
use crate::sandbox::mesh::policy_status::targets as policy_targets;
use crate::sandbox::mesh::presence;

/// The caller as the enforcing proxy sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// `cluster.local/ns/NS/sa/SA`; `None` for plain text.
    pub(super) identity: Option<String>,
    pub(super) address: String,
}

impl Peer {
    fn namespace(&self) -> Option<&str> {
        self.identity.as_ref()?.split("/ns/").nth(1)?.split('/').next()
    }
}

/// The identity of a pod's ServiceAccount.
pub(super) fn identity(pod: &Value) -> String {
    let account = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
    format!("cluster.local/ns/{}/sa/{account}", object::namespace(pod))
}

/// The mTLS mode that ztunnel holds a pod's port to: the narrowest PeerAuthentication wins.
fn is_strict(api: &dyn Api, root: &str, pod: &Value, port: u16) -> bool {
    let labels = &pod["metadata"]["labels"];
    let mode_of = |policy: &Value, ports: bool| {
        let own = policy["spec"]["portLevelMtls"][port.to_string()]["mode"].as_str();
        let all = policy["spec"]["mtls"]["mode"].as_str();
        let mode = if ports { own.or(all) } else { all };
        mode.filter(|mode| *mode != "UNSET").map(str::to_owned)
    };
    let of = |namespace: &str, selected: bool| {
        let mut policies: Vec<Arc<Value>> = api
            .list(&PEER_AUTHENTICATIONS, namespace)
            .into_iter()
            .filter(|policy| {
                let labels_wanted = &policy["spec"]["selector"]["matchLabels"];
                let has = labels_wanted.as_object().is_some_and(|map| !map.is_empty());
                has == selected && (!has || object::selects_map(labels_wanted, labels))
            })
            .collect();
        policies.sort_by_key(|policy| {
            policy["metadata"]["creationTimestamp"].as_str().map(str::to_owned)
        });
        policies.iter().find_map(|policy| mode_of(policy, selected))
    };
    let namespace = object::namespace(pod);
    let mode = of(namespace, true)
        .or_else(|| of(namespace, false))
        .or_else(|| if namespace == root { None } else { of(root, false) });
    mode.as_deref() == Some("STRICT")
}

/// What ztunnel decides on a connection to a captured pod; `Err` names the policy that refused.
pub(super) fn at_ztunnel(api: &dyn Api, pod: &Value, port: u16, peer: &Peer) -> Result<(), String> {
    let root = presence::root_namespace(api).unwrap_or_else(|| "istio-system".to_owned());
    if peer.identity.is_none() && is_strict(api, &root, pod, port) {
        return Err("explicitly denied by: istio-system/istio_converted_static_strict".to_owned());
    }
    let labels = &pod["metadata"]["labels"];
    let namespace = object::namespace(pod);
    let mut policies = api.list(&AUTHORIZATION_POLICIES, namespace);
    if namespace != root {
        policies.extend(api.list(&AUTHORIZATION_POLICIES, &root));
    }
    let policies: Vec<_> = policies
        .into_iter()
        .filter(|policy| {
            let wanted = &policy["spec"]["selector"]["matchLabels"];
            policy_targets(policy).is_empty()
                && (wanted.as_object().is_none_or(serde_json::Map::is_empty)
                    || object::selects_map(wanted, labels))
        })
        .collect();
    decide(&policies, &|rule, action| l4_rule(rule, action, peer, port))
}

/// What a waypoint or gateway decides on a request: policies with `targetRefs` that name what it guards.
pub(super) fn at_proxy<B>(
    policies: &[Arc<Value>],
    request: &Request<B>,
    peer: &Peer,
    port: u16,
) -> bool {
    decide(policies, &|rule, _| Some(l7_rule(rule, request, peer, port))).is_ok()
}

/// The policies with `targetRefs` to an object of a namespace.
pub(super) fn targeting(api: &dyn Api, namespace: &str, kind: &str, name: &str) -> Vec<Arc<Value>> {
    api.list(&AUTHORIZATION_POLICIES, namespace)
        .into_iter()
        .filter(|policy| {
            policy_targets(policy)
                .iter()
                .any(|target| target["kind"] == kind && target["name"] == name)
        })
        .collect()
}

/// DENY first; then, if there is any ALLOW policy, one of them must match. A rule of `None` does not exist for the
/// proxy that asks.
fn decide(
    policies: &[Arc<Value>],
    matches: &dyn Fn(&Value, &str) -> Option<bool>,
) -> Result<(), String> {
    let action = |policy: &Value| policy["spec"]["action"].as_str().unwrap_or("ALLOW").to_owned();
    let key = |policy: &Value| format!("{}/{}", object::namespace(policy), object::name(policy));
    let any = |policy: &Value, action: &str| {
        object::items(&policy["spec"], "rules")
            .iter()
            .any(|rule| matches(rule, action) == Some(true))
    };
    for policy in policies.iter().filter(|policy| action(policy) == "DENY") {
        if any(policy, "DENY") {
            return Err(format!("explicitly denied by: {}", key(policy)));
        }
    }
    let mut allows = policies.iter().filter(|policy| action(policy) == "ALLOW").peekable();
    if allows.peek().is_none() || allows.any(|policy| any(policy, "ALLOW")) {
        return Ok(());
    }
    Err("allow policies exist, but none allowed".to_owned())
}

fn texts<'a>(value: &'a Value, field: &str) -> Vec<&'a str> {
    object::items(value, field).iter().filter_map(Value::as_str).collect()
}

/// Istio's string match: exact, `prefix*`, `*suffix`, `*` for present.
fn text_matches(pattern: &str, text: &str) -> bool {
    if pattern == "*" {
        return !text.is_empty();
    }
    match (pattern.strip_suffix('*'), pattern.strip_prefix('*')) {
        (Some(prefix), _) => text.starts_with(prefix),
        (_, Some(suffix)) => text.ends_with(suffix),
        _ => pattern == text,
    }
}

/// A field and its `not` form.
fn field_holds(value: &Value, field: &str, test: &dyn Fn(&str) -> bool) -> bool {
    let mut negative = field.to_owned();
    if let Some(first) = negative.get(..1).map(str::to_uppercase) {
        negative.replace_range(..1, &first);
    }
    let wanted = texts(value, field);
    let unwanted = texts(value, &format!("not{negative}"));
    (wanted.is_empty() || wanted.iter().any(|pattern| test(pattern)))
        && !unwanted.iter().any(|pattern| test(pattern))
}

fn in_block(block: &str, address: &str) -> bool {
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let (base, bits) = block.split_once('/').unwrap_or((block, "32"));
    match (base.parse::<IpAddr>(), address) {
        (Ok(IpAddr::V4(base)), IpAddr::V4(address)) => {
            let bits: u32 = bits.parse().unwrap_or(32);
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            base.to_bits() & mask == address.to_bits() & mask
        }
        (Ok(base), address) => base == address,
        _ => false,
    }
}

fn source_matches(source: &Value, peer: &Peer) -> bool {
    let identity = peer.identity.clone().unwrap_or_default();
    let namespace = peer.namespace().unwrap_or_default().to_owned();
    let account = identity.rsplit("/sa/").next().unwrap_or_default().to_owned();
    field_holds(source, "principals", &|pattern| {
        !identity.is_empty() && text_matches(pattern.trim_start_matches("spiffe://"), &identity)
    }) && field_holds(source, "namespaces", &|pattern| {
        !namespace.is_empty() && text_matches(pattern, &namespace)
    }) && field_holds(source, "serviceAccounts", &|pattern| {
        !identity.is_empty() && (pattern == account || pattern == format!("{namespace}/{account}"))
    }) && field_holds(source, "ipBlocks", &|block| in_block(block, &peer.address))
}

fn from_matches(rule: &Value, peer: &Peer) -> bool {
    let from = object::items(rule, "from");
    from.is_empty() || from.iter().any(|from| source_matches(&from["source"], peer))
}

/// A rule as ztunnel sees it: HTTP attributes do not exist there, so an ALLOW rule with them is left out, and so is
/// a DENY rule with them.
fn l4_rule(rule: &Value, _action: &str, peer: &Peer, port: u16) -> Option<bool> {
    const HTTP: &[&str] = &["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"];
    let has_http = object::items(rule, "to")
        .iter()
        .any(|to| HTTP.iter().any(|field| !object::items(&to["operation"], field).is_empty()))
        || object::items(rule, "from").iter().any(|from| {
            ["requestPrincipals", "notRequestPrincipals", "remoteIpBlocks", "notRemoteIpBlocks"]
                .iter()
                .any(|field| !object::items(&from["source"], field).is_empty())
        });
    if has_http {
        return None;
    }
    let to = object::items(rule, "to");
    let port_text = port.to_string();
    let to_matches = to.is_empty()
        || to
            .iter()
            .any(|to| field_holds(&to["operation"], "ports", &|wanted| wanted == port_text));
    Some(from_matches(rule, peer) && to_matches && when_matches::<()>(rule, None, peer, port))
}

fn l7_rule<B>(rule: &Value, request: &Request<B>, peer: &Peer, port: u16) -> bool {
    let host = super::http_server::host_of(request);
    let path = request.uri().path().to_owned();
    let method = request.method().as_str().to_owned();
    let port_text = port.to_string();
    let to = object::items(rule, "to");
    let to_matches = to.is_empty()
        || to.iter().any(|to| {
            let operation = &to["operation"];
            field_holds(operation, "methods", &|pattern| text_matches(pattern, &method))
                && field_holds(operation, "paths", &|pattern| text_matches(pattern, &path))
                && field_holds(operation, "hosts", &|pattern| {
                    text_matches(&pattern.to_lowercase(), &host.to_lowercase())
                })
                && field_holds(operation, "ports", &|wanted| wanted == port_text)
        });
    from_matches(rule, peer) && to_matches && when_matches(rule, Some(request), peer, port)
}

fn when_matches<B>(rule: &Value, request: Option<&Request<B>>, peer: &Peer, port: u16) -> bool {
    object::items(rule, "when").iter().all(|when| {
        let key = when["key"].as_str().unwrap_or_default();
        let header = key.strip_prefix("request.headers[").and_then(|rest| rest.strip_suffix(']'));
        let found = match (key, header) {
            (_, Some(name)) => request
                .and_then(|request| request.headers().get(name)?.to_str().ok().map(str::to_owned))
                .unwrap_or_default(),
            ("source.principal", _) => peer.identity.clone().unwrap_or_default(),
            ("source.namespace", _) => peer.namespace().unwrap_or_default().to_owned(),
            ("source.ip", _) => peer.address.clone(),
            ("destination.port", _) => port.to_string(),
            _ => String::new(),
        };
        let test = |pattern: &str| {
            if key == "source.ip" {
                in_block(pattern, &found)
            } else {
                text_matches(pattern, &found)
            }
        };
        field_holds(when, "values", &test)
    })
}
