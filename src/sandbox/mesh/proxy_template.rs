//! The pod of a gateway or waypoint, as the templates of istiod's chart render it.

use serde_json::{Value, json};

use super::attach::Class;
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::CONFIG_MAPS;

/// The values of the istiod chart that end up in proxies.
pub(super) struct ProxyValues {
    values: Value,
    proxy_config: Value,
    mesh: Value,
}

impl ProxyValues {
    /// Reads them from the ConfigMaps `istio-sidecar-injector` and `istio` beside istiod; absent ones read as defaults.
    pub(super) fn read(api: &dyn Api, root_namespace: &str) -> Self {
        let data = |name: &str, key: &str| {
            api.get(&CONFIG_MAPS, root_namespace, name)
                .and_then(|found| found["data"][key].as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        let values =
            serde_json::from_str(&data("istio-sidecar-injector", "values")).unwrap_or_default();
        let mesh = crate::base::yaml::parse(&data("istio", "mesh")).unwrap_or_default();
        let mut proxy_config = json!({});
        for field in ["proxyMetadata", "image"] {
            if !mesh["defaultConfig"][field].is_null() {
                proxy_config[field] = mesh["defaultConfig"][field].clone();
            }
        }
        Self { values, proxy_config, mesh }
    }

    fn global(&self, path: &[&str]) -> &Value {
        path.iter().fold(&self.values["global"], |value, key| &value[*key])
    }

    fn text<'a>(&'a self, path: &[&str], default: &'a str) -> &'a str {
        self.global(path).as_str().filter(|text| !text.is_empty()).unwrap_or(default)
    }

    fn image(&self) -> String {
        let image = self.text(&["proxy", "image"], "proxyv2");
        if image.contains('/') {
            return image.to_owned();
        }
        let hub = self.text(&["hub"], "registry.istio.io/release");
        let tag = match self.global(&["tag"]) {
            Value::String(tag) if !tag.is_empty() => tag.clone(),
            Value::Number(tag) => tag.to_string(),
            _ => "1.30.3".to_owned(),
        };
        let variant = self.mesh["defaultConfig"]["image"]["imageType"]
            .as_str()
            .unwrap_or_else(|| self.text(&["variant"], ""));
        if variant.is_empty() || tag.ends_with(variant) {
            format!("{hub}/{image}:{tag}")
        } else {
            format!("{hub}/{image}:{tag}-{variant}")
        }
    }

    fn trust_domain(&self) -> &str {
        self.mesh["trustDomain"].as_str().unwrap_or("cluster.local")
    }

    /// `PROXY_CONFIG`, with the field order of the message.
    fn proxy_config_text(&self) -> String {
        let mut text = String::from("{");
        for field in ["proxyMetadata", "image"] {
            if let Some(value) = self.proxy_config.get(field) {
                if text.len() > 1 {
                    text.push(',');
                }
                text.push_str(&format!("\"{field}\":{value}"));
            }
        }
        text.push_str("}\n");
        text
    }

    fn environment(&self, class: Class, name: &str, namespace: &str) -> Vec<Value> {
        let plain = |name: &str, value: &str| json!({ "name": name, "value": value });
        let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
        let limit = |name: &str, resource: &str| {
            json!({
                "name": name,
                "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": "1" } },
            })
        };
        let waypoint = class == Class::Waypoint;
        let metadata: Vec<Value> = self.proxy_config["proxyMetadata"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| plain(name, value.as_str().unwrap_or_default()))
            .collect();
        let istiod = format!("istiod.{}.svc:15012", self.text(&["istioNamespace"], "istio-system"));
        let owner = format!("kubernetes://apis/apps/v1/namespaces/{namespace}/deployments/{name}");
        let cluster = self.text(&["multiCluster", "clusterName"], "Kubernetes").to_owned();
        let mut env = Vec::new();
        if waypoint {
            env.push(field("ISTIO_META_SERVICE_ACCOUNT", "spec.serviceAccountName"));
            env.push(field("ISTIO_META_NODE_NAME", "spec.nodeName"));
        }
        env.extend([
            plain("PILOT_CERT_PROVIDER", self.text(&["pilotCertProvider"], "istiod")),
            plain("CA_ADDR", self.text(&["caAddress"], &istiod)),
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
            field("INSTANCE_IP", "status.podIP"),
            field("SERVICE_ACCOUNT", "spec.serviceAccountName"),
            field("HOST_IP", "status.hostIP"),
            limit("ISTIO_CPU_LIMIT", "limits.cpu"),
            plain("PROXY_CONFIG", &self.proxy_config_text()),
        ]);
        if waypoint {
            env.extend(metadata.iter().cloned());
        } else {
            env.push(plain("ISTIO_META_POD_PORTS", "[]"));
            env.push(json!({ "name": "ISTIO_META_APP_CONTAINERS" }));
        }
        env.push(limit("GOMEMLIMIT", "limits.memory"));
        env.push(limit("GOMAXPROCS", "limits.cpu"));
        env.push(plain("ISTIO_META_CLUSTER_ID", &cluster));
        if !waypoint {
            env.push(field("ISTIO_META_NODE_NAME", "spec.nodeName"));
        }
        env.push(plain("ISTIO_META_INTERCEPTION_MODE", "REDIRECT"));
        env.push(plain("ISTIO_META_WORKLOAD_NAME", name));
        env.push(plain("ISTIO_META_OWNER", &owner));
        env.push(plain("ISTIO_META_MESH_ID", self.text(&["meshID"], self.trust_domain())));
        env.push(plain("TRUST_DOMAIN", self.trust_domain()));
        if !waypoint {
            env.extend(metadata);
        }
        env
    }

