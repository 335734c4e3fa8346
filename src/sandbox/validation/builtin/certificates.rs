//! CertificateSigningRequests: what may be asked, and how their conditions may change.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::CertificateSigningRequestParams;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;

use super::check::{Check, each, list, text};
use crate::sandbox::validation::names;

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Conditions that decide about a request; they stay once they are set.
const DECISIONS: &[&str] = &["Approved", "Denied", "Failed"];

/// The parts of a PEM text in a field of bytes.
fn parts(field: &Value) -> Vec<Pem> {
    let bytes = BASE64.decode(field.as_str().unwrap_or_default()).unwrap_or_default();
    Pem::iter_from_buffer(&bytes).filter_map(Result::ok).collect()
}

pub(super) fn signing_request(object: &Value, check: &mut Check) {
    let spec = &object["spec"];
    match parts(&spec["request"]).first() {
        Some(part) if part.label == "CERTIFICATE REQUEST" => {
            let request = part.contents.as_slice().into();
            if let Err(error) = CertificateSigningRequestParams::from_der(&request) {
                check.invalid("spec.request", &spec["request"], refusal(&part.contents, &error));
            }
        }
        _ => {
            let detail = "PEM block type must be CERTIFICATE REQUEST";
            check.invalid("spec.request", &spec["request"], detail);
        }
    }
    usages(spec, check);
    signer_name(text(spec, "signerName"), check);
    if let Some(seconds) = spec["expirationSeconds"].as_i64()
        && seconds < 600
    {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        check.invalid("spec.expirationSeconds", &spec["expirationSeconds"], detail);
    }
    conditions(object, check);
    certificate(&object["status"]["certificate"], check);
}

/// Why a request is none, in Go's words where it is only not signed by its own key.
fn refusal(request: &[u8], error: &rcgen::Error) -> String {
    if *error != rcgen::Error::InvalidCertificationRequestSignature {
        return error.to_string();
    }
    let key = X509CertificationRequest::from_der(request).ok().and_then(|(_, found)| {
        found
            .certification_request_info
            .subject_pki
            .parsed()
            .ok()
            .map(|key| matches!(key, PublicKey::RSA(_)))
    });
    match key {
        Some(true) => "crypto/rsa: verification error".to_owned(),
        _ => "x509: ECDSA verification failure".to_owned(),
    }
}

fn usages(spec: &Value, check: &mut Check) {
    if list(&spec["usages"]).is_empty() {
        check.required("spec.usages", "");
    }
    for (usage, path) in each(spec, "usages", "spec") {
        let found = usage.as_str().unwrap_or_default();
        if !USAGES.contains(&found) {
            check.unsupported(&path, usage, USAGES);
        }
        let same = list(&spec["usages"]).iter().filter(|other| *other == usage).count();
        let first = list(&spec["usages"]).iter().position(|other| other == usage);
        if same > 1 && !path.ends_with(&format!("[{}]", first.unwrap_or(0))) {
            check.duplicate(&path, usage);
        }
    }
}

fn signer_name(name: &str, check: &mut Check) {
    const PATH: &str = "spec.signerName";
    if name.is_empty() {
        check.required(PATH, "");
        return;
    }
    let value = Value::from(name);
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let detail =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        check.invalid(PATH, &value, detail);
        return;
    };
    if name == "kubernetes.io/legacy-unknown" {
        check.invalid(PATH, &value, "the legacy signerName is not allowed via this API version");
    }
    for label in domain.split('.') {
        labelled(&value_of(domain), label, names::dns1123_label(label), check);
    }
    if !domain.contains('.') {
        let detail = "should be a domain with at least two segments separated by dots";
        check.invalid(PATH, &value_of(domain), detail);
    }
    for label in path.split('.') {
        labelled(&value_of(path), label, names::dns1123_subdomain(label), check);
    }
}

fn value_of(text: &str) -> Value {
    text.into()
}

