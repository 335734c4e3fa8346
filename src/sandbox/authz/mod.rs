//! Who may do what: RBAC, access reviews and impersonation as pure functions over the stored roles and bindings.
//!
//! Answers and texts are those of kube-apiserver 1.36.3. How the verb pipeline uses it: read the user from the
//! credentials; `impersonation::requested` on the headers, `authorize` each of its checks; `authorize` the request and
//! answer `forbidden` when it is not allowed; on writes of roles and bindings `escalation`; on a POST of an access
//! review `review`; after writes of ClusterRoles `aggregated`. A new cluster starts with `bootstrap`'s objects.
//!
//! Reading order: this file (a decision), `rules`, `escalation`, `reviews`, `impersonation`, `bootstrap`.

mod bootstrap;
mod escalation;
mod impersonation;
mod reviews;
mod rules;

use std::sync::Arc;

use serde_json::{Value, json};

use super::api::Status;
use super::ssa::go_text::quoted;

pub use bootstrap::bootstrap;
pub use escalation::{aggregated, escalation};
pub use impersonation::{Impersonation, requested};
pub use reviews::{is_review, review};
pub use rules::Rule;

/// The group that may do anything, whatever the roles say.
pub const MASTERS: &str = "system:masters";
const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";
const GROUP: &str = "rbac.authorization.k8s.io";

/// Who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    /// Keys in lower case, with all values.
    pub extra: Vec<(String, Vec<String>)>,
}

impl User {
    /// Nobody known.
    pub fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// A user by name and groups; every known user is in `system:authenticated`.
    pub fn named(name: &str, groups: &[&str]) -> Self {
        let mut groups: Vec<String> = groups.iter().map(|group| (*group).to_owned()).collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { name: name.to_owned(), groups, ..Self::default() }
    }

