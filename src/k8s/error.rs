//! How talking to a cluster fails, with the server's own `Status` kept.
//!
//! The conversion to a `Diagnostic` stands here as well, hints included: they are about requests, fields and owners,
//! and nothing above this layer knows those.

use std::time::Duration;

use kube::core::Status;
use serde_json::Value;

use crate::base::diagnostic::{Diagnostic, ErrorKind, Position};
use crate::base::duration::human;
use crate::base::jsonpath::JsonPathError;
use crate::base::object_ref::ObjectRef;

/// A field that another manager owns and that the applied object wants to change.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldConflict {
    /// As the server writes it: `.spec.template.spec.containers[name="x"].image`.
    pub field: String,
    /// The manager that owns it, such as `kubectl-edit` (with its subresource, if the server names one).
    pub owner: String,
    /// The value that was applied; `Null` when it is not known.
    pub ours: Value,
    /// The value in the cluster; `Null` when it is not known.
    pub theirs: Value,
}

/// A failure of the domain `k8s`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered with a `Status` that refuses the request.
    #[error("cannot {action}")]
    Refused { action: String, status: Box<Status> },
    /// Fields belong to other managers.
    #[error("cannot apply `{object}`: {} belong{} to another manager", count(.conflicts.len(), "field"), if .conflicts.len() == 1 { "s" } else { "" })]
    FieldConflict { object: ObjectRef, conflicts: Vec<FieldConflict> },
    /// No answer came.
    #[error("the API server at {server} cannot be reached")]
    Unreachable { server: String, reason: String },
    /// The answer did not come in time.
    #[error("the API server did not answer within {}: cannot {action}", human(*.limit))]
    RequestTimeout { action: String, limit: Duration },
    /// The answer is not what the API promises.
    #[error("the API server's answer makes no sense: cannot {action}")]
    BadAnswer { action: String, reason: String },
    /// No kind has this name.
    #[error("the cluster has no kind `{name}`")]
    UnknownKind { name: String, near: Option<String>, served: Vec<String> },
    /// The kind does not offer what was asked.
    #[error("`{kind}` does not support `{what}`")]
    NotSupported { kind: String, what: String },
    /// An object is named that is not there.
    #[error("`{object}` does not exist")]
    NotFound { object: String, near: Option<String> },
    /// The manifest is not one.
    #[error("{reason}")]
    InvalidManifest { reason: String, line: usize },
    /// An expression, selector, patch or name is malformed.
    #[error("{reason}")]
    InvalidInput { reason: String, hint: Option<String> },
    /// Time ran out.
    #[error("{what} after {}", human(*.limit))]
    Timeout { what: String, reason: String, limit: Duration },
    /// What is waited for will not come.
    #[error("{what} and will not be")]
    Terminal { what: String, reason: String, hint: Option<String> },
    /// A command in a container ended with a code other than 0.
    #[error("the command in `{pod}` ended with exit code {code}")]
    CommandFailed { pod: String, code: i64, stderr: String },
    /// A stream (exec, port-forward, logs) broke.
    #[error("the stream to {peer} broke")]
    Stream { peer: String, reason: String },
    /// The loopback port of a port-forward is taken, or may not be had.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen { port: u16, reason: String },
    /// A kubeconfig is named that cannot be read.
    #[error("cannot read the kubeconfig `{path}`")]
    KubeconfigUnreadable { path: String, reason: String },
    /// A kubeconfig is not one.
    #[error("the kubeconfig `{path}` is not valid")]
    KubeconfigInvalid { path: String, reason: String },
    /// The context is in none of the files.
    #[error("the kubeconfig has no context `{context}`")]
    UnknownContext { context: String, available: Vec<String>, near: Option<String> },
    /// Files are there, but no context is chosen.
    #[error("the kubeconfig names no current context")]
    NoContext { available: Vec<String> },
    /// The user's credentials come from a program.
    #[error("the user `{user}` of the kubeconfig gets its credentials from a program")]
    ExecPlugin { user: String, command: String },
    /// The credentials cannot be used.
    #[error("the credentials of the context `{context}` cannot be used")]
    Credentials { context: String, reason: String },
}

