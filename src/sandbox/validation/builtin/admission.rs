//! Configurations of webhooks and bindings of admission policies; `policy` has the policies.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::sandbox::validation::cel::written::PolicyExpressions;
use crate::sandbox::validation::{names, selector};

use super::check::{Check, each, is_empty, join, list, text};
use super::policy;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];

pub(super) fn webhooks(object: &Value, check: &mut Check) {
    let mut known = BTreeSet::new();
    for (hook, path) in each(object, "webhooks", "") {
        let name = text(hook, "name");
        let name_path = join(&path, "name");
        if name.is_empty() {
            check.required(&name_path, "");
        } else {
            let why = names::dns1123_subdomain(name);
            if why.is_empty() && name.split('.').count() < 3 {
                let detail = "should be a domain with at least three segments separated by dots";
                check.invalid(&name_path, &name.into(), detail);
            }
            check.syntax(&name_path, name, why);
            if !known.insert(name.to_owned()) {
                check.duplicate(&name_path, &name.into());
            }
        }
        webhook(hook, &path, check);
    }
}

fn webhook(hook: &Value, path: &str, check: &mut Check) {
    let versions = list(&hook["admissionReviewVersions"]);
    let versions_path = join(path, "admissionReviewVersions");
    if versions.is_empty() {
        check.required(&versions_path, "must specify one of v1, v1beta1");
    } else if !versions.iter().any(|version| version == "v1" || version == "v1beta1") {
        let detail = "must include at least one of v1, v1beta1";
        check.invalid(&versions_path, &hook["admissionReviewVersions"], detail);
    }
    if hook["sideEffects"].is_null() {
        check.required(&join(path, "sideEffects"), "must specify one of None, NoneOnDryRun");
    }
    check.one_of(hook, "sideEffects", path, &["None", "NoneOnDryRun"]);
    check.one_of(hook, "failurePolicy", path, &["Fail", "Ignore"]);
    check.one_of(hook, "matchPolicy", path, &["Equivalent", "Exact"]);
    check.one_of(hook, "reinvocationPolicy", path, &["IfNeeded", "Never"]);
    let timeout = &hook["timeoutSeconds"];
    if timeout.as_i64().is_some_and(|seconds| !(1..=30).contains(&seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        check.invalid(&join(path, "timeoutSeconds"), timeout, detail);
    }
    for field in ["namespaceSelector", "objectSelector"] {
        selector::validate(&hook[field], &join(path, field), &mut check.causes);
    }
    for (rule, path) in each(hook, "rules", path) {
        rule_with_operations(rule, &path, check);
    }
    client(&hook["clientConfig"], &join(path, "clientConfig"), check);
    policy::match_conditions(hook, path, &PolicyExpressions::new(false, false), check);
}

fn client(client: &Value, path: &str, check: &mut Check) {
    let (url, service) = (client["url"].as_str(), &client["service"]);
    match (url, service.is_object()) {
        (Some(_), true) | (None, false) => {
            check.required(path, "exactly one of url or service is required");
        }
        (Some(url), false) => client_url(url, &join(path, "url"), check),
        (None, true) => {
            let path = join(path, "service");
            check.present(service, "name", &path);
            check.present(service, "namespace", &path);
            if let Some(found) = service["path"].as_str() {
                service_path(found, &join(&path, "path"), check);
            }
            if !service["port"].is_null() {
                check.port(&service["port"], &join(&path, "port"));
            }
        }
    }
}

fn client_url(url: &str, path: &str, check: &mut Check) {
    const FORM: &str = "; desired format: https://host[/path]";
    match url.split_once("://") {
        Some(("https", rest)) => {
            if rest.split('/').next().unwrap_or_default().is_empty() {
                check.invalid(path, &"".into(), format!("host must be specified{FORM}"));
            }
            if rest.contains('?') {
                check.invalid(
                    path,
                    &url.into(),
                    format!("query parameters are not permitted in the URL{FORM}"),
                );
            }
            if rest.contains('#') {
                check.invalid(
                    path,
                    &url.into(),
                    format!("fragments are not permitted in the URL{FORM}"),
                );
            }
        }
        found => {
            let scheme = found.map_or("", |(scheme, _)| scheme);
            let detail = format!("'https' is the only allowed URL scheme{FORM}");
            check.invalid(path, &scheme.into(), detail);
        }
    }
}

fn service_path(found: &str, path: &str, check: &mut Check) {
    let value = Value::from(found);
    if found == "/" {
        return;
    }
    if !found.starts_with('/') {
        check.invalid(path, &value, "must start with a '/'");
    }
    let trimmed = found.strip_suffix('/').unwrap_or(found);
    // What comes before the first slash is dropped unseen, so a path without one has an empty first segment.
    let segments: Vec<&str> = match trimmed.split_once('/') {
        Some((_, rest)) => rest.split('/').collect(),
        None => vec![""],
    };
    for (at, segment) in segments.iter().enumerate() {
        if segment.is_empty() {
            check.invalid(path, &value, format!("segment[{at}] may not be empty"));
            continue;
        }
        for why in names::dns1123_subdomain(segment) {
            check.invalid(path, &value, format!("segment[{at}]: {why}"));
        }
    }
}

fn rule_with_operations(rule: &Value, path: &str, check: &mut Check) {
    let operations = list(&rule["operations"]);
    if operations.is_empty() {
        check.required(&join(path, "operations"), "");
    }
    if operations.len() > 1 && operations.iter().any(|operation| operation == "*") {
        let detail = "if '*' is present, must not specify other operations";
        check.invalid(&join(path, "operations"), &rule["operations"], detail);
    }
    for (operation, path) in each(rule, "operations", path) {
        if operation.as_str().is_none_or(|found| !OPERATIONS.contains(&found)) {
            check.unsupported(&path, operation, OPERATIONS);
        }
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        let found = list(&rule[field]);
        if found.is_empty() {
            check.required(&join(path, field), "");
        }
        if found.len() > 1 && found.iter().any(|value| value == "*") {
            let detail = format!("if '*' is present, must not specify other {what}");
            check.invalid(&join(path, field), &rule[field], detail);
        }
    }
    for (version, path) in each(rule, "apiVersions", path) {
        if version == "" {
            check.required(&path, "");
        }
    }
    resources(rule, path, check);
    check.one_of(rule, "scope", path, SCOPES);
}

fn resources(rule: &Value, path: &str, check: &mut Check) {
    let found: Vec<&str> = list(&rule["resources"]).iter().filter_map(Value::as_str).collect();
    let list_path = join(path, "resources");
    if found.is_empty() {
        check.required(&list_path, "");
    }
    if found.len() > 1 && found.contains(&"*/*") {
        let detail = "if '*/*' is present, must not specify other resources";
        check.invalid(&list_path, &rule["resources"], detail);
    }
    for (at, resource) in found.iter().enumerate() {
        let path = format!("{list_path}[{at}]");
        if resource.is_empty() {
            check.required(&path, "");
        }
        if let Some((plural, subresource)) = resource.split_once('/') {
            if plural != "*"
                && found.contains(&format!("{plural}/*").as_str())
                && subresource != "*"
            {
                let detail = format!("if '{plural}/*' is present, must not specify {resource}");
                check.invalid(&path, &(*resource).into(), detail);
            }
        } else if *resource != "*" && found.contains(&"*") {
            let detail = format!(
                "if '*' is present, must not specify other resources without subresources: {resource}"
            );
            check.invalid(&list_path, &rule["resources"], detail);
        }
    }
}

pub(super) fn match_resources(value: &Value, path: &str, needs_rules: bool, check: &mut Check) {
    for field in ["namespaceSelector", "objectSelector"] {
        selector::validate(&value[field], &join(path, field), &mut check.causes);
    }
    check.one_of(value, "matchPolicy", path, &["Equivalent", "Exact"]);
    if needs_rules && is_empty(&value["resourceRules"]) {
        check.required(&join(path, "resourceRules"), "");
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (rule, path) in each(value, field, path) {
            rule_with_operations(rule, &path, check);
        }
    }
}

pub(super) fn binding(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    let policy = text(spec, "policyName");
    if policy.is_empty() {
        check.required("spec.policyName", "");
    } else {
        check.syntax("spec.policyName", policy, names::dns1123_subdomain(policy));
    }
    if !spec["matchResources"].is_null() {
        match_resources(&spec["matchResources"], "spec.matchResources", false, check);
    }
    let actions = list(&spec["validationActions"]);
    if actions.is_empty() {
        check.required("spec.validationActions", "at least one validation action is required");
    }
    let mut known = BTreeSet::new();
    for (action, path) in each(spec, "validationActions", "spec") {
        let name = action.as_str().unwrap_or_default();
        if !["Audit", "Deny", "Warn"].contains(&name) {
            check.unsupported(&path, action, &["Audit", "Deny", "Warn"]);
        }
        if !known.insert(name) {
            check.duplicate(&path, action);
        }
    }
    if known.contains("Deny") && known.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the \
                      API response and headers serves no purpose)";
        check.invalid("spec.validationActions", &spec["validationActions"], detail);
    }
}
