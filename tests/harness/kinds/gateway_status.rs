//! Cases of the kind `gateway_status`: what istiod writes for Gateway API and Istio objects.
//!
//! `NAME.yaml` holds the input, `NAME.out` what the real istiod of the test bed made of it. Only the suite on the test bed
//! records (`BLESS=1 cargo test --test cluster -- gateway_statuses`), and it compares there on every run of the gate; here the
//! sandbox, with the same CRDs, must show the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use meshscript::base::clock::Clock as _;
use meshscript::sandbox::{Cluster, Options};
use parking_lot::Mutex;

use crate::harness::gateway_play::{Ground, play};
use crate::harness::{difference, each, helm};

pub(crate) fn trials() -> Vec<Trial> {
    if data_folder().is_none() {
        return helm::missing("gateway_status", "shared/data");
    }
    each("gateway_status", Some("yaml"), run)
}

fn data_folder() -> Option<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data"))
        .find(|folder| folder.is_dir())
}

/// Clusters with istiod that wait for a case; the CRDs are large, so they are used again.
static STAGES: Mutex<Vec<Stage>> = Mutex::new(Vec::new());

struct Stage {
    runtime: tokio::runtime::Runtime,
    cluster: Cluster,
    client: kube::Client,
    n_played: usize,
}

impl Ground for Stage {
    fn client(&self) -> &kube::Client {
        &self.client
    }

    async fn rest(&self, _: &BTreeSet<String>) {
        self.cluster.clock().sleep(Duration::from_secs(4)).await;
    }

    async fn another_change(&self, _: &BTreeSet<String>) -> bool {
        false
    }
}

impl Stage {
    fn new() -> Result<Self, Failed> {
        let data = data_folder().ok_or("no folder shared/data")?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let _inside = runtime.enter();
        let cluster = Cluster::start(&Options::default())?;
        let client = cluster.client();
        let manifest = data.join("manifests/gateway-api-v1.5.1-standard-install.yaml");
        let mut sources = vec![fs::read_to_string(manifest)?, istio_crds(&data)?];
        let mesh = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/fixtures/istiod.yaml");
        sources.push(fs::read_to_string(mesh)?);
        for source in sources {
            for document in meshscript::base::yaml::parse_documents(&source)? {
                if let Err(status) = cluster.api().apply("case", document.value) {
                    return Err(status.message.into());
                }
            }
            #[expect(clippy::disallowed_methods, reason = "a test is its own program")]
            runtime.block_on(cluster.clock().sleep(Duration::from_secs(40)));
        }
        drop(_inside);
        Ok(Self { runtime, cluster, client, n_played: 0 })
    }
}

/// The CRDs of Istio's base chart.
fn istio_crds(data: &Path) -> Result<String, Failed> {
    let file = fs::File::open(data.join("charts/base-1.30.3.tgz"))?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path()?.ends_with("crd-all.gen.yaml") {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text)?;
            return Ok(text);
        }
    }
    Err("the base chart has no CRDs".into())
}

fn run(path: &Path) -> Result<(), Failed> {
    let source = fs::read_to_string(path)?;
    let recorded = fs::read_to_string(path.with_extension("out")).map_err(|_| {
        "nothing is recorded for it: BLESS=1 cargo test --test cluster -- gateway_statuses, on the test bed"
    })?;
    let expected = recorded.split_once('\n').map_or("", |(_, rest)| rest);
    let waiting = STAGES.lock().pop();
    let mut stage = match waiting {
        Some(stage) => stage,
        None => Stage::new()?,
    };
    stage.n_played += 1;
    let id = format!("c{}", stage.n_played);
    #[expect(clippy::disallowed_methods, reason = "a test is its own program")]
    let actual = stage.runtime.block_on(play(&stage, &id, &source, ""))?;
    let missing = stage.cluster.not_modelled();
    STAGES.lock().push(stage);
    if actual != expected {
        return Err(
            format!("istiod against the sandbox:\n{}", difference(expected, &actual)).into()
        );
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("not modelled: {missing:?}").into()) }
}
