//! What istiod makes for a Gateway: ServiceAccount, Deployment, Service, and on request autoscaler and budget.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::attach::{self, Class};
use super::gateway_status::{SERVICE_TYPE, managed_name};
use super::proxy_template::ProxyValues;
use crate::sandbox::api::{Api, Status};
use crate::sandbox::controllers::kinds::CONFIG_MAPS;
use crate::sandbox::controllers::object;
use crate::sandbox::{builtin, patch};

/// The field manager of managed objects, for waypoints too.
const MANAGER: &str = "istio.io/gateway-controller";

/// Annotations of a Gateway that mean the Gateway alone.
const OWN_ANNOTATIONS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "gateway.istio.io/name-override",
    "gateway.istio.io/service-account",
    "gateway.istio.io/controller-version",
];

/// The label that enrols pods.
const DATAPLANE_MODE: &str = "istio.io/dataplane-mode";
/// The kinds that parameters may change, by their keys. The last two are made only when parameters ask for them.
const PARAMETERS: &[&str] =
    &["serviceAccount", "deployment", "service", "horizontalPodAutoscaler", "podDisruptionBudget"];
const ON_REQUEST: &[&str] = &["horizontalPodAutoscaler", "podDisruptionBudget"];
/// The label that says that istiod made an object.
const MANAGED: &str = "gateway.istio.io/managed";

/// Applies the managed objects of a Gateway: none of them if its parameters cannot be read.
pub(super) fn apply(
    api: &dyn Api,
    gateway: &Value,
    class: Class,
    root_namespace: &str,
) -> Result<(), Status> {
    let made = Made::new(gateway, class);
    let values = ProxyValues::read(api, root_namespace);
    let Some(overlays) = overlays(api, gateway, root_namespace) else { return Ok(()) };
    let objects = [
        made.service_account(),
        made.deployment(&values),
        made.service(api),
        made.autoscaler(),
        made.budget(),
    ];
    let mut rendered = Vec::new();
    for (object, key) in objects.into_iter().zip(PARAMETERS) {
        let of_kind: Vec<&Value> =
            overlays.iter().filter_map(|overlay| overlay.get(*key)).collect();
        if of_kind.is_empty() && ON_REQUEST.contains(key) {
            continue;
        }
        let Some(object) = overlaid(object, &of_kind) else { return Ok(()) };
        rendered.push(object);
    }
    for mut object in rendered {
        if object["metadata"]["labels"].is_object() {
            object["metadata"]["labels"][MANAGED] = json!(made.managed_by());
        }
        if is_ours(api, &object) {
            api.apply(MANAGER, object)?;
        }
    }
    Ok(())
}

/// An object of the same name that is not istiod's stays as it is.
fn is_ours(api: &dyn Api, object: &Value) -> bool {
    let text = |field: &str| object[field].as_str().unwrap_or_default();
    let Some(resource) = api.resource_of(text("apiVersion"), text("kind")) else { return true };
    api.get(&resource, object::namespace(object), object::name(object))
        .is_none_or(|found| object::label(&found, MANAGED).is_some())
}

/// The documents that change what is made, by key: those of the class, then those of `infrastructure.parametersRef`. `None`
/// if they cannot be used.
fn overlays(
    api: &dyn Api,
    gateway: &Value,
    root_namespace: &str,
) -> Option<Vec<Map<String, Value>>> {
    let class = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
    let of_class = api
        .list(&CONFIG_MAPS, root_namespace)
        .into_iter()
        .filter(|found| object::label(found, "gateway.istio.io/defaults-for-class") == Some(class))
        .min_by_key(|found| found["metadata"]["creationTimestamp"].to_string());
    let mut maps: Vec<_> = of_class.into_iter().collect();
    let reference = &gateway["spec"]["infrastructure"]["parametersRef"];
    if reference.is_object() {
        if reference["kind"] != "ConfigMap" || reference["group"] != "" {
            return None;
        }
        let name = reference["name"].as_str().unwrap_or_default();
        maps.push(api.get(&CONFIG_MAPS, object::namespace(gateway), name)?);
    }
    let mut found = Vec::new();
    for map in maps {
        let mut overlay = Map::new();
        for (key, text) in map["data"].as_object().into_iter().flatten() {
            if !PARAMETERS.contains(&key.as_str()) {
                return None;
            }
            let value = crate::base::yaml::parse(text.as_str().unwrap_or_default()).ok()?;
            overlay.insert(key.clone(), value);
        }
        found.push(overlay);
    }
    Some(found)
}

