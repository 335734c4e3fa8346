//! Create and update: what an object passes through before it is stored.
//!
//! Order: decode (types, unknown fields, defaults), ownership (managedFields), the kind's own rules (status and spec
//! kept apart, generation, addresses), admission, validation, no-op check, store. A write that lost against another one
//! begins again from the new state, unless the client named a revision.

use std::sync::Arc;

use serde_json::{Map, Value, json as tree};

use crate::sandbox::api::Status;
use crate::sandbox::api_server::extensions::Write;
use crate::sandbox::api_server::kinds::{Kind, metadata_text};
use crate::sandbox::api_server::subresources::replicas_are_owned;
use crate::sandbox::api_server::{ApiServer, FieldValidation, Request, go_decode, json, status};
use crate::sandbox::api_server::{admission, events, normalise, pod_warnings, rules};
use crate::sandbox::go_form::{go_form, without_empty_lists};
use crate::sandbox::ssa;
use crate::sandbox::store::ObjectKey;
use crate::sandbox::validation::{Cause, defaulting, prune};

const MAX_ATTEMPTS: usize = 100;
/// What of `generateName` is left beside a suffix of five characters.
const MAX_PREFIX: usize = 58;
/// Tries for a name made from `generateName`.
const MAX_NAMES: usize = 8;

/// What a write came to.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) object: Arc<Value>,
    pub(crate) created: bool,
}

