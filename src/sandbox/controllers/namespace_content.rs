//! What every namespace holds from its birth: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt`.

use serde_json::json;

use super::kinds::{CONFIG_MAPS, NAMESPACES, SERVICE_ACCOUNTS};
use super::{MANAGER, object};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

const ROOT_CA: &str = "kube-root-ca.crt";

/// The service account controller and the root CA publisher.
pub(super) struct NamespaceContent {
    root_ca: String,
}

impl NamespaceContent {
    pub(super) fn new(root_ca: String) -> Self {
        Self { root_ca }
    }
}

impl Controller for NamespaceContent {
    fn name(&self) -> &'static str {
        "root-ca-cert-publisher"
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let object = &change.object;
        match change.resource.plural.as_str() {
            "namespaces" => vec![(String::new(), object::name(object).to_owned())],
            "configmaps" if object::name(object) == ROOT_CA => {
                vec![(String::new(), object::namespace(object).to_owned())]
            }
            "serviceaccounts" if object::name(object) == "default" => {
                vec![(String::new(), object::namespace(object).to_owned())]
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, namespace: &str) -> Result<Requeue, Status> {
        let alive = api.get(&NAMESPACES, "", namespace).is_some_and(|ns| !object::is_deleting(&ns));
        if !alive {
            return Ok(Requeue::OnChange);
        }
        if api.get(&SERVICE_ACCOUNTS, namespace, "default").is_none() {
            api.create(
                MANAGER,
                json!({
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": { "name": "default", "namespace": namespace },
                }),
            )?;
        }
        let data = json!({ "ca.crt": self.root_ca });
        match api.get(&CONFIG_MAPS, namespace, ROOT_CA) {
            Some(found) if found["data"] == data => {}
            Some(found) => {
                let mut found = (*found).clone();
                found["data"] = data;
                api.update(MANAGER, found)?;
            }
            None => {
                let why = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal \
                           endpoints such as the internal service IP or kubernetes.default.svc. No other usage is \
                           guaranteed across distributions of Kubernetes clusters.";
                api.create(
                    MANAGER,
                    json!({
                        "apiVersion": "v1",
                        "kind": "ConfigMap",
                        "metadata": {
                            "name": ROOT_CA,
                            "namespace": namespace,
                            "annotations": { "kubernetes.io/description": why },
                        },
                        "data": data,
                    }),
                )?;
            }
        }
        Ok(Requeue::OnChange)
    }
}
