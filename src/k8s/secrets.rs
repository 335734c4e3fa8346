//! What must never be shown, out of what was read or is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::base::secret::Redactor;

/// Whether the object is a `v1` Secret.
pub fn is_secret(object: &Value) -> bool {
    object["kind"] == "Secret" && object["apiVersion"] == "v1"
}

/// Tells the redactor the data of a Secret, in plain and in base64.
///
/// Public by nature and therefore left out: certificates, the namespace in a service account's token Secret, and the
/// packed releases of Helm, which nothing prints and which would cost megabytes.
pub fn learn(redactor: &Redactor, object: &Value) {
    if !is_secret(object) || object["type"] == "helm.sh/release.v1" {
        return;
    }
    let is_token = object["type"] == "kubernetes.io/service-account-token";
    for (name, encoded) in object["data"].as_object().into_iter().flatten() {
        let Some(encoded) = encoded.as_str() else { continue };
        match STANDARD.decode(encoded).ok().and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(plain) if is_public(&plain) || (is_token && name == "namespace") => {}
            Some(plain) => redactor.learn(&plain),
            None => redactor.learn(encoded),
        }
    }
    for plain in object["stringData"].as_object().into_iter().flatten().map(|(_, plain)| plain) {
        if let Some(plain) = plain.as_str().filter(|plain| !is_public(plain)) {
            redactor.learn(plain);
        }
    }
}

fn is_public(text: &str) -> bool {
    text.trim_start().starts_with("-----BEGIN CERTIFICATE") && !text.contains("PRIVATE KEY")
}

/// Moves `stringData` into `data`, as the API server does, so that the fields that are applied are the fields that are
/// stored.
pub(super) fn encode(object: &mut Value) {
    if !is_secret(object) {
        return;
    }
    let Some(Value::Object(plain)) =
        object.as_object_mut().and_then(|object| object.remove("stringData"))
    else {
        return;
    };
    if !object["data"].is_object() {
        object["data"] = Value::Object(serde_json::Map::new());
    }
    for (name, value) in plain {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        object["data"][name] = Value::String(STANDARD.encode(text));
    }
}

/// Stands for a secret value where a change of it is to be seen: `sha256:1f2e…`.
pub(super) fn fingerprint(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::String(text) => Value::String(digest(text)),
        other => Value::String(digest(&other.to_string())),
    }
}

fn digest(text: &str) -> String {
    let mut hash = hex::encode(Sha256::digest(text.as_bytes()));
    hash.truncate(8);
    format!("sha256:{hash}…")
}

/// The object with the data of a Secret as fingerprints.
pub(super) fn hashed(object: &Value) -> Value {
    let mut object = object.clone();
    if is_secret(&object) {
        for field in ["data", "stringData"] {
            for (_, value) in object[field].as_object_mut().into_iter().flatten() {
                *value = fingerprint(value);
            }
        }
    }
    object
}
