//! Schemas of custom resources as types, with how large their values can become.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::types::{Struct, Type};

/// No request is larger, and so no value in it.
pub(super) const MAX_REQUEST_BYTES: i64 = 3 * 1024 * 1024;

/// A schema as expressions see it.
#[derive(Debug)]
pub(in super::super) struct Declared {
    kind: Kind,
    /// The most characters, items or entries; zero for all that has none.
    pub(super) max_elements: i64,
    /// The fewest bytes that a value takes in JSON.
    min_bytes: i64,
}

#[derive(Debug)]
enum Kind {
    Simple(Type),
    List(Box<Declared>),
    Map { key: Box<Declared>, value: Box<Declared> },
    Object(BTreeMap<String, Declared>),
}

impl Declared {
    /// A schema's declaration; nothing if expressions do not see values of it. `root` says whether it is that of a whole
    /// object, with `apiVersion`, `kind` and `metadata`.
    pub(in super::super) fn new(schema: &Value, root: bool) -> Option<Self> {
        if schema["x-kubernetes-int-or-string"] == true {
            let longest = max_length(schema).map_or(MAX_REQUEST_BYTES - 2, |max| max * 4);
            return Some(Self::simple(Type::Dyn, longest, 1));
        }
        match schema["type"].as_str().unwrap_or_default() {
            "array" => {
                let of = Self::child(schema.get("items").filter(|items| items.is_object())?)?;
                let fitting = (MAX_REQUEST_BYTES - 2) / (of.min_bytes + 1);
                let max_elements = limit(schema, "maxItems").unwrap_or(fitting);
                Some(Self { kind: Kind::List(Box::new(of)), max_elements, min_bytes: 2 })
            }
            "object" => match schema.get("additionalProperties").filter(|of| of.is_object()) {
                Some(of) => {
                    let value = Self::child(of)?;
                    let fitting = (MAX_REQUEST_BYTES - 2) / (value.min_bytes + 6);
                    let max_elements = limit(schema, "maxProperties").unwrap_or(fitting);
                    let key = Box::new(Self::simple(Type::String, 0, 2));
                    let kind = Kind::Map { key, value: Box::new(value) };
                    Some(Self { kind, max_elements, min_bytes: 2 })
                }
                None => Some(Self::object(schema, root)),
            },
            "string" => Some(Self::text(schema)),
            "boolean" => Some(Self::simple(Type::Bool, 0, 4)),
            "number" => Some(Self::simple(Type::Double, 0, 1)),
            "integer" => Some(Self::simple(Type::Int, 0, 1)),
            _ => None,
        }
    }

    fn child(schema: &Value) -> Option<Self> {
        Self::new(schema, schema["x-kubernetes-embedded-resource"] == true)
    }

    fn simple(kind: Type, max_elements: i64, min_bytes: i64) -> Self {
        Self { kind: Kind::Simple(kind), max_elements, min_bytes }
    }

    fn object(schema: &Value, root: bool) -> Self {
        let mut fields = BTreeMap::new();
        let mut min_bytes = 2;
        let required = schema["required"].as_array();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let replaced = root && ["apiVersion", "kind", "metadata"].contains(&name.as_str());
            let Some(field) = Self::child(property).filter(|_| !replaced) else { continue };
            let is_required = required.is_some_and(|names| names.iter().any(|found| found == name));
            if is_required && property["default"].is_null() {
                min_bytes += i64::try_from(name.len()).unwrap_or_default() + field.min_bytes + 4;
            }
            if let Some(name) = escape(name) {
                fields.insert(name, field);
            }
        }
        if root {
            let text = || Self::text(&Value::Null);
            let names = ["name", "generateName"].map(|name| (name.to_owned(), text()));
            let metadata = Self {
                kind: Kind::Object(names.into_iter().collect()),
                max_elements: 0,
                min_bytes: 2,
            };
            fields.insert("metadata".to_owned(), metadata);
            for name in ["apiVersion", "kind"] {
                fields.insert(name.to_owned(), text());
            }
        }
        Self { kind: Kind::Object(fields), max_elements: 0, min_bytes }
    }

    fn text(schema: &Value) -> Self {
        let longest = MAX_REQUEST_BYTES - 2;
        match schema["format"].as_str() {
            Some("byte") => Self::simple(Type::Bytes, max_length(schema).unwrap_or(longest), 2),
            Some("duration") => Self::simple(Type::Duration, 32, 3),
            Some("date") => Self::simple(Type::Timestamp, 12, 12),
            Some("date-time") => Self::simple(Type::Timestamp, 32, 21),
            _ => {
                let words = schema["enum"].as_array().filter(|words| !words.is_empty());
                let max = match (max_length(schema), words) {
                    // A character takes up to four bytes.
                    (Some(max), _) => max * 4,
                    (None, Some(words)) => words
                        .iter()
                        .filter_map(Value::as_str)
                        .map(|word| i64::try_from(word.len()).unwrap_or(longest))
                        .max()
                        .unwrap_or_default(),
                    (None, None) => longest,
                };
                Self::simple(Type::String, max, 2)
            }
        }
    }

    /// The type, its objects named after where they are.
    pub(in super::super) fn to_type(&self, name: &str) -> Type {
        match &self.kind {
            Kind::Simple(kind) => kind.clone(),
            Kind::List(of) => Type::list(of.to_type(&format!("{name}.@idx"))),
            Kind::Map { key, value } => {
                Type::map(key.to_type(name), value.to_type(&format!("{name}.@elem")))
            }
            Kind::Object(fields) => Type::Struct(Arc::new(Struct {
                name: name.to_owned(),
                fields: fields
                    .iter()
                    .map(|(field, declared)| {
                        (field.clone(), declared.to_type(&format!("{name}.{field}")))
                    })
                    .collect(),
            })),
        }
    }

    /// What a path of fields, `@items`, `@values` and `@keys` leads to.
    pub(super) fn at(&self, path: &[String]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        let next = match (&self.kind, first.as_str()) {
            (Kind::List(of), "@items" | "@values") => of,
            (Kind::Map { value, .. }, "@items" | "@values") => value,
            (Kind::Map { key, .. }, "@keys") => key,
            (Kind::Object(fields), name) => fields.get(name)?,
            _ => return None,
        };
        next.at(rest)
    }

    /// How often values of the schema can be in one request at most.
    pub(in super::super) fn max_cardinality(&self) -> u64 {
        u64::try_from(MAX_REQUEST_BYTES / (self.min_bytes + 1)).unwrap_or_default()
    }
}

fn limit(schema: &Value, field: &str) -> Option<i64> {
    schema[field].as_i64().map(|found| found.max(0))
}

fn max_length(schema: &Value) -> Option<i64> {
    limit(schema, "maxLength").map(|max| max.min(i64::MAX / 8))
}

/// Words of the language that a field's name must not be.
const RESERVED: &[&str] = &[
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// The name of a field in expressions; nothing if it can have none.
pub(in super::super) fn escape(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_.-/".contains(letter);
    if name.is_empty()
        || name.starts_with(|c: char| c.is_ascii_digit())
        || !name.chars().all(allowed)
    {
        return None;
    }
    if !name.contains(['.', '-', '/']) && !name.contains("__") {
        return Some(name.to_owned());
    }
    Some(
        name.replace("__", "__underscores__")
            .replace('.', "__dot__")
            .replace('-', "__dash__")
            .replace('/', "__slash__"),
    )
}
