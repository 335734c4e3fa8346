//! Values against the structural schema of a CRD, in the words of the API server's OpenAPI validation.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use regex::Regex;
use serde_json::{Value, json};

use crate::sandbox::api_server::crd;
use crate::sandbox::api_server::status::Cause;
use crate::sandbox::api_server::structural::join;
use crate::sandbox::schema::{ListType, Schema, SchemaType};

/// Checks an object. What an update leaves as it was is not complained about again (ratcheting).
pub(super) fn check(schema: &Schema, live: Option<&Value>, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for name in &schema.required {
        if object.get(name).is_none() {
            causes.push(Cause::required(name, ""));
        }
    }
    for (name, child) in &schema.properties {
        if matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
            continue;
        }
        if let Some(value) = object.get(name) {
            let before = live.and_then(|live| live.get(name));
            check_value(child, value, before, name, &mut causes);
        }
    }
    let mut lists = Vec::new();
    list_items(schema, object, live, "", &mut lists);
    causes.extend(lists);
    causes
}

fn check_value(
    schema: &Schema,
    value: &Value,
    before: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    if before == Some(value) {
        return;
    }
    if !check_type(schema, value, path, causes) {
        return;
    }
    check_constraints(schema, value, path, causes);
    match value {
        Value::Object(fields) => {
            for name in &schema.required {
                if !fields.contains_key(name) {
                    causes.push(Cause::required(&join(path, name), ""));
                }
            }
            for (name, value) in fields {
                if let Some(child) = schema.field(name) {
                    let before = before.and_then(|before| before.get(name));
                    check_value(child, value, before, &join(path, name), causes);
                }
            }
            if schema.embedded_resource {
                embedded(value, path, causes);
            }
        }
        Value::Array(items) => {
            if let Some(child) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    let before = correlated(schema, before, item, index);
                    check_value(child, item, before, &format!("{path}[{index}]"), causes);
                }
            }
        }
        _ => {}
    }
    combined(schema, value, path, causes);
}

/// The item of the old list that a new item continues.
fn correlated<'a>(
    schema: &Schema,
    before: Option<&'a Value>,
    item: &Value,
    index: usize,
) -> Option<&'a Value> {
    let before = before?.as_array()?;
    match &schema.list_type {
        ListType::Map(keys) => {
            before.iter().find(|old| keys.iter().all(|key| old.get(key) == item.get(key)))
        }
        ListType::Set => before.iter().find(|old| *old == item),
        ListType::Atomic => before.get(index),
    }
}

