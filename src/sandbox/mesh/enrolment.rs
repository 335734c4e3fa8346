//! Istio's CNI agents: the annotation of pods that ztunnel captures.

use serde_json::json;

use super::presence;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::controllers::kinds::PODS;
use crate::sandbox::controllers::object;

const ANNOTATION: &str = "ambient.istio.io/redirection";

/// The CNI agents of all nodes.
pub(super) struct Enrolment;

impl Controller for Enrolment {
    fn name(&self) -> &'static str {
        "istio-cni"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let pods = |namespace: &str| {
            api.list(&PODS, namespace).iter().map(|pod| object::key(pod)).collect::<Vec<_>>()
        };
        let object = &change.object;
        match change.resource.plural.as_str() {
            "pods" => {
                let agent = object::label(object, "app") == Some("ztunnel")
                    || object::label(object, "k8s-app") == Some("istio-cni-node");
                if agent { pods("") } else { vec![object::key(object)] }
            }
            "namespaces" => pods(object::name(object)),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(pod) = api.get(&PODS, namespace, name) else { return Ok(Requeue::OnChange) };
        let Some(node) = pod["spec"]["nodeName"].as_str() else { return Ok(Requeue::OnChange) };
        // Only a running agent changes anything: with it gone, captured pods stay captured.
        if !presence::cni(api, node)
            || pod["status"]["podIP"].is_null()
            || object::is_deleting(&pod)
        {
            return Ok(Requeue::OnChange);
        }
        let wanted = presence::is_ambient(api, &pod);
        if wanted == presence::is_captured(&pod) {
            return Ok(Requeue::OnChange);
        }
        if wanted && presence::ztunnel(api, node).is_none() {
            return Ok(Requeue::OnChange);
        }
        let value = if wanted { json!("enabled") } else { json!(null) };
        let patch = json!({ "metadata": { "annotations": { ANNOTATION: value } } });
        api.merge_patch("istio-cni", &PODS, namespace, name, "", patch)?;
        Ok(Requeue::OnChange)
    }
}