    fn arguments(&self, class: Class, service_account: &str) -> Vec<String> {
        let domain = format!(
            "$(POD_NAMESPACE).svc.{}",
            self.text(&["proxy", "clusterDomain"], "cluster.local")
        );
        let mut words = vec!["proxy".to_owned()];
        words.push(if class == Class::Waypoint { "waypoint" } else { "router" }.to_owned());
        words.extend(["--domain".to_owned(), domain]);
        if class == Class::Waypoint {
            words.push("--serviceCluster".to_owned());
            words.push(format!("{service_account}.$(POD_NAMESPACE)"));
        }
        for (flag, path, default) in [
            ("--proxyLogLevel", ["proxy", "logLevel"], "warning"),
            ("--proxyComponentLogLevel", ["proxy", "componentLogLevel"], "misc:error"),
            ("--log_output_level", ["logging", "level"], "default:info"),
        ] {
            words.push(flag.to_owned());
            words.push(self.text(&path, default).to_owned());
        }
        words
    }

    /// The pod's spec.
    pub(super) fn pod_spec(
        &self,
        class: Class,
        name: &str,
        namespace: &str,
        service_account: &str,
    ) -> Value {
        let waypoint = class == Class::Waypoint;
        let probe = |initial: u64, period: u64, failures: u64| {
            let mut probe = json!({
                "failureThreshold": failures,
                "httpGet": { "path": "/healthz/ready", "port": 15021, "scheme": "HTTP" },
                "periodSeconds": period,
                "successThreshold": 1,
                "timeoutSeconds": 1,
            });
            if initial > 0 {
                probe["initialDelaySeconds"] = json!(initial);
            }
            probe
        };
        let default = json!({
            "limits": { "cpu": "2", "memory": "1Gi" },
            "requests": { "cpu": "100m", "memory": "128Mi" },
        });
        let path: &[&str] =
            if waypoint { &["waypoint", "resources"] } else { &["proxy", "resources"] };
        let resources =
            Some(self.global(path)).filter(|found| found.is_object()).unwrap_or(&default);
        let mut container = json!({
            "name": "istio-proxy",
            "image": self.image(),
            "args": self.arguments(class, service_account),
            "env": self.environment(class, name, namespace),
            "ports": [
                { "containerPort": 15020, "name": "metrics", "protocol": "TCP" },
                { "containerPort": 15021, "name": "status-port", "protocol": "TCP" },
                { "containerPort": 15090, "name": "http-envoy-prom", "protocol": "TCP" },
            ],
            "readinessProbe": probe(0, 15, 4),
            "startupProbe": probe(1, 1, 30),
            "resources": canonical(resources),
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
                "privileged": false,
                "readOnlyRootFilesystem": true,
                "runAsGroup": 1337,
                "runAsNonRoot": true,
                "runAsUser": 1337,
            },
            "volumeMounts": mounts(waypoint),
        });
        if let Some(policy) =
            self.global(&["imagePullPolicy"]).as_str().filter(|text| !text.is_empty())
        {
            container["imagePullPolicy"] = json!(policy);
        }
        let audience = self.text(&["sds", "token", "aud"], "istio-ca");
        let mut spec = json!({
            "serviceAccountName": service_account,
            "containers": [container],
            "volumes": volumes(waypoint, audience),
        });
        spec["securityContext"] = if waypoint {
            json!({})
        } else {
            json!({ "sysctls": [{ "name": "net.ipv4.ip_unprivileged_port_start", "value": "0" }] })
        };
        spec
    }
}

