//! Who may ask a signer for a certificate, approve that it gives one, and give it: what admission holds
//! CertificateSigningRequests to.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::extensions::Write;
use super::kinds::metadata_text;
use super::{ApiServer, Request, status};
use crate::sandbox::api::Status;
use crate::sandbox::authz::{self, Access};
use crate::sandbox::certificates::Subject;

const GROUP: &str = "certificates.k8s.io";
const CLIENTS: &str = "kubernetes.io/kube-apiserver-client";

/// Refuses what the writer may not ask, approve or sign.
///
/// # Errors
/// The 403 of the admission plugins `CertificateApproval`, `CertificateSigning` and `CertificateSubjectRestriction`.
pub(super) fn admit(server: &ApiServer, write: Write<'_>, request: &Request) -> Result<(), Status> {
    let kind = write.kind;
    if kind.group != GROUP || kind.plural != "certificatesigningrequests" {
        return Ok(());
    }
    let Some(object) = write.object else { return Ok(()) };
    let name = metadata_text(object, "name");
    let refuse = |why: &str| Err(status::forbidden(GROUP, &kind.plural, name, why));
    let named = write.live.unwrap_or(object)["spec"]["signerName"].as_str();
    let signer = named.unwrap_or_default().to_owned();
    match (write.operation, write.subresource) {
        ("CREATE", "") if signer == CLIENTS && asks_for_masters(object) => {
            let masters = authz::MASTERS;
            refuse(&format!("use of {CLIENTS} signer with {masters} group is not allowed"))
        }
        ("UPDATE", "approval") if !may(server, request, "approve", &signer) => {
            refuse(&format!("user not permitted to approve requests with signerName {signer:?}"))
        }
        ("UPDATE", "status")
            if signs(object, write.live) && !may(server, request, "sign", &signer) =>
        {
            refuse(&format!("user not permitted to sign requests with signerName {signer:?}"))
        }
        _ => Ok(()),
    }
}

/// Whether a change gives the certificate or says why there is none.
fn signs(object: &Value, live: Option<&Value>) -> bool {
    let failed = |object: &Value| {
        let conditions = object["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|condition| condition["type"] == "Failed")
    };
    live.is_none_or(|live| {
        object["status"]["certificate"] != live["status"]["certificate"]
            || failed(object) != failed(live)
    })
}

/// Whether the user may do that with a signer, or with all of its domain.
fn may(server: &ApiServer, request: &Request, verb: &str, signer: &str) -> bool {
    let user = request.as_user();
    let domain = signer.split_once('/').map_or(signer, |(domain, _)| domain);
    [signer.to_owned(), format!("{domain}/*")].into_iter().any(|name| {
        let access = Access {
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            resource: "signers".to_owned(),
            name,
            ..Access::default()
        };
        authz::authorize(server, &user, &access).allowed
    })
}

/// Whether the requested subject is of the group whose members may do everything.
fn asks_for_masters(object: &Value) -> bool {
    let text = object["spec"]["request"].as_str().unwrap_or_default();
    let subject = Subject::of(&BASE64.decode(text).unwrap_or_default());
    subject.is_some_and(|subject| subject.organizations.iter().any(|group| group == authz::MASTERS))
}
