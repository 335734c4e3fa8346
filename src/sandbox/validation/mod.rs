//! What the API server says about a value: pruning, defaulting and validation as pure functions, without store or I/O.
//!
//! In the order of a write:
//! 1. `structural::schema_of_crd` reads a version of a CRD; built-in kinds bring their `Schema` along.
//! 2. `prune::prune` drops undeclared fields and names them; `prune::strict_error` words them.
//! 3. `defaulting::default` fills in a schema's defaults.
//! 4. `metadata::validate` and `metadata::validate_update` check the object's metadata.
//! 5. `Validator::validate` checks the value (types, bounds, formats, list keys, CEL), ratcheting on update;
//!    `builtin::validate` and `builtin::validate_update` check what only Go code knows of built-in kinds.
//! 6. `policy` evaluates ValidatingAdmissionPolicies, `webhook` finds the webhooks that a `request` must pass.
//!
//! Every refusal is a list of `Cause`s with the API server's own texts (recorded from kube-apiserver 1.36.3).

pub mod builtin;
pub mod cause;
pub mod cel;
pub mod defaulting;
mod format;
mod lists;
pub mod metadata;
pub mod names;
pub mod policy;
pub mod prune;
pub mod request;
pub mod selector;
pub mod structural;
mod values;
pub mod webhook;

pub use cause::Cause;
pub use values::Validator;
