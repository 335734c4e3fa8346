//! CustomResourceDefinitions themselves.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::{Value, json};

use crate::sandbox::validation::names;

use super::check::{Check, each, join, list, text};
use super::schema_rules;

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

pub(super) fn definition(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    names_of(spec, check);
    match spec["scope"].as_str() {
        None | Some("") => check.required("spec.scope", ""),
        Some("Cluster" | "Namespaced") => {}
        Some(_) => check.unsupported("spec.scope", &spec["scope"], &["Cluster", "Namespaced"]),
    }
    let group = text(spec, "group");
    if group.is_empty() {
        check.required("spec.group", "");
    } else {
        let why = names::dns1123_subdomain(group);
        if why.is_empty() && !group.contains('.') {
            let detail = "should be a domain with at least one dot";
            check.invalid("spec.group", &group.into(), detail);
        }
        check.syntax("spec.group", group, why);
    }
    protected_group(object, group, check);
    versions(spec, check);
    conversion(spec, check);
}

/// The name of a definition follows from what it defines.
pub(super) fn name(object: &Value, check: &mut Check) {
    let (spec, name) = (&object["spec"], text(&object["metadata"], "name"));
    if name != format!("{}.{}", text(&spec["names"], "plural"), text(spec, "group")) {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        check.invalid("metadata.name", &name.into(), detail);
    }
}

/// Groups of the project itself need an approval.
fn protected_group(object: &Value, group: &str, check: &mut Check) {
    const APPROVAL: &str = "api-approved.kubernetes.io";
    let protected = ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|domain| group == *domain || group.ends_with(&format!(".{domain}")));
    let annotation = text(&object["metadata"]["annotations"], APPROVAL);
    if !protected || annotation.starts_with("unapproved") || annotation.contains("://") {
        return;
    }
    let path = format!("metadata.annotations[{APPROVAL}]");
    if annotation.is_empty() {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVAL}\", \
             see https://github.com/kubernetes/enhancements/pull/1111"
        );
        check.required(&path, &detail);
    } else {
        let detail = format!(
            "protected groups must have approval annotation \"{APPROVAL}\" with either a URL or a reason starting with \
             \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        check.invalid(&path, &annotation.into(), detail);
    }
}

fn names_of(spec: &Value, check: &mut Check) {
    let found = &spec["names"];
    let (plural, kind) = (text(found, "plural"), text(found, "kind"));
    let given = |field: &str, default: String| {
        let text = text(found, field);
        if text.is_empty() { default } else { text.to_owned() }
    };
    let list_default = if kind.is_empty() { String::new() } else { format!("{kind}List") };
    let singular = given("singular", kind.to_lowercase());
    let list_kind = given("listKind", list_default);
    for (field, name) in [("plural", plural), ("singular", singular.as_str())] {
        let path = format!("spec.names.{field}");
        if name.is_empty() {
            check.required(&path, "");
        } else {
            check.syntax(&path, name, names::dns1035_label(name));
        }
    }
    for (field, name) in [("kind", kind), ("listKind", list_kind.as_str())] {
        let path = format!("spec.names.{field}");
        if name.is_empty() {
            check.required(&path, "");
        }
        for why in
            names::dns1035_label(&name.to_lowercase()).into_iter().filter(|_| !name.is_empty())
        {
            let detail = format!("may have mixed case, but should otherwise match: {why}");
            check.invalid(&path, &name.into(), detail);
        }
    }
    if !kind.is_empty() && kind == list_kind {
        let detail = "kind and listKind may not be the same";
        check.invalid("spec.names.listKind", &list_kind.as_str().into(), detail);
    }
    for field in ["shortNames", "categories"] {
        for (name, path) in each(found, field, "spec.names") {
            let name = name.as_str().unwrap_or_default();
            check.syntax(&path, name, names::dns1035_label(name));
        }
    }
}

