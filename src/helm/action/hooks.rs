//! Hooks: objects that run at moments of a release's life, and tests, which are hooks of their own event.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::objects::placed;
use super::{ActionError, MANAGER};
use crate::helm::release::{self, Release};
use crate::k8s::apply::{self, ApplyOptions};
use crate::k8s::cluster::Cluster;
use crate::k8s::delete::{self, DeleteOptions};
use crate::k8s::error::Error;
use crate::k8s::logs::{self, LogOptions};
use crate::k8s::wait::{self, Goal, WaitOptions, Wanted};

/// Lines of a hook's log that are shown.
const LOG_LINES: i64 = 50;

/// How to run hooks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hooks {
    /// For each of them.
    pub(super) timeout: Duration,
    pub(super) skip: bool,
}

/// How one hook ended.
#[derive(Clone, Debug)]
pub struct TestRun {
    pub name: String,
    /// `Succeeded` or `Failed`.
    pub phase: String,
    /// What its pods wrote; empty unless asked for.
    pub log: String,
}

/// How to test a release.
#[derive(Clone, Debug)]
pub struct TestOptions {
    pub namespace: String,
    pub timeout: Duration,
    /// Names of the tests that run, `!NAME` for those that do not; empty for all.
    pub filter: Vec<String>,
    pub logs: bool,
}

/// Runs the tests of a release, one after the other, and records how they ended.
///
/// # Errors
/// `NotFound` for a release that does not exist; `Hook` for a test that fails, with its log.
pub async fn test(
    cluster: &Cluster,
    name: &str,
    options: &TestOptions,
) -> Result<Vec<TestRun>, ActionError> {
    let namespace = options.namespace.as_str();
    let history = release::history(cluster, name, namespace).await?;
    let Some(mut release) = history.into_iter().last() else {
        let (name, namespace) = (name.to_owned(), namespace.to_owned());
        return Err(ActionError::NotFound { name, namespace });
    };
    let is_run = |hook: &Json| skipped(hook, &options.filter) == Skipped::No;
    let hooks: Vec<Json> = release.hooks("test").into_iter().filter(is_run).collect();
    let how = Hooks { timeout: options.timeout, skip: false };
    let done = run_these(cluster, &mut release, "test", hooks, &how, options.logs).await;
    // Helm stores what the filter left out before the rest.
    if let Some(all) = release.json["hooks"].as_array_mut() {
        all.sort_by_key(|hook| skipped(hook, &options.filter));
    }
    release.update(cluster).await?;
    done
}

/// Why a test does not run, in the order in which Helm stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Skipped {
    Excluded,
    NotIncluded,
    No,
}

fn skipped(hook: &Json, filter: &[String]) -> Skipped {
    let name = hook["name"].as_str().unwrap_or_default();
    let mut only = filter.iter().filter(|word| !word.starts_with('!')).peekable();
    if filter.iter().any(|word| word.strip_prefix('!') == Some(name)) {
        Skipped::Excluded
    } else if only.peek().is_some() && only.all(|word| word != name) {
        Skipped::NotIncluded
    } else {
        Skipped::No
    }
}

/// Runs the hooks of an event one after the other, by weight and name. What succeeded goes, if its policy says so, when all
/// have run, or when one fails.
pub(super) async fn run(
    cluster: &Cluster,
    release: &mut Release,
    event: &str,
    how: &Hooks,
) -> Result<(), ActionError> {
    if how.skip {
        return Ok(());
    }
    let hooks = release.hooks(event);
    run_these(cluster, release, event, hooks, how, false).await.map(drop)
}

async fn run_these(
    cluster: &Cluster,
    release: &mut Release,
    event: &str,
    hooks: Vec<Json>,
    how: &Hooks,
    logs: bool,
) -> Result<Vec<TestRun>, ActionError> {
    let namespace = release.namespace().to_owned();
    let mut runs = Vec::new();
    for (at, hook) in hooks.iter().enumerate() {
        let name = hook["name"].as_str().unwrap_or_default().to_owned();
        let started = cluster.clock().now().to_string();
        record(release, hook, json!({"started_at": started, "phase": "Running"}));
        // A run that is killed here leaves what it was doing.
        release.update(cluster).await?;
        let done = run_one(cluster, &namespace, hook, how.timeout).await;
        let phase = if done.is_ok() { "Succeeded" } else { "Failed" };
        let completed = cluster.clock().now().to_string();
        record(
            release,
            hook,
            json!({"started_at": started, "completed_at": completed, "phase": phase}),
        );
        let output = if done.is_ok() { "hook-succeeded" } else { "hook-failed" };
        let log = if logs || done.is_err() || has_output(hook, output) {
            log_of(cluster, &namespace, hook).await
        } else {
            String::new()
        };
        if has_output(hook, output) && !log.is_empty() {
            cluster.progress().info(&format!("log of hook {name}:\n{}", log.trim_end()));
        }
        match done {
            Ok(()) => runs.push(TestRun { name, phase: phase.to_owned(), log }),
            Err(Failure { ran, source }) => {
                // What the server refuses has not run; Helm then leaves everything as it is.
                if ran {
                    if has_policy(hook, "hook-failed") {
                        delete_hook(cluster, &namespace, hook, how.timeout).await?;
                    }
                    clean(cluster, &namespace, &hooks[..at], how.timeout).await?;
                }
                let event = event.to_owned();
                return Err(ActionError::Hook { hook: name, event, log, source: Box::new(source) });
            }
        }
    }
    clean(cluster, &namespace, &hooks, how.timeout).await?;
    Ok(runs)
}

