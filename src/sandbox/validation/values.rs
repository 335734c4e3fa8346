//! Checking a value against its schema, with the texts of the API server's OpenAPI validator.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use regex::Regex;
use serde_json::Value;

use crate::sandbox::schema::{ListType, Schema, SchemaType};

use super::cause::{NO_FIELD, shown};
use super::cel::Rule;
use super::structural;
use super::{Cause, cel, format, lists, metadata};

/// A schema made ready for checking. Patterns and CEL rules are compiled when they are first met, once.
pub struct Validator {
    schema: Arc<Schema>,
    root: Node,
}

impl Validator {
    /// Takes nearly no time: what is below the root is prepared when a value gets there.
    pub fn new(schema: Arc<Schema>) -> Self {
        Self { root: Node::new(schema.clone()), schema }
    }

    /// The schema that it checks against.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// Why the API server would refuse the value; nothing when it would take it. With the `old` value, what an update
    /// leaves as it was is not held against it (ratcheting), and transition rules see `oldSelf`.
    pub fn validate(&self, value: &Value, old: Option<&Value>) -> Vec<Cause> {
        self.validate_telling(value, old, &mut Vec::new())
    }

    /// As `validate`; the rules that what was left as it was breaks are told in `warnings`.
    pub fn validate_telling(
        &self,
        value: &Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Vec<Cause> {
        let mut causes = Vec::new();
        self.root.check(value, old, "", &mut causes);
        metadata::validate_embedded(&self.schema, value, &mut causes);
        let mut before = Vec::new();
        if let Some(old) = old {
            lists::validate(&self.schema, old, "", &mut before);
        }
        if before.is_empty() {
            lists::validate(&self.schema, value, "", &mut causes);
        }
        if !self.root.has_rules() {
            return causes;
        }
        if causes.iter().any(blocks_rules) {
            causes.push(Cause::invalid(
                NO_FIELD,
                &Value::Null,
                "some validation rules were not checked because the object was invalid; \
                 correct the existing errors to complete validation",
            ));
        } else {
            cel::validate(&self.root, value, old, &mut causes, warnings);
        }
        causes
    }

    /// As `validate`, without lists, embedded metadata and CEL: for built-in kinds, whose schemas only hold enums,
    /// types and formats.
    pub fn validate_fields(&self, value: &Value, old: Option<&Value>) -> Vec<Cause> {
        let mut causes = Vec::new();
        self.root.check(value, old, "", &mut causes);
        causes
    }

    /// The CEL rules that do not compile: path of the schema, rule, why.
    pub fn broken_rules(&self) -> Vec<(String, String, String)> {
        let mut broken = Vec::new();
        self.root.each_rule("", &mut |path, rule| {
            if let Some(why) = rule.broken() {
                broken.push((path.to_owned(), rule.source.clone(), why));
            }
        });
        broken
    }

    /// How many CEL rules there are.
    pub fn n_rules(&self) -> usize {
        let mut n = 0;
        self.root.each_rule("", &mut |_, _| n += 1);
        n
    }
}

/// After one of these, rules could meet a value that they were not written for.
fn blocks_rules(cause: &Cause) -> bool {
    matches!(
        cause.reason,
        "FieldValueNotSupported"
            | "FieldValueRequired"
            | "FieldValueTooLong"
            | "FieldValueTooMany"
            | "FieldValueTypeInvalid"
    )
}

/// One node of the schema with its checks.
pub(super) struct Node {
    pub(super) schema: Arc<Schema>,
    checks: Checks,
    pub(super) rules: Vec<Rule>,
    children: OnceLock<Children>,
    has_rules: OnceLock<bool>,
}

struct Children {
    properties: BTreeMap<String, Node>,
    additional: Option<Box<Node>>,
    items: Option<Box<Node>>,
}

#[derive(Default)]
struct Checks {
    minimum: Option<f64>,
    exclusive_minimum: bool,
    maximum: Option<f64>,
    exclusive_maximum: bool,
    multiple_of: Option<f64>,
    min_length: Option<u64>,
    max_length: Option<u64>,
    /// As written, and compiled; `None` for a pattern that this engine cannot read.
    pattern: Option<(String, Option<Regex>)>,
    min_items: Option<u64>,
    max_items: Option<u64>,
    min_properties: Option<u64>,
    max_properties: Option<u64>,
    enumeration: Option<Vec<Value>>,
    format: String,
    all_of: Vec<Node>,
    any_of: Vec<Node>,
    one_of: Vec<Node>,
    not: Option<Box<Node>>,
}

impl Checks {
    fn of(source: &Value) -> Self {
        let number = |name: &str| source.get(name).and_then(Value::as_f64);
        let count = |name: &str| source.get(name).and_then(Value::as_u64);
        let flag = |name: &str| source.get(name).and_then(Value::as_bool).unwrap_or(false);
        let nodes = |name: &str| -> Vec<Node> {
            source
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(branch)
                .collect()
        };
        let pattern = source.get("pattern").and_then(Value::as_str).filter(|text| !text.is_empty());
        Self {
            minimum: number("minimum"),
            exclusive_minimum: flag("exclusiveMinimum"),
            maximum: number("maximum"),
            exclusive_maximum: flag("exclusiveMaximum"),
            multiple_of: number("multipleOf"),
            min_length: count("minLength"),
            max_length: count("maxLength"),
            pattern: pattern.map(|text| (text.to_owned(), Regex::new(text).ok())),
            min_items: count("minItems"),
            max_items: count("maxItems"),
            min_properties: count("minProperties"),
            max_properties: count("maxProperties"),
            enumeration: source.get("enum").and_then(Value::as_array).cloned(),
            format: source.get("format").and_then(Value::as_str).unwrap_or_default().to_owned(),
            all_of: nodes("allOf"),
            any_of: nodes("anyOf"),
            one_of: nodes("oneOf"),
            not: source.get("not").and_then(branch).map(Box::new),
        }
    }
}

fn branch(source: &Value) -> Option<Node> {
    structural::schema(source).ok().map(|schema| Node::new(Arc::new(schema)))
}

impl Node {
    fn new(schema: Arc<Schema>) -> Self {
        Self {
            checks: Checks::of(&schema.source),
            rules: Rule::all_of(&schema.source),
            children: OnceLock::new(),
            has_rules: OnceLock::new(),
            schema,
        }
    }

