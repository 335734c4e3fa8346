//! Objects as `Table`s, as kubectl asks for them: columns are data, cells are what the API server's printers write.
//!
//! The columns of built-in kinds are those that kube-apiserver 1.36.3 answers (`builtin/columns.json.gz`: name, type, format,
//! priority, description); of custom resources, what their definition says. `cells` fills most kinds, `pods` and `batch` those with a
//! state of their own, `text` writes ages, selectors and addresses.

mod batch;
mod cells;
mod custom;
mod pods;
mod text;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::metadata_only;
use super::kinds::{Kind, join_version};
use super::status;
use crate::sandbox::api::Status;

static COLUMNS: &[u8] = include_bytes!("../../builtin/columns.json.gz");

/// Name, type, format, priority, description.
type Column = (String, String, String, i64, String);

static BUILTIN: LazyLock<BTreeMap<String, Vec<Column>>> = LazyLock::new(|| {
    let mut text = String::new();
    match GzDecoder::new(COLUMNS).read_to_string(&mut text) {
        Ok(_) => serde_json::from_str(&text).unwrap_or_default(),
        Err(_) => BTreeMap::new(),
    }
});

/// How much of an object goes with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Metadata,
    Object,
    Nothing,
}

impl Include {
    /// Refuses what is none.
    pub(crate) fn check(text: &str) -> Result<(), Status> {
        if matches!(text, "" | "Metadata" | "Object" | "None") {
            return Ok(());
        }
        Err(status::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {text:?}: must be 'Metadata', 'Object', 'None', or empty"
        )))
    }

    /// From the query's `includeObject`.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "Object" => Self::Object,
            "None" => Self::Nothing,
            _ => Self::Metadata,
        }
    }
}

/// A table of objects. `metadata` is that of their list.
pub(crate) fn table(
    kind: &Kind,
    metadata: &Value,
    objects: &[Value],
    include: Include,
    now: Timestamp,
) -> Value {
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = match &kind.custom {
                Some(custom) => custom::cells(custom, object, now),
                None => cells::cells(kind, object, now),
            };
            let object = match include {
                Include::Metadata => metadata_only(object),
                Include::Object => {
                    let mut object = object.clone();
                    object["kind"] = kind.kind.clone().into();
                    object["apiVersion"] = kind.api_version().into();
                    object
                }
                Include::Nothing => Value::Null,
            };
            json!({"cells": cells, "object": object})
        })
        .collect();
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
        "columnDefinitions": columns(kind), "rows": rows,
    })
}

fn columns(kind: &Kind) -> Vec<Value> {
    if let Some(custom) = &kind.custom {
        return custom::columns(custom);
    }
    let key = format!("{}/{}/{}", kind.group, kind.version, kind.plural);
    let fallback = || vec![named("Name", "name", NAME), named("Age", "", AGE)];
    let columns = BUILTIN.get(&key).cloned().unwrap_or_else(fallback);
    columns.iter().map(definition).collect()
}

/// The descriptions of the two columns that every kind has.
const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

fn named(name: &str, format: &str, description: &str) -> Column {
    (name.to_owned(), "string".to_owned(), format.to_owned(), 0, description.to_owned())
}

fn definition((name, kind, format, priority, description): &Column) -> Value {
    json!({
        "name": name, "type": kind, "format": format, "description": description,
        "priority": priority,
    })
}

/// Whether a kind is one of `kinds`, written `apps/deployments` or `pods`.
fn is(kind: &Kind, wanted: &str) -> bool {
    let (group, plural) = wanted.split_once('/').unwrap_or(("", wanted));
    join_version(&kind.group, &kind.plural) == join_version(group, plural)
}
