//! Waiting for objects: by watch, with the reason told while it lasts, and given up at once on what cannot heal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{select_all, try_join_all};
use serde_json::Value;
use tokio::sync::watch::Receiver;

use super::cluster::Cluster;
use super::error::Error;
use super::explain::{Explainer, Explanation, Fatal};
use super::read::{Listed, list_page_by_page};
use super::readiness::{self, Verdict};
use super::resource::Resource;
use super::watch::{Beginning, Watch};
use crate::base::jsonpath::{Found, JsonPath, plain};
use crate::base::progress::Waiting;

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub enum Goal {
    /// A condition with a status, of the object's current generation.
    Condition { kind: String, status: String },
    /// A path that is there, or has a value.
    JsonPath { path: JsonPath, value: Option<String> },
    /// The rollout of a Deployment, DaemonSet or StatefulSet is complete.
    Rollout,
    /// Current by kstatus; `jobs`: Jobs must be complete.
    Ready { jobs: bool },
    /// A Pod has succeeded, a Job is complete.
    Completed,
    /// It exists.
    Exists,
    /// It, the one with this uid if one is given, is gone.
    Deleted { uid: String },
}

impl Goal {
    /// A condition by its type and status.
    pub fn condition(kind: &str, status: &str) -> Self {
        Self::Condition { kind: kind.to_owned(), status: status.to_owned() }
    }

    /// A condition as `Type` or `Type=Status`.
    pub fn parse_condition(text: &str) -> Self {
        match text.split_once('=') {
            Some((kind, status)) => Self::condition(kind.trim(), status.trim()),
            None => Self::condition(text.trim(), "True"),
        }
    }

    /// After "to": `be rolled out`.
    fn name(&self) -> String {
        match self {
            Self::Condition { kind, status } if status.eq_ignore_ascii_case("true") => {
                format!("be {kind}")
            }
            Self::Condition { kind, status } => format!("be {kind}={status}"),
            Self::JsonPath { path, value: Some(value) } => {
                format!("be at {}={value}", path.source())
            }
            Self::JsonPath { path, value: None } => format!("have {}", path.source()),
            Self::Rollout => "be rolled out".to_owned(),
            Self::Ready { .. } => "be ready".to_owned(),
            Self::Completed => "be completed".to_owned(),
            Self::Exists => "exist".to_owned(),
            Self::Deleted { .. } => "be gone".to_owned(),
        }
    }

    /// That it is not so: `is not rolled out`.
    fn denied(&self) -> String {
        match self.name() {
            name if name.starts_with("be ") => format!("is not {}", &name[3..]),
            name => format!("does not {name}"),
        }
    }

    fn judge(&self, object: Option<&Value>) -> Verdict {
        if let Self::Deleted { uid } = self {
            return match object {
                Some(object) if uid.is_empty() || object["metadata"]["uid"] == uid.as_str() => {
                    Verdict::NotYet(held_by(object))
                }
                _ => Verdict::Met,
            };
        }
        let Some(object) = object else {
            return Verdict::NotYet("it does not exist yet".to_owned());
        };
        match self {
            Self::Condition { kind, status } => readiness::has_condition(object, kind, status),
            Self::JsonPath { path, value } => judge_path(path, value.as_deref(), object),
            Self::Rollout => {
                readiness::rolled_out(object).unwrap_or_else(|| readiness::ready(object, true))
            }
            Self::Ready { jobs } => readiness::ready(object, *jobs),
            Self::Completed => readiness::completed(object),
            Self::Exists | Self::Deleted { .. } => Verdict::Met,
        }
    }

    /// Whether pods and events can tell why it is not so.
    fn is_about_pods(&self) -> bool {
        matches!(
            self,
            Self::Rollout
                | Self::Ready { .. }
                | Self::Completed
                | Self::Condition { .. }
                | Self::JsonPath { .. }
        )
    }
}

