//! Which cluster a run works on (design section 2), resolved once and pinned.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::base::clock::{SharedClock, SystemClock};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::net::{SharedDialer, TcpDialer};
use crate::base::progress::Progress;
use crate::base::secret::Redactor;
use crate::base::suggest;
use crate::config::{Environment, Settings};
use crate::k8s::cluster::{Cluster, ClusterParts, TargetInfo};

/// The limit of opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The limit of one request unless `--request-timeout` says otherwise.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
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
    let (config, mut info) = match choose(settings) {
        Choice::Sandbox => return super::rehearsal::open(settings, progress, redactor).await,
        Choice::Kubeconfig(paths) => from_kubeconfig(settings, &paths, &redactor).await?,
        Choice::InCluster => {
            let config = Config::incluster().map_err(|error| {
                Diagnostic::new(ErrorKind::Usage, "the service account of this pod cannot be used")
                    .cause(error.to_string())
            })?;
            let info = TargetInfo {
                context: "in-cluster".to_owned(),
                server: config.cluster_url.to_string(),
                user: "the pod's service account".to_owned(),
                ..TargetInfo::default()
            };
            (config, info)
        }
    };
    let namespace =
        settings.target.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let server = info.server.clone();
    let client = kube::Client::try_from(config)
        .map_err(|error| unreachable(&server).cause(chain(&error)))?;
    let clock: SharedClock = Arc::new(SystemClock::new());
    let dialer: SharedDialer = Arc::new(TcpDialer);
    let cluster = Cluster::new(ClusterParts {
        client,
        clock: Arc::clone(&clock),
        dialer: Arc::clone(&dialer),
        progress,
        redactor,
        info: info.clone(),
        namespace,
        request_timeout: settings.target.request_timeout.unwrap_or(REQUEST_TIMEOUT),
        in_flight: settings.parallel.max(1),
    });
    // The first request, so that a cluster which cannot be reached is told before anything is done.
    let reached =
        crate::base::clock::timeout(clock.as_ref(), CONNECT_TIMEOUT, cluster.reach()).await;
    match reached {
        Ok(Ok(known)) => info.version = known.version,
        Ok(Err(error)) => return Err(refused(&server, &info.user, error.into())),
        Err(_) => {
            return Err(unreachable(&server)
                .cause(format!("no answer within {} seconds", CONNECT_TIMEOUT.as_secs())));
        }
    }
    Ok(Target { cluster, clock, dialer, info, sandbox: None })
}

async fn from_kubeconfig(
    settings: &Settings,
    paths: &[PathBuf],
    redactor: &Redactor,
) -> Result<(Config, TargetInfo), Diagnostic> {
    let kubeconfig = read(paths, redactor)?;
    let options = &settings.target;
    let contexts: Vec<&str> =
        kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    let context = options.context.clone().or_else(|| kubeconfig.current_context.clone());
    let Some(context) = context.filter(|context| !context.is_empty()) else {
        return Err(Diagnostic::new(ErrorKind::Usage, "the kubeconfig names no current context")
            .hint(format!("choose one with `--context`: {}", contexts.join(", ")))
            .hint("rehearse without a cluster with `--sandbox`"));
    };
    if !contexts.contains(&context.as_str()) {
        let diagnostic = Diagnostic::new(
            ErrorKind::Usage,
            format!("there is no context `{context}` in {}", named(paths)),
        );
        let diagnostic = match suggest::near(&context, contexts.iter().copied()) {
            Some(near) => diagnostic.hint(format!("did you mean `--context {near}`?")),
            None => diagnostic,
        };
        return Err(diagnostic
            .hint(format!("it has: {}", contexts.join(", ")))
            .hint("rehearse without a cluster with `--sandbox`"));
    }
    let user = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)
        .and_then(|named| named.context.as_ref()?.user.clone())
        .unwrap_or_default();
    // kube would start the program that an exec plugin names; nothing here starts programs.
    crate::k8s::target::refuse_programs(&kubeconfig, &user)?;
    let selected = KubeConfigOptions { context: Some(context.clone()), ..Default::default() };
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &selected).await.map_err(|error| {
            Diagnostic::new(
                ErrorKind::Usage,
                format!("the context `{context}` of {} cannot be used", named(paths)),
            )
            .cause(chain(&error))
        })?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = None;
    config.write_timeout = None;
    // Requests are repeated by `k8s`, on the target's clock.
    config.default_retry = false;
    let mut shown = user;
    if let Some(name) = &options.as_user {
        config.auth_info.impersonate = Some(name.clone());
        shown = format!("{shown} (as {name})");
    }
    if !options.as_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(options.as_groups.clone());
    }
    let info = TargetInfo {
        context,
        server: config.cluster_url.to_string().trim_end_matches('/').to_owned(),
        version: String::new(),
        user: shown,
        rehearsal: false,
    };
    Ok((config, info))
}

