//! The routing cases through the real Envoy: what was recorded still holds, and `BLESS=1` records it again.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use futures::future::BoxFuture;
use meshscript::base::net::Stream;

use super::Scenario;
use super::bed::{Bed, ensure, eventually};
use super::routing_play::{self, Step};

pub(crate) const SCENARIOS: &[Scenario] =
    &[("envoy_routes_as_recorded_and_as_the_sandbox_does", as_recorded)];

/// The head of a recording.
const HEAD: &str = "# Answers of Envoy 1.40.0 behind istiod 1.31-dev (eed52ebb66ad), charts 1.30.3, on the test bed's mesh tier;\n\
                    # recorded by the scenario `envoy_routes` of tests/cluster with BLESS=1.\n";

/// The bed's gateways, by their addresses.
struct Real<'a> {
    bed: &'a Bed,
    addresses: BTreeMap<String, String>,
}

impl routing_play::World for Real<'_> {
    fn dial<'a>(
        &'a self,
        gateway: &'a str,
        port: u16,
    ) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let address = self.addresses.get(gateway).map_or("", String::as_str);
            let stream = tokio::net::TcpStream::connect((address, port)).await?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        })
    }

    fn log<'a>(&'a self, backend: &'a str) -> BoxFuture<'a, String> {
        Box::pin(async move {
            let target = format!("deployment/{backend}");
            let ran = self.bed.kubectl(&["-n", "routing", "logs", &target, "--tail=200"]);
            ran.map(|ran| ran.stdout).unwrap_or_default()
        })
    }
}

fn address(bed: &Bed, gateway: &str) -> Result<String, String> {
    let path = "jsonpath={.status.addresses[0].value}";
    let ran = bed.kubectl(&["-n", "routing", "get", "gtw", gateway, "-o", path])?.ends(0)?;
    ensure(!ran.stdout.is_empty(), || format!("gateway {gateway} has no address"))?;
    Ok(ran.stdout)
}

fn apply(bed: &Bed, objects: &[serde_json::Value]) -> Result<(), String> {
    if objects.is_empty() {
        return Ok(());
    }
    let text: String = objects.iter().map(|object| format!("---\n{object:#}\n")).collect();
    let file = bed.work.path().join("routing.yaml");
    std::fs::write(&file, text).map_err(|error| error.to_string())?;
    let file = file.display().to_string();
    bed.kubectl(&["apply", "--server-side", "-f", &file])?.ends(0).map(drop)
}

fn apply_all(bed: &Bed, steps: Vec<Step>) -> Result<(), String> {
    let mut objects = Vec::new();
    for step in steps {
        match step {
            Step::Apply(object) => objects.push(*object),
            Step::Wait(span) => {
                apply(bed, &std::mem::take(&mut objects))?;
                std::thread::sleep(span);
            }
        }
    }
    apply(bed, &objects)
}

fn as_recorded(bed: &Bed) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let mut cases = routing_play::cases()?;
    let mut steps = routing_play::fixture()?;
    for case in &mut cases {
        steps.append(&mut case.steps);
    }
    apply_all(bed, steps)?;
    for what in ["deployment/edge-istio", "deployment/isolated-istio", "deployment/v1"] {
        let arguments = ["-n", "routing", "rollout", "status", what, "--timeout=60s"];
        eventually(60, || bed.kubectl(&arguments)?.ends(0).map(drop))?;
    }
    let rollout = ["-n", "routing", "wait", "deployment", "--all", "--for=condition=Available"];
    bed.kubectl(&rollout)?.ends(0)?;
    // A route that was applied a moment ago reaches Envoy a moment later.
    std::thread::sleep(Duration::from_secs(3));
    let addresses = ["edge", "isolated"]
        .map(|gateway| address(bed, gateway).map(|address| (gateway.to_owned(), address)));
    let real = Real { bed, addresses: addresses.into_iter().collect::<Result<_, _>>()? };
    let bless = std::env::var_os("BLESS").is_some();
    let mut differences = Vec::new();
    for case in &cases {
        let play = || runtime.block_on(routing_play::play(&real, &case.requests));
        if bless {
            std::fs::write(&case.recording, format!("{HEAD}{}", play()))
                .map_err(|error| error.to_string())?;
            continue;
        }
        let expected = routing_play::recorded(&case.recording)?;
        // A cluster whose secret never comes is warmed for 15 s before Envoy routes to it; till then it is one that is not there.
        let same = eventually(30, || {
            let actual = play();
            ensure(actual == expected, || {
                let diff = similar::TextDiff::from_lines(&expected, &actual);
                let text = diff.unified_diff().header("recorded", "now").to_string();
                format!("{}:\n{text}", case.name)
            })
        });
        differences.extend(same.err());
    }
    for namespace in ["routing", "routing-other"] {
        bed.kubectl(&["delete", "namespace", namespace, "--wait=false"])?.ends(0)?;
    }
    ensure(differences.is_empty(), || differences.join("\n"))
}