    fn children(&self) -> &Children {
        self.children.get_or_init(|| Children {
            properties: self
                .schema
                .properties
                .iter()
                .map(|(name, schema)| (name.clone(), Self::new(schema.clone())))
                .collect(),
            additional: self.schema.additional.clone().map(|schema| Box::new(Self::new(schema))),
            items: self.schema.items.clone().map(|schema| Box::new(Self::new(schema))),
        })
    }

    pub(super) fn property(&self, name: &str) -> Option<&Self> {
        self.children().properties.get(name)
    }

    pub(super) fn additional(&self) -> Option<&Self> {
        self.children().additional.as_deref()
    }

    pub(super) fn items(&self) -> Option<&Self> {
        self.children().items.as_deref()
    }

    fn each_child<'a>(&'a self, mut with: impl FnMut(&str, &'a Self)) {
        let children = self.children();
        for (name, child) in &children.properties {
            with(&format!(".properties[{name}]"), child);
        }
        if let Some(child) = &children.additional {
            with(".additionalProperties", child);
        }
        if let Some(child) = &children.items {
            with(".items", child);
        }
    }

    /// Whether there is a CEL rule here or below.
    pub(super) fn has_rules(&self) -> bool {
        *self.has_rules.get_or_init(|| {
            let mut found = !self.rules.is_empty();
            self.each_child(|_, child| found = found || child.has_rules());
            found
        })
    }

    fn each_rule(&self, path: &str, with: &mut dyn FnMut(&str, &Rule)) {
        for rule in &self.rules {
            with(path, rule);
        }
        self.each_child(|below, child| child.each_rule(&format!("{path}{below}"), with));
    }

