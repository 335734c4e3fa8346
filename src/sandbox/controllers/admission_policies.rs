//! The status of ValidatingAdmissionPolicies: their expressions were looked at.

use serde_json::json;

use super::kinds::ADMISSION_POLICIES;
use super::object;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

/// The controller that checks the types of expressions. Here they are checked where the policy is admitted, so there are
/// never warnings left to report.
pub(super) struct AdmissionPolicies;

impl Controller for AdmissionPolicies {
    fn name(&self) -> &'static str {
        "validatingadmissionpolicy-status"
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        if change.resource.plural != ADMISSION_POLICIES.plural {
            return Vec::new();
        }
        vec![object::key(&change.object)]
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, name: &str) -> Result<Requeue, Status> {
        let Some(policy) = api.get(&ADMISSION_POLICIES, "", name) else {
            return Ok(Requeue::OnChange);
        };
        let generation = object::generation(&policy);
        if policy["status"]["observedGeneration"] == generation {
            return Ok(Requeue::OnChange);
        }
        let status = json!({ "observedGeneration": generation, "typeChecking": {} });
        let seen = json!({
            "apiVersion": policy["apiVersion"],
            "kind": policy["kind"],
            "metadata": { "name": name },
            "status": status,
        });
        api.apply_status(self.name(), seen)?;
        Ok(Requeue::OnChange)
    }
}