    /// A service account by namespace and name.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::named(
            &format!("system:serviceaccount:{namespace}:{name}"),
            &["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")],
        )
    }

    fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|found| found == group)
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`, …
    pub verb: String,
    /// Empty for cluster-scoped resources and for all namespaces.
    pub namespace: String,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub name: String,
    /// Set for a path that is no resource: `/metrics`; the resource is empty then.
    pub path: String,
}

impl Access {
    /// Access to a path that is no resource.
    pub fn to_path(verb: &str, path: &str) -> Self {
        Self { verb: verb.to_owned(), path: path.to_owned(), ..Self::default() }
    }

    /// `deployments/scale`
    fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }
}

/// The stored objects that decide.
pub trait Roles {
    /// A ClusterRole.
    fn cluster_role(&self, name: &str) -> Option<Arc<Value>>;
    /// A Role.
    fn role(&self, namespace: &str, name: &str) -> Option<Arc<Value>>;
    /// All ClusterRoleBindings.
    fn cluster_role_bindings(&self) -> Vec<Arc<Value>>;
    /// The RoleBindings of a namespace.
    fn role_bindings(&self, namespace: &str) -> Vec<Arc<Value>>;
}

/// An answer, with the words that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    /// Which binding allows it, or what is wrong with the bindings. May be empty.
    pub reason: String,
}

/// Whether the user may do that.
pub fn authorize(roles: &dyn Roles, user: &User, access: &Access) -> Decision {
    if user.is_in(MASTERS) {
        return Decision { allowed: true, reason: String::new() };
    }
    let mut errors = Vec::new();
    for grant in grants(roles, user, &access.namespace) {
        match grant.rules {
            Err(error) => errors.push(error),
            Ok(rules) => {
                if rules.iter().any(|rule| rule.allows(access)) {
                    let reason = format!("RBAC: allowed by {}", grant.source);
                    return Decision { allowed: true, reason };
                }
            }
        }
    }
    let reason = match errors.as_slice() {
        [] => String::new(),
        [only] => format!("RBAC: {only}"),
        many => {
            let mut unique: Vec<&str> = Vec::new();
            for error in many {
                if !unique.contains(&error.as_str()) {
                    unique.push(error);
                }
            }
            match unique.as_slice() {
                [only] => format!("RBAC: {only}"),
                unique => format!("RBAC: [{}]", unique.join(", ")),
            }
        }
    };
    Decision { allowed: false, reason }
}

/// All rules that hold for the user in the namespace.
fn rules_of(roles: &dyn Roles, user: &User, namespace: &str) -> Vec<Rule> {
    grants(roles, user, namespace)
        .into_iter()
        .filter_map(|grant| grant.rules.ok())
        .flatten()
        .collect()
}

/// What one binding gives to a user.
struct Grant {
    /// `ClusterRoleBinding "a" of ClusterRole "b" to User "c"`
    source: String,
    /// Or why its role cannot be read.
    rules: Result<Vec<Rule>, String>,
}

fn grants(roles: &dyn Roles, user: &User, namespace: &str) -> Vec<Grant> {
    let mut out = Vec::new();
    for binding in roles.cluster_role_bindings() {
        if let Some(subject) = subject_of(&binding, user, "") {
            out.push(grant(roles, &binding, "ClusterRoleBinding", &subject, ""));
        }
    }
    if !namespace.is_empty() {
        for binding in roles.role_bindings(namespace) {
            if let Some(subject) = subject_of(&binding, user, namespace) {
                out.push(grant(roles, &binding, "RoleBinding", &subject, namespace));
            }
        }
    }
    out
}

fn grant(
    roles: &dyn Roles,
    binding: &Value,
    binding_kind: &str,
    subject: &str,
    namespace: &str,
) -> Grant {
    let text = |object: &Value, name: &str| {
        object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let reference = binding.get("roleRef").cloned().unwrap_or_default();
    let (kind, role) = (text(&reference, "kind"), text(&reference, "name"));
    let name = binding.get("metadata").map(|metadata| text(metadata, "name")).unwrap_or_default();
    // The API server names the binding before its namespace.
    let name = if namespace.is_empty() { name } else { format!("{name}/{namespace}") };
    let source =
        format!("{binding_kind} {} of {kind} {} to {subject}", quoted(&name), quoted(&role));
    let rules = rules_of_role(roles, &kind, namespace, &role);
    Grant { source, rules }
}

/// The rules of the role that a binding names.
fn rules_of_role(
    roles: &dyn Roles,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Vec<Rule>, String> {
    let (found, resource) = match kind {
        "ClusterRole" => (roles.cluster_role(name), "clusterrole"),
        "Role" => (roles.role(namespace, name), "role"),
        other => return Err(format!("unsupported role reference kind: {}", quoted(other))),
    };
    match found {
        Some(role) => Ok(Rule::all_of(&role)),
        None => Err(format!("{resource}.{GROUP} {} not found", quoted(name))),
    }
}

/// The subject of the binding that is the user, as messages name it.
fn subject_of(binding: &Value, user: &User, namespace: &str) -> Option<String> {
    let subjects = binding.get("subjects")?.as_array()?;
    subjects.iter().find_map(|subject| {
        let text = |name: &str| subject.get(name).and_then(Value::as_str).unwrap_or_default();
        let (kind, name) = (text("kind"), text("name"));
        match kind {
            "User" => (user.name == name).then(|| format!("User {}", quoted(name))),
            "Group" => user.is_in(name).then(|| format!("Group {}", quoted(name))),
            "ServiceAccount" => {
                let given = text("namespace");
                let namespace = if given.is_empty() { namespace } else { given };
                let is = !namespace.is_empty()
                    && user.name == format!("system:serviceaccount:{namespace}:{name}");
                is.then(|| format!("ServiceAccount {}", quoted(&format!("{name}/{namespace}"))))
            }
            _ => None,
        }
    })
}

/// The answer to a request that is not allowed.
pub fn forbidden(user: &User, access: &Access, reason: &str) -> Status {
    let who = quoted(&user.name);
    let what = if access.resource.is_empty() {
        format!("User {who} cannot {} path {}", access.verb, quoted(&access.path))
    } else {
        let scope = if access.namespace.is_empty() {
            "at the cluster scope".to_owned()
        } else {
            format!("in the namespace {}", quoted(&access.namespace))
        };
        format!(
            "User {who} cannot {} resource {} in API group {} {scope}",
            access.verb,
            quoted(&access.full_resource()),
            quoted(&access.group)
        )
    };
    let what = what.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let what = if reason.is_empty() { what } else { format!("{what}: {reason}") };
    refusal(access, &what)
}

/// A 403 about a resource, with the words behind `is forbidden:`.
fn refusal(access: &Access, what: &str) -> Status {
    let resource = match (access.resource.as_str(), access.group.as_str()) {
        (resource, "") => resource.to_owned(),
        (resource, group) => format!("{resource}.{group}"),
    };
    let message = match (access.resource.as_str(), access.name.as_str()) {
        ("", _) => format!("forbidden: {what}"),
        (_, "") => format!("{resource} is forbidden: {what}"),
        (_, name) => format!("{resource} {} is forbidden: {what}", quoted(name)),
    };
    let mut details = json!({});
    for (name, value) in
        [("name", &access.name), ("group", &access.group), ("kind", &access.resource)]
    {
        if !value.is_empty() {
            details[name] = Value::from(value.as_str());
        }
    }
    Status { code: 403, reason: "Forbidden".to_owned(), message, details }
}