    /// Adds the causes of a value and gives how many checks looked at it, which tells the best of failed branches.
    fn check(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        causes: &mut Vec<Cause>,
    ) -> usize {
        let before = causes.len();
        let mut n_checks = 1;
        self.check_type(value, path, causes);
        n_checks += self.check_branches(value, path, causes);
        match value {
            Value::String(text) => self.check_text(text, value, path, causes),
            Value::Number(_) => self.check_number(value, path, causes),
            Value::Array(items) => n_checks += self.check_items(items, old, path, causes),
            Value::Object(_) => n_checks += self.check_object(value, old, path, causes),
            Value::Null | Value::Bool(_) => {}
        }
        if let Some(allowed) = &self.checks.enumeration
            && !allowed.contains(value)
            && !(value.is_null() && self.schema.nullable)
        {
            let names: Vec<String> = allowed
                .iter()
                .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
                .collect();
            causes.push(Cause::unsupported(path, value, &names));
        }
        // What an update leaves as it was is not held against it.
        if causes.len() > before && old == Some(value) {
            causes.truncate(before);
        }
        n_checks
    }

    fn check_type(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        let types: &[&str] = match self.schema.kind {
            SchemaType::Object => &["object"],
            SchemaType::Array => &["array"],
            SchemaType::String => &["string"],
            SchemaType::Integer => &["integer"],
            SchemaType::Number => &["number"],
            SchemaType::Boolean => &["boolean"],
            SchemaType::IntOrString => &["integer", "string"],
            SchemaType::Any => return,
        };
        let (found, found_format) = match value {
            Value::Null if self.schema.nullable => return,
            Value::Null => ("null", ""),
            Value::Bool(_) => ("boolean", ""),
            // What no 64-bit integer holds is a float to the decoder.
            Value::Number(number) if number.as_i64().is_none() => ("number", "double"),
            Value::Number(_) => ("integer", "int64"),
            Value::String(_) => ("string", ""),
            Value::Array(_) => ("array", ""),
            Value::Object(_) => ("object", ""),
        };
        let whole = is_whole(value);
        let fits = types.contains(&found)
            || (found == "number" && whole && types.contains(&"integer"))
            || (found == "integer" && types.contains(&"number"));
        if fits {
            return;
        }
        let format = &self.checks.format;
        let (expected, found) = if value.is_null() || format.is_empty() {
            (types.join(","), found)
        } else if !matches!(value, Value::String(_) | Value::Array(_)) {
            (format.clone(), found_format)
        } else if types.contains(&"integer") || types.contains(&"number") {
            (types.join(","), found)
        } else {
            return;
        };
        let found = Value::String(found.to_owned());
        let detail = format!("{path} in body must be of type {expected}: {}", shown(&found));
        causes.push(Cause::type_invalid(path, &shown(&found), detail));
    }

    fn check_text(&self, text: &str, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        let checks = &self.checks;
        let length = text.chars().count() as u64;
        // One cause is enough for a text: length comes before pattern.
        if let Some(max) = checks.max_length.filter(|max| length > *max) {
            causes.push(Cause::too_long(path, max));
        } else if let Some(min) = checks.min_length.filter(|min| length < *min) {
            let detail = format!("{path} in body should be at least {min} chars long");
            causes.push(Cause::invalid(path, value, detail));
        } else if let Some((pattern, Some(compiled))) = &checks.pattern
            && !compiled.is_match(text)
        {
            let detail = format!("{path} in body should match '{pattern}'");
            causes.push(Cause::invalid(path, value, detail));
        }
        if format::has_format(&checks.format, text) == Some(false) {
            let detail =
                format!("{path} in body must be of type {}: {}", checks.format, shown(value));
            causes.push(Cause::type_invalid(path, &shown(value), detail));
        }
    }