/// Quantities as the API server would write them: `2000m` is `2`, `1024Mi` is `1Gi`.
fn canonical(resources: &Value) -> Value {
    let mut resources = resources.clone();
    for field in ["limits", "requests"] {
        let Some(map) = resources[field].as_object_mut() else { continue };
        for value in map.values_mut() {
            let Some(text) = value.as_str() else { continue };
            let shorter = |suffix: &str, by: u64, next: &str| {
                let number: u64 = text.strip_suffix(suffix)?.parse().ok()?;
                (number > 0 && number.is_multiple_of(by)).then(|| format!("{}{next}", number / by))
            };
            if let Some(found) = shorter("m", 1_000, "").or_else(|| shorter("Mi", 1_024, "Gi")) {
                *value = json!(found);
            }
        }
    }
    resources
}

fn mounts(waypoint: bool) -> Vec<Value> {
    let all = [
        ("workload-socket", "/var/run/secrets/workload-spiffe-uds", true),
        ("credential-socket", "/var/run/secrets/credential-uds", false),
        ("workload-certs", "/var/run/secrets/workload-spiffe-credentials", false),
        ("istiod-ca-cert", "/var/run/secrets/istio", true),
        ("istio-data", "/var/lib/istio/data", true),
        ("istio-envoy", "/etc/istio/proxy", true),
        ("istio-token", "/var/run/secrets/tokens", true),
        ("istio-podinfo", "/etc/istio/pod", true),
    ];
    all.into_iter()
        .filter(|(_, _, of_waypoint)| !waypoint || *of_waypoint)
        .map(|(name, path, _)| json!({ "mountPath": path, "name": name }))
        .collect()
}

fn volumes(waypoint: bool, audience: &str) -> Vec<Value> {
    let empty = |name: &str| json!({ "emptyDir": {}, "name": name });
    let memory = |name: &str| json!({ "emptyDir": { "medium": "Memory" }, "name": name });
    let mut found = vec![empty("workload-socket")];
    if waypoint {
        found.extend([
            memory("istio-envoy"),
            memory("go-proxy-envoy"),
            empty("istio-data"),
            empty("go-proxy-data"),
        ]);
    } else {
        found.extend([
            empty("credential-socket"),
            empty("workload-certs"),
            memory("istio-envoy"),
            empty("istio-data"),
        ]);
    }
    found.extend([
        json!({ "name": "istio-podinfo", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "annotations", "fieldRef": { "fieldPath": "metadata.annotations" } },
        ] } }),
        json!({ "name": "istio-token", "projected": { "sources": [{ "serviceAccountToken": {
            "path": "istio-token",
            "expirationSeconds": 43_200,
            "audience": audience,
        } }] } }),
        json!({ "name": "istiod-ca-cert", "configMap": { "name": "istio-ca-root-cert" } }),
    ]);
    found
}
