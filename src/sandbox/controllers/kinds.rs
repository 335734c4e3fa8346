//! The collections that the simulated world works on, named once.

use std::sync::LazyLock;

use crate::sandbox::api::Resource;

macro_rules! collections {
    ($($(#[$doc:meta])* $name:ident = ($group:literal, $version:literal, $plural:literal);)*) => {
        $($(#[$doc])* pub static $name: LazyLock<Resource> = LazyLock::new(|| Resource::new($group, $version, $plural));)*
    };
}

collections! {
    /// `events`
    EVENTS = ("", "v1", "events");
    /// `certificatesigningrequests.certificates.k8s.io`
    SIGNING_REQUESTS = ("certificates.k8s.io", "v1", "certificatesigningrequests");
    /// `pods`
    PODS = ("", "v1", "pods");
    /// `nodes`
    NODES = ("", "v1", "nodes");
    /// `namespaces`
    NAMESPACES = ("", "v1", "namespaces");
    /// `services`
    SERVICES = ("", "v1", "services");
    /// `endpoints`
    ENDPOINTS = ("", "v1", "endpoints");
    /// `secrets`
    SECRETS = ("", "v1", "secrets");
    /// `configmaps`
    CONFIG_MAPS = ("", "v1", "configmaps");
    /// `serviceaccounts`
    SERVICE_ACCOUNTS = ("", "v1", "serviceaccounts");
    /// `resourcequotas`
    RESOURCE_QUOTAS = ("", "v1", "resourcequotas");
    /// `persistentvolumeclaims`
    CLAIMS = ("", "v1", "persistentvolumeclaims");
    /// `persistentvolumes`
    VOLUMES = ("", "v1", "persistentvolumes");
    /// `storageclasses.storage.k8s.io`
    STORAGE_CLASSES = ("storage.k8s.io", "v1", "storageclasses");
    /// `deployments.apps`
    DEPLOYMENTS = ("apps", "v1", "deployments");
    /// `replicasets.apps`
    REPLICA_SETS = ("apps", "v1", "replicasets");
    /// `statefulsets.apps`
    STATEFUL_SETS = ("apps", "v1", "statefulsets");
    /// `daemonsets.apps`
    DAEMON_SETS = ("apps", "v1", "daemonsets");
    /// `controllerrevisions.apps`
    CONTROLLER_REVISIONS = ("apps", "v1", "controllerrevisions");
    /// `jobs.batch`
    JOBS = ("batch", "v1", "jobs");
    /// `cronjobs.batch`
    CRON_JOBS = ("batch", "v1", "cronjobs");
    /// `endpointslices.discovery.k8s.io`
    ENDPOINT_SLICES = ("discovery.k8s.io", "v1", "endpointslices");
    /// `poddisruptionbudgets.policy`
    DISRUPTION_BUDGETS = ("policy", "v1", "poddisruptionbudgets");
    /// `horizontalpodautoscalers.autoscaling`
    AUTOSCALERS = ("autoscaling", "v2", "horizontalpodautoscalers");
    /// `validatingwebhookconfigurations.admissionregistration.k8s.io`
    VALIDATING_WEBHOOKS =
        ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations");
    /// `mutatingwebhookconfigurations.admissionregistration.k8s.io`
    MUTATING_WEBHOOKS = ("admissionregistration.k8s.io", "v1", "mutatingwebhookconfigurations");
    /// `customresourcedefinitions.apiextensions.k8s.io`
    CRDS = ("apiextensions.k8s.io", "v1", "customresourcedefinitions");
    /// `validatingadmissionpolicies.admissionregistration.k8s.io`
    ADMISSION_POLICIES = ("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies");
    /// `ipaddresses.networking.k8s.io`
    IP_ADDRESSES = ("networking.k8s.io", "v1", "ipaddresses");
    /// `configurationstates.metallb.io`
    CONFIGURATION_STATES = ("metallb.io", "v1beta1", "configurationstates");
    /// `gatewayclasses.gateway.networking.k8s.io`
    GATEWAY_CLASSES = ("gateway.networking.k8s.io", "v1", "gatewayclasses");
    /// `gateways.gateway.networking.k8s.io`
    GATEWAYS = ("gateway.networking.k8s.io", "v1", "gateways");
    /// `httproutes.gateway.networking.k8s.io`
    HTTP_ROUTES = ("gateway.networking.k8s.io", "v1", "httproutes");
    /// `grpcroutes.gateway.networking.k8s.io`
    GRPC_ROUTES = ("gateway.networking.k8s.io", "v1", "grpcroutes");
    /// `listenersets.gateway.networking.k8s.io`
    LISTENER_SETS = ("gateway.networking.k8s.io", "v1", "listenersets");
    /// `referencegrants.gateway.networking.k8s.io`
    REFERENCE_GRANTS = ("gateway.networking.k8s.io", "v1beta1", "referencegrants");
    /// `authorizationpolicies.security.istio.io`
    AUTHORIZATION_POLICIES = ("security.istio.io", "v1", "authorizationpolicies");
    /// `peerauthentications.security.istio.io`
    PEER_AUTHENTICATIONS = ("security.istio.io", "v1", "peerauthentications");
    /// `ipaddresspools.metallb.io`
    ADDRESS_POOLS = ("metallb.io", "v1beta1", "ipaddresspools");
    /// `l2advertisements.metallb.io`
    L2_ADVERTISEMENTS = ("metallb.io", "v1beta1", "l2advertisements");
}
