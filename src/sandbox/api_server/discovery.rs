//! What the server says about itself: versions, groups, resources, OpenAPI.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::kinds::{Group, Kind, join_version};
use super::{ApiServer, GIT_VERSION};
use crate::sandbox::builtin;

impl ApiServer {
    /// `/`: the paths that are served.
    pub(crate) fn root_paths(&self) -> Value {
        let mut paths: Vec<String> = [
            "/api",
            "/api/v1",
            "/apis",
            "/apis/",
            "/healthz",
            "/livez",
            "/openapi/v2",
            "/openapi/v3",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned)
        .into();
        for group in self.kinds.groups().iter().filter(|group| !group.name.is_empty()) {
            paths.push(format!("/apis/{}", group.name));
            let versions = group.versions.iter();
            paths.extend(versions.map(|(version, _)| format!("/apis/{}/{version}", group.name)));
        }
        paths.sort();
        json!({"paths": paths})
    }

    /// `/version`
    pub(crate) fn version(&self) -> Value {
        json!({
            "major": "1", "minor": "36",
            "emulationMajor": "1", "emulationMinor": "36",
            "minCompatibilityMajor": "1", "minCompatibilityMinor": "35",
            "gitVersion": GIT_VERSION, "gitCommit": "sandbox", "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z", "goVersion": "none", "compiler": "none",
            "platform": "linux/amd64"
        })
    }

    /// `/api` or `/apis` in aggregated form.
    pub(crate) fn aggregated_discovery(&self, core: bool) -> Value {
        let groups = self.kinds.groups();
        let items: Vec<Value> = groups
            .iter()
            .filter(|group| group.name.is_empty() == core)
            .map(|group| {
                let versions: Vec<Value> = group
                    .versions
                    .iter()
                    .map(|(version, kinds)| {
                        let resources: Vec<Value> =
                            kinds.iter().map(|kind| aggregated(kind)).collect();
                        json!({"version": version, "resources": resources, "freshness": "Current"})
                    })
                    .collect();
                let metadata = if core { json!({}) } else { json!({"name": group.name}) };
                json!({"metadata": metadata, "versions": versions})
            })
            .collect();
        json!({
            "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {}, "items": items
        })
    }

    /// `/api`
    pub(crate) fn core_versions(&self) -> Value {
        json!({
            "kind": "APIVersions", "versions": ["v1"],
            "serverAddressByClientCIDRs": [
                {"clientCIDR": "0.0.0.0/0", "serverAddress": "10.96.0.1:443"}
            ]
        })
    }

    /// `/apis`
    pub(crate) fn group_list(&self) -> Value {
        let groups = self.kinds.groups();
        let groups: Vec<Value> =
            groups.iter().filter(|group| !group.name.is_empty()).map(group_json).collect();
        json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
    }

    /// `/apis/GROUP`
    pub(crate) fn group(&self, name: &str) -> Option<Value> {
        let groups = self.kinds.groups();
        let found = groups.iter().find(|group| group.name == name && !name.is_empty())?;
        let mut json = group_json(found);
        json["kind"] = "APIGroup".into();
        json["apiVersion"] = "v1".into();
        Some(json)
    }

    /// `/api/v1` or `/apis/GROUP/VERSION`
    pub(crate) fn resource_list(&self, group: &str, version: &str) -> Option<Value> {
        let groups = self.kinds.groups();
        let found = groups.iter().find(|found| found.name == group)?;
        let (_, kinds) = found.versions.iter().find(|(found, _)| found == version)?;
        let resources: Vec<Value> = kinds.iter().flat_map(|kind| legacy(kind)).collect();
        let mut list = json!({
            "kind": "APIResourceList",
            "groupVersion": join_version(group, version), "resources": resources
        });
        if !group.is_empty() {
            list["apiVersion"] = "v1".into();
        }
        Some(list)
    }

    /// `/openapi/v3`
    pub(crate) fn openapi_index(&self) -> Value {
        let mut paths = Map::new();
        for group in self.kinds.groups() {
            for (version, kinds) in &group.versions {
                let path = openapi_path(&group.name, version);
                // The hash changes when what is served changes, which is all that clients ask of it.
                let hash = format!("{:X}-{}", kinds.len(), self.openapi_revision(kinds));
                paths.insert(
                    path.clone(),
                    json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={hash}")}),
                );
            }
        }
        json!({"paths": paths})
    }

