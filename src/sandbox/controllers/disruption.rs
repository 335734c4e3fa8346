//! Status of PodDisruptionBudgets and HorizontalPodAutoscalers.
//!
//! The sandbox measures no load: an autoscaler keeps the replicas within its bounds and says that metrics are missing,
//! as it does on a cluster without a metrics server.

use serde_json::json;

use super::kinds::{AUTOSCALERS, DISRUPTION_BUDGETS, PODS};
use super::{MANAGER, object, pod_set};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

/// The disruption controller.
pub(super) struct DisruptionBudgets;

impl Controller for DisruptionBudgets {
    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "poddisruptionbudgets" => vec![object::key(&change.object)],
            "pods" => {
                let labels = &change.object["metadata"]["labels"];
                api.list(&DISRUPTION_BUDGETS, object::namespace(&change.object))
                    .iter()
                    .filter(|budget| object::selects(&budget["spec"]["selector"], labels))
                    .map(|budget| object::key(budget))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(budget) = api.get(&DISRUPTION_BUDGETS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let pods: Vec<_> = api
            .list(&PODS, namespace)
            .into_iter()
            .filter(|pod| {
                pod_set::is_active(pod)
                    && object::selects(&budget["spec"]["selector"], &pod["metadata"]["labels"])
            })
            .collect();
        let expected = i64::try_from(pods.len()).unwrap_or(i64::MAX);
        let healthy = pods.iter().filter(|pod| pod_set::is_ready(pod)).count();
        let healthy = i64::try_from(healthy).unwrap_or(i64::MAX);
        let desired = if budget["spec"]["minAvailable"].is_null() {
            let lost = object::scaled(&budget["spec"]["maxUnavailable"], expected, true, "0%");
            (expected - lost).max(0)
        } else {
            object::scaled(&budget["spec"]["minAvailable"], expected, true, "0%")
        };
        let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
        let condition = if allowed > 0 {
            object::Condition::new("DisruptionAllowed", true, "SufficientPods", "")
        } else {
            object::Condition::new("DisruptionAllowed", false, "InsufficientPods", "")
        };
        let generation = object::generation(&budget);
        let mut conditions = object::items(&budget["status"], "conditions").to_vec();
        object::set_condition(&mut conditions, &condition, Some(generation), &object::now(api));
        let status = json!({
            "conditions": conditions,
            "currentHealthy": healthy,
            "desiredHealthy": desired,
            "disruptionsAllowed": allowed,
            "expectedPods": expected,
            "observedGeneration": generation,
        });
        object::put_status(api, MANAGER, &budget, status)?;
        Ok(Requeue::OnChange)
    }
}

/// The horizontal pod autoscaler, without metrics.
pub(super) struct Autoscalers;

impl Controller for Autoscalers {
    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "horizontalpodautoscalers" => vec![object::key(&change.object)],
            "deployments" => api
                .list(&AUTOSCALERS, object::namespace(&change.object))
                .iter()
                .filter(|scaler| {
                    scaler["spec"]["scaleTargetRef"]["name"] == change.object["metadata"]["name"]
                })
                .map(|scaler| object::key(scaler))
                .collect(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(scaler) = api.get(&AUTOSCALERS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let reference = &scaler["spec"]["scaleTargetRef"];
        let target = reference["apiVersion"]
            .as_str()
            .zip(reference["kind"].as_str())
            .and_then(|(version, kind)| api.resource_of(version, kind))
            .zip(reference["name"].as_str());
        let found =
            target.as_ref().and_then(|(resource, target)| api.get(resource, namespace, target));
        let mut conditions = object::items(&scaler["status"], "conditions").to_vec();
        let now = object::now(api);
        let mut replicas = 0;
        if let (Some((resource, target)), Some(found)) = (&target, &found) {
            replicas = found["spec"]["replicas"].as_i64().unwrap_or(1);
            let least = scaler["spec"]["minReplicas"].as_i64().unwrap_or(1);
            let most = scaler["spec"]["maxReplicas"].as_i64().unwrap_or(least);
            let wanted = if replicas == 0 { 0 } else { replicas.clamp(least, most.max(least)) };
            if wanted != replicas {
                let patch = json!({ "spec": { "replicas": wanted } });
                api.merge_patch(MANAGER, resource, namespace, target, "", patch)?;
                replicas = wanted;
            }
            let able = object::Condition::new(
                "AbleToScale",
                true,
                "SucceededGetScale",
                "the HPA controller was able to get the target's current scale",
            );
            object::set_condition(&mut conditions, &able, None, &now);
            let blind = object::Condition::new(
                "ScalingActive",
                false,
                "FailedGetResourceMetric",
                "the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics \
                 for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the \
                 requested resource (get pods.metrics.k8s.io)",
            );
            object::set_condition(&mut conditions, &blind, None, &now);
        } else {
            let message = format!(
                "the HPA controller was unable to get the target's current scale: {} \"{}\" not found",
                reference["kind"].as_str().unwrap_or_default().to_lowercase(),
                reference["name"].as_str().unwrap_or_default()
            );
            let lost = object::Condition::new("AbleToScale", false, "FailedGetScale", message);
            object::set_condition(&mut conditions, &lost, None, &now);
        }
        let status = json!({
            "conditions": conditions,
            "currentMetrics": [{ "type": "" }],
            "currentReplicas": replicas,
            "desiredReplicas": scaler["status"]["desiredReplicas"].as_i64().unwrap_or(0),
        });
        object::put_status(api, MANAGER, &scaler, status)?;
        Ok(Requeue::OnChange)
    }
}
