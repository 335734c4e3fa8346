//! Label and field selectors.

use serde_json::Value;

use super::kinds::Kind;
use super::label_selector::LabelSelector;
use super::status;
use crate::sandbox::api::Status;

/// The label and field selectors of one request; all must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: LabelSelector,
    /// Path, whether it must equal, value.
    fields: Vec<(String, bool, String)>,
}

impl Selection {
    /// From the query parameters `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = LabelSelector::parse(labels).map_err(status::bad_request)?;
        let mut parsed = Vec::new();
        for term in fields.split(',').filter(|term| !term.trim().is_empty()) {
            let (path, equal, value) = term
                .split_once("!=")
                .map(|(path, value)| (path, false, value))
                .or_else(|| term.split_once("==").map(|(path, value)| (path, true, value)))
                .or_else(|| term.split_once('=').map(|(path, value)| (path, true, value)))
                .ok_or_else(|| {
                    status::bad_request(format!(
                        "invalid selector: '{term}'; can't understand '{term}'"
                    ))
                })?;
            let path = path.trim();
            check_field(kind, path)?;
            let value = value.replace("\\,", ",").replace("\\=", "=").replace("\\\\", "\\");
            parsed.push((path.to_owned(), equal, value));
        }
        Ok(Self { labels, fields: parsed })
    }

    /// The same, of the object with that name.
    pub(crate) fn of_name(mut self, name: &str) -> Self {
        self.fields.push(("metadata.name".to_owned(), true, name.to_owned()));
        self
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_everything() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.labels.matches(&object["metadata"]["labels"])
            && self
                .fields
                .iter()
                .all(|(path, equal, value)| (field_text(object, path) == *value) == *equal)
    }
}

/// The fields that a kind can be selected by.
fn known_fields(kind: &Kind) -> Vec<String> {
    let own: &[&str] = match (kind.group.as_str(), kind.plural.as_str()) {
        ("", "pods") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("" | "events.k8s.io", "events") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("", "nodes") => &["spec.unschedulable"],
        ("", "namespaces") => &["status.phase"],
        ("", "secrets") => &["type"],
        ("", "services") => &["spec.clusterIP", "spec.type"],
        ("", "replicationcontrollers") => &["status.replicas"],
        ("batch", "jobs") => &["status.successful"],
        ("certificates.k8s.io", "certificatesigningrequests") => &["spec.signerName"],
        _ => &[],
    };
    let mut fields = vec!["metadata.name".to_owned()];
    if kind.namespaced {
        fields.push("metadata.namespace".to_owned());
    }
    fields.extend(own.iter().map(|field| (*field).to_owned()));
    if let Some(custom) = &kind.custom {
        fields.extend(
            custom.selectable_fields().iter().map(|path| path.trim_start_matches('.').to_owned()),
        );
    }
    fields
}

fn check_field(kind: &Kind, path: &str) -> Result<(), Status> {
    let known = known_fields(kind);
    if known.iter().any(|field| field == path) {
        return Ok(());
    }
    let message = if kind.custom.is_some() {
        format!("field label not supported: {path}")
    } else if known.len() <= 2 {
        format!(
            "\"{path}\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
        )
    } else {
        format!("field label not supported: {path}")
    };
    Err(status::bad_request(message))
}

fn field_text(object: &Value, path: &str) -> String {
    let path = if path == "source" { "source.component" } else { path };
    let mut found = object;
    for part in path.split('.') {
        match found.get(part) {
            Some(child) => found = child,
            None => {
                return if path == "spec.unschedulable" {
                    "false".to_owned()
                } else {
                    String::new()
                };
            }
        }
    }
    match found {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