/// An object after strategic merges; `None` if they do not fit, or change whose or which object it is.
fn overlaid(object: Value, overlays: &[&Value]) -> Option<Value> {
    let (group, version) =
        object["apiVersion"].as_str().unwrap_or_default().split_once('/').unwrap_or(("", "v1"));
    let kind = object["kind"].as_str().unwrap_or_default();
    let schema = builtin::schema(group, version, kind)?;
    let mut merged = object.clone();
    for overlay in overlays {
        let empty = json!({});
        let overlay = if overlay.is_null() { &empty } else { *overlay };
        merged = patch::strategic_merge_patch(&merged, overlay, &schema).ok()?;
    }
    let same = ["name", "generateName", "namespace", "uid", "ownerReferences", "finalizers"]
        .iter()
        .all(|field| object["metadata"][*field] == merged["metadata"][*field]);
    same.then_some(merged)
}

struct Made<'a> {
    gateway: &'a Value,
    class: Class,
    name: String,
    service_account: String,
    labels: Map<String, Value>,
    annotations: Map<String, Value>,
}

impl<'a> Made<'a> {
    fn new(gateway: &'a Value, class: Class) -> Self {
        let name = managed_name(gateway, class);
        let own = object::annotation(gateway, "gateway.istio.io/service-account");
        let service_account = own.unwrap_or(&name).to_owned();
        // What `infrastructure` does not say, the Gateway's own labels and annotations do.
        let handed_down = |field: &str| match gateway["spec"]["infrastructure"][field].as_object() {
            Some(own) => own
                .iter()
                .filter(|(key, _)| !key.starts_with("gateway.networking.k8s.io/"))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            None => gateway["metadata"][field].as_object().cloned().unwrap_or_default(),
        };
        let mut labels = handed_down("labels");
        let class_name = gateway["spec"]["gatewayClassName"].as_str().unwrap_or_default();
        let is_tunnel = class_name.contains("waypoint") || class_name.contains("east-west");
        let has_mode =
            labels.contains_key(DATAPLANE_MODE) || object::label(gateway, DATAPLANE_MODE).is_some();
        if !is_tunnel && !has_mode {
            labels.insert(DATAPLANE_MODE.into(), json!("none"));
        }
        let mut annotations = handed_down("annotations");
        annotations.retain(|key, _| !OWN_ANNOTATIONS.contains(&key.as_str()));
        Self { gateway, class, name, service_account, labels, annotations }
    }

