//! Rendered text to manifests: documents split, hooks taken out, the rest in the order in which Helm applies it.

use std::sync::mpsc::{Sender, channel};
use std::thread::{Scope, ScopedJoinHandle};

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
/// Rendered text below this is read in the end: a thread would cost more than it saves.
const WORTH_A_THREAD: usize = 8 << 10;

/// A document with what Helm looks at in it.
struct Document {
    /// The template's path.
    source: String,
    content: String,
    head: Result<Head, DocumentError>,
}

/// Reads the documents of a file, large ones on two threads.
fn documents(source: &str, text: &str) -> Vec<Document> {
    let parts = split(text);
    let one_by_one = |parts: &[&str]| -> Vec<_> { parts.iter().map(|part| read(part)).collect() };
    let heads = if text.len() < LARGE {
        one_by_one(&parts)
    } else {
        let mut so_far = 0;
        let half = parts.iter().position(|part| {
            so_far += part.len();
            so_far > text.len() / 2
        });
        let (first, second) = parts.split_at(half.unwrap_or(0));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| one_by_one(second));
            let mut read = one_by_one(first);
            read.extend(other.join().unwrap_or_else(|_| one_by_one(second)));
            read
        })
    };
    let document = |(part, head): (&str, _)| Document {
        source: source.to_owned(),
        content: part.to_owned(),
        head,
    };
    parts.into_iter().zip(heads).map(document).collect()
}

/// A template's path and what it rendered.
type File = (String, String);

/// Reads rendered files, each while the next ones are rendered.
pub(crate) struct Reader<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    waiting: Vec<File>,
    size: usize,
    other: Option<(Sender<File>, ScopedJoinHandle<'scope, Vec<Document>>)>,
}

impl Reader<'_, '_> {
    /// Takes a rendered file: the template's path and its text.
    pub(crate) fn add(&mut self, source: String, text: String) {
        self.size += text.len();
        self.waiting.push((source, text));
        if self.other.is_none() && self.size >= WORTH_A_THREAD {
            let (sender, receiver) = channel::<File>();
            let work = move || {
                receiver.iter().flat_map(|(source, text)| documents(&source, &text)).collect()
            };
            // Without a thread the files are read in the end.
            let thread = std::thread::Builder::new().name("manifests".to_owned());
            self.other = thread.spawn_scoped(self.scope, work).ok().map(|other| (sender, other));
        }
        if let Some((sender, _)) = &self.other {
            for file in self.waiting.drain(..) {
                // It reads until the sender is dropped.
                let _ = sender.send(file);
            }
        }
    }

    fn finish(self) -> Result<(Vec<Hook>, Vec<Manifest>), ManifestError> {
        let mut read: Vec<Document> = match self.other {
            Some((sender, other)) => {
                drop(sender);
                other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            }
            None => Vec::new(),
        };
        read.extend(self.waiting.iter().flat_map(|(source, text)| documents(source, text)));
        read.sort_by(|a, b| a.source.cmp(&b.source));
        in_order(read)
    }
}

/// Runs `work`, which renders files into a reader, and sorts what it read.
///
/// # Errors
/// Those of `work`, then a document that is none of Kubernetes.
pub(crate) fn reading<T, E: From<ManifestError>>(
    work: impl FnOnce(&mut Reader<'_, '_>) -> Result<T, E>,
) -> Result<(T, Vec<Hook>, Vec<Manifest>), E> {
    std::thread::scope(|scope| {
        let mut reader = Reader { scope, waiting: Vec::new(), size: 0, other: None };
        let done = work(&mut reader)?;
        let (hooks, manifests) = reader.finish()?;
        Ok((done, hooks, manifests))
    })
}

/// Sorts the documents of rendered templates into hooks and manifests, both in install order.
pub fn sort(mut files: Vec<File>) -> Result<(Vec<Hook>, Vec<Manifest>), ManifestError> {
    files.sort_by(|a, b| a.0.cmp(&b.0));
    in_order(files.iter().flat_map(|(source, text)| documents(source, text)))
}

/// Documents in the order of their templates as hooks and manifests in install order.
fn in_order(
    documents: impl IntoIterator<Item = Document>,
) -> Result<(Vec<Hook>, Vec<Manifest>), ManifestError> {
    let mut hooks = Vec::new();
    let mut manifests = Vec::new();
    for Document { source, content, head } in documents {
        let head = match head {
            Ok(head) => head,
            Err(error) => return Err(ManifestError { template: source, source: error, content }),
        };
        let Some(events) = head.annotation("helm.sh/hook") else {
            manifests.push(Manifest { source, content, kind: head.kind });
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
            path: source,
            manifest: content,
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