fn versions(spec: &Value, check: &mut Check) {
    let versions = list(&spec["versions"]);
    let mut known = BTreeSet::new();
    let mut unique = true;
    for (version, path) in each(spec, "versions", "spec") {
        let name = text(version, "name");
        unique &= known.insert(name);
        check.syntax(&join(&path, "name"), name, names::dns1035_label(name));
        if versions.len() == 1 {
            // The version of the days when there was one is looked at, too.
            check.syntax("spec.version", name, names::dns1035_label(name));
        }
    }
    let shown = shown_versions(versions);
    if !unique {
        check.invalid_shown("spec.versions", &shown, "must contain unique version names");
    }
    let storage: Vec<&str> = versions
        .iter()
        .filter(|version| version["storage"] == true)
        .map(|version| text(version, "name"))
        .collect();
    if storage.len() != 1 {
        let detail = "must have exactly one version marked as storage version";
        check.invalid_shown("spec.versions", &shown, detail);
    }
    let stored = "status.storedVersions";
    if storage.is_empty() {
        check.invalid(stored, &Value::Null, "must have at least one stored version");
    } else if storage.len() > 1 {
        let last = storage[storage.len() - 1];
        check.invalid(
            stored,
            &json!([storage[0]]),
            format!("must have the storage version {last}"),
        );
    }
    // With one version upstream speaks of the fields as they were before there were several.
    let single = versions.len() == 1;
    for (version, path) in each(spec, "versions", "spec") {
        let schema = &version["schema"]["openAPIV3Schema"];
        let path_of =
            |field: &str| if single { format!("spec.{field}") } else { join(&path, field) };
        let schema_path = if single {
            "spec.validation.openAPIV3Schema".to_owned()
        } else {
            join(&path, "schema.openAPIV3Schema")
        };
        if schema.is_null() {
            check.required(&join(&path, "schema.openAPIV3Schema"), "");
        } else {
            if text(schema, "type").is_empty() {
                check.required(&join(&schema_path, "type"), "must not be empty at the root");
            } else if text(schema, "type") != "object" {
                let detail = "must be object at the root";
                check.invalid(&join(&schema_path, "type"), &text(schema, "type").into(), detail);
            } else {
                let before = check.causes.len();
                structural(schema, &schema_path, true, check);
                if check.causes.len() == before {
                    schema_rules::contents(schema, &schema_path, check);
                }
            }
        }
        let at_subresources = path_of("subresources");
        let scale = &version["subresources"]["scale"];
        schema_rules::scale(scale, &join(&at_subresources, "scale"), check);
        if version["deprecationWarning"].is_string() && version["deprecated"] != true {
            let detail = "can only be set for deprecated versions";
            let path = join(&path, "deprecationWarning");
            check.invalid(&path, &version["deprecationWarning"], detail);
        }
        for (at, field) in list(&version["selectableFields"]).iter().enumerate() {
            let json_path = text(field, "jsonPath");
            if !schema_rules::refers(schema, json_path) {
                let path = format!("{}[{at}].jsonPath", path_of("selectableFields"));
                let detail = "is an invalid path: does not refer to a valid field";
                check.invalid(&path, &json_path.into(), detail);
            }
        }
        for (at, column) in list(&version["additionalPrinterColumns"]).iter().enumerate() {
            printer_column(
                column,
                &format!("{}[{at}]", path_of("additionalPrinterColumns")),
                check,
            );
        }
    }
}

/// The versions as the API server's Go structs print, their schemas left to themselves.
fn shown_versions(versions: &[Value]) -> String {
    if versions.is_empty() {
        return "null".to_owned();
    }
    let shown: Vec<String> = versions
        .iter()
        .map(|version| {
            let flag = |field: &str| version[field] == true;
            format!(
                "{{\"Name\":{},\"Served\":{},\"Storage\":{},\"Deprecated\":{},\"DeprecationWarning\":{},\"Schema\":null,\"Subresources\":null,\"AdditionalPrinterColumns\":null,\"SelectableFields\":null}}",
                version["name"],
                flag("served"),
                flag("storage"),
                flag("deprecated"),
                version["deprecationWarning"],
            )
        })
        .collect();
    format!("[{}]", shown.join(","))
}

fn printer_column(column: &Value, path: &str, check: &mut Check) {
    const COLUMN_TYPES: &[&str] = &["boolean", "date", "integer", "number", "string"];
    check.present(column, "name", path);
    let kind = text(column, "type");
    if !COLUMN_TYPES.contains(&kind) {
        let detail = format!("must be one of {}", COLUMN_TYPES.join(","));
        check.invalid(&join(path, "type"), &kind.into(), detail);
    }
    let json_path = text(column, "jsonPath");
    if json_path.is_empty() {
        check.required(&join(path, "JSONPath"), "");
    } else if !json_path.starts_with('.') {
        let detail = "must be a simple json path starting with .";
        check.invalid(&join(path, "JSONPath"), &json_path.into(), detail);
    }
}

