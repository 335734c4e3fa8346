//! Charts and releases as Helm 4.3 handles them.
//!
//! Pure: `chart` (load and check), `values` (merge, coalesce, `set`), `template` (Go's engine with Helm's functions),
//! `render` (chart and values to manifests), `manifest` (split, order, hooks). With a cluster: `release` (what is stored),
//! `action` (install, upgrade, …), `lookup` (templates that
//! read the cluster), `source` (chart files). `semver` and `glob` read versions and patterns as Helm does.

pub mod action;
pub mod chart;
mod glob;
mod known_versions;
mod lookup;
pub mod manifest;
pub mod release;
pub mod render;
pub mod semver;
pub mod source;
pub mod template;
pub mod values;
