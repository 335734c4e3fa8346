//! The CEL rules in the schema of a CustomResourceDefinition: their form, their types, and what they cost together.

use serde_json::Value;

use crate::sandbox::validation::Cause;
use crate::sandbox::validation::cel::written::SchemaNode;

use super::check::{Check, join, list, text};
use super::schema_rules::refers;

const REASONS: &[&str] =
    &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
/// What one rule may cost for all the values that it can meet in one object.
const MAX_RULE_COST: u64 = 10_000_000;
/// What all rules of a schema may cost.
const MAX_SCHEMA_COST: u64 = 100_000_000;
/// So many of the rules are named if they cost too much together.
const MAX_NAMED: usize = 4;

/// Checks all rules of a schema; `compile` says whether there is nothing wrong with the schema otherwise.
pub(super) fn rules(schema: &Value, path: &str, compile: bool, check: &mut Check) {
    let mut walk = Walk { check, compile, total: 0, costly: Vec::new() };
    let place = Place { path, root: true, cardinality: Some(1), uncorrelatable: None };
    walk.node(schema, &place);
    let Walk { total, mut costly, .. } = walk;
    if total <= MAX_SCHEMA_COST {
        return;
    }
    costly.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
    for (_, path) in costly.iter().take(MAX_NAMED) {
        let detail = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        check.forbidden(path, detail);
    }
    let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
    check.forbidden(path, &too_costly(what, total, MAX_SCHEMA_COST));
}

/// Where a schema is.
struct Place<'a> {
    path: &'a str,
    /// Whether it is that of the whole object.
    root: bool,
    /// How many values of it there can be, if something above says so.
    cardinality: Option<u64>,
    /// What is above that loses its identity when an object changes.
    uncorrelatable: Option<&'a str>,
}

struct Walk<'a> {
    check: &'a mut Check,
    compile: bool,
    total: u64,
    /// Rules that make at least a hundredth of what is allowed, with their places.
    costly: Vec<(u64, String)>,
}

impl Walk<'_> {
    /// Checks a node and all below it; whether the form of all its rules is right.
    fn node(&mut self, schema: &Value, place: &Place<'_>) -> bool {
        let mut is_right = true;
        let within = |lost: bool| place.uncorrelatable.or_else(|| lost.then_some(place.path));
        let cardinality =
            place.cardinality.zip(max_elements(schema)).map(|(a, b)| a.saturating_mul(b));
        let mut child = |child: &Value, path: &str, uncorrelatable| {
            let place = Place { path, root: false, cardinality, uncorrelatable };
            is_right &= self.node(child, &place);
        };
        if schema["additionalProperties"].is_object() {
            let path = join(place.path, "additionalProperties");
            child(&schema["additionalProperties"], &path, place.uncorrelatable);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            child(property, &format!("{}.properties[{name}]", place.path), place.uncorrelatable);
        }
        if schema["items"].is_object() {
            let lost = schema["x-kubernetes-list-type"] != "map";
            child(&schema["items"], &join(place.path, "items"), within(lost));
        }
        for (at, rule) in list(&schema["x-kubernetes-validations"]).iter().enumerate() {
            let path = format!("{}.x-kubernetes-validations[{at}]", place.path);
            let before = self.check.causes.len();
            form(schema, rule, &path, self.check);
            is_right &= self.check.causes.len() == before;
        }
        if is_right && self.compile && !list(&schema["x-kubernetes-validations"]).is_empty() {
            self.compile(schema, place);
        }
        is_right
    }

    fn compile(&mut self, schema: &Value, place: &Place<'_>) {
        let path = join(place.path, "x-kubernetes-validations");
        let is_object = place.root || schema["x-kubernetes-embedded-resource"] == true;
        let Some(node) = SchemaNode::new(schema, is_object) else {
            let detail = "internal error: failed to construct type information for x-kubernetes-validations rules: \
                          unable to convert structural schema to CEL declarations";
            self.check.causes.push(Cause::internal(&path, detail));
            return;
        };
        let cardinality = place.cardinality.unwrap_or_else(|| node.max_cardinality());
        for (at, rule) in list(&schema["x-kubernetes-validations"]).iter().enumerate() {
            self.rule(rule, &format!("{path}[{at}]"), &node, cardinality, place.uncorrelatable);
        }
    }

    fn rule(
        &mut self,
        rule: &Value,
        path: &str,
        node: &SchemaNode,
        cardinality: u64,
        uncorrelatable: Option<&str>,
    ) {
        let optional = &rule["optionalOldSelf"];
        let source = text(rule, "rule");
        let rule_path = join(path, "rule");
        let compiled = node.rule(source, optional == true);
        let uses_old_self = match &compiled {
            Ok(facts) => {
                self.cost(
                    &rule_path,
                    "estimated rule cost",
                    facts.max_cost.saturating_mul(cardinality),
                );
                facts.uses_old_self
            }
            Err(why) => {
                self.check.invalid_shown(&rule_path, &shown(rule), why);
                false
            }
        };
        let by = text(rule, "messageExpression");
        if compiled.is_ok() && !by.is_empty() {
            let by_path = join(path, "messageExpression");
            match node.message(by, optional == true) {
                Ok(cost) => self.cost(&by_path, "estimated messageExpression cost", cost),
                Err(why) => self.check.invalid_shown(&by_path, &shown(rule), &why),
            }
        }
        match uncorrelatable {
            Some(within) if uses_old_self => {
                let detail = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {within}"
                );
                self.check.invalid(&rule_path, &source.into(), detail);
            }
            _ if !uses_old_self && !optional.is_null() => {
                let detail = "may not be set if oldSelf is not used in rule";
                self.check.invalid(&join(path, "optionalOldSelf"), optional, detail);
            }
            _ => {}
        }
    }

    fn cost(&mut self, path: &str, what: &str, cost: u64) {
        if cost > MAX_RULE_COST {
            self.check.forbidden(path, &too_costly(what, cost, MAX_RULE_COST));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= MAX_SCHEMA_COST / 100 {
            self.costly.push((cost, path.to_owned()));
        }
    }
}

