//! `/openapi/v2`: what clients of before OpenAPI v3 ask for (Helm until 3.12, Terraform's `kubernetes_manifest`, kubectl
//! until 1.26), made from the documents of `/openapi/v3`.
//!
//! What v2 cannot say is left out as the API server leaves it out: defaults, `nullable`, junctors of schemas.

mod proto;

use serde_json::{Map, Value, json};

use super::ApiServer;

pub(super) use proto::encode;

/// Fields of a schema that v2 does not have.
const V3_ONLY: [&str; 5] = ["default", "nullable", "oneOf", "anyOf", "not"];

const GVK: &str = "x-kubernetes-group-version-kind";
/// A text or a number in v3, for which v2 has but one type.
const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";

impl ApiServer {
    /// `/openapi/v2`
    pub(crate) fn openapi_v2(&self) -> Value {
        let (mut paths, mut definitions) = (Map::new(), Map::new());
        for group in self.kinds.groups() {
            for (version, _) in &group.versions {
                let Some(document) = self.openapi(&group.name, version) else { continue };
                let found = document["paths"].as_object();
                for (path, item) in found.into_iter().flatten() {
                    paths.insert(path.clone(), path_item(item));
                }
                let found = document["components"]["schemas"].as_object();
                for (name, schema) in found.into_iter().flatten() {
                    let of_kind = !schema[GVK].is_null();
                    // Other groups refer to a kind without saying that it is one.
                    if of_kind || !definitions.contains_key(name) {
                        definitions.insert(name.clone(), definition(schema));
                    }
                }
            }
        }
        if let Some(quantity) = definitions.get_mut(QUANTITY) {
            quantity["type"] = "string".into();
        }
        let version = self.version();
        let text = |field: &str| version[field].as_str().unwrap_or_default().to_owned();
        json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": format!("{}.{}", text("major"), text("minor"))},
            "paths": paths,
            "definitions": definitions,
        })
    }
}

/// A schema of v3 as v2 writes it.
fn definition(schema: &Value) -> Value {
    let Value::Object(fields) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (name, value) in fields {
        match (name.as_str(), value) {
            (name, _) if V3_ONLY.contains(&name) => {}
            ("$ref", Value::String(target)) => {
                out.insert("$ref".to_owned(), reference(target));
            }
            ("allOf", Value::Array(all)) => {
                if let [only] = all.as_slice()
                    && let Some(target) = only["$ref"].as_str()
                {
                    out.insert("$ref".to_owned(), reference(target));
                }
            }
            ("properties", Value::Object(properties)) => {
                let properties: Map<String, Value> = properties
                    .iter()
                    .map(|(name, value)| (name.clone(), definition(value)))
                    .collect();
                out.insert("properties".to_owned(), properties.into());
            }
            ("items" | "additionalProperties", value) => {
                out.insert(name.clone(), definition(value));
            }
            _ => {
                out.insert(name.clone(), value.clone());
            }
        }
    }
    if out.get("format").is_some_and(|format| format == "int-or-string") {
        out.insert("type".to_owned(), "string".into());
    }
    out.into()
}

fn reference(target: &str) -> Value {
    target.replace("#/components/schemas/", "#/definitions/").into()
}

/// The operations of a path, with parameters as v2 has them: what they are stands beside their name.
fn path_item(item: &Value) -> Value {
    let mut out = item.clone();
    for operation in out.as_object_mut().into_iter().flat_map(Map::values_mut) {
        let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
        for parameter in parameters.into_iter().flatten() {
            let Some(fields) = parameter.as_object_mut() else { continue };
            if let Some(Value::Object(schema)) = fields.remove("schema") {
                fields.extend(schema);
            }
        }
        let responses = operation.get_mut("responses").and_then(Value::as_object_mut);
        for response in responses.into_iter().flat_map(Map::values_mut) {
            let Some(fields) = response.as_object_mut() else { continue };
            if let Some(content) = fields.remove("content") {
                fields.insert(
                    "schema".to_owned(),
                    definition(&content["application/json"]["schema"]),
                );
            }
        }
    }
    out
}
