//! DELETE: preconditions, propagation, grace, finalizers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::write::is_finished;
use crate::sandbox::api::Status;
use crate::sandbox::api_server::extensions::Write;
use crate::sandbox::api_server::kinds::{Kind, metadata_text};
use crate::sandbox::api_server::{ApiServer, Request, admission, normalise, status, time_text};
use crate::sandbox::store::ObjectKey;

/// `DeleteOptions`.
#[derive(Clone, Debug, Default)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    /// `Background`, `Foreground`, `Orphan`; empty is the kind's own.
    pub(crate) propagation: String,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// What a deletion came to.
#[derive(Clone, Debug)]
pub(crate) enum Deleted {
    /// Gone at once: the last state.
    Gone(Arc<Value>),
    /// Marked; something has to finish first.
    Marked(Arc<Value>),
}

impl ApiServer {
    /// DELETE of one object.
    pub(crate) fn delete(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        options: &DeleteOptions,
        request: &mut Request,
    ) -> Result<Deleted, Status> {
        for _ in 0..100 {
            let Some(stored) = self.store.get(&kind.resource, namespace, name) else {
                return Err(status::not_found(&kind.group, &kind.plural, name));
            };
            let live = self.value_as(kind, &stored);
            check_preconditions(kind, name, &live, options)?;
            if kind.group.is_empty()
                && kind.plural == "namespaces"
                && matches!(name, "default" | "kube-system" | "kube-public")
            {
                let why = "this namespace may not be deleted";
                return Err(status::forbidden("", "namespaces", name, why));
            }
            let write = Write {
                kind,
                live: Some(&live),
                object: None,
                operation: "DELETE",
                subresource: "",
            };
            admission::validate(self, write, request)?;
            let marked = self.marked(kind, &live, options);
            if request.dry_run {
                return Ok(match is_finished(&marked) {
                    true => Deleted::Gone(live),
                    false => Deleted::Marked(Arc::new(marked)),
                });
            }
            let key: ObjectKey = (namespace.to_owned(), name.to_owned());
            if is_finished(&marked) {
                normalise::reserve(self, kind, Some(&live), None)?;
                // The last state is the stored one: a deletion at once marks nothing.
                let last = (*self.store.value(&stored)).clone();
                if self.store.remove(&kind.resource, &key, stored.revision, last).is_ok() {
                    self.after_write(kind, namespace, name);
                    return Ok(Deleted::Gone(live));
                }
            } else if marked == *live {
                return Ok(Deleted::Marked(live));
            } else {
                let marked = self.to_storage(kind, marked);
                if let Ok(stored) =
                    self.store.put(&kind.resource, key, Some(stored.revision), marked)
                {
                    let marked = self.value_as(kind, &stored);
                    self.after_write(kind, namespace, name);
                    return Ok(Deleted::Marked(marked));
                }
            }
        }
        Err(status::modified(&kind.group, &kind.plural, name))
    }

    /// The object with its deletion marked.
    fn marked(&self, kind: &Kind, live: &Value, options: &DeleteOptions) -> Value {
        let mut object = live.clone();
        let mut finalizers = deletion_finalizers(live, &options.propagation);
        let deleted_before = live["metadata"]["deletionTimestamp"].is_string();
        if kind.plural == "customresourcedefinitions" && !deleted_before {
            // Its objects go first.
            finalizers.push("customresourcecleanup.apiextensions.k8s.io".to_owned());
        }
        let metadata = &mut object["metadata"];
        if finalizers.is_empty() {
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.remove("finalizers");
            }
        } else {
            metadata["finalizers"] = json!(finalizers);
        }
        let grace = grace_period(kind, live, options);
        let before = metadata["deletionGracePeriodSeconds"].as_i64();
        let already = metadata["deletionTimestamp"].is_string();
        if !already || before.is_some_and(|before| grace < before) {
            let span = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
            let due = self.now().checked_add(span).unwrap_or_else(|_| self.now());
            metadata["deletionTimestamp"] = time_text(due).into();
            // A CRD's end is not graceful: its own strategy marks it, and says so in its status.
            let definition = kind.plural == "customresourcedefinitions";
            let own_way = definition || (kind.group.is_empty() && kind.plural == "namespaces");
            if !own_way {
                metadata["deletionGracePeriodSeconds"] = grace.into();
            }
            if !already
                && !definition
                && let Some(generation) = metadata["generation"].as_i64()
            {
                metadata["generation"] = (generation + 1).into();
            }
            if definition && !already {
                let conditions = object["status"]["conditions"].as_array().cloned();
                let mut conditions = conditions.unwrap_or_default();
                conditions.push(json!({
                    "type": "Terminating",
                    "status": "True",
                    "lastTransitionTime": self.now_text(),
                    "reason": "InstanceDeletionPending",
                    "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
                }));
                object["status"]["conditions"] = conditions.into();
            }
        }
        if kind.group.is_empty() && kind.plural == "namespaces" {
            object["status"]["phase"] = "Terminating".into();
        }
        object
    }
}

fn check_preconditions(
    kind: &Kind,
    name: &str,
    live: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    for (what, given, field, fate) in [
        ("UID", &options.uid, "uid", "deleted and then recreated"),
        ("ResourceVersion", &options.resource_version, "resourceVersion", "modified"),
    ] {
        let stored = metadata_text(live, field);
        if let Some(given) = given
            && given != stored
        {
            let why = format!(
                "the {what} in the precondition ({given}) does not match the {what} in record ({stored}). The object might have been {fate}"
            );
            return Err(status::conflict(&kind.group, &kind.kind, name, &why));
        }
    }
    Ok(())
}

/// Finalizers after the choice of propagation: each choice sets its own and drops the other's.
fn deletion_finalizers(live: &Value, propagation: &str) -> Vec<String> {
    let wanted = match propagation {
        "Foreground" => Some("foregroundDeletion"),
        "Orphan" => Some("orphan"),
        "Background" => None,
        _ => return texts(&live["metadata"]["finalizers"]),
    };
    let mut finalizers: Vec<String> = texts(&live["metadata"]["finalizers"])
        .into_iter()
        .filter(|name| name != "foregroundDeletion" && name != "orphan")
        .collect();
    finalizers.extend(wanted.map(str::to_owned));
    finalizers
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Only pods that a kubelet runs end gracefully.
fn grace_period(kind: &Kind, live: &Value, options: &DeleteOptions) -> i64 {
    if !(kind.group.is_empty() && kind.plural == "pods") {
        return 0;
    }
    let ended = matches!(live["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let scheduled = live["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
    if ended || !scheduled {
        return 0;
    }
    let own = live["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    options.grace_period_seconds.unwrap_or(own).max(0)
}
