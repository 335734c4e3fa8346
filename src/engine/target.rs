//! Which cluster a run works on (design section 2), resolved once and pinned.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::{SharedClock, SystemClock};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::duration::human;
use crate::base::net::{SharedDialer, TcpDialer};
use crate::base::progress::Progress;
use crate::base::secret::Redactor;
use crate::config::{Environment, Settings};
use crate::k8s::cluster::{Cluster, ClusterParts, TargetInfo};
use crate::k8s::target::{self as found, CONNECT_TIMEOUT};

/// The limit of one request unless `--request-timeout` says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The way out without a cluster.
const REHEARSE: &str = "rehearse without a cluster with `--sandbox`";
/// The folder of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// An open target.
pub struct Target {
    pub cluster: Cluster,
    pub clock: SharedClock,
    pub dialer: SharedDialer,
    pub info: TargetInfo,
    /// The sandbox behind it, for the functions of the namespace `sandbox`.
    pub sandbox: Option<super::rehearsal::Sandbox>,
}

impl Target {
    /// What the run met and the sandbox does not model.
    pub fn not_modelled(&self) -> Vec<String> {
        self.sandbox.as_ref().map(|sandbox| sandbox.not_modelled()).unwrap_or_default()
    }
}

/// Where the target was found, before anything is opened.
enum Choice {
    Sandbox,
    Kubeconfig(Vec<PathBuf>),
    InCluster,
}

/// Whether the run is a rehearsal: asked for, or nothing else is there.
pub fn is_sandbox(settings: &Settings) -> bool {
    matches!(choose(settings), Choice::Sandbox)
}

fn choose(settings: &Settings) -> Choice {
    let options = &settings.target;
    let environment = &settings.environment;
    if options.sandbox {
        return Choice::Sandbox;
    }
    if let Some(path) = &options.kubeconfig {
        return Choice::Kubeconfig(vec![environment.folder.join(path)]);
    }
    if let Some(list) = environment.var("KUBECONFIG") {
        let paths = list.split(':').filter(|path| !path.is_empty()).map(PathBuf::from);
        return Choice::Kubeconfig(paths.collect());
    }
    let usual = usual_kubeconfig(environment);
    if let Some(path) = usual.filter(|path| path.is_file()) {
        return Choice::Kubeconfig(vec![path]);
    }
    if environment.var("KUBERNETES_SERVICE_HOST").is_some() && Path::new(SERVICE_ACCOUNT).is_file()
    {
        return Choice::InCluster;
    }
    // A context without a kubeconfig is a mistake, never a rehearsal.
    if options.context.is_some() {
        return Choice::Kubeconfig(usual_kubeconfig(environment).into_iter().collect());
    }
    Choice::Sandbox
}

fn usual_kubeconfig(environment: &Environment) -> Option<PathBuf> {
    Some(environment.home()?.join(".kube/config"))
}

/// Opens the target.
///
/// # Errors
/// `Usage` for what was named but is missing, `Unreachable` or `Forbidden` from the server.
pub async fn open(
    settings: &Settings,
    progress: Arc<dyn Progress>,
    redactor: Arc<Redactor>,
) -> Result<Target, Diagnostic> {
    let options = &settings.target;
    let target = match choose(settings) {
        Choice::Sandbox => return super::rehearsal::open(settings, progress, redactor).await,
        Choice::Kubeconfig(files) => {
            let wanted = found::TargetOptions {
                files: files.clone(),
                context: options.context.clone(),
                impersonate: options.as_user.clone(),
                impersonate_groups: options.as_groups.clone(),
            };
            found::from_kubeconfig(&wanted, &redactor).map_err(|error| unusable(error, &files))?
        }
        Choice::InCluster => found::in_cluster()?,
    };
    let clock: SharedClock = Arc::new(SystemClock::new());
    let dialer: SharedDialer = Arc::new(TcpDialer);
    let request_timeout = options.request_timeout.unwrap_or(REQUEST_TIMEOUT);
    let cluster = Cluster::new(ClusterParts {
        client: target.client,
        clock: Arc::clone(&clock),
        dialer: Arc::clone(&dialer),
        progress,
        redactor,
        info: target.info.clone(),
        namespace: options.namespace.clone().unwrap_or(target.namespace),
        request_timeout,
        in_flight: settings.parallel.max(1),
    });
    // The first request, so that a cluster which cannot be reached is told before anything is done.
    let limit = CONNECT_TIMEOUT.min(request_timeout);
    match crate::base::clock::timeout(clock.as_ref(), limit, cluster.reach()).await {
        Ok(Ok(info)) => Ok(Target { cluster, clock, dialer, info, sandbox: None }),
        Ok(Err(error)) => Err(refused(&target.info, error.into(), limit)),
        Err(_) => Err(silent(&target.info.server, limit)),
    }
}

/// A kubeconfig that leads to no cluster, with where it was looked for.
fn unusable(error: crate::k8s::error::Error, files: &[PathBuf]) -> Diagnostic {
    let names_file = matches!(
        error,
        crate::k8s::error::Error::KubeconfigUnreadable { .. }
            | crate::k8s::error::Error::KubeconfigInvalid { .. }
    );
    let mut told: Diagnostic = error.into();
    if !names_file {
        let files: Vec<String> = files.iter().map(|file| format!("`{}`", file.display())).collect();
        told.causes.insert(0, format!("the kubeconfig is {}", files.join(", ")));
    }
    if told.hints.iter().all(|hint| !hint.contains("--sandbox")) {
        told = told.hint(REHEARSE);
    }
    told
}

/// Nobody answered the first request.
fn silent(server: &str, limit: Duration) -> Diagnostic {
    Diagnostic::new(ErrorKind::Unreachable, format!("cannot reach the cluster at {server}"))
        .cause(format!("no answer within {}", human(limit)))
        .hint("check the server's address, the network and its proxies, or choose another `--context`")
        .hint(REHEARSE)
}

/// What the first request came to, in terms of the target: whatever it is, the cluster was not reached.
fn refused(info: &TargetInfo, error: Diagnostic, limit: Duration) -> Diagnostic {
    let server = &info.server;
    let (kind, message, hints) = match error.kind {
        ErrorKind::Forbidden => (
            ErrorKind::Forbidden,
            format!("the cluster at {server} does not accept the credentials of `{}`", info.user),
            vec![
                "the token or certificate may have expired: log in again, or name another `--context`"
                    .to_owned(),
            ],
        ),
        ErrorKind::Unreachable => {
            (ErrorKind::Unreachable, format!("cannot reach the cluster at {server}"), error.hints)
        }
        ErrorKind::Timeout => return silent(server, limit),
        _ => (
            ErrorKind::Unreachable,
            format!("what answers at {server} is not the API server of a cluster"),
            vec![
                "check `server` of the context: a proxy or a login page may stand in between"
                    .to_owned(),
            ],
        ),
    };
    let mut told = Diagnostic::new(kind, message);
    told.causes = error.causes;
    told.hints = hints;
    if told.hints.iter().all(|hint| !hint.contains("--sandbox")) {
        told = told.hint(REHEARSE);
    }
    told
}
