//! What the API server serves one kind of object under.

use super::request::escape;
use crate::base::object_ref::ObjectRef;

/// A collection of the API: the kind's names, where it lives, what can be done with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// Empty for the core group.
    pub group: String,
    pub version: String,
    /// `deployments`
    pub plural: String,
    /// `deployment`
    pub singular: String,
    /// `Deployment`
    pub kind: String,
    pub short_names: Vec<String>,
    pub categories: Vec<String>,
    pub namespaced: bool,
    /// `get`, `list`, …
    pub verbs: Vec<String>,
    /// `status`, `scale`, …
    pub subresources: Vec<String>,
}

impl Resource {
    /// `v1`, `apps/v1`
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// `pods`, `deployments.apps`
    pub fn qualified(&self) -> String {
        if self.group.is_empty() {
            self.plural.clone()
        } else {
            format!("{}.{}", self.plural, self.group)
        }
    }

    /// The reference of one object.
    pub fn object(&self, namespace: Option<&str>, name: &str) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version(),
            kind: self.kind.clone(),
            namespace: namespace.filter(|_| self.namespaced).map(str::to_owned),
            name: name.to_owned(),
        }
    }

    /// Whether the server offers a verb on it.
    pub fn offers(&self, verb: &str) -> bool {
        self.verbs.iter().any(|found| found == verb)
    }

    /// Whether it has a subresource.
    pub fn has_subresource(&self, name: &str) -> bool {
        self.subresources.iter().any(|found| found == name)
    }

    /// The path of the collection, in a namespace or (with `None`) in all of them.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", self.version)
        } else {
            format!("/apis/{}/{}", self.group, self.version)
        };
        if self.namespaced
            && let Some(namespace) = namespace
        {
            path.push_str("/namespaces/");
            escape(namespace, ":", &mut path);
        }
        path.push('/');
        path.push_str(&self.plural);
        path
    }

    /// The path of one object.
    pub(super) fn path_of(&self, namespace: Option<&str>, name: &str) -> String {
        let mut path = self.path(namespace);
        path.push('/');
        escape(name, ":", &mut path);
        path
    }
}
