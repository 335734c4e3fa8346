//! Cases of the kind `chart`: whole charts.
//!
//! A folder of `tests/cases/chart/` holds a chart (`chart/`), optional values (`values.yaml`) and what `helm template`
//! 4.3.1 prints for it (`expected.yaml`), or its error (`error.txt`). Beside them, the public charts below `shared/data` are
//! rendered by both programs under every profile, platform and a set of overrides, and the bytes compared.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use libtest_mimic::{Failed, Trial};
use meshscript::base::yaml;
use meshscript::helm::chart::Chart;
use meshscript::helm::render::{ReleaseFacts, RenderOptions, render};
use meshscript::helm::template::Environment;
use meshscript::helm::{source, values};
use serde_json::{Map, Value};

use crate::harness::helm::{self, Helm};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = super::super::each("chart", None, golden);
    trials.extend(differential());
    trials
}

fn golden(path: &Path) -> Result<(), Failed> {
    let mut given = Map::new();
    if let Ok(text) = fs::read_to_string(path.join("values.yaml"))
        && let Value::Object(map) = yaml::parse(&text)?
    {
        given = map;
        values::to_floats_in(&mut given);
    }
    let chart = source::load(&path.join("chart"))?;
    match rendered(&chart, &given, "release", "default") {
        Ok(text) => super::super::expect(&path.join("expected.yaml"), &text),
        Err(error) => super::super::expect(&path.join("error.txt"), &format!("{error}\n")),
    }
}

fn rendered(
    chart: &Chart,
    given: &Map<String, Value>,
    name: &str,
    namespace: &str,
) -> Result<String, String> {
    let release = ReleaseFacts {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        revision: 1,
        is_upgrade: false,
    };
    // A fiftieth of the limit: that real charts come nowhere near it is part of what is held here.
    let options = RenderOptions { max_steps: 10_000_000, ..RenderOptions::default() };
    render(chart, given, &release, &options, &Environment::default())
        .map(|rendered| rendered.template_output(true))
        .map_err(|error| error.to_string())
}

/// `MESHSCRIPT_DATA`, else the nearest `shared/data` of a parent folder.
#[expect(clippy::disallowed_methods, reason = "tests find their data by the environment")]
fn data_folder() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("MESHSCRIPT_DATA") {
        return Some(folder.into());
    }
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data"))
        .find(|folder| folder.is_dir())
}

fn differential() -> Vec<Trial> {
    let Some(data) = data_folder() else {
        return helm::missing("chart/differential", "shared/data");
    };
    let Some(helm) = Helm::find() else {
        return helm::missing("chart/differential", "the test bed's helm");
    };
    let mut archives: Vec<PathBuf> = fs::read_dir(data.join("charts"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "tgz"))
        .collect();
    archives.sort();
    let all = archives.clone();
    let count = Trial::test("chart/differential/is_wide", move || is_wide(&all));
    archives
        .into_iter()
        .map(|archive| {
            let name = archive.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Trial::test(format!("chart/differential/{name}"), move || compare(helm, &archive))
        })
        .chain([count])
        .collect()
}

/// That no change of the matrix makes it thin.
fn is_wide(archives: &[PathBuf]) -> Result<(), Failed> {
    const LEAST: usize = 500;
    let mut n_renders = 0;
    for archive in archives {
        n_renders += variants(&source::load(archive)?).len();
    }
    if n_renders < LEAST {
        return Err(format!("only {n_renders} renders are compared with helm").into());
    }
    Ok(())
}

