//! Istio and MetalLB as they act on a cluster, once their pods are ready.
//!
//! Statuses, managed objects, names and messages are those of istiod 1.30/1.31, recorded on real components. Reading
//! order: `presence` (what runs), `attach` (which routes hang on which listeners: shared with the data plane),
//! `waypoint` (who is bound to which waypoint), then one file per thing that istiod writes, and `metal_lb`.

pub mod attach;
pub mod presence;
pub mod waypoint;

mod auto_allocate;
pub(crate) mod backend_policy_status;
mod control_plane;
mod enrolment;
mod gateway_objects;
mod gateway_services;
mod gateway_status;
mod gateways;
mod kinds;
pub(crate) mod listener_tls;
mod metal_lb;
mod metal_lb_start;
pub(crate) mod policy_status;
mod proxy_template;
mod reference_grant;
mod route_status;
pub mod webhook;

use std::sync::Arc;

use crate::sandbox::api::Controller;
use crate::sandbox::certificates::Authority;

/// The controllers of Istio and MetalLB.
pub fn all(authority: &Arc<Authority>) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(control_plane::ControlPlane::new(Arc::clone(authority))),
        Box::new(gateways::Gateways),
        Box::new(route_status::Routes),
        Box::new(backend_policy_status::BackendPolicies),
        Box::new(auto_allocate::AutoAllocation::default()),
        Box::new(waypoint::Bindings),
        Box::new(policy_status::Policies),
        Box::new(enrolment::Enrolment),
        Box::new(metal_lb::MetalLb::default()),
    ]
}
