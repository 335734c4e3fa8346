//! The kinds that are served: those of the API server itself and those of established CRDs.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use serde_json::Value;

use super::crd::CustomVersion;
use super::events;
use crate::sandbox::api::Resource;
use crate::sandbox::builtin::{self, SubresourceData};
use crate::sandbox::schema::Schema;
use crate::sandbox::store::GroupResource;

/// One served version of one resource.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<String>,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) subresources: Vec<SubresourceData>,
    /// Set for a kind of a CRD.
    pub(crate) custom: Option<Arc<CustomVersion>>,
    /// Under which its objects are kept, whatever the version.
    pub(crate) resource: GroupResource,
    schema: OnceLock<Option<Arc<Schema>>>,
}

impl Kind {
    /// `v1`, `apps/v1`
    pub(crate) fn api_version(&self) -> String {
        join_version(&self.group, &self.version)
    }

    pub(crate) fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|found| found.subresource == name)
    }

    /// The schema of whole objects, metadata included.
    pub(crate) fn schema(&self) -> Option<Arc<Schema>> {
        self.schema
            .get_or_init(|| match &self.custom {
                Some(custom) => custom.schema(),
                None => builtin::schema(&self.group, &self.version, &self.kind),
            })
            .clone()
    }

    pub(crate) fn as_resource(&self) -> Resource {
        Resource::new(&self.group, &self.version, &self.plural)
    }

    /// The package of the API server's internal Go type, as refusals name it.
    pub(crate) fn go_package(&self) -> &str {
        match self.group.as_str() {
            "" | "events.k8s.io" => "core",
            "rbac.authorization.k8s.io" => "rbac",
            group => group.split('.').next().unwrap_or_default(),
        }
    }

    /// A kind of a CRD in one of its versions.
    pub(crate) fn custom(version: Arc<CustomVersion>) -> Self {
        let names = &version.names;
        let group = version.group.clone();
        Self {
            resource: GroupResource::new(&group, &names.plural),
            version: version.version.clone(),
            plural: names.plural.clone(),
            singular: names.singular.clone(),
            kind: names.kind.clone(),
            list_kind: names.list_kind.clone(),
            namespaced: version.namespaced,
            verbs: CUSTOM_VERBS.iter().map(|verb| (*verb).to_owned()).collect(),
            short_names: names.short_names.clone(),
            categories: names.categories.clone(),
            subresources: version.subresources(),
            group,
            schema: OnceLock::new(),
            custom: Some(version),
        }
    }
}

