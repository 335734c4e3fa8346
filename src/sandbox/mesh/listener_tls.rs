//! The certificates that a listener serves, and the authorities that it holds clients to: what istiod accepts and how it
//! names what it does not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;

use super::attach::{Owner, Problem};
use super::reference_grant::{self, text};
use crate::sandbox::api::Api;
use crate::sandbox::controllers::kinds::{CONFIG_MAPS, SECRETS};
use crate::sandbox::controllers::object;

/// The Secrets that can be used, and what is wrong with the listener's TLS.
pub(super) type Found = (Vec<(String, String)>, Option<Problem>);

/// The certificates of a listener; `frontend` is what its Gateway asks of the clients of its port.
pub(super) fn certificates(
    api: &dyn Api,
    owner: Owner<'_>,
    listener: &Value,
    frontend: &Value,
) -> Found {
    const INVALID: &str = "InvalidCertificateRef";
    let tls = &listener["tls"];
    if tls.is_null() || text(tls, "mode", "Terminate") != "Terminate" {
        return (Vec::new(), None);
    }
    let mode = text(&tls["options"], "gateway.istio.io/tls-terminate-mode", "");
    if matches!(mode, "ISTIO_SIMPLE" | "ISTIO_MUTUAL") {
        return (Vec::new(), None);
    }
    let references = object::items(tls, "certificateRefs");
    if references.len() > 2 {
        let message = "TLS mode can only support up to 2 server certificates";
        return (Vec::new(), Some(Problem::new(INVALID, message)));
    }
    let mut usable = Vec::new();
    let mut problem: Option<Problem> = None;
    for reference in references {
        match certificate(api, owner, reference) {
            Ok(place) => usable.push(place),
            Err(next) => match &mut problem {
                Some(problem) => problem.message = format!("{}; {}", problem.message, next.message),
                None => problem = Some(next),
            },
        }
    }
    if usable.is_empty() {
        return (usable, problem);
    }
    let problem = client_authority(api, owner, frontend);
    (usable, problem)
}

/// `group/kind/name.namespace` of a reference, as written.
fn written(reference: &Value) -> String {
    format!(
        "{}/{}/{}.{}",
        text(reference, "group", ""),
        text(reference, "kind", ""),
        text(reference, "name", ""),
        text(reference, "namespace", "")
    )
}

/// A Secret that is named, or why it cannot be used: as a phrase that follows the reference.
fn named_secret(api: &dyn Api, own_namespace: &str, reference: &Value) -> Result<(), String> {
    if !text(reference, "group", "").is_empty() || text(reference, "kind", "Secret") != "Secret" {
        return Err("only secret is allowed".to_owned());
    }
    let namespace = text(reference, "namespace", own_namespace);
    let name = text(reference, "name", "");
    let Some(secret) = api.get(&SECRETS, namespace, name) else {
        return Err(format!("secret {namespace}/{name} not found"));
    };
    key_pair(&secret).map(drop)
}

fn certificate(
    api: &dyn Api,
    (owner_kind, own_namespace, _): Owner<'_>,
    reference: &Value,
) -> Result<(String, String), Problem> {
    named_secret(api, own_namespace, reference).map_err(|why| {
        let message = format!("invalid certificate reference {}, {why}", written(reference));
        Problem::new("InvalidCertificateRef", message)
    })?;
    let namespace = text(reference, "namespace", own_namespace);
    let name = text(reference, "name", "");
    let granted = namespace == own_namespace
        || reference_grant::allows(
            api,
            (owner_kind, own_namespace),
            ("", "Secret", name),
            namespace,
        );
    if !granted {
        let message = format!(
            "certificateRef {name}/{namespace} not accessible to a Gateway in namespace \"{own_namespace}\" (missing a \
             ReferenceGrant?)"
        );
        return Err(Problem::new("RefNotPermitted", message));
    }
    Ok((namespace.to_owned(), name.to_owned()))
}

/// What is wrong with the authority that a port's clients are held to.
fn client_authority(
    api: &dyn Api,
    (owner_kind, own_namespace, _): Owner<'_>,
    frontend: &Value,
) -> Option<Problem> {
    const INVALID: &str = "InvalidCACertificateRef";
    let references = object::items(&frontend["validation"], "caCertificateRefs");
    let reference = references.first()?;
    if references.len() > 1 {
        return Some(Problem::new(INVALID, "only one caCertificateRef is supported"));
    }
    let namespace = text(reference, "namespace", own_namespace);
    let name = text(reference, "name", "");
    let place = format!("{namespace}/{name}");
    let kind = text(reference, "kind", "");
    let resource = match (text(reference, "group", ""), kind) {
        ("", "ConfigMap") => &*CONFIG_MAPS,
        ("", "Secret") => &*SECRETS,
        _ => {
            let message = format!(
                "invalid CA certificate reference {}, only secret and configmap are allowed",
                written(reference)
            );
            return Some(Problem::new("InvalidCACertificateKind", message));
        }
    };
    let bundle = match api.get(resource, namespace, name) {
        None => Err(format!("{} {place} not found", kind.to_lowercase())),
        Some(found) => authority_bundle(&found).and_then(|bundle| {
            let any = CertificateDer::pem_slice_iter(&bundle).any(|found| found.is_ok());
            if any { Ok(()) } else { Err("the bundle is malformed".to_owned()) }
        }),
    };
    if let Err(why) = bundle {
        let message = format!("invalid CA certificate reference {}, {why}", written(reference));
        return Some(Problem::new(INVALID, message));
    }
    let granted = namespace == own_namespace
        || reference_grant::allows(api, (owner_kind, own_namespace), ("", kind, name), namespace);
    (!granted).then(|| {
        let message = format!(
            "caCertificateRef {place} not accessible to a Gateway in namespace \"{own_namespace}\" (missing a \
             ReferenceGrant?)"
        );
        Problem::new("RefNotPermitted", message)
    })
}

