//! What a cluster holds before anybody installs anything: namespaces, nodes, the Service `kubernetes`.

use serde_json::{Value, json};

use super::kinds::{ENDPOINT_SLICES, ENDPOINTS, NAMESPACES, NODES, SERVICES};
use super::{ClusterFacts, MANAGER, bootstrap_system, node_lifecycle, object};
use crate::sandbox::api::{Api, Status};

/// The address of the first node; the next ones follow.
const FIRST_NODE: u8 = 2;

/// Makes the objects of a fresh cluster with `n_nodes` nodes; what exists already is left alone.
pub fn cluster(api: &dyn Api, n_nodes: u8, facts: &ClusterFacts) -> Result<(), Status> {
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        if api.get(&NAMESPACES, "", name).is_none() {
            let namespace =
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            api.create("kube-apiserver", namespace)?;
        }
    }
    bootstrap_system::objects(api, facts)?;
    for index in 0..n_nodes {
        node(api, index)?;
    }
    kubernetes(api)
}

fn node(api: &dyn Api, index: u8) -> Result<(), Status> {
    // kind's names: one control plane that also works, then workers.
    let name = match index {
        0 => "sandbox-control-plane".to_owned(),
        1 => "sandbox-worker".to_owned(),
        index => format!("sandbox-worker{index}"),
    };
    if api.get(&NODES, "", &name).is_some() {
        return Ok(());
    }
    let mut labels = json!({
        "beta.kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
    });
    if index == 0 {
        labels["node-role.kubernetes.io/control-plane"] = json!("");
    }
    let created = api.create(
        "kubelet",
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": labels,
                "annotations": {
                    "node.alpha.kubernetes.io/ttl": "0",
                    "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                },
            },
            "spec": {
                "podCIDR": format!("10.244.{index}.0/24"),
                "podCIDRs": [format!("10.244.{index}.0/24")],
                "providerID": format!("kind://docker/sandbox/{name}"),
            },
        }),
    )?;
    object::put_status(api, "kubelet", &created, node_status(api, &name, index))
}

fn node_status(api: &dyn Api, name: &str, index: u8) -> Value {
    let now = object::now(api);
    let conditions = node_lifecycle::well(&now);
    let resources = json!({
        "cpu": "8",
        "ephemeral-storage": "98831908Ki",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "memory": "16393428Ki",
        "pods": "110",
    });
    json!({
        "addresses": [
            { "address": format!("172.18.0.{}", FIRST_NODE + index), "type": "InternalIP" },
            { "address": name, "type": "Hostname" },
        ],
        "allocatable": resources,
        "capacity": resources,
        "conditions": conditions,
        "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": api.random_uid(),
            "containerRuntimeVersion": "containerd://2.2.0",
            "kernelVersion": "6.12.0",
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.36.3",
            "machineID": api.random_uid().replace('-', ""),
            "operatingSystem": "linux",
            "osImage": "meshscript sandbox",
            "systemUUID": api.random_uid(),
        },
    })
}

/// The Service in front of the API server, which has no pods.
fn kubernetes(api: &dyn Api) -> Result<(), Status> {
    if api.get(&SERVICES, "default", "kubernetes").is_none() {
        api.create(
            "kube-apiserver",
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {
                    "name": "kubernetes",
                    "namespace": "default",
                    "labels": { "component": "apiserver", "provider": "kubernetes" },
                },
                "spec": {
                    "clusterIP": "10.96.0.1",
                    "clusterIPs": ["10.96.0.1"],
                    "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443 }],
                    "sessionAffinity": "None",
                    "type": "ClusterIP",
                },
            }),
        )?;
    }
    let address = format!("172.18.0.{FIRST_NODE}");
    let metadata =
        |extra: Value| json!({ "name": "kubernetes", "namespace": "default", "labels": extra });
    if api.get(&ENDPOINTS, "default", "kubernetes").is_none() {
        api.create(
            "kube-apiserver",
            json!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": metadata(json!({ "endpointslice.kubernetes.io/skip-mirror": "true" })),
                "subsets": [{
                    "addresses": [{ "ip": address }],
                    "ports": [{ "name": "https", "port": 6443, "protocol": "TCP" }],
                }],
            }),
        )?;
    }
    if api.get(&ENDPOINT_SLICES, "default", "kubernetes").is_none() {
        api.create(
            MANAGER,
            json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": metadata(json!({ "kubernetes.io/service-name": "kubernetes" })),
                "addressType": "IPv4",
                "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
                "ports": [{ "name": "https", "port": 6443, "protocol": "TCP" }],
            }),
        )?;
    }
    Ok(())
}
