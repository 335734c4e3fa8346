//! Deployment → ReplicaSets: rollout, rollback by template, scaling, history, conditions.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::kinds::{DEPLOYMENTS, REPLICA_SETS};
use super::{MANAGER, object, pod_set};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};

const COMPONENT: &str = "deployment-controller";
const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The deployment controller.
pub(super) struct Deployments;

impl Controller for Deployments {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "deployments" => vec![object::key(&change.object)],
            "replicasets" => {
                object::controller_key(&change.object, "Deployment").into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(deployment) = api.get(&DEPLOYMENTS, namespace, name) else {
            return Ok(Requeue::OnChange);
        };
        if object::is_deleting(&deployment) {
            return Ok(Requeue::OnChange);
        }
        let sets: Vec<_> = api
            .list(&REPLICA_SETS, namespace)
            .into_iter()
            .filter(|set| object::is_controlled_by(set, &deployment))
            .collect();
        let rollout = Rollout { api, deployment: &deployment, sets };
        rollout.sync()
    }
}

struct Rollout<'a> {
    api: &'a dyn Api,
    deployment: &'a Value,
    sets: Vec<Arc<Value>>,
}

fn count(object: &Value, field: &str) -> i64 {
    object["status"][field].as_i64().unwrap_or(0)
}

fn replicas(object: &Value) -> i64 {
    object["spec"]["replicas"].as_i64().unwrap_or(1)
}

