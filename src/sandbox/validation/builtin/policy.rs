//! ValidatingAdmissionPolicy, and the `matchConditions` that webhooks have, too.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::sandbox::validation::Cause;
use crate::sandbox::validation::cel::written::{PolicyExpressions, Use};
use crate::sandbox::validation::names;

use super::admission::match_resources;
use super::check::{Check, each, is_empty, join, list, text};

const MAX_MATCH_CONDITIONS: usize = 64;
const MAX_AUDIT_ANNOTATIONS: usize = 20;
const MAX_AUDIT_ANNOTATION_BYTES: usize = 5 * 1024;

/// Checks a policy with all its expressions.
pub(super) fn policy(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    check.one_of(spec, "failurePolicy", "spec", &["Fail", "Ignore"]);
    if !spec["paramKind"].is_null() {
        param_kind(&spec["paramKind"], "spec.paramKind", check);
    }
    if spec["matchConstraints"].is_null() {
        check.required("spec.matchConstraints", "");
    } else {
        match_resources(&spec["matchConstraints"], "spec.matchConstraints", true, check);
    }
    let mut expressions =
        PolicyExpressions::new(!spec["paramKind"].is_null(), !is_empty(&spec["variables"]));
    match_conditions(spec, "spec", &expressions, check);
    for (variable, path) in each(spec, "variables", "spec") {
        self::variable(variable, &path, &mut expressions, check);
    }
    if is_empty(&spec["validations"]) && is_empty(&spec["auditAnnotations"]) {
        let detail = "validations or auditAnnotations must contain at least one item";
        check.required("spec.validations", detail);
        check.required("spec.auditAnnotations", detail);
    }
    for (validation, path) in each(spec, "validations", "spec") {
        self::validation(validation, &path, &expressions, check);
    }
    audit_annotations(object, &expressions, check);
}

fn param_kind(value: &Value, path: &str, check: &mut Check) {
    let (version_path, kind_path) = (join(path, "apiVersion"), join(path, "kind"));
    let api_version = text(value, "apiVersion");
    match api_version.split('/').collect::<Vec<_>>().as_slice() {
        [""] => check.required(&version_path, ""),
        [version] => version_of_group(version, &version_path, check),
        [group, version] => {
            let why = names::dns1123_subdomain(group);
            if !group.is_empty() && !why.is_empty() {
                check.invalid(&version_path, &(*group).into(), why.join(","));
            }
            if version.is_empty() {
                check.invalid(&version_path, &api_version.into(), "version must be specified");
            } else {
                version_of_group(version, &version_path, check);
            }
        }
        _ => {
            let detail = format!("unexpected GroupVersion string: {api_version}");
            check.invalid(&version_path, &api_version.into(), detail);
        }
    }
    let kind = text(value, "kind");
    if kind.is_empty() {
        check.required(&kind_path, "");
    } else {
        let why = names::dns1035_label(&kind.to_lowercase());
        if !why.is_empty() {
            let detail =
                format!("may have mixed case, but should otherwise match: {}", why.join(","));
            check.invalid(&kind_path, &kind.into(), detail);
        }
    }
}

fn version_of_group(version: &str, path: &str, check: &mut Check) {
    let why = names::dns1035_label(version);
    if !why.is_empty() {
        check.invalid(path, &version.into(), why.join(","));
    }
}

/// Checks the `matchConditions` of a policy or of a webhook.
pub(super) fn match_conditions(
    value: &Value,
    path: &str,
    expressions: &PolicyExpressions,
    check: &mut Check,
) {
    let n_conditions = list(&value["matchConditions"]).len();
    if n_conditions > MAX_MATCH_CONDITIONS {
        let path = join(path, "matchConditions");
        let max = MAX_MATCH_CONDITIONS as u64;
        check.causes.push(Cause::too_many(&path, n_conditions, max));
    }
    let mut known = BTreeSet::new();
    for (condition, path) in each(value, "matchConditions", path) {
        let source = text(condition, "expression").trim();
        let at_expression = join(&path, "expression");
        if source.is_empty() {
            check.required(&at_expression, "");
        } else if let Err(why) = expressions.check(source, Use::MatchCondition) {
            check.invalid(&at_expression, &source.into(), why);
        }
        let name = text(condition, "name");
        if name.is_empty() {
            check.required(&join(&path, "name"), "");
        } else {
            check.syntax(&join(&path, "name"), name, names::qualified_name(name));
            if !known.insert(name.to_owned()) {
                check.duplicate(&join(&path, "name"), &name.into());
            }
        }
    }
}

