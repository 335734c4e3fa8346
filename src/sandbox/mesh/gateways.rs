//! istiod's gateway controller: statuses of Gateways and ListenerSets, and the objects that it makes for them.

use std::time::Duration;

use super::attach::Class;
use super::{gateway_objects, gateway_status, presence};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::controllers::kinds::{GATEWAYS, LISTENER_SETS};
use crate::sandbox::controllers::object;

/// istiod's process name is the manager of the statuses that it writes.
pub(super) const MANAGER: &str = "pilot-discovery";

/// The gateway controller.
pub(super) struct Gateways;

impl Controller for Gateways {
    fn name(&self) -> &'static str {
        "istio-gateway-controller"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let object = &change.object;
        let all = || api.list(&GATEWAYS, "").iter().map(|found| object::key(found)).collect();
        let in_namespace = |namespace: &str| {
            api.list(&GATEWAYS, namespace).iter().map(|found| object::key(found)).collect()
        };
        match (change.resource.group.as_str(), change.resource.plural.as_str()) {
            ("gateway.networking.k8s.io", "gateways") => vec![object::key(object)],
            (group, _) if gateway_status::is_gateway_api(group) => all(),
            ("", "namespaces" | "secrets") => all(),
            ("", "services") => in_namespace(object::namespace(object)),
            ("discovery.k8s.io", "endpointslices")
                if object::label(object, "gateway.networking.k8s.io/gateway-name").is_some() =>
            {
                in_namespace(object::namespace(object))
            }
            ("apps", "deployments")
                if object::label(object, "gateway.istio.io/managed").is_some() =>
            {
                in_namespace(object::namespace(object))
            }
            ("", "configmaps") => in_namespace(object::namespace(object)),
            _ if presence::concerns_istiod(change) => all(),
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(istiod) = presence::istiod(api) else { return Ok(Requeue::OnChange) };
        if !presence::reads(api, "gateways") {
            return Ok(Requeue::OnChange);
        }
        let Some(gateway) = api.get(&GATEWAYS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        if object::is_deleting(&gateway) || !presence::is_mine(api, &istiod, &gateway) {
            return Ok(Requeue::OnChange);
        }
        let Some(class) = Class::of(api, &gateway) else { return Ok(Requeue::OnChange) };
        let status = gateway_status::gateway(api, &gateway, class);
        object::put_status(api, MANAGER, &gateway, status)?;
        if presence::reads(api, "listenersets") {
            for set in api.list(&LISTENER_SETS, "") {
                let parent = &set["spec"]["parentRef"];
                let parent_namespace =
                    parent["namespace"].as_str().unwrap_or(object::namespace(&set));
                let is_on_it = parent["name"] == name && parent_namespace == namespace;
                if is_on_it && presence::is_mine(api, &istiod, &set) && !object::is_deleting(&set) {
                    let status = gateway_status::listener_set(api, &set, &gateway, class);
                    object::put_status(api, MANAGER, &set, status)?;
                }
            }
        }
        if class != Class::Remote && gateway_status::is_managed(&gateway) {
            gateway_objects::apply(api, &gateway, class, object::namespace(&istiod))?;
        }
        Ok(Requeue::OnChange)
    }
}

/// How long istiod's debounce holds back what it tells proxies.
pub(super) const PUSH_DELAY: Duration = Duration::from_millis(100);
