//! A certificate as a Secret of the type `kubernetes.io/tls`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::credential::Credential;
use super::error::CertError;
use super::key::PrivateKey;
use crate::base::secret::Secret;

/// The manifest. `tls.crt` holds the leaf and its intermediates, `ca.crt` what clients trust, if that is known.
pub fn tls_secret(
    name: &str,
    namespace: Option<&str>,
    credential: &Credential,
) -> Result<Value, CertError> {
    let key = credential.key.as_ref().ok_or_else(|| CertError::BadSecret {
        name: name.to_owned(),
        reason: "the certificate comes without its private key".to_owned(),
    })?;
    let mut data = json!({
        "tls.crt": STANDARD.encode(credential.chain_pem()),
        "tls.key": STANDARD.encode(key.pem().reveal()),
    });
    if !credential.roots.is_empty() {
        data["ca.crt"] = STANDARD.encode(credential.roots_pem()).into();
    }
    let mut metadata = json!({ "name": name });
    if let Some(namespace) = namespace {
        metadata["namespace"] = namespace.into();
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/tls",
        "data": data,
    }))
}

/// Reads the certificate of a Secret: `tls.crt`, `tls.key`, `ca.crt`, or the keys `cert`, `key`, `cacert` that Istio
/// takes as well. The private key may be missing.
pub fn from_secret(secret: &Value) -> Result<Credential, CertError> {
    let text = |pointer: &str| secret.pointer(pointer).and_then(Value::as_str);
    let name = match (text("/metadata/namespace"), text("/metadata/name")) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        (None, Some(name)) => name.to_owned(),
        (_, None) => "without a name".to_owned(),
    };
    let bad = |reason: String| CertError::BadSecret { name: name.clone(), reason };
    let entry = |keys: [&str; 2]| -> Result<Option<String>, CertError> {
        for key in keys {
            if let Some(text) = secret.get("stringData").and_then(|data| data.get(key)) {
                return Ok(text.as_str().map(ToOwned::to_owned));
            }
            let encoded = secret.get("data").and_then(|data| data.get(key)).and_then(Value::as_str);
            if let Some(encoded) = encoded {
                let bytes = STANDARD.decode(encoded.trim()).ok();
                let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
                return text
                    .map(Some)
                    .ok_or_else(|| bad(format!("`data.{key}` is not base64 of a text")));
            }
        }
        Ok(None)
    };
    let chain = entry(["tls.crt", "cert"])?
        .ok_or_else(|| bad("it has neither `tls.crt` nor `cert`".to_owned()))?;
    let key = entry(["tls.key", "key"])?
        .map(|text| PrivateKey::from_pem(&Secret::new(text)))
        .transpose()?;
    let roots = entry(["ca.crt", "cacert"])?.filter(|text| !text.trim().is_empty());
    Credential::from_pem(&chain, roots.as_deref(), key, &format!("Secret `{name}`"))
}
