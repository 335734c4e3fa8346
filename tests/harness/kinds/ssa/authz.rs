//! RBAC beside the real API server: the same users ask the same things, in access reviews and in writes of roles.
//!
//! `tests/cases/authz/objects.yaml` holds roles and bindings, `answers.json` what kube-apiserver 1.36.3 answered.

use std::fs;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use meshscript::sandbox::authz::{self, Access, Roles, User};
use serde_json::{Value, json};

use super::bed::{self, Bed};
use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("authz/answers_are_the_servers", answers),
        Trial::test("authz/aggregated_roles_are_up_to_date", aggregation),
        Trial::test("authz/impersonation_asks_for_each_part", impersonation),
    ]
}

struct Stored(Vec<Arc<Value>>);

impl Stored {
    fn load() -> Result<Self, Failed> {
        let mut all = authz::bootstrap();
        all.extend(own()?);
        Ok(Self(all.into_iter().map(Arc::new).collect()))
    }

    fn of(&self, kind: &str, namespace: &str) -> impl Iterator<Item = &Arc<Value>> {
        self.0.iter().filter(move |object| {
            object["kind"] == kind
                && object["metadata"]["namespace"].as_str().unwrap_or_default() == namespace
        })
    }

    fn one(&self, kind: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.of(kind, namespace).find(|object| object["metadata"]["name"] == name).cloned()
    }
}

impl Roles for Stored {
    fn cluster_role(&self, name: &str) -> Option<Arc<Value>> {
        self.one("ClusterRole", "", name)
    }

    fn role(&self, namespace: &str, name: &str) -> Option<Arc<Value>> {
        self.one("Role", namespace, name)
    }

    fn cluster_role_bindings(&self) -> Vec<Arc<Value>> {
        self.of("ClusterRoleBinding", "").cloned().collect()
    }

    fn role_bindings(&self, namespace: &str) -> Vec<Arc<Value>> {
        self.of("RoleBinding", namespace).cloned().collect()
    }
}

fn own() -> Result<Vec<Value>, Failed> {
    let path = harness::folder("authz").join("objects.yaml");
    Ok(serde_yaml::from_str(&fs::read_to_string(path)?)?)
}

/// Who asks; users of reviews have just the groups that are named.
const USERS: &[(&str, &[&str])] = &[
    ("jane", &[]),
    ("dan", &["devs"]),
    ("jim", &[]),
    ("lost", &[]),
    ("rooky", &["system:authenticated"]),
    ("root", &["system:masters"]),
    ("system:serviceaccount:default:scaler", &["system:serviceaccounts"]),
    ("system:kube-scheduler", &[]),
    ("system:anonymous", &["system:unauthenticated"]),
];

fn questions() -> Vec<Value> {
    let resource = |verb: &str, namespace: &str, group: &str, resource: &str, name: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        json!({"resourceAttributes": {
            "verb": verb, "namespace": namespace, "group": group, "resource": resource,
            "subresource": subresource, "name": name,
        }})
    };
    let path =
        |verb: &str, path: &str| json!({"nonResourceAttributes": {"verb": verb, "path": path}});
    vec![
        resource("get", "default", "", "pods", "x"),
        resource("list", "", "", "pods", ""),
        resource("get", "other", "", "pods/log", "x"),
        resource("get", "default", "", "pods/exec", "x"),
        resource("delete", "default", "", "pods", "x"),
        resource("get", "default", "metrics.k8s.io", "pods", "x"),
        resource("patch", "default", "apps", "deployments/scale", "x"),
        resource("patch", "default", "apps", "deployments", "x"),
        resource("get", "default", "", "secrets", "a"),
        resource("get", "default", "", "secrets", "c"),
        resource("list", "default", "", "secrets", ""),
        resource("get", "other", "", "secrets", "a"),
        resource("create", "default", "any.example", "configmaps", ""),
        resource("create", "other", "", "configmaps", ""),
        resource("create", "", "authorization.k8s.io", "selfsubjectaccessreviews", ""),
        resource("bind", "", "rbac.authorization.k8s.io", "clusterroles", "view"),
        resource("*", "*", "*", "*", ""),
        path("get", "/metrics"),
        path("get", "/metrics/more"),
        path("get", "/debug/pprof/heap"),
        path("get", "/healthz"),
        path("post", "/metrics"),
        json!({}),
        json!({
            "resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"path": "/"},
        }),
    ]
}

