//! Whether an object is what a wait wants it to be, judged from the object alone.

use serde_json::Value;

/// A judgement on an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Met,
    /// Not yet, and why.
    NotYet(String),
    /// It cannot come true any more, and why.
    Never(String),
}

fn not_yet(reason: impl Into<String>) -> Verdict {
    Verdict::NotYet(reason.into())
}

fn int(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

/// The controller has not looked at the current spec yet.
fn is_stale(object: &Value) -> bool {
    let generation = &object["metadata"]["generation"];
    let observed = &object["status"]["observedGeneration"];
    generation.is_i64() && observed.is_i64() && int(observed) < int(generation)
}

/// A condition by its type, in any case, as kubectl compares them.
pub(super) fn condition<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = conditions.as_array()?;
    conditions
        .iter()
        .find(|found| found["type"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(kind)))
}

/// `Programmed=False (AddressNotAssigned): no address yet`
pub(super) fn describe(condition: &Value) -> String {
    let text = |name: &str| condition[name].as_str().unwrap_or_default();
    let mut described = format!("{}={}", text("type"), text("status"));
    if !text("reason").is_empty() && text("reason") != text("type") {
        described.push_str(&format!(" ({})", text("reason")));
    }
    if !text("message").is_empty() {
        described.push_str(&format!(": {}", text("message")));
    }
    described
}

/// A condition with a status. Routes and policies hold theirs per parent: then every parent must have it.
pub(super) fn has_condition(object: &Value, kind: &str, status: &str) -> Verdict {
    if is_stale(object) {
        return not_yet("its controller has not seen the latest change yet");
    }
    let generation = int(&object["metadata"]["generation"]);
    if object["status"]["conditions"].is_null() {
        for field in ["parents", "ancestors"] {
            let Some(parents) = object["status"][field].as_array() else { continue };
            let asked = object["spec"]["parentRefs"].as_array().map_or(1, Vec::len).max(1);
            if parents.len() < asked {
                return not_yet(format!("{} of {asked} parents answered", parents.len()));
            }
            return parents
                .iter()
                .map(|parent| one_condition(&parent["conditions"], generation, kind, status))
                .find(|verdict| *verdict != Verdict::Met)
                .unwrap_or(Verdict::Met);
        }
    }
    one_condition(&object["status"]["conditions"], generation, kind, status)
}

fn one_condition(conditions: &Value, generation: i64, kind: &str, status: &str) -> Verdict {
    let Some(found) = condition(conditions, kind) else {
        return not_yet(format!("it has no condition `{kind}` yet"));
    };
    let observed = &found["observedGeneration"];
    if observed.is_i64() && int(observed) < generation {
        return not_yet(format!("its condition `{kind}` is of an older generation"));
    }
    if found["status"].as_str().is_some_and(|found| found.eq_ignore_ascii_case(status)) {
        Verdict::Met
    } else {
        not_yet(describe(found))
    }
}

/// As `kubectl rollout status` judges. `None` for kinds that have no rollout.
pub(super) fn rolled_out(object: &Value) -> Option<Verdict> {
    let verdict = match object["kind"].as_str()? {
        "Deployment" => deployment(object),
        "DaemonSet" => daemon_set(object),
        "StatefulSet" => stateful_set(object),
        _ => return None,
    };
    let observed = object["status"]["observedGeneration"].is_i64() && !is_stale(object);
    Some(match verdict {
        Verdict::Never(reason) => Verdict::Never(reason),
        _ if !observed => not_yet("its controller has not seen the latest change yet"),
        verdict => verdict,
    })
}

fn deployment(object: &Value) -> Verdict {
    let status = &object["status"];
    if !is_stale(object)
        && let Some(progressing) = condition(&status["conditions"], "Progressing")
        && progressing["reason"] == "ProgressDeadlineExceeded"
    {
        return Verdict::Never(describe(progressing));
    }
    let wanted = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let updated = int(&status["updatedReplicas"]);
    let available = int(&status["availableReplicas"]);
    if updated < wanted {
        not_yet(format!("{updated} of {wanted} pods updated"))
    } else if int(&status["replicas"]) > updated {
        not_yet(format!("{} old pods to end", int(&status["replicas"]) - updated))
    } else if available < updated {
        not_yet(format!("{available} of {updated} pods available"))
    } else {
        Verdict::Met
    }
}

