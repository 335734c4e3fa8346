//! From the `openAPIV3Schema` of a CRD's version to a `Schema`.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value, json};

use crate::sandbox::schema::{ListType, Schema, SchemaType, Unset};

/// Deeper schemas are refused: nobody writes them, and each level costs stack.
const MAX_DEPTH: usize = 100;

/// Why a schema cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StructuralError {
    #[error("version `{version}` has no `schema.openAPIV3Schema`")]
    Missing { version: String },
    #[error("`{path}` is no schema: an object is expected")]
    NotAnObject { path: String },
    #[error("`{path}` has the type `{found}`, which is none of OpenAPI's")]
    UnknownType { path: String, found: String },
    #[error("`{path}` is nested deeper than {MAX_DEPTH} levels")]
    TooDeep { path: String },
}

/// The schema of one entry of a CRD's `spec.versions`, with `apiVersion`, `kind` and `metadata` as every object has them.
pub fn schema_of_crd(version: &Value) -> Result<Arc<Schema>, StructuralError> {
    let name = version["name"].as_str().unwrap_or_default().to_owned();
    let source = version
        .pointer("/schema/openAPIV3Schema")
        .filter(|schema| schema.is_object())
        .ok_or(StructuralError::Missing { version: name })?;
    let mut root = read(source, "openAPIV3Schema", 0)?;
    root.kind = SchemaType::Object;
    add_object_fields(&mut root, source.pointer("/properties/metadata/properties"));
    Ok(Arc::new(root))
}

/// Any JSON schema of the dialect, without the fields of objects.
pub fn schema(source: &Value) -> Result<Schema, StructuralError> {
    read(source, "schema", 0)
}

/// A CRD may restrict the name of its objects and nothing else of their metadata.
fn add_object_fields(root: &mut Schema, restrictions: Option<&Value>) {
    for field in ["apiVersion", "kind"] {
        root.properties.insert(field.to_owned(), TEXT.clone());
    }
    let mut metadata = Schema::clone(&OBJECT_META);
    for field in ["name", "generateName"] {
        if let Some(source) = restrictions.and_then(|fields| fields.get(field))
            && let Ok(restricted) = schema(source)
        {
            metadata.properties.insert(field.to_owned(), Arc::new(restricted));
        }
    }
    root.properties.insert("metadata".to_owned(), Arc::new(metadata));
}

static TEXT: LazyLock<Arc<Schema>> =
    LazyLock::new(|| Arc::new(schema(&json!({"type": "string"})).unwrap_or_else(|_| anything())));

/// `ObjectMeta` with the list types that server-side apply needs.
pub static OBJECT_META: LazyLock<Arc<Schema>> = LazyLock::new(|| {
    let text = json!({"type": "string"});
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let time = json!({"type": "string", "format": "date-time", "nullable": true});
    let source = json!({"type": "object", "properties": {
        "name": text, "generateName": text, "namespace": text, "selfLink": text, "uid": text,
        "resourceVersion": text, "generation": {"type": "integer", "format": "int64"},
        "creationTimestamp": time, "deletionTimestamp": time,
        "deletionGracePeriodSeconds": {"type": "integer", "format": "int64"},
        "labels": texts, "annotations": texts,
        "ownerReferences": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"],
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "uid",
            "items": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {
                "apiVersion": text, "kind": text, "name": text, "uid": text,
                "controller": {"type": "boolean"}, "blockOwnerDeletion": {"type": "boolean"},
            }},
        },
        "finalizers": {"type": "array", "items": text, "x-kubernetes-list-type": "set",
            "x-kubernetes-patch-strategy": "merge"},
        "managedFields": {"type": "array", "items": {"type": "object", "properties": {
            "manager": text, "operation": text, "apiVersion": text, "time": time, "fieldsType": text,
            "fieldsV1": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "subresource": text,
        }}},
    }});
    Arc::new(schema(&source).unwrap_or_else(|_| anything()))
});

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

fn read(source: &Value, path: &str, depth: usize) -> Result<Schema, StructuralError> {
    if depth > MAX_DEPTH {
        return Err(StructuralError::TooDeep { path: path.to_owned() });
    }
    let node =
        source.as_object().ok_or_else(|| StructuralError::NotAnObject { path: path.to_owned() })?;
    let flag = |name: &str| node.get(name).and_then(Value::as_bool).unwrap_or(false);
    let text = |name: &str| node.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut properties = BTreeMap::new();
    for (name, child) in node.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let below = format!("{path}.properties[{name}]");
        properties.insert(name.clone(), Arc::new(read(child, &below, depth + 1)?));
    }
    let additional = match node.get("additionalProperties") {
        Some(Value::Bool(true)) => Some(Arc::new(anything())),
        Some(child @ Value::Object(_)) => {
            let below = format!("{path}.additionalProperties");
            Some(Arc::new(read(child, &below, depth + 1)?))
        }
        Some(_) | None => None,
    };
    let items = match node.get("items") {
        Some(child) => Some(Arc::new(read(child, &format!("{path}.items"), depth + 1)?)),
        None => None,
    };
    let kind = kind_of(node, path)?;
    // The node keeps what concerns itself; its children are read already.
    let own: Map<String, Value> = node
        .iter()
        .filter(|(key, _)| !["properties", "items", "description"].contains(&key.as_str()))
        .filter(|(key, value)| *key != "additionalProperties" || value.is_boolean())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    Ok(Schema {
        kind,
        properties,
        additional,
        items,
        list_type: list_type_of(node),
        atomic_map: ["x-kubernetes-map-type", "x-kubernetes-struct-type"]
            .iter()
            .any(|name| node.get(*name).is_some_and(|value| value == "atomic")),
        patch_strategy: text("x-kubernetes-patch-strategy"),
        patch_merge_key: text("x-kubernetes-patch-merge-key"),
        default: node.get("default").filter(|value| !value.is_null()).cloned(),
        required: texts(node.get("required")),
        unset: Unset::Kept,
        quantity: false,
        preserve_unknown: flag("x-kubernetes-preserve-unknown-fields"),
        embedded_resource: flag("x-kubernetes-embedded-resource"),
        nullable: flag("nullable"),
        description: text("description"),
        source: Arc::new(Value::Object(own)),
    })
}

fn kind_of(node: &Map<String, Value>, path: &str) -> Result<SchemaType, StructuralError> {
    if node.get("x-kubernetes-int-or-string").and_then(Value::as_bool).unwrap_or(false) {
        return Ok(SchemaType::IntOrString);
    }
    match node.get("type").and_then(Value::as_str).unwrap_or_default() {
        "" => Ok(SchemaType::Any),
        "object" => Ok(SchemaType::Object),
        "array" => Ok(SchemaType::Array),
        "string" => Ok(SchemaType::String),
        "integer" => Ok(SchemaType::Integer),
        "number" => Ok(SchemaType::Number),
        "boolean" => Ok(SchemaType::Boolean),
        found => {
            Err(StructuralError::UnknownType { path: path.to_owned(), found: found.to_owned() })
        }
    }
}

fn list_type_of(node: &Map<String, Value>) -> ListType {
    match node.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListType::Set,
        Some("map") => ListType::Map(texts(node.get("x-kubernetes-list-map-keys"))),
        Some(_) | None => ListType::Atomic,
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
}
