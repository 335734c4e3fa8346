//! Why something is not ready: the pods behind it, what their containers wait for, the latest warning, the last log line.
//!
//! Pods and events are watched, once per namespace for all waits. What cannot heal is told apart from what only takes
//! longer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::cluster::Cluster;
use super::events;
use super::logs;
use super::read::list_page_by_page;
use super::readiness::condition;
use super::resource::Resource;
use super::watch::{Beginning, Watch};

/// How long an image may fail to come without saying that it does not exist.
const IMAGE_GRACE: Duration = Duration::from_secs(30);
/// How long a failure that was there before the wait began may last: the change that heals it may just have been made.
const OLD_FAILURE_GRACE: Duration = Duration::from_secs(5);

/// Why an object is not ready.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Explanation {
    /// Empty while nothing is known.
    pub(super) text: String,
    pub(super) fatal: Option<Fatal>,
}

/// A cause that will not go away by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fatal {
    pub(super) reason: String,
    pub(super) hint: Option<String>,
    /// Give up after it has lasted this long.
    pub(super) grace: Duration,
}

/// Explains one object while it is waited for.
pub(super) struct Explainer {
    pods: Option<Arc<Watch>>,
    events: Option<Arc<Watch>>,
    /// Resource versions of the events that were there before.
    old_events: BTreeMap<String, String>,
    /// The last line of containers that ended, by pod uid, container and restarts.
    lines: BTreeMap<(String, String, i64), String>,
    /// The pod template hash of the newest ReplicaSet, by the Deployment's generation.
    newest: Option<(i64, Option<String>)>,
    asked: bool,
}

/// How the pods of an object are found.
enum Pods {
    /// All of these labels.
    Labels(BTreeMap<String, String>),
    /// The pod itself.
    Itself,
    /// It has none, but its events tell.
    None,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Cuts a long message at a word's distance from the limit.
fn cut(message: &str) -> String {
    const LIMIT: usize = 300;
    let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if message.chars().count() <= LIMIT {
        return message;
    }
    format!("{}…", message.chars().take(LIMIT - 1).collect::<String>())
}

impl Explainer {
    pub(super) fn new() -> Self {
        Self {
            pods: None,
            events: None,
            old_events: BTreeMap::new(),
            lines: BTreeMap::new(),
            newest: None,
            asked: false,
        }
    }

    /// Begins to follow pods and events for a kind that has them. Who may not read them just hears less.
    pub(super) async fn follow(&mut self, cluster: &Cluster, resource: &Resource, object: &Value) {
        if self.asked {
            return;
        }
        self.asked = true;
        let Some(pods) = pods_of(resource, object) else { return };
        let namespace = object["metadata"]["namespace"].as_str();
        if !matches!(pods, Pods::None)
            && let Ok(kind) = cluster.resource_of("v1", "Pod").await
        {
            self.pods = cluster.watch(&kind, namespace, "", Beginning::List).await.ok();
        }
        if let Ok(kind) = cluster.resource_of("v1", "Event").await {
            self.events = cluster.watch(&kind, namespace, "", Beginning::List).await.ok();
        }
        if let Some(events) = &self.events {
            let old = events.all().into_iter().map(|event| {
                let metadata = &event["metadata"];
                (text(metadata, "name").to_owned(), text(metadata, "resourceVersion").to_owned())
            });
            self.old_events = old.collect();
        }
    }

    /// What else to listen to for changes.
    pub(super) fn watches(&self) -> impl Iterator<Item = &Arc<Watch>> {
        self.pods.iter().chain(&self.events)
    }

    /// Why the object is not ready, as far as its pods and events tell.
    pub(super) async fn explain(
        &mut self,
        cluster: &Cluster,
        resource: &Resource,
        object: &Value,
    ) -> Explanation {
        if let Some(fatal) = replica_failure(object) {
            return Explanation { text: fatal.reason.clone(), fatal: Some(fatal) };
        }
        if let Some(fatal) = self.failed_create(object) {
            return Explanation { text: fatal.reason.clone(), fatal: Some(fatal) };
        }
        let mut pods = self.unready_pods(resource, object);
        if pods.is_empty() {
            return Explanation { text: self.warning_of(object), fatal: None };
        }
        // Pods of an older revision are on their way out, whatever ails them.
        if resource.kind == "Deployment" && pods.iter().any(|pod| trouble(pod).is_some()) {
            let newest = self.newest_hash(cluster, object).await;
            if let Some(newest) = newest {
                pods.retain(|pod| {
                    let hash = &pod["metadata"]["labels"]["pod-template-hash"];
                    hash.is_null() || *hash == newest.as_str()
                });
            }
        }
        pods.sort_by_key(|pod| (trouble(pod).is_none(), text(&pod["metadata"], "name").to_owned()));
        match pods.first() {
            Some(pod) => self.explain_pod(cluster, pod).await,
            None => Explanation::default(),
        }
    }

