//! Admission by objects of the cluster: ValidatingAdmissionPolicies with their bindings, and webhooks.
//!
//! What they say is `sandbox::validation`'s; here is which ones there are, read once per change, and the call of those
//! webhooks whose Service the sandbox knows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use serde_json::{Value, json};

use super::kinds::{Kind, metadata_text};
use super::{ApiServer, Request, status};
use crate::sandbox::api::Status;
use crate::sandbox::faults::HookFault;
use crate::sandbox::mesh::webhook as simulated;
use crate::sandbox::store::GroupResource;
use crate::sandbox::validation::policy::{self, ParamQuery, Policy};
use crate::sandbox::validation::request::{GroupVersionResource, Request as Admitted, User};
use crate::sandbox::validation::selector;
use crate::sandbox::validation::webhook::{self, Hook, Target};

/// The group of the objects that configure admission.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// What is configured, with its expressions compiled.
struct Configured {
    policies: Vec<Policy>,
    bindings: Vec<Arc<Value>>,
    mutating: Vec<Arc<Value>>,
    validating: Vec<Arc<Value>>,
}

impl Configured {
    fn read(server: &ApiServer) -> Self {
        let list = |plural: &str| -> Vec<Arc<Value>> {
            let page = server.store.list(&GroupResource::new(GROUP, plural), "", None, 0);
            page.objects.iter().map(|stored| server.store.value(stored)).collect()
        };
        let bindings = list("validatingadmissionpolicybindings");
        let bound = |policy: &Arc<Value>| {
            let name = metadata_text(policy, "name");
            bindings.iter().any(|binding| binding["spec"]["policyName"] == name)
        };
        let policies = list("validatingadmissionpolicies");
        let policies: Vec<Policy> = policies.into_iter().filter(bound).map(Policy::new).collect();
        for asking in policies.iter().filter(|policy| policy.asks_authorizer()) {
            let name = asking.name();
            server.note_not_modelled(&format!("`authorizer` in ValidatingAdmissionPolicy {name}"));
        }
        Self {
            policies,
            bindings,
            mutating: list("mutatingwebhookconfigurations"),
            validating: list("validatingwebhookconfigurations"),
        }
    }
}

/// Remembers what is configured until it changes.
#[derive(Default)]
pub(crate) struct Extensions {
    changes: AtomicU64,
    /// With the number of changes that it knows of.
    configured: RwLock<Option<(u64, Arc<Configured>)>>,
}

impl Extensions {
    /// Told after each write of the group.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    fn now(&self, server: &ApiServer) -> Arc<Configured> {
        let changes = self.changes.load(Ordering::SeqCst);
        if let Some((seen, configured)) = &*self.configured.read()
            && *seen == changes
        {
            return configured.clone();
        }
        let configured = Arc::new(Configured::read(server));
        *self.configured.write() = Some((changes, configured.clone()));
        configured
    }
}

/// One write, as admission is asked about it.
#[derive(Clone, Copy)]
pub(crate) struct Write<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) live: Option<&'a Value>,
    /// `None` for a deletion.
    pub(crate) object: Option<&'a Value>,
    pub(crate) operation: &'a str,
    pub(crate) subresource: &'a str,
}

/// Asks the mutating webhooks. Those that change objects (sidecar injection) change none here: nobody asks for sidecars
/// in an ambient mesh, but whether they can be reached matters.
pub(crate) fn mutate(
    server: &ApiServer,
    write: Write<'_>,
    request: &Request,
) -> Result<(), Status> {
    let configured = server.extensions.now(server);
    if configured.mutating.is_empty() || write.kind.group == GROUP {
        return Ok(());
    }
    with_admitted(server, write, request, |admitted| hooks(server, &configured.mutating, admitted))
}

/// Asks policies, then validating webhooks.
pub(crate) fn validate(
    server: &ApiServer,
    write: Write<'_>,
    request: &mut Request,
) -> Result<(), Status> {
    let configured = server.extensions.now(server);
    let nothing = configured.policies.is_empty() && configured.validating.is_empty();
    if nothing || write.kind.group == GROUP {
        return Ok(());
    }
    let mut warnings = Vec::new();
    let outcome = with_admitted(server, write, request, |admitted| {
        let params = |query: &ParamQuery<'_>| params(server, query, admitted.namespace);
        let verdict =
            policy::evaluate(&configured.policies, &configured.bindings, admitted, &params);
        warnings = verdict.warnings;
        match verdict.denied {
            Some(denial) => Err(denied(write.kind, admitted.name, &denial)),
            None => hooks(server, &configured.validating, admitted),
        }
    });
    request.warnings.extend(warnings);
    outcome
}

