//! What follows from writes at once: CRDs get their names and are served, go with their objects; nothing else reacts
//! here (controllers do).

use std::sync::Arc;

use serde_json::{Value, json};

use super::crd::{self, CustomVersion};
use super::kinds::Kind;
use super::verbs::delete::DeleteOptions;
use super::{ApiServer, Request, extensions};
use crate::sandbox::store::GroupResource;

const GROUP: &str = "apiextensions.k8s.io";
const PLURAL: &str = "customresourcedefinitions";
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

impl ApiServer {
    /// Called after each write, without any lock.
    pub(crate) fn after_write(&self, kind: &Kind, _namespace: &str, name: &str) {
        if kind.group == extensions::GROUP {
            self.extensions.changed();
        } else if kind.group == GROUP && kind.plural == PLURAL {
            self.reconcile_crd(name);
        } else if let Some(custom) = &kind.custom {
            // The last object of a CRD that goes lets it go.
            let crds = GroupResource::new(GROUP, PLURAL);
            if let Some(stored) = self.store.get(&crds, "", &custom.crd_name)
                && self.store.value(&stored)["metadata"]["deletionTimestamp"].is_string()
            {
                self.reconcile_crd(&custom.crd_name);
            }
        }
    }

    fn reconcile_crd(&self, name: &str) {
        let crds = GroupResource::new(GROUP, PLURAL);
        let Some(stored) = self.store.get(&crds, "", name) else {
            self.kinds.set_custom(name, Vec::new());
            return;
        };
        let crd = self.store.value(&stored);
        if crd["metadata"]["deletionTimestamp"].is_string() {
            self.end_crd(name, &crd);
            return;
        }
        let conflict = self.name_conflict(name, &crd);
        let serving = &crd["status"]["conditions"];
        let established =
            condition(serving, "Established").is_some_and(|now| now["status"] == "True");
        if conflict.is_none() || established {
            self.kinds.set_custom(name, CustomVersion::of(&crd));
        }
        let status = self.crd_status(&crd, conflict);
        if status != crd["status"] {
            let mut object = (*crd).clone();
            object["status"] = status;
            self.write_crd_status(name, object);
        }
    }

    fn write_crd_status(&self, name: &str, object: Value) {
        let Some(kind) = self.kinds.by_resource(GROUP, "v1", PLURAL) else { return };
        let mut request = Request::internal("kube-apiserver");
        let written = self.change(&kind, "", name, "status", &mut request, |live, _| {
            let mut changed = live.clone();
            changed["status"] = object["status"].clone();
            Ok(changed)
        });
        if let Err(refused) = written {
            self.note_not_modelled(&format!(
                "a status that CRD {name} refuses: {}",
                refused.message
            ));
        }
    }

    /// Another CRD of the group that has one of the names.
    fn name_conflict(&self, name: &str, crd: &Value) -> Option<(&'static str, String)> {
        let wanted = crd::names(&crd["spec"]["names"]);
        let group = crd["spec"]["group"].as_str().unwrap_or_default();
        let crds = GroupResource::new(GROUP, PLURAL);
        for stored in self.store.list(&crds, "", None, 0).objects {
            let other = self.store.value(&stored);
            if stored.key.1 == name || other["spec"]["group"] != group {
                continue;
            }
            let taken = crd::names(&other["status"]["acceptedNames"]);
            if taken.kind.is_empty() {
                continue;
            }
            if taken.kind == wanted.kind || taken.list_kind == wanted.kind {
                return Some(("KindConflict", format!("\"{}\" is already in use", wanted.kind)));
            }
            let short = wanted.short_names.iter().find(|name| {
                taken.short_names.contains(name)
                    || taken.plural == **name
                    || taken.singular == **name
            });
            if let Some(short) = short {
                return Some(("ShortNamesConflict", format!("\"{short}\" is already in use")));
            }
        }
        None
    }