/// What is wrong with `spec.tls.backend.clientCertificateRef` of a Gateway.
pub(super) fn client_certificate_problem(api: &dyn Api, gateway: &Value) -> Option<Problem> {
    let reference = gateway["spec"]["tls"]["backend"].get("clientCertificateRef")?;
    let own_namespace = object::namespace(gateway);
    if let Err(why) = named_secret(api, own_namespace, reference) {
        let message = format!("invalid clientCertificateRef {}, {why}", written(reference));
        return Some(Problem::new("InvalidClientCertificateRef", message));
    }
    let (namespace, name) =
        (text(reference, "namespace", own_namespace), text(reference, "name", ""));
    let granted = namespace == own_namespace
        || reference_grant::allows(
            api,
            ("Gateway", own_namespace),
            ("", "Secret", name),
            namespace,
        );
    (!granted).then(|| {
        let message = format!(
            "clientCertificateRef {name}/{namespace} not accessible to a Gateway in namespace \"{own_namespace}\" \
             (missing a ReferenceGrant?)"
        );
        Problem::new("RefNotPermitted", message)
    })
}

/// The bytes of a key of a Secret or ConfigMap.
fn bytes_of(object: &Value, key: &str) -> Option<Vec<u8>> {
    let text = object["data"][key].as_str()?;
    if object["kind"] == "ConfigMap" {
        return Some(text.as_bytes().to_vec());
    }
    Some(STANDARD.decode(text).unwrap_or_default())
}

/// The keys that are there instead of those wanted: at most three by name.
fn found_keys(object: &Value) -> String {
    let mut keys: Vec<&str> =
        object["data"].as_object().into_iter().flatten().map(|(key, _)| key.as_str()).collect();
    keys.sort_unstable();
    match keys.len() {
        0..=2 => keys.join(", "),
        more => format!("{}, and {} more...", keys[..3].join(", "), more - 3),
    }
}

/// The CA bundle of a ConfigMap or Secret, or istiod's words for why there is none.
pub(crate) fn authority_bundle(object: &Value) -> Result<Vec<u8>, String> {
    let keys = ["cacert", "ca.crt"];
    if let Some(bundle) =
        keys.iter().filter_map(|key| bytes_of(object, key)).find(|bundle| !bundle.is_empty())
    {
        return Ok(bundle);
    }
    if let Some(key) = keys.iter().find(|key| bytes_of(object, key).is_some()) {
        return Err(format!("found key \"{key}\", but it was empty"));
    }
    Err(format!(
        "found secret, but didn't have expected keys cacert or ca.crt; found: {}",
        found_keys(object)
    ))
}

/// Certificate chain and key of a Secret, or istiod's words for what is wrong.
pub fn key_pair(
    secret: &Value,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    const PAIRS: [(&str, &str); 2] = [("cert", "key"), ("tls.crt", "tls.key")];
    let both = |(certificate, key): &(&str, &str)| {
        Some((bytes_of(secret, certificate)?, bytes_of(secret, key)?))
    };
    let full = PAIRS
        .iter()
        .filter_map(both)
        .find(|(certificate, key)| !certificate.is_empty() && !key.is_empty());
    let Some((certificate, key)) = full else {
        return Err(match PAIRS.iter().find(|pair| both(pair).is_some()) {
            Some((certificate, key)) => {
                format!("found keys \"{certificate}\" and \"{key}\", but they were empty")
            }
            None => format!(
                "found secret, but didn't have expected keys (cert and key) or (tls.crt and tls.key); found: {}",
                found_keys(secret)
            ),
        });
    };
    let malformed = |why: &str| format!("the certificate is malformed: tls: {why}");
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&certificate).filter_map(Result::ok).collect();
    if chain.is_empty() {
        return Err(malformed("failed to find any PEM data in certificate input"));
    }
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|_| malformed("failed to find any PEM data in key input"))?;
    let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
        .map_err(|_| malformed("failed to parse private key"))?;
    let certified = rustls::sign::CertifiedKey::new(chain.clone(), signing);
    if matches!(certified.keys_match(), Err(rustls::Error::InconsistentKeys(_))) {
        return Err(malformed("private key does not match public key"));
    }
    Ok((chain, key))
}
