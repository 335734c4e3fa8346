//! The API server as controllers use it: the same verbs, without HTTP.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{Kind, metadata_text};
use super::verbs::delete::DeleteOptions;
use super::verbs::patch::{PatchTarget, PatchType};
use super::{ApiServer, Request, status};
use crate::base::clock::Clock as _;
use crate::base::virtual_clock::VirtualClock;
use crate::sandbox::api::{Api, Resource, Status};

impl ApiServer {
    fn kind_of(&self, object: &Value) -> Result<Arc<Kind>, Status> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        self.kinds.by_kind(text("apiVersion"), text("kind")).ok_or_else(status::resource_not_found)
    }

    fn kind_named(&self, resource: &Resource) -> Result<Arc<Kind>, Status> {
        self.kinds
            .by_resource(&resource.group, &resource.version, &resource.plural)
            .ok_or_else(status::resource_not_found)
    }

    fn put(&self, manager: &str, object: Value, subresource: &str) -> Result<Arc<Value>, Status> {
        let kind = self.kind_of(&object)?;
        let name = metadata_text(&object, "name").to_owned();
        let namespace = metadata_text(&object, "namespace").to_owned();
        let mut request = Request::internal(manager);
        self.update(&kind, &namespace, &name, subresource, object, &mut request)
            .map(|written| written.object)
    }

    fn apply_forced(
        &self,
        manager: &str,
        object: Value,
        subresource: &str,
    ) -> Result<Arc<Value>, Status> {
        let kind = self.kind_of(&object)?;
        let name = metadata_text(&object, "name").to_owned();
        let namespace = metadata_text(&object, "namespace").to_owned();
        let target = PatchTarget { namespace: &namespace, name: &name, subresource };
        Self::apply(self, &kind, target, object, &mut Request::internal(manager))
            .map(|written| written.object)
    }
}

impl Api for ApiServer {
    fn get(&self, resource: &Resource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let kind = self.kind_named(resource).ok()?;
        self.read(&kind, namespace, name)
    }

    fn list(&self, resource: &Resource, namespace: &str) -> Vec<Arc<Value>> {
        let Ok(kind) = self.kind_named(resource) else { return Vec::new() };
        let page = self.store.list(&kind.resource, namespace, None, 0);
        page.objects.iter().map(|stored| self.value_as(&kind, stored)).collect()
    }

    fn serves(&self, resource: &Resource) -> bool {
        self.kind_named(resource).is_ok()
    }

    fn resource_of(&self, api_version: &str, kind: &str) -> Option<Resource> {
        self.kinds.by_kind(api_version, kind).map(|kind| kind.as_resource())
    }

