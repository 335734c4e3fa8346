//! The two worlds: the same script leaves the same objects on the sandbox and on the test bed.
//!
//! Both are read by the same script, normalised, and compared field by field but for managedFields (the kind `ssa` holds those). What no two
//! clusters share (uids, times, addresses, random parts of names, keys) is replaced by what it stands for. Each other
//! difference stands in `worlds_allowed.txt` with its reason; an allowance that nothing needs any more fails as well.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use super::Scenario;
use super::bed::{Bed, ensure};
use super::normal::Normal;

pub(crate) const SCENARIOS: &[Scenario] =
    &[("the_sandbox_and_the_bed_end_with_the_same_objects", same_objects)];

/// What is compared: everything that a run of the guide leaves, whoever wrote it. Events and Leases tell of moments.
const KINDS: &[&str] = &[
    "namespaces",
    "nodes",
    "configmaps",
    "secrets",
    "serviceaccounts",
    "services",
    "endpoints",
    "pods",
    "resourcequotas",
    "limitranges",
    "deployments.apps",
    "replicasets.apps",
    "daemonsets.apps",
    "controllerrevisions.apps",
    "horizontalpodautoscalers.autoscaling",
    "poddisruptionbudgets.policy",
    "endpointslices.discovery.k8s.io",
    "networkpolicies.networking.k8s.io",
    "ipaddresses.networking.k8s.io",
    "servicecidrs.networking.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingwebhookconfigurations.admissionregistration.k8s.io",
    "validatingadmissionpolicies.admissionregistration.k8s.io",
    "validatingadmissionpolicybindings.admissionregistration.k8s.io",
    "gatewayclasses.gateway.networking.k8s.io",
    "gateways.gateway.networking.k8s.io",
    "httproutes.gateway.networking.k8s.io",
    "referencegrants.gateway.networking.k8s.io",
    "peerauthentications.security.istio.io",
    "authorizationpolicies.security.istio.io",
    "telemetries.telemetry.istio.io",
    "ipaddresspools.metallb.io",
    "l2advertisements.metallb.io",
    "configurationstates.metallb.io",
    "servicel2statuses.metallb.io",
];

/// The fields of each object by path.
type World = BTreeMap<String, BTreeMap<String, String>>;

fn same_objects(bed: &Bed) -> Result<(), String> {
    const GUIDE: Option<&str> = Some("scripts/all.rhai");
    let real = world(bed, GUIDE, &[])?;
    let rehearsed = world(bed, GUIDE, &["--sandbox"])?;
    let again = world(bed, GUIDE, &["--sandbox"])?;
    ensure(rehearsed == again, || {
        let why = differences(&rehearsed, &again);
        format!("two rehearsals end differently:\n{}", listed(&why))
    })?;
    let allowed = allowances()?;
    // Some of the bed's controllers look every 15 s: what is not there yet may come.
    let mut real = real;
    let began = std::time::Instant::now();
    let (found, used, refused) = loop {
        let mut used = BTreeSet::new();
        let mut refused = Vec::new();
        let found = differences(&real, &rehearsed);
        for (line, values) in &found {
            let fitting: Vec<&Allowance> =
                allowed.iter().filter(|allowance| allowance.fits(line, values)).collect();
            used.extend(fitting.iter().map(|allowance| &allowance.pattern));
            if fitting.is_empty() {
                refused.push((line.clone(), values.clone()));
            }
        }
        if refused.is_empty() || began.elapsed().as_secs() >= 20 {
            break (found, used, refused);
        }
        std::thread::sleep(std::time::Duration::from_secs(2));
        real = world(bed, None, &[])?;
    };
    println!(
        "{} objects and {} fields compared, {} allowed to differ",
        real.len(),
        real.values().map(BTreeMap::len).sum::<usize>(),
        found.len() - refused.len()
    );
    ensure(refused.is_empty(), || format!("{} differences:\n{}", refused.len(), listed(&refused)))?;
    let unused: Vec<&String> = allowed
        .iter()
        .filter(|allowance| !allowance.at_times)
        .map(|allowance| &allowance.pattern)
        .filter(|pattern| !used.contains(pattern))
        .collect();
    ensure(unused.is_empty(), || format!("allowances that nothing needs: {unused:#?}"))
}

