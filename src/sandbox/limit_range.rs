//! LimitRanges: what they fill into pods and what they refuse, in the words of the API server's LimitRanger.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::quantity;

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn amounts(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn limits<'a>(ranges: &'a [Arc<Value>], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    ranges
        .iter()
        .flat_map(|range| items(&range["spec"], "limits"))
        .filter(move |limit| limit["type"] == kind)
}

/// The defaults of a LimitRange's own fields.
pub(crate) fn defaults(spec: &mut Value) {
    for limit in spec["limits"].as_array_mut().into_iter().flatten() {
        if limit["type"] != "Container" {
            continue;
        }
        for (from, to) in
            [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
        {
            let Some(source) = limit[from].as_object().cloned() else { continue };
            for (name, amount) in source {
                if limit[to][&name].is_null() {
                    limit[to][name] = amount;
                }
            }
        }
    }
}

/// Fills the containers' requests and limits in.
pub(crate) fn fill(ranges: &[Arc<Value>], pod: &mut Value) {
    let mut done = Vec::new();
    for limit in limits(ranges, "Container") {
        for list in ["containers", "initContainers"] {
            let Some(containers) = pod["spec"].get_mut(list).and_then(Value::as_array_mut) else {
                continue;
            };
            let what = if list == "containers" { "container" } else { "init container" };
            for container in containers.iter_mut().filter(|container| container.is_object()) {
                let name = container["name"].as_str().unwrap_or_default().to_owned();
                for (kind, source, word) in
                    [("requests", "defaultRequest", "request"), ("limits", "default", "limit")]
                {
                    let mut set = Vec::new();
                    for (resource, amount) in amounts(&limit[source]) {
                        if container["resources"][kind][resource].is_null() {
                            container["resources"][kind][resource] = amount.clone();
                            set.push(resource.as_str());
                        }
                    }
                    if !set.is_empty() {
                        done.push(format!("{} {word} for {what} {name}", set.join(", ")));
                    }
                }
            }
        }
    }
    if !done.is_empty() {
        let text = format!("LimitRanger plugin set: {}", done.join("; "));
        pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] = json!(text);
    }
}

/// Why a pod is refused.
pub(crate) fn pod_refusal(ranges: &[Arc<Value>], pod: &Value) -> Option<String> {
    let mut errors = Vec::new();
    let containers = || {
        let spec = &pod["spec"];
        items(spec, "containers").iter().chain(items(spec, "initContainers"))
    };
    for limit in limits(ranges, "Container") {
        for container in containers() {
            let resources = &container["resources"];
            check(
                limit,
                "Container",
                &texts(&resources["requests"]),
                &texts(&resources["limits"]),
                &mut errors,
            );
        }
    }
    for limit in limits(ranges, "Pod") {
        check(limit, "Pod", &sums(pod, "requests"), &sums(pod, "limits"), &mut errors);
    }
    together(errors)
}

/// Why a claim is refused.
pub(crate) fn claim_refusal(ranges: &[Arc<Value>], claim: &Value) -> Option<String> {
    const KIND: &str = "PersistentVolumeClaim";
    let requests = texts(&claim["spec"]["resources"]["requests"]);
    let mut errors = Vec::new();
    for limit in limits(ranges, KIND) {
        for (field, word) in [("min", "minimum"), ("max", "maximum")] {
            for (name, bound) in amounts(&limit[field]) {
                let bound = bound.as_str().unwrap_or_default();
                match requests.get(name) {
                    None => errors.push(format!(
                        "{word} {name} usage per {KIND} is {bound}.  No request is specified"
                    )),
                    Some(found) if beyond(field, found, bound) => errors.push(format!(
                        "{word} {name} usage per {KIND} is {bound}, but request is {found}"
                    )),
                    Some(_) => {}
                }
            }
        }
    }
    together(errors)
}

fn together(errors: Vec<String>) -> Option<String> {
    match errors.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    amounts(value)
        .map(|(name, amount)| (name.clone(), amount.as_str().unwrap_or_default().to_owned()))
        .collect()
}

fn sums(pod: &Value, kind: &str) -> BTreeMap<String, String> {
    let mut sums: BTreeMap<String, (i128, String)> = BTreeMap::new();
    for container in items(&pod["spec"], "containers") {
        for (name, amount) in texts(&container["resources"][kind]) {
            let sum = sums.entry(name).or_insert_with(|| (0, amount.clone()));
            sum.0 += quantity::thousandths(&amount).unwrap_or(0);
        }
    }
    sums.into_iter()
        .map(|(name, (sum, like))| (name, quantity::of_thousandths(sum, &like)))
        .collect()
}

fn beyond(field: &str, found: &str, bound: &str) -> bool {
    let (found, bound) = (quantity::thousandths(found), quantity::thousandths(bound));
    if field == "min" { found < bound } else { found > bound }
}

fn check(
    limit: &Value,
    kind: &str,
    requests: &BTreeMap<String, String>,
    given: &BTreeMap<String, String>,
    errors: &mut Vec<String>,
) {
    // A lower bound must be requested, an upper one must be a limit; the other one is looked at if it is there.
    for (field, word, first, second) in [
        ("min", "minimum", ("request", requests), ("limit", given)),
        ("max", "maximum", ("limit", given), ("request", requests)),
    ] {
        for (name, bound) in amounts(&limit[field]) {
            let bound = bound.as_str().unwrap_or_default();
            let head = format!("{word} {name} usage per {kind} is {bound}");
            let Some(found) = first.1.get(name) else {
                errors.push(format!("{head}.  No {} is specified", first.0));
                continue;
            };
            let other = second.1.get(name).filter(|other| beyond(field, other, bound));
            if beyond(field, found, bound) {
                errors.push(format!("{head}, but {} is {found}", first.0));
            } else if let Some(other) = other {
                errors.push(format!("{head}, but {} is {other}", second.0));
            }
        }
    }
    for (name, bound) in amounts(&limit["maxLimitRequestRatio"]) {
        let bound = bound.as_str().unwrap_or_default();
        let head = format!("{name} max limit to request ratio per {kind} is {bound}");
        let of = |map: &BTreeMap<String, String>| {
            map.get(name).and_then(|text| quantity::thousandths(text)).filter(|found| *found != 0)
        };
        let (Some(request), most) = (of(requests), of(given)) else {
            errors.push(format!("{head}, but no request is specified or request is 0"));
            continue;
        };
        let Some(most) = most else {
            errors.push(format!("{head}, but no limit is specified or limit is 0"));
            continue;
        };
        let allowed = quantity::thousandths(bound).unwrap_or(0);
        if most * 1000 > allowed * request {
            #[expect(clippy::cast_precision_loss, reason = "the ratio is shown, not computed with")]
            let ratio = most as f64 / request as f64;
            errors.push(format!("{head}, but provided ratio is {ratio:.6}"));
        }
    }
}