    fn create(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status> {
        let kind = self.kind_of(&object)?;
        let namespace = metadata_text(&object, "namespace").to_owned();
        let mut request = Request::internal(manager);
        Self::create(self, &kind, &namespace, object, &mut request).map(|written| written.object)
    }

    fn update(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status> {
        self.put(manager, object, "")
    }

    fn update_status(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status> {
        self.put(manager, object, "status")
    }

    fn apply(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status> {
        self.apply_forced(manager, object, "")
    }

    fn apply_status(&self, manager: &str, object: Value) -> Result<Arc<Value>, Status> {
        self.apply_forced(manager, object, "status")
    }

    fn merge_patch(
        &self,
        manager: &str,
        resource: &Resource,
        namespace: &str,
        name: &str,
        subresource: &str,
        patch: Value,
    ) -> Result<Arc<Value>, Status> {
        let kind = self.kind_named(resource)?;
        let target = PatchTarget { namespace, name, subresource };
        let mut request = Request::internal(manager);
        self.patch(&kind, target, PatchType::Merge, &patch, &mut request)
            .map(|written| written.object)
    }

    fn delete(
        &self,
        resource: &Resource,
        namespace: &str,
        name: &str,
        propagation: &str,
    ) -> Result<(), Status> {
        let kind = self.kind_named(resource)?;
        let options =
            DeleteOptions { propagation: propagation.to_owned(), ..DeleteOptions::default() };
        let mut request = Request::internal("kube-controller-manager");
        Self::delete(self, &kind, namespace, name, &options, &mut request).map(drop)
    }

    fn resources(&self) -> Vec<(Resource, bool)> {
        let mut found: Vec<(Resource, bool)> = Vec::new();
        for group in self.kinds.groups() {
            let mut seen: Vec<String> = Vec::new();
            for kind in group.versions.iter().flat_map(|(_, kinds)| kinds) {
                if kind.verbs.iter().any(|verb| verb == "list") && !seen.contains(&kind.plural) {
                    seen.push(kind.plural.clone());
                    found.push((kind.as_resource(), kind.namespaced));
                }
            }
        }
        found
    }

    fn delete_now(&self, resource: &Resource, namespace: &str, name: &str) -> Result<(), Status> {
        let kind = self.kind_named(resource)?;
        let options = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
        let mut request = Request::internal("kubelet");
        Self::delete(self, &kind, namespace, name, &options, &mut request).map(drop)
    }

    fn bind(&self, namespace: &str, pod: &str, node: &str) -> Result<Arc<Value>, Status> {
        self.bind_pod(namespace, pod, node, &mut Request::internal("kube-scheduler"))
    }

    fn finalize_namespace(&self, name: &str) -> Result<(), Status> {
        self.set_namespace_finalizers(
            name,
            &json!([]),
            &mut Request::internal("kube-controller-manager"),
        )
        .map(drop)
    }

    fn event(
        &self,
        component: &str,
        regarding: &Value,
        event_type: &str,
        reason: &str,
        message: &str,
    ) {
        self.record_event(component, regarding, event_type, reason, message);
    }

    fn not_modelled(&self, what: &str) {
        self.note_not_modelled(what);
    }

    fn clock(&self) -> Arc<VirtualClock> {
        self.clock.clone()
    }

    fn random_suffix(&self, length: usize) -> String {
        Self::random_suffix(self, length)
    }

    fn random_uid(&self) -> String {
        Self::random_uid(self)
    }
}

impl ApiServer {
    /// `pods/binding`.
    pub(crate) fn bind_pod(
        &self,
        namespace: &str,
        pod: &str,
        node: &str,
        request: &mut Request,
    ) -> Result<Arc<Value>, Status> {
        let kind = self.kind_named(&Resource::new("", "v1", "pods"))?;
        let now = self.now_text();
        self.change(&kind, namespace, pod, "binding", request, |live, _| {
            if live["spec"]["nodeName"].as_str().is_some_and(|bound| !bound.is_empty()) {
                let why = format!(
                    "pod {pod} is already assigned to node \"{}\"",
                    live["spec"]["nodeName"].as_str().unwrap_or_default()
                );
                return Err(status::conflict("", "pods/binding", pod, &why));
            }
            let mut object = live.clone();
            object["spec"]["nodeName"] = node.into();
            let conditions = object["status"]["conditions"].as_array().cloned();
            let mut conditions = conditions.unwrap_or_default();
            conditions.retain(|condition| condition["type"] != "PodScheduled");
            conditions.push(json!({
                "type": "PodScheduled", "status": "True",
                "lastProbeTime": null, "lastTransitionTime": now
            }));
            object["status"]["conditions"] = conditions.into();
            Ok(object)
        })
        .map(|written| written.object)
    }

    /// `namespaces/finalize`.
    pub(crate) fn set_namespace_finalizers(
        &self,
        name: &str,
        finalizers: &Value,
        request: &mut Request,
    ) -> Result<Arc<Value>, Status> {
        let kind = self.kind_named(&Resource::new("", "v1", "namespaces"))?;
        self.change(&kind, "", name, "finalize", request, |live, _| {
            let mut object = live.clone();
            object["spec"]["finalizers"] = finalizers.clone();
            Ok(object)
        })
        .map(|written| written.object)
    }

    /// Writes an Event, or counts one more of a series that is there already.
    fn record_event(
        &self,
        component: &str,
        regarding: &Value,
        event_type: &str,
        reason: &str,
        message: &str,
    ) {
        let text = |field: &str| metadata_text(regarding, field);
        let namespace = match text("namespace") {
            "" => "default",
            namespace => namespace,
        };
        let Ok(kind) = self.kind_named(&Resource::new("", "v1", "events")) else { return };
        let known = self.store.list(&kind.resource, namespace, None, 0).objects;
        let now = self.now_text();
        let same = known.iter().map(|stored| self.store.value(stored)).find(|event| {
            event["involvedObject"]["uid"] == text("uid")
                && event["reason"] == reason
                && event["message"] == message
                && event["source"]["component"] == component
        });
        let mut request = Request::internal(component);
        let outcome = if let Some(event) = same {
            let name = metadata_text(&event, "name").to_owned();
            self.change(&kind, namespace, &name, "", &mut request, |live, _| {
                let mut event = live.clone();
                event["count"] = (event["count"].as_i64().unwrap_or(1) + 1).into();
                event["lastTimestamp"] = now.clone().into();
                Ok(event)
            })
        } else {
            // client-go names events by the object and the time; ours need only be unique and repeatable.
            let name = format!("{}.{}", text("name"), self.unique_event_suffix());
            let event = json!({
                "apiVersion": "v1", "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {
                    "apiVersion": regarding["apiVersion"], "kind": regarding["kind"],
                    "name": text("name"), "namespace": text("namespace"), "uid": text("uid"),
                    "resourceVersion": text("resourceVersion"),
                },
                "type": event_type, "reason": reason, "message": message,
                "source": {"component": component},
                "reportingComponent": component, "reportingInstance": "",
                "firstTimestamp": now, "lastTimestamp": now, "count": 1,
            });
            Self::create(self, &kind, namespace, event, &mut request)
        };
        // As with a real recorder, an event that is refused (its namespace goes) is lost.
        drop(outcome);
    }

    fn unique_event_suffix(&self) -> String {
        let nanoseconds = self.clock.now().as_nanosecond();
        format!("{:x}{:04x}", nanoseconds, self.random.lock().below(0x1_0000))
    }
}
