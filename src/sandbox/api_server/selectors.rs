//! Label and field selectors.

use serde_json::Value;

use super::kinds::Kind;
use super::status;
use crate::sandbox::api::Status;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

/// The label and field selectors of one request; all must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    labels: Vec<(String, Operator)>,
    /// Path, whether it must equal, value.
    fields: Vec<(String, bool, String)>,
}

impl Selection {
    /// From the query parameters `labelSelector` and `fieldSelector`.
    pub(crate) fn parse(kind: &Kind, labels: &str, fields: &str) -> Result<Self, Status> {
        let labels = parse_labels(labels)
            .map_err(|why| status::bad_request(format!("unable to parse requirement: {why}")))?;
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

    pub(crate) fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        matches_labels(&self.labels, &object["metadata"]["labels"])
            && self
                .fields
                .iter()
                .all(|(path, equal, value)| (field_text(object, path) == *value) == *equal)
    }
}

fn matches_labels(terms: &[(String, Operator)], labels: &Value) -> bool {
    terms.iter().all(|(key, operator)| {
        let value = labels.get(key).and_then(Value::as_str);
        match operator {
            Operator::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Operator::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Operator::Exists => value.is_some(),
            Operator::Absent => value.is_none(),
            Operator::Greater(bound) => {
                value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|n| n > *bound)
            }
            Operator::Less(bound) => {
                value.and_then(|value| value.parse::<i64>().ok()).is_some_and(|n| n < *bound)
            }
        }
    })
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
        ("", "replicationcontrollers") | ("apps", "replicasets") => &["status.replicas"],
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

fn parse_labels(text: &str) -> Result<Vec<(String, Operator)>, String> {
    let mut terms = Vec::new();
    for term in split_terms(text) {
        let term = term.trim();
        if term.is_empty() {
            continue;
        }
        terms.push(parse_term(term)?);
    }
    Ok(terms)
}

/// Splits at commas outside of parentheses.
fn split_terms(text: &str) -> Vec<&str> {
    let mut depth = 0usize;
    let mut start = 0;
    let mut terms = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn parse_term(term: &str) -> Result<(String, Operator), String> {
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some(key) = term.strip_prefix('!') {
        return Ok((key.trim().to_owned(), Operator::Absent));
    }
    if let Some((key, value)) = term.split_once("!=") {
        return Ok((key.trim().to_owned(), Operator::NotIn(one(value))));
    }
    if let Some((key, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        return Ok((key.trim().to_owned(), Operator::In(one(value))));
    }
    let number = |value: &str| {
        let value = value.trim();
        value.parse::<i64>().map_err(|_| format!("for '{term}': '{value}' is not an integer"))
    };
    if let Some((key, value)) = term.split_once('>') {
        return Ok((key.trim().to_owned(), Operator::Greater(number(value)?)));
    }
    if let Some((key, value)) = term.split_once('<') {
        return Ok((key.trim().to_owned(), Operator::Less(number(value)?)));
    }
    let mut words = term.splitn(3, char::is_whitespace);
    let key = words.next().unwrap_or_default();
    let Some(operator) = words.next() else { return Ok((key.to_owned(), Operator::Exists)) };
    let values = words.next().unwrap_or_default().trim();
    let inner = values.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    let (operator, inner) = match (operator, inner) {
        ("in" | "notin", Some(inner)) => (operator, inner),
        _ if operator.starts_with("in(") || operator.starts_with("notin(") => {
            let whole = &term[key.len()..].trim();
            let (operator, rest) = whole.split_once('(').unwrap_or((whole, ""));
            (operator, rest.trim_end_matches(')'))
        }
        ("in" | "notin", None) if values.starts_with('(') => {
            return Err("found '', expected: ',' or ')'".to_owned());
        }
        ("in" | "notin", None) => return Err(format!("found '{values}', expected: '('")),
        _ => return Err(format!("found '{operator}', expected: in, notin, =, ==, !=, gt, lt")),
    };
    let values = inner.split(',').map(|value| value.trim().to_owned()).collect();
    let operator = if operator == "in" { Operator::In(values) } else { Operator::NotIn(values) };
    Ok((key.to_owned(), operator))
}