/// Deletes the hooks that are to go once they succeeded, the last first.
async fn clean(
    cluster: &Cluster,
    namespace: &str,
    hooks: &[Json],
    timeout: Duration,
) -> Result<(), ActionError> {
    for hook in hooks.iter().rev().filter(|hook| has_policy(hook, "hook-succeeded")) {
        delete_hook(cluster, namespace, hook, timeout).await?;
    }
    Ok(())
}

/// Stores how a hook runs, and the policy that holds where the chart names none.
fn record(release: &mut Release, hook: &Json, run: Json) {
    for stored in release.json["hooks"].as_array_mut().into_iter().flatten() {
        if stored["name"] == hook["name"]
            && stored["path"] == hook["path"]
            && stored["kind"] == hook["kind"]
        {
            stored["last_run"] = run.clone();
            if stored["delete_policies"].as_array().is_none_or(Vec::is_empty) {
                stored["delete_policies"] = json!(["before-hook-creation"]);
            }
        }
    }
}

fn has_policy(hook: &Json, policy: &str) -> bool {
    // CRDs are never deleted: their objects would go with them.
    if hook["kind"] == "CustomResourceDefinition" {
        return false;
    }
    match hook["delete_policies"].as_array().filter(|policies| !policies.is_empty()) {
        Some(policies) => policies.iter().any(|found| found == policy),
        None => policy == "before-hook-creation",
    }
}

fn has_output(hook: &Json, policy: &str) -> bool {
    hook["output_log_policies"].as_array().into_iter().flatten().any(|found| found == policy)
}

/// What the pods of a hook wrote; empty when they cannot be read.
async fn log_of(cluster: &Cluster, namespace: &str, hook: &Json) -> String {
    let name = hook["name"].as_str().unwrap_or_default();
    let target = match hook["kind"].as_str() {
        Some("Job") => format!("job/{name}"),
        Some("Pod") => format!("pod/{name}"),
        _ => return String::new(),
    };
    let options = LogOptions { tail: Some(LOG_LINES), ..LogOptions::default() };
    logs::logs(cluster, &target, Some(namespace), &options).await.unwrap_or_default()
}

async fn delete_hook(
    cluster: &Cluster,
    namespace: &str,
    hook: &Json,
    timeout: Duration,
) -> Result<(), Error> {
    let manifests = crate::k8s::manifest::parse(hook["manifest"].as_str().unwrap_or_default())?;
    let manifests =
        manifests.into_iter().map(|manifest| placed(manifest.object, namespace)).collect();
    let options = DeleteOptions { timeout, ..DeleteOptions::default() };
    delete::delete_manifests(cluster, manifests, &options).await?;
    Ok(())
}

/// Why a hook failed.
struct Failure {
    /// It was created, and then did not come to a good end.
    ran: bool,
    source: Error,
}

async fn run_one(
    cluster: &Cluster,
    namespace: &str,
    hook: &Json,
    timeout: Duration,
) -> Result<(), Failure> {
    let wanted = create(cluster, namespace, hook, timeout)
        .await
        .map_err(|source| Failure { ran: false, source })?;
    if wanted.is_empty() {
        return Ok(());
    }
    let done = wait::wait(cluster, wanted, &WaitOptions { timeout }).await;
    done.map(drop).map_err(|source| Failure { ran: true, source })
}

/// Creates a hook's objects; what of them has to come to an end.
async fn create(
    cluster: &Cluster,
    namespace: &str,
    hook: &Json,
    timeout: Duration,
) -> Result<Vec<Wanted>, Error> {
    if has_policy(hook, "before-hook-creation") {
        delete_hook(cluster, namespace, hook, timeout).await?;
    }
    let manifests = crate::k8s::manifest::parse(hook["manifest"].as_str().unwrap_or_default())?;
    let options = ApplyOptions {
        field_manager: MANAGER.to_owned(),
        namespace: Some(namespace.to_owned()),
        ..ApplyOptions::default()
    };
    let applied = apply::apply(cluster, manifests, &options).await?;
    let mut wanted = Vec::new();
    for applied in applied {
        let reference = applied.reference;
        if !matches!(reference.kind.as_str(), "Job" | "Pod") {
            continue;
        }
        let resource = cluster.resource_of(&reference.api_version, &reference.kind).await?;
        wanted.push(Wanted {
            resource,
            namespace: reference.namespace,
            name: reference.name,
            goal: Goal::Completed,
        });
    }
    Ok(wanted)
}