    fn openapi_revision(&self, kinds: &[std::sync::Arc<Kind>]) -> String {
        let custom = kinds.iter().filter_map(|kind| kind.custom.as_ref());
        let revisions: Vec<String> = custom.map(|custom| custom.revision().to_owned()).collect();
        if revisions.is_empty() { GIT_VERSION.to_owned() } else { revisions.join("-") }
    }

    /// `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`
    pub(crate) fn openapi(&self, group: &str, version: &str) -> Option<Value> {
        let groups = self.kinds.groups();
        let found = groups.iter().find(|found| found.name == group)?;
        let (_, kinds) = found.versions.iter().find(|(found, _)| found == version)?;
        let mut paths = Map::new();
        let mut schemas = Map::new();
        let mut wanted = BTreeSet::new();
        for kind in kinds {
            let base = if group.is_empty() {
                format!("/api/{version}")
            } else {
                format!("/apis/{group}/{version}")
            };
            let scope = if kind.namespaced { "/namespaces/{namespace}" } else { "" };
            let gvk = json!({"group": group, "kind": kind.kind, "version": version});
            let name = schema_name(kind);
            paths.insert(format!("{base}{scope}/{}", kind.plural), collection(&gvk));
            paths.insert(format!("{base}{scope}/{}/{{name}}", kind.plural), item(&gvk, &name));
            match &kind.custom {
                Some(custom) => {
                    let mut schema = custom.published_schema();
                    schema["x-kubernetes-group-version-kind"] = json!([gvk]);
                    schemas.insert(name, schema);
                    wanted.insert(OBJECT_META.to_owned());
                }
                None => {
                    wanted.insert(name.clone());
                    let mut open = vec![name.clone()];
                    while let Some(next) = open.pop() {
                        if let Some(node) = builtin::raw_definition(&next) {
                            references(node, &mut |found| {
                                if wanted.insert(found.to_owned()) {
                                    open.push(found.to_owned());
                                }
                            });
                        }
                    }
                    schemas.insert(name, Value::Null);
                    schemas.insert(format!("gvk:{}", schema_name(kind)), json!([gvk]));
                }
            }
        }
        let mut open: Vec<String> = wanted.iter().cloned().collect();
        while let Some(next) = open.pop() {
            if let Some(node) = builtin::raw_definition(&next) {
                references(node, &mut |found| {
                    if wanted.insert(found.to_owned()) {
                        open.push(found.to_owned());
                    }
                });
            }
        }
        for name in wanted {
            let Some(node) = builtin::raw_definition(&name) else { continue };
            let mut schema = published(node, builtin::descriptions(&name));
            if let Some(gvk) = schemas.remove(&format!("gvk:{name}")) {
                schema["x-kubernetes-group-version-kind"] = gvk;
            }
            schemas.insert(name, schema);
        }
        Some(json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": GIT_VERSION},
            "paths": paths,
            "components": {"schemas": schemas}
        }))
    }
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

fn openapi_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn schema_name(kind: &Kind) -> String {
    if let Some(name) = builtin::definition_name(&kind.group, &kind.version, &kind.kind) {
        return name.to_owned();
    }
    let reversed: Vec<&str> = kind.group.rsplit('.').collect();
    format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind)
}

/// A definition as OpenAPI writes it, with its descriptions.
fn published(node: &Value, descriptions: Option<&BTreeMap<String, String>>) -> Value {
    let mut schema = referring(node);
    for (field, text) in descriptions.into_iter().flatten() {
        let target =
            if field.is_empty() { Some(&mut schema) } else { schema["properties"].get_mut(field) };
        let Some(Value::Object(target)) = target else { continue };
        if let Some(reference) = target.remove("$ref") {
            target.insert("allOf".to_owned(), json!([{"$ref": reference}]));
        }
        target.insert("description".to_owned(), text.as_str().into());
    }
    schema
}

/// Our compact `$ref` as OpenAPI writes it.
fn referring(node: &Value) -> Value {
    match node {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$ref", Value::String(target)) => {
                        let reference = json!({"$ref": format!("#/components/schemas/{target}")});
                        if fields.len() == 1 {
                            return reference;
                        }
                        out.insert("allOf".to_owned(), json!([reference]));
                    }
                    _ => {
                        out.insert(name.clone(), referring(value));
                    }
                }
            }
            Value::Object(out)
        }
        Value::Array(items) => items.iter().map(referring).collect(),
        other => other.clone(),
    }
}