fn embedded(value: &Value, path: &str, causes: &mut Vec<Cause>) {
    for field in ["apiVersion", "kind"] {
        if value[field].as_str().is_none_or(str::is_empty) {
            causes.push(Cause::required(&join(path, field), "must not be empty"));
        }
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn check_type(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) -> bool {
    if value.is_null() && schema.nullable {
        return false;
    }
    let (fits, wanted) = match schema.kind {
        SchemaType::Any => (true, ""),
        SchemaType::Object => (value.is_object(), "object"),
        SchemaType::Array => (value.is_array(), "array"),
        SchemaType::String => (value.is_string(), "string"),
        SchemaType::Integer => {
            let whole = value.as_f64().is_some_and(|number| number.fract() == 0.0);
            (value.is_number() && whole, "integer")
        }
        SchemaType::Number => (value.is_number(), "number"),
        SchemaType::Boolean => (value.is_boolean(), "boolean"),
        SchemaType::IntOrString => (value.is_i64() || value.is_string(), "integer,string"),
    };
    if !fits {
        let found = type_name(value);
        let detail = format!("{path} in body must be of type {wanted}: \"{found}\"");
        causes.push(Cause::type_invalid(path, &Value::String(found.to_owned()), &detail));
    }
    fits
}

fn check_constraints(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(source) = schema.source.as_object() else { return };
    let size = |name: &str| source.get(name).and_then(Value::as_u64);
    let invalid = |value: &Value, why: String| {
        Cause::invalid(path, value, &format!("{path} in body {why}"))
    };
    if let Some(allowed) = source.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        let allowed: Vec<String> = allowed
            .iter()
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
        causes.push(Cause::unsupported(path, value, &allowed));
    }
    match value {
        Value::String(text) => {
            let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
            if let Some(max) = size("maxLength")
                && length > max
            {
                causes.push(Cause::too_long(path, usize::try_from(max).unwrap_or(0), "bytes"));
            }
            if let Some(min) = size("minLength")
                && length < min
            {
                causes.push(invalid(value, format!("should be at least {min} chars long")));
            }
            if let Some(pattern) = source.get("pattern").and_then(Value::as_str)
                && !pattern_matches(pattern, text)
            {
                causes.push(invalid(value, format!("should match '{pattern}'")));
            }
            if let Some(format) = source.get("format").and_then(Value::as_str)
                && !format_matches(format, text)
            {
                let detail = format!("{path} in body must be of type {format}: \"{text}\"");
                causes.push(Cause::type_invalid(path, value, &detail));
            }
        }
        Value::Number(number) => check_number(source, number, value, path, causes),
        Value::Array(items) => {
            let length = items.len();
            if let Some(max) = size("maxItems").and_then(|max| usize::try_from(max).ok())
                && length > max
            {
                causes.push(too_many(path, length, max));
            }
            if let Some(min) = size("minItems").and_then(|min| usize::try_from(min).ok())
                && length < min
            {
                causes.push(invalid(
                    &json!(length),
                    format!("should have at least {min} items"),
                ));
            }
            if source.get("uniqueItems") == Some(&Value::Bool(true))
                && items.iter().enumerate().any(|(at, item)| items[..at].contains(item))
            {
                causes.push(invalid(value, "shouldn't contain duplicates".to_owned()));
            }
        }
        Value::Object(fields) => {
            let length = fields.len();
            if let Some(max) = size("maxProperties").and_then(|max| usize::try_from(max).ok())
                && length > max
            {
                causes.push(too_many(path, length, max));
            }
            if let Some(min) = size("minProperties").and_then(|min| usize::try_from(min).ok())
                && length < min
            {
                causes.push(invalid(
                    &json!(length),
                    format!("should have at least {min} properties"),
                ));
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
}

fn too_many(path: &str, length: usize, max: usize) -> Cause {
    let mut cause = Cause::too_many(path, length, max);
    if max == 1 {
        cause.message = format!("Too many: {length}: must have at most 1 item");
    }
    cause
}

fn check_number(
    source: &serde_json::Map<String, Value>,
    number: &serde_json::Number,
    value: &Value,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    let given = number.as_f64().unwrap_or_default();
    let bound = |name: &str| source.get(name).filter(|bound| bound.is_number());
    let exclusive = |name: &str| source.get(name) == Some(&Value::Bool(true));
    let mut refuse = |why: String| {
        causes.push(Cause::invalid(path, value, &format!("{path} in body {why}")));
    };
    if let Some(max) = bound("maximum") {
        let limit = max.as_f64().unwrap_or_default();
        if exclusive("exclusiveMaximum") && given >= limit {
            refuse(format!("should be less than {max}"));
        } else if given > limit {
            refuse(format!("should be less than or equal to {max}"));
        }
    }
    if let Some(min) = bound("minimum") {
        let limit = min.as_f64().unwrap_or_default();
        if exclusive("exclusiveMinimum") && given <= limit {
            refuse(format!("should be greater than {min}"));
        } else if given < limit {
            refuse(format!("should be greater than or equal to {min}"));
        }
    }
    if let Some(step) = bound("multipleOf") {
        let divisor = step.as_f64().unwrap_or(1.0);
        if divisor != 0.0 && (given / divisor).fract().abs() > f64::EPSILON {
            refuse(format!("should be a multiple of {step}"));
        }
    }
    match source.get("format").and_then(Value::as_str) {
        Some("int32") if number.as_i64().is_none_or(|n| i32::try_from(n).is_err()) => {
            refuse(format!("must be of type int32: \"{value}\""));
        }
        Some("int64") if number.as_i64().is_none() => {
            refuse(format!("must be of type int64: \"{value}\""));
        }
        _ => {}
    }
}

/// `allOf`, `anyOf`, `oneOf` and `not` say things about values, not about structure.
fn combined(schema: &Schema, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(source) = schema.source.as_object() else { return };
    let branches = |name: &str| -> Vec<Vec<Cause>> {
        let list = source.get(name).and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .map(|branch| {
                let mut found = Vec::new();
                check_value(&crd::structural(branch), value, None, path, &mut found);
                found
            })
            .collect()
    };
    let refuse = |why: &str| {
        let detail = format!("\"{path}\" {why}");
        Cause {
            reason: "FieldValueInvalid",
            message: format!("Invalid value: \"\": {detail}"),
            field: "<nil>".to_owned(),
        }
    };
    if source.contains_key("allOf") {
        let failed: Vec<Cause> = branches("allOf").into_iter().flatten().collect();
        if !failed.is_empty() {
            causes.push(refuse("must validate all the schemas (allOf)"));
            causes.extend(failed);
        }
    }
    if source.contains_key("anyOf") && schema.kind != SchemaType::IntOrString {
        let mut tried = branches("anyOf");
        if tried.iter().all(|found| !found.is_empty()) {
            causes.push(refuse("must validate at least one schema (anyOf)"));
            causes.extend(best(&mut tried));
        }
    }
    if source.contains_key("oneOf") {
        let mut tried = branches("oneOf");
        match tried.iter().filter(|found| found.is_empty()).count() {
            1 => {}
            0 => {
                causes.push(refuse(
                    "must validate one and only one schema (oneOf). Found none valid",
                ));
                causes.extend(best(&mut tried));
            }
            n => causes.push(refuse(&format!(
                "must validate one and only one schema (oneOf). Found {n} valid alternatives"
            ))),
        }
    }
    if let Some(branch) = source.get("not") {
        let mut found = Vec::new();
        check_value(&crd::structural(branch), value, None, path, &mut found);
        if found.is_empty() {
            causes.push(refuse("must not validate the schema (not)"));
        }
    }
}

/// The complaints of the branch that came nearest.
fn best(tried: &mut Vec<Vec<Cause>>) -> Vec<Cause> {
    let nearest = tried.iter().enumerate().min_by_key(|(_, found)| found.len());
    let index = nearest.map(|(index, _)| index);
    index.map(|index| tried.swap_remove(index)).unwrap_or_default()
}

/// Sets and list maps hold each item once.
fn list_items(
    schema: &Schema,
    value: &Value,
    before: Option<&Value>,
    path: &str,
    causes: &mut Vec<Cause>,
) {
    if before == Some(value) {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if path.is_empty() && matches!(name.as_str(), "metadata" | "apiVersion" | "kind") {
                    continue;
                }
                if let Some(child) = schema.field(name) {
                    let before = before.and_then(|before| before.get(name));
                    list_items(child, value, before, &join(path, name), causes);
                }
            }
        }
        Value::Array(items) => {
            let key = |item: &Value| -> Value {
                match &schema.list_type {
                    ListType::Map(keys) => keys
                        .iter()
                        .filter_map(|key| Some((key.clone(), item.get(key)?.clone())))
                        .collect::<serde_json::Map<_, _>>()
                        .into(),
                    ListType::Set | ListType::Atomic => item.clone(),
                }
            };
            let mut seen: Vec<Value> = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                if schema.list_type != ListType::Atomic {
                    let key = key(item);
                    if seen.contains(&key) {
                        causes.push(Cause::duplicate(&format!("{path}[{index}]"), &key));
                    } else {
                        seen.push(key);
                    }
                }
                if let Some(child) = &schema.items {
                    let before = correlated(schema, before, item, index);
                    list_items(child, item, before, &format!("{path}[{index}]"), causes);
                }
            }
        }
        _ => {}
    }
}

static PATTERNS: LazyLock<Mutex<BTreeMap<String, Option<Arc<Regex>>>>> =
    LazyLock::new(Mutex::default);

/// Compiled patterns are kept: CRDs repeat a few of them thousands of times.
fn pattern_matches(pattern: &str, text: &str) -> bool {
    let known = PATTERNS.lock().get(pattern).cloned();
    let compiled = known.unwrap_or_else(|| {
        let compiled = Regex::new(pattern).ok().map(Arc::new);
        PATTERNS.lock().insert(pattern.to_owned(), compiled.clone());
        compiled
    });
    // A pattern that Go knows and we do not cannot refuse anything.
    compiled.is_none_or(|regex| regex.is_match(text))
}

fn format_matches(format: &str, text: &str) -> bool {
    match format {
        "date-time" => text.parse::<jiff::Timestamp>().is_ok(),
        "date" => text.parse::<jiff::civil::Date>().is_ok(),
        "ipv4" => text.parse::<std::net::Ipv4Addr>().is_ok(),
        "ipv6" => text.parse::<std::net::Ipv6Addr>().is_ok(),
        "cidr" => text.split_once('/').is_some_and(|(ip, bits)| {
            ip.parse::<std::net::IpAddr>().is_ok_and(|ip| {
                bits.parse::<u8>().is_ok_and(|bits| bits <= if ip.is_ipv4() { 32 } else { 128 })
            })
        }),
        "uuid" => {
            let groups: Vec<&str> = text.split('-').collect();
            groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
                && groups.iter().all(|group| group.chars().all(|c| c.is_ascii_hexdigit()))
        }
        "byte" => {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.decode(text).is_ok()
        }
        "uri" => text.contains(':'),
        _ => true,
    }
}
