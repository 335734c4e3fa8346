//! What the API server says about values: `NAME.yaml` holds the schema of a CRD (or `builtin: true`) and objects, each
//! created, or updated if one of its name was taken before; `NAME.out` holds what kube-apiserver 1.36.3 answered to just
//! that: the object as it was stored (without what it allocates), or the causes of the refusal in sorted order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use meshscript::sandbox::validation::policy::{self, Denial, ParamQuery, Policy};
use meshscript::sandbox::validation::request::{GroupVersionResource, Request, User};
use meshscript::sandbox::validation::structural::schema_of_crd;
use meshscript::sandbox::validation::{
    Cause, Validator, builtin, defaulting, metadata, names, prune,
};
use serde::Deserialize as _;
use serde_json::{Value, json};

const KIND: &str = "validation";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = crate::harness::each(KIND, Some("yaml"), run);
    trials.push(Trial::test("validation/rules_of_real_crds_compile", real_rules_compile));
    trials
}

fn documents(text: &str) -> Result<Vec<Value>, Failed> {
    let documents: Result<Vec<Value>, _> =
        serde_yaml::Deserializer::from_str(text).map(Value::deserialize).collect();
    Ok(documents?.into_iter().filter(|document| !document.is_null()).collect())
}

fn run(path: &Path) -> Result<(), Failed> {
    let mut documents = documents(&fs::read_to_string(path)?)?.into_iter();
    let head = documents.next().ok_or("the case is empty")?;
    if head["policies"].is_array() {
        let out = run_policies(&head, documents)?;
        return crate::harness::expect(&path.with_extension("out"), &out);
    }
    if head["builtin"] == true {
        return crate::harness::expect(&path.with_extension("out"), &run_builtin(documents)?);
    }
    let version = json!({"name": "v1", "schema": {"openAPIV3Schema": head["schema"]}});
    let validator = Validator::new(schema_of_crd(&version)?);
    let mut stored: BTreeMap<String, Value> = BTreeMap::new();
    let mut out = String::new();
    for object in documents {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let kind = object["kind"].as_str().unwrap_or_default().to_owned();
        let key = format!("{kind} {name}");
        let old = stored.get(&key);
        writeln!(out, "# {} {key}", if old.is_some() { "update" } else { "create" })?;
        let mut object = object;
        for field in prune::prune(validator.schema(), &mut object) {
            writeln!(out, "warning: {}", prune::unknown_field(&field))?;
        }
        defaulting::default(validator.schema(), &mut object);
        let causes = custom_resource_causes(&validator, &object, old);
        if causes.is_empty() {
            writeln!(out, "{}", serde_json::to_string_pretty(&sorted(&object))?)?;
            stored.insert(key, object);
        } else {
            write_causes(&mut out, &causes)?;
        }
        out.push('\n');
    }
    crate::harness::expect(&path.with_extension("out"), &out)
}

/// What bound ValidatingAdmissionPolicies say about each object.
fn run_policies(head: &Value, objects: impl Iterator<Item = Value>) -> Result<String, Failed> {
    let shared = |field: &str| -> Vec<Arc<Value>> {
        head[field].as_array().into_iter().flatten().cloned().map(Arc::new).collect()
    };
    // The API server labels every namespace with its name.
    let labelled = |object: &Arc<Value>| {
        let mut object = Value::clone(object);
        if object["kind"] == "Namespace" {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
        }
        Arc::new(object)
    };
    let policies: Vec<Policy> = shared("policies").into_iter().map(Policy::new).collect();
    let bindings = shared("bindings");
    let others: Vec<Arc<Value>> = shared("setup").iter().map(labelled).collect();
    let mut stored: BTreeMap<String, Value> = BTreeMap::new();
    let mut out = String::new();
    for object in objects {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let (name, namespace, kind) =
            (text("/metadata/name"), text("/metadata/namespace"), text("/kind"));
        let (group, version) =
            text("/apiVersion").split_once('/').unwrap_or(("", text("/apiVersion")));
        let plural = format!("{}s", kind.to_lowercase());
        let namespace_object = others.iter().find(|found| found["metadata"]["name"] == namespace);
        let old = stored.get(&format!("{kind} {name}")).cloned();
        let request = Request {
            resource: GroupVersionResource { group, version, plural: &plural, kind },
            equivalents: &[],
            subresource: "",
            operation: if old.is_some() { "UPDATE" } else { "CREATE" },
            namespace,
            name,
            user: User { name: "kubernetes-admin", ..User::default() },
            dry_run: false,
            object: Some(&object),
            old_object: old.as_ref(),
            namespace_object: namespace_object.map(|found| &**found),
        };
        let params = |query: &ParamQuery<'_>| -> Vec<Arc<Value>> {
            others
                .iter()
                .filter(|found| found["kind"] == query.kind)
                .filter(|found| query.name.is_some_and(|name| found["metadata"]["name"] == name))
                .cloned()
                .collect()
        };
        let verdict = policy::evaluate(&policies, &bindings, &request, &params);
        writeln!(out, "# {} {kind} {name}", request.operation.to_lowercase())?;
        for warning in &verdict.warnings {
            writeln!(out, "warning: {warning}")?;
        }
        match &verdict.denied {
            Some(denial) => {
                let resource = if group.is_empty() { plural } else { format!("{plural}.{group}") };
                let Denial { code, reason, message } = denial;
                writeln!(out, "{code} {reason}: {resource} \"{name}\" is forbidden: {message}")?;
            }
            None => {
                writeln!(out, "admitted")?;
                stored.insert(format!("{kind} {name}"), object.clone());
            }
        }
        out.push('\n');
    }
    Ok(out)
}