/// Every variant of a chart.
fn compare(helm: &Helm, archive: &Path) -> Result<(), Failed> {
    let chart = source::load(archive)?;
    let digest = helm::digest(&[&fs::read(archive)?]);
    let folder = tempfile::tempdir()?;
    let values_file = folder.path().join("values.yaml");
    let mut different = Vec::new();
    let variants = variants(&chart);
    for given in &variants {
        let options = ["template", "my-release", "--namespace", "istio-system", "--include-crds"];
        let expected = helm.remembered(&[&options.join(" "), &digest, given], || {
            fs::write(&values_file, given)?;
            let files: [&OsStr; 3] =
                ["--values".as_ref(), values_file.as_os_str(), archive.as_os_str()];
            helm.run(folder.path(), options.map(OsStr::new).into_iter().chain(files))
        })?;
        let mut map = match yaml::parse(given)? {
            Value::Object(map) => map,
            _ => Map::new(),
        };
        values::to_floats_in(&mut map);
        let actual = rendered(&chart, &map, "my-release", "istio-system");
        match (expected, actual) {
            (Ok(expected), Ok(actual)) if expected == actual => {}
            (Ok(expected), Ok(actual)) => {
                let lines = super::super::difference(&expected, &actual);
                different.push(format!("values {given:?}:\n{}", head(&lines)));
            }
            (Err(expected), Err(actual))
                if helm::error_text(&expected) == helm::error_text(&actual) => {}
            (Err(expected), Err(actual)) => {
                different.push(format!("values {given:?}: error\n{expected}\nbut\n{actual}"));
            }
            (Ok(_), Err(actual)) => {
                different.push(format!("values {given:?}: ours fails: {actual}"));
            }
            (Err(expected), Ok(_)) => {
                different.push(format!("values {given:?}: helm fails: {expected}"));
            }
        }
    }
    if different.is_empty() {
        return Ok(());
    }
    let n = different.len();
    different.truncate(3);
    Err(format!("{n} of {} differ\n{}", variants.len(), different.join("\n")).into())
}

fn head(text: &str) -> String {
    text.lines().take(60).collect::<Vec<_>>().join("\n")
}

/// Profiles and platforms by the names of the chart's files, then overrides.
fn variants(chart: &Chart) -> Vec<String> {
    let mut variants = vec!["{}\n".to_owned()];
    let mut profiles = Vec::new();
    for file in &chart.files {
        if let Some(profile) =
            file.name.strip_prefix("files/profile-").and_then(|name| name.strip_suffix(".yaml"))
        {
            profiles.push(profile.to_owned());
        }
    }
    let mut given = Vec::new();
    for profile in &profiles {
        let (key, value) = if let Some(platform) = profile.strip_prefix("platform-") {
            ("platform", platform)
        } else if let Some(version) = profile.strip_prefix("compatibility-version-") {
            ("compatibilityVersion", version)
        } else {
            ("profile", profile.as_str())
        };
        given.push((key, value.to_owned()));
    }
    for (key, value) in &given {
        variants.push(format!("{key}: {value:?}\n"));
        if *key != "profile" && profiles.iter().any(|known| known == "ambient") {
            variants.push(format!("global: {{{key}: {value:?}}}\nprofile: ambient\n"));
        }
    }
    variants.extend(OVERRIDES.iter().map(|text| (*text).to_owned()));
    variants
}

