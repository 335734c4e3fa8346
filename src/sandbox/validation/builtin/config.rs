//! ConfigMaps and Secrets.

use base64::Engine;
use serde_json::Value;

use crate::sandbox::validation::{Cause, names};

use super::check::{Check, text};

const MAX_BYTES: usize = 1024 * 1024;

pub(super) fn config_map(object: &Value, check: &mut Check) {
    let mut size = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let path = format!("data[{key}]");
        check.syntax(&path, key, key_syntax(key));
        if object["binaryData"].get(key).is_some() {
            check.invalid(&path, &key.as_str().into(), "duplicate of key present in binaryData");
        }
        size += value.as_str().unwrap_or_default().len();
    }
    for (key, value) in object["binaryData"].as_object().into_iter().flatten() {
        check.syntax(&format!("binaryData[{key}]"), key, key_syntax(key));
        size += decoded_size(value);
    }
    // The API server names no field here, and its empty path is written so.
    too_large(size, "[]", check);
}

fn key_syntax(key: &str) -> Vec<String> {
    let mut why = names::config_map_key(key);
    // The two dots themselves are told apart from a key that begins with them.
    if key == ".." {
        why.retain(|text| text != "must not start with '..'");
        why.push("must not be '..'".to_owned());
    }
    why
}

fn decoded_size(value: &Value) -> usize {
    let text = value.as_str().unwrap_or_default();
    base64::engine::general_purpose::STANDARD.decode(text).map_or(text.len(), |bytes| bytes.len())
}

fn too_large(size: usize, field: &str, check: &mut Check) {
    if size > MAX_BYTES {
        check.causes.push(Cause::too_long(field, MAX_BYTES as u64));
    }
}

pub(super) fn update_config_map(object: &Value, old: &Value, check: &mut Check) {
    frozen(object, old, &["data", "binaryData"], check);
}

/// Once `immutable` is set, it and the content stay.
fn frozen(object: &Value, old: &Value, fields: &[&str], check: &mut Check) {
    if old["immutable"] != true {
        return;
    }
    if object["immutable"] != true {
        check.forbidden("immutable", "field is immutable when `immutable` is set");
    }
    for field in fields {
        if !super::check::same(&object[*field], &old[*field]) {
            check.forbidden(field, "field is immutable when `immutable` is set");
        }
    }
}

pub(super) fn secret(object: &Value, check: &mut Check) {
    let mut size = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        check.syntax(&format!("data[{key}]"), key, key_syntax(key));
        size += decoded_size(value);
    }
    too_large(size, "data", check);
    let data = |key: &str| {
        object["data"]
            .get(key)
            .or_else(|| object["stringData"].get(key))
            .filter(|value| !value.is_null())
    };
    let needed: &[&str] = match text(object, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/basic-auth" if data("username").is_none() && data("password").is_none() => {
            &["username", "password"]
        }
        "kubernetes.io/service-account-token" => {
            let account = "kubernetes.io/service-account.name";
            if text(&object["metadata"]["annotations"], account).is_empty() {
                check.required(&format!("metadata.annotations[{account}]"), "");
            }
            &[]
        }
        _ => &[],
    };
    for key in needed {
        if data(key).is_none() {
            check.required(&format!("data[{key}]"), "");
        }
    }
    for key in [".dockerconfigjson", ".dockercfg"].iter().filter(|key| needed.contains(*key)) {
        let decoded = data(key)
            .and_then(Value::as_str)
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok());
        if let Some(bytes) = decoded
            && serde_json::from_slice::<Value>(&bytes).is_err()
        {
            // The content is a secret: the API server says `<secret contents redacted>`, too.
            let path = format!("data[{key}]");
            check.invalid(&path, &"<secret contents redacted>".into(), "invalid JSON");
        }
    }
}

pub(super) fn update_secret(object: &Value, old: &Value, check: &mut Check) {
    let kind = |object: &Value| object["type"].as_str().unwrap_or("Opaque").to_owned();
    if kind(object) != kind(old) {
        check.invalid("type", &kind(object).into(), "field is immutable");
    }
    frozen(object, old, &["data"], check);
}
