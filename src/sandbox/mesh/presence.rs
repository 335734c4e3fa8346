//! Which parts of Istio and MetalLB run, judged by their ready pods.

use std::sync::Arc;

use serde_json::Value;

use crate::sandbox::api::{Api, Changed};
use crate::sandbox::controllers::kinds::{CRDS, NAMESPACES, PODS};
use crate::sandbox::controllers::object;

/// A ready pod of a namespace-independent label.
fn ready_pods(api: &dyn Api, label: &str, value: &str) -> Vec<Arc<Value>> {
    api.list(&PODS, "")
        .into_iter()
        .filter(|pod| {
            object::label(pod, label) == Some(value)
                && object::is_true(pod, "Ready")
                && !object::is_deleting(pod)
        })
        .collect()
}

/// A ready istiod; its namespace is Istio's root namespace.
pub fn istiod(api: &dyn Api) -> Option<Arc<Value>> {
    ready_pods(api, "app", "istiod").into_iter().next()
}

/// Whether an object is this istiod's: its `istio.io/rev`, or else its namespace's, names no other.
pub fn is_mine(api: &dyn Api, istiod: &Value, object: &Value) -> bool {
    const REVISION: &str = "istio.io/rev";
    let own = object::label(istiod, REVISION).unwrap_or("default");
    let of_namespace = || api.get(&NAMESPACES, "", object::namespace(object));
    match object::label(object, REVISION) {
        Some(wanted) => wanted == own,
        None => of_namespace()
            .is_none_or(|found| object::label(&found, REVISION).is_none_or(|wanted| wanted == own)),
    }
}

/// Istio's root namespace, if an istiod is ready.
pub fn root_namespace(api: &dyn Api) -> Option<String> {
    istiod(api).map(|pod| object::namespace(&pod).to_owned())
}

/// Whether a change may have started or stopped istiod.
pub fn concerns_istiod(change: &Changed) -> bool {
    change.resource.plural == "pods" && object::label(&change.object, "app") == Some("istiod")
}

/// The ready ztunnel of a node.
pub fn ztunnel(api: &dyn Api, node: &str) -> Option<Arc<Value>> {
    ready_pods(api, "app", "ztunnel").into_iter().find(|pod| pod["spec"]["nodeName"] == node)
}

/// Whether Istio's CNI agent is ready on a node.
pub fn cni(api: &dyn Api, node: &str) -> bool {
    ready_pods(api, "k8s-app", "istio-cni-node").iter().any(|pod| pod["spec"]["nodeName"] == node)
}

/// A ready MetalLB controller.
pub fn metal_lb(api: &dyn Api) -> Option<Arc<Value>> {
    let of_manifest = |pod: &Arc<Value>| {
        object::label(pod, "component") == Some("controller")
            || object::label(pod, "app.kubernetes.io/component") == Some("controller")
    };
    let mut pods = ready_pods(api, "app", "metallb");
    pods.extend(ready_pods(api, "app.kubernetes.io/name", "metallb"));
    pods.into_iter().find(of_manifest)
}

/// Whether labels ask for ambient mode: the pod's own mode wins over its namespace's.
pub fn is_ambient(api: &dyn Api, pod: &Value) -> bool {
    const MODE: &str = "istio.io/dataplane-mode";
    if pod["spec"]["hostNetwork"] == true {
        return false;
    }
    let sidecar = object::items(&pod["spec"], "containers")
        .iter()
        .chain(object::items(&pod["spec"], "initContainers"))
        .any(|container| container["name"] == "istio-proxy")
        && object::annotation(pod, "sidecar.istio.io/status").is_some();
    if sidecar {
        return false;
    }
    match object::label(pod, MODE) {
        Some(mode) => mode == "ambient",
        None => api
            .get(&NAMESPACES, "", object::namespace(pod))
            .is_some_and(|namespace| object::label(&namespace, MODE) == Some("ambient")),
    }
}

/// Whether a pod is captured by ztunnel, as its annotation says.
pub fn is_captured(pod: &Value) -> bool {
    object::annotation(pod, "ambient.istio.io/redirection") == Some("enabled")
}

/// What Istio's CNI plugin answers when it cannot set up a pod.
pub fn sandbox_obstacle(api: &dyn Api, pod: &Value, node: &str) -> Option<String> {
    let blocked = is_ambient(api, pod) && cni(api, node) && ztunnel(api, node).is_none();
    blocked.then(|| {
        "istio-cni cmdAdd failed to contact node Istio CNI agent: unable to push CNI event (status code 500): no \
         ztunnel connection"
            .to_owned()
    })
}

/// istiod ignores Gateway API CRDs whose bundle is older than what it was built for.
pub fn reads(api: &dyn Api, plural: &str) -> bool {
    let least = match plural {
        "grpcroutes" => (1, 1),
        "backendtlspolicies" => (1, 4),
        "tlsroutes" => (1, 5),
        "listenersets" => (1, 5),
        _ => (0, 0),
    };
    let Some(crd) = api.get(&CRDS, "", &format!("{plural}.gateway.networking.k8s.io")) else {
        return false;
    };
    let Some(bundle) = object::annotation(&crd, "gateway.networking.k8s.io/bundle-version") else {
        return false;
    };
    let mut parts = bundle.trim_start_matches('v').split(['.', '-']);
    let mut number = || parts.next().and_then(|part| part.parse::<u32>().ok()).unwrap_or(0);
    (number(), number()) >= least
}
