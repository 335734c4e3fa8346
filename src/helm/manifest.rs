//! Rendered text to manifests: documents split, hooks taken out, the rest in the order in which Helm applies it.

use serde_json::Value as Json;

use crate::base::yaml::{self, YamlError};

/// A document of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The template's path.
    pub source: String,
    pub content: String,
    pub kind: String,
}

/// A document that runs at moments of a release's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub name: String,
    pub kind: String,
    /// The template's path.
    pub path: String,
    pub manifest: String,
    /// `pre-install`, `test`, …
    pub events: Vec<String>,
    pub weight: i64,
    /// `before-hook-creation`, `hook-succeeded`, `hook-failed`.
    pub delete_policies: Vec<String>,
    pub output_log_policies: Vec<String>,
}

/// Why a document is none of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("{}", .0.go_text())]
    Yaml(YamlError),
    /// A list, a scalar, or a head of another type.
    #[error(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go {into}"
    )]
    Type { found: &'static str, into: String },
}

/// A document that is no YAML, or no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("YAML parse error on {template}: {source}")]
pub struct ManifestError {
    pub template: String,
    pub source: DocumentError,
    /// The document.
    pub content: String,
}

/// Kinds in the order of an install; others follow, by name.
const INSTALL_ORDER: &[&str] = &[
    "PriorityClass",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "LimitRange",
    "PodSecurityPolicy",
    "PodDisruptionBudget",
    "ServiceAccount",
    "Secret",
    "SecretList",
    "ConfigMap",
    "StorageClass",
    "PersistentVolume",
    "PersistentVolumeClaim",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleList",
    "ClusterRoleBinding",
    "ClusterRoleBindingList",
    "Role",
    "RoleList",
    "RoleBinding",
    "RoleBindingList",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicationController",
    "ReplicaSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "StatefulSet",
    "Job",
    "CronJob",
    "IngressClass",
    "Ingress",
    "APIService",
    "MutatingWebhookConfiguration",
    "ValidatingWebhookConfiguration",
];

/// Where a kind stands in an install; an uninstall goes the other way.
pub fn install_rank(kind: &str) -> (usize, String) {
    match INSTALL_ORDER.iter().position(|known| *known == kind) {
        Some(rank) => (rank, String::new()),
        None => (INSTALL_ORDER.len(), kind.to_owned()),
    }
}

const EVENTS: &[(&str, &str)] = &[
    ("pre-install", "pre-install"),
    ("post-install", "post-install"),
    ("pre-delete", "pre-delete"),
    ("post-delete", "post-delete"),
    ("pre-upgrade", "pre-upgrade"),
    ("post-upgrade", "post-upgrade"),
    ("pre-rollback", "pre-rollback"),
    ("post-rollback", "post-rollback"),
    ("test", "test"),
    ("test-success", "test"),
];

/// Splits a text at lines that begin with `---`; blank documents are dropped, the others lose their leading space.
pub fn split(text: &str) -> Vec<&str> {
    let mut documents = Vec::new();
    let mut rest = text.trim_start();
    let mut at_line_start = true;
    let mut from = 0;
    let mut at = 0;
    while at < rest.len() {
        if at_line_start && rest[at..].starts_with("---") {
            documents.push(&rest[from..at]);
            let after = &rest[at + 3..];
            let tail = after.trim_start_matches([' ', '\t']);
            rest = tail;
            from = 0;
            at = 0;
            at_line_start = false;
            continue;
        }
        match rest[at..].find('\n') {
            Some(newline) => {
                at += newline + 1;
                at_line_start = true;
            }
            None => break,
        }
    }
    documents.push(&rest[from..]);
    documents
        .into_iter()
        .filter(|document| !document.trim().is_empty())
        .map(str::trim_start)
        .collect()
}

/// A number or boolean is taken for the text that it is written as; nothing else is.
fn is_compound(value: &Json) -> bool {
    matches!(value, Json::Array(_) | Json::Object(_))
}

/// What Helm looks at in a document.
struct Head {
    kind: String,
    name: String,
    /// The annotations of Helm itself.
    annotations: Vec<(String, String)>,
}

impl Head {
    fn annotation(&self, name: &str) -> Option<&str> {
        self.annotations.iter().find(|(known, _)| known == name).map(|(_, text)| text.as_str())
    }
}