/// Reads and merges kubeconfig files; the secrets in them are told to the redactor.
fn read(paths: &[PathBuf], redactor: &Redactor) -> Result<Kubeconfig, Diagnostic> {
    let mut merged = Kubeconfig::default();
    let mut found = false;
    for path in paths {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            // A list may name files that are not there, as with kubectl; a single one may not.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && paths.len() > 1 => {
                continue;
            }
            Err(error) => {
                return Err(Diagnostic::new(
                    ErrorKind::Usage,
                    format!("cannot read the kubeconfig `{}`", path.display()),
                )
                .cause(error.to_string())
                .hint("name another one with `--kubeconfig`, or rehearse with `--sandbox`"));
            }
        };
        learn_secrets(&text, redactor);
        // Paths inside of a kubeconfig are relative to its file, which only `read_from` knows.
        let next = Kubeconfig::read_from(path).map_err(|error| {
            Diagnostic::new(ErrorKind::Usage, format!("`{}` is not a kubeconfig", path.display()))
                .cause(place_only(&chain(&error)))
        })?;
        merged = merged.merge(next).map_err(|error| {
            Diagnostic::new(ErrorKind::Usage, "the kubeconfig files do not fit together")
                .cause(chain(&error))
        })?;
        found = true;
    }
    if found {
        return Ok(merged);
    }
    Err(Diagnostic::new(ErrorKind::Usage, "there is no kubeconfig")
        .cause(format!("looked for {}", named(paths)))
        .hint("name one with `--kubeconfig`, or rehearse with `--sandbox`"))
}

/// Where a parser stopped, without what it quotes from the file: that may be a token.
fn place_only(message: &str) -> String {
    let place = message.find("line ").and_then(|at| {
        let words: Vec<&str> = message[at..].split([' ', ':', '\n']).take(4).collect();
        match words[..] {
            ["line", line, "column", column] => Some(format!("line {line} column {column}")),
            _ => None,
        }
    });
    match place {
        Some(place) => format!("not valid YAML, or a field of the wrong type, at {place}"),
        None => "not valid YAML, or a field of the wrong type".to_owned(),
    }
}

fn learn_secrets(text: &str, redactor: &Redactor) {
    let Ok(value) = serde_yaml::from_str::<serde_json::Value>(text) else { return };
    for user in value["users"].as_array().into_iter().flatten() {
        for name in ["token", "password", "client-key-data"] {
            if let Some(secret) = user["user"][name].as_str() {
                redactor.learn(secret);
            }
        }
        if let Some(path) = user["user"]["tokenFile"].as_str()
            && let Ok(secret) = std::fs::read_to_string(path)
        {
            redactor.learn(secret.trim());
        }
    }
}

fn named(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}

fn unreachable(server: &str) -> Diagnostic {
    Diagnostic::new(ErrorKind::Unreachable, format!("cannot reach the cluster at {server}"))
        .hint("check the server's address and the network, or choose another `--context`")
        .hint("rehearse without a cluster with `--sandbox`")
}

/// What the first request came to, in terms of the target.
fn refused(server: &str, user: &str, error: Diagnostic) -> Diagnostic {
    match error.kind {
        ErrorKind::Forbidden => {
            let mut told = Diagnostic::new(
                ErrorKind::Forbidden,
                format!("the cluster at {server} does not accept the credentials of `{user}`"),
            );
            told.causes = error.causes;
            told.hint("the token or certificate may have expired: log in again, or name another `--context`")
        }
        ErrorKind::Unreachable => {
            let mut told = unreachable(server);
            told.causes = error.causes;
            told
        }
        _ => error,
    }
}

/// An error and what lies below it, without repeating what an outer text says already.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}
