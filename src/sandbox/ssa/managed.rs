//! `metadata.managedFields`: who owns which fields, since when.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::fields_v1;
use super::go_text;
use super::set::Set;

/// How many entries of updates an object keeps; older ones are merged.
const MAX_UPDATERS: usize = 10;
/// The manager that merged entries go to.
const ANCIENT: &str = "ancient-changes";

/// What an entry came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who an entry belongs to. An applier has one entry for all API versions, an updater one for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ManagerId {
    pub manager: String,
    pub operation: Operation,
    /// Empty for appliers.
    pub api_version: String,
    pub subresource: String,
}

impl ManagerId {
    pub(super) fn new(
        manager: &str,
        operation: Operation,
        api_version: &str,
        subresource: &str,
    ) -> Self {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        let api_version = if operation == Operation::Apply { "" } else { api_version };
        Self {
            manager: manager.to_owned(),
            operation,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// The text by which the API server orders managers.
    pub(super) fn identifier(&self) -> String {
        let mut out =
            format!("{{\"manager\":{}", fields_v1::json_text(&Value::from(self.manager.as_str())));
        out.push_str(&format!(",\"operation\":\"{}\"", self.operation.name()));
        for (name, value) in [("apiVersion", &self.api_version), ("subresource", &self.subresource)]
        {
            if !value.is_empty() {
                out.push_str(&format!(",\"{name}\":\"{value}\""));
            }
        }
        out.push('}');
        out
    }
}

/// As conflict messages name it: `"kubectl" with subresource "status" using v1`.
impl fmt::Display for ManagerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&go_text::quoted(&self.manager))?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {}", go_text::quoted(&self.subresource))?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) set: Set,
    /// The version in which the paths are written.
    pub(super) api_version: String,
    pub(super) time: Option<Timestamp>,
}

/// All entries of an object.
pub(super) type Managed = BTreeMap<ManagerId, Owned>;

/// Why `managedFields` cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ManagedFieldsError {
    #[error("operation must be `Apply` or `Update`")]
    Operation,
    #[error("apiVersion must not be empty")]
    ApiVersion,
    #[error("missing fieldsType in managed fields entry {entry}")]
    NoFieldsType { entry: usize },
    #[error("invalid fieldsType {} in managed fields entry {entry}", go_text::quoted(found))]
    FieldsType { found: String, entry: usize },
    #[error("error decoding versioned set: {0}")]
    Fields(#[from] fields_v1::FieldsV1Error),
}

/// Reads `metadata.managedFields`; none is an empty map.
pub(super) fn decode(entries: Option<&Value>) -> Result<Managed, ManagedFieldsError> {
    let mut managed = Managed::new();
    let entries = entries.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (at, entry) in entries.iter().enumerate() {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err(ManagedFieldsError::Operation),
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err(ManagedFieldsError::ApiVersion);
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(ManagedFieldsError::NoFieldsType { entry: at }),
            other => {
                return Err(ManagedFieldsError::FieldsType { found: other.to_owned(), entry: at });
            }
        }
        let id = ManagerId {
            manager: text("manager").to_owned(),
            operation,
            api_version: match operation {
                Operation::Apply => String::new(),
                Operation::Update => api_version.to_owned(),
            },
            subresource: text("subresource").to_owned(),
        };
        let set = match entry.get("fieldsV1") {
            None | Some(Value::Null) => Set::default(),
            Some(fields) => fields_v1::decode(fields)?,
        };
        let time = text("time").parse().ok();
        managed.insert(id, Owned { set, api_version: api_version.to_owned(), time });
    }
    Ok(managed)
}

/// Writes `metadata.managedFields`, or takes it away when there is nothing to write.
pub(super) fn store(object: &mut Value, managed: &Managed) {
    let Some(object) = object.as_object_mut() else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Some(metadata) = metadata.as_object_mut() else { return };
    if managed.is_empty() {
        metadata.remove("managedFields");
    } else {
        metadata.insert("managedFields".to_owned(), encode(managed));
    }
}

fn encode(managed: &Managed) -> Value {
    let mut entries: Vec<_> = managed.iter().collect();
    // Applies before updates, older before newer.
    entries.sort_by_key(|(id, owned)| {
        let seconds = owned.time.map_or(0, |time| time.as_second());
        (id.operation, seconds, &id.manager, &owned.api_version, &id.subresource)
    });
    let entries = entries.into_iter().map(|(id, owned)| {
        let mut entry = json!({
            "manager": id.manager,
            "operation": id.operation.name(),
            "apiVersion": owned.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields_v1::encode(&owned.set),
        });
        if let Some(time) =
            owned.time.and_then(|time| Timestamp::from_second(time.as_second()).ok())
        {
            entry["time"] = Value::from(time.to_string());
        }
        if !id.subresource.is_empty() {
            entry["subresource"] = Value::from(id.subresource.as_str());
        }
        entry
    });
    Value::Array(entries.collect())
}

/// Whether the client asks to forget all ownership: an empty list, or one empty entry.
pub(super) fn is_reset(entries: Option<&Value>) -> bool {
    match entries.and_then(Value::as_array).map(Vec::as_slice) {
        Some([]) => true,
        Some([only]) => only.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Merges the oldest updates until no more than the allowed number of entries is left.
pub(super) fn cap_updaters(managed: &mut Managed) {
    let mut updaters: Vec<(i64, String, ManagerId)> = managed
        .iter()
        .filter(|(id, _)| id.operation == Operation::Update)
        .map(|(id, owned)| {
            (owned.time.map_or(0, |time| time.as_second()), id.identifier(), id.clone())
        })
        .collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATERS {
        return;
    }
    updaters.sort();
    let mut first_of_version: BTreeMap<String, ManagerId> = BTreeMap::new();
    for (_, _, id) in updaters {
        if count <= MAX_UPDATERS {
            break;
        }
        let Some(owned) = managed.get(&id).cloned() else { continue };
        let bucket = ManagerId::new(ANCIENT, Operation::Update, &owned.api_version, "");
        let Some(first) = first_of_version.get(&owned.api_version) else {
            first_of_version.insert(owned.api_version, id);
            continue;
        };
        let older = match managed.get(&bucket) {
            Some(older) => older.set.clone(),
            None => managed.remove(first).map(|older| older.set).unwrap_or_default(),
        };
        managed.remove(&id);
        let set = owned.set.union(&older);
        // The merged entry is as new as the newest that it holds.
        managed.insert(bucket, Owned { set, ..owned });
        count -= 1;
    }
}
