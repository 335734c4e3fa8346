//! What the sandbox models of a cluster and what it does not, as a text for people.
//!
//! The kinds come from the data that is served, so the text follows it; what is missing is a list that is kept by hand: each
//! of its lines answers 501 where a client meets it, or is noted for the end of the run.

use super::builtin;
use super::validation::builtin::is_covered;

/// Subresources that are answered; others of discovery answer 501.
const SUBRESOURCES: &[&str] = &[
    "approval",
    "attach",
    "binding",
    "ephemeralcontainers",
    "eviction",
    "exec",
    "finalize",
    "log",
    "portforward",
    "proxy",
    "resize",
    "scale",
    "status",
    "token",
];

const MISSING: &[&str] = &[
    "API aggregation: an APIService is stored, requests are not passed on",
    "conversion of custom objects by webhook: only the strategy None converts",
    "changes by mutating webhooks and MutatingAdmissionPolicies",
    "admission webhooks at a URL, and what webhooks of other Services than istiod's and MetalLB's say",
    "the `authorizer` variable of admission policies; in CEL, sortBy and loops over two variables",
    "component statuses, answers in protobuf or CBOR",
    "priority and fairness: flow schemas are stored, no request waits",
    "signers of CertificateSigningRequests beside those of kubernetes.io, allocation of devices, what lies in persistent volumes",
    "image pulls, node kernels, CNI plugins, cloud load balancers",
];

/// The text of `meshscript sandbox --coverage`.
pub fn text() -> String {
    let (mut kinds, mut refused) = (Vec::new(), Vec::new());
    for group in builtin::groups() {
        for version in &group.versions {
            let api_version = match group.name() {
                "" => version.version.clone(),
                name => format!("{name}/{}", version.version),
            };
            for resource in &version.resources {
                let kind = &resource.response_kind.kind;
                let checks = if is_covered(group.name(), kind) { "own rules" } else { "schema" };
                kinds.push(format!("  {api_version:<42}{:<36}{checks}", resource.resource));
                for sub in &resource.subresources {
                    if !SUBRESOURCES.contains(&sub.subresource.as_str()) {
                        refused.push(format!("  {}/{}", resource.resource, sub.subresource));
                    }
                }
            }
        }
    }
    let mut lines = vec![format!(
        "Modelled: {} kinds with schema, defaults, tables and discovery, and those of every CustomResourceDefinition.",
        kinds.len()
    )];
    lines.push("Own rules are checks beyond the schema, in the API server's words.".to_owned());
    lines.append(&mut kinds);
    lines.push(format!("Subresources: {}", SUBRESOURCES.join(", ")));
    lines.push(String::new());
    lines.push(
        "Not modelled; met by a client it answers 501 or is listed at the end of the run:"
            .to_owned(),
    );
    lines.append(&mut refused);
    lines.extend(MISSING.iter().map(|what| format!("  {what}")));
    lines.join("\n")
}