fn variable(value: &Value, path: &str, expressions: &mut PolicyExpressions, check: &mut Check) {
    let name = text(value, "name");
    let mut letters = name.chars();
    let is_identifier = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if name.is_empty() {
        check.required(&join(path, "name"), "name is not specified");
    } else if !is_identifier {
        check.invalid(&join(path, "name"), &name.into(), "must be a valid CEL identifier");
    }
    let source = text(value, "expression");
    if source.trim().is_empty() {
        check.required(&join(path, "expression"), "expression is not specified");
    } else if let Err(why) = expressions.variable(name, source) {
        check.invalid(&join(path, "expression"), &source.into(), why);
    }
}

fn validation(value: &Value, path: &str, expressions: &PolicyExpressions, check: &mut Check) {
    const REASONS: &[&str] = &["Forbidden", "Invalid", "RequestEntityTooLarge", "Unauthorized"];
    let source = text(value, "expression");
    if source.trim().is_empty() {
        check.required(&join(path, "expression"), "expression is not specified");
    } else if let Err(why) = expressions.check(source, Use::Validation) {
        check.invalid(&join(path, "expression"), &source.into(), why);
    }
    let by = text(value, "messageExpression");
    if !by.is_empty() && by.trim().is_empty() {
        let detail = "must be non-empty if specified";
        check.invalid(&join(path, "messageExpression"), &by.into(), detail);
    } else if !by.is_empty()
        && let Err(why) = expressions.check(by, Use::Message)
    {
        check.invalid(&join(path, "messageExpression"), &by.into(), why);
    }
    let message = text(value, "message");
    if !message.is_empty() && message.trim().is_empty() {
        check.invalid(&join(path, "message"), &message.into(), "must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        check.invalid(&join(path, "message"), &message.into(), "must not contain line breaks");
    }
    if let Some(reason) = value["reason"].as_str()
        && !REASONS.contains(&reason)
    {
        // Upstream's list leaves `Unauthorized` out, which it takes.
        check.unsupported(&join(path, "reason"), &reason.into(), &REASONS[..3]);
    }
}

fn audit_annotations(object: &Value, expressions: &PolicyExpressions, check: &mut Check) {
    let spec = &object["spec"];
    let annotations = &spec["auditAnnotations"];
    if list(annotations).len() > MAX_AUDIT_ANNOTATIONS {
        let detail = format!("must not have more than {MAX_AUDIT_ANNOTATIONS} auditAnnotations");
        check.invalid("spec.auditAnnotations", annotations, detail);
    }
    let policy = text(&object["metadata"], "name");
    let mut known = BTreeSet::new();
    for (annotation, path) in each(spec, "auditAnnotations", "spec") {
        let key = text(annotation, "key");
        let key_path = join(&path, "key");
        if policy.is_empty() {
            check.invalid(&key_path, &key.into(), "requires metadata.name be non-empty");
        } else {
            let whole = format!("{policy}/{key}");
            check.syntax(&key_path, &whole, names::qualified_name(&whole));
        }
        let source = text(annotation, "valueExpression");
        let value_path = join(&path, "valueExpression");
        if source.trim().is_empty() {
            check.required(&value_path, "valueExpression is not specified");
        } else if source.trim().len() > MAX_AUDIT_ANNOTATION_BYTES {
            let detail = format!("must not exceed {MAX_AUDIT_ANNOTATION_BYTES} bytes in length");
            check.required(&value_path, &detail);
        } else if let Err(why) = expressions.check(source.trim(), Use::AuditAnnotation) {
            check.invalid(&value_path, &source.into(), why);
        }
        if !known.insert(key) {
            check.duplicate(&key_path, &key.into());
        }
    }
}