/// What is wrong with a label, said of all that it stands in.
fn labelled(whole: &Value, label: &str, why: Vec<String>, check: &mut Check) {
    for why in why {
        check.invalid("spec.signerName", whole, format!("validating label \"{label}\": {why}"));
    }
}

fn conditions(object: &Value, check: &mut Check) {
    let mut seen: Vec<&str> = Vec::new();
    for (condition, path) in each(&object["status"], "conditions", "status") {
        let (kind, status) = (text(condition, "type"), text(condition, "status"));
        if kind.is_empty() {
            check.required(&format!("{path}.type"), "");
        }
        let allowed: &[&str] = match DECISIONS.contains(&kind) {
            true => &["True"],
            false => &["False", "True", "Unknown"],
        };
        if status.is_empty() {
            check.required(&format!("{path}.status"), "");
        } else if !allowed.contains(&status) {
            check.unsupported(&format!("{path}.status"), &condition["status"], allowed);
        }
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !other.is_empty() && seen.contains(&other) {
            let detail = "Approved and Denied conditions are mutually exclusive";
            check.invalid("status.conditions", &condition["type"], detail);
        }
        if seen.contains(&kind) {
            check.duplicate(&format!("{path}.type"), &condition["type"]);
        }
        seen.push(kind);
    }
}

/// The certificate that a signer gave; it is not shown.
fn certificate(field: &Value, check: &mut Check) {
    const PATH: &str = "status.certificate";
    const SHOWN: &str = "\"<certificate data>\"";
    if field.as_str().is_none_or(str::is_empty) {
        return;
    }
    let found = parts(field);
    if found.is_empty() {
        let detail = "must contain at least one CERTIFICATE PEM block";
        check.invalid_shown(PATH, SHOWN, detail);
    }
    for part in &found {
        if part.label != "CERTIFICATE" {
            let detail = format!("only CERTIFICATE PEM blocks are allowed, found {:?}", part.label);
            check.invalid_shown(PATH, SHOWN, &detail);
        } else if part.parse_x509().is_err() {
            check.invalid_shown(PATH, SHOWN, "found a CERTIFICATE PEM block that is none");
        }
    }
}

fn of_type<'a>(object: &'a Value, kind: &str) -> Vec<&'a Value> {
    list(&object["status"]["conditions"]).iter().filter(|found| found["type"] == kind).collect()
}

fn stay(object: &Value, old: &Value, check: &mut Check) {
    for kind in DECISIONS {
        if of_type(object, kind).len() < of_type(old, kind).len() {
            let detail = format!("updates may not remove a condition of type \"{kind}\"");
            check.forbidden("status.conditions", &detail);
        }
    }
}

/// An update of `status`: a signer's, who neither approves nor denies.
pub(super) fn status(object: &Value, old: &Value, check: &mut Check) {
    conditions(object, check);
    certificate(&object["status"]["certificate"], check);
    stay(object, old, check);
    for kind in &DECISIONS[..2] {
        let (new, old) = (of_type(object, kind), of_type(old, kind));
        if new.len() > old.len() {
            let detail = format!("updates may not add a condition of type \"{kind}\"");
            check.forbidden("status.conditions", &detail);
        } else if new.len() == old.len() && new != old {
            let detail = format!("updates may not modify a condition of type \"{kind}\"");
            check.forbidden("status.conditions", &detail);
        }
    }
    let (new, old) = (&object["status"]["certificate"], &old["status"]["certificate"]);
    if !old.is_null() && new != old {
        let detail = "updates may not modify existing certificate content";
        check.forbidden("status.certificate", detail);
    }
}

/// An update of `approval`.
pub(super) fn approval(object: &Value, old: &Value, check: &mut Check) {
    conditions(object, check);
    stay(object, old, check);
    if object["status"]["certificate"] != old["status"]["certificate"] {
        check.forbidden("status.certificate", "updates may not set certificate content");
    }
}