/// Reads a document as far as its head must be well-formed: `apiVersion`, `kind`, name and annotations are texts. The rest is
/// dropped here: all documents of a chart of CRDs at once take ten times the memory of their text.
fn read(document: &str) -> Result<Head, DocumentError> {
    let value = yaml::parse(document).map_err(DocumentError::Yaml)?;
    let wrong = |found: &Json, into: &str| {
        let found = match found {
            Json::Null => "null",
            Json::Bool(_) => "bool",
            Json::Number(_) => "number",
            Json::String(_) => "string",
            Json::Array(_) => "array",
            Json::Object(_) => "object",
        };
        Err(DocumentError::Type { found, into: into.to_owned() })
    };
    if !matches!(value, Json::Object(_) | Json::Null) {
        return wrong(&value, "value of type util.SimpleHead");
    }
    for (pointer, field) in [
        ("/apiVersion", "SimpleHead.apiVersion"),
        ("/kind", "SimpleHead.kind"),
        ("/metadata/name", ".metadata.name"),
    ] {
        if let Some(found) = value.pointer(pointer)
            && is_compound(found)
        {
            return wrong(found, &format!("struct field {field} of type string"));
        }
    }
    let text = |value: &Json| match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let annotations = match value.pointer("/metadata/annotations") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Object(annotations)) => {
            if let Some(found) = annotations.values().find(|found| is_compound(found)) {
                return wrong(found, "struct field .metadata.annotations of type string");
            }
            annotations
                .iter()
                .filter(|(name, _)| name.starts_with("helm.sh/"))
                .map(|(name, value)| (name.clone(), text(value)))
                .collect()
        }
        Some(found) => {
            let field = "struct field .metadata.annotations of type map[string]string";
            return wrong(found, field);
        }
    };
    let text_at = |pointer: &str| match value.pointer(pointer) {
        None | Some(Json::Null) => String::new(),
        Some(found) => text(found),
    };
    Ok(Head { kind: text_at("/kind"), name: text_at("/metadata/name"), annotations })
}

/// Texts below this are read faster than a second thread starts.
const LARGE: usize = 256 << 10;

/// Reads the documents, large ones on two threads: the rest of a render is one after the other.
fn read_all(documents: &[(&str, &str)]) -> Vec<Result<Head, DocumentError>> {
    let one_by_one = |part: &[(&str, &str)]| -> Vec<_> {
        part.iter().map(|(_, document)| read(document)).collect()
    };
    let size: usize = documents.iter().map(|(_, document)| document.len()).sum();
    if size < LARGE {
        return one_by_one(documents);
    }
    let mut so_far = 0;
    let half = documents
        .iter()
        .position(|(_, document)| {
            so_far += document.len();
            so_far > size / 2
        })
        .unwrap_or(0);
    let (first, second) = documents.split_at(half);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| one_by_one(second));
        let mut read = one_by_one(first);
        read.extend(other.join().unwrap_or_else(|_| one_by_one(second)));
        read
    })
}

/// Sorts the documents of rendered templates into hooks and manifests, both in install order.
pub fn sort(mut files: Vec<(String, String)>) -> Result<(Vec<Hook>, Vec<Manifest>), ManifestError> {
    files.sort_by(|a, b| a.0.cmp(&b.0));
    let documents: Vec<(&str, &str)> = files
        .iter()
        .filter(|(_, text)| !text.trim().is_empty())
        .flat_map(|(source, text)| split(text).into_iter().map(move |part| (source.as_str(), part)))
        .collect();
    let heads = read_all(&documents);
    let mut hooks = Vec::new();
    let mut manifests = Vec::new();
    for ((source, document), head) in documents.into_iter().zip(heads) {
        let head = head.map_err(|error| ManifestError {
            template: source.to_owned(),
            source: error,
            content: document.to_owned(),
        })?;
        let Some(events) = head.annotation("helm.sh/hook") else {
            let source = source.to_owned();
            manifests.push(Manifest { source, content: document.to_owned(), kind: head.kind });
            continue;
        };
        let words = |text: &str| -> Vec<String> {
            text.split(',').map(|word| word.trim().to_lowercase()).collect()
        };
        let known: Option<Vec<String>> = words(events)
            .iter()
            .map(|word| {
                EVENTS.iter().find(|(name, _)| name == word).map(|(_, event)| (*event).to_owned())
            })
            .collect();
        // Helm drops a hook of an unknown event without a word.
        let Some(events) = known else { continue };
        let policies = |name: &str| head.annotation(name).map_or_else(Vec::new, words);
        let weight = head.annotation("helm.sh/hook-weight").and_then(|weight| weight.parse().ok());
        let delete_policies = policies("helm.sh/hook-delete-policy");
        let output_log_policies = policies("helm.sh/hook-output-log-policy");
        hooks.push(Hook {
            name: head.name,
            kind: head.kind,
            path: source.to_owned(),
            manifest: document.to_owned(),
            events,
            weight: weight.unwrap_or(0),
            delete_policies,
            output_log_policies,
        });
    }
    hooks.sort_by_key(|hook| install_rank(&hook.kind));
    manifests.sort_by_key(|manifest| install_rank(&manifest.kind));
    Ok((hooks, manifests))
}
