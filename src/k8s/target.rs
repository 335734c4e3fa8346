//! A real cluster, found in kubeconfig files or around this process, resolved once.
//!
//! Nothing here reads the environment: which files there are is the caller's to know. No program is started: a user whose
//! credentials come from an exec plugin is refused, and told what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{AuthInfo, Config, Kubeconfig};

use super::cluster::TargetInfo;
use super::error::Error;
use super::request::innermost;
use crate::base::secret::Redactor;
use crate::base::suggest;

/// The longest time in which a connection must be made.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Which cluster, and as whom.
#[derive(Clone, Debug, Default)]
pub struct TargetOptions {
    /// Kubeconfig files, merged in this order as kubectl does. Of several, some may be missing.
    pub files: Vec<PathBuf>,
    /// The context; `None` is the current one.
    pub context: Option<String>,
    pub impersonate: Option<String>,
    pub impersonate_groups: Vec<String>,
}

/// A client of a real cluster; nothing was sent yet.
#[derive(Clone)]
pub struct Target {
    pub client: kube::Client,
    pub info: TargetInfo,
    /// The namespace that the context names, else `default`.
    pub namespace: String,
}

/// The cluster of a kubeconfig's context. Must be called on a runtime.
///
/// # Errors
/// `KubeconfigUnreadable`, `KubeconfigInvalid`, `NoContext`, `UnknownContext` with those that there are, `ExecPlugin`,
/// `Credentials`.
pub fn from_kubeconfig(options: &TargetOptions, redactor: &Redactor) -> Result<Target, Error> {
    let mut kubeconfig = read(&options.files)?;
    let available: Vec<String> =
        kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    let chosen = options.context.clone().or_else(|| kubeconfig.current_context.clone());
    let Some(context) = chosen.filter(|context| !context.is_empty()) else {
        return Err(Error::NoContext { available });
    };
    if !available.contains(&context) {
        let near = suggest::near(&context, available.iter().map(String::as_str));
        return Err(Error::UnknownContext { near: near.map(str::to_owned), context, available });
    }
    let found = kubeconfig.contexts.iter().find(|found| found.name == context);
    let found = found.and_then(|found| found.context.clone());
    let user = found.as_ref().and_then(|found| found.user.clone()).unwrap_or_default();
    let cluster = found.map(|found| found.cluster).unwrap_or_default();
    if let Some(command) = kubeconfig
        .auth_infos
        .iter()
        .find(|named| named.name == user)
        .and_then(|named| program_of(named.auth_info.as_ref()?))
    {
        return Err(Error::ExecPlugin { user, command });
    }
    let proxy = kubeconfig
        .clusters
        .iter()
        .find(|named| named.name == cluster)
        .and_then(|named| named.cluster.as_ref()?.proxy_url.clone())
        .filter(|proxy| !proxy.is_empty());
    kubeconfig.current_context = Some(context.clone());
    let unusable = |reason: String| Error::Credentials { context: context.clone(), reason };
    let mut config = Config::try_from(kubeconfig).map_err(|error| unusable(innermost(&error)))?;
    // kube takes proxies from the environment as well; here only the kubeconfig counts.
    if proxy.is_none() {
        config.proxy_url = None;
    }
    learn(&config.auth_info, redactor);
    let mut shown = user;
    if let Some(name) = &options.impersonate {
        config.auth_info.impersonate = Some(name.clone());
        shown = format!("{shown} (as {name})");
    }
    if !options.impersonate_groups.is_empty() {
        config.auth_info.impersonate_groups = Some(options.impersonate_groups.clone());
    }
    let info = TargetInfo { context: context.clone(), user: shown, ..TargetInfo::default() };
    open(config, info).map_err(|error| unusable(innermost(&error)))
}

/// The cluster that this process runs in, by its service account. Must be called on a runtime.
///
/// # Errors
/// `Credentials` when the service account's files cannot be used.
pub fn in_cluster() -> Result<Target, Error> {
    let unusable = |reason: String| Error::Credentials { context: "in-cluster".to_owned(), reason };
    let mut config = Config::incluster().map_err(|error| unusable(innermost(&error)))?;
    config.proxy_url = None;
    let info = TargetInfo {
        context: "in-cluster".to_owned(),
        user: "the pod's service account".to_owned(),
        ..TargetInfo::default()
    };
    open(config, info).map_err(|error| unusable(innermost(&error)))
}

fn open(mut config: Config, mut info: TargetInfo) -> Result<Target, kube::Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // Requests are bounded and repeated by us, on the target's clock; watches may be silent for long.
    config.read_timeout = None;
    config.write_timeout = None;
    config.default_retry = false;
    config.cluster_url.to_string().trim_end_matches('/').clone_into(&mut info.server);
    let namespace = config.default_namespace.clone();
    let client = ClientBuilder::try_from(config)?.build();
    Ok(Target { client, info, namespace })
}

/// Reads and merges kubeconfig files.
fn read(files: &[PathBuf]) -> Result<Kubeconfig, Error> {
    let mut merged: Option<Kubeconfig> = None;
    for file in files {
        let path = file.display().to_string();
        if let Err(error) = std::fs::metadata(file) {
            if error.kind() == std::io::ErrorKind::NotFound && files.len() > 1 {
                continue;
            }
            return Err(Error::KubeconfigUnreadable { path, reason: innermost(&error) });
        }
        let invalid = |reason: String| Error::KubeconfigInvalid { path: path.clone(), reason };
        // `read_from` resolves paths inside of a kubeconfig against its folder.
        let next = read_one(file, &path)?;
        merged = Some(match merged {
            None => next,
            Some(merged) => merged.merge(next).map_err(|error| invalid(innermost(&error)))?,
        });
    }
    merged.ok_or_else(|| Error::KubeconfigUnreadable {
        path: files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(":"),
        reason: "none of the files exists".to_owned(),
    })
}

fn read_one(file: &Path, path: &str) -> Result<Kubeconfig, Error> {
    Kubeconfig::read_from(file).map_err(|error| match error {
        kube::config::KubeconfigError::ReadConfig(error, _) => {
            Error::KubeconfigUnreadable { path: path.to_owned(), reason: innermost(&error) }
        }
        error => Error::KubeconfigInvalid { path: path.to_owned(), reason: innermost(&error) },
    })
}

/// The program that a user's credentials come from. kube would start it while it builds the client.
fn program_of(user: &AuthInfo) -> Option<String> {
    if let Some(exec) = &user.exec {
        return Some(exec.command.clone().unwrap_or_else(|| "without a command".to_owned()));
    }
    let provider = user.auth_provider.as_ref()?;
    provider.config.get("cmd-path").cloned()
}

fn learn(user: &AuthInfo, redactor: &Redactor) {
    let json = serde_json::to_value(user).unwrap_or_default();
    for name in ["token", "password", "client-key-data"] {
        if let Some(secret) = json[name].as_str() {
            redactor.learn(secret);
        }
    }
    if let Some(file) = &user.token_file
        && let Ok(token) = std::fs::read_to_string(file)
    {
        redactor.learn(token.trim());
    }
}
