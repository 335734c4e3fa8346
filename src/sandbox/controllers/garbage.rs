//! The garbage collector: dependents go after their owners, foreground and orphan deletion are finished.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{MANAGER, object};
use crate::sandbox::api::{Api, Changed, Controller, EventType, Requeue, Resource, Status};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// Where an object is: its collection, namespace and name.
type Place = (Arc<Resource>, String, String);

#[derive(Default)]
struct Index {
    /// The collections, once each: there is a place for every object.
    resources: BTreeSet<Arc<Resource>>,
    /// Dependents by the owner's uid.
    dependents: BTreeMap<String, BTreeSet<Place>>,
    /// Places by uid, for the keys that carry only a uid.
    places: BTreeMap<String, Place>,
}

impl Index {
    fn resource(&mut self, resource: &Resource) -> Arc<Resource> {
        if let Some(known) = self.resources.get(resource) {
            return known.clone();
        }
        let resource = Arc::new(resource.clone());
        self.resources.insert(resource.clone());
        resource
    }
}

/// The garbage collector; its index follows the changes that it is told of.
#[derive(Default)]
pub(super) struct GarbageCollector {
    index: Mutex<Index>,
}

impl Controller for GarbageCollector {
    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        let object = &change.object;
        let id = object::uid(object).to_owned();
        if id.is_empty() || change.resource.plural == "events" {
            return Vec::new();
        }
        let owners = object::items(&object["metadata"], "ownerReferences");
        let mut index = self.index.lock();
        let place = (
            index.resource(&change.resource),
            object::namespace(object).to_owned(),
            object::name(object).to_owned(),
        );
        let mut keys = Vec::new();
        if change.event == EventType::Deleted {
            index.places.remove(&id);
            for owner in owners.iter().filter_map(|owner| owner["uid"].as_str()) {
                if let Some(dependents) = index.dependents.get_mut(owner) {
                    dependents.remove(&place);
                }
                // The owner may wait for this one in a foreground deletion.
                keys.push((String::new(), owner.to_owned()));
            }
            if index.dependents.get(&id).is_some_and(|dependents| !dependents.is_empty()) {
                keys.push((String::new(), id));
            }
            return keys;
        }
        for owner in owners.iter().filter_map(|owner| owner["uid"].as_str()) {
            index.dependents.entry(owner.to_owned()).or_default().insert(place.clone());
        }
        index.places.insert(id.clone(), place);
        let waits = object::is_deleting(object)
            && object::items(&object["metadata"], "finalizers")
                .iter()
                .any(|finalizer| finalizer == FOREGROUND || finalizer == ORPHAN);
        // A new dependent's owners may have gone before it came.
        if waits || (change.event == EventType::Added && !owners.is_empty()) {
            keys.push((String::new(), id));
        }
        keys
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, id: &str) -> Result<Requeue, Status> {
        let place = self.index.lock().places.get(id).cloned();
        let object = place
            .as_ref()
            .and_then(|(resource, namespace, name)| api.get(resource, namespace, name))
            .filter(|object| object::uid(object) == id);
        let Some(object) = object else {
            return self.collect(api, id, "Background").map(|_| Requeue::OnChange);
        };
        let has = |finalizer: &str| {
            object::items(&object["metadata"], "finalizers").iter().any(|found| found == finalizer)
        };
        if object::is_deleting(&object) && has(ORPHAN) {
            self.release(api, id)?;
            return finish(api, &place, &object, ORPHAN);
        }
        if object::is_deleting(&object) && has(FOREGROUND) {
            let blocking = self.collect(api, id, "Foreground")?;
            if !blocking {
                return finish(api, &place, &object, FOREGROUND);
            }
            return Ok(Requeue::OnChange);
        }
        if !object::is_deleting(&object)
            && let Some((resource, namespace, name)) = &place
            && all_owners_gone(api, &object)
        {
            match api.delete(resource, namespace, name, "Background") {
                Err(status) if status.code != 404 => return Err(status),
                _ => {}
            }
        }
        Ok(Requeue::OnChange)
    }
}

