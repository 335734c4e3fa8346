//! The two worlds: the same script leaves the same objects on the sandbox and on the test bed.
//!
//! Both are read by the same script, normalised, and compared field by field. Each allowed difference stands in
//! `worlds_allowed.txt` with its reason; an allowance that nothing needs any more fails as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::Scenario;
use super::bed::{Bed, ensure};

pub(crate) const SCENARIOS: &[Scenario] =
    &[("the_sandbox_and_the_bed_end_with_the_same_objects", same_objects)];

/// What is compared: what users, istiod and controllers of the guide leave behind.
const KINDS: &[&str] = &[
    "namespaces",
    "serviceaccounts",
    "services",
    "deployments.apps",
    "daemonsets.apps",
    "gatewayclasses.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
    "peerauthentications.security.istio.io",
    "authorizationpolicies.security.istio.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "ipaddresspools.metallb.io",
    "l2advertisements.metallb.io",
];

fn same_objects(bed: &Bed) -> Result<(), String> {
    let real = objects(bed, &[])?;
    let rehearsed = objects(bed, &["scripts/all.rhai"])?;
    let allowed = allowances()?;
    let mut used = BTreeSet::new();
    let mut differences = Vec::new();
    let names: BTreeSet<&String> = real.keys().chain(rehearsed.keys()).collect();
    for name in names {
        let empty = BTreeMap::new();
        let (there, here) =
            (real.get(name).unwrap_or(&empty), rehearsed.get(name).unwrap_or(&empty));
        let paths: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        for path in paths {
            let (there, here) = (there.get(path), here.get(path));
            if there == here {
                continue;
            }
            let line = format!("{name} {path}");
            match allowed.iter().find(|allowance| allowance.fits(&line)) {
                Some(allowance) => {
                    used.insert(&allowance.pattern);
                }
                None => differences.push(format!(
                    "{line}: test bed {}, sandbox {}",
                    there.map_or("nothing", String::as_str),
                    here.map_or("nothing", String::as_str)
                )),
            }
        }
    }
    ensure(!real.is_empty() && !rehearsed.is_empty(), || "one world has no objects".to_owned())?;
    let unused: Vec<&String> = allowed
        .iter()
        .map(|allowance| &allowance.pattern)
        .filter(|pattern| !used.contains(pattern))
        .collect();
    println!("{} objects compared, {} allowances used", real.len(), used.len());
    ensure(differences.is_empty(), || {
        format!("{} differences:\n{}", differences.len(), differences.join("\n"))
    })?;
    ensure(unused.is_empty(), || format!("allowances that nothing needs: {unused:?}"))
}

/// The fields of each object by path; before they are read, `scripts` are rehearsed, or nothing is run on the bed.
fn objects(
    bed: &Bed,
    scripts: &[&str],
) -> Result<BTreeMap<String, BTreeMap<String, String>>, String> {
    let folder = tempfile::tempdir_in(bed.work.path()).map_err(|error| error.to_string())?;
    let kinds = KINDS.iter().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(", ");
    let script = format!(
        "let all = [];\nfor kind in [{kinds}] {{ all += k8s::list(kind, #{{ all_namespaces: true }}); }}\nfs::write(\"objects.json\", json::emit(all));\n"
    );
    std::fs::write(folder.path().join("read.rhai"), script).map_err(|error| error.to_string())?;
    let workspace = folder.path().display().to_string();
    let parameters = Bed::guide_parameters()?;
    let mut arguments = vec!["run"];
    arguments.extend(scripts);
    arguments.extend(["read.rhai", "--workspace", &workspace]);
    if !scripts.is_empty() {
        arguments.push("--sandbox");
        arguments.extend(parameters.iter().map(String::as_str));
    }
    bed.meshscript(&arguments)?.ends(0)?;
    let text = std::fs::read_to_string(folder.path().join("objects.json"))
        .map_err(|error| error.to_string())?;
    let list: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    Ok(list.iter().map(|object| (name_of(object), fields(object))).collect())
}

fn name_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!(
        "{} {}/{}",
        text(&object["kind"]),
        text(&metadata["namespace"]),
        text(&metadata["name"])
    )
}

/// What differs from run to run on one and the same API server.
const VARYING: &[&str] = &[
    "metadata.uid",
    "metadata.resourceVersion",
    "metadata.creationTimestamp",
    "metadata.managedFields",
    "metadata.generation",
    "metadata.ownerReferences",
    "clusterIP",
    "nodePort",
    "caBundle",
    "lastTransitionTime",
    "lastUpdateTime",
    "observedGeneration",
    "healthCheckNodePort",
];

fn fields(object: &Value) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    flatten(object, String::new(), &mut found);
    found
}

fn flatten(value: &Value, path: String, found: &mut BTreeMap<String, String>) {
    if VARYING
        .iter()
        .any(|varying| path.ends_with(varying) || path.contains(&format!("{varying}s[")))
    {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(value, path, found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                // Conditions and listeners are named: their order says nothing.
                let key = ["type", "name"]
                    .iter()
                    .find_map(|key| item[*key].as_str().map(str::to_owned))
                    .unwrap_or_else(|| at.to_string());
                flatten(item, format!("{path}[{key}]"), found);
            }
        }
        scalar => {
            found.insert(path, scalar.to_string());
        }
    }
}

/// One line of `worlds_allowed.txt`: a pattern with `*`, and why it may differ.
struct Allowance {
    pattern: String,
}

impl Allowance {
    fn fits(&self, line: &str) -> bool {
        let mut rest = line;
        let parts: Vec<&str> = self.pattern.split('*').collect();
        for (at, part) in parts.iter().enumerate() {
            let Some(found) = rest.find(part) else { return false };
            if at == 0 && found != 0 {
                return false;
            }
            rest = &rest[found + part.len()..];
        }
        rest.is_empty() || self.pattern.ends_with('*')
    }
}

fn allowances() -> Result<Vec<Allowance>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/worlds_allowed.txt");
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.split_once(" | ") {
            Some((pattern, reason)) if !reason.trim().is_empty() => {
                Ok(Allowance { pattern: pattern.trim().to_owned() })
            }
            _ => Err(format!("worlds_allowed.txt: `{line}` has no reason")),
        })
        .collect()
}