    fn managed_by(&self) -> &'static str {
        match self.class {
            Class::Waypoint => "istio.io-mesh-controller",
            Class::Gateway | Class::Remote => "istio.io-gateway-controller",
        }
    }

    fn labels(&self) -> Map<String, Value> {
        let mut labels = self.labels.clone();
        labels.insert("gateway.istio.io/managed".into(), json!(self.managed_by()));
        let class = self.gateway["spec"]["gatewayClassName"].clone();
        labels.insert("gateway.networking.k8s.io/gateway-class-name".into(), class);
        labels.insert(
            "gateway.networking.k8s.io/gateway-name".into(),
            json!(object::name(self.gateway)),
        );
        labels
    }

    fn metadata(&self, name: &str) -> Value {
        let mut metadata = json!({
            "name": name,
            "namespace": object::namespace(self.gateway),
            "labels": self.labels(),
            "ownerReferences": [{
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": "Gateway",
                "name": object::name(self.gateway),
                "uid": object::uid(self.gateway),
            }],
        });
        if !self.annotations.is_empty() {
            metadata["annotations"] = Value::Object(self.annotations.clone());
        }
        metadata
    }

    fn selector(&self) -> Value {
        json!({ "gateway.networking.k8s.io/gateway-name": object::name(self.gateway) })
    }

    fn service_account(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": self.metadata(&self.service_account),
        })
    }

    fn deployment(&self, values: &ProxyValues) -> Value {
        let mut labels = Map::new();
        labels.insert("sidecar.istio.io/inject".into(), json!("false"));
        labels.insert("service.istio.io/canonical-name".into(), json!(self.name));
        labels.insert("service.istio.io/canonical-revision".into(), json!("latest"));
        if self.class == Class::Waypoint {
            labels.insert("istio.io/dataplane-mode".into(), json!("none"));
        }
        labels.extend(self.labels());
        let mut annotations = self.annotations.clone();
        let revision = object::label(self.gateway, "istio.io/rev").unwrap_or("default");
        for (key, value) in [
            ("istio.io/rev", revision),
            ("prometheus.io/path", "/stats/prometheus"),
            ("prometheus.io/port", "15020"),
            ("prometheus.io/scrape", "true"),
        ] {
            annotations.insert(key.into(), json!(value));
        }
        let namespace = object::namespace(self.gateway);
        json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": self.metadata(&self.name),
            "spec": {
                "selector": { "matchLabels": self.selector() },
                "template": {
                    "metadata": { "annotations": annotations, "labels": labels },
                    "spec": values.pod_spec(self.class, &self.name, namespace, &self.service_account),
                },
            },
        })
    }

    fn service(&self, api: &dyn Api) -> Value {
        let mut metadata = self.metadata(&self.name);
        if self.class == Class::Waypoint {
            const DISTRIBUTION: &str = "networking.istio.io/traffic-distribution";
            let annotations = &mut metadata["annotations"];
            if annotations.get(DISTRIBUTION).is_none() {
                annotations[DISTRIBUTION] = json!("PreferClose");
            }
        }
        let kind = object::annotation(self.gateway, SERVICE_TYPE)
            .unwrap_or(if self.class == Class::Waypoint { "ClusterIP" } else { "LoadBalancer" });
        let mut spec = json!({
            "ipFamilyPolicy": "PreferDualStack",
            "ports": self.ports(api),
            "selector": self.selector(),
            "type": kind,
        });
        let address = &self.gateway["spec"]["addresses"][0]["value"];
        if kind == "LoadBalancer" && address.is_string() {
            spec["loadBalancerIP"] = address.clone();
        }
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec })
    }

    fn ports(&self, api: &dyn Api) -> Vec<Value> {
        let mut ports = vec![json!({
            "appProtocol": "tcp",
            "name": "status-port",
            "port": 15021,
            "protocol": "TCP",
        })];
        let mut seen = BTreeSet::new();
        let mut names = BTreeSet::from(["status-port".to_owned()]);
        for listener in attach::listeners(api, self.gateway, self.class) {
            if seen.insert(listener.port) {
                let name = port_name(&listener.name, listener.port, &names);
                names.insert(name.clone());
                ports.push(json!({
                    "appProtocol": listener.protocol.to_lowercase(),
                    "name": name,
                    "port": listener.port,
                    "protocol": "TCP",
                }));
            }
        }
        ports
    }

    fn autoscaler(&self) -> Value {
        json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": self.metadata(&self.name),
            "spec": {
                "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": self.name },
                "maxReplicas": 1,
            },
        })
    }

    fn budget(&self) -> Value {
        json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": self.metadata(&self.name),
            "spec": { "selector": { "matchLabels": self.selector() } },
        })
    }
}

/// A listener's name as a port's: without dots, not too long, and not one that another listener's port has.
fn port_name(listener: &str, port: u16, taken: &BTreeSet<String>) -> String {
    const MOST: usize = 63;
    let cut = |text: &str, length: usize| text.chars().take(length).collect::<String>();
    let name = cut(&listener.replace('.', "-"), MOST);
    let mut candidate = name.clone();
    let mut suffix = format!("-{port}");
    while taken.contains(&candidate) {
        candidate = format!("{}{suffix}", cut(&name, MOST.saturating_sub(suffix.len())));
        suffix.push('x');
    }
    candidate
}