/// Every path at which the worlds are not equal, with both values.
fn differences(there: &World, here: &World) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let names: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    for name in names {
        let (there, here) = match (there.get(name), here.get(name)) {
            (Some(there), Some(here)) => (there, here),
            (Some(_), None) => {
                found.push((name.clone(), "on the first only".to_owned()));
                continue;
            }
            (_, _) => {
                found.push((name.clone(), "on the second only".to_owned()));
                continue;
            }
        };
        let paths: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
        for path in paths {
            let (there, here) = (there.get(path), here.get(path));
            if there != here {
                let text =
                    |value: Option<&String>| value.map_or("nothing".to_owned(), Clone::clone);
                found.push((
                    format!("{name} {path}"),
                    format!("{} against {}", text(there), text(here)),
                ));
            }
        }
    }
    found
}

fn listed(differences: &[(String, String)]) -> String {
    differences
        .iter()
        .map(|(line, values)| format!("{line}: {values}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// What there is on a target after a script. On the bed the guide has mostly run before and writes nothing.
fn world(bed: &Bed, script: Option<&str>, target: &[&str]) -> Result<World, String> {
    let folder = tempfile::tempdir_in(bed.work.path()).map_err(|error| error.to_string())?;
    let kinds = KINDS.iter().map(|kind| format!("\"{kind}\"")).collect::<Vec<_>>().join(", ");
    let reader = format!(
        "let all = [];
for kind in [{kinds}] {{
    for object in k8s::list(kind, #{{ all_namespaces: true }}) {{
        if object.kind == \"Secret\" && \"data\" in object {{
            // Data of Secrets cannot leave the host; which keys there are can.
            for key in object.data.keys() {{ object.data[key] = \"<secret>\"; }}
        }}
        all.push(object);
    }}
}}
fs::write(\"objects.json\", json::emit(all));
"
    );
    std::fs::write(folder.path().join("read.rhai"), reader).map_err(|error| error.to_string())?;
    let workspace = folder.path().display().to_string();
    let parameters = Bed::guide_parameters()?;
    let mut arguments = vec!["run"];
    arguments.extend(script);
    arguments.extend(["read.rhai", "--workspace", &workspace]);
    arguments.extend(target);
    if script.is_some() {
        arguments.extend(parameters.iter().map(String::as_str));
    }
    bed.meshscript(&arguments)?.ends(0)?;
    let text = std::fs::read_to_string(folder.path().join("objects.json"))
        .map_err(|error| error.to_string())?;
    let list: Vec<Value> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    ensure(!list.is_empty(), || format!("no objects on {target:?}"))?;
    let normal = Normal::of(&list);
    Ok(list.iter().map(|object| (normal.name(object), normal.fields(object))).collect())
}

/// One line of `worlds_allowed.txt`: a pattern with `*`, and why it may differ.
struct Allowance {
    pattern: String,
    /// What a real program does now this way, now that way: the pattern covers the two values as well and need not
    /// be met in every run.
    at_times: bool,
}

impl Allowance {
    fn fits(&self, path: &str, values: &str) -> bool {
        let line = if self.at_times { &format!("{path}: {values}") } else { path };
        let mut parts = self.pattern.split('*');
        let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = self.pattern.rsplit('*').next().filter(|_| self.pattern.contains('*'))
        else {
            return rest.is_empty();
        };
        for part in parts {
            let Some(found) = rest.find(part) else { return false };
            rest = &rest[found + part.len()..];
        }
        // The last part may also stand earlier in the line; what counts is the end.
        line.ends_with(last)
    }
}

fn allowances() -> Result<Vec<Allowance>, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/worlds_allowed.txt");
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| match line.split_once(" | ") {
            Some((pattern, reason)) if !reason.trim().is_empty() => {
                let (pattern, at_times) = match pattern.strip_prefix("at times: ") {
                    Some(pattern) => (pattern, true),
                    None => (pattern, false),
                };
                Ok(Allowance { pattern: pattern.trim().to_owned(), at_times })
            }
            _ => Err(format!("worlds_allowed.txt: `{line}` has no reason")),
        })
        .collect()
}
