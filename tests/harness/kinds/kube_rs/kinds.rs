//! Kinds of CRDs as Rust types.

/// A kind of the group `clients.example.com` with a spec, a status, and its CRD's schema.
macro_rules! custom {
    ($kind:ident, $plural:literal, $spec:ty, $status:ty, $schema:expr) => {
        #[derive(Clone, Debug, serde::Deserialize, serde::Serialize)]
        pub(super) struct $kind {
            #[serde(rename = "apiVersion")]
            api_version: String,
            kind: String,
            pub(super) metadata: kube::api::ObjectMeta,
            pub(super) spec: $spec,
            #[serde(skip_serializing_if = "Option::is_none")]
            pub(super) status: Option<$status>,
        }

        impl $kind {
            pub(super) const CRD: &str = concat!($plural, ".clients.example.com");

            pub(super) fn new(name: &str, spec: $spec) -> Self {
                let name = Some(name.to_owned());
                Self {
                    api_version: "clients.example.com/v1".to_owned(),
                    kind: stringify!($kind).to_owned(),
                    metadata: kube::api::ObjectMeta { name, ..Default::default() },
                    spec,
                    status: None,
                }
            }

            pub(super) fn crd() -> serde_json::Value {
                serde_json::json!({
                    "apiVersion": "apiextensions.k8s.io/v1",
                    "kind": "CustomResourceDefinition",
                    "metadata": {"name": Self::CRD},
                    "spec": {
                        "group": "clients.example.com",
                        "names": {"kind": stringify!($kind), "plural": $plural},
                        "scope": "Namespaced",
                        "versions": [{
                            "name": "v1", "served": true, "storage": true,
                            "schema": {"openAPIV3Schema": $schema},
                            "subresources": {"status": {}}
                        }]
                    }
                })
            }
        }

        impl kube::Resource for $kind {
            type DynamicType = ();
            type Scope = k8s_openapi::NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($kind).into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                "clients.example.com".into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                "v1".into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::api::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::api::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

pub(super) use custom;
