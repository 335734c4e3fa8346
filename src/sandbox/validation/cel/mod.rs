//! The CEL rules of a CRD (`x-kubernetes-validations`).
//!
//! A rule is compiled when it is first run, once. A value is converted for CEL where the first rule above it needs it;
//! rules below share the pieces. `engine` holds what rules and admission policies have in common; `written` says what is
//! wrong with expressions before they run, with `syntax` and `check`.

mod check;
pub(super) mod convert;
mod culprit;
pub mod engine;
mod stack;
mod syntax;
pub mod written;

use std::sync::OnceLock;

use kube_cel::cel;
use serde_json::Value;

use crate::sandbox::schema::SchemaType;

use super::Cause;
use super::cause::shown;
use super::values::{Node, old_item};

use engine::Expression;

/// One rule.
pub(super) struct Rule {
    pub(super) source: String,
    message: Option<String>,
    message_expression: Option<String>,
    reason: Option<String>,
    field_path: Option<String>,
    optional_old_self: bool,
    compiled: OnceLock<Compiled>,
}

struct Compiled {
    rule: Expression,
    message: Option<Expression>,
    uses_old_self: bool,
}

impl Rule {
    pub(super) fn all_of(schema: &Value) -> Vec<Self> {
        let text =
            |rule: &Value, name: &str| rule.get(name).and_then(Value::as_str).map(str::to_owned);
        schema
            .get("x-kubernetes-validations")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(|rule| Self {
                source: text(rule, "rule").unwrap_or_default(),
                message: text(rule, "message"),
                message_expression: text(rule, "messageExpression"),
                reason: text(rule, "reason"),
                field_path: text(rule, "fieldPath"),
                optional_old_self: rule["optionalOldSelf"].as_bool().unwrap_or(false),
                compiled: OnceLock::new(),
            })
            .collect()
    }

    fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| {
            let rule = Expression::new(&self.source);
            Compiled {
                uses_old_self: rule.uses("oldSelf"),
                rule,
                message: self.message_expression.as_deref().map(Expression::new),
            }
        })
    }

    /// Why the rule or its message does not compile.
    pub(super) fn broken(&self) -> Option<String> {
        let compiled = self.compiled();
        compiled.rule.broken().or_else(|| compiled.message.as_ref().and_then(Expression::broken))
    }

    fn message(&self) -> String {
        self.message
            .as_deref()
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map_or_else(|| format!("failed rule: {}", self.source.trim()), str::to_owned)
    }
}

/// Runs the rules of the whole schema on an object. What breaks a rule as it did before is let pass with a warning.
pub(super) fn validate(
    root: &Node,
    value: &Value,
    old: Option<&Value>,
    causes: &mut Vec<Cause>,
    warnings: &mut Vec<String>,
) {
    let mut run = Run { causes, warnings };
    run.node(root, Place { value, old, cel: None, old_cel: None, path: String::new(), root: true });
}

struct Run<'a> {
    causes: &'a mut Vec<Cause>,
    warnings: &'a mut Vec<String>,
}

/// A value with what it was, both also for CEL once something above had to convert them.
struct Place<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
    cel: Option<cel::Value>,
    old_cel: Option<cel::Value>,
    path: String,
    root: bool,
}