fn judge_path(path: &JsonPath, wanted: Option<&str>, object: &Value) -> Verdict {
    let found = match path.find(object) {
        Found::One(found) => found.into_iter().collect(),
        Found::Many(found) => found,
        Found::Text(text) => vec![Value::String(text)],
    };
    let found: Vec<String> = found.iter().filter(|value| !value.is_null()).map(plain).collect();
    let is_met = !found.is_empty()
        && found.iter().all(|found| wanted.is_none_or(|wanted| found == wanted))
        && (wanted.is_some() || found.iter().any(|found| !found.is_empty()));
    if is_met {
        Verdict::Met
    } else if found.is_empty() {
        Verdict::NotYet(format!("it has nothing at {} yet", path.source()))
    } else {
        Verdict::NotYet(format!("{} is {}", path.source(), found.join(" ")))
    }
}

/// What keeps an object that is being deleted.
fn held_by(object: &Value) -> String {
    let metadata = &object["metadata"];
    if metadata["deletionTimestamp"].is_null() {
        return "it still exists, and nobody has deleted it".to_owned();
    }
    // A namespace tells what is left in it.
    let conditions =
        object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let left: Vec<&str> = conditions
        .iter()
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str())
        .collect();
    if !left.is_empty() {
        return left.join("; ");
    }
    let finalizers = metadata["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let finalizers: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
    if finalizers.is_empty() {
        "it is being deleted".to_owned()
    } else {
        format!("it is being deleted, held by {}", finalizers.join(", "))
    }
}

/// One object and what is waited for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub resource: Arc<Resource>,
    /// `None` for cluster-scoped kinds.
    pub namespace: Option<String>,
    pub name: String,
    pub goal: Goal,
}

/// Pods and events are read for an explanation once a wait takes this long: most are over before, and each costs requests.
const LOOK_CLOSER: Duration = Duration::from_secs(2);

/// How to wait.
#[derive(Clone, Copy, Debug)]
pub struct WaitOptions {
    pub timeout: Duration,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(300) }
    }
}

/// Waits until every goal is met, all at once; the objects in the order given, `Null` for those that are gone.
///
/// # Errors
/// `Timeout` with the last reason, `Terminal` with the cause that will not heal; both name the object.
pub async fn wait(
    cluster: &Cluster,
    wanted: Vec<Wanted>,
    options: &WaitOptions,
) -> Result<Vec<Value>, Error> {
    // Objects of one kind and namespace share a list and a watch.
    let mut groups: BTreeMap<_, Vec<(usize, Wanted)>> = BTreeMap::new();
    for (at, wanted) in wanted.into_iter().enumerate() {
        let key = (wanted.resource.clone(), wanted.namespace.clone());
        groups.entry(key).or_default().push((at, wanted));
    }
    let groups = groups.into_values().map(|group| wait_for_group(cluster, group, *options));
    let mut met: Vec<(usize, Value)> = try_join_all(groups).await?.into_iter().flatten().collect();
    met.sort_by_key(|(at, _)| *at);
    Ok(met.into_iter().map(|(_, object)| object).collect())
}