fn daemon_set(object: &Value) -> Verdict {
    let status = &object["status"];
    let desired = int(&status["desiredNumberScheduled"]);
    let updated = int(&status["updatedNumberScheduled"]);
    let available = int(&status["numberAvailable"]);
    let on_delete = object["spec"]["updateStrategy"]["type"] == "OnDelete";
    if updated < desired && !on_delete {
        not_yet(format!("{updated} of {desired} pods updated"))
    } else if available < desired {
        not_yet(format!("{available} of {desired} pods available"))
    } else {
        Verdict::Met
    }
}

fn stateful_set(object: &Value) -> Verdict {
    let (spec, status) = (&object["spec"], &object["status"]);
    let wanted = spec["replicas"].as_i64().unwrap_or(1);
    let ready = int(&status["readyReplicas"]);
    if ready < wanted {
        return not_yet(format!("{ready} of {wanted} pods ready"));
    }
    if spec["updateStrategy"]["type"] == "OnDelete" {
        return Verdict::Met;
    }
    let partition = int(&spec["updateStrategy"]["rollingUpdate"]["partition"]);
    if partition > 0 {
        let updated = int(&status["updatedReplicas"]);
        if updated < wanted - partition {
            return not_yet(format!("{updated} of {} pods updated", wanted - partition));
        }
    } else if status["updateRevision"] != status["currentRevision"] {
        return not_yet(format!("{} of {wanted} pods updated", int(&status["updatedReplicas"])));
    }
    Verdict::Met
}

/// The status of any object as kstatus computes it; Helm waits for this. `jobs`: a Job must be complete, not only begun.
pub(super) fn ready(object: &Value, jobs: bool) -> Verdict {
    if !object["metadata"]["deletionTimestamp"].is_null() {
        return not_yet("it is being deleted");
    }
    if let Some(verdict) = rolled_out(object) {
        return verdict;
    }
    if is_stale(object) {
        return not_yet("its controller has not seen the latest change yet");
    }
    let (spec, status) = (&object["spec"], &object["status"]);
    let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
    match (group.map_or("", |(group, _)| group), object["kind"].as_str().unwrap_or_default()) {
        ("", "Pod") => pod(object),
        ("batch", "Job") => job(object, jobs),
        ("apps", "ReplicaSet") => {
            let wanted = spec["replicas"].as_i64().unwrap_or(1);
            let ready = int(&status["readyReplicas"]);
            if ready < wanted {
                not_yet(format!("{ready} of {wanted} pods ready"))
            } else {
                Verdict::Met
            }
        }
        ("", "PersistentVolumeClaim") if status["phase"] != "Bound" => {
            not_yet(format!("it is {}", status["phase"].as_str().unwrap_or("not bound")))
        }
        ("", "Service") if spec["type"] == "LoadBalancer" && spec["clusterIP"].is_null() => {
            not_yet("it has no cluster address")
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            one_condition(&status["conditions"], 0, "Established", "True")
        }
        _ => generic(status),
    }
}

/// `Stalled` and `Reconciling` first, then `Ready` where there is one; everything else is as good as it gets.
fn generic(status: &Value) -> Verdict {
    let conditions = &status["conditions"];
    for (kind, good) in [("Stalled", false), ("Reconciling", false), ("Ready", true)] {
        if let Some(found) = condition(conditions, kind) {
            let is_true = found["status"] == "True";
            if is_true != good {
                return not_yet(describe(found));
            }
        }
    }
    Verdict::Met
}

fn pod(object: &Value) -> Verdict {
    let status = &object["status"];
    match status["phase"].as_str() {
        Some("Succeeded") => Verdict::Met,
        Some("Failed") => Verdict::Never(format!(
            "the pod failed{}",
            status["message"].as_str().map(|text| format!(": {text}")).unwrap_or_default()
        )),
        _ => one_condition(&status["conditions"], 0, "Ready", "True"),
    }
}

