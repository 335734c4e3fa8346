//! Which node a pod goes to.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{CLAIMS, NODES, PODS};
use crate::sandbox::controllers::{object, volumes};

/// Whether a taint keeps a pod away, seen from its tolerations.
fn tolerated(spec: &Value, taint: &Value) -> bool {
    object::items(spec, "tolerations").iter().any(|toleration| {
        let effect = toleration["effect"].as_str().unwrap_or_default();
        let key = toleration["key"].as_str().unwrap_or_default();
        let same_key = key == taint["key"].as_str().unwrap_or_default();
        (effect.is_empty() || effect == taint["effect"])
            && match toleration["operator"].as_str() {
                Some("Exists") => key.is_empty() || same_key,
                _ => {
                    same_key
                        && toleration["value"].as_str().unwrap_or_default()
                            == taint["value"].as_str().unwrap_or_default()
                }
            }
    })
}

fn untolerated<'a>(spec: &Value, node: &'a Value, effects: &[&str]) -> Option<&'a Value> {
    object::items(&node["spec"], "taints").iter().find(|taint| {
        effects.iter().any(|effect| taint["effect"] == *effect) && !tolerated(spec, taint)
    })
}

fn term_matches(term: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let name = json!({ "metadata.name": object::name(node) });
    let expressions = object::items(term, "matchExpressions");
    let fields = object::items(term, "matchFields");
    (!expressions.is_empty() || !fields.is_empty())
        && expressions.iter().all(|expression| object::expression_holds(expression, labels))
        && fields.iter().all(|field| object::expression_holds(field, &name))
}

/// Whether the node selector and the required node affinity of a pod admit a node.
fn selected(spec: &Value, node: &Value) -> bool {
    let labels = &node["metadata"]["labels"];
    let by_selector = spec["nodeSelector"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)));
    let required =
        &spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
    let terms = object::items(required, "nodeSelectorTerms");
    by_selector && (required.is_null() || terms.iter().any(|term| term_matches(term, node)))
}

/// Whether a DaemonSet wants a pod on a node: what repels only for a time does not count.
pub fn daemon_fits(spec: &Value, node: &Value) -> bool {
    const PASSING: &[&str] =
        &["not-ready", "unreachable", "unschedulable", "memory-pressure", "disk-pressure"];
    let passing = |taint: &Value| {
        let key = taint["key"].as_str().unwrap_or_default();
        PASSING.iter().any(|passing| key == format!("node.kubernetes.io/{passing}"))
    };
    selected(spec, node)
        && untolerated(spec, node, &["NoSchedule", "NoExecute"]).is_none_or(passing)
}

/// Why the claims of a pod keep it from any node.
fn unclaimed(api: &dyn Api, pod: &Value) -> Option<String> {
    let mut immediate = false;
    for name in volumes::claims_of(pod) {
        let Some(claim) = api.get(&CLAIMS, object::namespace(pod), name) else {
            return Some(format!("persistentvolumeclaim \"{name}\" not found"));
        };
        if object::is_deleting(&claim) {
            return Some(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        immediate |= !volumes::is_bound(&claim) && !volumes::waits_for_consumer(api, &claim);
    }
    immediate.then(|| "pod has unbound immediate PersistentVolumeClaims".to_owned())
}

/// The claims of a pod that are to be bound now that it has a node.
pub fn delayed_claims(api: &dyn Api, pod: &Value) -> Vec<Arc<Value>> {
    volumes::claims_of(pod)
        .filter_map(|name| api.get(&CLAIMS, object::namespace(pod), name))
        .filter(|claim| !volumes::is_bound(claim))
        .collect()
}

/// The node for a pod, or the scheduler's words why there is none.
pub fn choose(api: &dyn Api, pod: &Value) -> Result<String, String> {
    let nodes = api.list(&NODES, "");
    let spec = &pod["spec"];
    if let Some(why) = unclaimed(api, pod) {
        return Err(format!("0/{} nodes are available: {why}. not found", nodes.len()));
    }
    let mut reasons: Vec<(String, usize)> = Vec::new();
    let mut refuse = |reason: String| match reasons.iter_mut().find(|(found, _)| *found == reason) {
        Some((_, count)) => *count += 1,
        None => reasons.push((reason, 1)),
    };
    let mut fitting: Vec<&Arc<Value>> = Vec::new();
    for node in &nodes {
        if node["spec"]["unschedulable"] == true {
            refuse("node(s) were unschedulable".to_owned());
        } else if untolerated(spec, node, &["NoSchedule", "NoExecute"]).is_some() {
            refuse("node(s) had untolerated taint(s)".to_owned());
        } else if !selected(spec, node) {
            refuse("node(s) didn't match Pod's node affinity/selector".to_owned());
        } else if let Some(lack) = lacking(api, pod, node) {
            refuse(lack);
        } else {
            fitting.push(node);
        }
    }
    let load = |node: &Value| {
        let name = object::name(node);
        api.list(&PODS, "").iter().filter(|pod| pod["spec"]["nodeName"] == name).count()
    };
    if fitting.len() == 1 {
        return Ok(object::name(fitting[0]).to_owned());
    }
    if let Some(node) = fitting.into_iter().min_by_key(|node| load(node)) {
        return Ok(object::name(node).to_owned());
    }
    let reasons: Vec<_> =
        reasons.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let why = if reasons.is_empty() { "no nodes available".to_owned() } else { reasons.join(", ") };
    Err(format!(
        "0/{n} nodes are available: {why}. no new claims to deallocate, preemption: 0/{n} nodes are available: {n} \
         Preemption is not helpful for scheduling.",
        n = nodes.len()
    ))
}

/// A quantity in thousandths of its unit.
pub fn milli(quantity: &Value) -> u128 {
    let text = match quantity {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return 0,
    };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u128 = match unit {
        "m" => 1,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1_024_000,
        "Mi" => 1_048_576_000,
        "Gi" => 1_073_741_824_000,
        "Ti" => 1_099_511_627_776_000,
        _ => 1_000,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    let value = |text: &str| text.parse::<u128>().unwrap_or(0);
    value(whole)
        .saturating_mul(factor)
        .saturating_add(value(&fraction).saturating_mul(factor) / 1_000)
}

fn requested(pod: &Value, resource: &str) -> u128 {
    object::items(&pod["spec"], "containers")
        .iter()
        .map(|container| milli(&container["resources"]["requests"][resource]))
        .sum()
}

fn lacking(api: &dyn Api, pod: &Value, node: &Value) -> Option<String> {
    for resource in ["cpu", "memory"] {
        let wanted = requested(pod, resource);
        if wanted == 0 {
            continue;
        }
        let total = milli(&node["status"]["allocatable"][resource]);
        let used: u128 = api
            .list(&PODS, "")
            .iter()
            .filter(|found| found["spec"]["nodeName"] == object::name(node))
            .filter(|found| {
                !matches!(found["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
            })
            .map(|found| requested(found, resource))
            .sum();
        if used + wanted > total {
            return Some(format!("Insufficient {resource}"));
        }
    }
    None
}