fn references(node: &Value, found: &mut impl FnMut(&str)) {
    match node {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("$ref", Value::String(target)) => found(target),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

fn query(name: &str, schema: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": schema, "uniqueItems": true}})
}

fn write_parameters(force: bool) -> Value {
    let mut parameters = vec![
        query("dryRun", "string"),
        query("fieldManager", "string"),
        query("fieldValidation", "string"),
    ];
    if force {
        parameters.push(query("force", "boolean"));
    }
    parameters.into()
}

fn operation(action: &str, gvk: &Value, parameters: Value) -> Value {
    json!({
        "parameters": parameters,
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": gvk
    })
}

fn collection(gvk: &Value) -> Value {
    json!({
        "get": operation("list", gvk, json!([])),
        "post": operation("post", gvk, write_parameters(false)),
    })
}

fn item(gvk: &Value, schema: &str) -> Value {
    let mut get = operation("get", gvk, json!([]));
    get["responses"]["200"]["content"]["application/json"]["schema"]["$ref"] =
        format!("#/components/schemas/{schema}").into();
    json!({
        "get": get,
        "put": operation("put", gvk, write_parameters(false)),
        "patch": operation("patch", gvk, write_parameters(true)),
        "delete": operation("delete", gvk, json!([query("dryRun", "string")])),
    })
}

fn group_json(group: &Group) -> Value {
    let version = |version: &str| json!({"groupVersion": join_version(&group.name, version), "version": version});
    let versions: Vec<Value> = group.versions.iter().map(|(name, _)| version(name)).collect();
    json!({
        "name": group.name,
        "preferredVersion": versions.first().cloned().unwrap_or_default(),
        "versions": versions
    })
}

fn aggregated(kind: &Kind) -> Value {
    let own = match kind.custom {
        Some(_) => json!({"group": kind.group, "version": kind.version, "kind": kind.kind}),
        // The API server leaves out what its path says already.
        None => json!({"group": "", "version": "", "kind": kind.kind}),
    };
    let mut resource = json!({
        "resource": kind.plural, "responseKind": own,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        resource["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        resource["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let response = sub.response_kind.as_ref().map(|response| {
                json!({"group": response.group, "version": response.version, "kind": response.kind})
            });
            json!({"subresource": sub.subresource, "responseKind": response, "verbs": sub.verbs})
        })
        .collect();
    if !subresources.is_empty() {
        resource["subresources"] = subresources.into();
    }
    resource
}

/// The first bytes of the hash of group, storage version and kind.
fn storage_version_hash(kind: &Kind) -> String {
    let (group, version) = match (&kind.custom, kind.group.as_str(), kind.plural.as_str()) {
        (Some(custom), group, _) => (group, custom.storage_version.as_str()),
        (None, "autoscaling", _) => ("autoscaling", "v2"),
        // What the server stores is not always what it serves.
        (None, group, "mutatingadmissionpolicies" | "mutatingadmissionpolicybindings") => {
            (group, "v1beta1")
        }
        (None, group @ "apiextensions.k8s.io", _) => (group, "v1beta1"),
        (None, _, "events") => ("", "v1"),
        (None, group, _) => (group, kind.version.as_str()),
    };
    let digest = Sha256::digest(format!("{group}/{version}/{}", kind.kind));
    STANDARD.encode(&digest[..8])
}

fn legacy(kind: &Kind) -> Vec<Value> {
    let mut own = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced,
        "kind": kind.kind, "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        own["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        own["categories"] = json!(kind.categories);
    }
    if kind.verbs.iter().any(|verb| verb == "list") && kind.plural != "componentstatuses" {
        own["storageVersionHash"] = storage_version_hash(kind).into();
    }
    let mut found = vec![own];
    for sub in &kind.subresources {
        let response = sub.response_kind.clone().unwrap_or_default();
        let mut entry = json!({
            "name": format!("{}/{}", kind.plural, sub.subresource), "singularName": "",
            "namespaced": kind.namespaced, "kind": response.kind, "verbs": sub.verbs,
        });
        if !response.version.is_empty()
            && (response.group != kind.group || response.version != kind.version)
        {
            entry["group"] = response.group.into();
            entry["version"] = response.version.into();
        }
        found.push(entry);
    }
    found
}
