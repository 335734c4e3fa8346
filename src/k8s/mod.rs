//! Talking to a cluster: objects, waits, logs and streams through a `kube::Client`.
//!
//! It does not know whether the cluster is real or a sandbox. Reading order: `cluster` (the connection and its limits),
//! then one file per verb.

pub mod cluster;