fn revision(object: &Value) -> i64 {
    object::annotation(object, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A template without the label that the controller adds.
fn plain_template(template: &Value) -> Value {
    let mut template = template.clone();
    if let Some(labels) = template["metadata"]["labels"].as_object_mut() {
        labels.remove(HASH);
    }
    if let Some(metadata) = template["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
    }
    template
}

impl Rollout<'_> {
    fn sync(&self) -> Result<Requeue, Status> {
        let current = self.current();
        if self.deployment["spec"]["paused"] == true && current.is_none() {
            return self.write_status(None);
        }
        let Some(current) = current else {
            self.create_current()?;
            return Ok(Requeue::OnChange);
        };
        self.keep_revision(&current)?;
        if self.scale_all(&current)? {
            return self.write_status(Some(&current));
        }
        if self.deployment["spec"]["paused"] != true {
            if self.deployment["spec"]["strategy"]["type"] == "Recreate" {
                self.recreate(&current)?;
            } else {
                self.roll(&current)?;
            }
        }
        self.forget_history(&current)?;
        self.write_status(Some(&current))
    }

    /// The replica set of the present template: the oldest one that has it.
    fn current(&self) -> Option<Arc<Value>> {
        let wanted = plain_template(&self.deployment["spec"]["template"]);
        self.sets
            .iter()
            .filter(|set| plain_template(&set["spec"]["template"]) == wanted)
            .min_by_key(|set| set["metadata"]["creationTimestamp"].as_str().map(str::to_owned))
            .cloned()
    }

    fn wanted(&self) -> i64 {
        replicas(self.deployment)
    }

    /// (maxSurge, maxUnavailable); both zero would never move.
    fn limits(&self) -> (i64, i64) {
        if self.deployment["spec"]["strategy"]["type"] == "Recreate" {
            return (0, 0);
        }
        let rolling = &self.deployment["spec"]["strategy"]["rollingUpdate"];
        let surge = object::scaled(&rolling["maxSurge"], self.wanted(), true, "25%");
        let unavailable = object::scaled(&rolling["maxUnavailable"], self.wanted(), false, "25%");
        (surge, if surge == 0 && unavailable == 0 { 1 } else { unavailable })
    }

    fn others<'s>(&'s self, current: &'s Value) -> impl Iterator<Item = &'s Arc<Value>> {
        self.sets.iter().filter(move |set| object::uid(set) != object::uid(current))
    }

    fn create_current(&self) -> Result<(), Status> {
        let template = plain_template(&self.deployment["spec"]["template"]);
        let hash = object::short_hash(&template);
        let mut labelled = template;
        labelled["metadata"]["labels"][HASH] = json!(hash);
        let mut selector = self.deployment["spec"]["selector"].clone();
        selector["matchLabels"][HASH] = json!(hash);
        let total: i64 = self.sets.iter().map(|set| replicas(set)).sum();
        let (surge, _) = self.limits();
        let first = if self.sets.is_empty() {
            self.wanted()
        } else if self.deployment["spec"]["strategy"]["type"] == "Recreate" {
            0
        } else {
            (self.wanted() + surge - total).clamp(0, self.wanted())
        };
        let next = self.sets.iter().map(|set| revision(set)).max().unwrap_or(0) + 1;
        let mut annotations = self.set_annotations(next);
        if let Some(own) = self.deployment["metadata"]["annotations"].as_object() {
            for (key, value) in own {
                if key != REVISION && key != "kubectl.kubernetes.io/last-applied-configuration" {
                    annotations[key] = value.clone();
                }
            }
        }
        let mut spec = json!({ "replicas": first, "selector": selector, "template": labelled });
        if let Some(seconds) =
            self.deployment["spec"]["minReadySeconds"].as_i64().filter(|seconds| *seconds > 0)
        {
            spec["minReadySeconds"] = json!(seconds);
        }
        let name = format!("{}-{hash}", object::name(self.deployment));
        let set = json!({
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": object::namespace(self.deployment),
                "labels": labelled["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [object::controller_reference(self.deployment)],
            },
            "spec": spec,
        });
        match self.api.create(MANAGER, set) {
            Ok(created) => {
                self.write_revision(next)?;
                if first > 0 {
                    self.event(&format!("Scaled up replica set {name} from 0 to {first}"));
                }
                let progress = object::Condition::new(
                    "Progressing",
                    true,
                    "NewReplicaSetCreated",
                    format!("Created new replica set \"{name}\""),
                );
                let fresh =
                    Self { sets: [self.sets.clone(), vec![created.clone()]].concat(), ..*self };
                fresh.write_status_with(Some(&created), Some(progress)).map(drop)
            }
            Err(status) if status.reason == "AlreadyExists" => Ok(()),
            Err(status) => {
                let message =
                    format!("Failed to create new replica set \"{name}\": {}", status.message);
                self.api.event(
                    COMPONENT,
                    self.deployment,
                    "Warning",
                    "ReplicaSetCreateError",
                    &message,
                );
                Err(status)
            }
        }
    }

    fn set_annotations(&self, revision: i64) -> Value {
        let (surge, _) = self.limits();
        json!({
            "deployment.kubernetes.io/desired-replicas": self.wanted().to_string(),
            "deployment.kubernetes.io/max-replicas": (self.wanted() + surge).to_string(),
            REVISION: revision.to_string(),
        })
    }

    /// A template that came back (rollback) takes the newest revision.
    fn keep_revision(&self, current: &Value) -> Result<(), Status> {
        let newest = self.others(current).map(|set| revision(set)).max().unwrap_or(0);
        let own = revision(current);
        let wanted = if own <= newest { newest + 1 } else { own };
        if own != wanted {
            let patch = json!({ "metadata": { "annotations": { REVISION: wanted.to_string() } } });
            self.patch_set(current, patch)?;
        }
        if revision(self.deployment) != wanted {
            self.write_revision(wanted)?;
        }
        Ok(())
    }

    fn write_revision(&self, revision: i64) -> Result<(), Status> {
        let patch = json!({ "metadata": { "annotations": { REVISION: revision.to_string() } } });
        let (namespace, name) = object::key(self.deployment);
        self.api.merge_patch(MANAGER, &DEPLOYMENTS, &namespace, &name, "", patch).map(drop)
    }

    fn patch_set(&self, set: &Value, patch: Value) -> Result<(), Status> {
        let (namespace, name) = object::key(set);
        self.api.merge_patch(MANAGER, &REPLICA_SETS, &namespace, &name, "", patch).map(drop)
    }

    fn scale(&self, set: &Value, to: i64) -> Result<(), Status> {
        let from = replicas(set);
        if from == to {
            return Ok(());
        }
        let mut annotations = self.set_annotations(0);
        annotations[REVISION] = set["metadata"]["annotations"][REVISION].clone();
        self.patch_set(
            set,
            json!({ "spec": { "replicas": to }, "metadata": { "annotations": annotations } }),
        )?;
        let direction = if to > from { "up" } else { "down" };
        let name = object::name(set);
        self.event(&format!("Scaled {direction} replica set {name} from {from} to {to}"));
        Ok(())
    }

    fn event(&self, message: &str) {
        self.api.event(COMPONENT, self.deployment, "Normal", "ScalingReplicaSet", message);
    }

    /// `kubectl scale` on a finished rollout changes the only set with pods.
    fn scale_all(&self, current: &Value) -> Result<bool, Status> {
        let desired = object::annotation(current, "deployment.kubernetes.io/desired-replicas");
        let others_empty = self.others(current).all(|set| replicas(set) == 0);
        let was = desired.and_then(|text| text.parse::<i64>().ok());
        if others_empty && was != Some(self.wanted()) {
            self.scale(current, self.wanted())?;
            return Ok(true);
        }
        Ok(false)
    }

    fn recreate(&self, current: &Value) -> Result<(), Status> {
        for set in self.others(current) {
            self.scale(set, 0)?;
        }
        let left = self.others(current).any(|set| {
            count(set, "replicas") > 0
                || pod_set::owned_pods(self.api, set).iter().any(|pod| !pod["status"].is_null())
        });
        if left { Ok(()) } else { self.scale(current, self.wanted()) }
    }

    fn roll(&self, current: &Value) -> Result<(), Status> {
        let (surge, unavailable) = self.limits();
        let total: i64 = self.sets.iter().map(|set| replicas(set)).sum();
        let own = replicas(current);
        if own > self.wanted() {
            return self.scale(current, self.wanted());
        }
        let room = self.wanted() + surge - total;
        if own < self.wanted() && room > 0 {
            return self.scale(current, (own + room).min(self.wanted()));
        }
        let old: i64 = self.others(current).map(|set| replicas(set)).sum();
        if old == 0 {
            return Ok(());
        }
        let min_available = self.wanted() - unavailable;
        let new_unavailable = own - count(current, "availableReplicas");
        let mut may_go = total - min_available - new_unavailable;
        if may_go <= 0 {
            return Ok(());
        }
        let mut by_age: Vec<_> = self.others(current).filter(|set| replicas(set) > 0).collect();
        by_age.sort_by_key(|set| set["metadata"]["creationTimestamp"].as_str().map(str::to_owned));
        // Pods that never became available go first: they hold nobody up.
        for set in &by_age {
            let broken = (replicas(set) - count(set, "availableReplicas")).clamp(0, may_go);
            if broken > 0 {
                self.scale(set, replicas(set) - broken)?;
                return Ok(());
            }
        }
        let available: i64 = self.sets.iter().map(|set| count(set, "availableReplicas")).sum();
        may_go = may_go.min(available - min_available);
        for set in by_age {
            let step = replicas(set).min(may_go);
            if step > 0 {
                self.scale(set, replicas(set) - step)?;
                may_go -= step;
            }
        }
        Ok(())
    }

    fn forget_history(&self, current: &Value) -> Result<(), Status> {
        let limit = self.deployment["spec"]["revisionHistoryLimit"].as_u64().unwrap_or(10);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut empty: Vec<_> = self
            .others(current)
            .filter(|set| replicas(set) == 0 && count(set, "replicas") == 0)
            .collect();
        empty.sort_by_key(|set| revision(set));
        let excess = empty.len().saturating_sub(limit);
        for set in empty.into_iter().take(excess) {
            let (namespace, name) = object::key(set);
            self.api.delete(&REPLICA_SETS, &namespace, &name, "Background")?;
        }
        Ok(())
    }

    fn write_status(&self, current: Option<&Value>) -> Result<Requeue, Status> {
        self.write_status_with(current, None)
    }

    fn write_status_with(
        &self,
        current: Option<&Value>,
        progress: Option<object::Condition>,
    ) -> Result<Requeue, Status> {
        let (namespace, name) = object::key(self.deployment);
        let Some(fresh) = self.api.get(&DEPLOYMENTS, &namespace, &name) else {
            return Ok(Requeue::OnChange);
        };
        let sum = |field: &str| self.sets.iter().map(|set| count(set, field)).sum::<i64>();
        let (total, available) = (sum("replicas"), sum("availableReplicas"));
        let asked: i64 = self.sets.iter().map(|set| replicas(set)).sum();
        let updated = current.map_or(0, |set| count(set, "replicas"));
        let mut status = json!({ "observedGeneration": object::generation(&fresh) });
        let fields = [
            ("replicas", total),
            ("updatedReplicas", updated),
            ("readyReplicas", sum("readyReplicas")),
            ("availableReplicas", available),
            ("unavailableReplicas", (asked - available).max(0)),
        ];
        for (field, number) in fields.into_iter().filter(|(_, number)| *number > 0) {
            status[field] = json!(number);
        }
        status["terminatingReplicas"] = json!(sum("terminatingReplicas"));
        let mut conditions = object::items(&fresh["status"], "conditions").to_vec();
        let now = object::now(self.api);
        let (_, unavailable) = self.limits();
        let enough = available >= self.wanted() - unavailable;
        let minimum = if enough {
            ("MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        set_condition(
            &mut conditions,
            &object::Condition::new("Available", enough, minimum.0, minimum.1),
            &now,
            false,
        );
        let complete =
            updated == self.wanted() && total == self.wanted() && available == self.wanted();
        let requeue =
            self.progress(&fresh, current, &mut conditions, progress, complete, &status, &now);
        status["conditions"] = Value::Array(conditions);
        object::put_status(self.api, MANAGER, &fresh, status)?;
        Ok(requeue)
    }

    #[expect(clippy::too_many_arguments, reason = "one step of the status, split off for length")]
    fn progress(
        &self,
        fresh: &Value,
        current: Option<&Value>,
        conditions: &mut Vec<Value>,
        given: Option<object::Condition>,
        complete: bool,
        status: &Value,
        now: &str,
    ) -> Requeue {
        let name = current.map(object::name).unwrap_or_default();
        let old = object::condition(fresh, "Progressing");
        if let Some(given) = given {
            set_condition(conditions, &given, now, true);
        } else if complete {
            let text = format!("ReplicaSet \"{name}\" has successfully progressed.");
            let done = object::Condition::new("Progressing", true, "NewReplicaSetAvailable", text);
            set_condition(conditions, &done, now, false);
            return Requeue::OnChange;
        } else {
            let grew = |field: &str| {
                status[field].as_i64().unwrap_or(0) > fresh["status"][field].as_i64().unwrap_or(0)
            };
            let moved =
                ["updatedReplicas", "readyReplicas", "availableReplicas"].into_iter().any(grew)
                    || status["replicas"].as_i64().unwrap_or(0) < count(fresh, "replicas");
            let was_done = old.is_some_and(|old| old["reason"] == "NewReplicaSetAvailable");
            if moved
                || (was_done && current.is_some_and(|set| count(set, "replicas") < self.wanted()))
            {
                let text = format!("ReplicaSet \"{name}\" is progressing.");
                let going = object::Condition::new("Progressing", true, "ReplicaSetUpdated", text);
                set_condition(conditions, &going, now, true);
            }
        }
        self.deadline(conditions, name, now)
    }

    /// `progressDeadlineSeconds` counts from the last sign of progress.
    fn deadline(&self, conditions: &mut Vec<Value>, name: &str, now: &str) -> Requeue {
        let seconds = self.deployment["spec"]["progressDeadlineSeconds"].as_u64().unwrap_or(600);
        let Some(progress) = conditions.iter().find(|found| found["type"] == "Progressing") else {
            return Requeue::OnChange;
        };
        let settled = ["ProgressDeadlineExceeded", "NewReplicaSetAvailable"];
        if settled.iter().any(|reason| progress["reason"] == *reason) {
            return Requeue::OnChange;
        }
        let limit = Duration::from_secs(seconds);
        let spent = object::age(self.api, &progress["lastUpdateTime"]);
        if spent < limit {
            return Requeue::After(limit - spent);
        }
        let text = format!("ReplicaSet \"{name}\" has timed out progressing.");
        let late = object::Condition::new("Progressing", false, "ProgressDeadlineExceeded", text);
        set_condition(conditions, &late, now, true);
        Requeue::OnChange
    }
}

/// Conditions of Deployments carry `lastUpdateTime` too; `touch` moves it even when only progress was made.
fn set_condition(list: &mut Vec<Value>, condition: &object::Condition, now: &str, touch: bool) {
    let old = list.iter().position(|found| found["type"] == condition.kind);
    if let Some(old) = old {
        let found = &list[old];
        let same = found["status"] == condition.status && found["reason"] == condition.reason;
        if same && !touch {
            return;
        }
    }
    object::set_condition(list, condition, None, now);
    if let Some(entry) = list.iter_mut().find(|found| found["type"] == condition.kind) {
        entry["lastUpdateTime"] = json!(now);
    }
}
