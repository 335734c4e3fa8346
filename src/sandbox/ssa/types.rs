//! What a `Schema` means for merging: scalar, list or map; atomic or by item.
//!
//! The rules are those by which the API server turns OpenAPI into structured-merge-diff types. Two types have no schema:
//! `Deduced` (what a custom resource without schema has: maps by key, lists atomic) and `Untyped` (atomic throughout).

use serde_json::Value;

use crate::sandbox::schema::{ListType, Schema, SchemaType};

/// The type of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum TypeRef<'a> {
    /// By schema; `preserve` says that an object above keeps unknown fields.
    Schema { schema: &'a Schema, preserve: bool },
    /// Anything; objects merge by key, lists are atomic.
    Deduced,
    /// Anything, as one leaf.
    Untyped,
    /// No value is allowed here.
    Nothing,
}

/// Which scalars are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Numeric,
    Text,
    Boolean,
    Any,
}

/// How a list merges.
#[derive(Clone, Copy, Debug)]
pub(super) enum Relation<'a> {
    Atomic,
    Set,
    Map(&'a [String]),
    /// A list map by `x-kubernetes-patch-merge-key` alone.
    MapBy(&'a str),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct ListOf<'a> {
    pub(super) relation: Relation<'a>,
    pub(super) items: TypeRef<'a>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct MapOf<'a> {
    pub(super) atomic: bool,
    schema: Option<&'a Schema>,
    preserve: bool,
    /// The type of undeclared keys.
    others: Others<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Others<'a> {
    Schema(&'a Schema),
    Deduced,
    Untyped,
    Refused,
}

/// The kinds of value that a type allows.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Atom<'a> {
    pub(super) scalar: Option<Scalar>,
    pub(super) list: Option<ListOf<'a>>,
    pub(super) map: Option<MapOf<'a>>,
}

impl<'a> TypeRef<'a> {
    /// The type of a whole object.
    pub(super) fn root(schema: Option<&'a Schema>) -> Self {
        schema.map_or(Self::Deduced, |schema| Self::Schema { schema, preserve: false })
    }

    pub(super) fn atom(self) -> Atom<'a> {
        match self {
            Self::Nothing => Atom::default(),
            Self::Deduced => anything(false),
            Self::Untyped => anything(true),
            Self::Schema { schema, preserve } => {
                schema_atom(schema, preserve || schema.preserve_unknown)
            }
        }
    }
}

fn anything<'a>(atomic: bool) -> Atom<'a> {
    let others = if atomic { Others::Untyped } else { Others::Deduced };
    Atom {
        scalar: Some(Scalar::Any),
        list: Some(ListOf { relation: Relation::Atomic, items: TypeRef::Untyped }),
        map: Some(MapOf { atomic, schema: None, preserve: false, others }),
    }
}

fn schema_atom(schema: &Schema, preserve: bool) -> Atom<'_> {
    let scalar = |scalar| Atom { scalar: Some(scalar), ..Atom::default() };
    match schema.kind {
        SchemaType::Object => Atom { map: Some(map_of(schema, preserve)), ..Atom::default() },
        SchemaType::Array => Atom { list: Some(list_of(schema, preserve)), ..Atom::default() },
        SchemaType::Integer | SchemaType::Number => scalar(Scalar::Numeric),
        SchemaType::Boolean => scalar(Scalar::Boolean),
        SchemaType::String => match schema.source.get("format").and_then(Value::as_str) {
            None | Some("" | "byte") => scalar(Scalar::Text),
            Some(_) => scalar(Scalar::Any),
        },
        // OpenAPI gives `int-or-string` no type, so here it takes anything; validation refuses the rest.
        SchemaType::IntOrString | SchemaType::Any => Atom {
            scalar: Some(Scalar::Any),
            list: Some(list_of(schema, preserve)),
            map: Some(map_of(schema, preserve)),
        },
    }
}

fn map_of(schema: &Schema, preserve: bool) -> MapOf<'_> {
    let others = match &schema.additional {
        Some(additional) => Others::Schema(additional),
        None if preserve || schema.properties.is_empty() => Others::Deduced,
        None => Others::Refused,
    };
    MapOf { atomic: schema.atomic_map, schema: Some(schema), preserve, others }
}

fn list_of(schema: &Schema, preserve: bool) -> ListOf<'_> {
    let items = schema
        .items
        .as_deref()
        .map_or(TypeRef::Untyped, |schema| TypeRef::Schema { schema, preserve });
    let relation = match &schema.list_type {
        ListType::Set => Relation::Set,
        ListType::Map(keys) => Relation::Map(keys),
        ListType::Atomic if schema.source.get("x-kubernetes-list-type").is_some() => {
            Relation::Atomic
        }
        ListType::Atomic => match schema.patch_strategy.as_deref() {
            Some("merge" | "merge,retainKeys") => {
                schema.patch_merge_key.as_deref().map_or(Relation::Set, Relation::MapBy)
            }
            _ => Relation::Atomic,
        },
    };
    ListOf { relation, items }
}

impl<'a> MapOf<'a> {
    /// Whether the field is declared by name.
    pub(super) fn declares(&self, name: &str) -> bool {
        self.schema.is_some_and(|schema| schema.properties.contains_key(name))
    }

    /// The type of a key; `Nothing` if it is not allowed.
    pub(super) fn field(&self, name: &str) -> TypeRef<'a> {
        if let Some(schema) = self.schema.and_then(|schema| schema.properties.get(name)) {
            return TypeRef::Schema { schema, preserve: self.preserve };
        }
        match self.others {
            Others::Schema(schema) => TypeRef::Schema { schema, preserve: self.preserve },
            Others::Deduced => TypeRef::Deduced,
            Others::Untyped => TypeRef::Untyped,
            Others::Refused => TypeRef::Nothing,
        }
    }

    /// Whether it has no declared fields and takes anything: such a map is never re-read after a schema change.
    pub(super) fn is_deduced(&self) -> bool {
        matches!(self.others, Others::Deduced)
            && self.schema.is_none_or(|schema| schema.properties.is_empty())
    }
}

impl<'a> Atom<'a> {
    /// The one kind that fits the value; all of them if none does or the value is null.
    pub(super) fn deduce(self, value: Option<&Value>) -> Self {
        match value {
            Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) if self.scalar.is_some() => {
                Self { scalar: self.scalar, ..Self::default() }
            }
            Some(Value::Array(_)) if self.list.is_some() => {
                Self { list: self.list, ..Self::default() }
            }
            Some(Value::Object(_)) if self.map.is_some() => {
                Self { map: self.map, ..Self::default() }
            }
            _ => self,
        }
    }

    /// Whether two deductions from one atom came to the same.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.scalar.is_some() == other.scalar.is_some()
            && self.list.is_some() == other.list.is_some()
            && self.map.is_some() == other.map.is_some()
    }

    /// The kind by which a value is handled.
    pub(super) fn handler(self) -> Handler<'a> {
        match self {
            Self { map: Some(map), .. } => Handler::Map(map),
            Self { scalar: Some(scalar), .. } => Handler::Scalar(scalar),
            Self { list: Some(list), .. } => Handler::List(list),
            Self { .. } => Handler::None,
        }
    }
}

/// How a value is walked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handler<'a> {
    Map(MapOf<'a>),
    Scalar(Scalar),
    List(ListOf<'a>),
    None,
}
