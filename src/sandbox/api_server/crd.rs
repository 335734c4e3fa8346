//! Kinds that CustomResourceDefinitions bring: their schemas, their names, their conditions.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::sandbox::builtin::{KindData, SubresourceData};
use crate::sandbox::schema::Schema;
use crate::sandbox::validation::{Validator, structural};

/// `status.acceptedNames` with the defaults filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
}

/// One served version of a CRD.
pub(crate) struct CustomVersion {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) names: Names,
    pub(crate) namespaced: bool,
    /// The version in which objects are stored.
    pub(crate) storage_version: String,
    /// The CRD's name.
    pub(crate) crd_name: String,
    crd: Arc<Value>,
    index: usize,
    validator: OnceLock<Option<Validator>>,
}

impl std::fmt::Debug for CustomVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.crd_name, self.version)
    }
}

/// Where a `scale` subresource finds its numbers: simple JSON paths such as `.spec.replicas`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) label_selector: Option<String>,
}

impl CustomVersion {
    /// The served versions of a CRD.
    pub(crate) fn of(crd: &Arc<Value>) -> Vec<Arc<Self>> {
        let spec = &crd["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let versions = spec["versions"].as_array().map(Vec::as_slice).unwrap_or_default();
        let storage_version = versions
            .iter()
            .find(|version| version["storage"] == true)
            .map(|version| text(&version["name"]))
            .unwrap_or_default();
        versions
            .iter()
            .enumerate()
            .filter(|(_, version)| version["served"] == true)
            .map(|(index, version)| {
                Arc::new(Self {
                    group: text(&spec["group"]),
                    version: text(&version["name"]),
                    names: names(&spec["names"]),
                    namespaced: spec["scope"] == "Namespaced",
                    storage_version: storage_version.clone(),
                    crd_name: text(&crd["metadata"]["name"]),
                    crd: crd.clone(),
                    index,
                    validator: OnceLock::new(),
                })
            })
            .collect()
    }

    fn definition(&self) -> &Value {
        &self.crd["spec"]["versions"][self.index]
    }

    /// The revision of the CRD.
    pub(crate) fn revision(&self) -> &str {
        self.crd["metadata"]["resourceVersion"].as_str().unwrap_or_default()
    }

    /// The schema as OpenAPI publishes it.
    pub(crate) fn published_schema(&self) -> Value {
        let mut schema = self.definition()["schema"]["openAPIV3Schema"].clone();
        if !schema.is_object() {
            schema = json!({"type": "object"});
        }
        let text = json!({"type": "string"});
        if !schema["properties"].is_object() {
            schema["properties"] = json!({});
        }
        schema["properties"]["apiVersion"] = text.clone();
        schema["properties"]["kind"] = text;
        schema["properties"]["metadata"] = json!({
            "allOf": [{"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}]
        });
        schema
    }

    /// The JSON paths of `selectableFields`.
    pub(crate) fn selectable_fields(&self) -> Vec<&str> {
        let fields = self.definition()["selectableFields"].as_array();
        fields.into_iter().flatten().filter_map(|field| field["jsonPath"].as_str()).collect()
    }

    /// The warning of a deprecated version.
    pub(crate) fn deprecation(&self) -> Option<String> {
        let definition = self.definition();
        if definition["deprecated"] != true {
            return None;
        }
        let standard =
            || format!("{}/{} {} is deprecated", self.group, self.version, self.names.kind);
        Some(definition["deprecationWarning"].as_str().map_or_else(standard, str::to_owned))
    }

    /// The columns that the definition asks for.
    pub(crate) fn printer_columns(&self) -> Vec<Value> {
        self.definition()["additionalPrinterColumns"].as_array().cloned().unwrap_or_default()
    }

    pub(crate) fn has_status(&self) -> bool {
        !self.definition()["subresources"]["status"].is_null()
    }

    pub(crate) fn scale(&self) -> Option<ScalePaths> {
        let scale = &self.definition()["subresources"]["scale"];
        let text = |field: &str| scale[field].as_str().map(str::to_owned);
        Some(ScalePaths {
            spec_replicas: text("specReplicasPath")?,
            status_replicas: text("statusReplicasPath")?,
            label_selector: text("labelSelectorPath"),
        })
    }

    pub(crate) fn subresources(&self) -> Vec<SubresourceData> {
        let own = KindData {
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.names.kind.clone(),
        };
        let verbs = || ["get", "patch", "update"].map(str::to_owned).to_vec();
        let mut found = Vec::new();
        if self.has_status() {
            found.push(SubresourceData {
                subresource: "status".to_owned(),
                response_kind: Some(own),
                verbs: verbs(),
            });
        }
        if self.scale().is_some() {
            found.push(SubresourceData {
                subresource: "scale".to_owned(),
                response_kind: Some(KindData {
                    group: "autoscaling".to_owned(),
                    version: "v1".to_owned(),
                    kind: "Scale".to_owned(),
                }),
                verbs: verbs(),
            });
        }
        found
    }

    /// The schema of whole objects.
    pub(crate) fn schema(&self) -> Option<Arc<Schema>> {
        self.validator().map(|validator| validator.schema().clone())
    }

    /// The checks of whole objects, made when first needed.
    pub(crate) fn validator(&self) -> Option<&Validator> {
        self.validator
            .get_or_init(|| structural::schema_of_crd(self.definition()).ok().map(Validator::new))
            .as_ref()
    }
}

/// The names of a CRD; what is not given is derived.
pub(crate) fn names(node: &Value) -> Names {
    let text = |field: &str| node[field].as_str().unwrap_or_default().to_owned();
    let list = |field: &str| {
        let items = node[field].as_array();
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let kind = text("kind");
    let or = |given: String, derived: String| if given.is_empty() { derived } else { given };
    Names {
        plural: text("plural"),
        singular: or(text("singular"), kind.to_lowercase()),
        list_kind: or(text("listKind"), format!("{kind}List")),
        short_names: list("shortNames"),
        categories: list("categories"),
        kind,
    }
}