/// Whether a Pod or Job has run to a good end: being ready is not enough for a Pod.
pub(super) fn completed(object: &Value) -> Verdict {
    if object["kind"] == "Job" {
        return job(object, true);
    }
    match pod(object) {
        Verdict::Met if object["status"]["phase"] != "Succeeded" => not_yet("it runs"),
        verdict => verdict,
    }
}

fn job(object: &Value, complete: bool) -> Verdict {
    let conditions = &object["status"]["conditions"];
    let is_true =
        |kind: &str| condition(conditions, kind).filter(|found| found["status"] == "True");
    if let Some(failed) = is_true("Failed") {
        return Verdict::Never(describe(failed));
    }
    if is_true("Complete").is_some() {
        return Verdict::Met;
    }
    if complete {
        let done = int(&object["status"]["succeeded"]);
        let wanted = object["spec"]["completions"].as_i64().unwrap_or(1);
        return not_yet(format!("{done} of {wanted} pods completed"));
    }
    if object["status"]["startTime"].is_null() { not_yet("it has not begun") } else { Verdict::Met }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_count_for_the_current_generation_only() {
        let gateway = |observed: i64, status: &str| {
            json!({"metadata": {"generation": 2}, "status": {"conditions": [
                {"type": "Programmed", "status": status, "observedGeneration": observed, "reason": "AddressNotAssigned", "message": "no address"}]}})
        };
        assert_eq!(has_condition(&gateway(2, "True"), "programmed", "true"), Verdict::Met);
        assert!(matches!(
            has_condition(&gateway(1, "True"), "Programmed", "True"),
            Verdict::NotYet(_)
        ));
        assert_eq!(
            has_condition(&gateway(2, "False"), "Programmed", "True"),
            not_yet("Programmed=False (AddressNotAssigned): no address")
        );
        assert!(matches!(has_condition(&json!({}), "Ready", "True"), Verdict::NotYet(_)));
    }

    #[test]
    fn a_route_needs_the_condition_of_every_parent() {
        let route = |parents: Value| json!({"spec": {"parentRefs": [{}, {}]}, "status": {"parents": parents}});
        let good = json!({"conditions": [{"type": "Accepted", "status": "True"}]});
        let bad = json!({"conditions": [{"type": "Accepted", "status": "False", "reason": "NoMatchingParent"}]});
        let has = |parents: Value| has_condition(&route(parents), "Accepted", "True");
        assert_eq!(has(json!([good, good])), Verdict::Met);
        assert_eq!(has(json!([good])), not_yet("1 of 2 parents answered"));
        assert_eq!(has(json!([good, bad])), not_yet("Accepted=False (NoMatchingParent)"));
    }

    #[test]
    fn rollouts_are_judged_as_kubectl_does() {
        let deployment = |generation: i64, updated: i64, replicas: i64, available: i64| {
            json!({"kind": "Deployment", "metadata": {"generation": generation}, "spec": {"replicas": 2},
                   "status": {"observedGeneration": 1, "updatedReplicas": updated, "replicas": replicas, "availableReplicas": available}})
        };
        let judged = |object: Value| rolled_out(&object).expect("has a rollout");
        assert_eq!(judged(deployment(1, 2, 2, 2)), Verdict::Met);
        assert_eq!(judged(deployment(1, 1, 2, 2)), not_yet("1 of 2 pods updated"));
        assert_eq!(judged(deployment(1, 2, 3, 2)), not_yet("1 old pods to end"));
        assert_eq!(judged(deployment(1, 2, 2, 0)), not_yet("0 of 2 pods available"));
        assert!(matches!(judged(deployment(2, 2, 2, 2)), Verdict::NotYet(_)));
        assert!(matches!(judged(json!({"kind": "DaemonSet"})), Verdict::NotYet(_)));
        assert_eq!(rolled_out(&json!({"kind": "Job"})), None);
    }
}