    /// The last line of the first container that is not ready, for the last word of a wait.
    pub(super) async fn last_line(
        &self,
        cluster: &Cluster,
        resource: &Resource,
        object: &Value,
    ) -> Option<String> {
        let pod = self.unready_pods(resource, object).into_iter().next()?;
        let statuses = array(&pod["status"]["containerStatuses"]);
        let status = statuses
            .iter()
            .find(|status| status["ready"] != true && status["state"]["running"].is_object())?;
        let container = text(status, "name");
        let line = logs::last_line(cluster, &pod["metadata"], container, false).await?;
        Some(format!("last log line: {}", cut(&line)))
    }

    fn unready_pods(&self, resource: &Resource, object: &Value) -> Vec<Arc<Value>> {
        let Some(watch) = &self.pods else { return Vec::new() };
        let metadata = &object["metadata"];
        let belongs: Box<dyn Fn(&Value) -> bool> = match pods_of(resource, object) {
            Some(Pods::Labels(labels)) if !labels.is_empty() => Box::new(move |pod: &Value| {
                let own = &pod["metadata"]["labels"];
                labels.iter().all(|(name, value)| own[name.as_str()] == value.as_str())
            }),
            Some(Pods::Itself) => {
                Box::new(|pod: &Value| pod["metadata"]["name"] == metadata["name"])
            }
            _ => return Vec::new(),
        };
        let revision = expected_revision(object);
        let mut pods: Vec<Arc<Value>> = watch.all();
        pods.retain(|pod| {
            let labels = &pod["metadata"]["labels"];
            pod["metadata"]["namespace"] == metadata["namespace"]
                && belongs(pod)
                && pod["metadata"]["deletionTimestamp"].is_null()
                && !matches!(text(&pod["status"], "phase"), "Succeeded")
                && condition(&pod["status"]["conditions"], "Ready")
                    .is_none_or(|ready| ready["status"] != "True")
                && revision.as_ref().is_none_or(|(label, value)| {
                    labels[label].is_null() || labels[label] == value.as_str()
                })
        });
        pods
    }

    async fn explain_pod(&mut self, cluster: &Cluster, pod: &Value) -> Explanation {
        let metadata = &pod["metadata"];
        let name = text(metadata, "name");
        let warning = self.latest_warning(|about| about["uid"] == metadata["uid"]);
        let Some(trouble) = trouble(pod) else {
            let status = &pod["status"];
            let detail = match condition(&status["conditions"], "PodScheduled") {
                Some(scheduled) if scheduled["status"] == "False" => {
                    format!("not scheduled: {}", text(scheduled, "message"))
                }
                _ if !warning.is_empty() => warning,
                _ => starting(pod),
            };
            return Explanation { text: format!("pod {name}: {}", cut(&detail)), fatal: None };
        };
        let container = trouble.container.as_str();
        let mut detail = format!("pod {name}, container {container}: {}", trouble.reason);
        if !trouble.message.is_empty() {
            detail.push_str(&format!(" ({})", cut(&trouble.message)));
        }
        let told = format!("{} {warning}", trouble.message);
        let hint;
        let grace;
        match trouble.reason.as_str() {
            "InvalidImageName" | "ErrImageNeverPull" => {
                grace = Some(Duration::ZERO);
                hint = format!("correct the image `{}`", trouble.image);
            }
            "ErrImagePull" | "ImagePullBackOff" => {
                grace = if is_missing_image(&told) {
                    Some(Duration::ZERO)
                } else {
                    (trouble.reason == "ImagePullBackOff").then_some(IMAGE_GRACE)
                };
                hint = format!(
                    "check registry, name and tag of the image `{}`, and the pull secret if it is private",
                    trouble.image
                );
                if !warning.is_empty() && !trouble.message.contains("rror") {
                    detail.push_str(&format!("; event {}", cut(&warning)));
                }
            }
            "CrashLoopBackOff" => {
                grace = Some(Duration::ZERO);
                hint = "its log tells more: `k8s::logs`, with the option `previous`".to_owned();
                let line = self.line_of(cluster, pod, container, trouble.restarts).await;
                if !line.is_empty() {
                    detail.push_str(&format!("; last log line: {}", cut(&line)));
                }
            }
            _ => {
                grace = None;
                hint = String::new();
                if !warning.is_empty() && !detail.contains(&warning) {
                    detail.push_str(&format!("; event {}", cut(&warning)));
                }
            }
        }
        let hint = Some(hint).filter(|hint| !hint.is_empty());
        let fatal = grace.map(|grace| Fatal { reason: detail.clone(), hint, grace });
        Explanation { text: detail, fatal }
    }

