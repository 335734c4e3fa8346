//! Values of templates: Go's, with reference semantics where Go has them.
//!
//! A map is shared and mutable (`set` is seen through every alias), a list is not changed once made. `Nil` is Go's
//! invalid value, `NilInterface` an empty interface read from a map or list: only the second makes `.field` an error.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Number, Value as Json};

use super::object::Object;
use super::work::{ENTRY, ITEM, Work};

/// The entries of a map, sorted by the bytes of their keys as Go's templates visit them.
pub(crate) type Entries = BTreeMap<Rc<str>, Value>;

/// Values deeper than this are refused when they are printed or converted: they are cyclic.
pub(crate) const MAX_DEPTH: usize = 1_000;

#[derive(Clone, Debug)]
pub(crate) enum Value {
    Nil,
    NilInterface,
    Bool(bool),
    Int(i64, IntKind),
    Float(f64),
    /// Bytes that are no UTF-8 are kept as in [`super::text`].
    Str(Rc<str>),
    List(Rc<List>),
    Map(Rc<MapCell>),
    Object(Rc<Object>),
}

/// Go's integer types that occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntKind {
    Int,
    Int64,
    Uint8,
    Uint32,
    Uint64,
    /// `time.Duration`, which prints as `1h0m0s`.
    Duration,
    /// `time.Month` and `time.Weekday`, which print as their names.
    Month,
    Weekday,
}

impl IntKind {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Uint32 => "uint32",
            Self::Uint64 => "uint64",
            Self::Duration => "time.Duration",
            Self::Month => "time.Month",
            Self::Weekday => "time.Weekday",
        }
    }

    /// What the type's own `String` method says of a value.
    pub(crate) fn stringer(self, value: i64) -> Option<String> {
        const MONTHS: [&str; 12] = [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        const DAYS: [&str; 7] =
            ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
        let name = |names: &[&str], at: i64| {
            usize::try_from(at).ok().and_then(|at| names.get(at)).map(|name| (*name).to_owned())
        };
        match self {
            Self::Duration => Some(super::dates::duration_text(value)),
            Self::Month => name(&MONTHS, value - 1),
            Self::Weekday => name(&DAYS, value),
            Self::Int | Self::Int64 | Self::Uint8 | Self::Uint64 | Self::Uint32 => None,
        }
    }

    pub(crate) fn is_unsigned(self) -> bool {
        matches!(self, Self::Uint8 | Self::Uint32 | Self::Uint64)
    }
}

#[derive(Debug)]
pub(crate) struct List {
    pub(crate) items: Vec<Value>,
    pub(crate) kind: ListKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListKind {
    Any,
    Str,
    Int,
    Bytes,
    /// `[][]interface {}`, from `chunk`.
    Lists,
    /// `common.VersionSet`.
    Versions,
}

impl ListKind {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "[]interface {}",
            Self::Str => "[]string",
            Self::Int => "[]int",
            Self::Bytes => "[]uint8",
            Self::Lists => "[][]interface {}",
            Self::Versions => "common.VersionSet",
        }
    }
}

#[derive(Debug)]
pub(crate) struct MapCell {
    pub(crate) entries: Rc<RefCell<Entries>>,
    pub(crate) kind: MapKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    Any,
    /// `common.Values`: has methods, and `dig` refuses it.
    Values,
    /// `map[string]string`, from `split`.
    Str,
}

impl MapKind {
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Any => "map[string]interface {}",
            Self::Values => "common.Values",
            Self::Str => "map[string]string",
        }
    }
}

/// The value cannot be said in JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotJson(pub(crate) String);

impl Value {
    pub(crate) fn str(text: impl Into<Rc<str>>) -> Self {
        Self::Str(text.into())
    }

    pub(crate) fn int(value: i64) -> Self {
        Self::Int(value, IntKind::Int)
    }

    pub(crate) fn int64(value: i64) -> Self {
        Self::Int(value, IntKind::Int64)
    }

    pub(crate) fn len(count: usize) -> Self {
        Self::int(i64::try_from(count).unwrap_or(i64::MAX))
    }

    pub(crate) fn list(items: Vec<Self>) -> Self {
        Self::typed_list(items, ListKind::Any)
    }

