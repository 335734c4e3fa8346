//! What objects take from ResourceQuotas, as pure functions: admission refuses by it, the quota controller reports it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::quantity;

/// An amount of one resource, written in the family of the first quantity that went into it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Amount {
    thousandths: i128,
    like: String,
}

impl Amount {
    fn of(text: &str) -> Self {
        Self { thousandths: quantity::thousandths(text).unwrap_or(0), like: text.to_owned() }
    }

    fn add(&mut self, other: &Self) {
        if self.thousandths == 0 {
            self.like.clone_from(&other.like);
        }
        self.thousandths += other.thousandths;
    }

    /// As the API server writes it.
    pub(crate) fn text(&self) -> String {
        quantity::of_thousandths(self.thousandths, &self.like)
    }
}

/// Amounts by the names that `spec.hard` uses.
pub(crate) type Amounts = BTreeMap<String, Amount>;

/// Finds the objects of a resource (group and plural) in the quota's namespace.
pub(crate) type Finder<'a> = dyn Fn(&str, &str) -> Vec<Arc<Value>> + 'a;

fn items<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The resource that an entry of `spec.hard` counts; `None` if nothing in the sandbox does.
pub(crate) fn counted(key: &str) -> Option<(&str, &str)> {
    if let Some(resource) = key.strip_prefix("count/") {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        return Some((group, plural));
    }
    match key {
        "services" | "services.nodeports" | "services.loadbalancers" => Some(("", "services")),
        "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas" => Some(("", key)),
        "persistentvolumeclaims" | "requests.storage" => Some(("", "persistentvolumeclaims")),
        _ if key.contains(".storageclass.storage.k8s.io/") => Some(("", "persistentvolumeclaims")),
        "pods" | "cpu" | "memory" | "ephemeral-storage" => Some(("", "pods")),
        _ if key.starts_with("requests.") || key.starts_with("limits.") => Some(("", "pods")),
        _ => None,
    }
}

/// What one object takes.
fn usage(group: &str, plural: &str, object: &Value) -> Amounts {
    let mut amounts = Amounts::new();
    let mut count = |key: &str, number: usize| {
        amounts.insert(key.to_owned(), Amount::of(&number.to_string()));
    };
    let full = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
    count(&format!("count/{full}"), 1);
    match (group, plural) {
        ("", "configmaps" | "secrets" | "replicationcontrollers" | "resourcequotas") => {
            count(plural, 1);
        }
        ("", "services") => {
            let spec = &object["spec"];
            let balanced = spec["type"] == "LoadBalancer";
            let ports = spec["type"] == "NodePort"
                || (balanced && spec["allocateLoadBalancerNodePorts"] != false);
            count("services", 1);
            count("services.loadbalancers", usize::from(balanced));
            count("services.nodeports", if ports { items(spec, "ports").len() } else { 0 });
        }
        ("", "persistentvolumeclaims") => {
            count("persistentvolumeclaims", 1);
            let class = text(&object["spec"]["storageClassName"]);
            let of_class = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
            count(&of_class("persistentvolumeclaims"), 1);
            let storage = Amount::of(&text(&object["spec"]["resources"]["requests"]["storage"]));
            amounts.insert(of_class("requests.storage"), storage.clone());
            amounts.insert("requests.storage".to_owned(), storage);
        }
        ("", "pods") => pod(object, &mut amounts),
        _ => {}
    }
    amounts
}

fn pod(object: &Value, amounts: &mut Amounts) {
    if matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) {
        amounts.clear();
        return;
    }
    amounts.insert("pods".to_owned(), Amount::of("1"));
    let spec = &object["spec"];
    for kind in ["requests", "limits"] {
        let mut sum = Amounts::new();
        let sidecar = |container: &&Value| container["restartPolicy"] == "Always";
        let together = items(spec, "containers")
            .iter()
            .chain(items(spec, "initContainers").iter().filter(sidecar));
        for container in together {
            for (name, amount) in container["resources"][kind].as_object().into_iter().flatten() {
                sum.entry(name.clone()).or_default().add(&Amount::of(&text(amount)));
            }
        }
        for container in items(spec, "initContainers").iter().filter(|found| !sidecar(found)) {
            for (name, amount) in container["resources"][kind].as_object().into_iter().flatten() {
                let alone = Amount::of(&text(amount));
                let most = sum.entry(name.clone()).or_default();
                if alone.thousandths > most.thousandths {
                    *most = alone;
                }
            }
        }
        for (name, amount) in sum {
            if kind == "requests" && matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            {
                amounts.insert(name.clone(), amount.clone());
            }
            amounts.insert(format!("{kind}.{name}"), amount);
        }
    }
}