/// How many values a schema's children have for each of its own, if that is limited.
fn max_elements(schema: &Value) -> Option<u64> {
    let limit =
        |field: &str| schema[field].as_i64().map(|max| u64::try_from(max).unwrap_or_default());
    match text(schema, "type") {
        "object" if schema["additionalProperties"].is_null() => Some(1),
        "object" => limit("maxProperties"),
        "array" => limit("maxItems"),
        _ => Some(1),
    }
}

fn too_costly(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and \
         maxLength where arrays, maps, and strings are declared)"
    )
}

/// What can be wrong with a rule whatever its expressions say.
fn form(schema: &Value, rule: &Value, path: &str, check: &mut Check) {
    let breaks = ['\n', '\r'];
    let (source, message) = (text(rule, "rule").trim(), text(rule, "message"));
    let message_path = join(path, "message");
    if source.is_empty() {
        check.required(&join(path, "rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        check.invalid(&message_path, &message.into(), "must be non-empty if specified");
    } else if message.trim().contains(breaks) {
        check.invalid(&message_path, &message.into(), "must not contain line breaks");
    } else if source.contains(breaks) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        check.required(&message_path, detail);
    }
    let by = text(rule, "messageExpression");
    if !by.is_empty() && by.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        check.required(&join(path, "messageExpression"), detail);
    }
    check.one_of(rule, "reason", path, REASONS);
    let (field, field_path) = (text(rule, "fieldPath"), join(path, "fieldPath"));
    if !field.is_empty() && field.trim().is_empty() {
        check.invalid(&field_path, &field.into(), "must be non-empty if specified");
    }
    if field.contains(breaks) {
        check.invalid(&field_path, &field.into(), "must not contain line breaks");
    }
    if !field.is_empty() && !refers(schema, field) {
        check.invalid(&field_path, &field.into(), "must be a valid path");
    }
}

/// A rule as the API server's Go struct prints.
fn shown(rule: &Value) -> String {
    // Go escapes what could be taken for HTML.
    let text = |field: &str| {
        Value::from(text(rule, field))
            .to_string()
            .replace('<', "\\u003c")
            .replace('>', "\\u003e")
            .replace('&', "\\u0026")
    };
    format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{},\"FieldPath\":{},\"OptionalOldSelf\":{}}}",
        text("rule"),
        text("message"),
        text("messageExpression"),
        rule["reason"],
        text("fieldPath"),
        rule["optionalOldSelf"],
    )
}