    fn check_number(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        let checks = &self.checks;
        let Some(number) = value.as_f64() else { return };
        let whole = value.as_i64();
        // A whole number is compared with the whole part of a bound, as upstream does.
        let bound = |bound: f64| if whole.is_some() { bound.trunc() } else { bound };
        if let Some(min) = checks.minimum.map(bound)
            && (number < min || (checks.exclusive_minimum && number == min))
        {
            let than = if checks.exclusive_minimum { "" } else { " or equal to" };
            let detail =
                format!("{path} in body should be greater than{than} {}", shown_bound(min, whole));
            causes.push(Cause::invalid(path, value, detail));
        }
        if let Some(max) = checks.maximum.map(bound)
            && (number > max || (checks.exclusive_maximum && number == max))
        {
            let than = if checks.exclusive_maximum { "" } else { " or equal to" };
            let detail =
                format!("{path} in body should be less than{than} {}", shown_bound(max, whole));
            causes.push(Cause::invalid(path, value, detail));
        }
        if let Some(factor) = checks.multiple_of.map(bound) {
            if factor <= 0.0 {
                let detail = format!(
                    "factor MultipleOf declared for {path} must be positive: {}",
                    shown_bound(factor, whole)
                );
                causes.push(Cause::invalid(path, value, detail));
            } else if (number / factor).fract() != 0.0 {
                let detail = format!(
                    "{path} in body should be a multiple of {}",
                    shown_bound(factor, whole)
                );
                causes.push(Cause::invalid(path, value, detail));
            }
        }
        self.check_range(value, path, causes);
    }

    fn check_range(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) {
        if self.schema.kind != SchemaType::Integer {
            return;
        }
        let whole = value
            .as_i64()
            .or_else(|| value.as_f64().filter(|_| is_whole(value)).map(|number| number as i64));
        let (fits, format) = match self.checks.format.as_str() {
            "int32" => (whole.is_some_and(|n| i32::try_from(n).is_ok()), "with format int32"),
            "uint32" => (whole.is_some_and(|n| u32::try_from(n).is_ok()), "with format uint32"),
            "uint64" => (value.as_u64().is_some(), "with format uint64"),
            "int64" => (whole.is_some(), "with format int64"),
            _ => (whole.is_some(), "(default format)"),
        };
        if !fits {
            let detail = format!("Checked value must be of type integer {format} in {path}");
            causes.push(Cause::invalid_shown(NO_FIELD, "\"\"", detail));
        }
    }

    fn check_items(
        &self,
        items: &[Value],
        old: Option<&Value>,
        path: &str,
        causes: &mut Vec<Cause>,
    ) -> usize {
        let mut n_checks = 0;
        if let Some(max) = self.checks.max_items.filter(|max| items.len() as u64 > *max) {
            causes.push(Cause::too_many(path, items.len(), max));
        }
        if let Some(min) = self.checks.min_items.filter(|min| (items.len() as u64) < *min) {
            let detail = format!("{path} in body should have at least {min} items");
            causes.push(Cause::invalid(path, &items.len().into(), detail));
        }
        if let Some(child) = self.items() {
            for (at, item) in items.iter().enumerate() {
                let old = old_item(&self.schema, item, old);
                n_checks += child.check(item, old, &format!("{path}[{at}]"), causes);
            }
        }
        n_checks
    }

    fn check_object(
        &self,
        value: &Value,
        old: Option<&Value>,
        path: &str,
        causes: &mut Vec<Cause>,
    ) -> usize {
        let Value::Object(fields) = value else { return 0 };
        let mut n_checks = 0;
        let checks = &self.checks;
        if let Some(max) = checks.max_properties.filter(|max| fields.len() as u64 > *max) {
            causes.push(Cause::too_many(path, fields.len(), max));
        }
        if let Some(min) = checks.min_properties.filter(|min| (fields.len() as u64) < *min) {
            let detail = format!("{path} in body should have at least {min} properties");
            causes.push(Cause::invalid(path, &fields.len().into(), detail));
        }
        let below =
            |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let embedded = ["apiVersion", "kind"].iter().filter(|_| self.schema.embedded_resource);
        let required = self.schema.required.iter().map(String::as_str).chain(embedded.copied());
        for name in required {
            if !fields.contains_key(name) {
                causes.push(Cause::required(&below(name), ""));
            }
        }
        for (name, found) in fields {
            let child = self.property(name).or_else(|| self.additional());
            if let Some(child) = child {
                let old = old.and_then(|old| old.get(name));
                n_checks += child.check(found, old, &below(name), causes);
            }
        }
        n_checks
    }