/// What makes a schema structural, and its patterns.
fn structural(schema: &Value, path: &str, root: bool, check: &mut Check) {
    let flag = |name: &str| schema[name] == true;
    let free = flag("x-kubernetes-preserve-unknown-fields") || flag("x-kubernetes-int-or-string");
    match schema["type"].as_str().unwrap_or_default() {
        "" if !free => {
            let what = if path.ends_with(".items") { "array items" } else { "object fields" };
            let detail = format!("must not be empty for specified {what}");
            check.required(&join(path, "type"), &detail);
        }
        "array" if schema["items"].is_null() => {
            check.required(&join(path, "items"), "must be specified");
        }
        found if !found.is_empty() && !TYPES.contains(&found) => {
            check.unsupported(&join(path, "type"), &schema["type"], TYPES);
        }
        _ => {}
    }
    schema_rules::node(schema, path, root, check);
    if let Some(pattern) = schema["pattern"].as_str()
        && let Err(error) = Regex::new(pattern)
    {
        let detail = format!(
            "must be a valid regular expression, but isn't: {}",
            regex_error(pattern, &error)
        );
        check.invalid(&join(path, "pattern"), &pattern.into(), detail);
    }
    if schema["x-kubernetes-list-type"] == "map"
        && list(&schema["x-kubernetes-list-map-keys"]).is_empty()
    {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        check.required(&join(path, "x-kubernetes-list-map-keys"), detail);
    }
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        // The metadata of the object itself is the API server's; what is said of it is only its names.
        if root && name == "metadata" {
            continue;
        }
        structural(child, &format!("{path}.properties[{name}]"), false, check);
    }
    if schema["items"].is_object() {
        structural(&schema["items"], &join(path, "items"), false, check);
    }
    if schema["additionalProperties"].is_object() {
        structural(
            &schema["additionalProperties"],
            &join(path, "additionalProperties"),
            false,
            check,
        );
    }
}

/// The commonest errors of patterns as Go words them.
fn regex_error(pattern: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    if text.contains("unclosed group") {
        format!("error parsing regexp: missing closing ): `{pattern}`")
    } else if text.contains("unclosed character class") {
        format!("error parsing regexp: missing closing ]: `{pattern}`")
    } else {
        format!("error parsing regexp: `{pattern}`")
    }
}

fn conversion(spec: &Value, check: &mut Check) {
    let found = &spec["conversion"];
    check.one_of(found, "strategy", "spec.conversion", &["None", "Webhook"]);
    if text(found, "strategy") == "Webhook" {
        if found["webhook"]["clientConfig"].is_null() {
            let detail = "required when strategy is set to Webhook";
            check.required("spec.conversion.webhookClientConfig", detail);
        }
        if list(&found["webhook"]["conversionReviewVersions"]).is_empty() {
            check.required("spec.conversion.conversionReviewVersions", "");
        }
    }
}

/// What custom resources are called and where they live stays; a version that was stored stays, too.
pub(super) fn update(object: &Value, old: &Value, check: &mut Check) {
    let (new, before) = (&object["spec"], &old["spec"]);
    check.immutable(&new["group"], &before["group"], "spec.group");
    let established = list(&old["status"]["conditions"])
        .iter()
        .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
    if established {
        check.immutable(&new["scope"], &before["scope"], "spec.scope");
        for field in ["kind", "plural"] {
            check.immutable(
                &new["names"][field],
                &before["names"][field],
                &format!("spec.names.{field}"),
            );
        }
    }
    let served: Vec<&str> =
        list(&new["versions"]).iter().map(|version| text(version, "name")).collect();
    for (at, stored) in list(&old["status"]["storedVersions"]).iter().enumerate() {
        if stored.as_str().is_some_and(|stored| !served.contains(&stored)) {
            let version = stored.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {version} was previously a storage version, and must remain in \
                 spec.versions until a storage migration ensures no data remains persisted in {version} and removes \
                 {version} from status.storedVersions"
            );
            check.invalid(&format!("status.storedVersions[{at}]"), stored, detail);
        }
    }
}