/// `1 field`, `3 fields`
pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

impl Error {
    /// The server's `Status`, if it refused.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Refused { status, .. } => Some(status),
            _ => None,
        }
    }

    /// The object, or its namespace, does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
            || self.status().is_some_and(|status| status.code == 404)
    }

    /// The object changed between reading and writing it.
    pub fn is_conflict(&self) -> bool {
        self.status().is_some_and(|status| status.code == 409 && status.reason == "Conflict")
    }

    /// The server refused the caller.
    pub fn is_forbidden(&self) -> bool {
        self.status().is_some_and(|status| matches!(status.code, 401 | 403))
    }

    /// The kind of the failure as scripts see it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused { status, .. } => kind_of(status),
            Self::FieldConflict { .. } => ErrorKind::Conflict,
            Self::Unreachable { .. } | Self::Stream { .. } => ErrorKind::Unreachable,
            Self::RequestTimeout { .. } | Self::Timeout { .. } => ErrorKind::Timeout,
            Self::UnknownKind { .. } | Self::NotFound { .. } => ErrorKind::NotFound,
            Self::InvalidManifest { .. } | Self::NotSupported { .. } => ErrorKind::Invalid,
            Self::InvalidInput { .. } => ErrorKind::Argument,
            Self::Terminal { .. } => ErrorKind::Terminal,
            Self::CommandFailed { .. } | Self::BadAnswer { .. } | Self::Listen { .. } => {
                ErrorKind::Failed
            }
            Self::KubeconfigUnreadable { .. }
            | Self::KubeconfigInvalid { .. }
            | Self::UnknownContext { .. }
            | Self::NoContext { .. } => ErrorKind::Usage,
            Self::ExecPlugin { .. } | Self::Credentials { .. } => ErrorKind::Forbidden,
        }
    }
}

/// What a refusal is about.
fn kind_of(status: &Status) -> ErrorKind {
    let message = status.message.as_str();
    let denied = ["denied the request", "denied request", "exceeded quota", "violates PodSecurity"]
        .iter()
        .any(|words| message.contains(words));
    match status.code {
        _ if denied => ErrorKind::Denied,
        401 => ErrorKind::Forbidden,
        403 if message.contains("is being terminated") => ErrorKind::Conflict,
        403 => ErrorKind::Forbidden,
        404 => ErrorKind::NotFound,
        409 if status.reason == "AlreadyExists" => ErrorKind::AlreadyExists,
        409 => ErrorKind::Conflict,
        400 | 405 | 406 | 413 | 415 | 422 => ErrorKind::Invalid,
        429 | 503 | 504 => ErrorKind::Unreachable,
        501 => ErrorKind::NotModelled,
        _ if is_typed_patch_failure(message) => ErrorKind::Invalid,
        _ => ErrorKind::Failed,
    }
}

/// Server-side apply answers 500 to what is really an invalid object (kube-apiserver 1.36).
pub(super) fn is_typed_patch_failure(message: &str) -> bool {
    message.contains("failed to create typed patch object")
        || message.contains("failed to convert new object")
        || message.contains("field not declared in schema")
}

/// A webhook that nobody answers yet: it heals once its service is up and its CA is known.
pub(super) fn is_webhook_not_ready(message: &str) -> bool {
    const SIGNS: &[&str] = &[
        "connection refused",
        "no endpoints available",
        "context deadline exceeded",
        "certificate signed by unknown authority",
        "no such host",
        "i/o timeout",
        "connection reset",
        "EOF",
        "not found",
    ];
    message.contains("failed calling webhook") && SIGNS.iter().any(|sign| message.contains(sign))
}