    async fn line_of(
        &mut self,
        cluster: &Cluster,
        pod: &Value,
        container: &str,
        restarts: i64,
    ) -> String {
        let metadata = &pod["metadata"];
        let key = (text(metadata, "uid").to_owned(), container.to_owned(), restarts);
        if let Some(line) = self.lines.get(&key) {
            return line.clone();
        }
        let line = logs::last_line(cluster, metadata, container, restarts > 0).await;
        let line = line.unwrap_or_default();
        self.lines.insert(key, line.clone());
        line
    }

    /// The newest warning about something, `FailedMount: …`; empty if there is none.
    fn latest_warning(&self, is_about: impl Fn(&Value) -> bool) -> String {
        let Some(events) = &self.events else { return String::new() };
        let newest = events
            .all()
            .into_iter()
            .filter(|event| event["type"] == "Warning" && is_about(&event["involvedObject"]))
            .max_by_key(|event| events::time(event));
        newest
            .map(|event| format!("{}: {}", text(&event, "reason"), text(&event, "message")))
            .unwrap_or_default()
    }

    /// The newest warning about the object itself.
    fn warning_of(&self, object: &Value) -> String {
        let metadata = &object["metadata"];
        let warning = self.latest_warning(|about| {
            about["uid"] == metadata["uid"] && about["kind"] == object["kind"]
        });
        cut(&warning)
    }

    /// A pod that was refused since the wait began, by an event on the object or on its ReplicaSet.
    fn failed_create(&self, object: &Value) -> Option<Fatal> {
        let events = self.events.as_ref()?;
        let name = text(&object["metadata"], "name");
        events.all().into_iter().find_map(|event| {
            let metadata = &event["metadata"];
            let old = self.old_events.get(text(metadata, "name"));
            if old.is_some_and(|version| version == text(metadata, "resourceVersion")) {
                return None;
            }
            let about = &event["involvedObject"];
            let is_own = about["kind"] == object["kind"] && about["name"] == name;
            let is_set = object["kind"] == "Deployment"
                && about["kind"] == "ReplicaSet"
                && text(about, "name").rsplit_once('-').is_some_and(|(owner, _)| owner == name);
            let message = text(&event, "message");
            let is_refusal = event["reason"] == "FailedCreate" && is_refused_for_good(message);
            ((is_own || is_set) && is_refusal).then(|| refused(message, Duration::ZERO))
        })
    }

    /// The pod template hash of the Deployment's newest ReplicaSet.
    async fn newest_hash(&mut self, cluster: &Cluster, deployment: &Value) -> Option<String> {
        let generation = deployment["metadata"]["generation"].as_i64().unwrap_or(0);
        if let Some((seen, hash)) = &self.newest
            && *seen == generation
            && hash.is_some()
        {
            return hash.clone();
        }
        let sets = cluster.resource_of("apps/v1", "ReplicaSet").await.ok()?;
        let namespace = deployment["metadata"]["namespace"].as_str();
        let listed = list_page_by_page(cluster, &sets, namespace, "", "").await.ok()?;
        let revision = |set: &Value| {
            set["metadata"]["annotations"]["deployment.kubernetes.io/revision"]
                .as_str()
                .and_then(|revision| revision.parse::<u64>().ok())
                .unwrap_or(0)
        };
        let uid = &deployment["metadata"]["uid"];
        let newest = listed
            .items
            .iter()
            .filter(|set| {
                array(&set["metadata"]["ownerReferences"]).iter().any(|owner| owner["uid"] == *uid)
            })
            .max_by_key(|set| revision(set));
        let hash = newest
            .and_then(|set| set["metadata"]["labels"]["pod-template-hash"].as_str())
            .map(str::to_owned);
        self.newest = Some((generation, hash.clone()));
        hash
    }
}

/// How to find the pods of an object; `None` for kinds whose conditions say all there is to say.
fn pods_of(resource: &Resource, object: &Value) -> Option<Pods> {
    let labels = |value: &Value| {
        let labels = value.as_object().into_iter().flatten();
        Pods::Labels(
            labels
                .filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())))
                .collect(),
        )
    };
    match (resource.group.as_str(), resource.kind.as_str()) {
        ("apps", "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet") | ("batch", "Job") => {
            Some(labels(&object["spec"]["selector"]["matchLabels"]))
        }
        ("", "Pod") => Some(Pods::Itself),
        ("gateway.networking.k8s.io", "Gateway") => {
            let name = text(&object["metadata"], "name").to_owned();
            let label = "gateway.networking.k8s.io/gateway-name".to_owned();
            Some(Pods::Labels(BTreeMap::from([(label, name)])))
        }
        ("", "Service" | "PersistentVolumeClaim") => Some(Pods::None),
        _ => None,
    }
}

