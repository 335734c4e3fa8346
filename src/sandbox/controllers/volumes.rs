//! PersistentVolumes and their claims: who is bound to whom, and what is kept until nobody uses it, as the binder and the
//! protection controllers of Kubernetes 1.36 decide it.
//!
//! A StorageClass whose provisioner is not `kubernetes.io/no-provisioner` gets its volumes from an external provisioner.
//! The sandbox plays it, for any name: a rehearsed StatefulSet is to come up as it does where the driver runs.

use std::sync::Arc;

use serde_json::{Value, json};

use super::kinds::{CLAIMS, PODS, STORAGE_CLASSES, VOLUMES};
use super::{MANAGER, object};
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::node::scheduler::milli;

const COMPONENT: &str = "persistentvolume-controller";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// The node of the first pod that uses a claim, as the scheduler notes it.
pub(crate) const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// Names a class of which nothing is provisioned.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Whether a claim has its volume.
pub(crate) fn is_bound(claim: &Value) -> bool {
    object::annotation(claim, BIND_COMPLETED).is_some()
        && !text(&claim["spec"], "volumeName").is_empty()
}

/// Whether a claim waits until a pod that uses it has a node.
pub(crate) fn waits_for_consumer(api: &dyn Api, claim: &Value) -> bool {
    let class = api.get(&STORAGE_CLASSES, "", text(&claim["spec"], "storageClassName"));
    class.is_some_and(|class| class["volumeBindingMode"] == "WaitForFirstConsumer")
}

/// The names of the claims that a pod mounts.
pub(crate) fn claims_of(pod: &Value) -> impl Iterator<Item = &str> {
    object::items(&pod["spec"], "volumes")
        .iter()
        .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str())
}

/// Binds claims to volumes.
pub(super) struct Claims;

impl Controller for Claims {
    fn name(&self) -> &'static str {
        COMPONENT
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "persistentvolumeclaims" => vec![object::key(&change.object)],
            // A volume that has come may be what any open claim waits for; one that has changed concerns its own.
            "persistentvolumes" | "storageclasses" => {
                let own = claim_key(&change.object);
                let open = api.list(&CLAIMS, "").into_iter().filter(|claim| !is_bound(claim));
                own.into_iter().chain(open.map(|claim| object::key(&claim))).collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let Some(claim) = api.get(&CLAIMS, namespace, name) else { return Ok(Requeue::OnChange) };
        if is_bound(&claim) {
            keep_bound(api, &claim)?;
        } else if text(&claim["spec"], "volumeName").is_empty() {
            find(api, &claim)?;
        } else {
            take_named(api, &claim)?;
        }
        Ok(Requeue::OnChange)
    }
}

/// Says which volumes are free, taken or left behind.
pub(super) struct Volumes;

impl Controller for Volumes {
    fn name(&self) -> &'static str {
        "persistentvolume-binder"
    }

    fn keys(&self, api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "persistentvolumes" => vec![object::key(&change.object)],
            "persistentvolumeclaims" => {
                let of_it = |volume: &Arc<Value>| {
                    claim_key(volume).is_some_and(|key| key == object::key(&change.object))
                };
                api.list(&VOLUMES, "")
                    .iter()
                    .filter(|it| of_it(it))
                    .map(|it| object::key(it))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, name: &str) -> Result<Requeue, Status> {
        let Some(volume) = api.get(&VOLUMES, "", name) else { return Ok(Requeue::OnChange) };
        let reference = &volume["spec"]["claimRef"];
        let phase = if reference.is_null() || text(reference, "uid").is_empty() {
            // Kept for a claim by its author, but no claim has taken it yet.
            "Available"
        } else {
            let claim = api.get(&CLAIMS, text(reference, "namespace"), text(reference, "name"));
            match claim.filter(|claim| claim["metadata"]["uid"] == reference["uid"]) {
                Some(claim) if claim["spec"]["volumeName"] == *name => "Bound",
                Some(_) => return Ok(Requeue::OnChange),
                None => "Released",
            }
        };
        let given_up = phase == "Released" && volume["status"]["phase"] == "Failed";
        if volume["status"]["phase"] != phase && !given_up {
            let mut status = volume["status"].clone();
            status["phase"] = phase.into();
            status["lastPhaseTransitionTime"] = object::now(api).into();
            object::put_status(api, MANAGER, &volume, status)?;
        }
        if phase == "Released"
            && !given_up
            && volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
            && !object::is_deleting(&volume)
        {
            reclaim(api, &volume)?;
        }
        Ok(Requeue::OnChange)
    }
}

