//! Charts and releases as Helm 4.3 handles them.
//!
//! Pure: `chart` (load and check), `values` (merge, coalesce, `set`), `template` (Go's engine with Helm's functions),
//! `render` (chart and values to manifests), `manifest` (split, order, hooks), `post_render` (objects changed by the caller), `explain` (where a value comes from), `crds` (what replacing one loses). With a cluster: `release` (what is stored),
//! `action` (install, upgrade, …), `lookup` (templates that
//! read the cluster), `source` (chart files). Over the network: `remote` (downloads), `repo` (repositories with an index),
//! `registry` (OCI). `provenance` tells who signed a packed chart. `semver` and `glob` read versions and patterns as Helm does.

pub mod action;
pub mod chart;
mod crds;
pub mod explain;
mod glob;
mod known_versions;
mod lookup;
pub mod manifest;
mod post_render;
pub mod provenance;
pub mod registry;
pub mod release;
pub mod remote;
pub mod render;
pub mod repo;
pub mod semver;
pub mod source;
pub mod template;
pub mod values;
