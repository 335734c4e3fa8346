//! Small pieces that the checks of all kinds are made of.

use serde_json::Value;

use crate::sandbox::validation::{Cause, names};

/// The causes found so far.
#[derive(Default)]
pub(super) struct Check {
    pub(super) causes: Vec<Cause>,
}

/// The text of a field; empty when it is absent or none.
pub(super) fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// The items of a list; none when it is absent or none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The items of a list field with their paths.
pub(super) fn each<'a>(
    value: &'a Value,
    field: &str,
    path: &str,
) -> impl Iterator<Item = (&'a Value, String)> {
    let path = join(path, field);
    list(&value[field]).iter().enumerate().map(move |(at, item)| (item, format!("{path}[{at}]")))
}

pub(super) fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

/// Whether two fields are the same, `{}`, `[]`, `""` and absence being one.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    a == b || (is_empty(a) && is_empty(b))
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.values().all(Value::is_null),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

impl Check {
    pub(super) fn invalid(&mut self, path: &str, value: &Value, detail: impl std::fmt::Display) {
        self.causes.push(Cause::invalid(path, value, detail));
    }

    /// As `invalid`, for values that are shown otherwise than as JSON.
    pub(super) fn invalid_shown(&mut self, path: &str, shown: &str, detail: &str) {
        self.causes.push(Cause::invalid_shown(path, shown, detail));
    }

    pub(super) fn required(&mut self, path: &str, detail: &str) {
        self.causes.push(Cause::required(path, detail));
    }

    pub(super) fn forbidden(&mut self, path: &str, detail: &str) {
        self.causes.push(Cause::forbidden(path, detail));
    }

    pub(super) fn duplicate(&mut self, path: &str, value: &Value) {
        self.causes.push(Cause::duplicate(path, value));
    }

    pub(super) fn unsupported(&mut self, path: &str, value: &Value, supported: &[&str]) {
        self.causes.push(Cause::unsupported(path, value, supported));
    }

    /// The explanations of a syntax rule.
    pub(super) fn syntax(&mut self, path: &str, value: &str, why: Vec<String>) {
        for why in why {
            self.invalid(path, &value.into(), why);
        }
    }

    /// A number that must not be negative.
    pub(super) fn not_negative(&mut self, value: &Value, field: &str, path: &str) {
        if value[field].as_i64().is_some_and(|number| number < 0) {
            let path = join(path, field);
            self.invalid(&path, &value[field], "must be greater than or equal to 0");
        }
    }

    /// A field that must have a text.
    pub(super) fn present(&mut self, value: &Value, field: &str, path: &str) -> bool {
        let found = !text(value, field).is_empty();
        if !found {
            self.required(&join(path, field), "");
        }
        found
    }

    /// A text that is one of a few, when there is one.
    pub(super) fn one_of(&mut self, value: &Value, field: &str, path: &str, supported: &[&str]) {
        if let Some(found) = value[field].as_str()
            && !supported.contains(&found)
        {
            self.unsupported(&join(path, field), &value[field], supported);
        }
    }

    /// A port's number.
    pub(super) fn port(&mut self, value: &Value, path: &str) {
        if value.as_i64().is_none_or(|port| !(1..=65_535).contains(&port)) {
            let zero = Value::from(0);
            let shown = if value.is_null() { &zero } else { value };
            self.invalid(path, shown, "must be between 1 and 65535, inclusive");
        }
    }

    /// A port by number or by name.
    pub(super) fn port_or_name(&mut self, value: &Value, path: &str) {
        match value.as_str() {
            Some(name) => self.syntax(path, name, names::port_name(name)),
            None => self.port(value, path),
        }
    }

    /// A field that an update must leave alone.
    pub(super) fn immutable(&mut self, new: &Value, old: &Value, path: &str) {
        if !same(new, old) {
            self.invalid(path, new, "field is immutable");
        }
    }
}
