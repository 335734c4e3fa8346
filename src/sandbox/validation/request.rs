//! A write as admission sees it, and whether rules and selectors of policies and webhooks cover it.

use kube_cel::cel;
use serde_json::{Value, json};

use super::cel::engine::{self, Variables};
use super::selector;

/// A resource of a group in a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupVersionResource<'a> {
    pub group: &'a str,
    pub version: &'a str,
    /// `deployments`
    pub plural: &'a str,
    pub kind: &'a str,
}

/// Who asks.
#[derive(Clone, Debug, Default)]
pub struct User<'a> {
    pub name: &'a str,
    pub uid: &'a str,
    pub groups: &'a [String],
}

/// One request to be admitted.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    pub resource: GroupVersionResource<'a>,
    /// The same resource as other groups or versions serve it, for `matchPolicy: Equivalent`.
    pub equivalents: &'a [GroupVersionResource<'a>],
    /// `status`, `scale`, …; empty for the object itself.
    pub subresource: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operation: &'a str,
    /// Empty for cluster-scoped objects.
    pub namespace: &'a str,
    pub name: &'a str,
    pub user: User<'a>,
    pub dry_run: bool,
    /// `None` for DELETE.
    pub object: Option<&'a Value>,
    /// `None` for CREATE.
    pub old_object: Option<&'a Value>,
    /// The Namespace that the object is in.
    pub namespace_object: Option<&'a Value>,
}

impl Request<'_> {
    /// Requests for admission's own configuration pass neither webhooks nor policies: a wrong one could not be mended.
    pub fn is_exempt(&self) -> bool {
        self.resource.group == "admissionregistration.k8s.io"
            && [
                "mutatingadmissionpolicies",
                "mutatingadmissionpolicybindings",
                "mutatingwebhookconfigurations",
                "validatingadmissionpolicies",
                "validatingadmissionpolicybindings",
                "validatingwebhookconfigurations",
            ]
            .contains(&self.resource.plural)
    }

    /// Whether a `RuleWithOperations` (or `NamedRuleWithOperations`) covers the request; `equivalent` also asks for the
    /// resource's other versions.
    pub(super) fn matches_rule(&self, rule: &Value, equivalent: bool) -> bool {
        let scope = match rule["scope"].as_str() {
            Some("Namespaced") => !self.namespace.is_empty(),
            Some("Cluster") => self.namespace.is_empty() || self.resource.plural == "namespaces",
            Some(_) | None => true,
        };
        let names = list(&rule["resourceNames"]);
        scope
            && has(&rule["operations"], self.operation)
            && (names.is_empty() || names.iter().any(|name| name == self.name))
            && (self.matches_resource(rule, self.resource)
                || (equivalent
                    && self.equivalents.iter().any(|other| self.matches_resource(rule, *other))))
    }

    fn matches_resource(&self, rule: &Value, resource: GroupVersionResource<'_>) -> bool {
        has(&rule["apiGroups"], resource.group)
            && has(&rule["apiVersions"], resource.version)
            && list(&rule["resources"]).iter().filter_map(Value::as_str).any(|wanted| {
                let (plural, subresource) = wanted.split_once('/').unwrap_or((wanted, ""));
                (plural == "*" || plural == resource.plural)
                    && (subresource == self.subresource || subresource == "*")
            })
    }

    /// Whether the object, as it is or as it was, has the labels of `objectSelector`.
    pub(super) fn matches_object(&self, wanted: &Value) -> bool {
        if wanted.is_null() || selector::is_empty(wanted) {
            return true;
        }
        [self.object, self.old_object]
            .into_iter()
            .flatten()
            .any(|object| selector::matches(wanted, &object["metadata"]["labels"]))
    }

    /// Whether the object's namespace has the labels of `namespaceSelector`. A Namespace is asked itself; what else has
    /// no namespace is always covered.
    pub(super) fn matches_namespace(&self, wanted: &Value) -> bool {
        if wanted.is_null() || selector::is_empty(wanted) {
            return true;
        }
        if self.resource.plural == "namespaces" && self.resource.group.is_empty() {
            let namespace = self.object.or(self.old_object).unwrap_or(&Value::Null);
            return selector::matches(wanted, &namespace["metadata"]["labels"]);
        }
        if self.namespace.is_empty() {
            return true;
        }
        let namespace = self.namespace_object.unwrap_or(&Value::Null);
        selector::matches(wanted, &namespace["metadata"]["labels"])
    }

    /// What expressions of match conditions can name.
    pub(super) fn variables(&self) -> Variables {
        let object = |object: Option<&Value>| object.map_or(cel::Value::Null, engine::from_json);
        let mut variables = Variables::new();
        variables.add("object", object(self.object));
        variables.add("oldObject", object(self.old_object));
        variables.add("request", engine::from_json(&self.described()));
        variables
    }

    fn described(&self) -> Value {
        let GroupVersionResource { group, version, plural, kind } = self.resource;
        let kind = json!({"group": group, "version": version, "kind": kind});
        let resource = json!({"group": group, "version": version, "resource": plural});
        json!({
            "kind": kind, "requestKind": kind,
            "resource": resource, "requestResource": resource,
            "subResource": self.subresource, "requestSubResource": self.subresource,
            "name": self.name, "namespace": self.namespace, "operation": self.operation,
            "dryRun": self.dry_run, "options": {},
            "userInfo": {
                "username": self.user.name, "uid": self.user.uid, "groups": self.user.groups, "extra": {},
            },
        })
    }
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn has(values: &Value, wanted: &str) -> bool {
    list(values).iter().any(|value| value == "*" || value == wanted)
}

/// One of `matchConditions`.
pub(super) struct Condition {
    source: String,
    pub(super) expression: engine::Expression,
}

/// What the conditions of a policy or webhook say about a request.
pub(super) enum Conditions {
    AllTrue,
    /// One is false: the request is none of its business.
    NotAll,
    /// One could not be evaluated, and none is false.
    Failed(String),
}

/// Evaluates `matchConditions`.
pub(super) fn conditions(conditions: &[Condition], variables: &Variables) -> Conditions {
    let mut failed = None;
    for condition in conditions {
        match condition.expression.is_true(variables) {
            Ok(true) => {}
            Ok(false) => return Conditions::NotAll,
            Err(why) => {
                let source = condition.source.trim();
                failed.get_or_insert_with(|| {
                    format!("expression '{source}' resulted in error: {why}")
                });
            }
        }
    }
    failed.map_or(Conditions::AllTrue, Conditions::Failed)
}

/// Compiles `matchConditions`.
pub(super) fn compile_conditions(conditions: &Value) -> Vec<Condition> {
    list(conditions)
        .iter()
        .map(|condition| {
            let source = condition["expression"].as_str().unwrap_or_default().to_owned();
            Condition { expression: engine::Expression::new(&source), source }
        })
        .collect()
}
