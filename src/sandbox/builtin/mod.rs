//! The kinds of the API server itself, as data.
//!
//! `kinds.json.gz` is what kube-apiserver 1.36.3 publishes about itself, without descriptions: its aggregated discovery
//! (`groups`), the OpenAPI v3 definition of each kind (`kinds`) and the definitions. It is unpacked once in a process;
//! a schema is resolved when its kind is first used. `defaults` adds what the server's Go code defaults.

pub(crate) mod defaults;
mod go_fields;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, LazyLock};

use flate2::read::GzDecoder;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use super::schema::{ListType, Schema, SchemaType, Unset};

static DATA: &[u8] = include_bytes!("kinds.json.gz");
/// What the definitions and their fields are for, in the words of the same server; the empty name is the definition.
static TEXTS: &[u8] = include_bytes!("descriptions.json.gz");

/// One group of aggregated discovery.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct GroupData {
    metadata: GroupName,
    pub(crate) versions: Vec<VersionData>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct GroupName {
    #[serde(default)]
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct VersionData {
    pub(crate) version: String,
    pub(crate) resources: Vec<ResourceData>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ResourceData {
    pub(crate) resource: String,
    pub(crate) response_kind: KindData,
    pub(crate) scope: String,
    pub(crate) singular_resource: String,
    pub(crate) verbs: Vec<String>,
    #[serde(default)]
    pub(crate) short_names: Vec<String>,
    #[serde(default)]
    pub(crate) categories: Vec<String>,
    #[serde(default)]
    pub(crate) subresources: Vec<SubresourceData>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct KindData {
    #[serde(default)]
    pub(crate) group: String,
    #[serde(default)]
    pub(crate) version: String,
    #[serde(default)]
    pub(crate) kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubresourceData {
    pub(crate) subresource: String,
    #[serde(default)]
    pub(crate) response_kind: Option<KindData>,
    pub(crate) verbs: Vec<String>,
}

impl GroupData {
    /// Empty for the core group.
    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }
}

#[derive(Default, Deserialize)]
struct Data {
    groups: Vec<GroupData>,
    kinds: BTreeMap<String, String>,
    definitions: BTreeMap<String, Value>,
}

static KINDS: LazyLock<Data> = LazyLock::new(|| {
    let mut text = Vec::new();
    // The data is part of the binary; a test holds that it can be read.
    let read = GzDecoder::new(DATA).read_to_end(&mut text);
    read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default()
});

static SCHEMAS: LazyLock<Mutex<BTreeMap<String, Arc<Schema>>>> = LazyLock::new(Mutex::default);

/// The groups in the order of discovery.
pub(crate) fn groups() -> &'static [GroupData] {
    &KINDS.groups
}

/// The schema of a kind of the API server.
pub(crate) fn schema(group: &str, version: &str, kind: &str) -> Option<Arc<Schema>> {
    let definition = KINDS.kinds.get(&format!("{group}/{version}/{kind}"))?;
    Some(resolve(definition, &mut Vec::new()))
}

/// The definitions as published, by name, for the OpenAPI document.
pub(crate) fn raw_definition(name: &str) -> Option<&'static Value> {
    KINDS.definitions.get(name)
}

/// What a definition (under the empty name) and its fields are for.
pub(crate) fn descriptions(definition: &str) -> Option<&'static BTreeMap<String, String>> {
    static ALL: LazyLock<BTreeMap<String, BTreeMap<String, String>>> = LazyLock::new(|| {
        let mut text = Vec::new();
        let read = GzDecoder::new(TEXTS).read_to_end(&mut text);
        read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default()
    });
    ALL.get(definition)
}

/// The definition's name of a kind.
pub(crate) fn definition_name(group: &str, version: &str, kind: &str) -> Option<&'static str> {
    KINDS.kinds.get(&format!("{group}/{version}/{kind}")).map(String::as_str)
}

/// `open` holds the definitions that are being resolved: a type inside itself is cut to "anything".
fn resolve(name: &str, open: &mut Vec<String>) -> Arc<Schema> {
    if let Some(known) = SCHEMAS.lock().get(name) {
        return known.clone();
    }
    let Some(node) = KINDS.definitions.get(name) else { return Arc::new(anything()) };
    if open.iter().any(|above| above == name) {
        return Arc::new(anything());
    }
    open.push(name.to_owned());
    let schema = Arc::new(convert(name, node, open));
    open.pop();
    // What was resolved below a type that is still open holds a cut; only whole ones are kept.
    if open.is_empty() || !name.contains("JSONSchemaProps") {
        SCHEMAS.lock().insert(name.to_owned(), schema.clone());
    }
    schema
}