const CUSTOM_VERBS: &[&str] =
    &["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];

/// `v1` for the core group, else `GROUP/VERSION`.
pub(crate) fn join_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Group and version of an `apiVersion`.
pub(crate) fn split_version(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

/// One API group in the order of discovery.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    /// Versions in the order of preference with their resources in order.
    pub(crate) versions: Vec<(String, Vec<Arc<Kind>>)>,
}

#[derive(Default)]
struct Tables {
    groups: Vec<Group>,
    by_resource: BTreeMap<(String, String, String), Arc<Kind>>,
    by_kind: BTreeMap<(String, String, String), Arc<Kind>>,
    custom: BTreeMap<String, Vec<Arc<Kind>>>,
}

/// All served kinds; changes when CRDs come and go.
pub(crate) struct Kinds {
    tables: RwLock<Tables>,
    changing: Mutex<()>,
    builtin: Vec<Group>,
    changed: tokio::sync::watch::Sender<()>,
}

impl Kinds {
    pub(crate) fn builtin() -> Self {
        let builtin: Vec<Group> = builtin::groups().iter().map(builtin_group).collect();
        let changed = tokio::sync::watch::Sender::default();
        let kinds =
            Self { tables: RwLock::default(), changing: Mutex::default(), builtin, changed };
        kinds.rebuild(BTreeMap::new());
        kinds
    }

    pub(crate) fn by_resource(
        &self,
        group: &str,
        version: &str,
        plural: &str,
    ) -> Option<Arc<Kind>> {
        let key = (group.to_owned(), version.to_owned(), plural.to_owned());
        self.tables.read().by_resource.get(&key).cloned()
    }

    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        let (group, version) = split_version(api_version);
        let key = (group.to_owned(), version.to_owned(), kind.to_owned());
        self.tables.read().by_kind.get(&key).cloned()
    }

    /// The other served versions of a resource.
    pub(crate) fn other_versions(&self, kind: &Kind) -> Vec<Arc<Kind>> {
        let tables = self.tables.read();
        let group = tables.groups.iter().find(|found| found.name == kind.group);
        group
            .into_iter()
            .flat_map(|group| &group.versions)
            .flat_map(|(_, kinds)| kinds)
            .filter(|found| found.plural == kind.plural && found.version != kind.version)
            .cloned()
            .collect()
    }

    /// Whether a group is the API server's own.
    pub(crate) fn is_builtin_group(&self, name: &str) -> bool {
        self.builtin.iter().any(|group| group.name == name)
    }

    pub(crate) fn groups(&self) -> Vec<Group> {
        self.tables.read().groups.clone()
    }

    /// Serves the versions of a CRD (named by its object's name), in place of those it served before.
    pub(crate) fn set_custom(&self, crd: &str, versions: Vec<Arc<CustomVersion>>) {
        // CRDs come many at a time: each change starts from the one before.
        let _changing = self.changing.lock();
        let mut custom = self.tables.read().custom.clone();
        if versions.is_empty() {
            custom.remove(crd);
        } else {
            let kinds = versions.into_iter().map(|version| Arc::new(Kind::custom(version)));
            custom.insert(crd.to_owned(), kinds.collect());
        }
        self.rebuild(custom);
    }

    /// What a CRD serves at present.
    pub(crate) fn custom(&self, crd: &str) -> Vec<Arc<Kind>> {
        self.tables.read().custom.get(crd).cloned().unwrap_or_default()
    }

    fn rebuild(&self, custom: BTreeMap<String, Vec<Arc<Kind>>>) {
        let mut groups = self.builtin.clone();
        let mut custom_groups: BTreeMap<String, BTreeMap<String, Vec<Arc<Kind>>>> = BTreeMap::new();
        for kind in custom.values().flatten() {
            custom_groups
                .entry(kind.group.clone())
                .or_default()
                .entry(kind.version.clone())
                .or_default()
                .push(kind.clone());
        }
        for (name, versions) in custom_groups {
            let mut versions: Vec<_> = versions.into_iter().collect();
            versions.sort_by_key(|(version, _)| Reverse(version_order(version)));
            groups.push(Group { name, versions });
        }
        let mut tables = Tables { groups, custom, ..Tables::default() };
        for group in &tables.groups {
            for (version, kinds) in &group.versions {
                for kind in kinds {
                    let key = |last: &str| (group.name.clone(), version.clone(), last.to_owned());
                    tables.by_resource.insert(key(&kind.plural), kind.clone());
                    tables.by_kind.insert(key(&kind.kind), kind.clone());
                }
            }
        }
        *self.tables.write() = tables;
        self.changed.send_replace(());
    }

    /// Tells of each change of what is served.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// Stable before beta before alpha, then the higher number, then the name.
pub(crate) fn version_order(version: &str) -> (u8, u64, u64, String) {
    let digits = |text: &str| -> (u64, usize) {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (text[..end].parse().unwrap_or(0), end)
    };
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0, version.to_owned()) };
    let (major, end) = digits(rest);
    if end == 0 {
        return (0, 0, 0, version.to_owned());
    }
    let rest = &rest[end..];
    if rest.is_empty() {
        return (3, major, 0, String::new());
    }
    for (stage, word) in [(2, "beta"), (1, "alpha")] {
        if let Some(minor) = rest.strip_prefix(word) {
            return (stage, major, digits(minor).0, String::new());
        }
    }
    (0, 0, 0, version.to_owned())
}

fn builtin_group(data: &builtin::GroupData) -> Group {
    let name = data.name().to_owned();
    let versions = data
        .versions
        .iter()
        .map(|version| {
            let kinds = version
                .resources
                .iter()
                .map(|resource| {
                    Arc::new(Kind {
                        group: name.clone(),
                        version: version.version.clone(),
                        plural: resource.resource.clone(),
                        singular: resource.singular_resource.clone(),
                        kind: resource.response_kind.kind.clone(),
                        list_kind: format!("{}List", resource.response_kind.kind),
                        namespaced: resource.scope == "Namespaced",
                        verbs: resource.verbs.clone(),
                        short_names: resource.short_names.clone(),
                        categories: resource.categories.clone(),
                        subresources: resource.subresources.clone(),
                        custom: None,
                        resource: GroupResource::new(
                            if name == events::GROUP { "" } else { &name },
                            &resource.resource,
                        ),
                        schema: OnceLock::new(),
                    })
                })
                .collect();
            (version.version.clone(), kinds)
        })
        .collect();
    Group { name, versions }
}

/// A text field of an object's metadata, empty when absent.
pub(crate) fn metadata_text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get("metadata").and_then(|found| found.get(field)).and_then(Value::as_str).unwrap_or("")
}