/// Whether a quota's scopes take an object in.
fn covers(quota: &Value, plural: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let plain =
        items(spec, "scopes").iter().map(|scope| (scope.as_str().unwrap_or_default(), None));
    let selected = items(&spec["scopeSelector"], "matchExpressions")
        .iter()
        .map(|term| (term["scopeName"].as_str().unwrap_or_default(), Some(term)));
    let mut scopes = plain.chain(selected).peekable();
    if scopes.peek().is_none() {
        return true;
    }
    if plural != "pods" {
        return false;
    }
    scopes.all(|(scope, term)| {
        let spec = &object["spec"];
        let containers = items(spec, "containers").iter().chain(items(spec, "initContainers"));
        let best_effort = containers.into_iter().all(|container| {
            ["requests", "limits"].iter().all(|kind| {
                let amounts = &container["resources"][*kind];
                amounts["cpu"].is_null() && amounts["memory"].is_null()
            })
        });
        match scope {
            "BestEffort" => best_effort,
            "NotBestEffort" => !best_effort,
            "Terminating" => spec["activeDeadlineSeconds"].is_number(),
            "NotTerminating" => spec["activeDeadlineSeconds"].is_null(),
            "PriorityClass" => {
                let class = &spec["priorityClassName"];
                let named = class.as_str().is_some_and(|name| !name.is_empty());
                let listed = term.is_some_and(|term| items(term, "values").contains(class));
                match term.and_then(|term| term["operator"].as_str()) {
                    Some("In") => listed,
                    Some("NotIn") => !listed,
                    Some("DoesNotExist") => !named,
                    _ => named,
                }
            }
            _ => false,
        }
    })
}

/// What is used of a quota's entries.
pub(crate) fn used(quota: &Value, find: &Finder<'_>) -> Amounts {
    let hard = &quota["spec"]["hard"];
    let mut sums = Amounts::new();
    let mut resources: Vec<(&str, &str)> = Vec::new();
    for key in hard.as_object().into_iter().flatten().map(|(key, _)| key) {
        let Some(resource) = counted(key) else { continue };
        sums.insert(key.clone(), Amount::of("0"));
        if !resources.contains(&resource) {
            resources.push(resource);
        }
    }
    for (group, plural) in resources {
        for object in find(group, plural) {
            if !covers(quota, plural, &object) {
                continue;
            }
            for (key, amount) in usage(group, plural, &object) {
                if let Some(sum) = sums.get_mut(&key) {
                    sum.add(&amount);
                }
            }
        }
    }
    sums
}

/// What a write asks of a resource beyond its limit: the resource, what is asked, what is used, the limit.
type Over<'a> = (&'a String, &'a Amount, String, String);

/// Why a quota does not let an object in (or grow, when it was `old`).
pub(crate) fn refusal(
    quotas: &[Arc<Value>],
    (group, plural): (&str, &str),
    object: &Value,
    old: Option<&Value>,
    find: &Finder<'_>,
) -> Option<String> {
    let mut wanted = usage(group, plural, object);
    if let Some(old) = old {
        let before = usage(group, plural, old);
        for (key, amount) in &mut wanted {
            amount.thousandths -= before.get(key).map_or(0, |before| before.thousandths);
        }
    }
    for quota in quotas {
        let name = quota["metadata"]["name"].as_str().unwrap_or_default();
        let hard = &quota["spec"]["hard"];
        let touched = hard
            .as_object()
            .is_some_and(|hard| hard.keys().any(|key| counted(key) == Some((group, plural))));
        if !touched || !covers(quota, plural, object) {
            continue;
        }
        if plural == "pods"
            && old.is_none()
            && let Some(missing) = unspecified(hard, object)
        {
            return Some(format!("failed quota: {name}: must specify {missing}"));
        }
        let used = used(quota, find);
        let over: Vec<Over<'_>> = wanted
            .iter()
            .filter(|(_, amount)| amount.thousandths > 0)
            .filter_map(|(key, amount)| {
                let limit = text(hard.get(key)?);
                let now = used.get(key)?;
                let most = quantity::thousandths(&limit)?;
                (now.thousandths + amount.thousandths > most)
                    .then(|| (key, amount, now.text(), limit))
            })
            .collect();
        if !over.is_empty() {
            let join = |show: &dyn Fn(&Over<'_>) -> String| {
                over.iter().map(show).collect::<Vec<_>>().join(",")
            };
            return Some(format!(
                "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
                join(&|(key, amount, _, _)| format!("{key}={}", amount.text())),
                join(&|(key, _, used, _)| format!("{key}={used}")),
                join(&|(key, _, _, limit)| format!("{key}={limit}"))
            ));
        }
    }
    None
}

/// The containers that do not say what a quota must know: `limits.memory for: c,d; requests.cpu for: c`.
fn unspecified(hard: &Value, pod: &Value) -> Option<String> {
    let mut missing = Vec::new();
    for key in ["cpu", "limits.cpu", "limits.memory", "memory", "requests.cpu", "requests.memory"] {
        if hard.get(key).is_none() {
            continue;
        }
        let (kind, resource) = key.split_once('.').unwrap_or(("requests", key));
        let names: Vec<&str> = ["containers", "initContainers"]
            .iter()
            .flat_map(|list| items(&pod["spec"], list))
            .filter(|container| container["resources"][kind][resource].is_null())
            .map(|container| container["name"].as_str().unwrap_or_default())
            .collect();
        if !names.is_empty() {
            missing.push(format!("{key} for: {}", names.join(",")));
        }
    }
    (!missing.is_empty()).then(|| missing.join("; "))
}