/// Writes by `rooky` that give rights away.
fn writes() -> Vec<(&'static str, Value)> {
    let role = |rules: Value| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "given"}, "rules": rules});
    let binding = |role: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "given"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": []});
    vec![
        (
            "clusterroles",
            role(
                json!([{"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["get", "list"]}, {"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]),
            ),
        ),
        (
            "clusterroles",
            role(
                json!([{"apiGroups": [""], "resources": ["pods"], "resourceNames": ["a", "b"], "verbs": ["get", "list"]}, {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"], "verbs": ["get", "delete"]}]),
            ),
        ),
        (
            "clusterroles",
            role(
                json!([{"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles/status", "roles"], "verbs": ["get"]}]),
            ),
        ),
        ("clusterrolebindings", binding("view")),
        ("clusterrolebindings", binding("authz-pods")),
        ("clusterrolebindings", binding("authz-roles")),
        ("clusterrolebindings", binding("not-there")),
    ]
}

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

fn record() -> Result<Value, Failed> {
    let bed = Bed::open("authz")?;
    let json = "application/json";
    for object in own()? {
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let plural = format!("{}s", object["kind"].as_str().unwrap_or_default().to_lowercase());
        let scope =
            if namespace.is_empty() { String::new() } else { format!("namespaces/{namespace}/") };
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{scope}{plural}");
        let (code, answer) = bed.send("POST", &path, json, Some(&object))?;
        if code != 201 && code != 409 {
            return Err(format!("{answer}").into());
        }
    }
    bed::pause(std::time::Duration::from_secs(1));
    let mut reviews = Vec::new();
    for (user, groups) in USERS {
        for question in questions() {
            let mut spec = question;
            spec["user"] = json!(user);
            spec["groups"] = json!(groups);
            let review = json!({
                "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec,
            });
            let (code, body) = bed.send("POST", REVIEWS, json, Some(&review))?;
            reviews.push(json!({"code": code, "body": body}));
        }
    }
    let mut refusals = Vec::new();
    for (plural, object) in writes() {
        let path = format!("/apis/rbac.authorization.k8s.io/v1/{plural}?dryRun=All");
        let (code, body) = bed.send_as("rooky", "POST", &path, json, Some(&object))?;
        refusals.push(json!({"code": code, "body": body}));
    }
    Ok(json!({"recorded": "kube-apiserver 1.36.3", "reviews": reviews, "writes": refusals}))
}

fn answers() -> Result<(), Failed> {
    let path = harness::folder("authz").join("answers.json");
    let recorded: Value = if bed::is_up() {
        let recorded = record()?;
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, format!("{}\n", serde_json::to_string_pretty(&recorded)?))?;
        }
        recorded
    } else {
        serde_json::from_str(&fs::read_to_string(&path)?)?
    };
    let roles = Stored::load()?;
    let mut wrong = Vec::new();
    let mut reviews = recorded["reviews"].as_array().into_iter().flatten();
    for (user, groups) in USERS {
        for question in questions() {
            let answer = reviews.next().ok_or("the recording is too short")?;
            let mut spec = question.clone();
            spec["user"] = json!(user);
            spec["groups"] = json!(groups);
            let review = json!({"kind": "SubjectAccessReview", "spec": spec});
            let ours = authz::review(&roles, &User::named("root", &[]), "", review);
            let (ours, theirs) = match ours {
                Ok(ours) => (ours["status"].clone(), answer["body"]["status"].clone()),
                Err(status) => (
                    json!([status.code, status.reason, status.message]),
                    json!([answer["code"], answer["body"]["reason"], answer["body"]["message"]]),
                ),
            };
            // Of several bindings that allow it, the server names whichever it meets first.
            let either = question["nonResourceAttributes"]["path"] == "/healthz";
            if if either { ours["allowed"] != theirs["allowed"] } else { ours != theirs } {
                wrong.push(format!("{user} {question}\nserver: {theirs}\nours: {ours}"));
            }
        }
    }
    let rooky = User::named("rooky", &[]);
    let given = recorded["writes"].as_array().map(Vec::as_slice).unwrap_or_default();
    for ((plural, object), answer) in writes().into_iter().zip(given) {
        let access = Access {
            verb: "create".to_owned(),
            group: "rbac.authorization.k8s.io".to_owned(),
            resource: plural.to_owned(),
            ..Access::default()
        };
        let theirs = if answer["code"] == 201 {
            Value::Null
        } else {
            json!([answer["code"], answer["body"]["message"], answer["body"]["details"]])
        };
        let ours = match authz::escalation(&roles, &rooky, &access, &object, None) {
            Ok(()) => Value::Null,
            Err(status) => json!([status.code, status.message, status.details]),
        };
        if ours != theirs {
            wrong.push(format!("{object}\nserver: {theirs}\nours: {ours}"));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

fn aggregation() -> Result<(), Failed> {
    let roles = Stored::load()?;
    let all: Vec<_> = roles.of("ClusterRole", "").cloned().collect();
    for name in ["admin", "edit", "view"] {
        let role = roles.cluster_role(name).ok_or("a bootstrap role is missing")?;
        if let Some(rules) = authz::aggregated(&role, &all) {
            return Err(format!("`{name}` would get other rules: {rules}").into());
        }
    }
    let mut more = all;
    more.push(Arc::new(json!({
        "metadata": {"name": "x", "labels": {"rbac.authorization.k8s.io/aggregate-to-view": "true"}},
        "rules": [{"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]}],
    })));
    let view = roles.cluster_role("view").ok_or("`view` is missing")?;
    let rules = authz::aggregated(&view, &more).ok_or("a new role changes nothing")?;
    if rules.to_string().contains("\"y\"") { Ok(()) } else { Err(rules.to_string().into()) }
}

fn impersonation() -> Result<(), Failed> {
    let headers = [
        ("Impersonate-User", "system:serviceaccount:a:b"),
        ("Impersonate-Extra-Acme.com%2Fproject", "p"),
        ("Impersonate-Uid", "u1"),
    ];
    let asked = authz::requested(headers.into_iter())
        .map_err(|status| status.message)?
        .ok_or("the headers ask for nothing")?;
    let checks: Vec<_> = asked
        .checks
        .iter()
        .map(|check| {
            format!("{}/{}/{}/{}", check.namespace, check.resource, check.subresource, check.name)
        })
        .collect();
    let wanted = ["a/serviceaccounts//b", "/userextras/acme.com/project/p", "/uids//u1"];
    let groups = ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"];
    if checks == wanted && asked.user.groups == groups {
        Ok(())
    } else {
        Err(format!("{checks:?} {:?}", asked.user).into())
    }
}