fn with_admitted<T>(
    server: &ApiServer,
    write: Write<'_>,
    request: &Request,
    work: impl FnOnce(&Admitted<'_>) -> T,
) -> T {
    let kind = write.kind;
    let subject = write.object.or(write.live).unwrap_or(&Value::Null);
    let namespace = if kind.namespaced { metadata_text(subject, "namespace") } else { "" };
    let namespaces = GroupResource::new("", "namespaces");
    let namespace_object =
        server.store.get(&namespaces, "", namespace).map(|stored| server.store.value(&stored));
    let others = server.kinds.other_versions(kind);
    let resource =
        |kind: &'_ Kind| -> (String, String) { (kind.version.clone(), kind.kind.clone()) };
    let named: Vec<(String, String)> = others.iter().map(|other| resource(other)).collect();
    let equivalents: Vec<GroupVersionResource<'_>> = named
        .iter()
        .map(|(version, name)| GroupVersionResource {
            group: &kind.group,
            version,
            plural: &kind.plural,
            kind: name,
        })
        .collect();
    work(&Admitted {
        resource: GroupVersionResource {
            group: &kind.group,
            version: &kind.version,
            plural: &kind.plural,
            kind: &kind.kind,
        },
        equivalents: &equivalents,
        subresource: write.subresource,
        operation: write.operation,
        namespace,
        name: metadata_text(subject, "name"),
        user: User { name: &request.user, uid: "", groups: &request.groups },
        dry_run: request.dry_run,
        object: write.object,
        old_object: write.live,
        namespace_object: namespace_object.as_deref(),
    })
}

/// The objects that a binding takes its parameters from.
fn params(server: &ApiServer, query: &ParamQuery<'_>, namespace: &str) -> Vec<Arc<Value>> {
    let Some(kind) = server.kinds.by_kind(query.api_version, query.kind) else { return Vec::new() };
    let namespace = if kind.namespaced { query.namespace.unwrap_or(namespace) } else { "" };
    if let Some(name) = query.name {
        return server.read(&kind, namespace, name).into_iter().collect();
    }
    let page = server.store.list(&kind.resource, namespace, None, 0);
    page.objects
        .iter()
        .map(|stored| server.value_as(&kind, stored))
        .filter(|found| selector::matches(query.selector, &found["metadata"]["labels"]))
        .collect()
}

fn denied(kind: &Kind, name: &str, denial: &policy::Denial) -> Status {
    let mut status = status::forbidden(&kind.group, &kind.plural, name, &denial.message);
    status.code = denial.code;
    status.reason.clone_from(&denial.reason);
    status.details["causes"] = json!([{ "message": denial.message }]);
    status
}

fn hooks(
    server: &ApiServer,
    configurations: &[Arc<Value>],
    admitted: &Admitted<'_>,
) -> Result<(), Status> {
    let found = webhook::matching(configurations.iter().map(|found| &**found), admitted)
        .map_err(status::internal)?;
    found.iter().try_for_each(|hook| call(server, hook, admitted))
}

fn call(server: &ApiServer, hook: &Hook, admitted: &Admitted<'_>) -> Result<(), Status> {
    if admitted.dry_run && hook.has_side_effects {
        return Err(status::bad_request(hook.refuses_dry_run()));
    }
    let fault = server.faults.hook(&hook.name);
    if let Some(HookFault::Denies(why)) = fault {
        return Err(denial(hook, &why));
    }
    let unreachable = match (&hook.target, fault) {
        (_, Some(HookFault::Unreachable(why))) => hook.unreachable(&why),
        (Target::Url(_), _) => {
            server.note_not_modelled(&format!("the admission webhook {} at a URL", hook.name));
            hook.unreachable("the sandbox calls no webhooks by URL")
        }
        (Target::Service { namespace, name, path, .. }, _) => {
            match simulated::reachable(server, namespace, name) {
                Err(why) => hook.unreachable(&why),
                Ok(()) if !simulated::is_modelled(name) => {
                    let service = format!("{namespace}/{name}");
                    server
                        .note_not_modelled(&format!("the admission webhook of Service {service}"));
                    return Ok(());
                }
                Ok(()) => {
                    let Some(object) = admitted.object else { return Ok(()) };
                    return simulated::review(server, name, path, object)
                        .map_err(|why| denial(hook, &why));
                }
            }
        }
    };
    if hook.ignores_failure {
        return Ok(());
    }
    let why = unreachable.strip_prefix("Internal error occurred: ").unwrap_or(&unreachable);
    Err(status::internal(why))
}

/// The refusal of a webhook that says why.
fn denial(hook: &Hook, why: &str) -> Status {
    let (code, reason, message) = hook.denied(&json!({ "message": why, "reason": "" }));
    let reason = if reason.is_empty() { "BadRequest".to_owned() } else { reason };
    Status { code, reason, message, details: Value::Null }
}