impl ApiServer {
    /// POST of a collection.
    pub(crate) fn create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
        request: &mut Request,
    ) -> Result<Written, Status> {
        self.check_version(kind, &object)?;
        self.decode(kind, &mut object, request)?;
        place(kind, namespace, &mut object)?;
        if !metadata_text(&object, "resourceVersion").is_empty() {
            return Err(Status {
                code: 500,
                reason: String::new(),
                message: "resourceVersion should not be set on objects to be created".to_owned(),
                details: Value::Null,
            });
        }
        let generated = metadata_text(&object, "name").is_empty()
            && !metadata_text(&object, "generateName").is_empty();
        for attempt in 0..MAX_NAMES {
            let mut object = object.clone();
            if generated {
                let prefix: String =
                    metadata_text(&object, "generateName").chars().take(MAX_PREFIX).collect();
                let name = self.generated_name(&prefix);
                object["metadata"]["name"] = name.into();
            }
            let owned = self.own(kind, None, object, "", request);
            match self.finish_create(kind, namespace, owned, request) {
                Err(refused)
                    if generated
                        && refused.reason == "AlreadyExists"
                        && attempt + 1 < MAX_NAMES => {}
                outcome => return outcome,
            }
        }
        Err(status::internal("no free name found"))
    }

    /// The second half of a create, shared with apply: the object holds its managedFields.
    pub(crate) fn finish_create(
        &self,
        kind: &Kind,
        namespace: &str,
        mut object: Value,
        request: &mut Request,
    ) -> Result<Written, Status> {
        let name = metadata_text(&object, "name").to_owned();
        self.require_namespace(kind, namespace, &name)?;
        let metadata = metadata_of(&mut object);
        for field in
            ["resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"]
        {
            metadata.remove(field);
        }
        metadata.insert("uid".to_owned(), self.random_uid().into());
        metadata.insert("creationTimestamp".to_owned(), self.now_text().into());
        if normalise::has_generation(kind) {
            metadata.insert("generation".to_owned(), 1.into());
        }
        if normalise::keeps_status_apart(kind)
            && let Some(fields) = object.as_object_mut()
        {
            fields.remove("status");
        }
        normalise::before_create(self, kind, &mut object, request)?;
        self.set_defaults(kind, &mut object, request.is_apply);
        let write = Write { kind, live: None, object: None, operation: "CREATE", subresource: "" };
        admission::mutate(self, write, &mut object, request)?;
        self.set_defaults(kind, &mut object, request.is_apply);
        let causes = rules::create(kind, &object);
        if !causes.is_empty() {
            return Err(status::invalid(&kind.group, &object_kind(kind, &object), &name, causes));
        }
        admission::validate(self, Write { object: Some(&object), ..write }, request)?;
        request.warnings.extend(pod_warnings::of_name(kind, &object));
        request.warnings.extend(pod_warnings::warnings(kind, &object));
        let key = (namespace.to_owned(), name.clone());
        if let Some(there) = self.store.get(&kind.resource, namespace, &name) {
            let mut refused = status::already_exists(&kind.group, &kind.plural, &name);
            if self.store.value(&there)["metadata"]["deletionTimestamp"].is_string() {
                refused.message = format!("object is being deleted: {}", refused.message);
            }
            return Err(refused);
        }
        as_stored(kind, &mut object);
        if request.dry_run {
            return Ok(Written { object: Arc::new(object), created: true });
        }
        normalise::reserve(self, kind, None, Some(&object))?;
        self.note_what_only_lies_there(kind, &object);
        let stored = self
            .store
            .put(&kind.resource, key, None, self.to_storage(kind, object))
            .map_err(|_| status::already_exists(&kind.group, &kind.plural, &name))?;
        let written = self.value_as(kind, &stored);
        self.after_write(kind, namespace, &name);
        Ok(Written { object: written, created: true })
    }

    /// PUT of an object or of its `status`.
    pub(crate) fn update(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        subresource: &str,
        mut object: Value,
        request: &mut Request,
    ) -> Result<Written, Status> {
        self.check_version(kind, &object)?;
        self.decode(kind, &mut object, request)?;
        place(kind, namespace, &mut object)?;
        check_name(name, metadata_text(&object, "name"))?;
        let is_new = || self.store.get(&kind.resource, namespace, name).is_none();
        let is_unversioned = matches!(metadata_text(&object, "resourceVersion"), "" | "0");
        if is_unversioned && subresource.is_empty() && creates_on_update(kind) && is_new() {
            return self.create(kind, namespace, object, request);
        }
        if is_unversioned && normalise::needs_revision(kind) {
            if self.store.get(&kind.resource, namespace, name).is_none() {
                return Err(status::not_found(&kind.group, &kind.plural, name));
            }
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &0.into(),
                "must be specified for an update",
            );
            return Err(status::invalid(&kind.group, &kind.plural, name, vec![cause]));
        }
        self.change(kind, namespace, name, subresource, request, |_, _| Ok(object.clone()))
    }

    /// Reads, changes and writes an object until nobody wrote in between. `edit` gets the stored object in the
    /// request's version and returns the new one, decoded and defaulted.
    pub(crate) fn change(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        subresource: &str,
        request: &mut Request,
        edit: impl Fn(&Value, &mut Request) -> Result<Value, Status>,
    ) -> Result<Written, Status> {
        for _ in 0..MAX_ATTEMPTS {
            let Some(stored) = self.store.get(&kind.resource, namespace, name) else {
                return Err(status::not_found(&kind.group, &kind.plural, name));
            };
            let live = self.value_as(kind, &stored);
            let mut new = edit(&live, request)?;
            if request.is_patch
                && metadata_text(&new, "resourceVersion") == metadata_text(&live, "resourceVersion")
            {
                // It is the one that the patch was laid upon, not one that the client named.
                metadata_of(&mut new).remove("resourceVersion");
            }
            let pinned = !metadata_text(&new, "resourceVersion").is_empty();
            self.check_revision(kind, name, &live, &new, request.is_patch)?;
            let unowned = subresource == "scale" && !replicas_are_owned(kind, &live);
            let owned =
                if unowned { new } else { self.own(kind, Some(&live), new, subresource, request) };
            let seen = stored.revision;
            match self.finish_update(kind, &live, seen, owned, subresource, request)? {
                Some(written) => return Ok(written),
                None if pinned => return Err(status::modified(&kind.group, &kind.plural, name)),
                None => {}
            }
        }
        Err(status::modified(&kind.group, &kind.plural, name))
    }

    /// Optimistic concurrency: a revision or uid that the client names must be the stored one.
    pub(crate) fn check_revision(
        &self,
        kind: &Kind,
        name: &str,
        live: &Value,
        new: &Value,
        patched: bool,
    ) -> Result<(), Status> {
        let given = metadata_text(new, "resourceVersion");
        if !given.is_empty() && given != "0" && given != metadata_text(live, "resourceVersion") {
            return Err(status::modified(&kind.group, &kind.plural, name));
        }
        let (given, stored) = (metadata_text(new, "uid"), metadata_text(live, "uid"));
        if !given.is_empty() && given != stored && !patched {
            let why = format!(
                "Precondition failed: UID in precondition: {given}, UID in object meta: {stored}"
            );
            return Err(status::conflict(&kind.group, &kind.plural, name, &why));
        }
        Ok(())
    }

    /// The second half of an update, shared with apply; `None` when another write came first.
    pub(crate) fn finish_update(
        &self,
        kind: &Kind,
        live: &Arc<Value>,
        seen: u64,
        mut object: Value,
        subresource: &str,
        request: &mut Request,
    ) -> Result<Option<Written>, Status> {
        let name = metadata_text(live, "name").to_owned();
        let namespace = metadata_text(live, "namespace").to_owned();
        let uid = metadata_text(&object, "uid").to_owned();
        keep_system_fields(live, &mut object);
        normalise::before_update(self, kind, live, &mut object, subresource)?;
        self.set_defaults(kind, &mut object, request.is_apply);
        let write =
            Write { kind, live: Some(live), object: None, operation: "UPDATE", subresource };
        admission::mutate(self, write, &mut object, request)?;
        // Before it is compared: an empty list is no change to none.
        as_stored(kind, &mut object);
        let generation = live["metadata"]["generation"].as_i64();
        if let Some(generation) = generation {
            // Being bound to a node is no change of what the pod asks for.
            let counts =
                subresource != "binding" && normalise::changes_generation(kind, live, &object);
            let bump = i64::from(counts);
            object["metadata"]["generation"] = (generation + bump).into();
        }
        let mut causes = rules::update(kind, live, &object, subresource, &mut request.warnings);
        if request.is_patch && !uid.is_empty() && uid != metadata_text(live, "uid") {
            // The registry and the strategy look at it, both.
            let cause = Cause::invalid("metadata.uid", &uid.into(), "field is immutable");
            causes.extend([cause.clone(), cause]);
        }
        if !causes.is_empty() {
            return Err(status::invalid(&kind.group, &object_kind(kind, &object), &name, causes));
        }
        admission::validate(self, Write { object: Some(&object), ..write }, request)?;
        if subresource.is_empty() {
            request.warnings.extend(pod_warnings::warnings(kind, &object));
        }
        ssa::keep_timestamps(live, &mut object);
        object["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        if object == **live {
            return Ok(Some(Written { object: live.clone(), created: false }));
        }
        if request.dry_run {
            return Ok(Some(Written { object: Arc::new(object), created: false }));
        }
        let key: ObjectKey = (namespace.clone(), name.clone());
        if is_finished(&object) {
            let value = Arc::new(object.clone());
            normalise::reserve(self, kind, Some(live), None)?;
            // Watchers are told of the last state that was stored.
            let last = self.to_storage(kind, (**live).clone());
            let gone = self.store.remove(&kind.resource, &key, seen, last);
            if gone.is_err() {
                return Ok(None);
            }
            self.after_write(kind, &namespace, &name);
            return Ok(Some(Written { object: value, created: false }));
        }
        normalise::reserve(self, kind, Some(live), Some(&object))?;
        let Ok(stored) =
            self.store.put(&kind.resource, key, Some(seen), self.to_storage(kind, object))
        else {
            return Ok(None);
        };
        let written = self.value_as(kind, &stored);
        self.after_write(kind, &namespace, &name);
        Ok(Some(Written { object: written, created: false }))
    }

    /// Decodes as the server's codec does: types, unknown fields, nulls, defaults.
    pub(crate) fn decode(
        &self,
        kind: &Kind,
        object: &mut Value,
        request: &mut Request,
    ) -> Result<(), Status> {
        let cannot =
            |why: &str| status::bad_request(prune::not_handled(&kind.kind, &kind.version, why));
        self.decode_or(kind, object, request, &cannot)
    }

    /// As [`Self::decode`], with what is answered to an object that does not fit.
    pub(crate) fn decode_or(
        &self,
        kind: &Kind,
        object: &mut Value,
        request: &mut Request,
        cannot: &dyn Fn(&str) -> Status,
    ) -> Result<(), Status> {
        let Some(schema) = kind.schema() else { return Ok(()) };
        if kind.custom.is_none()
            && let Some(error) = go_decode::go_type_error(&schema, object)
        {
            return Err(cannot(&error));
        }
        let unknown = prune::prune(&schema, object);
        if request.validation != FieldValidation::Ignore {
            // YAML's complaints come from another decoder, which is asked first and speaks of all of them at once.
            let (of_yaml, mut found): (Vec<String>, Vec<String>) =
                request.duplicates.drain(..).partition(|complaint| complaint.starts_with("line "));
            let unknown = unknown.iter().map(|path| prune::unknown_field(path));
            // The two decoders of the API server report in different orders.
            if kind.custom.is_some() {
                found.extend(unknown);
            } else {
                found.splice(0..0, unknown);
                json::in_order(&mut found, &request.body);
            }
            found.truncate(json::MAX_COMPLAINTS);
            if request.validation == FieldValidation::Strict && !of_yaml.is_empty() {
                found.insert(0, format!("yaml: unmarshal errors:\n  {}", of_yaml.join("\n  ")));
            }
            if request.validation == FieldValidation::Strict
                && let Some(error) = prune::strict_error(&found, &[])
            {
                return Err(cannot(&error));
            }
            request.warnings.extend(of_yaml.into_iter().chain(found));
        }
        // An empty list of managedFields gives all ownership up: the Go form would drop it.
        let given_up = kind.custom.is_none()
            && object.pointer("/metadata/managedFields").is_some_and(|it| *it == tree!([]));
        self.set_defaults(kind, object, request.is_apply);
        if given_up {
            object["metadata"]["managedFields"] = tree!([]);
        }
        Ok(())
    }

    /// `keep_nulls`: what an apply sets to null is not taken for absent, and so refused.
    fn set_defaults(&self, kind: &Kind, object: &mut Value, keep_nulls: bool) {
        let Some(schema) = kind.schema() else { return };
        if kind.custom.is_some() {
            if keep_nulls {
                defaulting::fill(&schema, object);
            } else {
                defaulting::default(&schema, object);
            }
            return;
        }
        go_form(object, &schema);
        go_decode::set_defaults(&schema, object);
        normalise::defaults(kind, object);
    }

    /// Records in `managedFields` who owns what after this request.
    pub(crate) fn own(
        &self,
        kind: &Kind,
        live: Option<&Value>,
        new: Value,
        subresource: &str,
        request: &Request,
    ) -> Value {
        self.with_target(kind, subresource, |target| {
            ssa::update(&ssa::UpdateRequest { target, live, new: &new, manager: &request.manager })
        })
    }

    /// Calls `work` with what the ownership functions need to know about a kind.
    pub(crate) fn with_target<T>(
        &self,
        kind: &Kind,
        subresource: &str,
        work: impl FnOnce(ssa::Target<'_>) -> T,
    ) -> T {
        let schema = kind.schema();
        let others = self.kinds.other_versions(kind);
        let others: Vec<_> =
            others.iter().map(|other| (other.api_version(), other.schema())).collect();
        let other_versions: Vec<_> =
            others.iter().map(|(version, schema)| (version.as_str(), schema.as_deref())).collect();
        let custom = kind.custom.is_some();
        let reset_fields = ssa::reset_fields(
            &kind.group,
            &kind.plural,
            subresource,
            custom,
            kind.has_subresource("status"),
        );
        let api_version = kind.api_version();
        work(ssa::Target {
            schema: schema.as_deref(),
            origin: if custom { ssa::Origin::Custom } else { ssa::Origin::BuiltIn },
            api_version: &api_version,
            kind: &kind.kind,
            other_versions: &other_versions,
            subresource,
            reset_fields: &reset_fields,
            time: self.now(),
        })
    }

    fn check_version(&self, kind: &Kind, object: &Value) -> Result<(), Status> {
        let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
        let (version, found) = (text("apiVersion"), text("kind"));
        if kind.custom.is_some() {
            if version != kind.api_version() {
                return Err(status::bad_request(format!(
                    "the API version in the data ({version}) does not match the expected API version ({})",
                    kind.api_version()
                )));
            }
            return Ok(());
        }
        if version == kind.api_version() && found == kind.kind {
            return Ok(());
        }
        let why = if self.kinds.by_kind(version, found).is_some() {
            let of = version.rsplit('/').next().unwrap_or_default();
            format!(
                "converting ({of}.{found}) to ({}.{}): unknown conversion",
                kind.go_package(),
                kind.kind
            )
        } else {
            format!(
                "no kind \"{found}\" is registered for version \"{version}\" in scheme \"pkg/runtime/scheme.go:111\""
            )
        };
        let version = version.rsplit('/').next().unwrap_or_default();
        Err(status::bad_request(format!(
            "{found} in version \"{version}\" cannot be handled as a {}: {why}",
            kind.kind
        )))
    }

    /// Objects that a cluster acts upon and the sandbox only stores are noted for the end of the run.
    fn note_what_only_lies_there(&self, kind: &Kind, object: &Value) {
        let name = metadata_text(object, "name");
        let what = match (kind.group.as_str(), kind.plural.as_str()) {
            ("admissionregistration.k8s.io", "mutatingadmissionpolicybindings") => {
                format!("changes by MutatingAdmissionPolicyBinding {name}")
            }
            ("apiregistration.k8s.io", "apiservices") if object["spec"]["service"].is_object() => {
                format!("requests to APIService {name}")
            }
            ("certificates.k8s.io", "certificatesigningrequests")
                if !object["spec"]["signerName"]
                    .as_str()
                    .is_some_and(|signer| signer.starts_with("kubernetes.io/")) =>
            {
                format!("the signer of CertificateSigningRequest {name}")
            }
            ("resource.k8s.io", "resourceclaims") => format!("devices for ResourceClaim {name}"),
            _ => return,
        };
        self.note_not_modelled(&what);
    }

    /// Objects are stored in one version of their kind, whatever the version of the request.
    pub(crate) fn to_storage(&self, kind: &Kind, mut object: Value) -> Value {
        if let Some(custom) = &kind.custom {
            object["apiVersion"] = format!("{}/{}", custom.group, custom.storage_version).into();
        }
        if events::is_other_form(kind) {
            return self.event_to_core(object);
        }
        object
    }

    /// The namespace of a new object must be there and stay.
    fn require_namespace(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status> {
        if !kind.namespaced {
            return Ok(());
        }
        let namespaces = crate::sandbox::store::GroupResource::new("", "namespaces");
        let Some(stored) = self.store.get(&namespaces, "", namespace) else {
            return Err(status::not_found("", "namespaces", namespace));
        };
        let found = self.store.value(&stored);
        if found["metadata"]["deletionTimestamp"].is_string() {
            return Err(admission::namespace_terminating(kind, namespace, name));
        }
        Ok(())
    }
}

/// The kind that a refusal names: the one in the object when a custom object names a wrong one.
fn object_kind(kind: &Kind, object: &Value) -> String {
    object.get("kind").and_then(Value::as_str).unwrap_or(&kind.kind).to_owned()
}

/// An object bears the name of its path.
pub(crate) fn check_name(wanted: &str, given: &str) -> Result<(), Status> {
    if given.is_empty() {
        return Err(status::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )));
    }
    if given != wanted {
        return Err(status::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({wanted})"
        )));
    }
    Ok(())
}