    fn crd_status(&self, crd: &Value, conflict: Option<(&'static str, String)>) -> Value {
        let mut status = crd["status"].clone();
        if !status.is_object() {
            status = json!({});
        }
        let accepted = conflict.is_none();
        if accepted {
            status["acceptedNames"] = crd["spec"]["names"].clone();
        }
        let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
        let now = self.now_text();
        let mut set = |kind: &str, status: &str, reason: &str, message: &str| {
            let old = conditions.iter().position(|found| found["type"] == kind);
            if let Some(at) = old
                && conditions[at]["status"] == status
                && conditions[at]["reason"] == reason
            {
                return;
            }
            let condition = json!({
                "type": kind, "status": status, "lastTransitionTime": now,
                "reason": reason, "message": message
            });
            match old {
                Some(at) => conditions[at] = condition,
                None => conditions.push(condition),
            }
        };
        match &conflict {
            None => {
                set("NamesAccepted", "True", "NoConflicts", "no conflicts found");
                set(
                    "Established",
                    "True",
                    "InitialNamesAccepted",
                    "the initial names have been accepted",
                );
            }
            Some((reason, message)) => {
                set("NamesAccepted", "False", reason, message);
                set("Established", "False", "NotAccepted", "not all names are accepted");
            }
        }
        if let Some((holds, reason, message)) = approval(crd) {
            set("KubernetesAPIApprovalPolicyConformant", holds, reason, &message);
        }
        status["conditions"] = conditions.into();
        let mut versions = status["storedVersions"].as_array().cloned().unwrap_or_default();
        for version in crd["spec"]["versions"].as_array().into_iter().flatten() {
            if version["storage"] == true && !versions.contains(&version["name"]) {
                versions.push(version["name"].clone());
            }
        }
        status["storedVersions"] = versions.into();
        status
    }

    /// Deletes the objects of a CRD that goes, then the CRD.
    fn end_crd(&self, name: &str, crd: &Arc<Value>) {
        let has_cleanup = crd["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|list| list.iter().any(|found| found == CLEANUP));
        if !has_cleanup {
            return;
        }
        let terminating = condition(&crd["status"]["conditions"], "Terminating")
            .is_some_and(|found| found["reason"] == "InstanceDeletionInProgress");
        if !terminating {
            let mut object = (**crd).clone();
            let mut conditions =
                object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.retain(|found| found["type"] != "Terminating");
            conditions.push(json!({
                "type": "Terminating", "status": "True", "lastTransitionTime": self.now_text(),
                "reason": "InstanceDeletionInProgress",
                "message": "CustomResource deletion is in progress"
            }));
            object["status"]["conditions"] = conditions.into();
            // The write comes back here with the condition set.
            self.write_crd_status(name, object);
            return;
        }
        let kinds = self.kinds.custom(name);
        let Some(kind) = kinds.first() else {
            self.drop_cleanup(name);
            return;
        };
        let objects = self.store.list(&kind.resource, "", None, 0).objects;
        let mut request = Request::internal("kube-apiserver");
        for stored in &objects {
            if self.store.value(stored)["metadata"]["deletionTimestamp"].is_string() {
                continue;
            }
            let (namespace, name) = &stored.key;
            // What cannot be deleted now is seen again when it changes.
            let _ = self.delete(kind, namespace, name, &DeleteOptions::default(), &mut request);
        }
        if self.store.list(&kind.resource, "", None, 1).objects.is_empty() {
            self.drop_cleanup(name);
        }
    }

    fn drop_cleanup(&self, name: &str) {
        let Some(kind) = self.kinds.by_resource(GROUP, "v1", PLURAL) else { return };
        let mut request = Request::internal("kube-apiserver");
        let _ = self.change(&kind, "", name, "status", &mut request, |live, _| {
            let mut object = live.clone();
            if let Some(list) = object["metadata"]["finalizers"].as_array_mut() {
                list.retain(|found| found != CLEANUP);
            }
            Ok(object)
        });
    }
}

/// Whether a CRD in a group of the Kubernetes project says who approved it: status, reason and message.
fn approval(crd: &Value) -> Option<(&'static str, &'static str, String)> {
    const NAME: &str = "api-approved.kubernetes.io";
    let group = crd["spec"]["group"].as_str().unwrap_or_default();
    let protected = ["k8s.io", "kubernetes.io"].iter().any(|domain| {
        group == *domain || group.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    });
    if !protected {
        return None;
    }
    let approved = crd["metadata"]["annotations"][NAME].as_str().unwrap_or_default();
    Some(if approved.is_empty() {
        let message = format!(
            "protected groups must have approval annotation \"{NAME}\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        ("False", "MissingAnnotation", message)
    } else if approved.starts_with("unapproved") {
        ("False", "UnapprovedAnnotation", format!("not approved: \"{approved}\""))
    } else if approved
        .split_once("://")
        .is_some_and(|(scheme, host)| !scheme.is_empty() && !host.is_empty())
    {
        ("True", "ApprovedAnnotation", format!("approved in {approved}"))
    } else {
        let message = format!(
            "protected groups must have approval annotation \"{NAME}\" with either a URL or a reason starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        ("False", "InvalidAnnotation", message)
    })
}

fn condition<'a>(conditions: &'a Value, kind: &str) -> Option<&'a Value> {
    conditions.as_array()?.iter().find(|found| found["type"] == kind)
}
