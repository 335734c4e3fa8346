//! What objects would lose if the definition of their kind were replaced.

use serde_json::Value as Json;

/// What the next definition of a kind takes away: versions, and fields that the server would prune from objects. Each a
/// sentence that names the definition; empty when nothing is lost.
pub(crate) fn losses(live: &Json, next: &Json) -> Vec<String> {
    let name = live["metadata"]["name"].as_str().unwrap_or_default();
    let mut lost = Vec::new();
    for field in ["group", "scope"] {
        let (old, new) = (&live["spec"][field], &next["spec"][field]);
        if old != new {
            lost.push(format!("{name}: `{field}` {old} becomes {new}, which the server refuses"));
        }
    }
    let stored: Vec<&str> = live["status"]["storedVersions"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    for old in versions(live) {
        let version = old["name"].as_str().unwrap_or_default();
        let Some(new) = versions(next).find(|new| new["name"] == version) else {
            let held = stored.contains(&version);
            let tail = if held { ", and objects may be stored in it" } else { "" };
            lost.push(format!("{name}: version {version} is gone{tail}"));
            continue;
        };
        if old["served"] == true && new["served"] != true {
            lost.push(format!("{name}: version {version} is not served any more"));
        }
        let mut gone = Vec::new();
        let schema = "openAPIV3Schema";
        fields(&old["schema"][schema], &new["schema"][schema], "", &mut gone);
        lost.extend(
            gone.into_iter().map(|path| format!("{name}: {version} has no field {path} any more")),
        );
    }
    lost
}

fn versions(definition: &Json) -> impl Iterator<Item = &Json> {
    definition["spec"]["versions"].as_array().into_iter().flatten()
}

/// The topmost fields of `old` that `new` prunes.
fn fields(old: &Json, new: &Json, path: &str, gone: &mut Vec<String>) {
    if new["x-kubernetes-preserve-unknown-fields"] == true || !new.is_object() {
        return;
    }
    for (name, old) in old["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match new["properties"].get(name) {
            Some(new) => fields(old, new, &path, gone),
            // A map of any keys keeps it.
            None if new["additionalProperties"].is_object() => {}
            None => gone.push(path),
        }
    }
    if old["items"].is_object() {
        fields(&old["items"], &new["items"], &format!("{path}[]"), gone);
    }
    if old["additionalProperties"].is_object() && new["additionalProperties"].is_object() {
        fields(
            &old["additionalProperties"],
            &new["additionalProperties"],
            &format!("{path}.*"),
            gone,
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn definition(versions: Json) -> Json {
        json!({
            "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions},
            "status": {"storedVersions": ["v1alpha1", "v1"]},
        })
    }

    fn version(name: &str, spec: Json) -> Json {
        let schema = json!({"properties": {"spec": spec}});
        json!({"name": name, "served": true, "schema": {"openAPIV3Schema": schema}})
    }

    #[test]
    fn versions_and_fields_that_go_are_told() {
        let old = json!({"properties": {
            "a": {}, "b": {"properties": {"c": {}, "d": {}}}, "l": {"items": {"properties": {"x": {}}}},
        }});
        let new = json!({"properties": {
            "a": {}, "b": {"properties": {"c": {}}}, "l": {"items": {"properties": {}}},
        }});
        let live = definition(json!([version("v1alpha1", json!({})), version("v1", old)]));
        let next = definition(json!([version("v1", new)]));
        let expected = [
            "things.example.com: version v1alpha1 is gone, and objects may be stored in it",
            "things.example.com: v1 has no field spec.b.d any more",
            "things.example.com: v1 has no field spec.l[].x any more",
        ];
        assert_eq!(losses(&live, &next), expected);
        assert!(losses(&live, &live).is_empty());
    }

    #[test]
    fn what_keeps_unknown_fields_loses_none() {
        let old = definition(json!([version("v1", json!({"properties": {"a": {}}}))]));
        let open = json!({"x-kubernetes-preserve-unknown-fields": true});
        let new = definition(json!([version("v1", open)]));
        assert!(losses(&old, &new).is_empty());
    }
}