    pub(crate) fn typed_list(items: Vec<Self>, kind: ListKind) -> Self {
        Self::List(Rc::new(List { items, kind }))
    }

    pub(crate) fn strings<S: Into<Rc<str>>>(items: impl IntoIterator<Item = S>) -> Self {
        Self::typed_list(items.into_iter().map(Self::str).collect(), ListKind::Str)
    }

    pub(crate) fn map(entries: Entries) -> Self {
        Self::typed_map(entries, MapKind::Any)
    }

    pub(crate) fn typed_map(entries: Entries, kind: MapKind) -> Self {
        Self::Map(Rc::new(MapCell { entries: Rc::new(RefCell::new(entries)), kind }))
    }

    pub(crate) fn object(object: Object) -> Self {
        Self::Object(Rc::new(object))
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Self::Nil | Self::NilInterface)
    }

    /// As an element read through an interface.
    pub(crate) fn element(&self) -> Self {
        match self {
            Self::Nil => Self::NilInterface,
            other => other.clone(),
        }
    }

    /// Out of its interface: an empty one is nothing.
    pub(crate) fn concrete(self) -> Self {
        match self {
            Self::NilInterface => Self::Nil,
            other => other,
        }
    }

    /// Go's truth in templates.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil | Self::NilInterface => false,
            Self::Bool(value) => *value,
            Self::Int(value, _) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Str(text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.borrow().is_empty(),
            Self::Object(object) => object.is_true(),
        }
    }

    /// Sprig's emptiness, which agrees with [`is_true`](Self::is_true) for all types that occur.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_true()
    }

    /// `%T`.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::NilInterface => "interface {}",
            Self::Bool(_) => "bool",
            Self::Int(_, kind) => kind.type_name(),
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(list) => list.kind.type_name(),
            Self::Map(map) => map.kind.type_name(),
            Self::Object(object) => object.type_name(),
        }
    }

    /// `reflect.Kind`.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Nil | Self::NilInterface => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_, IntKind::Duration) => "int64",
            Self::Int(_, kind) => kind.type_name(),
            Self::Float(_) => "float64",
            Self::Str(_) => "string",
            Self::List(_) => "slice",
            Self::Map(_) => "map",
            Self::Object(object) => object.kind_name(),
        }
    }

    /// From JSON: floats are float64, integers (which only `set` makes) int64.
    pub(crate) fn from_json(json: &Json) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match number.as_i64() {
                Some(value) => Self::int64(value),
                None => Self::Float(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Self::str(text.as_str()),
            Json::Array(items) => Self::list(items.iter().map(Self::from_json).collect()),
            Json::Object(map) => Self::map(Self::entries_from_json(map)),
        }
    }

    pub(crate) fn entries_from_json(map: &Map<String, Json>) -> Entries {
        map.iter().map(|(key, value)| (Rc::from(key.as_str()), Self::from_json(value))).collect()
    }

    /// From text that Go decoded: every number is a float64.
    pub(crate) fn from_decoded(json: &Json, work: &Work) -> Self {
        match json {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or_default()),
            Json::String(text) if work.made(text.len()) => Self::str(text.as_str()),
            Json::Array(items) if work.take(ITEM * items.len()) => {
                Self::list(items.iter().map(|item| Self::from_decoded(item, work)).collect())
            }
            Json::Object(map) if work.take(ENTRY * map.len()) => Self::map(
                map.iter()
                    .map(|(key, value)| (Rc::from(key.as_str()), Self::from_decoded(value, work)))
                    .collect(),
            ),
            Json::String(_) | Json::Array(_) | Json::Object(_) => Self::Nil,
        }
    }

    /// As Go's `encoding/json` sees it.
    pub(crate) fn to_json(&self, work: &Work) -> Result<Json, NotJson> {
        self.to_json_within(work, 0)
    }

    fn to_json_within(&self, work: &Work, depth: usize) -> Result<Json, NotJson> {
        if depth > MAX_DEPTH {
            return Err(NotJson("json: unsupported value: encountered a cycle".to_owned()));
        }
        // Whoever writes it indents it.
        if !work.take(2 * ITEM + depth / 2) {
            return Err(NotJson(String::new()));
        }
        Ok(match self {
            Self::Nil | Self::NilInterface => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value, kind) if kind.is_unsigned() => Json::from(value.cast_unsigned()),
            Self::Int(value, _) => Json::from(*value),
            Self::Float(value) => Number::from_f64(*value).map(Json::Number).ok_or_else(|| {
                let text = crate::base::yaml::format_float(*value);
                NotJson(format!("json: unsupported value: {text}"))
            })?,
            Self::Str(text) => {
                work.made(text.len());
                Json::String(super::text::lossy(text))
            }
            Self::List(list) if list.kind == ListKind::Bytes => {
                use base64::Engine as _;
                let bytes: Vec<u8> = list.bytes();
                work.made(bytes.len());
                Json::String(base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            Self::List(list) => Json::Array(
                list.items
                    .iter()
                    .map(|item| item.to_json_within(work, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(map) => {
                let mut json = Map::new();
                for (key, value) in map.entries.borrow().iter() {
                    work.made(key.len());
                    json.insert(super::text::lossy(key), value.to_json_within(work, depth + 1)?);
                }
                Json::Object(json)
            }
            Self::Object(object) => object.to_json(work),
        })
    }

    /// Go's `reflect.DeepEqual`: types must agree, so 1 and 1.0 differ.
    pub(crate) fn deep_equal(&self, other: &Self, work: &Work) -> bool {
        self.deep_equal_within(other, work, 0)
    }

    fn deep_equal_within(&self, other: &Self, work: &Work, depth: usize) -> bool {
        if depth > MAX_DEPTH || !work.take(1) {
            return true;
        }
        match (self, other) {
            (Self::Nil | Self::NilInterface, Self::Nil | Self::NilInterface) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Int(a, kind_a), Self::Int(b, kind_b)) => a == b && kind_a == kind_b,
            (Self::Float(a), Self::Float(b)) => a == b,
            (Self::Str(a), Self::Str(b)) => {
                work.read(a.len().min(b.len()));
                a == b
            }
            (Self::List(a), Self::List(b)) => {
                a.kind == b.kind
                    && a.items.len() == b.items.len()
                    && a.items
                        .iter()
                        .zip(&b.items)
                        .all(|(a, b)| a.deep_equal_within(b, work, depth + 1))
            }
            (Self::Map(a), Self::Map(b)) => {
                if Rc::ptr_eq(&a.entries, &b.entries) {
                    return true;
                }
                let (left, right) = (a.entries.borrow(), b.entries.borrow());
                a.kind == b.kind
                    && left.len() == right.len()
                    && left.iter().zip(right.iter()).all(|((key_a, a), (key_b, b))| {
                        key_a == key_b && a.deep_equal_within(b, work, depth + 1)
                    })
            }
            (Self::Object(a), Self::Object(b)) => a == b,
            _ => false,
        }
    }

    /// A copy that shares no map with the original.
    pub(crate) fn deep_copy(&self, work: &Work) -> Self {
        self.deep_copy_within(work, 0)
    }

    fn deep_copy_within(&self, work: &Work, depth: usize) -> Self {
        let paid = match self {
            Self::List(list) => work.take(1 + ITEM * list.items.len()),
            Self::Map(map) => work.take(1 + ENTRY * map.entries.borrow().len()),
            _ => true,
        };
        if depth > MAX_DEPTH || !paid {
            return self.clone();
        }
        match self {
            Self::List(list) => Self::typed_list(
                list.items.iter().map(|item| item.deep_copy_within(work, depth + 1)).collect(),
                list.kind,
            ),
            Self::Map(map) => Self::typed_map(
                map.entries
                    .borrow()
                    .iter()
                    .map(|(key, value)| (key.clone(), value.deep_copy_within(work, depth + 1)))
                    .collect(),
                map.kind,
            ),
            other => other.clone(),
        }
    }
}

impl List {
    /// The bytes of a list of bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.items
            .iter()
            .map(|item| match item {
                Value::Int(value, _) => u8::try_from(*value).unwrap_or(0),
                _ => 0,
            })
            .collect()
    }
}

impl MapCell {
    pub(crate) fn get(&self, key: &str) -> Option<Value> {
        self.entries.borrow().get(key).cloned()
    }

    /// The same map under another type.
    pub(crate) fn retyped(&self, kind: MapKind) -> Rc<Self> {
        Rc::new(Self { entries: self.entries.clone(), kind })
    }
}
