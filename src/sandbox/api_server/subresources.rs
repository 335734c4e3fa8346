//! Subresources that are no plain part of their object: scale, eviction, token, reviews.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{Kind, metadata_text};
use super::verbs::delete::DeleteOptions;
use super::verbs::patch::{PatchTarget, PatchType};
use super::verbs::write::{Written, check_name};
use super::{ApiServer, Request, status, time_text};
use crate::base::clock::Clock as _;
use crate::sandbox::api::Status;
use crate::sandbox::store::GroupResource;
use crate::sandbox::validation::{Cause, selector};

impl ApiServer {
    /// The `Scale` of an object; `strict` refuses an object without a number of replicas.
    pub(crate) fn scale_of(
        &self,
        kind: &Kind,
        object: &Value,
        strict: bool,
    ) -> Result<Value, Status> {
        let metadata = &object["metadata"];
        let mut scale = json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1",
            "metadata": {
                "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
                "resourceVersion": metadata["resourceVersion"],
                "creationTimestamp": metadata["creationTimestamp"],
            },
            "spec": {}, "status": {"replicas": 0},
        });
        let paths = scale_paths(kind);
        match at(object, &paths.0).as_i64() {
            Some(0) => {}
            Some(replicas) => scale["spec"]["replicas"] = replicas.into(),
            None if kind.custom.is_some() && strict => {
                return Err(status::internal(format!(
                    "the spec replicas field \"{}\" does not exist",
                    paths.0
                )));
            }
            None => {}
        }
        scale["status"]["replicas"] = at(object, &paths.1).as_i64().unwrap_or(0).into();
        let selector = match &paths.2 {
            Some(path) => at(object, path).as_str().unwrap_or_default().to_owned(),
            None => selector_text(&object["spec"]["selector"]),
        };
        if !selector.is_empty() {
            scale["status"]["selector"] = selector.into();
        }
        Ok(scale)
    }

    /// Server-side apply to `scale`: whoever applies a Scale comes to own the replicas of its object, through `scale`.
    fn apply_scale(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        scale: &Value,
        request: &mut Request,
    ) -> Result<Arc<Value>, Status> {
        check_scale_kind(scale)?;
        let replicas = &scale["spec"]["replicas"];
        if replicas.as_i64().is_some_and(|replicas| replicas < 0) {
            let why = "must be greater than or equal to 0";
            let cause = Cause::invalid("spec.replicas", replicas, why);
            return Err(status::invalid("autoscaling", "Scale", name, vec![cause]));
        }
        let mut applied = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name},
        });
        let given = &scale["metadata"];
        for field in ["name", "resourceVersion", "uid"] {
            if !given[field].is_null() {
                applied["metadata"][field] = given[field].clone();
            }
        }
        if !replicas.is_null() {
            set_at(&mut applied, &scale_paths(kind).0, replicas.clone());
        }
        let target = PatchTarget { namespace, name, subresource: "scale" };
        match self.apply(kind, target, applied, request) {
            Ok(written) => Ok(Arc::new(self.scale_of(kind, &written.object, true)?)),
            Err(mut refused) if refused.reason == "Conflict" => {
                // Owners are told of as owners of the Scale.
                let (ours, theirs) =
                    (format!("using {}", kind.api_version()), "using autoscaling/v1");
                refused.message = refused.message.replace(&ours, theirs);
                let causes = refused.details.get_mut("causes").and_then(Value::as_array_mut);
                for cause in causes.into_iter().flatten() {
                    let message = cause["message"].as_str().unwrap_or_default();
                    cause["message"] = message.replace(&ours, theirs).into();
                }
                Err(refused)
            }
            Err(refused) => Err(refused),
        }
    }

    /// PUT or PATCH of `scale`.
    pub(crate) fn write_scale(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        change: &(PatchType, Value),
        request: &mut Request,
    ) -> Result<Arc<Value>, Status> {
        if request.is_apply {
            return self.apply_scale(kind, namespace, name, &change.1, request);
        }
        let paths = scale_paths(kind);
        let written = self.change(kind, namespace, name, "scale", request, |live, _| {
            let scale = self.scale_of(kind, live, false)?;
            let scale_kind = self.kinds.by_kind("autoscaling/v1", "HorizontalPodAutoscaler");
            let new = match (change, scale_kind) {
                ((PatchType::Apply, body), _) => body.clone(),
                ((patch_type, body), Some(any)) => self.patched(&any, *patch_type, &scale, body)?,
                ((_, _), None) => return Err(status::resource_not_found()),
            };
            if matches!(change.0, PatchType::Apply) {
                check_scale_kind(&new)?;
                check_name(name, metadata_text(&new, "name"))?;
            }
            if let Some(error) = scale_type_error(&new["spec"]["replicas"]) {
                let shown = Value::from(new.to_string());
                let cause = Cause::invalid("patch", &shown, error);
                return Err(status::invalid("", "", "", vec![cause]));
            }
            let given = metadata_text(&new, "resourceVersion");
            if !given.is_empty() && given != metadata_text(live, "resourceVersion") {
                return Err(status::modified(&kind.group, &kind.plural, name));
            }
            let replicas = new["spec"]["replicas"].as_i64().unwrap_or(0);
            if replicas < 0 && kind.custom.is_some() {
                let why = "should be a non-negative integer";
                let cause = Cause::invalid(&paths.0, &replicas.into(), why);
                return Err(status::invalid(&kind.group, &kind.kind, name, vec![cause]));
            }
            if replicas < 0 {
                let cause = Cause::invalid(
                    "spec.replicas",
                    &replicas.into(),
                    "must be greater than or equal to 0",
                );
                return Err(status::invalid("autoscaling", "Scale", name, vec![cause]));
            }
            let mut object = live.clone();
            set_at(&mut object, &paths.0, replicas.into());
            Ok(object)
        })?;
        Ok(Arc::new(self.scale_of(kind, &written.object, true)?))
    }

    /// `pods/eviction`: a deletion that PodDisruptionBudgets may refuse.
    pub(crate) fn evict(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        body: &Value,
        request: &mut Request,
    ) -> Result<Value, Status> {
        if metadata_text(body, "name") != name {
            return Err(status::bad_request("name in URL does not match name in Eviction object"));
        }
        let pod =
            self.read(kind, namespace, name).ok_or_else(|| status::not_found("", "pods", name))?;
        let budgets = GroupResource::new("policy", "poddisruptionbudgets");
        for stored in self.store.list(&budgets, namespace, None, 0).objects {
            let budget = self.store.value(&stored);
            if !selector::matches(&budget["spec"]["selector"], &pod["metadata"]["labels"]) {
                continue;
            }
            if budget["status"]["disruptionsAllowed"].as_i64().unwrap_or(0) <= 0 {
                let healthy = &budget["status"]["currentHealthy"];
                let desired = &budget["status"]["desiredHealthy"];
                return Err(Status {
                    code: 429,
                    reason: "TooManyRequests".to_owned(),
                    message: "Cannot evict pod as it would violate the pod's disruption budget."
                        .to_owned(),
                    details: json!({"causes": [{
                        "reason": "DisruptionBudget",
                        "message": format!(
                            "The disruption budget {} needs {desired} healthy pods and has {healthy} currently",
                            metadata_text(&budget, "name")
                        )
                    }]}),
                });
            }
        }
        let options = DeleteOptions {
            grace_period_seconds: body["deleteOptions"]["gracePeriodSeconds"].as_i64(),
            ..DeleteOptions::default()
        };
        self.delete(kind, namespace, name, &options, request)?;
        Ok(
            json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}),
        )
    }

    /// `pods/binding`, and `bindings` (without a name of its path): puts a pod onto a node.
    pub(crate) fn bind(
        &self,
        namespace: &str,
        name: &str,
        body: &Value,
        request: &mut Request,
    ) -> Result<Value, Status> {
        let name = if name.is_empty() { metadata_text(body, "name") } else { name };
        let node = body["target"]["name"].as_str().unwrap_or_default();
        if node.is_empty() {
            return Err(Status {
                code: 500,
                reason: String::new(),
                message: "target.name: Required value".to_owned(),
                details: Value::Null,
            });
        }
        self.bind_pod(namespace, name, node, request)?;
        Ok(json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201
        }))
    }

    /// `serviceaccounts/token`: a token in the form of a real one, signed by nobody.
    pub(crate) fn token(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        body: &Value,
        request: &Request,
    ) -> Result<Value, Status> {
        let refuse = |of: &str, cause: Cause| {
            status::invalid("authentication.k8s.io", "TokenRequest", of, vec![cause])
        };
        let account = self
            .read(kind, namespace, name)
            .ok_or_else(|| status::not_found("", "serviceaccounts", name))?;
        let seconds = body["spec"]["expirationSeconds"].as_i64().unwrap_or(3_600);
        let given = metadata_text(body, "name");
        if !given.is_empty() && given != name {
            let why = "must match the service account name if specified";
            return Err(refuse(name, Cause::invalid("metadata.name", &given.into(), why)));
        }
        let limits = [
            (seconds < 600, "may not specify a duration less than 10 minutes"),
            (seconds > 1 << 32, "may not specify a duration larger than 2^32 seconds"),
        ];
        if let Some((_, why)) = limits.into_iter().find(|(wrong, _)| *wrong) {
            let cause = Cause::invalid("spec.expirationSeconds", &seconds.into(), why);
            return Err(refuse("", cause));
        }
        let bound = &body["spec"]["boundObjectRef"];
        if bound.is_object() {
            let text = |field: &str| bound[field].as_str().unwrap_or_default();
            let plural = match (text("apiVersion"), text("kind")) {
                ("v1", "Pod") => "pods",
                ("v1", "Secret") => "secrets",
                ("v1", "Node") => "nodes",
                (version, kind) => {
                    let (group, version) = version.split_once('/').unwrap_or(("", version));
                    return Err(status::bad_request(format!(
                        "cannot bind token to object of type {group}/{version}, Kind={kind}"
                    )));
                }
            };
            let place = if plural == "nodes" { "" } else { namespace };
            let resource = GroupResource::new("", plural);
            if self.store.get(&resource, place, text("name")).is_none() {
                return Err(status::not_found("", plural, text("name")));
            }
        }
        let audiences = match body["spec"]["audiences"].as_array() {
            Some(list) if !list.is_empty() => Value::from(list.clone()),
            _ => json!(["https://kubernetes.default.svc.cluster.local"]),
        };
        let now = self.now().as_second();
        let claims = json!({
            "aud": audiences, "exp": now + seconds, "iat": now, "nbf": now,
            "iss": "https://kubernetes.default.svc.cluster.local",
            "jti": self.random_uid(),
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": name, "uid": account["metadata"]["uid"]}
            },
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let token = self
            .signed(&claims)
            .ok_or_else(|| status::internal("there is no randomness to sign tokens with"))?;
        let expires = self
            .now()
            .checked_add(jiff::SignedDuration::from_secs(seconds))
            .unwrap_or_else(|_| self.clock.now());
        let mut asked = body.clone();
        asked["apiVersion"] = "authentication.k8s.io/v1".into();
        asked["kind"] = "TokenRequest".into();
        let asked = match self.kinds.by_kind("authentication.k8s.io/v1", "TokenReview") {
            Some(like) => self.own(&like, None, asked, "token", request),
            None => asked,
        };
        Ok(json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": name, "namespace": namespace, "uid": account["metadata"]["uid"],
                "creationTimestamp": self.now_text(),
                "managedFields": asked["metadata"]["managedFields"]
            },
            "spec": {
                "audiences": audiences, "expirationSeconds": seconds,
                "boundObjectRef": body["spec"]["boundObjectRef"]
            },
            "status": {"token": token, "expirationTimestamp": time_text(expires)},
        }))
    }

    /// PUT of `namespaces/finalize`.
    pub(crate) fn finalize(
        &self,
        name: &str,
        body: &Value,
        request: &mut Request,
    ) -> Result<Written, Status> {
        let object = self.set_namespace_finalizers(name, &body["spec"]["finalizers"], request)?;
        Ok(Written { object, created: false })
    }
}