/// Lets claims and volumes go once nobody uses them.
pub(super) struct Protection;

impl Controller for Protection {
    fn name(&self) -> &'static str {
        "pvc-protection-controller"
    }

    fn keys(&self, _: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        match change.resource.plural.as_str() {
            "persistentvolumeclaims" | "persistentvolumes"
                if object::is_deleting(&change.object) =>
            {
                vec![object::key(&change.object)]
            }
            "pods" => {
                let namespace = object::namespace(&change.object);
                claims_of(&change.object)
                    .map(|name| (namespace.to_owned(), name.to_owned()))
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn reconcile(&mut self, api: &dyn Api, namespace: &str, name: &str) -> Result<Requeue, Status> {
        let (resource, finalizer) = match namespace {
            "" => (&VOLUMES, VOLUME_PROTECTION),
            _ => (&CLAIMS, CLAIM_PROTECTION),
        };
        let Some(found) = api.get(resource, namespace, name) else { return Ok(Requeue::OnChange) };
        let in_use = if namespace.is_empty() {
            found["status"]["phase"] == "Bound"
        } else {
            api.list(&PODS, namespace).iter().any(|pod| uses(pod, name))
        };
        if !object::is_deleting(&found) || in_use {
            return Ok(Requeue::OnChange);
        }
        object::drop_finalizer(api, MANAGER, resource, &found, finalizer)?;
        Ok(Requeue::OnChange)
    }
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// Whether a pod that has a node, and has not ended, mounts a claim.
fn uses(pod: &Value, claim: &str) -> bool {
    pod["spec"]["nodeName"].is_string()
        && !matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
        && claims_of(pod).any(|name| name == claim)
}

/// The claim that a volume is for.
fn claim_key(volume: &Value) -> Option<(String, String)> {
    let reference = volume["spec"].get("claimRef").filter(|reference| reference.is_object())?;
    Some((text(reference, "namespace").to_owned(), text(reference, "name").to_owned()))
}

/// A claim whose volume is gone, or is another's now, is lost.
fn keep_bound(api: &dyn Api, claim: &Arc<Value>) -> Result<(), Status> {
    let volume = api.get(&VOLUMES, "", text(&claim["spec"], "volumeName"));
    let lost = match volume {
        None => Some((
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
        )),
        Some(volume) if volume["spec"]["claimRef"].is_null() => {
            return bind(api, claim, &volume);
        }
        Some(volume) => {
            (volume["spec"]["claimRef"]["uid"] != claim["metadata"]["uid"]).then_some((
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            ))
        }
    };
    let Some((reason, message)) = lost else {
        return Ok(());
    };
    if claim["status"]["phase"] == "Lost" {
        return Ok(());
    }
    api.event(COMPONENT, claim, "Warning", reason, message);
    object::put_status(api, MANAGER, claim, json!({"phase": "Lost"}))
}

/// A claim that names its volume waits for it.
fn take_named(api: &dyn Api, claim: &Arc<Value>) -> Result<(), Status> {
    let name = text(&claim["spec"], "volumeName");
    let Some(volume) = api.get(&VOLUMES, "", name) else { return pending(api, claim) };
    if is_for(&volume, claim) || volume["spec"]["claimRef"].is_null() {
        return match mismatch(&volume, claim) {
            Some(why) => {
                let message = format!("Cannot bind to requested volume \"{name}\": {why}");
                api.event(COMPONENT, claim, "Warning", "VolumeMismatch", &message);
                pending(api, claim)
            }
            None => bind(api, claim, &volume),
        };
    }
    let message = format!("volume \"{name}\" already bound to a different claim.");
    api.event(COMPONENT, claim, "Warning", "FailedBinding", &message);
    pending(api, claim)
}

/// The smallest free volume that fits, else one that is provisioned.
fn find(api: &dyn Api, claim: &Arc<Value>) -> Result<(), Status> {
    if object::is_deleting(claim) {
        return Ok(());
    }
    let selected = object::annotation(claim, SELECTED_NODE).is_some();
    let delayed = !selected && waits_for_consumer(api, claim);
    let volumes = api.list(&VOLUMES, "");
    let reserved = volumes.iter().find(|volume| is_for(volume, claim));
    let free = volumes.iter().filter(|volume| {
        volume["spec"]["claimRef"].is_null()
            && !object::is_deleting(volume)
            && mismatch(volume, claim).is_none()
            && selector_holds(claim, volume)
            && volume["status"]["phase"] == "Available"
    });
    // What offers fewer ways to be mounted is taken first, then what is smaller.
    let rank = |volume: &Value| {
        let modes = object::items(&volume["spec"], "accessModes").len();
        (modes, storage(&volume["spec"]["capacity"]), object::name(volume).to_owned())
    };
    let smallest = || free.min_by_key(|volume| rank(volume));
    let chosen = reserved.or_else(|| if delayed { None } else { smallest() });
    if let Some(volume) = chosen {
        return bind(api, claim, volume);
    }
    if delayed {
        let message = "waiting for first consumer to be created before binding";
        api.event(COMPONENT, claim, "Normal", "WaitForFirstConsumer", message);
        return pending(api, claim);
    }
    let class_name = text(&claim["spec"], "storageClassName");
    if class_name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        api.event(COMPONENT, claim, "Normal", "FailedBinding", message);
        return pending(api, claim);
    }
    match api.get(&STORAGE_CLASSES, "", class_name) {
        Some(class) if class["provisioner"] != NO_PROVISIONER => provision(api, claim, &class),
        found => {
            let message = match found {
                Some(_) => format!("no volume plugin matched name: {NO_PROVISIONER}"),
                None => format!("storageclass.storage.k8s.io \"{class_name}\" not found"),
            };
            api.event(COMPONENT, claim, "Warning", "ProvisioningFailed", &message);
            pending(api, claim)
        }
    }
}

fn pending(api: &dyn Api, claim: &Arc<Value>) -> Result<(), Status> {
    object::put_status(api, MANAGER, claim, json!({"phase": "Pending"}))
}

fn is_for(volume: &Value, claim: &Value) -> bool {
    let reference = &volume["spec"]["claimRef"];
    claim_key(volume).is_some_and(|key| key == object::key(claim))
        && (text(reference, "uid").is_empty() || reference["uid"] == claim["metadata"]["uid"])
}

/// The amount of storage, in thousandths of a byte.
fn storage(amounts: &Value) -> u128 {
    milli(&amounts["storage"])
}

/// Why a volume cannot serve a claim, in the binder's words.
fn mismatch(volume: &Value, claim: &Value) -> Option<String> {
    let (volume, claim) = (&volume["spec"], &claim["spec"]);
    if storage(&volume["capacity"]) < storage(&claim["resources"]["requests"]) {
        return Some("requested PV is too small".to_owned());
    }
    if text(volume, "storageClassName") != text(claim, "storageClassName") {
        return Some("storageClassName does not match".to_owned());
    }
    if volume["volumeMode"] != claim["volumeMode"] {
        return Some("incompatible volumeMode".to_owned());
    }
    let offered = object::items(volume, "accessModes");
    if !object::items(claim, "accessModes").iter().all(|mode| offered.contains(mode)) {
        return Some("incompatible accessMode".to_owned());
    }
    None
}

fn selector_holds(claim: &Value, volume: &Value) -> bool {
    let selector = &claim["spec"]["selector"];
    selector.is_null() || object::selects(selector, &volume["metadata"]["labels"])
}

fn annotate(object: &mut Value, name: &str, value: &str) {
    if !object["metadata"]["annotations"].is_object() {
        object["metadata"]["annotations"] = json!({});
    }
    object["metadata"]["annotations"][name] = value.into();
}

/// How a volume names the claim that it is for.
fn reference_to(claim: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": claim["metadata"]["namespace"],
        "name": claim["metadata"]["name"],
        "uid": claim["metadata"]["uid"],
        "resourceVersion": claim["metadata"]["resourceVersion"],
    })
}

