//! The kinds that the cases use, with schemas as the API server has them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, LazyLock};

use meshscript::sandbox::schema::{ListType, Schema, SchemaType, Unset};
use meshscript::sandbox::ssa::Origin;
use serde_json::{Value, json};

/// A kind of a case.
pub(crate) struct Kind {
    pub(crate) group: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) api_version: &'static str,
    pub(crate) origin: Origin,
    pub(crate) has_status: bool,
    pub(crate) schema: Arc<Schema>,
    pub(crate) other_versions: Vec<(&'static str, Arc<Schema>)>,
}

impl Kind {
    /// `/api/v1/namespaces/NAMESPACE/configmaps`
    pub(crate) fn path(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "api" } else { "apis" };
        format!("/{root}/{}/namespaces/{namespace}/{}", self.api_version, self.resource)
    }
}

static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(load);

/// The kind of a resource: `configmaps`; `widgets.v1beta1` for another version.
pub(crate) fn kind(resource: &str) -> Option<&'static Kind> {
    let (resource, version) = resource.split_once('.').unwrap_or((resource, "v1"));
    KINDS.iter().find(|kind| {
        kind.resource == resource && kind.api_version.rsplit('/').next() == Some(version)
    })
}

fn text(name: &str) -> String {
    let path = crate::harness::folder("ssa").join("schemas").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The CRD that the cases use.
pub(crate) fn crd() -> Value {
    serde_yaml::from_str(&text("widgets.crd.yaml")).expect("the CRD is YAML")
}

fn load() -> Vec<Kind> {
    let built_in: Value = serde_json::from_str(&text("built-in.json")).expect("schemas are JSON");
    let resolve = Resolver { definitions: &built_in["schemas"] };
    let kind = |group, resource, kind, api_version, definition: &str, has_status| Kind {
        group,
        resource,
        kind,
        api_version,
        origin: Origin::BuiltIn,
        has_status,
        schema: resolve.schema(&built_in["schemas"][definition]),
        other_versions: Vec::new(),
    };
    let mut kinds = vec![
        kind("", "configmaps", "ConfigMap", "v1", "io.k8s.api.core.v1.ConfigMap", false),
        kind("", "services", "Service", "v1", "io.k8s.api.core.v1.Service", true),
        kind("", "pods", "Pod", "v1", "io.k8s.api.core.v1.Pod", true),
        kind("apps", "deployments", "Deployment", "apps/v1", "io.k8s.api.apps.v1.Deployment", true),
    ];
    let crd = crd();
    let mut node = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    node["properties"]["apiVersion"] = json!({"type": "string"});
    node["properties"]["kind"] = json!({"type": "string"});
    node["properties"]["metadata"] =
        built_in["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].clone();
    let schema = resolve.schema(&node);
    for (api_version, other) in [
        ("ssa.example.com/v1", "ssa.example.com/v1beta1"),
        ("ssa.example.com/v1beta1", "ssa.example.com/v1"),
    ] {
        kinds.push(Kind {
            group: "ssa.example.com",
            resource: "widgets",
            kind: "Widget",
            api_version,
            origin: Origin::Custom,
            has_status: true,
            schema: schema.clone(),
            other_versions: vec![(other, schema.clone())],
        });
    }
    kinds
}

/// Turns OpenAPI v3 into schemas.
struct Resolver<'a> {
    definitions: &'a Value,
}

impl Resolver<'_> {
    fn schema(&self, node: &Value) -> Arc<Schema> {
        let reference = node["$ref"].as_str().or_else(|| node["allOf"][0]["$ref"].as_str());
        let mut merged = node.clone();
        let mut name = "";
        if let Some(reference) = reference {
            name = reference.rsplit('/').next().unwrap_or_default();
            merged = self.definitions[name].clone();
            for (key, value) in node.as_object().into_iter().flatten() {
                if key != "allOf" && key != "$ref" {
                    merged[key] = value.clone();
                }
            }
        }
        let flag = |name: &str| merged[name].as_bool().unwrap_or_default();
        let strings = |name: &str| -> Vec<String> {
            let items = merged[name].as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let scalar = name.ends_with(".Quantity") || name.ends_with(".IntOrString");
        let kind = match merged["type"].as_str() {
            _ if scalar || flag("x-kubernetes-int-or-string") => SchemaType::IntOrString,
            Some("object") => SchemaType::Object,
            Some("array") => SchemaType::Array,
            Some("string") => SchemaType::String,
            Some("integer") => SchemaType::Integer,
            Some("number") => SchemaType::Number,
            Some("boolean") => SchemaType::Boolean,
            _ => SchemaType::Any,
        };
        let properties: BTreeMap<_, _> = merged["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, node)| {
                let mut field = self.schema(node).as_ref().clone();
                field.unset = unset(&field, merged["required"].as_array(), name);
                (name.clone(), Arc::new(field))
            })
            .collect();
        Arc::new(Schema {
            kind,
            properties,
            additional: merged["additionalProperties"]
                .is_object()
                .then(|| self.schema(&merged["additionalProperties"])),
            items: merged["items"].is_object().then(|| self.schema(&merged["items"])),
            list_type: match merged["x-kubernetes-list-type"].as_str() {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map(strings("x-kubernetes-list-map-keys")),
                _ => ListType::Atomic,
            },
            atomic_map: merged["x-kubernetes-map-type"] == "atomic",
            patch_strategy: merged["x-kubernetes-patch-strategy"].as_str().map(str::to_owned),
            patch_merge_key: merged["x-kubernetes-patch-merge-key"].as_str().map(str::to_owned),
            default: merged.get("default").cloned(),
            required: strings("required"),
            unset: Unset::Kept,
            quantity: name.ends_with(".Quantity"),
            preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag("x-kubernetes-embedded-resource"),
            nullable: flag("nullable"),
            description: None,
            source: Arc::new(merged.clone()),
        })
    }
}

/// What OpenAPI tells of fields that Go writes out without a value: structs by `default: {}`, others by `required`.
fn unset(field: &Schema, required: Option<&Vec<Value>>, name: &str) -> Unset {
    let is_struct = field.kind == SchemaType::Object
        && field.default.as_ref().and_then(Value::as_object).is_some_and(serde_json::Map::is_empty);
    if is_struct {
        return Unset::Written(serde_json::json!({}));
    }
    if required.is_some_and(|required| required.iter().any(|found| found == name)) {
        return Unset::Written(field.default.clone().unwrap_or(Value::Null));
    }
    Unset::Kept
}