/// Whether every owner that the object names is absent or another object of the same name.
fn all_owners_gone(api: &dyn Api, object: &Value) -> bool {
    let owners = object::items(&object["metadata"], "ownerReferences");
    !owners.is_empty() && owners.iter().all(|owner| !exists(api, object, owner))
}

fn exists(api: &dyn Api, dependent: &Value, owner: &Value) -> bool {
    let (version, kind) = (
        owner["apiVersion"].as_str().unwrap_or_default(),
        owner["kind"].as_str().unwrap_or_default(),
    );
    // A kind that is not served cannot be judged, so its dependents stay.
    let Some(resource) = api.resource_of(version, kind) else { return true };
    let name = owner["name"].as_str().unwrap_or_default();
    [object::namespace(dependent), ""]
        .into_iter()
        .filter_map(|namespace| api.get(&resource, namespace, name))
        .any(|found| found["metadata"]["uid"] == owner["uid"])
}

fn finish(
    api: &dyn Api,
    place: &Option<Place>,
    object: &Value,
    finalizer: &str,
) -> Result<Requeue, Status> {
    if let Some((resource, ..)) = place {
        object::drop_finalizer(api, MANAGER, resource, object, finalizer)?;
    }
    Ok(Requeue::OnChange)
}

impl GarbageCollector {
    /// Deletes the dependents of an owner that goes or went; whether some that block it are still there.
    fn collect(&self, api: &dyn Api, owner: &str, propagation: &str) -> Result<bool, Status> {
        let places: Vec<Place> = self
            .index
            .lock()
            .dependents
            .get(owner)
            .map(|found| found.iter().cloned().collect())
            .unwrap_or_default();
        let mut blocking = false;
        for (resource, namespace, name) in places {
            let Some(dependent) = api.get(&resource, &namespace, &name) else {
                self.forget(owner, &(resource, namespace, name));
                continue;
            };
            let references = object::items(&dependent["metadata"], "ownerReferences");
            let Some(own) = references.iter().find(|reference| reference["uid"] == owner) else {
                self.forget(owner, &(resource, namespace, name));
                continue;
            };
            let others: Vec<_> = references
                .iter()
                .filter(|reference| reference["uid"] != owner)
                .filter(|reference| exists(api, &dependent, reference))
                .collect();
            if !others.is_empty() {
                let patch = json!({ "metadata": { "ownerReferences": others } });
                api.merge_patch(MANAGER, &resource, &namespace, &name, "", patch)?;
                continue;
            }
            blocking |= own["blockOwnerDeletion"] == true;
            if !object::is_deleting(&dependent) {
                match api.delete(&resource, &namespace, &name, propagation) {
                    Err(status) if status.code != 404 => return Err(status),
                    _ => {}
                }
            }
        }
        if propagation == "Background" {
            self.index.lock().dependents.remove(owner);
        }
        Ok(blocking && self.any_left(api, owner))
    }

    fn any_left(&self, api: &dyn Api, owner: &str) -> bool {
        let index = self.index.lock();
        index.dependents.get(owner).is_some_and(|places| {
            places
                .iter()
                .any(|(resource, namespace, name)| api.get(resource, namespace, name).is_some())
        })
    }

    fn forget(&self, owner: &str, place: &Place) {
        if let Some(places) = self.index.lock().dependents.get_mut(owner) {
            places.remove(place);
        }
    }

    /// Orphans: the dependents stay and forget their owner.
    fn release(&self, api: &dyn Api, owner: &str) -> Result<(), Status> {
        let places = self.index.lock().dependents.remove(owner).unwrap_or_default();
        for (resource, namespace, name) in places {
            let Some(dependent) = api.get(&resource, &namespace, &name) else { continue };
            let left: Vec<_> = object::items(&dependent["metadata"], "ownerReferences")
                .iter()
                .filter(|reference| reference["uid"] != owner)
                .collect();
            let patch = json!({ "metadata": { "ownerReferences": left } });
            api.merge_patch(MANAGER, &resource, &namespace, &name, "", patch)?;
        }
        Ok(())
    }
}