/// Overrides that reach many branches; a chart ignores what it does not know.
const OVERRIDES: &[&str] = &[
    "profile: ambient\nrevision: canary\nrevisionTags: [prod, stable]\n",
    "global:\n  hub: example.com/istio\n  tag: 1.2.3\n  variant: distroless\n  imagePullSecrets: [a, b]\n",
    "meshConfig:\n  accessLogFile: /dev/stdout\n  defaultConfig:\n    holdApplicationUntilProxyStarts: true\n  extensionProviders:\n  - name: x\n    envoyExtAuthzHttp: {service: a.b, port: 8000}\n",
    "pilot:\n  env: {A: b, C: 1, D: true}\n  resources:\n    limits: {cpu: 2, memory: 1Gi}\n  autoscaleMin: 2\n  autoscaleMax: 9\n  tolerations: [{operator: Exists}]\n",
    "autoscaleEnabled: false\nreplicaCount: 3\nenv: {A: b, N: 1000000, F: 1.5}\n",
    "env: {BIG: 12345678, SMALL: 0.00001, YES: 'yes', EMPTY: ''}\nlabels: {a: b}\nannotations: {c: d}\n",
    "resources: {limits: {cpu: 100m, memory: 100Mi}}\nnodeSelector: {x: y}\naffinity: {nodeAffinity: {}}\ntolerations: [{key: a, operator: Exists}]\n",
    "global:\n  networkPolicy: {enabled: true}\n  nativeNftables: true\n  waypoint: {resources: {limits: {cpu: 1}}}\n",
    "service:\n  type: NodePort\n  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]\n  annotations: {x: y}\n  loadBalancerIP: 10.0.0.1\n",
    "base: {enableCRDTemplates: false, validationURL: https://x}\nenableCRDTemplates: true\nexcludedCRDs: [gateways.networking.istio.io]\n",
    "cni:\n  ambient: {enabled: true, dnsCapture: false}\n  excludeNamespaces: [a, b]\n  logging: {level: debug}\n",
    "ambient: {enabled: true, reconcileIptablesOnStartup: true}\nrepair: {enabled: false}\nchained: false\n",
    "controller:\n  logLevel: debug\n  webhookMode: disabled\nspeaker:\n  enabled: false\ncrds:\n  enabled: false\n",
    "speaker:\n  frr: {enabled: true}\n  tolerateMaster: false\nprometheus:\n  rbacPrometheus: false\n",
    "prometheus:\n  serviceMonitor: {enabled: true}\n  prometheusRule: {enabled: true}\n  serviceAccount: p\n  namespace: mon\n",
    "frrk8s:\n  enabled: true\nspeaker: {frr: {enabled: false}}\n",
    "rbac: {create: false}\nserviceAccounts: {create: false}\nserviceAccount: {create: false, name: x}\n",
    "sidecarInjectorWebhook:\n  enableNamespacesByDefault: true\n  neverInjectSelector: [{matchExpressions: [{key: a, operator: Exists}]}]\n  injectedAnnotations: {a: b}\n",
    "global:\n  multiCluster: {clusterName: c1}\n  network: n1\n  meshID: m1\n  externalIstiod: true\n  remotePilotAddress: 1.2.3.4\n",
    "global:\n  proxy:\n    resources: {requests: {cpu: 1}}\n    tracer: zipkin\n    privileged: true\n    autoInject: disabled\n    lifecycle: {preStop: {exec: {command: [sleep, '5']}}}\n",
    "telemetry: {enabled: false}\nmeshConfig: null\n",
    "profile: nonexistent\n",
    "unknownKey: {a: 1}\nautoscaling: {enabled: true, minReplicas: 1, maxReplicas: 3, targetCPUUtilizationPercentage: 80}\n",
    "name: other\nkind: DaemonSet\nautoscaling: {enabled: false}\nvolumes: [{name: v, emptyDir: {}}]\nvolumeMounts: [{name: v, mountPath: /v}]\n",
    "_internal_defaults_do_not_set: {unknown: true}\n",
    "global: {istioNamespace: other, defaultPodDisruptionBudget: {enabled: false}, caAddress: x, pilotCertProvider: kubernetes}\n",
    "experimental: {stableValidationPolicy: true}\nistiodRemote: {enabled: true, injectionURL: https://x:1/inject}\n",
    "terminationGracePeriodSeconds: 60\npodDisruptionBudget: {minAvailable: 1}\nsecurityContext: {runAsUser: 1}\ncontainerSecurityContext: {privileged: true}\n",
    "gatewayClasses: {istio: {service: {metadata: {annotations: {a: b}}}}}\nextraContainerArgs: [--x]\n",
    "cniBinDir: /opt/x\ncniConfDir: /etc/x\nprovider: multus\nseLinuxOptions: {type: spc_t}\n",
];
