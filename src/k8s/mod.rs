//! Talking to a cluster: objects, waits, logs and streams through a `kube::Client`.
//!
//! It does not know whether the cluster is real or a sandbox. Everything is an async function on a [`cluster::Cluster`],
//! which is cheap to clone and counts, bounds and repeats requests; objects are `serde_json::Value`s.
//!
//! - [`cluster`]: the connection. `cluster.resolve("deploy")` and `cluster.resource_of("apps/v1", "Deployment")` name kinds
//! - [`target`]: a real cluster out of kubeconfig files
//! - [`manifest`]: YAML text or values into objects
//! - [`apply`]: server-side apply of many objects, by any field manager; `Applied { reference, change, object }`
//! - [`read`]: `get`, `require` (an error if absent), `list`, `exists`
//! - [`mod@write`]: `create`, `update` (PUT), `patch`, labels, annotations, `scale`, `restart`
//! - [`delete`]: one object or those of a manifest, until they are gone
//! - [`wait`]: `wait(cluster, Vec<Wanted>, &WaitOptions)` for conditions, paths, rollouts, kstatus readiness, deletion
//! - [`mod@migrate`]: from client-side to server-side apply
//! - [`logs`], [`exec`], [`port_forward`] (a `Dialer`), [`events`], [`access`], [`diff`], [`pods`]
//! - [`error`]: `Error` keeps the server's `Status` and becomes a `Diagnostic` with hints
//!
//! Inside: `request` (one request), `discovery` and `resource` (kinds), `ownership` (is it applied already), `watch` (shared
//! list and watch), `snapshot` (what a run without writes has read already), `readiness` (judgements on one object), `explain` (pods, events and logs behind it), `secrets`.

pub mod access;
pub mod apply;
pub mod cluster;
pub mod control;
pub mod delete;
pub mod diff;
mod discovery;
pub mod error;
pub mod events;
pub mod exec;
mod explain;
pub mod export;
pub mod logs;
pub mod manifest;
pub mod migrate;
mod ownership;
pub mod pods;
pub mod port_forward;
pub mod read;
mod readiness;
mod request;
pub mod resource;
pub mod secrets;
mod snapshot;
pub mod target;
pub mod wait;
mod watch;
pub mod write;
