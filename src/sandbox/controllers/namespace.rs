//! The end of a namespace: everything in it is deleted, then its finalizer goes.

use serde_json::{Value, json};

use super::kinds::NAMESPACES;
use super::{MANAGER, object};
use crate::sandbox::api::{Api, Changed, Controller, EventType, Requeue, Status};

/// The namespace controller.
pub(super) struct Namespaces;

impl Controller for Namespaces {
    fn name(&self) -> &'static str {
        "namespace-controller"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let namespace =
            if change.resource.plural == "namespaces" && change.resource.group.is_empty() {
                object::name(&change.object)
            } else if change.event == EventType::Deleted {
                object::namespace(&change.object)
            } else {
                return Vec::new();
            };
        let ends = !namespace.is_empty()
            && api.get(&NAMESPACES, "", namespace).is_some_and(|ns| object::is_deleting(&ns));
        if ends { vec![(String::new(), namespace.to_owned())] } else { Vec::new() }
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, name: &str) -> Result<Requeue, Status> {
        let Some(namespace) = api.get(&NAMESPACES, "", name) else { return Ok(Requeue::OnChange) };
        if !object::is_deleting(&namespace) {
            return Ok(Requeue::OnChange);
        }
        let mut left = Vec::new();
        for (resource, namespaced) in api.resources() {
            // Events outlive nothing that asks for them; a copy of each group would be counted twice.
            if !namespaced || (resource.plural == "events" && resource.group == "events.k8s.io") {
                continue;
            }
            for item in api.list(&resource, name) {
                if !object::is_deleting(&item) {
                    match api.delete(&resource, name, object::name(&item), "Background") {
                        Ok(()) => {}
                        Err(status) if status.code == 404 => continue,
                        Err(status) => return Err(status),
                    }
                }
                if let Some(rest) = api.get(&resource, name, object::name(&item)) {
                    left.push((resource.clone(), rest));
                }
            }
        }
        if left.is_empty() {
            return match api.finalize_namespace(name) {
                Err(status) if status.code != 404 => Err(status),
                _ => Ok(Requeue::OnChange),
            };
        }
        report(api, &namespace, &left)?;
        Ok(Requeue::OnChange)
    }
}

type Left = [(crate::sandbox::api::Resource, std::sync::Arc<Value>)];

/// The conditions that say why a namespace is still there.
fn report(api: &dyn Api, namespace: &Value, left: &Left) -> Result<(), Status> {
    let mut counts = std::collections::BTreeMap::new();
    let mut finalizers = std::collections::BTreeMap::new();
    for (resource, item) in left {
        let kind = if resource.group.is_empty() {
            format!("{}.", resource.plural)
        } else {
            format!("{}.{}", resource.plural, resource.group)
        };
        *counts.entry(kind).or_insert(0usize) += 1;
        for finalizer in object::items(&item["metadata"], "finalizers") {
            let text = finalizer.as_str().unwrap_or_default().to_owned();
            *finalizers.entry(text).or_insert(0usize) += 1;
        }
    }
    let resources: Vec<_> = counts
        .iter()
        .map(|(kind, count)| format!("{kind} has {count} resource instances"))
        .collect();
    let remaining = format!("Some resources are remaining: {}", resources.join(", "));
    let finalizing: Vec<_> = finalizers
        .iter()
        .map(|(name, count)| format!("{name} in {count} resource instances"))
        .collect();
    let finalizing_text = format!(
        "Some content in the namespace has finalizers remaining: {}",
        finalizing.join(", ")
    );
    let conditions = [
        object::Condition::new(
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        object::Condition::new(
            "NamespaceDeletionGroupVersionParsingFailure",
            false,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        object::Condition::new(
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        object::Condition::new("NamespaceContentRemaining", true, "SomeResourcesRemain", remaining),
        if finalizing.is_empty() {
            object::Condition::new(
                "NamespaceFinalizersRemaining",
                false,
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            )
        } else {
            object::Condition::new(
                "NamespaceFinalizersRemaining",
                true,
                "SomeFinalizersRemain",
                finalizing_text,
            )
        },
    ];
    let now = object::now(api);
    let mut list = object::items(&namespace["status"], "conditions").to_vec();
    for condition in &conditions {
        object::set_condition(&mut list, condition, None, &now);
    }
    let status = json!({ "conditions": list, "phase": "Terminating" });
    match object::put_status(api, MANAGER, namespace, status) {
        // Somebody wrote it meanwhile; the change brings us here again.
        Err(status) if status.reason == "Conflict" || status.code == 404 => Ok(()),
        other => other,
    }
}
