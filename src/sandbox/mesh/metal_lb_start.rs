//! What MetalLB's controller writes when it starts: the certificates of its webhooks and the state of its configuration.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::sandbox::api::{Api, Status};
use crate::sandbox::certificates::Authority;
use crate::sandbox::controllers::kinds::{
    CONFIGURATION_STATES, CRDS, SECRETS, VALIDATING_WEBHOOKS,
};
use crate::sandbox::controllers::object;

/// The field manager of the part that rotates certificates.
const ROTATOR: &str = "MetalLB";
const MANAGER: &str = "metallb-controller";
const SECRET: &str = "metallb-webhook-cert";
const SERVICE: &str = "metallb-webhook-service";

/// Fills the Secret that the chart leaves empty, and tells webhooks and conversions whom to trust.
pub(super) fn certificates(
    api: &dyn Api,
    controller: &Value,
    authority: &Authority,
) -> Result<(), Status> {
    let namespace = object::namespace(controller);
    let Some(secret) = api.get(&SECRETS, namespace, SECRET) else { return Ok(()) };
    let bundle = match secret["data"]["ca.crt"].as_str() {
        Some(bundle) => bundle.to_owned(),
        None => fill(api, &secret, authority)?,
    };
    let trusts = |config: &Value| {
        let service = &config["service"];
        service["name"] == SERVICE && service["namespace"] == namespace
    };
    for found in api.list(&VALIDATING_WEBHOOKS, "") {
        let mut wanted = (*found).clone();
        for hook in wanted["webhooks"].as_array_mut().into_iter().flatten() {
            if trusts(&hook["clientConfig"]) {
                hook["clientConfig"]["caBundle"] = json!(bundle);
            }
        }
        if wanted != *found {
            api.update(ROTATOR, wanted)?;
        }
    }
    for found in api.list(&CRDS, "") {
        let config = &found["spec"]["conversion"]["webhook"]["clientConfig"];
        if trusts(config) && config["caBundle"] != bundle {
            let mut wanted = (*found).clone();
            wanted["spec"]["conversion"]["webhook"]["clientConfig"]["caBundle"] = json!(bundle);
            api.update(ROTATOR, wanted)?;
        }
    }
    Ok(())
}

fn fill(api: &dyn Api, secret: &Value, authority: &Authority) -> Result<String, Status> {
    let failed = |error: crate::sandbox::certificates::CertificateError| Status {
        code: 500,
        reason: "InternalError".to_owned(),
        message: error.to_string(),
        details: Value::Null,
    };
    let root = authority.root().map_err(failed)?;
    let host = format!("{SERVICE}.{}.svc", object::namespace(secret));
    let leaf = authority.server(vec![host]).map_err(failed)?;
    let bundle = STANDARD.encode(&root.certificate);
    let mut wanted = secret.clone();
    wanted["data"] = json!({
        "ca.crt": bundle,
        "ca.key": STANDARD.encode(&root.key),
        "tls.crt": STANDARD.encode(&leaf.certificate),
        "tls.key": STANDARD.encode(&leaf.key),
    });
    api.update(MANAGER, wanted)?;
    Ok(bundle)
}

/// The controller's word on the pools: it took them.
pub(super) fn state(api: &dyn Api, controller: &Value) -> Result<(), Status> {
    let namespace = object::namespace(controller);
    if !api.serves(&CONFIGURATION_STATES)
        || api.get(&CONFIGURATION_STATES, namespace, "controller").is_some()
    {
        return Ok(());
    }
    let created = api.create(
        MANAGER,
        json!({
            "apiVersion": "metallb.io/v1beta1",
            "kind": "ConfigurationState",
            "metadata": {
                "name": "controller",
                "namespace": namespace,
                "labels": { "metallb.io/component-type": "controller" },
                "ownerReferences": [{
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": object::name(controller),
                    "uid": object::uid(controller),
                }],
            },
        }),
    )?;
    object::put_status(api, MANAGER, &created, json!({ "result": "Valid" }))?;
    let reconciled = json!({
        "lastTransitionTime": object::now(api),
        "message": "",
        "reason": "Reconciled",
        "status": "True",
        "type": "poolReconcilerValid",
    });
    let state = json!({
        "apiVersion": "metallb.io/v1beta1",
        "kind": "ConfigurationState",
        "metadata": { "name": "controller", "namespace": namespace },
        "status": { "conditions": [reconciled] },
    });
    api.apply_status("poolReconciler", state).map(drop)
}
