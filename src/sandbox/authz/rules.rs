//! Rules of roles: what they allow, and whether some cover another.

use serde_json::{Value, json};

use super::Access;
use crate::sandbox::ssa::go_text::quoted;

/// One rule of a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub api_groups: Vec<String>,
    pub resources: Vec<String>,
    pub resource_names: Vec<String>,
    pub non_resource_urls: Vec<String>,
}

impl Rule {
    /// The rules of a role object.
    pub fn all_of(role: &Value) -> Vec<Self> {
        let rules = role.get("rules").and_then(Value::as_array).map(Vec::as_slice);
        rules.unwrap_or_default().iter().map(Self::from_value).collect()
    }

    fn from_value(rule: &Value) -> Self {
        let texts = |name: &str| -> Vec<String> {
            let items = rule.get(name).and_then(Value::as_array).map(Vec::as_slice);
            items.unwrap_or_default().iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: texts("verbs"),
            api_groups: texts("apiGroups"),
            resources: texts("resources"),
            resource_names: texts("resourceNames"),
            non_resource_urls: texts("nonResourceURLs"),
        }
    }

    pub(super) fn allows(&self, access: &Access) -> bool {
        if !matches(&self.verbs, &access.verb) {
            return false;
        }
        if access.resource.is_empty() {
            return self.non_resource_urls.iter().any(|url| url_covers(url, &access.path));
        }
        matches(&self.api_groups, &access.group)
            && self.resource_matches(&access.full_resource(), &access.subresource)
            && (self.resource_names.is_empty() || self.resource_names.contains(&access.name))
    }

    fn resource_matches(&self, full: &str, subresource: &str) -> bool {
        self.resources.iter().any(|resource| {
            resource == "*"
                || resource == full
                || (!subresource.is_empty()
                    && resource.strip_prefix("*/").is_some_and(|any| any == subresource))
        })
    }

    /// The rule as rules of one verb, group, resource and name each.
    fn atoms(&self) -> Vec<Self> {
        let mut out = Vec::new();
        let one = |text: &String| vec![text.clone()];
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let base = Self {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        out.push(base);
                        continue;
                    }
                    for name in &self.resource_names {
                        out.push(Self { resource_names: one(name), ..base.clone() });
                    }
                }
            }
        }
        for url in &self.non_resource_urls {
            for verb in &self.verbs {
                let non_resource_urls = one(url);
                out.push(Self { verbs: one(verb), non_resource_urls, ..Self::default() });
            }
        }
        out
    }

    /// Whether it allows all that an atom allows.
    fn covers(&self, atom: &Self) -> bool {
        let all = |owned: &[String], wanted: &[String]| {
            owned.iter().any(|item| item == "*") || wanted.iter().all(|item| owned.contains(item))
        };
        let resources = self.resources.iter().any(|item| item == "*")
            || atom.resources.iter().all(|wanted| {
                self.resources.contains(wanted)
                    || wanted.split_once('/').is_some_and(|(_, subresource)| {
                        self.resources.contains(&format!("*/{subresource}"))
                    })
            });
        let names = self.resource_names.is_empty()
            || (!atom.resource_names.is_empty()
                && atom.resource_names.iter().all(|name| self.resource_names.contains(name)));
        let urls = atom
            .non_resource_urls
            .iter()
            .all(|wanted| self.non_resource_urls.iter().any(|url| url_covers(url, wanted)));
        all(&self.verbs, &atom.verbs)
            && all(&self.api_groups, &atom.api_groups)
            && resources
            && names
            && urls
    }

    /// What of the wanted rules the owned ones do not cover, rules about one resource put together.
    pub(super) fn missing(owned: &[Self], wanted: &[Self]) -> Vec<Self> {
        let mut out: Vec<Self> = Vec::new();
        let atoms = wanted.iter().flat_map(Self::atoms);
        for atom in atoms.filter(|atom| !owned.iter().any(|rule| rule.covers(atom))) {
            let same = |rule: &&mut Self| {
                rule.non_resource_urls.is_empty()
                    && rule.api_groups == atom.api_groups
                    && rule.resources == atom.resources
                    && rule.resource_names == atom.resource_names
            };
            match out.iter_mut().find(same).filter(|_| atom.non_resource_urls.is_empty()) {
                Some(rule) => rule.verbs.extend(atom.verbs),
                None => out.push(atom),
            }
        }
        out
    }

    /// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`
    pub(super) fn text(&self) -> String {
        let parts: Vec<String> = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ]
        .into_iter()
        .filter(|(_, items)| !items.is_empty())
        .map(|(name, items)| format!("{name}:{}", quoted_list(items)))
        .collect();
        format!("{{{}}}", parts.join(", "))
    }

    /// As access reviews list it; `None` if it is not about that.
    pub(super) fn as_resource_rule(&self) -> Option<Value> {
        if self.resources.is_empty() {
            return None;
        }
        let mut rule = json!({
            "verbs": self.verbs, "apiGroups": self.api_groups, "resources": self.resources,
        });
        if !self.resource_names.is_empty() {
            rule["resourceNames"] = json!(self.resource_names);
        }
        Some(rule)
    }

    pub(super) fn as_non_resource_rule(&self) -> Option<Value> {
        if self.non_resource_urls.is_empty() {
            return None;
        }
        Some(json!({"verbs": self.verbs, "nonResourceURLs": self.non_resource_urls}))
    }
}

/// `["a" "b"]`
pub(super) fn quoted_list(items: &[String]) -> String {
    format!("[{}]", items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(" "))
}

fn matches(items: &[String], wanted: &str) -> bool {
    items.iter().any(|item| item == "*" || item == wanted)
}

fn url_covers(pattern: &str, path: &str) -> bool {
    pattern == "*"
        || pattern == path
        || (pattern.ends_with('*') && path.starts_with(pattern.trim_end_matches('*')))
}
