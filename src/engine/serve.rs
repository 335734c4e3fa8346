//! A sandbox that other programs use: its API server listens until the run is ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::host::Host;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::yaml;
use crate::cert::files;
use crate::k8s::export;
use crate::sandbox::{
    CONTEXT, Cluster, LoadBalancers, Options, Pace, ServeError, Traffic, document,
};

/// How a sandbox is served.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen: an address of loopback; port 0 takes a free one.
    pub address: SocketAddr,
    /// Where the kubeconfig goes; it is removed at the end.
    pub kubeconfig: PathBuf,
    /// How many times faster than in the world images are pulled, pods start and controllers wait.
    pub speed: u32,
    /// Names, uids and addresses follow from it.
    pub seed: u64,
    pub n_nodes: u8,
    /// A file with the cluster's state: read at the start if it is there, written at the end.
    pub state: Option<PathBuf>,
    /// Begin with the objects of the host's target, a real cluster.
    pub import: bool,
}

impl From<ServeError> for Diagnostic {
    fn from(error: ServeError) -> Self {
        let message = error.to_string();
        match error {
            ServeError::NotLoopback(_) => Self::new(ErrorKind::Usage, message)
                .hint("whoever reaches the sandbox may do anything in it: take an address such as 127.0.0.1"),
            ServeError::Listen { source, .. } => Self::new(ErrorKind::Failed, message)
                .cause(source.to_string())
                .hint("leave `--port` out, and a free port is taken"),
            ServeError::Certificate(source) => {
                Self::new(ErrorKind::Bug, message).cause(source.to_string())
            }
            ServeError::Tls(_) => Self::new(ErrorKind::Bug, message),
        }
    }
}

/// What a sandbox models of a cluster and what it does not.
pub fn coverage() -> String {
    crate::sandbox::coverage::text()
}

/// Serves a sandbox and its load balancers until the run is ended; `ready` is told where it listens, and how long it took
/// to get there; `traffic` of each address of the cluster that this machine reaches from then on, and of each that goes.
///
/// # Errors
/// An address that is taken or not loopback's, a kubeconfig that cannot be written.
pub fn serve(
    host: &Host,
    options: &ServeOptions,
    ready: impl FnOnce(SocketAddr, std::time::Duration),
    traffic: impl Fn(&Traffic),
) -> Result<(), Diagnostic> {
    let clock = SystemClock::new();
    refuse_others(&options.kubeconfig)?;
    let begins_with = match &options.state {
        Some(path) => saved(path)?,
        None if options.import => Some(imported(host)?),
        None => None,
    };
    let cluster = host.block_on(async {
        Cluster::start(&Options {
            seed: options.seed,
            epoch: clock.now(),
            n_nodes: options.n_nodes,
            pace: Pace::Real { speed: options.speed.max(1) },
            load_balancers: LoadBalancers::Loopback,
        })
        .map_err(|error| Diagnostic::new(ErrorKind::Bug, error.to_string()))
    })?;
    if let Some(state) = &begins_with {
        load(host, &cluster, state)?;
    }
    let mut written = None;
    let served = host.block_on(async {
        let listening = cluster.listen(options.address).await?;
        host.redactor.learn(listening.kubeconfig().reveal());
        files::write_private(&options.kubeconfig, listening.kubeconfig().reveal())?;
        written = Some(listening.kubeconfig().clone());
        ready(listening.address(), clock.monotonic());
        tokio::join!(listening.run(), cluster.serve_traffic(traffic));
        Ok::<(), Diagnostic>(())
    });
    if let Some(path) = options.state.as_ref().filter(|_| written.is_some()) {
        let state = cluster.control().call("save", &Value::Null);
        let state = state.map_err(|refused| Diagnostic::new(ErrorKind::Bug, refused.message))?;
        files::write_private(path, &state.to_string())?;
    }
    // The file names a server that is gone; unless another sandbox has put its own there meanwhile.
    let is_ours = written.is_some_and(|written| {
        std::fs::read_to_string(&options.kubeconfig).is_ok_and(|found| found == written.reveal())
    });
    if is_ours {
        let _ = std::fs::remove_file(&options.kubeconfig);
    }
    match served {
        // To be ended is how it ends.
        Err(error) if error.kind == ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

/// The state in a file, if there is one.
fn saved(path: &Path) -> Result<Option<Value>, Diagnostic> {
    let shown = path.display();
    let unusable = |cause: String| {
        Diagnostic::new(ErrorKind::Usage, format!("`{shown}` holds no state of a sandbox"))
            .cause(cause)
            .hint("name another file with `--state`; this one stays as it is")
    };
    match std::fs::read_to_string(path) {
        Ok(text) => {
            serde_json::from_str(&text).map(Some).map_err(|error| unusable(error.to_string()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// What the target holds, as a state that a sandbox can begin with.
fn imported(host: &Host) -> Result<Value, Diagnostic> {
    let cluster = host.cluster()?;
    let exported = host.block_on(export::export(cluster))?;
    for (resource, why) in &exported.refused {
        host.progress.warn(&format!("{resource} could not be read: {why}"));
    }
    let count = exported.objects.len();
    host.progress.info(&format!("{count} objects read from {}", cluster.info().server));
    Ok(document(exported.objects))
}

fn load(host: &Host, cluster: &Cluster, state: &Value) -> Result<(), Diagnostic> {
    let loaded = cluster.control().call("load", state).map_err(|refused| {
        Diagnostic::new(ErrorKind::Usage, "the cluster cannot begin with this state")
            .cause(refused.message)
            .hint("name another file with `--state`; this one stays as it is")
    })?;
    for (resource, count) in loaded["notServed"].as_object().into_iter().flatten() {
        host.progress.warn(&format!(
            "{count} objects of {resource} are left out: the sandbox does not serve that kind"
        ));
    }
    Ok(())
}

/// Refuses to write over a file that no sandbox has written.
fn refuse_others(path: &Path) -> Result<(), Diagnostic> {
    let shown = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(Diagnostic::new(
                ErrorKind::Usage,
                format!("`{shown}` cannot be written over"),
            )
            .cause(error.to_string())
            .hint("name another file with `--kubeconfig`"));
        }
    };
    let config = yaml::parse(&text).unwrap_or_default();
    let names = |list: &str| -> Vec<&str> {
        let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter_map(|entry| entry["name"].as_str()).collect()
    };
    if names("contexts") == [CONTEXT] && names("clusters") == [CONTEXT] {
        return Ok(());
    }
    Err(Diagnostic::new(
        ErrorKind::Usage,
        format!("`{shown}` is there already, and it is no sandbox's kubeconfig"),
    )
    .hint("name another file with `--kubeconfig`; this one stays as it is"))
}
