//! The guide from an empty cluster to the end: install, look with the field's own tools, run again, grow, remove.

use super::Scenario;
use super::bed::{Bed, ensure, eventually};

const ADDRESS: &str = "172.18.255.200";

/// helm and kubectl need 218 requests and 21 watches for the same.
const FIRST_RUN_REQUESTS: usize = 250;
const SECOND_RUN_REQUESTS: usize = 40;

pub(crate) const FIRST: &[Scenario] = &[
    ("first_run_ends_0_within_its_requests", first_run),
    ("helm_lists_the_releases_as_deployed", helm_lists),
    ("helm_get_manifest_is_what_was_rendered", helm_manifests),
    ("kubectl_shows_the_conditions_of_istiod", conditions),
    ("http_and_https_answer_through_the_real_envoy", answers),
];

pub(crate) const AFTER: &[Scenario] = &[
    ("second_run_writes_nothing_within_its_requests", second_run),
    ("second_tenant_answers_beside_the_first", second_tenant),
    ("a_claimed_host_is_refused_naming_the_owner", claimed_host),
    ("removing_a_tenant_leaves_the_other_answering", remove_tenant),
];

pub(crate) const LAST: &[Scenario] = &[("uninstall_leaves_nothing_behind", uninstall)];

fn first_run(bed: &Bed) -> Result<(), String> {
    let mark = bed.audit_mark();
    let run = bed.script("scripts/all.rhai", &[])?.ends(0)?;
    let requests = bed.requests_since(mark)?;
    println!("first run: {} requests, {} writes", requests.all, requests.writes.len());
    ensure(requests.all > 0, || "the audit log saw no request of meshscript".to_owned())?;
    ensure(requests.all <= FIRST_RUN_REQUESTS, || {
        format!("{} requests:\n{}", requests.all, requests.list.join("\n"))
    })?;
    // Only what needs a ztunnel may be unproven.
    let unproven: Vec<&str> = run
        .stderr
        .lines()
        .chain(run.stdout.lines())
        .filter(|line| line.contains("unproven") && !line.contains("allow-unproven"))
        .filter(|line| !line.contains("ztunnel") && !line.to_lowercase().contains("checks "))
        // The last line names the checks whose reasons stand above.
        .filter(|line| !line.starts_with("unproven: tenant.sample.enrolled, tenant.sample.strict"))
        .collect();
    ensure(unproven.is_empty(), || format!("unproven without ztunnel:\n{}", unproven.join("\n")))
}

fn helm_lists(bed: &Bed) -> Result<(), String> {
    let list = bed.helm(&["ls", "-A", "-o", "json"])?.ends(0)?;
    let releases: serde_json::Value =
        serde_json::from_str(&list.stdout).map_err(|error| error.to_string())?;
    for name in ["istio-base", "istiod", "istio-cni", "ztunnel", "metallb"] {
        let status = releases
            .as_array()
            .into_iter()
            .flatten()
            .find(|release| release["name"] == name)
            .and_then(|release| release["status"].as_str());
        ensure(status == Some("deployed"), || {
            format!("release {name}: {status:?} in {}", list.stdout)
        })?;
    }
    Ok(())
}

fn helm_manifests(bed: &Bed) -> Result<(), String> {
    let charts = Bed::data()?.join("charts");
    for (release, chart, values) in [
        ("istiod", "istiod-1.30.3.tgz", "profile=ambient"),
        ("istio-cni", "cni-1.30.3.tgz", "profile=ambient"),
        ("ztunnel", "ztunnel-1.30.3.tgz", ""),
    ] {
        let stored = bed.helm(&["get", "manifest", release, "-n", "istio-system"])?.ends(0)?.stdout;
        let archive = charts.join(chart).display().to_string();
        let mut arguments = vec![
            "install",
            release,
            &archive,
            "-n",
            "istio-system",
            "--dry-run=client",
            "--hide-notes",
        ];
        if !values.is_empty() {
            arguments.extend(["--set", values]);
        }
        // An install renders other bytes than an upgrade: the name must look new to helm.
        arguments.extend(["--replace"]);
        let rendered = bed.helm(&arguments)?.ends(0)?.stdout;
        let rendered = rendered.split_once("MANIFEST:\n").map_or("", |(_, manifest)| manifest);
        ensure(stored.trim() == rendered.trim(), || {
            format!(
                "release {release}:\n{}",
                similar::TextDiff::from_lines(rendered.trim(), stored.trim()).unified_diff()
            )
        })?;
    }
    Ok(())
}

fn conditions(bed: &Bed) -> Result<(), String> {
    for (namespace, object, path, value) in [
        (
            "networking",
            "gtw/shared-gateway",
            ".status.conditions[?(@.type==\"Programmed\")].status",
            "True",
        ),
        ("networking", "gtw/shared-gateway", ".status.addresses[0].value", ADDRESS),
        (
            "sample",
            "httproute/httpbin",
            ".status.parents[0].conditions[?(@.type==\"Accepted\")].status",
            "True",
        ),
        ("sample", "gtw/waypoint", ".status.conditions[?(@.type==\"Programmed\")].status", "True"),
        (
            "sample",
            "svc/httpbin",
            ".status.conditions[?(@.type==\"istio.io/WaypointBound\")].message",
            "Successfully attached to waypoint sample/waypoint. Ingress traffic will traverse the waypoint",
        ),
    ] {
        let got = bed
            .kubectl(&["-n", namespace, "get", object, "-o", &format!("jsonpath={{{path}}}")])?
            .ends(0)?
            .stdout;
        ensure(got == value, || format!("{object} {path}: `{got}`, expected `{value}`"))?;
    }
    Ok(())
}

