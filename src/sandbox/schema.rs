//! The schema model that built-in kinds and custom resources share.
//!
//! A `Schema` is a resolved OpenAPI v3 structural schema with the Kubernetes extensions. Recursive types
//! (`JSONSchemaProps`) are cut by `SchemaType::Any` with `preserve_unknown`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

/// The JSON type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaType {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
    /// `x-kubernetes-int-or-string`
    IntOrString,
    /// No type given: anything goes.
    Any,
}

/// `x-kubernetes-list-type`; unset is atomic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    /// With the fields that are the key.
    Map(Vec<String>),
}

/// What becomes of a field of a built-in kind that has its zero value, as its Go type has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Unset {
    /// A pointer, or nothing known: what is given stays, what is absent stays so.
    #[default]
    Kept,
    /// Left out, also when it was given.
    Omitted,
    /// Written out as this value.
    Written(Value),
}

/// The schema of one value.
#[derive(Clone, Debug)]
pub struct Schema {
    pub kind: SchemaType,
    /// Declared fields of an object.
    pub properties: BTreeMap<String, Arc<Self>>,
    /// The schema of undeclared keys (`additionalProperties`).
    pub additional: Option<Arc<Self>>,
    /// The schema of an array's items.
    pub items: Option<Arc<Self>>,
    pub list_type: ListType,
    /// `x-kubernetes-map-type: atomic` (also `x-kubernetes-struct-type`).
    pub atomic_map: bool,
    /// `x-kubernetes-patch-strategy`, such as `merge` or `merge,retainKeys`.
    pub patch_strategy: Option<String>,
    /// `x-kubernetes-patch-merge-key`
    pub patch_merge_key: Option<String>,
    pub default: Option<Value>,
    pub required: Vec<String>,
    /// `x-kubernetes-preserve-unknown-fields`
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`
    pub embedded_resource: bool,
    pub nullable: bool,
    pub description: Option<String>,
    /// Of a field of a built-in kind.
    pub unset: Unset,
    /// A `resource.Quantity`.
    pub quantity: bool,
    /// The node as written, for the value checks (`enum`, `pattern`, `minimum`, `maxItems`, `format`, `oneOf`,
    /// `x-kubernetes-validations`, …).
    pub source: Arc<Value>,
}

impl Schema {
    /// The schema of a field of an object; `None` if it is not declared.
    pub fn field(&self, name: &str) -> Option<&Arc<Self>> {
        self.properties.get(name).or(self.additional.as_ref())
    }
}
