//! The controllers of a Kubernetes cluster: from what objects ask for to what exists.
//!
//! Each is a `Controller` over the `Api`, with the object texts and event messages of kube-controller-manager 1.36;
//! pods come to life in `sandbox::node`, Istio and MetalLB in `sandbox::mesh`. Reading order: `object` (how objects are
//! read), `pod_set` (what every workload shares), `deployment` and `replica_set`, then the others. None of them keeps
//! state that is not in the store, but for indexes.

pub mod bootstrap;
pub mod kinds;
pub mod node_lifecycle;
pub mod object;

mod addresses;
mod admission_policies;
mod bootstrap_system;
mod cron_job;
mod cron_schedule;
mod daemon_set;
mod deployment;
mod disruption;
pub(crate) mod endpoints;
mod event_ttl;
mod garbage;
mod job;
mod namespace;
mod namespace_content;
mod pod_set;
mod replica_set;
mod resource_quota;
mod signer;
mod stateful_set;
pub(crate) mod volumes;

use std::sync::Arc;

use crate::sandbox::api::Controller;
use crate::sandbox::certificates::Authority;

/// The field manager of kube-controller-manager.
pub(crate) const MANAGER: &str = "kube-controller-manager";

/// What the controllers must know about their cluster.
#[derive(Clone, Default)]
pub struct ClusterFacts {
    /// The certificate authority of the API server, PEM: the content of every `kube-root-ca.crt`.
    pub root_ca: String,
    /// That authority, which signs what is asked of the cluster's signers.
    pub identity: Arc<Authority>,
}

/// The controllers of kube-controller-manager, in the order in which they look at a change.
pub fn all(facts: &ClusterFacts) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(namespace_content::NamespaceContent::new(facts.root_ca.clone())),
        Box::new(deployment::Deployments),
        Box::new(replica_set::ReplicaSets),
        Box::new(stateful_set::StatefulSets),
        Box::new(daemon_set::DaemonSets),
        Box::new(cron_job::CronJobs),
        Box::new(job::Jobs),
        Box::new(endpoints::Endpoints::default()),
        Box::new(disruption::DisruptionBudgets),
        Box::new(disruption::Autoscalers),
        Box::new(resource_quota::ResourceQuotas),
        Box::new(volumes::Claims),
        Box::new(volumes::Volumes),
        Box::new(volumes::Protection),
        Box::new(addresses::IpAddresses),
        Box::new(event_ttl::EventTtl::default()),
        Box::new(signer::Signer::new(Arc::clone(&facts.identity))),
        Box::new(admission_policies::AdmissionPolicies),
        Box::new(namespace::Namespaces),
        Box::new(garbage::GarbageCollector::default()),
    ]
}
