//! GET: one object, or a list by chunks and selectors.

use std::sync::Arc;

use base64::DecodeError;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::sandbox::api::Status;
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::api_server::selectors::Selection;
use crate::sandbox::api_server::{ApiServer, go_json, status};
use crate::sandbox::store::{ObjectKey, StoredObject};

/// Objects of a list with what its metadata says.
pub(crate) struct Listed {
    pub(crate) revision: u64,
    pub(crate) objects: Vec<Arc<StoredObject>>,
    pub(crate) continue_token: Option<String>,
    pub(crate) remaining: Option<usize>,
}

/// Which part of a collection is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    pub(crate) limit: usize,
    pub(crate) continue_token: String,
    pub(crate) resource_version: String,
    pub(crate) version_match: VersionMatch,
}

/// What a revision in a list's options asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum VersionMatch {
    /// The state now, which is no older than any revision.
    #[default]
    NotOlderThan,
    /// The state at that revision.
    Exact,
}

impl ApiServer {
    /// GET of one object.
    pub(crate) fn get_stored(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<StoredObject>, Status> {
        self.store
            .get(&kind.resource, namespace, name)
            .ok_or_else(|| status::not_found(&kind.group, &kind.plural, name))
    }

    /// GET of a collection.
    pub(crate) fn list_stored(
        &self,
        kind: &Kind,
        namespace: &str,
        selection: &Selection,
        options: &ListOptions,
    ) -> Result<Listed, Status> {
        let asked = self.list_version(options)?;
        let (from, at) = match options.continue_token.as_str() {
            "" => (None, asked.filter(|_| options.version_match == VersionMatch::Exact)),
            token => {
                let (key, revision) = read_token(namespace, token)?;
                (Some(key), (revision != 0).then_some(revision))
            }
        };
        let limit = if selection.is_everything() { options.limit } else { 0 };
        let page = match at {
            Some(revision) => self
                .store
                .list_at(&kind.resource, namespace, from.as_ref(), limit, revision)
                .map_err(|_| {
                    status::expired("The resourceVersion for the provided list is too old.")
                })?,
            None => self.store.list(&kind.resource, namespace, from.as_ref(), limit),
        };
        let revision = page.revision;
        if selection.is_everything() {
            let (token, remaining) = match (&page.next, page.objects.last()) {
                (Some((_, left)), Some(last)) => {
                    (Some(write_token(namespace, &last.key, revision)), Some(*left))
                }
                _ => (None, None),
            };
            return Ok(Listed {
                revision,
                objects: page.objects,
                continue_token: token,
                remaining,
            });
        }
        let mut chosen =
            page.objects.into_iter().filter(|stored| selection.matches(&self.store.value(stored)));
        if options.limit == 0 {
            let objects = chosen.collect();
            return Ok(Listed { revision, objects, continue_token: None, remaining: None });
        }
        let objects: Vec<_> = chosen.by_ref().take(options.limit).collect();
        let more = chosen.next().is_some();
        let last = objects.last().filter(|_| more);
        let continue_token = last.map(|last| write_token(namespace, &last.key, revision));
        Ok(Listed { revision, objects, continue_token, remaining: None })
    }

    /// The revision that a list asks for.
    fn list_version(&self, options: &ListOptions) -> Result<Option<u64>, Status> {
        let given = options.resource_version.as_str();
        if given.is_empty() || given == "0" {
            return Ok(None);
        }
        let wanted = revision(given).map_err(|refused| {
            status::bad_request(format!("invalid resource version: {}", refused.message))
        })?;
        let current = self.store.revision();
        if wanted > current {
            return Err(Status {
                code: 504,
                reason: "Timeout".to_owned(),
                message: format!("Too large resource version: {wanted}, current: {current}"),
                details: json!({
                    "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                    "retryAfterSeconds": 1
                }),
            });
        }
        Ok(Some(wanted))
    }
}

/// A revision that a client names.
///
/// # Errors
/// The API server calls it its own fault when the text is no number.
pub(crate) fn revision(text: &str) -> Result<u64, Status> {
    text.parse().map_err(|_| Status {
        code: 500,
        reason: String::new(),
        message: format!(
            "resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
        ),
        details: serde_json::Value::Null,
    })
}

/// The token from which a list goes on after a key, in the API server's form.
fn write_token(namespace: &str, last: &ObjectKey, revision: u64) -> String {
    let start = match namespace.is_empty() && !last.0.is_empty() {
        true => format!("{}/{}\0", last.0, last.1),
        false => format!("{}\0", last.1),
    };
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": start});
    URL_SAFE_NO_PAD.encode(token.to_string())
}

/// The key and the revision that a token goes on from.
fn read_token(namespace: &str, token: &str) -> Result<(ObjectKey, u64), Status> {
    let refuse = |why: &str| {
        let what = "invalid continue token: continue key is not valid";
        status::bad_request(format!("{what}: {why}"))
    };
    let text = URL_SAFE_NO_PAD.decode(token).map_err(|error| {
        let at = match error {
            DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
            DecodeError::InvalidLength(at) => at,
            DecodeError::InvalidPadding => token.len(),
        };
        refuse(&format!("illegal base64 data at input byte {at}"))
    })?;
    let parsed: serde_json::Value = serde_json::from_slice(&text).map_err(|error| {
        refuse(&go_json::syntax_error(&text).unwrap_or_else(|| error.to_string()))
    })?;
    let start = parsed["start"].as_str().unwrap_or_default();
    let key = match start.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => (namespace.to_owned(), start.to_owned()),
    };
    Ok((key, parsed["rv"].as_u64().unwrap_or(0)))
}