/// The label that pods of the current revision carry, where the object names it.
fn expected_revision(object: &Value) -> Option<(&'static str, String)> {
    match object["kind"].as_str()? {
        "StatefulSet" => {
            let revision = object["status"]["updateRevision"].as_str()?;
            Some(("controller-revision-hash", revision.to_owned()))
        }
        "DaemonSet" => {
            let annotations = &object["metadata"]["annotations"];
            let generation = annotations["deprecated.daemonset.template.generation"].as_str()?;
            Some(("pod-template-generation", generation.to_owned()))
        }
        _ => None,
    }
}

/// A container that does not run.
struct Trouble {
    container: String,
    image: String,
    reason: String,
    message: String,
    restarts: i64,
}

/// The first container that waits for more than its turn, or that ended badly.
fn trouble(pod: &Value) -> Option<Trouble> {
    let status = &pod["status"];
    let statuses =
        array(&status["initContainerStatuses"]).iter().chain(array(&status["containerStatuses"]));
    statuses.into_iter().find_map(|status| {
        let of = |reason: &str, message: &str| Trouble {
            container: text(status, "name").to_owned(),
            image: text(status, "image").to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            restarts: status["restartCount"].as_i64().unwrap_or(0),
        };
        let (waiting, ended) = (&status["state"]["waiting"], &status["state"]["terminated"]);
        let reason = text(waiting, "reason");
        if !matches!(reason, "" | "ContainerCreating" | "PodInitializing") {
            return Some(of(reason, text(waiting, "message")));
        }
        let code = ended["exitCode"].as_i64().unwrap_or(0);
        (code != 0).then(|| of(&format!("ended with code {code}"), text(ended, "message")))
    })
}

/// What a pod without trouble is doing.
fn starting(pod: &Value) -> String {
    let statuses = array(&pod["status"]["containerStatuses"]);
    let running = statuses
        .iter()
        .find(|status| status["state"]["running"].is_object() && status["ready"] != true);
    if let Some(status) = running {
        return format!("container {} runs but is not ready yet", text(status, "name"));
    }
    let waiting = statuses
        .iter()
        .map(|status| text(&status["state"]["waiting"], "reason"))
        .find(|reason| !reason.is_empty());
    waiting
        .unwrap_or(match text(&pod["status"], "phase") {
            "" => "Pending",
            phase => phase,
        })
        .to_owned()
}

/// The registry's words for an image that is not there, or not for us.
fn is_missing_image(message: &str) -> bool {
    const SIGNS: &[&str] = &[
        "not found",
        "manifest unknown",
        "does not exist",
        "name unknown",
        "pull access denied",
        "authentication required",
        "unauthorized",
        "403 Forbidden",
        "invalid reference format",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

/// A pod that admission refuses, and will refuse again.
fn is_refused_for_good(message: &str) -> bool {
    const SIGNS: &[&str] = &[
        "exceeded quota",
        "violates PodSecurity",
        "denied the request",
        "denied request",
        "usage per ",
    ];
    SIGNS.iter().any(|sign| message.contains(sign))
}

fn refused(message: &str, grace: Duration) -> Fatal {
    let hint = if message.contains("exceeded quota") {
        "raise the ResourceQuota of the namespace, or ask for less"
    } else if message.contains("violates PodSecurity") {
        "change the pod to meet the policy, or the namespace's label `pod-security.kubernetes.io/enforce`"
    } else if message.contains("usage per ") {
        "stay within the LimitRange of the namespace"
    } else {
        "the admission webhook or policy named above decides: change the pod to meet it"
    };
    Fatal { reason: format!("FailedCreate: {}", cut(message)), hint: Some(hint.to_owned()), grace }
}

/// A Deployment whose pods are refused says so in a condition, which may be older than what heals it.
fn replica_failure(object: &Value) -> Option<Fatal> {
    let failure = condition(&object["status"]["conditions"], "ReplicaFailure")?;
    let message = text(failure, "message");
    (failure["status"] == "True" && is_refused_for_good(message))
        .then(|| refused(message, OLD_FAILURE_GRACE))
}
