//! What a ready istiod writes by itself: GatewayClasses, its CA's ConfigMaps, its webhooks' caBundle.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::attach::Class;
use super::gateways::{MANAGER, PUSH_DELAY};
use super::presence;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::certificates::Authority;
use crate::sandbox::controllers::kinds::{
    CONFIG_MAPS, GATEWAY_CLASSES, MUTATING_WEBHOOKS, NAMESPACES, SECRETS, VALIDATING_WEBHOOKS,
};
use crate::sandbox::controllers::object::{self, Condition};

/// From readiness until istiod has seen its own webhook refuse an invalid object.
const WEBHOOK_DELAY: Duration = Duration::from_millis(500);
/// Namespaces that get no CA ConfigMaps.
const IGNORED: &[&str] = &["kube-public", "kube-node-lease", "local-path-storage"];

/// istiod's own start.
pub(super) struct ControlPlane {
    authority: Arc<Authority>,
}

impl ControlPlane {
    pub(super) fn new(authority: Arc<Authority>) -> Self {
        Self { authority }
    }
}

impl Controller for ControlPlane {
    fn name(&self) -> &'static str {
        MANAGER
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let name = object::name(&change.object);
        let concerns = match change.resource.plural.as_str() {
            "customresourcedefinitions" => name.ends_with(".gateway.networking.k8s.io"),
            "gatewayclasses" | "namespaces" => true,
            "validatingwebhookconfigurations" | "mutatingwebhookconfigurations" => {
                name.contains("istio")
            }
            "configmaps" => name.starts_with("istio-ca-"),
            _ => presence::concerns_istiod(change),
        };
        if concerns { vec![(String::new(), "istiod".to_owned())] } else { Vec::new() }
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, _: &str) -> Result<Requeue, Status> {
        let Some(istiod) = presence::istiod(api) else { return Ok(Requeue::OnChange) };
        let root = object::namespace(&istiod);
        let pair = self.authority.root().map_err(|error| Status {
            code: 500,
            reason: "InternalError".to_owned(),
            message: error.to_string(),
            details: Value::Null,
        })?;
        self.own_objects(api, &istiod, &pair.certificate, &pair.key)?;
        for namespace in api.list(&NAMESPACES, "") {
            let name = object::name(&namespace);
            if object::is_deleting(&namespace) || IGNORED.contains(&name) {
                continue;
            }
            for (map, key, text) in [
                ("istio-ca-root-cert", "root-cert.pem", pair.certificate.as_str()),
                ("istio-ca-crl", "ca-crl.pem", ""),
            ] {
                config_map(api, name, map, &json!({ key: text }))?;
            }
        }
        if presence::reads(api, "gatewayclasses") {
            for class in [Class::Gateway, Class::Remote, Class::Waypoint] {
                own_class(api, class)?;
            }
            for class in api.list(&GATEWAY_CLASSES, "") {
                if presence::is_mine(api, &istiod, &class) {
                    accept_class(api, &class)?;
                }
            }
        }
        webhooks(api, root, &istiod, &STANDARD.encode(&pair.certificate))
    }
}

impl ControlPlane {
    fn own_objects(
        &self,
        api: &dyn Api,
        istiod: &Value,
        certificate: &str,
        key: &str,
    ) -> Result<(), Status> {
        let root = object::namespace(istiod);
        if api.get(&SECRETS, root, "istio-ca-secret").is_none() {
            api.create(
                MANAGER,
                json!({
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": { "name": "istio-ca-secret", "namespace": root },
                    "type": "istio.io/ca-root",
                    "data": {
                        "ca-cert.pem": STANDARD.encode(certificate),
                        "ca-key.pem": STANDARD.encode(key),
                        "cert-chain.pem": "",
                        "key.pem": "",
                        "root-cert.pem": "",
                    },
                }),
            )?;
        }
        for name in ["istio-leader", "istio-namespace-controller-election", "istio-ip-autoallocate"]
        {
            if api.get(&CONFIG_MAPS, root, name).is_some() {
                continue;
            }
            let now = object::now(api);
            // A text in the order of the Go type's fields.
            let record = format!(
                "{{\"holderIdentity\":\"{}\",\"holderKey\":\"default\",\"leaseDurationSeconds\":30,\"acquireTime\":\"{now}\",\"renewTime\":\"{now}\",\"leaderTransitions\":0}}",
                object::name(istiod)
            );
            let leader = json!({ "control-plane.alpha.kubernetes.io/leader": record });
            api.create(
                MANAGER,
                json!({
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": { "name": name, "namespace": root, "annotations": leader },
                }),
            )?;
        }
        Ok(())
    }
}