/// A value as one line of an error; long ones are cut.
pub(super) fn short(value: &Value) -> String {
    let text = match value {
        Value::Null => return "nothing".to_owned(),
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    };
    if text.chars().count() > 80 {
        format!("{}…", text.chars().take(79).collect::<String>())
    } else {
        text
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let mut diagnostic = Self::new(error.kind(), error.to_string());
        let hint = |diagnostic: Self, hint: Option<String>| match hint {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        };
        match error {
            Error::Refused { status, .. } => refused(diagnostic, &status),
            Error::FieldConflict { conflicts, .. } => conflicting(diagnostic, &conflicts),
            Error::Unreachable { server, reason } => hint(
                diagnostic.cause(reason.clone()),
                Some(unreachable_hint(&server, &reason)),
            ),
            Error::RequestTimeout { .. } => diagnostic.hint(
                "a slow server or link: give it more time with `--request-timeout 60s`",
            ),
            Error::BadAnswer { reason, .. } | Error::Stream { reason, .. } => {
                diagnostic.cause(reason)
            }
            Error::UnknownKind { near, served, .. } => {
                if !served.is_empty() {
                    diagnostic = diagnostic
                        .cause(format!("the kind is served as {}", served.join(", ")));
                }
                match near {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None if served.is_empty() => diagnostic.hint(
                        "install its CRD first, or list the kinds with `k8s::resources()`",
                    ),
                    None => diagnostic.hint("write the `apiVersion` that is served"),
                }
            }
            Error::NotSupported { .. } => diagnostic,
            Error::NotFound { near, .. } => {
                hint(diagnostic, near.map(|near| format!("did you mean `{near}`?")))
            }
            Error::InvalidManifest { line, .. } => {
                if line > 0 {
                    diagnostic.at(Position { file: "<input>".into(), line, column: 0 })
                } else {
                    diagnostic
                }
            }
            Error::InvalidInput { hint: way, .. } => hint(diagnostic, way),
            Error::Timeout { reason, .. } => {
                if !reason.is_empty() {
                    diagnostic = diagnostic.cause(reason);
                }
                diagnostic.hint("if it only needs longer, raise the option `timeout`")
            }
            Error::Terminal { reason, hint: way, .. } => hint(diagnostic.cause(reason), way),
            Error::CommandFailed { stderr, .. } => {
                let stderr = stderr.trim();
                if stderr.is_empty() { diagnostic } else { diagnostic.cause(stderr) }
            }
            Error::Listen { reason, .. } => diagnostic.cause(reason).hint(
                "leave the option `local_port` out, and a free port is taken",
            ),
            Error::KubeconfigUnreadable { reason, .. } => diagnostic.cause(reason).hint(
                "name a kubeconfig that exists with `--kubeconfig FILE`, or rehearse with `--sandbox`",
            ),
            Error::KubeconfigInvalid { reason, .. } => diagnostic.cause(reason),
            Error::UnknownContext { available, near, .. } => {
                let diagnostic =
                    hint(diagnostic, near.map(|near| format!("did you mean `--context {near}`?")));
                diagnostic.hint(contexts(&available))
            }
            Error::NoContext { available } => {
                diagnostic.hint(format!("choose one with `--context NAME`; {}", contexts(&available)))
            }
            Error::ExecPlugin { user, command } => diagnostic
                .cause(format!("it names the exec plugin `{command}`, and meshscript starts no programs"))
                .hint(format!(
                    "put a token into the kubeconfig instead: let `{command}` print one, then set it as `token` of the user `{user}`; or use a context with a client certificate or a service account's token"
                )),
            Error::Credentials { reason, .. } => diagnostic.cause(reason),
        }
    }
}

fn contexts(available: &[String]) -> String {
    if available.is_empty() {
        "the kubeconfig has no contexts at all".to_owned()
    } else {
        format!("available contexts: {}", available.join(", "))
    }
}