/// Writes both sides of a binding: the volume first, so that nobody else takes it.
fn bind(api: &dyn Api, claim: &Arc<Value>, volume: &Arc<Value>) -> Result<(), Status> {
    let mut taken = (**volume).clone();
    let reference = &volume["spec"]["claimRef"];
    if reference["uid"] != claim["metadata"]["uid"] {
        if reference.is_null() {
            annotate(&mut taken, BOUND_BY_CONTROLLER, "yes");
        }
        taken["spec"]["claimRef"] = reference_to(claim);
        api.update(MANAGER, taken)?;
    }
    let mut bound = (**claim).clone();
    if text(&claim["spec"], "volumeName").is_empty() {
        bound["spec"]["volumeName"] = volume["metadata"]["name"].clone();
        annotate(&mut bound, BOUND_BY_CONTROLLER, "yes");
    }
    annotate(&mut bound, BIND_COMPLETED, "yes");
    let bound = api.update(MANAGER, bound)?;
    let status = json!({
        "phase": "Bound",
        "accessModes": volume["spec"]["accessModes"],
        "capacity": volume["spec"]["capacity"],
    });
    object::put_status(api, MANAGER, &bound, status)
}

/// What an external provisioner does for a claim of its class.
fn provision(api: &dyn Api, claim: &Arc<Value>, class: &Value) -> Result<(), Status> {
    let provisioner = text(class, "provisioner");
    if object::annotation(claim, PROVISIONER[1]) != Some(provisioner) {
        let mut asked = (**claim).clone();
        for name in PROVISIONER {
            annotate(&mut asked, name, provisioner);
        }
        let message = format!(
            "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
             system administrator. If volume creation is delayed, please verify that the provisioner is running and \
             correctly registered."
        );
        api.event(COMPONENT, claim, "Normal", "ExternalProvisioning", &message);
        // The change brings the claim here again.
        return api.update(MANAGER, asked).map(drop);
    }
    let name = format!("pvc-{}", object::uid(claim));
    let spec = &claim["spec"];
    let mut volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: provisioner}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "volumeMode": spec["volumeMode"],
            "storageClassName": spec["storageClassName"],
            "persistentVolumeReclaimPolicy": class["reclaimPolicy"],
            "csi": {"driver": provisioner, "volumeHandle": name},
            "claimRef": reference_to(claim),
        },
    });
    if class["mountOptions"].is_array() {
        volume["spec"]["mountOptions"] = class["mountOptions"].clone();
    }
    match api.create(provisioner, volume) {
        Err(refused) if refused.code != 409 => return Err(refused),
        _ => {}
    }
    let message = format!("Successfully provisioned volume {name}");
    api.event(provisioner, claim, "Normal", "ProvisioningSucceeded", &message);
    Ok(())
}

/// A released volume that is to be deleted: its provisioner does it, or nobody can.
fn reclaim(api: &dyn Api, volume: &Arc<Value>) -> Result<(), Status> {
    if object::annotation(volume, PROVISIONED_BY).is_some() {
        return api.delete(&VOLUMES, "", object::name(volume), "Background");
    }
    let message = "error getting deleter volume plugin for volume";
    let message =
        format!("{message} \"{}\": no deletable volume plugin matched", object::name(volume));
    api.event(COMPONENT, volume, "Warning", "VolumeFailedDelete", &message);
    let mut status = volume["status"].clone();
    status["phase"] = "Failed".into();
    status["message"] = message.into();
    object::put_status(api, MANAGER, volume, status)
}