/// The CA of the guide as a file for curl.
fn ca(bed: &Bed) -> Result<String, String> {
    use base64::Engine as _;
    let data = bed
        .kubectl(&[
            "-n",
            "networking",
            "get",
            "secret",
            "platform-ca",
            "-o",
            "jsonpath={.data.tls\\.crt}",
        ])?
        .ends(0)?
        .stdout;
    let pem = base64::engine::general_purpose::STANDARD
        .decode(data.trim())
        .map_err(|error| error.to_string())?;
    let path = bed.work.path().join("ca.crt");
    std::fs::write(&path, pem).map_err(|error| error.to_string())?;
    Ok(path.display().to_string())
}

fn answers_for(bed: &Bed, host: &str) -> Result<(), String> {
    let ca = ca(bed)?;
    eventually(10, || {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}/status/200");
            let code = bed.curl(&url, ADDRESS, &["--cacert", &ca])?;
            ensure(code == "200", || format!("{url}: {code}"))?;
        }
        Ok(())
    })
}

fn answers(bed: &Bed) -> Result<(), String> {
    answers_for(bed, "httpbin.example.com")?;
    let ca = ca(bed)?;
    let wrong = bed.curl("http://wrong.example.com/status/200", ADDRESS, &[])?;
    ensure(wrong == "404", || format!("a wrong host over HTTP: {wrong}"))?;
    let refused = bed.curl("https://example.org/status/200", ADDRESS, &["--cacert", &ca])?;
    ensure(refused == "000", || format!("a wrong host over HTTPS: {refused}"))
}

fn second_run(bed: &Bed) -> Result<(), String> {
    let mark = bed.audit_mark();
    bed.script("scripts/all.rhai", &[])?.ends(0)?;
    let requests = bed.requests_since(mark)?;
    println!("second run: {} requests, {} writes", requests.all, requests.writes.len());
    ensure(requests.writes.is_empty(), || format!("writes:\n{}", requests.writes.join("\n")))?;
    ensure(requests.all <= SECOND_RUN_REQUESTS, || {
        format!("{} requests:\n{}", requests.all, requests.list.join("\n"))
    })
}

fn second_tenant(bed: &Bed) -> Result<(), String> {
    bed.script("scripts/tenant.rhai", &["--set", "name=shop", "--set", "host=shop.example.com"])?
        .ends(0)?;
    answers_for(bed, "shop.example.com")?;
    answers_for(bed, "httpbin.example.com")
}

fn claimed_host(bed: &Bed) -> Result<(), String> {
    bed.script("scripts/tenant.rhai", &["--set", "name=thief", "--set", "host=shop.example.com"])?
        .ends(6)?
        .says("belongs to tenant shop")?;
    // Refused before anything was written.
    let left =
        bed.kubectl(&["get", "namespace", "thief", "--ignore-not-found", "-o", "name"])?.ends(0)?;
    ensure(left.stdout.is_empty(), || "the namespace of the refused tenant exists".to_owned())
}

fn remove_tenant(bed: &Bed) -> Result<(), String> {
    bed.script("scripts/uninstall.rhai", &["--set", "tenant=shop"])?.ends(0)?;
    let gone =
        bed.kubectl(&["get", "namespace", "shop", "--ignore-not-found", "-o", "name"])?.ends(0)?;
    ensure(gone.stdout.is_empty(), || "namespace shop is still there".to_owned())?;
    answers_for(bed, "httpbin.example.com")
}

fn uninstall(bed: &Bed) -> Result<(), String> {
    bed.script("scripts/uninstall.rhai", &[])?.ends(0)?;
    let namespaces = bed.kubectl(&["get", "namespaces", "-o", "name"])?.ends(0)?.stdout;
    for name in ["sample", "networking", "istio-system", "metallb-system"] {
        ensure(!namespaces.contains(&format!("namespace/{name}\n")), || {
            format!("{name} is left: {namespaces}")
        })?;
    }
    for kind in [
        "crd",
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
    ] {
        let left = bed.kubectl(&["get", kind, "-o", "name"])?.ends(0)?.stdout;
        let ours: Vec<&str> = left
            .lines()
            .filter(|name| {
                ["istio.io", "gateway.networking", "metallb", "meshscript"]
                    .iter()
                    .any(|mark| name.contains(mark))
            })
            .collect();
        ensure(ours.is_empty(), || format!("left behind: {ours:?}"))?;
    }
    let configs = bed
        .kubectl(&["get", "configmaps", "-A", "-l", "istio.io/config=true", "-o", "name"])?
        .ends(0)?
        .stdout;
    ensure(configs.is_empty(), || format!("left behind: {configs}"))
}
