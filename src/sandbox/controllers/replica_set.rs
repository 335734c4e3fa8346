//! ReplicaSet → pods.

use serde_json::{Value, json};

use super::kinds::REPLICA_SETS;
use super::{MANAGER, object, pod_set};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

const COMPONENT: &str = "replicaset-controller";

/// The replica set controller.
pub(super) struct ReplicaSets;

impl Controller for ReplicaSets {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "replicasets" => vec![object::key(&change.object)],
            "pods" => object::controller_key(&change.object, "ReplicaSet").into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(set) = api.get(&REPLICA_SETS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let pods = pod_set::owned_pods(api, &set);
        let mut active: Vec<_> =
            pods.iter().filter(|pod| pod_set::is_active(pod)).cloned().collect();
        let managed =
            if object::is_deleting(&set) { Ok(()) } else { manage(api, &set, &mut active) };
        // The pods just made or deleted count only when their own changes arrive.
        let active: Vec<_> = pods.iter().filter(|pod| pod_set::is_active(pod)).collect();
        let min_ready = set["spec"]["minReadySeconds"].as_i64().unwrap_or(0);
        let labels = &set["spec"]["template"]["metadata"]["labels"];
        let fully_labelled =
            active.iter().filter(|pod| object::selects_map(labels, &pod["metadata"]["labels"]));
        let waits: Vec<_> =
            active.iter().filter_map(|pod| pod_set::available_in(api, pod, min_ready)).collect();
        let available = waits.iter().filter(|wait| wait.is_zero()).count();
        let mut status = json!({ "replicas": active.len() });
        let fields = [
            ("fullyLabeledReplicas", fully_labelled.count()),
            ("readyReplicas", waits.len()),
            ("availableReplicas", available),
        ];
        for (field, count) in fields.into_iter().filter(|(_, count)| *count > 0) {
            status[field] = json!(count);
        }
        status["terminatingReplicas"] =
            json!(pods.iter().filter(|pod| object::is_deleting(pod)).count());
        status["observedGeneration"] = json!(object::generation(&set));
        if let Err(refused) = &managed {
            status["conditions"] = json!([{
                "lastTransitionTime": object::condition(&set, "ReplicaFailure")
                    .map_or_else(|| json!(object::now(api)), |old| old["lastTransitionTime"].clone()),
                "message": refused.message,
                "reason": "FailedCreate",
                "status": "True",
                "type": "ReplicaFailure",
            }]);
        }
        object::put_status(api, MANAGER, &set, status)?;
        managed?;
        let next = waits.into_iter().filter(|wait| !wait.is_zero()).min();
        Ok(next.map_or(Requeue::OnChange, Requeue::After))
    }
}

fn manage(api: &dyn Api, set: &Value, active: &mut [std::sync::Arc<Value>]) -> Result<(), Status> {
    let wanted = set["spec"]["replicas"].as_u64().unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
    if active.len() > wanted {
        pod_set::sort_for_deletion(active);
        for pod in &active[..active.len() - wanted] {
            pod_set::delete_pod(api, COMPONENT, set, pod)?;
        }
    }
    for _ in active.len()..wanted {
        let pod = pod_set::pod_of(set, &set["spec"]["template"], &[]);
        pod_set::create_pod(api, COMPONENT, set, pod)?;
    }
    Ok(())
}
