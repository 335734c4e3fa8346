//! A sandbox that other programs use: its API server listens until the run is ended.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::host::Host;
use crate::base::clock::{Clock as _, SystemClock};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::cert::files;
use crate::sandbox::{Cluster, Options, Pace, ServeError};

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
        ready(listening.address(), clock.monotonic());
        listening.run().await;
        Ok::<(), Diagnostic>(())
    });
    // The file names a server that is gone.
    let _ = std::fs::remove_file(&options.kubeconfig);
    match served {
        // To be ended is how it ends.
        Err(error) if error.kind == ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}
