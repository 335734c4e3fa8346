//! What the API server says about values: `NAME.yaml` holds the schema of a CRD (or `builtin: true`) and objects, each
//! created, or updated if one of its name was taken before; `NAME.out` holds what kube-apiserver 1.36.3 answered to just
//! that: the object as it was stored (without what it allocates), or the causes of the refusal in sorted order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use meshscript::sandbox::validation::structural::schema_of_crd;
use meshscript::sandbox::validation::{Cause, Validator, defaulting, metadata, names, prune};
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
