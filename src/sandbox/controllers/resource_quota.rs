//! The status of ResourceQuotas: what of them is used.

use serde_json::{Value, json};

use super::kinds::RESOURCE_QUOTAS;
use super::{MANAGER, object};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Resource, Status};
use crate::sandbox::quota;

/// The resource quota controller.
pub(super) struct ResourceQuotas;

impl Controller for ResourceQuotas {
    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let namespace = object::namespace(&change.object);
        if namespace.is_empty() {
            return Vec::new();
        }
        let (group, plural) = (change.resource.group.as_str(), change.resource.plural.as_str());
        let own = group.is_empty() && plural == "resourcequotas";
        api.list(&RESOURCE_QUOTAS, namespace)
            .iter()
            .filter(|quota| {
                let hard = quota["spec"]["hard"].as_object();
                own || hard.is_some_and(|hard| {
                    hard.keys().any(|key| quota::counted(key) == Some((group, plural)))
                })
            })
            .map(|quota| object::key(quota))
            .collect()
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(found) = api.get(&RESOURCE_QUOTAS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        let served = api.resources();
        let list = |group: &str, plural: &str| {
            let resource: Option<&Resource> = served
                .iter()
                .map(|(resource, _)| resource)
                .find(|resource| resource.group == group && resource.plural == plural);
            resource.map(|resource| api.list(resource, namespace)).unwrap_or_default()
        };
        let used: serde_json::Map<String, Value> = quota::used(&found, &list)
            .into_iter()
            .map(|(key, amount)| (key, amount.text().into()))
            .collect();
        let status = json!({ "hard": found["spec"]["hard"], "used": used });
        object::put_status(api, MANAGER, &found, status)?;
        Ok(Requeue::OnChange)
    }
}