    fn check_branches(&self, value: &Value, path: &str, causes: &mut Vec<Cause>) -> usize {
        let checks = &self.checks;
        let mut n_checks = 0;
        let name = shown(&Value::String(path.to_owned()));
        let tell = |causes: &mut Vec<Cause>, detail: String| {
            causes.push(Cause::invalid_shown(NO_FIELD, "\"\"", detail));
        };
        if !checks.any_of.is_empty() {
            let (n_valid, best) = try_all(&checks.any_of, value, path, true);
            if n_valid == 0 {
                tell(causes, format!("{name} must validate at least one schema (anyOf)"));
                causes.extend(best);
            }
            n_checks += 1;
        }
        if !checks.one_of.is_empty() {
            let (n_valid, best) = try_all(&checks.one_of, value, path, false);
            let only = format!("{name} must validate one and only one schema (oneOf)");
            match n_valid {
                0 => {
                    tell(causes, format!("{only}. Found none valid"));
                    causes.extend(best);
                }
                1 => {}
                n => tell(causes, format!("{only}. Found {n} valid alternatives")),
            }
            n_checks += 1;
        }
        if !checks.all_of.is_empty() {
            let mut n_valid = 0;
            for node in &checks.all_of {
                let before = causes.len();
                n_checks += node.check(value, None, path, causes);
                n_valid += usize::from(causes.len() == before);
            }
            if n_valid < checks.all_of.len() {
                let none = if n_valid == 0 { ". None validated" } else { "" };
                tell(causes, format!("{name} must validate all the schemas (allOf){none}"));
            }
        }
        if let Some(node) = &checks.not {
            let mut inner = Vec::new();
            node.check(value, None, path, &mut inner);
            if inner.is_empty() {
                tell(causes, format!("{name} must not validate the schema (not)"));
            }
        }
        n_checks
    }
}

/// How many branches take the value, and the causes of the one that came furthest when none does.
fn try_all(nodes: &[Node], value: &Value, path: &str, one_is_enough: bool) -> (usize, Vec<Cause>) {
    let mut n_valid = 0;
    let mut best: Option<(usize, Vec<Cause>)> = None;
    for node in nodes {
        let mut causes = Vec::new();
        let n_checks = node.check(value, None, path, &mut causes);
        if causes.is_empty() {
            n_valid += 1;
            if one_is_enough {
                break;
            }
        } else if best.as_ref().is_none_or(|(most, _)| n_checks > *most) {
            best = Some((n_checks, causes));
        }
    }
    (n_valid, best.map(|(_, causes)| causes).unwrap_or_default())
}

/// The item that an item was before: only lists that are maps say which.
pub(super) fn old_item<'a>(
    schema: &Schema,
    item: &Value,
    old: Option<&'a Value>,
) -> Option<&'a Value> {
    let ListType::Map(keys) = &schema.list_type else { return None };
    let key = lists::key_of(item, keys);
    old?.as_array()?.iter().find(|old| lists::key_of(old, keys) == key)
}

/// Whether a float is an integer that it holds exactly.
fn is_whole(value: &Value) -> bool {
    const MAX_EXACT: f64 = 9_007_199_254_740_991.0;
    value.as_f64().is_some_and(|number| number.fract() == 0.0 && number.abs() <= MAX_EXACT)
}

/// A bound beside a whole number is shown as one, else as Go shows a float.
fn shown_bound(bound: f64, whole: Option<i64>) -> String {
    if whole.is_some() { format!("{bound:.0}") } else { go_float(bound) }
}

/// A float as Go's `%v` writes it: the shortest digits, with an exponent from 1e6 and below 1e-4.
pub(super) fn go_float(number: f64) -> String {
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e6).contains(&size) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) =
            exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{number}")
}
