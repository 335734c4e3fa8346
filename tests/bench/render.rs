//! Rendering Istio's charts: meshscript against `helm template`, whole processes in turn, as ratios of medians.
//!
//! `cargo bench --bench render`, with helm in the PATH and the charts in `shared/data` of a parent folder. Both print the
//! manifest, and the bytes are compared before anything is measured. Then charts of growing size: twice the templates and
//! subcharts should take twice the time above what the process takes for none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 15;

fn main() {
    let Some(charts) = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .map(|folder| folder.join("shared/data/charts"))
        .find(|folder| folder.is_dir())
    else {
        println!("skipped: no charts in shared/data");
        return;
    };
    let Ok(version) = Command::new("helm").args(["version", "--short"]).output() else {
        println!("skipped: helm is not on this machine");
        return;
    };
    println!("peer: helm {}", String::from_utf8_lossy(&version.stdout).trim());
    for chart in ["istiod-1.30.3.tgz", "base-1.30.3.tgz"] {
        let archive = charts.join(chart);
        let (ours, theirs) = compared(&archive);
        println!(
            "{chart}: meshscript {:.1} ms, helm {:.1} ms: {:.1} times faster{}",
            ours * 1e3,
            theirs * 1e3,
            theirs / ours,
            memory(&archive)
        );
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut before = None;
    let mut least = None;
    for size in [0, 25, 50, 100, 200] {
        let chart = grown(folder.path(), size);
        let (ours, theirs) = compared(&chart);
        let least = *least.get_or_insert(ours);
        let above = ours - least;
        let growth = match before {
            Some(before) => format!(", {:.2} times the step before", above / before),
            None => String::new(),
        };
        before = (above > 0.0).then_some(above);
        println!(
            "{} templates in {size} subcharts: meshscript {:.1} ms, {:.1} of them for the chart{growth}; helm {:.1} ms{}",
            2 * size,
            ours * 1e3,
            above * 1e3,
            theirs * 1e3,
            memory(&chart)
        );
    }
}

/// Seconds of both, after their output was compared.
fn compared(chart: &Path) -> (f64, f64) {
    let (ours, theirs) = (output(&mut meshscript(chart)), output(&mut helm(chart)));
    assert!(ours.trim() == theirs.trim(), "{}: the two render other bytes", chart.display());
    let mut times = [Vec::new(), Vec::new()];
    for _ in 0..RUNS {
        times[0].push(time(meshscript(chart)));
        times[1].push(time(helm(chart)));
    }
    let [ours, theirs] = times.map(median);
    (ours.as_secs_f64(), theirs.as_secs_f64())
}

/// The most memory that both hold, as GNU time tells it; empty where that is not installed.
fn memory(chart: &Path) -> String {
    let held = |command: Command| -> Option<f64> {
        let mut timed = Command::new("/usr/bin/time");
        timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
        timed.env_remove("KUBECONFIG");
        if let Some(folder) = command.get_current_dir() {
            timed.current_dir(folder);
        }
        let output = timed.stdin(Stdio::null()).output().ok()?;
        let kilobytes: f64 =
            String::from_utf8_lossy(&output.stderr).lines().last()?.trim().parse().ok()?;
        Some(kilobytes / 1024.0)
    };
    match (held(meshscript(chart)), held(helm(chart))) {
        (Some(ours), Some(theirs)) => format!("; {ours:.0} MiB against {theirs:.0}"),
        _ => String::new(),
    }
}

/// A chart of `size` subcharts with two templates each, which include a helper and print their values.
fn grown(folder: &Path, size: usize) -> PathBuf {
    let chart = folder.join(format!("grown-{size}"));
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(path, text).expect("a file");
    };
    write(chart.join("Chart.yaml"), "apiVersion: v2\nname: grown\nversion: 1.0.0\n");
    write(chart.join("values.yaml"), "global: {team: a}\n");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Chart.Name }}-NAME\n  labels: {{- include \"labels\" . | nindent 4 }}\ndata:\n  {{- range $k, $v := .Values.data }}\n  {{ $k }}: {{ tpl $v $ | quote }}\n  {{- end }}\n  all: |\n    {{- .Values | toYaml | nindent 4 }}\n";
    for n in 0..size {
        let below = chart.join(format!("charts/sub{n}"));
        write(below.join("Chart.yaml"), &format!("apiVersion: v2\nname: sub{n}\nversion: 1.0.0\n"));
        write(
            below.join("values.yaml"),
            "data: {a: '{{ .Release.Name }}', b: two, c: three, d: four}\nlist: [1, 2, 3, {x: y}]\n",
        );
        write(
            below.join("templates/_helpers.tpl"),
            "{{- define \"labels\" -}}\nteam: {{ .Values.global.team }}\nrelease: {{ .Release.Name }}\n{{- end }}\n",
        );
        for name in ["first", "second"] {
            write(below.join(format!("templates/{name}.yaml")), &map.replace("NAME", name));
        }
    }
    chart
}

fn meshscript(archive: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
    let folder: PathBuf = archive.parent().map(Path::to_owned).unwrap_or_default();
    let script = format!(
        "helm::template(\"bench\", \"{}\", #{{ namespace: \"istio-system\" }})",
        archive.display()
    );
    command.args(["eval", &script, "--sandbox", "--allow-read"]).arg(&folder).current_dir(folder);
    command.env_remove("KUBECONFIG");
    command
}

fn helm(archive: &Path) -> Command {
    let mut command = Command::new("helm");
    command.args(["template", "bench"]).arg(archive).args(["-n", "istio-system", "--skip-crds"]);
    command
}

fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn time(mut command: Command) -> Duration {
    let began = Instant::now();
    output(&mut command);
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
