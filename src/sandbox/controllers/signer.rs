//! What approved CertificateSigningRequests get: a certificate of the cluster's own authority, from the signers of
//! `kubernetes.io` that kube-controller-manager has.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::kinds::SIGNING_REQUESTS;
use super::{MANAGER, object};
use crate::base::clock::Clock as _;
use crate::sandbox::api::{Api, Changed, Controller, Requeue, Status};
use crate::sandbox::certificates::{Authority, Subject};

/// How long a certificate is valid for which nothing shorter was asked (`--cluster-signing-duration`).
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);
/// The shortest that can be asked for.
const SHORTEST: Duration = Duration::from_secs(600);

pub(super) struct Signer {
    authority: Arc<Authority>,
}

impl Signer {
    pub(super) fn new(authority: Arc<Authority>) -> Self {
        Self { authority }
    }
}

impl Controller for Signer {
    fn name(&self) -> &'static str {
        "certificate-csrsigning"
    }

    fn keys(&self, _api: &dyn Api, change: &Changed) -> Vec<(String, String)> {
        if change.resource != *SIGNING_REQUESTS {
            return Vec::new();
        }
        vec![object::key(&change.object)]
    }

    fn reconcile(&mut self, api: &dyn Api, _: &str, name: &str) -> Result<Requeue, Status> {
        let Some(found) = api.get(&SIGNING_REQUESTS, "", name) else {
            return Ok(Requeue::OnChange);
        };
        let done = !found["status"]["certificate"].is_null();
        let has = |kind: &str| object::condition(&found, kind).is_some();
        if done || !has("Approved") || has("Failed") || has("Denied") {
            return Ok(Requeue::OnChange);
        }
        let spec = &found["spec"];
        let usages: Vec<&str> =
            object::items(spec, "usages").iter().filter_map(Value::as_str).collect();
        let text = BASE64.decode(spec["request"].as_str().unwrap_or_default()).unwrap_or_default();
        let text = String::from_utf8(text).unwrap_or_default();
        let subject = Subject::of(text.as_bytes()).unwrap_or_default();
        let signer = spec["signerName"].as_str().unwrap_or_default();
        let Some(allowed) = signed_here(signer, &usages, &subject) else {
            return Ok(Requeue::OnChange);
        };
        if subject.organizations.len() > 1 {
            let what = "a certificate of several organizations";
            api.not_modelled(&format!("{what} for CertificateSigningRequest {name}"));
            return Ok(Requeue::OnChange);
        }
        let mut changed = (*found).clone();
        let signed = allowed.and_then(|()| {
            let asked = spec["expirationSeconds"].as_u64().map(Duration::from_secs);
            let span = asked.map_or(LONGEST, |asked| asked.clamp(SHORTEST, LONGEST));
            let now = api.clock().now();
            self.authority.sign(&text, &usages, now, span).map_err(|error| error.to_string())
        });
        match signed {
            Ok(certificate) => changed["status"]["certificate"] = BASE64.encode(certificate).into(),
            Err(why) => {
                let mut conditions = object::items(&found["status"], "conditions").to_vec();
                conditions.push(json!({
                    "type": "Failed", "status": "True", "reason": "SignerValidationFailure",
                    "message": why,
                }));
                changed["status"]["conditions"] = conditions.into();
            }
        }
        api.update_status(MANAGER, changed)?;
        Ok(Requeue::OnChange)
    }
}

/// Whether a signer grants that, and why not; `None` for a signer that is somebody else's.
fn signed_here(signer: &str, usages: &[&str], subject: &Subject) -> Option<Result<(), String>> {
    match signer {
        "kubernetes.io/kube-apiserver-client" => Some(client_usages(usages)),
        "kubernetes.io/kube-apiserver-client-kubelet" => {
            let why = ["DNS", "IP", "Email", "URI"]
                .into_iter()
                .zip(subject.names)
                .find(|(_, count)| *count > 0)
                .map(|(what, _)| format!("{what} subjectAltNames are not allowed"));
            Some(of_node(subject, why, usages, "client auth"))
        }
        "kubernetes.io/kubelet-serving" => {
            let [dns, ip, mail, uri] = subject.names;
            let why = match (dns + ip, mail, uri) {
                (0, ..) => Some("DNS or IP subjectAltName is required"),
                (_, 1.., _) => Some("Email subjectAltNames are not allowed"),
                (_, _, 1..) => Some("URI subjectAltNames are not allowed"),
                _ => None,
            };
            Some(of_node(subject, why.map(str::to_owned), usages, "server auth"))
        }
        "kubernetes.io/legacy-unknown" => Some(Ok(())),
        _ => None,
    }
}

fn client_usages(usages: &[&str]) -> Result<(), String> {
    let known = ["client auth", "digital signature", "key encipherment"];
    if let Some(wrong) = usages.iter().find(|usage| !known.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {wrong}"));
    }
    if !usages.contains(&"client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

/// What a kubelet may ask for itself; `names` says what is wrong with the names beside its own.
fn of_node(
    subject: &Subject,
    names: Option<String>,
    usages: &[&str],
    needed: &str,
) -> Result<(), String> {
    if subject.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    if let Some(why) = names {
        return Err(why);
    }
    let optional = ["digital signature", "key encipherment"];
    let fits = usages.contains(&needed)
        && usages.contains(&"digital signature")
        && usages.iter().all(|usage| *usage == needed || optional.contains(usage));
    if !fits {
        let mut wanted = ["digital signature", "key encipherment", needed];
        wanted.sort_unstable();
        return Err(format!("usages did not match [{}]", wanted.join(" ")));
    }
    if !subject.common_name.starts_with("system:node:") {
        return Err("subject common name does not begin with system:node:".to_owned());
    }
    Ok(())
}