async fn wait_for_group(
    cluster: &Cluster,
    group: Vec<(usize, Wanted)>,
    options: WaitOptions,
) -> Result<Vec<(usize, Value)>, Error> {
    let Some((_, first)) = group.first() else { return Ok(Vec::new()) };
    let resource = first.resource.clone();
    let namespace = first.namespace.clone();
    let namespace = namespace.as_deref();
    let fields =
        if group.len() == 1 { format!("metadata.name={}", first.name) } else { String::new() };
    let mut met = Vec::new();
    let mut open = Vec::new();
    let mut listed = None;
    // A run that writes nothing has mostly seen already that all is as wanted.
    if let Some(objects) = cluster.snapshot_for_one(&resource).await? {
        let place = namespace.filter(|_| resource.namespaced).unwrap_or_default();
        let seen = |wanted: &Wanted| objects.get(&(place.to_owned(), wanted.name.clone()));
        if group.iter().all(|(_, wanted)| {
            wanted.goal.judge(seen(wanted).map(|object| &**object)) == Verdict::Met
        }) {
            let object = |wanted: &Wanted| seen(wanted).map(|object| (**object).clone());
            let met = |(at, wanted): &(usize, Wanted)| (*at, object(wanted).unwrap_or_default());
            return Ok(group.iter().map(met).collect());
        }
    }
    let mut watch = cluster.open_watch(&resource, namespace, &fields);
    if watch.is_none() {
        watch = watch_written(cluster, &group, &fields).await?;
    }
    if watch.is_none() {
        listed = Some(list_page_by_page(cluster, &resource, namespace, "", &fields).await?);
    }
    for (at, wanted) in group {
        let object = match (&watch, &listed) {
            (Some(watch), _) => watch.get(namespace, &wanted.name).map(|object| (*object).clone()),
            (None, Some(listed)) => find(listed, &wanted.name),
            (None, None) => None,
        };
        // What is so already needs neither watch nor word.
        if judge(cluster, &wanted, object.as_ref()) == Verdict::Met {
            met.push((at, object.unwrap_or_default()));
        } else {
            open.push((at, wanted));
        }
    }
    if open.is_empty() {
        return Ok(met);
    }
    let watch = match watch.take() {
        Some(watch) => watch,
        None => {
            let beginning = listed.map_or(Beginning::List, Beginning::Listed);
            cluster.watch(&resource, namespace, &fields, beginning).await?
        }
    };
    let waits = open.into_iter().map(|(at, wanted)| {
        let watch = watch.clone();
        async move {
            let object = wait_for_one(cluster, &wanted, &watch, options).await?;
            Ok::<_, Error>((at, object))
        }
    });
    met.extend(try_join_all(waits).await?);
    Ok(met)
}

/// The watch on objects that were all applied a moment ago and are not as wanted yet: it needs no list.
async fn watch_written(
    cluster: &Cluster,
    group: &[(usize, Wanted)],
    fields: &str,
) -> Result<Option<Arc<Watch>>, Error> {
    let Some((_, first)) = group.first() else { return Ok(None) };
    let mut objects = Vec::new();
    for (_, wanted) in group {
        let place =
            wanted.namespace.as_deref().filter(|_| wanted.resource.namespaced).unwrap_or_default();
        let Some(object) = cluster.written(&wanted.resource, place, &wanted.name) else {
            return Ok(None);
        };
        // What the write itself made so may be otherwise by now.
        let is_gone = matches!(wanted.goal, Goal::Deleted { .. });
        if is_gone || !matches!(wanted.goal.judge(Some(&object)), Verdict::NotYet(_)) {
            return Ok(None);
        }
        objects.push(object);
    }
    let namespace = first.namespace.as_deref();
    let beginning = Beginning::Objects(objects);
    cluster.watch(&first.resource, namespace, fields, beginning).await.map(Some)
}

/// As [`Goal::judge`], but what is older than this run's own last write says nothing yet: a watch shows a write later
/// than its answer.
fn judge(cluster: &Cluster, wanted: &Wanted, object: Option<&Value>) -> Verdict {
    match object {
        Some(object) if cluster.is_behind(&wanted.resource, object) => {
            Verdict::NotYet("the latest change is not visible yet".to_owned())
        }
        object => wanted.goal.judge(object),
    }
}

fn find(listed: &Listed, name: &str) -> Option<Value> {
    listed.items.iter().find(|item| item["metadata"]["name"] == name).cloned()
}

