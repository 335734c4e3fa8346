//! Types of expressions, and how cel-go writes them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A type.
#[derive(Clone, Debug)]
pub(in super::super) enum Type {
    Bool,
    Bytes,
    Double,
    Duration,
    /// Known only when the expression runs.
    Dyn,
    /// Of what an error was already told.
    Error,
    Int,
    List(Arc<Self>),
    Map(Arc<Self>, Arc<Self>),
    Null,
    /// A named type without fields, perhaps of a type: `optional_type(string)`, `net.IP`.
    Opaque(&'static str, Option<Arc<Self>>),
    String,
    Struct(Arc<Struct>),
    Timestamp,
    /// The type of a type.
    Meta(Option<Arc<Self>>),
    Uint,
    /// A parameter of a function's signature.
    Param(char),
    /// A type that is still looked for.
    Var(usize),
}

/// An object with declared fields.
#[derive(Debug)]
pub(in super::super) struct Struct {
    pub(in super::super) name: String,
    pub(in super::super) fields: BTreeMap<String, Type>,
}

pub(super) const OPTIONAL: &str = "optional_type";

impl Type {
    pub(in super::super) fn list(of: Self) -> Self {
        Self::List(Arc::new(of))
    }

    pub(in super::super) fn map(key: Self, value: Self) -> Self {
        Self::Map(Arc::new(key), Arc::new(value))
    }

    pub(in super::super) fn optional(of: Self) -> Self {
        Self::Opaque(OPTIONAL, Some(Arc::new(of)))
    }

    pub(super) fn type_of(of: Self) -> Self {
        Self::Meta(Some(Arc::new(of)))
    }

    pub(in super::super) fn object(name: &str, fields: Vec<(&str, Self)>) -> Self {
        let fields = fields.into_iter().map(|(name, kind)| (name.to_owned(), kind)).collect();
        Self::Struct(Arc::new(Struct { name: name.to_owned(), fields }))
    }

    /// What an optional type holds, and whether it is one.
    pub(super) fn unwrapped(&self) -> (&Self, bool) {
        match self {
            Self::Opaque(OPTIONAL, Some(of)) => (of, true),
            other => (other, false),
        }
    }

    pub(super) fn is_dyn_or_error(&self) -> bool {
        matches!(self, Self::Dyn | Self::Error)
    }

    /// Whether two types are of one kind, whatever they hold.
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }

    /// Whether values have always the same size.
    pub(super) fn is_scalar(&self) -> bool {
        match self {
            Self::Bool
            | Self::Double
            | Self::Duration
            | Self::Int
            | Self::Timestamp
            | Self::Uint => true,
            Self::Opaque(OPTIONAL, Some(of)) => of.is_scalar(),
            _ => false,
        }
    }

    /// The name that types are registered under.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Bool => "bool".to_owned(),
            Self::Bytes => "bytes".to_owned(),
            Self::Double => "double".to_owned(),
            Self::Duration => "google.protobuf.Duration".to_owned(),
            Self::Dyn => "dyn".to_owned(),
            Self::Error => "error".to_owned(),
            Self::Int => "int".to_owned(),
            Self::List(_) => "list".to_owned(),
            Self::Map(..) => "map".to_owned(),
            Self::Null => "null_type".to_owned(),
            Self::Opaque(name, _) => (*name).to_owned(),
            Self::String => "string".to_owned(),
            Self::Struct(object) => object.name.clone(),
            Self::Timestamp => "google.protobuf.Timestamp".to_owned(),
            Self::Meta(_) => "type".to_owned(),
            Self::Uint => "uint".to_owned(),
            Self::Param(letter) => letter.to_string(),
            Self::Var(number) => format!("_var{number}"),
        }
    }

    /// What it holds, in order.
    pub(super) fn parts(&self) -> Vec<&Self> {
        match self {
            Self::List(of) | Self::Opaque(_, Some(of)) | Self::Meta(Some(of)) => vec![of],
            Self::Map(key, value) => vec![key, value],
            _ => Vec::new(),
        }
    }

    /// As results are written: with the registered names.
    pub(in super::super) fn registered(&self) -> String {
        let name = match self {
            Self::Param(_) | Self::Var(_) => format!("<{}>", self.name()),
            other => other.name(),
        };
        let parts: Vec<String> = self.parts().into_iter().map(Self::registered).collect();
        if parts.is_empty() { name } else { format!("{name}({})", parts.join(", ")) }
    }
}

impl PartialEq for Type {
    /// Objects are the same if their names are.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Struct(a), Self::Struct(b)) => a.name == b.name,
            (Self::Opaque(a, _), Self::Opaque(b, _)) if a != b => false,
            (Self::Param(a), Self::Param(b)) => a == b,
            (Self::Var(a), Self::Var(b)) => a == b,
            _ => self.same_kind(other) && self.parts() == other.parts(),
        }
    }
}

impl fmt::Display for Type {
    /// As errors write types: with the names of the language.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duration => return f.write_str("duration"),
            Self::Error => return f.write_str("!error!"),
            Self::Null => return f.write_str("null"),
            Self::Timestamp => return f.write_str("timestamp"),
            _ => f.write_str(&self.name())?,
        }
        for (at, part) in self.parts().into_iter().enumerate() {
            write!(f, "{}{part}", if at == 0 { "(" } else { ", " })?;
        }
        if self.parts().is_empty() { Ok(()) } else { f.write_str(")") }
    }
}