/// Fills the namespace of the request in, or refuses another one.
pub(crate) fn place(kind: &Kind, namespace: &str, object: &mut Value) -> Result<(), Status> {
    let metadata = metadata_of(object);
    if kind.custom.is_some() {
        // Metadata passes through its Go type, whatever the kind: what is empty there is not written.
        metadata.retain(|name, value| match value {
            Value::Object(fields) => !fields.is_empty(),
            Value::Array(items) => !items.is_empty(),
            Value::Null => name == "creationTimestamp",
            Value::String(_) | Value::Number(_) | Value::Bool(_) => true,
        });
    }
    let given = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
    if !kind.namespaced {
        // What has no namespace is not moved into one.
        metadata.remove("namespace");
    } else if given.is_empty() {
        metadata.insert("namespace".to_owned(), namespace.into());
    } else if given != namespace {
        return Err(status::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// The metadata map, made if it is not there.
pub(crate) fn metadata_of(object: &mut Value) -> &mut Map<String, Value> {
    if !object["metadata"].is_object() {
        object["metadata"] = tree!({});
    }
    match &mut object["metadata"] {
        Value::Object(metadata) => metadata,
        // The line above made it an object.
        _ => unreachable!("metadata is an object"),
    }
}

/// The form that an object has after a pass through the storage.
fn as_stored(kind: &Kind, object: &mut Value) {
    if kind.custom.is_none()
        && let Some(schema) = kind.schema()
    {
        without_empty_lists(object, &schema);
    }
    normalise::when_read(kind, object);
}

/// Fields that only the server sets.
fn keep_system_fields(live: &Value, object: &mut Value) {
    let metadata = metadata_of(object);
    metadata.remove("selfLink");
    for field in [
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "generateName",
    ] {
        match live["metadata"].get(field) {
            Some(value) => metadata.insert(field.to_owned(), value.clone()),
            None => metadata.remove(field),
        };
    }
}

/// Being deleted, and nothing holds it any more.
pub(crate) fn is_finished(object: &Value) -> bool {
    let metadata = &object["metadata"];
    let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    metadata["deletionTimestamp"].is_string()
        && none(&metadata["finalizers"])
        && metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
        && !(object["kind"] == "Namespace"
            && object["apiVersion"] == "v1"
            && !none(&object["spec"]["finalizers"]))
}

/// Whether a PUT of an object that is not there creates it, as the server's strategies of these kinds allow.
fn creates_on_update(kind: &Kind) -> bool {
    matches!(
        (kind.group.as_str(), kind.plural.as_str()),
        ("", "services" | "endpoints" | "events" | "limitranges")
            | ("coordination.k8s.io", "leases")
            | (
                "rbac.authorization.k8s.io",
                "roles" | "rolebindings" | "clusterroles" | "clusterrolebindings"
            )
    )
}