/// Verdicts on built-in kinds. Of a cause whose message goes on over several lines (a difference of Go values) only the
/// first is compared.
fn run_builtin(objects: impl Iterator<Item = Value>) -> Result<String, Failed> {
    const CLUSTER_SCOPED: &[&str] = &[
        "Namespace",
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "PriorityClass",
        "ValidatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    let mut stored: BTreeMap<String, Value> = BTreeMap::new();
    let mut out = String::new();
    for mut object in objects {
        let text = |pointer: &str| {
            object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let (name, kind, api_version) =
            (text("/metadata/name"), text("/kind"), text("/apiVersion"));
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        let namespaced = !CLUSTER_SCOPED.contains(&kind.as_str());
        if namespaced {
            object["metadata"]["namespace"] = "default".into();
        }
        let key = format!("{kind} {name}");
        let old = stored.get(&key);
        writeln!(out, "# {} {key}", if old.is_some() { "update" } else { "create" })?;
        let owner =
            metadata::Owner { name_rule: names::NameRule::of_kind(group, &kind), namespaced };
        let mut causes = match old {
            Some(old) => metadata::validate_update(&object, old),
            None => metadata::validate(&object, owner),
        };
        causes.extend(match old {
            Some(old) => builtin::validate_update(group, &kind, &object, old),
            None => builtin::validate(group, &kind, &object),
        });
        if causes.is_empty() {
            writeln!(out, "admitted")?;
            set_by_others(&kind, &mut object);
            stored.insert(key, object);
        } else {
            write_causes(&mut out, &causes)?;
        }
        out.push('\n');
    }
    Ok(out)
}

/// What the API server's allocators and controllers add to a stored object and updates are compared with.
fn set_by_others(kind: &str, object: &mut Value) {
    if kind == "Service" && object["spec"]["clusterIP"].is_null() {
        object["spec"]["clusterIP"] = "10.96.0.50".into();
    }
    if kind == "CustomResourceDefinition" {
        object["status"] = json!({
            "conditions": [{"type": "Established", "status": "True"}],
            "storedVersions": [object["spec"]["versions"][0]["name"]],
        });
    }
}

fn custom_resource_causes(
    validator: &Validator,
    object: &Value,
    old: Option<&Value>,
) -> Vec<Cause> {
    let owner = metadata::Owner { name_rule: names::NameRule::Dns1123Subdomain, namespaced: false };
    let mut causes = match old {
        Some(old) => metadata::validate_update(object, old),
        None => metadata::validate(object, owner),
    };
    causes.extend(validator.validate(object, old));
    causes
}

fn write_causes(out: &mut String, causes: &[Cause]) -> Result<(), Failed> {
    let mut lines: Vec<String> = causes
        .iter()
        .map(|cause| format!("{} | {} | {}", cause.field, cause.reason, cause.message))
        .collect();
    lines.sort();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// With the keys in order, whatever features `serde_json` was built with.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, Value> =
                fields.iter().map(|(name, value)| (name, sorted(value))).collect();
            fields.into_iter().map(|(name, value)| (name.clone(), value)).collect()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// The manifests that the guide installs, where they are at hand.
fn real_rules_compile() -> Result<(), Failed> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let data = if data.exists() { data } else { PathBuf::from("../../shared/data") };
    if !data.exists() {
        eprintln!("skipped: no folder of real CRDs");
        return Ok(());
    }
    let mut n_rules = 0;
    let mut wrong = Vec::new();
    for text in real_crds(&data)? {
        for document in documents(&text)? {
            if document["kind"] != "CustomResourceDefinition" {
                continue;
            }
            let name = document["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            for version in document["spec"]["versions"].as_array().into_iter().flatten() {
                let validator = Validator::new(schema_of_crd(version)?);
                n_rules += validator.n_rules();
                for (path, rule, why) in validator.broken_rules() {
                    wrong.push(format!("{name}{path}: {rule}: {why}"));
                }
            }
        }
    }
    if wrong.is_empty() && n_rules >= 700 {
        return Ok(());
    }
    Err(format!("{n_rules} rules, of which do not compile:\n{}", wrong.join("\n")).into())
}

fn real_crds(data: &Path) -> Result<Vec<String>, Failed> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(data.join("manifests"))? {
        texts.push(fs::read_to_string(entry?.path())?);
    }
    for chart in ["base-1.30.3.tgz", "metallb-0.16.1.tgz"] {
        let file = flate2::read::GzDecoder::new(fs::File::open(data.join("charts").join(chart))?);
        let mut archive = tar::Archive::new(file);
        for entry in archive.entries()? {
            let mut entry = entry?;
            let path = entry.path()?.to_string_lossy().into_owned();
            if !path.contains("crd") || !path.ends_with(".yaml") {
                continue;
            }
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text)?;
            // What is a template is not YAML; the CRDs of these charts are plain.
            if !text.contains("{{") {
                texts.push(text);
            }
        }
    }
    Ok(texts)
}