fn unreachable_hint(server: &str, reason: &str) -> String {
    if reason.contains("certificate") || reason.contains("UnknownIssuer") {
        "the server is another one than the kubeconfig knows: check `server` and `certificate-authority-data`".to_owned()
    } else if reason.contains("lookup") || reason.contains("dns") {
        format!(
            "the name in {server} is not known here: check `server` of the context, VPN and DNS"
        )
    } else {
        format!(
            "check that the cluster runs and that {server} is reachable from here, or rehearse with `--sandbox`"
        )
    }
}

/// The server's words, cause by cause, and what to do about them.
fn refused(mut diagnostic: Diagnostic, status: &Status) -> Diagnostic {
    let message = status.message.trim();
    let causes: Vec<String> = status
        .details
        .iter()
        .flat_map(|details| &details.causes)
        .filter(|cause| !cause.message.is_empty())
        .map(|cause| match cause.field.as_str() {
            "" => cause.message.clone(),
            field => format!("{field}: {}", cause.message),
        })
        .collect();
    // With a single cause the message says the same thing; with several it is one long line of them.
    if causes.len() > 1 {
        let head = message.split(": ").next().unwrap_or(message);
        diagnostic = diagnostic.cause(format!("{head} ({})", status.code));
        diagnostic.causes.extend(causes);
    } else if message.is_empty() {
        diagnostic = diagnostic.cause(format!("{} ({})", status.reason, status.code));
    } else {
        diagnostic = diagnostic.cause(format!("{message} ({})", status.code));
    }
    match refusal_hint(status) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

fn refusal_hint(status: &Status) -> Option<String> {
    let message = status.message.as_str();
    let hint = match status.code {
        401 => {
            "the token or certificate is not accepted any more: log in again, or choose another context"
        }
        _ if message.contains("safe-upgrades.gateway.networking.k8s.io") => {
            "newer Gateway API CRDs are installed: keep them, or apply the same or a newer bundle"
        }
        _ if message.contains("exceeded quota") => {
            "raise the ResourceQuota of the namespace, or ask for less"
        }
        _ if message.contains("violates PodSecurity") => {
            "change the pod to meet the policy, or the namespace's label `pod-security.kubernetes.io/enforce`"
        }
        _ if message.contains("denied the request") || message.contains("denied request") => {
            "the admission webhook or policy named above decides: change the object to meet it"
        }
        403 if message.contains("is being terminated") => {
            "wait until the namespace is gone: `k8s::wait(\"namespace\", NAME, #{ deleted: true })`"
        }
        403 => {
            "ask for a role that allows it, or act as somebody else with `--as`; `k8s::can_i` tells in advance"
        }
        404 if message.starts_with("namespaces ") => "create the namespace first",
        409 if status.reason == "AlreadyExists" => "use `k8s::apply`, which converges",
        409 => "somebody else changed the object meanwhile: run again",
        413 => "the object is larger than the server takes",
        429 => "the server asks for patience: lower `--parallel`, or try later",
        _ if is_webhook_not_ready(message) => {
            "the service behind the webhook is not ready: wait for its workload, or raise the option `timeout`"
        }
        _ if message.contains("field not declared in schema") => {
            "the kind has no such field in this version: correct its name, or install a newer CRD"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn conflicting(mut diagnostic: Diagnostic, conflicts: &[FieldConflict]) -> Diagnostic {
    for conflict in conflicts {
        diagnostic = diagnostic.cause(format!(
            "`{}` belongs to `{}`: it is {}, applied was {}",
            conflict.field,
            conflict.owner,
            short(&conflict.theirs),
            short(&conflict.ours)
        ));
    }
    diagnostic
        .hint("leave it to its owner: remove the field from the manifest")
        .hint("agree with its owner: write the value that is there, and both own the field")
        .hint("take it over: `k8s::patch` the field to your value once, then apply again")
}

impl From<JsonPathError> for Error {
    fn from(error: JsonPathError) -> Self {
        Self::InvalidInput {
            reason: error.to_string(),
            hint: Some("write it as kubectl takes it: `{.status.phase}`".to_owned()),
        }
    }
}