/// Whether anybody owns the replicas that `scale` is about. Where nobody does, whoever writes a Scale does not come to own them:
/// the API server tracks no owners of an object, here the Scale, that had none before.
pub(crate) fn replicas_are_owned(kind: &Kind, object: &Value) -> bool {
    let path = scale_paths(kind).0;
    let entries = object["metadata"]["managedFields"].as_array().into_iter().flatten();
    entries.map(|entry| &entry["fieldsV1"]).any(|owned| {
        let parts = path.split('.').filter(|part| !part.is_empty());
        !parts.fold(owned, |owned, part| &owned[format!("f:{part}")]).is_null()
    })
}

/// Refuses what is no `Scale`.
fn check_scale_kind(body: &Value) -> Result<(), Status> {
    let found = body["kind"].as_str().unwrap_or_default();
    if found == "Scale" {
        return Ok(());
    }
    let version = body["apiVersion"].as_str().unwrap_or_default();
    let version = version.rsplit('/').next().unwrap_or_default();
    Err(status::bad_request(format!(
        "{found} in version \"{version}\" cannot be handled as a Scale: converting ({version}.{found}) to (autoscaling.Scale): unknown conversion"
    )))
}

/// Why a number of replicas does not decode.
fn scale_type_error(replicas: &Value) -> Option<String> {
    let found = match replicas {
        Value::Null => return None,
        Value::Number(number) if number.is_i64() => return None,
        Value::Number(number) => {
            return Some(format!(
                "json: cannot unmarshal number {number} into Go struct field ScaleSpec.spec.replicas of type int32"
            ));
        }
        Value::String(_) => "string",
        Value::Bool(_) => "bool",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    Some(format!(
        "json: cannot unmarshal {found} into Go struct field ScaleSpec.spec.replicas of type int32"
    ))
}

fn scale_paths(kind: &Kind) -> (String, String, Option<String>) {
    match kind.custom.as_ref().and_then(|custom| custom.scale()) {
        Some(paths) => (paths.spec_replicas, paths.status_replicas, paths.label_selector),
        None => (".spec.replicas".to_owned(), ".status.replicas".to_owned(), None),
    }
}

fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').filter(|part| !part.is_empty()).fold(object, |value, part| &value[part])
}

fn set_at(object: &mut Value, path: &str, value: Value) {
    let mut found = object;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        if !found.is_object() {
            *found = json!({});
        }
        found = &mut found[part];
    }
    *found = value;
}

/// A label selector as a query has it.
fn selector_text(selector: &Value) -> String {
    let labels = selector.get("matchLabels").unwrap_or(selector);
    let mut terms: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    for term in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = term["key"].as_str().unwrap_or_default();
        let values: Vec<&str> =
            term["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        terms.push(match term["operator"].as_str() {
            Some("In") => format!("{key} in ({})", values.join(",")),
            Some("NotIn") => format!("{key} notin ({})", values.join(",")),
            Some("DoesNotExist") => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    terms.join(",")
}
