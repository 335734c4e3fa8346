//! The collections that only the mesh works on; those that others know, too, are in `controllers::kinds`.

use std::sync::LazyLock;

use crate::sandbox::api::Resource;

/// `tlsroutes.gateway.networking.k8s.io`
pub(super) static TLS_ROUTES: LazyLock<Resource> =
    LazyLock::new(|| Resource::new("gateway.networking.k8s.io", "v1", "tlsroutes"));
/// `backendtlspolicies.gateway.networking.k8s.io`
pub(super) static BACKEND_TLS_POLICIES: LazyLock<Resource> =
    LazyLock::new(|| Resource::new("gateway.networking.k8s.io", "v1", "backendtlspolicies"));
/// `serviceentries.networking.istio.io`
pub(super) static SERVICE_ENTRIES: LazyLock<Resource> =
    LazyLock::new(|| Resource::new("networking.istio.io", "v1", "serviceentries"));
/// `workloadentries.networking.istio.io`
pub(super) static WORKLOAD_ENTRIES: LazyLock<Resource> =
    LazyLock::new(|| Resource::new("networking.istio.io", "v1", "workloadentries"));