async fn wait_for_one(
    cluster: &Cluster,
    wanted: &Wanted,
    watch: &Watch,
    options: WaitOptions,
) -> Result<Value, Error> {
    let reference = wanted.resource.object(wanted.namespace.as_deref(), &wanted.name);
    let told = Told {
        cluster,
        what: format!("{reference} to {}", wanted.goal.name()),
        began: cluster.clock().monotonic(),
    };
    let denied = format!("`{reference}` {}", wanted.goal.denied());
    let mut changes = vec![watch.changes()];
    let mut explainer = Explainer::new();
    let mut fatal_since: Option<(Fatal, Duration)> = None;
    let mut reason = String::new();
    told.tell("");
    let deadline = cluster.clock().sleep(options.timeout);
    tokio::pin!(deadline);
    loop {
        if let Some(failure) = watch.failure() {
            return Err(Error::BadAnswer {
                action: format!("watch {}", wanted.resource.qualified()),
                reason: failure.to_string(),
            });
        }
        let object = watch.get(wanted.namespace.as_deref(), &wanted.name);
        let why = match judge(cluster, wanted, object.as_deref()) {
            Verdict::Met => return Ok(object.map(|object| (*object).clone()).unwrap_or_default()),
            Verdict::Never(why) => {
                return Err(Error::Terminal { what: denied, reason: why, hint: None });
            }
            Verdict::NotYet(why) => why,
        };
        let mut explanation = Explanation::default();
        let waited = cluster.clock().monotonic().saturating_sub(told.began);
        let looks_closer = waited >= LOOK_CLOSER;
        if let Some(object) = &object
            && wanted.goal.is_about_pods()
            && looks_closer
        {
            let before = explainer.watches().count();
            explainer.follow(cluster, &wanted.resource, object).await;
            if before == 0 {
                changes.extend(explainer.watches().map(|watch| watch.changes()));
            }
            explanation = explainer.explain(cluster, &wanted.resource, object).await;
        }
        let all =
            if explanation.text.is_empty() { why } else { format!("{why}; {}", explanation.text) };
        if all != reason {
            reason = all;
            told.tell(&reason);
        }
        let now = cluster.clock().monotonic();
        fatal_since = match (explanation.fatal, fatal_since) {
            (Some(fatal), Some((old, since)))
                if fatal.grace > Duration::ZERO && old.grace > Duration::ZERO =>
            {
                Some((fatal, since))
            }
            (Some(fatal), _) => Some((fatal, now)),
            (None, _) => None,
        };
        let patience = fatal_since
            .as_ref()
            .map(|(fatal, since)| fatal.grace.saturating_sub(now.saturating_sub(*since)));
        if let Some((fatal, _)) = &fatal_since
            && patience == Some(Duration::ZERO)
        {
            return Err(Error::Terminal {
                what: denied,
                reason: reason.clone(),
                hint: fatal.hint.clone(),
            });
        }
        tokio::select! {
            biased;
            () = any_change(&mut changes) => {}
            () = sleep_for(cluster, patience) => {}
            () = cluster.clock().pause(LOOK_CLOSER.saturating_sub(waited)), if !looks_closer => {}
            () = &mut deadline => {
                if let Some(object) = &object
                    && let Some(line) = explainer.last_line(cluster, &wanted.resource, object).await
                {
                    reason = format!("{reason}; {line}");
                }
                return Err(Error::Timeout { what: denied, reason, limit: options.timeout });
            }
        }
    }
}

async fn any_change(changes: &mut [Receiver<u64>]) {
    let waits = changes.iter_mut().map(|change| {
        Box::pin(async move {
            if change.changed().await.is_err() {
                // The sender is gone with its watch, which this wait holds: this cannot happen while it waits.
                std::future::pending::<()>().await;
            }
        })
    });
    select_all(waits).await;
}

async fn sleep_for(cluster: &Cluster, span: Option<Duration>) {
    match span {
        Some(span) => cluster.clock().sleep(span).await,
        None => std::future::pending().await,
    }
}

/// Tells the progress of one wait, its end included.
struct Told<'a> {
    cluster: &'a Cluster,
    what: String,
    began: Duration,
}

impl Told<'_> {
    fn tell(&self, reason: &str) {
        self.cluster.progress().waiting(&Waiting {
            what: self.what.clone(),
            reason: reason.to_owned(),
            since: self.cluster.clock().monotonic().saturating_sub(self.began),
        });
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.cluster.progress().waited(&self.what);
    }
}
