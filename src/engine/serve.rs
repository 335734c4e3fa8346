//! A sandbox that other programs use: its API server listens until the run is ended.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::host::Host;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::yaml;
use crate::cert::files;
use crate::sandbox::{CONTEXT, Cluster, Options, Pace, ServeError};

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

/// Serves a sandbox until the run is ended; `ready` is told where it listens, and how long it took to get there.
///
/// # Errors
/// An address that is taken or not loopback's, a kubeconfig that cannot be written.
pub fn serve(
    host: &Host,
    options: &ServeOptions,
    ready: impl FnOnce(SocketAddr, std::time::Duration),
) -> Result<(), Diagnostic> {
    let clock = SystemClock::new();
    refuse_others(&options.kubeconfig)?;
    let mut written = None;
    let served = host.block_on(async {
        let cluster = Cluster::start(&Options {
            seed: options.seed,
            epoch: clock.now(),
            n_nodes: options.n_nodes,
            pace: Pace::Real { speed: options.speed.max(1) },
        })
        .map_err(|error| Diagnostic::new(ErrorKind::Bug, error.to_string()))?;
        let listening = cluster.listen(options.address).await?;
        host.redactor.learn(listening.kubeconfig().reveal());
        files::write_private(&options.kubeconfig, listening.kubeconfig().reveal())?;
        written = Some(listening.kubeconfig().clone());
        ready(listening.address(), clock.monotonic());
        listening.run().await;
        Ok::<(), Diagnostic>(())
    });
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
