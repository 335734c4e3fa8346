//! The entries of `details.causes` of a refused request.

use std::fmt;

use serde_json::Value;

/// Why a field is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// `spec.ports[0].name`; `<nil>` where the API server names none.
    pub field: String,
    /// `FieldValueInvalid`, `FieldValueRequired`, …
    pub reason: &'static str,
    /// Without the field.
    pub message: String,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// The field of a cause that belongs to no field.
pub const NO_FIELD: &str = "<nil>";

impl Cause {
    fn new(field: &str, reason: &'static str, message: String) -> Self {
        let field = if field.is_empty() { NO_FIELD } else { field };
        Self { field: field.to_owned(), reason, message }
    }

    /// `Invalid value: VALUE: DETAIL`
    pub fn invalid(field: &str, value: &Value, detail: impl fmt::Display) -> Self {
        Self::invalid_shown(field, &shown(value), detail)
    }

    /// `Invalid value: SHOWN: DETAIL`, for values that are shown otherwise than as JSON.
    pub fn invalid_shown(field: &str, shown: &str, detail: impl fmt::Display) -> Self {
        Self::new(field, "FieldValueInvalid", format!("Invalid value: {shown}: {detail}"))
    }

    /// `Invalid value: DETAIL`, where the API server leaves the value out.
    pub fn invalid_without_value(field: &str, detail: impl fmt::Display) -> Self {
        Self::new(field, "FieldValueInvalid", format!("Invalid value: {detail}"))
    }

    /// `Required value`, with the detail unless it is empty.
    pub fn required(field: &str, detail: &str) -> Self {
        Self::new(field, "FieldValueRequired", with_detail("Required value".to_owned(), detail))
    }

    /// `Duplicate value: VALUE`
    pub fn duplicate(field: &str, value: &Value) -> Self {
        Self::new(field, "FieldValueDuplicate", format!("Duplicate value: {}", shown(value)))
    }

    /// `Duplicate value`, where the API server leaves the value out.
    pub fn duplicate_without_value(field: &str) -> Self {
        Self::new(field, "FieldValueDuplicate", "Duplicate value".to_owned())
    }

    /// `Forbidden: DETAIL`
    pub fn forbidden(field: &str, detail: &str) -> Self {
        Self::new(field, "FieldValueForbidden", with_detail("Forbidden".to_owned(), detail))
    }

    /// `Internal error: DETAIL`
    pub fn internal(field: &str, detail: &str) -> Self {
        Self::new(field, "InternalError", format!("Internal error: {detail}"))
    }

    /// `Not found: VALUE`
    pub fn not_found(field: &str, value: &Value) -> Self {
        Self::new(field, "FieldValueNotFound", format!("Not found: {}", shown(value)))
    }

    /// `Too long: may not be more than N bytes`
    pub fn too_long(field: &str, max: u64) -> Self {
        let bytes = if max == 1 { "byte" } else { "bytes" };
        let message = format!("Too long: may not be more than {max} {bytes}");
        Self::new(field, "FieldValueTooLong", message)
    }

    /// `Too many: N: must have at most M items`
    pub fn too_many(field: &str, actual: usize, max: u64) -> Self {
        let items = if max == 1 { "item" } else { "items" };
        let message = format!("Too many: {actual}: must have at most {max} {items}");
        Self::new(field, "FieldValueTooMany", message)
    }

    /// As `invalid`, for a value of the wrong type or format.
    pub fn type_invalid(field: &str, shown: &str, detail: impl fmt::Display) -> Self {
        Self::new(field, "FieldValueTypeInvalid", format!("Invalid value: {shown}: {detail}"))
    }

    /// `Unsupported value: VALUE: supported values: "A", "B"`
    pub fn unsupported(field: &str, value: &Value, supported: &[impl AsRef<str>]) -> Self {
        let supported: Vec<String> = supported.iter().map(|text| quoted(text.as_ref())).collect();
        let list = if supported.is_empty() {
            String::new()
        } else {
            format!(": supported values: {}", supported.join(", "))
        };
        let message = format!("Unsupported value: {}{list}", shown(value));
        Self::new(field, "FieldValueNotSupported", message)
    }
}

fn with_detail(head: String, detail: &str) -> String {
    if detail.is_empty() { head } else { format!("{head}: {detail}") }
}

/// A value as field errors show it: texts quoted, the rest as JSON.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            value.to_string()
        }
    }
}

/// A text as Go's `%q` writes it.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                out.push_str(&format!("\\x{:02x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The causes as the message of a `Status` lists them: each text once, in brackets when there are several.
pub fn joined(causes: &[Cause]) -> String {
    let mut texts: Vec<String> = Vec::with_capacity(causes.len());
    for cause in causes {
        let text = cause.to_string();
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    match texts.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}
