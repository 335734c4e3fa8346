//! Fields that an endpoint ignores, so that nobody comes to own them through it: `status` on the main resource, `spec`
//! on `status`.

use super::path::PathElement;
use super::set::Set;

/// Which fields a request cannot set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ResetFields {
    /// It can set all.
    #[default]
    None,
    /// It cannot set these and what is below.
    Except(Set),
    /// It can set only these and what is below.
    Only(Set),
}

impl ResetFields {
    pub(super) fn filter(&self, set: Set) -> Set {
        match self {
            Self::None => set,
            Self::Except(reset) => set.recursive_difference(reset),
            Self::Only(kept) => set.only_below(kept),
        }
    }
}

/// What of a kind's object a request cannot set. `has_status` says that the kind has a `status` subresource, `custom`
/// that it comes from a CRD; `resource` is the plural name.
pub fn reset_fields(
    group: &str,
    resource: &str,
    subresource: &str,
    custom: bool,
    has_status: bool,
) -> ResetFields {
    match (group, resource, subresource) {
        ("certificates.k8s.io", "certificatesigningrequests", "") => {
            ResetFields::Except(Set::of_fields(&[&["spec"], &["status"]]))
        }
        ("certificates.k8s.io", "certificatesigningrequests", "status") => {
            ResetFields::Except(Set::of_fields(&[&["spec"], &["status", "conditions"]]))
        }
        ("certificates.k8s.io", "certificatesigningrequests", "approval") => {
            ResetFields::Except(Set::of_fields(&[&["spec"], &["status", "certificate"]]))
        }
        ("", "pods", "ephemeralcontainers") => {
            ResetFields::Only(Set::of_fields(&[&["spec", "ephemeralContainers"]]))
        }
        ("", "pods", "status") => ResetFields::Except(Set::of_fields(&[
            &["spec"],
            &["metadata", "deletionTimestamp"],
            &["metadata", "ownerReferences"],
        ])),
        ("apps", "deployments", "status") => {
            ResetFields::Except(Set::of_fields(&[&["spec"], &["metadata", "labels"]]))
        }
        (_, _, "status") => {
            let mut set = Set::of_fields(&[&["spec"]]);
            if custom || resets_metadata(group, resource) {
                set.insert(&[PathElement::field("metadata")]);
            }
            ResetFields::Except(set)
        }
        (_, _, "" | "finalize") if has_status => {
            ResetFields::Except(Set::of_fields(&[&["status"]]))
        }
        _ => ResetFields::None,
    }
}

/// Whether the `status` subresource of a built-in kind ignores metadata as well.
fn resets_metadata(group: &str, resource: &str) -> bool {
    match group {
        "networking.k8s.io" => resource == "servicecidrs",
        "admissionregistration.k8s.io"
        | "apiregistration.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "internal.apiserver.k8s.io"
        | "resource.k8s.io"
        | "scheduling.k8s.io"
        | "storage.k8s.io"
        | "storagemigration.k8s.io" => true,
        _ => false,
    }
}
