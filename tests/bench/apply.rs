//! Applying 200 objects: meshscript against `kubectl apply --server-side`, side by side, on a near and on a far API server.
//!
//! Runs inside the test bed. The far server is the same one behind a proxy on loopback that holds every byte back for half
//! of the round trip in each direction. Measured are whole programs, and for the floor a connection and an apply in this process.
//!
//! `testbed/in cargo bench --bench apply`; without the test bed nothing is measured.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use meshscript::base::clock::SystemClock;
use meshscript::base::net::TcpDialer;
use meshscript::base::progress::Silent;
use meshscript::base::secret::Redactor;
use meshscript::k8s::apply::{self, ApplyOptions};
use meshscript::k8s::cluster::{Cluster, ClusterParts};
use meshscript::k8s::manifest;
use meshscript::k8s::target::{self, TargetOptions};

const OBJECTS: usize = 200;
const RUNS: usize = 5;

fn main() {
    let Some(kubeconfig) = std::env::var_os("MESHBED_KUBECONFIG").map(PathBuf::from) else {
        println!("skipped: no test bed");
        return;
    };
    let version = Command::new("kubectl").args(["version", "--client"]).output().expect("kubectl");
    println!(
        "peer: kubectl {}",
        String::from_utf8_lossy(&version.stdout).lines().next().unwrap_or_default()
    );
    let folder = tempfile::tempdir().expect("a folder");
    for round_trip in [0, 20] {
        let kubeconfig =
            behind_proxy(&kubeconfig, folder.path(), Duration::from_millis(round_trip));
        let mut times = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        // Turn by turn, so that whatever else the machine does hits all alike.
        for run in 0..RUNS {
            let path = |who: &str| manifest_of(folder.path(), &format!("{who}-{round_trip}-{run}"));
            times[0].push(time(|| in_process(&kubeconfig, &path("library"))));
            times[1].push(time(|| program(&kubeconfig, &path("program"))));
            times[2].push(time(|| kubectl(&kubeconfig, &path("kubectl"))));
            times[3].push(time(|| program(&kubeconfig, &path("program"))));
        }
        let [library, ours, theirs, again] = times.map(median);
        println!(
            "{OBJECTS} objects at {round_trip} ms: in process {library:.2?}, program {ours:.2?}, second run {again:.2?}, kubectl {theirs:.2?}: {:.2} of kubectl's time",
            ours.as_secs_f64() / theirs.as_secs_f64()
        );
    }
    for who in ["library", "program", "kubectl"] {
        for run in 0..RUNS {
            for round_trip in [0, 20] {
                let namespace = format!("bench-{who}-{round_trip}-{run}");
                let mut delete = Command::new("kubectl");
                delete
                    .args(["delete", "namespace", &namespace, "--wait=false"])
                    .stdout(Stdio::null());
                assert!(delete.status().expect("kubectl").success(), "{namespace} stays");
            }
        }
    }
}

fn manifest_of(folder: &Path, name: &str) -> PathBuf {
    let namespace = format!("bench-{name}");
    let mut text = format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n");
    for at in 1..OBJECTS {
        text.push_str(&format!(
            "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{at}, namespace: {namespace}, labels: {{app: bench}}}}\ndata: {{key: value-{at}}}\n"
        ));
    }
    let path = folder.join(format!("{namespace}.yaml"));
    std::fs::write(&path, text).expect("a manifest");
    path
}

fn in_process(kubeconfig: &Path, path: &Path) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let text = std::fs::read_to_string(path).expect("a manifest");
    runtime.block_on(async {
        let redactor = Arc::new(Redactor::default());
        let options =
            TargetOptions { files: vec![kubeconfig.to_owned()], ..TargetOptions::default() };
        let target = target::from_kubeconfig(&options, &redactor).expect("a target");
        let cluster = Cluster::new(ClusterParts {
            client: target.client,
            clock: Arc::new(SystemClock::new()),
            dialer: Arc::new(TcpDialer),
            progress: Arc::new(Silent),
            redactor,
            info: target.info,
            namespace: target.namespace,
            request_timeout: Duration::from_secs(30),
            in_flight: 16,
        });
        let objects = manifest::parse(&text).expect("valid");
        let applied =
            apply::apply(&cluster, objects, &ApplyOptions::default()).await.expect("applied");
        assert_eq!(applied.len(), OBJECTS);
    });
}

fn program(kubeconfig: &Path, path: &Path) {
    let folder = path.parent().expect("a folder");
    let file = path.file_name().expect("a name").to_string_lossy();
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshscript"));
    command.current_dir(folder).args(["eval", &format!("k8s::apply_file(\"{file}\").len()")]);
    run(command.arg("--kubeconfig").arg(kubeconfig));
}

fn kubectl(kubeconfig: &Path, path: &Path) {
    let mut command = Command::new("kubectl");
    command.args(["apply", "--server-side", "-f"]).arg(path).arg("--kubeconfig").arg(kubeconfig);
    run(&mut command);
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The kubeconfig with the server behind a proxy that takes half a round trip each way.
fn behind_proxy(kubeconfig: &Path, folder: &Path, round_trip: Duration) -> PathBuf {
    let text = std::fs::read_to_string(kubeconfig).expect("a kubeconfig");
    let (_, server) = text.split_once("server:").expect("a server");
    let begin = |c: char| c.is_whitespace() || c == '"';
    let end = |c: char| c.is_whitespace() || "\",}".contains(c);
    let server = server.trim_start_matches(begin).split(end).next().expect("an address");
    let address = server.trim_start_matches("https://").to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let server = TcpStream::connect(&address).expect("the API server");
            for stream in [&client, &server] {
                stream.set_nodelay(true).expect("a socket");
            }
            pump(
                client.try_clone().expect("a socket"),
                server.try_clone().expect("a socket"),
                round_trip / 2,
            );
            pump(server, client, round_trip / 2);
        }
    });
    let path = folder.join(format!("{}.kubeconfig", round_trip.as_millis()));
    std::fs::write(&path, text.replace(server, &format!("https://127.0.0.1:{port}")))
        .expect("a kubeconfig");
    path
}

type Late = Arc<(Mutex<VecDeque<(Instant, Vec<u8>)>>, Condvar)>;

/// Carries bytes from one side to the other, each chunk that much later.
fn pump(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let late: Late = Arc::default();
    let queue = Arc::clone(&late);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            // An empty chunk is the end.
            let count = from.read(&mut buffer).unwrap_or(0);
            let chunk = (Instant::now() + delay, buffer[..count].to_vec());
            queue.0.lock().expect("a lock").push_back(chunk);
            queue.1.notify_one();
            if count == 0 {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        loop {
            let (due, chunk) = {
                let mut waiting = late.0.lock().expect("a lock");
                loop {
                    match waiting.pop_front() {
                        Some(chunk) => break chunk,
                        None => waiting = late.1.wait(waiting).expect("a lock"),
                    }
                }
            };
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if chunk.is_empty() || to.write_all(&chunk).is_err() {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
        }
    });
}