impl Run<'_> {
    fn node(&mut self, node: &Node, mut place: Place<'_>) {
        if !node.has_rules() || place.value.is_null() {
            return;
        }
        if !node.rules.is_empty() {
            let (root, schema) = (place.root, &node.schema);
            let cel =
                place.cel.get_or_insert_with(|| convert::to_cel(place.value, schema, root)).clone();
            if let Some(old) = place.old
                && place.old_cel.is_none()
            {
                place.old_cel = Some(convert::to_cel(old, schema, root));
            }
            self.rules(node, &place, cel);
        }
        match place.value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let declared = node.property(name);
                    let Some(child) = declared.or_else(|| node.additional()) else { continue };
                    let path = match (declared.is_some(), place.path.is_empty()) {
                        (true, true) => name.clone(),
                        (true, false) => format!("{}.{name}", place.path),
                        (false, _) => format!("{}[{name}]", place.path),
                    };
                    let key = convert::key_of(&node.schema, name);
                    self.node(
                        child,
                        Place {
                            value,
                            old: place.old.and_then(|old| old.get(name)),
                            cel: place.cel.as_ref().and_then(|cel| convert::field(cel, &key)),
                            old_cel: place
                                .old_cel
                                .as_ref()
                                .and_then(|cel| convert::field(cel, &key)),
                            path,
                            root: false,
                        },
                    );
                }
            }
            Value::Array(items) => {
                let Some(child) = node.items() else { return };
                for (at, value) in items.iter().enumerate() {
                    self.node(
                        child,
                        Place {
                            value,
                            old: old_item(&node.schema, value, place.old),
                            cel: place.cel.as_ref().and_then(|cel| convert::item(cel, at)),
                            old_cel: None,
                            path: format!("{}[{at}]", place.path),
                            root: false,
                        },
                    );
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn rules(&mut self, node: &Node, place: &Place<'_>, cel: cel::Value) {
        let old = place.old_cel.clone();
        let mut variables = engine::Variables::new();
        variables.add("self", cel);
        if let Some(old) = &old {
            variables.add("oldSelf", old.clone());
        }
        let unchanged = place.old == Some(place.value);
        for rule in &node.rules {
            let compiled = rule.compiled();
            let is_ratcheted = unchanged && !compiled.uses_old_self;
            let found = if rule.optional_old_self {
                let mut variables = engine::Variables::new();
                variables.add("self", place.cel.clone().unwrap_or(cel::Value::Null));
                variables.add("oldSelf", engine::optional(old.clone()));
                compiled.rule.is_true(&variables).map_err(|why| (why, None)).and_then(|passed| {
                    if passed {
                        Ok(())
                    } else {
                        Err((String::new(), message_of(rule, compiled, &variables)))
                    }
                })
            } else if compiled.uses_old_self && old.is_none() {
                continue;
            } else {
                compiled.rule.is_true(&variables).map_err(|why| (why, None)).and_then(|passed| {
                    if passed {
                        Ok(())
                    } else {
                        Err((String::new(), message_of(rule, compiled, &variables)))
                    }
                })
            };
            match found {
                Ok(()) => {}
                Err((_, None)) if is_ratcheted => {}
                Err((why, None)) => {
                    let detail = if why.starts_with("no such overload") {
                        format!(
                            "'{why}': call arguments did not match a supported operator, function or macro \
                             signature for rule: {}",
                            rule.source.trim()
                        )
                    } else {
                        format!("{why} evaluating rule: {}", rule_or_message(rule))
                    };
                    let shown = format!("\"{}\"", type_name(node.schema.kind));
                    self.causes.push(Cause::invalid_shown(&place.path, &shown, detail));
                }
                Err((_, Some(message))) => {
                    let cause = refusal(rule, place, &message);
                    if is_ratcheted {
                        self.warnings.push(cause.to_string());
                    } else {
                        self.causes.push(cause);
                    }
                }
            }
        }
    }
}

fn refusal(rule: &Rule, place: &Place<'_>, message: &str) -> Cause {
    let path = format!("{}{}", place.path, rule.field_path.as_deref().unwrap_or_default());
    let path = path.strip_prefix('.').unwrap_or(&path);
    match rule.reason.as_deref() {
        Some("FieldValueForbidden") => Cause::forbidden(path, message),
        Some("FieldValueRequired") => Cause::required(path, message),
        Some("FieldValueDuplicate") => match place.value {
            Value::Object(_) | Value::Array(_) => Cause::duplicate_without_value(path),
            value => Cause::duplicate(path, value),
        },
        Some(_) | None => match place.value {
            Value::Object(_) | Value::Array(_) => Cause::invalid_without_value(path, message),
            value => Cause::invalid_shown(path, &shown(value), message),
        },
    }
}

fn message_of(rule: &Rule, compiled: &Compiled, variables: &engine::Variables) -> Option<String> {
    const MAX_BYTES: usize = 5 * 1024;
    let computed = compiled
        .message
        .as_ref()
        .and_then(|expression| expression.text(variables).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty() && !text.contains('\n') && text.len() <= MAX_BYTES);
    Some(computed.unwrap_or_else(|| rule.message()))
}

fn rule_or_message(rule: &Rule) -> String {
    rule.message
        .as_deref()
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map_or_else(|| rule.source.trim().to_owned(), str::to_owned)
}

fn type_name(kind: SchemaType) -> &'static str {
    match kind {
        SchemaType::Object => "object",
        SchemaType::Array => "array",
        SchemaType::String => "string",
        SchemaType::Integer => "integer",
        SchemaType::Number => "number",
        SchemaType::Boolean => "boolean",
        SchemaType::IntOrString | SchemaType::Any => "",
    }
}
