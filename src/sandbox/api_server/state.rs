//! The whole state of an API server as one document, and back: what `save` writes and `load` reads.
//!
//! Objects keep their `resourceVersion` and `uid`. Whoever watches while a state is loaded is cut off and must list
//! again, as after a restart of a real server that came back from a backup; controllers are told of every difference.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::crd::CustomVersion;
use super::kinds::metadata_text;
use super::{ApiServer, GIT_VERSION, normalise, status};
use crate::sandbox::api::Status;
use crate::sandbox::store::{GroupResource, Restored};

/// `kind` of the document.
const KIND: &str = "SandboxState";
/// `apiVersion` of the document.
const API_VERSION: &str = "meshscript/v1";
const CRD_GROUP: &str = "apiextensions.k8s.io";
const CRD_PLURAL: &str = "customresourcedefinitions";

impl ApiServer {
    /// Everything that the API server keeps: objects, revision, what names and tokens are made of.
    pub(crate) fn state(&self) -> Value {
        let (revision, objects) = self.store.all();
        let objects: Vec<Value> = objects
            .into_iter()
            .map(|(resource, object)| {
                let value = self.store.value(&object);
                json!({"resource": join_resource(&resource), "object": *value})
            })
            .collect();
        json!({
            "apiVersion": API_VERSION,
            "kind": KIND,
            "version": GIT_VERSION,
            "time": self.now().to_string(),
            "revision": revision,
            "random": self.random.lock().state(),
            "generated": *self.generated.lock(),
            "tokenKey": self.tokens.read().as_ref().map(|tokens| STANDARD.encode(tokens.secret())),
            "objects": objects,
        })
    }

    /// Puts the objects of a document in place of what is stored. Returns the resources that are not served here, each
    /// with how many of its objects were left out.
    ///
    /// # Errors
    /// 400 for what is no such document; nothing is changed then.
    pub(crate) fn restore(&self, state: &Value) -> Result<BTreeMap<String, u64>, Status> {
        if state["kind"] != KIND || state["apiVersion"] != API_VERSION {
            return Err(status::bad_request(format!(
                "this is no saved state: `apiVersion: {API_VERSION}` and `kind: {KIND}` are expected"
            )));
        }
        let items = state["objects"]
            .as_array()
            .ok_or_else(|| status::bad_request("the saved state has no list `objects`"))?;
        let crds = GroupResource::new(CRD_GROUP, CRD_PLURAL);
        let read: Result<Vec<Restored>, Status> =
            items.iter().enumerate().map(|(index, item)| restored(index, item)).collect();
        let (definitions, others): (Vec<_>, Vec<_>) =
            read?.into_iter().partition(|item| item.resource == crds);
        let gone = self.store.list(&crds, "", None, 0).objects;
        for stored in &gone {
            self.kinds.set_custom(&stored.key.1, Vec::new());
        }
        for definition in &definitions {
            self.kinds.set_custom(
                &definition.key.1,
                CustomVersion::of(&Arc::new(definition.object.clone())),
            );
        }
        let mut left_out = BTreeMap::new();
        let mut kept = definitions;
        for item in others {
            if self.serves_resource(&item) {
                kept.push(item);
            } else {
                *left_out.entry(join_resource(&item.resource)).or_default() += 1;
            }
        }
        self.reserve_again(&kept);
        if let Some(random) = state["random"].as_u64() {
            self.random.lock().set_state(random);
        }
        if let Ok(generated) = serde_json::from_value(state["generated"].clone()) {
            *self.generated.lock() = generated;
        }
        let secret = state["tokenKey"].as_str().and_then(|text| STANDARD.decode(text).ok());
        if let Some(secret) = secret {
            *self.tokens.write() = super::access::Tokens::of(secret);
        }
        self.store.replace(state["revision"].as_u64().unwrap_or(0), kept);
        self.extensions.changed();
        Ok(left_out)
    }

    fn serves_resource(&self, item: &Restored) -> bool {
        let api_version = item.object["apiVersion"].as_str().unwrap_or_default();
        let kind = item.object["kind"].as_str().unwrap_or_default();
        self.kinds.by_kind(api_version, kind).is_some_and(|kind| kind.resource == item.resource)
    }

    fn reserve_again(&self, items: &[Restored]) {
        *self.addresses.lock() = normalise::Addresses::default();
        let Some(services) = self.kinds.by_resource("", "v1", "services") else { return };
        for item in items.iter().filter(|item| item.resource == services.resource) {
            // Two Services with one address were let in by whoever saved them.
            let _ = normalise::reserve(self, &services, None, Some(&item.object));
        }
    }
}

/// `deployments.apps`, `pods`
fn join_resource(resource: &GroupResource) -> String {
    status::group_resource(&resource.group, &resource.plural)
}

fn restored(index: usize, item: &Value) -> Result<Restored, Status> {
    let wrong = |what: &str| status::bad_request(format!("object {index} of the state {what}"));
    let resource = item["resource"].as_str().ok_or_else(|| wrong("names no `resource`"))?;
    let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
    let object = &item["object"];
    let name = metadata_text(object, "name");
    if name.is_empty() || !object["kind"].is_string() || !object["apiVersion"].is_string() {
        return Err(wrong("lacks `kind`, `apiVersion` or `metadata.name`"));
    }
    let revision = metadata_text(object, "resourceVersion").parse().unwrap_or(1);
    Ok(Restored {
        resource: GroupResource::new(group, plural),
        key: (metadata_text(object, "namespace").to_owned(), name.to_owned()),
        revision,
        object: object.clone(),
    })
}

/// A document of objects that come from elsewhere, such as a real cluster: `(group, plural, object)`.
pub fn document(objects: impl IntoIterator<Item = (String, String, Value)>) -> Value {
    let objects: Vec<Value> = objects
        .into_iter()
        .map(|(group, plural, object)| {
            json!({"resource": status::group_resource(&group, &plural), "object": object})
        })
        .collect();
    json!({"apiVersion": API_VERSION, "kind": KIND, "objects": objects})
}
