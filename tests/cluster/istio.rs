//! Istio's base and istiod from 1.29.6 to 1.30.3, installed and upgraded by helm, by meshscript, and by one after the other.
//!
//! The four ends must store the same, and at no moment of an upgrade may a validating webhook be weaker than before: a chart
//! that is upgraded leaves `failurePolicy` to istiod. Going back to a first revision, which gives the field, is refused by the
//! API server for helm and for us.

use std::collections::BTreeMap;
use std::process::Stdio;

use super::Scenario;
use super::bed::{Bed, ensure, eventually};
use super::releases::stored_releases;

pub(crate) const SCENARIOS: &[Scenario] =
    &[("istio_is_upgraded_both_ways_and_its_webhooks_never_weaken", upgrades)];

const NAMESPACE: &str = "istio-system";
const WEBHOOKS: [&str; 2] = ["istio-validator-istio-system", "istiod-default-validator"];
const RELEASES: [(&str, &str); 2] = [("istio-base", "base"), ("istiod", "istiod")];

fn upgrades(bed: &Bed) -> Result<(), String> {
    let mut reference = None;
    for (first, second) in [
        ("helm", "helm"),
        ("meshscript", "meshscript"),
        ("helm", "meshscript"),
        ("meshscript", "helm"),
    ] {
        let found = upgrade(bed, first, second)
            .map_err(|why| format!("installed by {first}, upgraded by {second}: {why}"))?;
        let Some(expected) = &reference else {
            ensure(found.len() > 100, || format!("hardly anything is stored: {found:?}"))?;
            reference = Some(found);
            continue;
        };
        let different: Vec<String> = found
            .keys()
            .chain(expected.keys().filter(|path| !found.contains_key(*path)))
            .filter(|path| found.get(*path) != expected.get(*path))
            .map(|path| format!("  {path}: {:?} against {:?}", expected.get(path), found.get(path)))
            .collect();
        ensure(different.is_empty(), || {
            format!("helm alone against {first}, then {second}:\n{}", different.join("\n"))
        })?;
    }
    // Charts leave CRDs.
    bed.kubectl(&["delete", "namespace", NAMESPACE])?.ends(0)?;
    let crds = bed.kubectl(&["get", "crds", "-o", "name"])?.ends(0)?.stdout;
    let istio: Vec<&str> = crds.lines().filter(|name| name.ends_with(".istio.io")).collect();
    let mut arguments = vec!["delete"];
    arguments.extend(istio);
    bed.kubectl(&arguments)?.ends(0).map(drop)
}

fn upgrade(bed: &Bed, first: &str, second: &str) -> Result<BTreeMap<String, String>, String> {
    for (release, chart) in RELEASES {
        converge(bed, first, "install", release, chart, "1.29.6")?;
    }
    eventually(60, || {
        let policies = policies(bed)?;
        ensure(policies.iter().all(|(_, policy)| policy == "Fail"), || format!("{policies:?}"))
    })?;
    // What a watch shows goes to a file: it is there before the upgrade begins, and whole after it.
    let path = bed.work.path().join("webhooks");
    let file = std::fs::File::create(&path).map_err(|error| error.to_string())?;
    let mut watch = bed
        .kubectl_command(&[
            "get",
            "validatingwebhookconfigurations",
            "--watch",
            "--no-headers",
            "-o",
            "custom-columns=NAME:.metadata.name,POLICY:.webhooks[*].failurePolicy",
        ])
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| error.to_string())?;
    let seen = || std::fs::read_to_string(&path).map_err(|error| error.to_string());
    let begun = eventually(20, || {
        let seen = seen()?;
        let is_seen = |name: &str| {
            seen.lines().any(|line| line.starts_with(name) && line.trim_end().ends_with("Fail"))
        };
        ensure(WEBHOOKS.iter().all(|name| is_seen(name)), || {
            format!("the watch did not see both webhooks:\n{seen}")
        })
    });
    let upgraded = begun.and_then(|()| {
        RELEASES.iter().try_for_each(|(release, chart)| {
            converge(bed, second, "upgrade", release, chart, "1.30.3")
        })
    });
    let after = policies(bed);
    watch.kill().map_err(|error| error.to_string())?;
    watch.wait().map_err(|error| error.to_string())?;
    upgraded?;
    let seen = seen()?;
    ensure(!seen.contains("Ignore"), || format!("a webhook was weakened:\n{seen}"))?;
    let after = after?;
    ensure(after.iter().all(|(_, policy)| policy == "Fail"), || format!("{after:?}"))?;
    for (release, _) in RELEASES {
        back(bed, second, release)?;
    }
    let back = policies(bed)?;
    ensure(back.iter().all(|(_, policy)| policy == "Fail"), || format!("{back:?}"))?;
    let stored = stored_releases(bed, NAMESPACE)?;
    for (release, _) in RELEASES.iter().rev() {
        bed.helm(&["uninstall", release, "-n", NAMESPACE, "--wait"])?.ends(0)?;
    }
    Ok(stored)
}

fn policies(bed: &Bed) -> Result<Vec<(String, String)>, String> {
    WEBHOOKS
        .iter()
        .map(|name| {
            let got = bed
                .kubectl(&[
                    "get",
                    "validatingwebhookconfiguration",
                    name,
                    "-o",
                    "jsonpath={.webhooks[*].failurePolicy}",
                ])?
                .ends(0)?;
            Ok(((*name).to_owned(), got.stdout))
        })
        .collect()
}

/// Both wait until istiod is ready.
fn converge(
    bed: &Bed,
    by: &str,
    function: &str,
    release: &str,
    chart: &str,
    version: &str,
) -> Result<(), String> {
    let charts = Bed::data()?.join("charts");
    let archive = charts.join(format!("{chart}-{version}.tgz")).display().to_string();
    if by == "helm" {
        let mut arguments = vec![function, release, &archive, "-n", NAMESPACE, "--wait"];
        arguments.extend(["--set-json", "profile=\"ambient\""]);
        if function == "install" {
            arguments.push("--create-namespace");
        }
        return bed.helm(&arguments)?.ends(0).map(drop);
    }
    let script = format!(
        "helm::{function}(\"{release}\", \"{archive}\", #{{ namespace: \"{NAMESPACE}\", wait: true, create_namespace: {}, values: #{{ profile: \"ambient\" }} }})",
        function == "install",
    );
    bed.meshscript(&["eval", &script, "--allow-read", &archive])?.ends(0).map(drop)
}

/// The rollback that istiod's field forbids; the failed revision is told as helm tells it.
fn back(bed: &Bed, by: &str, release: &str) -> Result<(), String> {
    let ran = if by == "helm" {
        bed.helm(&["rollback", release, "1", "-n", NAMESPACE, "--wait"])?.ends(1)?
    } else {
        let script = format!(
            "helm::rollback(\"{release}\", #{{ namespace: \"{NAMESPACE}\", revision: 1, wait: true }})"
        );
        bed.meshscript(&["eval", &script])?.ends(6)?
    };
    ensure(
        ["pilot-discovery", "].failurePolicy"].iter().all(|word| ran.stderr.contains(word)),
        || format!("the conflict is not told: {}", ran.stderr),
    )
}