fn anything() -> Schema {
    Schema {
        kind: SchemaType::Any,
        properties: BTreeMap::new(),
        additional: None,
        items: None,
        list_type: ListType::Atomic,
        atomic_map: false,
        patch_strategy: None,
        patch_merge_key: None,
        default: None,
        required: Vec::new(),
        unset: Unset::Kept,
        quantity: false,
        preserve_unknown: true,
        embedded_resource: false,
        nullable: true,
        description: None,
        source: Arc::new(json!({})),
    }
}

fn convert(type_name: &str, node: &Value, open: &mut Vec<String>) -> Schema {
    let text = |field: &str| node.get(field).and_then(Value::as_str).map(str::to_owned);
    let mut schema = match text("$ref") {
        Some(target) => (*resolve(&target, open)).clone(),
        None => {
            let mut schema = anything();
            schema.kind = kind_of(type_name, node);
            schema.quantity = type_name.ends_with(".resource.Quantity");
            schema.preserve_unknown = false;
            schema.nullable = true;
            let mut source = serde_json::Map::new();
            source.insert("x-go-type".to_owned(), short_name(type_name).into());
            schema.source = Arc::new(Value::Object(source));
            schema
        }
    };
    if let Some(properties) = node.get("properties").and_then(Value::as_object) {
        for (field, child) in properties {
            let mut child = convert("", child, open);
            if let Some(default) = defaults::of_field(type_name, field) {
                mark(&mut child, default);
            }
            child.unset = go_fields::of_field(type_name, field);
            schema.properties.insert(field.clone(), Arc::new(child));
        }
    }
    match node.get("additionalProperties") {
        Some(child @ Value::Object(_)) => {
            schema.additional = Some(Arc::new(convert("", child, open)));
        }
        Some(Value::Bool(true)) => schema.preserve_unknown = true,
        _ => {}
    }
    if let Some(child) = node.get("items") {
        schema.items = Some(Arc::new(convert("", child, open)));
    }
    if schema.kind == SchemaType::Object
        && schema.properties.is_empty()
        && schema.additional.is_none()
    {
        // `RawExtension`, `FieldsV1`: the content is not the server's, and has one owner.
        schema.preserve_unknown = true;
        schema.atomic_map |= type_name.ends_with(".runtime.RawExtension");
    }
    if let Some(list_type) = node.get("x-kubernetes-list-type").and_then(Value::as_str) {
        let keys = node.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
        schema.list_type = match list_type {
            "map" => ListType::Map(
                keys.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            ),
            "set" => ListType::Set,
            _ => ListType::Atomic,
        };
    }
    schema.atomic_map |= text("x-kubernetes-map-type").as_deref() == Some("atomic");
    schema.patch_strategy = text("x-kubernetes-patch-strategy").or(schema.patch_strategy);
    schema.patch_merge_key = text("x-kubernetes-patch-merge-key").or(schema.patch_merge_key);
    if let Some(required) = node.get("required").and_then(Value::as_array) {
        schema.required = required.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    }
    if let Some(default) = node.get("default") {
        schema.default = Some(default.clone());
    }
    let mut source = schema.source.as_object().cloned().unwrap_or_default();
    for field in ["format", "enum", "x-kubernetes-list-type"] {
        if let Some(value) = node.get(field) {
            source.insert(field.to_owned(), value.clone());
        }
    }
    schema.source = Arc::new(Value::Object(source));
    schema
}

/// In a schema's `source`: what the server sets when the field is absent. OpenAPI's own `default` also says which zero
/// values are never absent in the Go type, which is another thing.
pub(crate) const SET_BY_SERVER: &str = "x-set-by-server";

fn mark(schema: &mut Schema, default: Value) {
    let mut source = schema.source.as_object().cloned().unwrap_or_default();
    source.insert(SET_BY_SERVER.to_owned(), default);
    schema.source = Arc::new(Value::Object(source));
}

fn short_name(definition: &str) -> &str {
    definition.rsplit('.').next().unwrap_or_default()
}

fn kind_of(type_name: &str, node: &Value) -> SchemaType {
    if type_name.ends_with(".intstr.IntOrString") || type_name.ends_with(".resource.Quantity") {
        return SchemaType::IntOrString;
    }
    match node.get("type").and_then(Value::as_str) {
        Some("object") => SchemaType::Object,
        Some("array") => SchemaType::Array,
        Some("string") => SchemaType::String,
        Some("integer") => SchemaType::Integer,
        Some("number") => SchemaType::Number,
        Some("boolean") => SchemaType::Boolean,
        _ => SchemaType::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_data_is_whole() {
        assert_eq!(groups().len(), 21);
        let deployment = schema("apps", "v1", "Deployment").expect("a Deployment has a schema");
        let containers = &deployment.properties["spec"].properties["template"].properties["spec"]
            .properties["containers"];
        assert_eq!(containers.list_type, ListType::Map(vec!["name".to_owned()]));
        for definition in KINDS.kinds.values() {
            assert!(KINDS.definitions.contains_key(definition), "{definition}");
        }
    }
}
