//! What istiod makes for a Gateway: ServiceAccount, Deployment, Service, and on request autoscaler and budget.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::attach::{self, Class};
use super::gateway_status::managed_name;
use super::proxy_template::ProxyValues;
use crate::sandbox::api::{Api, Status};
use crate::sandbox::controllers::kinds::CONFIG_MAPS;
use crate::sandbox::controllers::object;

/// The field manager of managed objects, for waypoints too.
const MANAGER: &str = "istio.io/gateway-controller";

/// Annotations of a Gateway that mean the Gateway alone.
const OWN_ANNOTATIONS: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "gateway.istio.io/name-override",
    "gateway.istio.io/service-account",
    "gateway.istio.io/controller-version",
];

/// Applies the managed objects of a Gateway.
pub(super) fn apply(
    api: &dyn Api,
    gateway: &Value,
    class: Class,
    root_namespace: &str,
) -> Result<(), Status> {
    let made = Made::new(gateway, class);
    let values = ProxyValues::read(api, root_namespace);
    let overlay = overlay(api, gateway);
    let objects = [
        (made.service_account(), "serviceAccount"),
        (made.deployment(&values), "deployment"),
        (made.service(api), "service"),
    ];
    for (mut object, key) in objects {
        merge(&mut object, &overlay[key]);
        api.apply(MANAGER, object)?;
    }
    for (object, key) in
        [(made.autoscaler(), "horizontalPodAutoscaler"), (made.budget(), "podDisruptionBudget")]
    {
        if overlay[key].is_object() {
            let mut object = object;
            merge(&mut object, &overlay[key]);
            api.apply(MANAGER, object)?;
        }
    }
    Ok(())
}

/// The YAML documents of `infrastructure.parametersRef`, by key.
fn overlay(api: &dyn Api, gateway: &Value) -> Value {
    let reference = &gateway["spec"]["infrastructure"]["parametersRef"];
    let Some(name) = reference["name"].as_str() else { return json!({}) };
    let Some(found) = api.get(&CONFIG_MAPS, object::namespace(gateway), name) else {
        return json!({});
    };
    let mut parsed = Map::new();
    for (key, text) in found["data"].as_object().into_iter().flatten() {
        if let Ok(value) = crate::base::yaml::parse(text.as_str().unwrap_or_default()) {
            parsed.insert(key.clone(), value);
        }
    }
    Value::Object(parsed)
}

/// A strategic merge as far as overlays need it: maps merge, lists of named things merge by name, others are replaced.
fn merge(target: &mut Value, overlay: &Value) {
    match (target, overlay) {
        (Value::Object(target), Value::Object(overlay)) => {
            for (key, value) in overlay {
                if value.is_null() {
                    target.remove(key);
                } else {
                    merge(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (Value::Array(target), Value::Array(overlay))
            if overlay.iter().all(|item| item["name"].is_string()) =>
        {
            for item in overlay {
                match target.iter_mut().find(|found| found["name"] == item["name"]) {
                    Some(found) => merge(found, item),
                    None => target.push(item.clone()),
                }
            }
        }
        (_, Value::Null) => {}
        (target, overlay) => *target = overlay.clone(),
    }
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
        let infrastructure = &gateway["spec"]["infrastructure"];
        // Without `infrastructure` the Gateway's own labels and annotations are handed down.
        let source = if infrastructure.is_null() { &gateway["metadata"] } else { infrastructure };
        let map = |field: &str| source[field].as_object().cloned().unwrap_or_default();
        let mut labels = map("labels");
        if class == Class::Gateway && !labels.contains_key("istio.io/dataplane-mode") {
            labels.insert("istio.io/dataplane-mode".into(), json!("none"));
        }
        let mut annotations = map("annotations");
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
            metadata["annotations"]["networking.istio.io/traffic-distribution"] =
                json!("PreferClose");
        }
        let kind = object::annotation(self.gateway, "networking.istio.io/service-type")
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
        for listener in attach::listeners(api, self.gateway, self.class) {
            if seen.insert(listener.port) {
                ports.push(json!({
                    "appProtocol": listener.protocol.to_lowercase(),
                    "name": listener.name.replace('.', "-"),
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