fn config_map(api: &dyn Api, namespace: &str, name: &str, data: &Value) -> Result<(), Status> {
    match api.get(&CONFIG_MAPS, namespace, name) {
        Some(found) if found["data"] == *data => Ok(()),
        Some(found) => {
            let mut found = (*found).clone();
            found["data"] = data.clone();
            api.update(MANAGER, found).map(drop)
        }
        None => {
            let map = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "labels": { "istio.io/config": "true" },
                },
                "data": data,
            });
            match api.create(MANAGER, map) {
                // The namespace went meanwhile.
                Err(status) if matches!(status.code, 403 | 404 | 409) => Ok(()),
                other => other.map(drop),
            }
        }
    }
}

/// Makes one of the three classes that istiod brings along.
fn own_class(api: &dyn Api, class: Class) -> Result<(), Status> {
    let (name, description) = match class {
        Class::Gateway => ("istio", "The default Istio GatewayClass"),
        Class::Remote => {
            ("istio-remote", "Remote to this cluster. Does not deploy or affect configuration.")
        }
        Class::Waypoint => ("istio-waypoint", "The default Istio waypoint GatewayClass"),
    };
    if api.get(&GATEWAY_CLASSES, "", name).is_some() {
        return Ok(());
    }
    let made = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": name },
        "spec": { "controllerName": class.controller(), "description": description },
    });
    api.create(MANAGER, made).map(drop)
}

/// Accepts a class, whoever made it, if it names one of istiod's controllers.
fn accept_class(api: &dyn Api, found: &Value) -> Result<(), Status> {
    let ours = [Class::Gateway, Class::Remote, Class::Waypoint]
        .iter()
        .any(|class| found["spec"]["controllerName"] == class.controller());
    if !ours || object::is_deleting(found) {
        return Ok(());
    }
    let mut conditions = object::items(&found["status"], "conditions").to_vec();
    let accepted = Condition::new("Accepted", true, "Accepted", "Handled by Istio controller");
    let generation = object::generation(found);
    object::set_condition(&mut conditions, &accepted, Some(generation), &object::now(api));
    let mut status = found["status"].clone();
    if !status.is_object() {
        status = json!({});
    }
    status["conditions"] = Value::Array(conditions);
    object::put_status(api, MANAGER, found, status)
}

/// First the caBundle, then, when the webhook was seen at work, the failure policy of the validating ones.
fn webhooks(api: &dyn Api, root: &str, istiod: &Value, bundle: &str) -> Result<Requeue, Status> {
    let ready = object::condition(istiod, "Ready")
        .map(|ready| object::age(api, &ready["lastTransitionTime"]))
        .unwrap_or_default();
    let mut next = Requeue::OnChange;
    for resource in [&*VALIDATING_WEBHOOKS, &*MUTATING_WEBHOOKS] {
        let validating = resource.plural.starts_with("validating");
        for found in api.list(resource, "") {
            let ours = |hook: &Value| {
                let service = &hook["clientConfig"]["service"];
                service["namespace"] == root
                    && service["name"].as_str().is_some_and(|name| name.starts_with("istiod"))
            };
            if !object::items(&found, "webhooks").iter().any(ours) {
                continue;
            }
            let mut wanted = (*found).clone();
            for hook in wanted["webhooks"].as_array_mut().into_iter().flatten() {
                if !ours(hook) {
                    continue;
                }
                // The policy follows in a write of its own, when the webhook was seen at work.
                let known = hook["clientConfig"]["caBundle"] == bundle;
                hook["clientConfig"]["caBundle"] = json!(bundle);
                if validating && hook["failurePolicy"] != "Fail" {
                    if known && ready >= WEBHOOK_DELAY.max(PUSH_DELAY) {
                        hook["failurePolicy"] = json!("Fail");
                    } else {
                        next = Requeue::After(WEBHOOK_DELAY);
                    }
                }
            }
            if wanted != *found {
                api.update(MANAGER, wanted)?;
            }
        }
    }
    Ok(next)
}
