//! A real cluster, found in kubeconfig files or around this process, resolved once.
//!
//! Nothing here reads the environment: which files there are is the caller's to know. No program is started: a user whose
//! credentials come from an exec plugin is refused, and told what to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::ClientBuilder;
use kube::config::{AuthInfo, Config, Kubeconfig};
use serde_json::Value;

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
    let mut kubeconfig = read(&options.files, redactor)?;
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
    refuse_programs(&kubeconfig, &user)?;
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
fn read(files: &[PathBuf], redactor: &Redactor) -> Result<Kubeconfig, Error> {
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
        learn(file, redactor);
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
        // The parser quotes what it could not take, which may be a secret: only the place is told.
        error => Error::KubeconfigInvalid {
            path: path.to_owned(),
            reason: match line_of(&innermost(&error)) {
                Some(line) => format!("line {line} cannot be read"),
                None => "it cannot be read".to_owned(),
            },
        },
    })
}

/// Refuses a user whose credentials come from a program.
///
/// # Errors
/// `ExecPlugin` with the program's name.
pub fn refuse_programs(kubeconfig: &Kubeconfig, user: &str) -> Result<(), Error> {
    let named = kubeconfig.auth_infos.iter().find(|named| named.name == user);
    match named.and_then(|named| program_of(named.auth_info.as_ref()?)) {
        Some(command) => Err(Error::ExecPlugin { user: user.to_owned(), command }),
        None => Ok(()),
    }
}

/// The program that a user's credentials come from. kube would start it while it builds the client.
fn program_of(user: &AuthInfo) -> Option<String> {
    if let Some(exec) = &user.exec {
        return Some(exec.command.clone().unwrap_or_else(|| "without a command".to_owned()));
    }
    let provider = user.auth_provider.as_ref()?;
    provider.config.get("cmd-path").cloned()
}

/// The number in `… line 12 column 3 …`.
fn line_of(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once("line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Tells the redactor every credential of a file, whether or not the file is a valid kubeconfig.
fn learn(file: &Path, redactor: &Redactor) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let value: Value = serde_yaml::from_str(&text).unwrap_or_default();
    for user in value["users"].as_array().into_iter().flatten() {
        for name in ["token", "password", "client-key-data"] {
            learn_texts(&user["user"][name], redactor);
        }
        if let Some(path) = user["user"]["tokenFile"].as_str() {
            let path = file.parent().unwrap_or(Path::new("")).join(path);
            redactor.learn(std::fs::read_to_string(path).unwrap_or_default().trim());
        }
    }
}

fn learn_texts(value: &Value, redactor: &Redactor) {
    match value {
        Value::String(text) => redactor.learn(text),
        Value::Array(items) => items.iter().for_each(|item| learn_texts(item, redactor)),
        Value::Object(fields) => fields.values().for_each(|field| learn_texts(field, redactor)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
