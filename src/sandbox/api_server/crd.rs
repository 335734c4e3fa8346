//! Kinds that CustomResourceDefinitions bring: their schemas, their names, their conditions.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use crate::sandbox::builtin::{self, KindData, SubresourceData};
use crate::sandbox::schema::{ListType, Schema, SchemaType};

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
    schema: OnceLock<Option<Arc<Schema>>>,
    rules: OnceLock<Option<Arc<kube_cel::CompiledSchema>>>,
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
                    schema: OnceLock::new(),
                    rules: OnceLock::new(),
                })
            })
            .collect()
    }

    fn definition(&self) -> &Value {
        &self.crd["spec"]["versions"][self.index]
    }

    /// `openAPIV3Schema` as written.
    pub(crate) fn raw_schema(&self) -> &Value {
        &self.definition()["schema"]["openAPIV3Schema"]
    }

    pub(crate) fn printer_columns(&self) -> &Value {
        &self.definition()["additionalPrinterColumns"]
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
        let standard = || {
            format!("{}/{} {} is deprecated", self.group, self.version, self.names.kind)
        };
        Some(definition["deprecationWarning"].as_str().map_or_else(standard, str::to_owned))
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
        self.schema
            .get_or_init(|| {
                let raw = self.raw_schema();
                raw.is_object().then(|| Arc::new(with_metadata(structural(raw))))
            })
            .clone()
    }

    /// The CEL rules, compiled when first needed; `None` if there are none.
    pub(crate) fn rules(&self) -> Option<&Arc<kube_cel::CompiledSchema>> {
        self.rules
            .get_or_init(|| {
                let raw = self.raw_schema();
                has_rules(raw).then(|| Arc::new(kube_cel::compile_schema(raw)))
            })
            .as_ref()
    }
}

fn has_rules(node: &Value) -> bool {
    match node {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| name == "x-kubernetes-validations" || has_rules(value)),
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
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

/// Every object has `apiVersion`, `kind` and `metadata`, whatever its CRD says about them.
fn with_metadata(mut schema: Schema) -> Schema {
    let text = || {
        let mut text = structural(&json!({"type": "string"}));
        text.nullable = false;
        Arc::new(text)
    };
    schema.properties.insert("apiVersion".to_owned(), text());
    schema.properties.insert("kind".to_owned(), text());
    schema.properties.insert(
        "metadata".to_owned(),
        builtin::definition("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"),
    );
    schema
}

/// A structural schema as our model has it.
pub(crate) fn structural(node: &Value) -> Schema {
    let flag = |field: &str| node.get(field) == Some(&Value::Bool(true));
    let text = |field: &str| node.get(field).and_then(Value::as_str);
    let kind = if flag("x-kubernetes-int-or-string") {
        SchemaType::IntOrString
    } else {
        match text("type") {
            Some("object") => SchemaType::Object,
            Some("array") => SchemaType::Array,
            Some("string") => SchemaType::String,
            Some("integer") => SchemaType::Integer,
            Some("number") => SchemaType::Number,
            Some("boolean") => SchemaType::Boolean,
            _ => SchemaType::Any,
        }
    };
    let children = |field: &str| -> BTreeMap<String, Arc<Schema>> {
        let fields = node.get(field).and_then(Value::as_object);
        fields
            .into_iter()
            .flatten()
            .map(|(name, child)| (name.clone(), Arc::new(structural(child))))
            .collect()
    };
    let texts = |field: &str| -> Vec<String> {
        let items = node.get(field).and_then(Value::as_array);
        items.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let additional = match node.get("additionalProperties") {
        Some(child @ Value::Object(_)) => Some(Arc::new(structural(child))),
        Some(Value::Bool(true)) => Some(Arc::new(structural(
            &json!({"x-kubernetes-preserve-unknown-fields": true}),
        ))),
        _ => None,
    };
    let source: Map<String, Value> = node
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| !CHILDREN.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Schema {
        kind,
        properties: children("properties"),
        additional,
        items: node.get("items").map(|child| Arc::new(structural(child))),
        list_type: match text("x-kubernetes-list-type") {
            Some("map") => ListType::Map(texts("x-kubernetes-list-map-keys")),
            Some("set") => ListType::Set,
            _ => ListType::Atomic,
        },
        atomic_map: text("x-kubernetes-map-type") == Some("atomic"),
        patch_strategy: None,
        patch_merge_key: None,
        default: node.get("default").cloned(),
        required: texts("required"),
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded_resource: flag("x-kubernetes-embedded-resource"),
        nullable: flag("nullable"),
        description: None,
        source: Arc::new(Value::Object(source)),
    }
}

/// Kept elsewhere in the model, or of no use when checking values.
const CHILDREN: &[&str] = &[
    "properties",
    "items",
    "additionalProperties",
    "description",
    "default",
    "x-kubernetes-validations",
];
