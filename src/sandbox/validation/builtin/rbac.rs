//! Roles and their bindings.

use serde_json::{Value, json};

use crate::sandbox::validation::Cause;

use super::check::{Check, each, join, list, text};

const GROUP: &str = "rbac.authorization.k8s.io";

pub(super) fn role(object: &Value, check: &mut Check) {
    rules(object, true, check);
}

pub(super) fn cluster_role(object: &Value, check: &mut Check) {
    rules(object, false, check);
}

fn rules(object: &Value, namespaced: bool, check: &mut Check) {
    for (rule, path) in each(object, "rules", "") {
        let empty = |field: &str| list(&rule[field]).is_empty();
        if empty("verbs") {
            check.required(&join(&path, "verbs"), "verbs must contain at least one value");
        }
        if !empty("nonResourceURLs") {
            let urls_path = join(&path, "nonResourceURLs");
            let urls = &rule["nonResourceURLs"];
            if namespaced {
                let detail = "namespaced rules cannot apply to non-resource URLs";
                check.invalid(&urls_path, urls, detail);
            }
            if !(empty("apiGroups") && empty("resources") && empty("resourceNames")) {
                let detail = "rules cannot apply to both regular resources and non-resource URLs";
                check.invalid(&urls_path, urls, detail);
            }
            continue;
        }
        if empty("apiGroups") {
            let detail = "resource rules must supply at least one api group";
            check.required(&join(&path, "apiGroups"), detail);
        }
        if empty("resources") {
            let detail = "resource rules must supply at least one resource";
            check.required(&join(&path, "resources"), detail);
        }
    }
}

pub(super) fn binding(object: &Value, check: &mut Check) {
    role_binding(object, &["Role", "ClusterRole"], check);
}

pub(super) fn cluster_binding(object: &Value, check: &mut Check) {
    role_binding(object, &["ClusterRole"], check);
}

fn role_binding(object: &Value, kinds: &[&str], check: &mut Check) {
    let reference = &object["roleRef"];
    check.one_of(reference, "apiGroup", "roleRef", &[GROUP, ""]);
    let kind = text(reference, "kind");
    if !kinds.contains(&kind) {
        check.unsupported("roleRef.kind", &kind.into(), kinds);
    }
    check.present(reference, "name", "roleRef");
    for (subject, path) in each(object, "subjects", "") {
        check.present(subject, "name", &path);
        let group = text(subject, "apiGroup");
        match text(subject, "kind") {
            "ServiceAccount" => {
                if !group.is_empty() {
                    check.unsupported(&join(&path, "apiGroup"), &group.into(), &[""]);
                }
                // A binding in a namespace finds an account without one beside it.
                if kinds == ["ClusterRole"] {
                    check.present(subject, "namespace", &path);
                }
            }
            "User" | "Group" => {
                if !["", GROUP].contains(&group) {
                    check.unsupported(&join(&path, "apiGroup"), &group.into(), &[GROUP]);
                }
            }
            kind => {
                let supported = ["ServiceAccount", "User", "Group"];
                check.unsupported(&join(&path, "kind"), &kind.into(), &supported);
            }
        }
    }
}

/// What a binding gives stays; whom it is given to may change.
pub(super) fn update_binding(object: &Value, old: &Value, check: &mut Check) {
    let go = |reference: &Value| {
        let group =
            reference["apiGroup"].as_str().filter(|group| !group.is_empty()).unwrap_or(GROUP);
        json!([group, reference["kind"], reference["name"]])
    };
    let new = go(&object["roleRef"]);
    if new != go(&old["roleRef"]) {
        let shown = format!("{{\"APIGroup\":{},\"Kind\":{},\"Name\":{}}}", new[0], new[1], new[2]);
        check.causes.push(Cause::invalid_shown("roleRef", &shown, "cannot change roleRef"));
    }
}
