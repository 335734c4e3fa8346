//! GET: one object, or a list by chunks and selectors.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::json;

use crate::sandbox::api::Status;
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::api_server::selectors::Selection;
use crate::sandbox::api_server::{ApiServer, status};
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
        self.check_list_version(options)?;
        let (from, mut revision) = match options.continue_token.as_str() {
            "" => (None, None),
            token => {
                let (key, revision) = read_token(token)?;
                (Some(key), Some(revision))
            }
        };
        if selection.is_everything() {
            let page = self.store.list(&kind.resource, namespace, from.as_ref(), options.limit);
            let revision = *revision.get_or_insert(page.revision);
            let (token, remaining) = match page.next {
                Some((key, left)) => (Some(write_token(&key, revision)), Some(left)),
                None => (None, None),
            };
            return Ok(Listed {
                revision,
                objects: page.objects,
                continue_token: token,
                remaining,
            });
        }
        let page = self.store.list(&kind.resource, namespace, from.as_ref(), 0);
        let revision = *revision.get_or_insert(page.revision);
        let mut chosen =
            page.objects.into_iter().filter(|stored| selection.matches(&self.store.value(stored)));
        if options.limit == 0 {
            let objects = chosen.collect();
            return Ok(Listed { revision, objects, continue_token: None, remaining: None });
        }
        let objects: Vec<_> = chosen.by_ref().take(options.limit).collect();
        let continue_token = chosen.next().map(|next| write_token(&next.key, revision));
        Ok(Listed { revision, objects, continue_token, remaining: None })
    }

    fn check_list_version(&self, options: &ListOptions) -> Result<(), Status> {
        let given = options.resource_version.as_str();
        if given.is_empty() || given == "0" {
            return Ok(());
        }
        let Ok(wanted) = given.parse::<u64>() else {
            return Err(status::bad_request(format!(
                "Invalid value for resource version: strconv.ParseUint: parsing \"{given}\": invalid syntax"
            )));
        };
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
        Ok(())
    }
}

fn write_token(key: &ObjectKey, revision: u64) -> String {
    let token = json!({"v": "meta.k8s.io/v1", "rv": revision, "start": [key.0, key.1]});
    STANDARD_NO_PAD.encode(token.to_string())
}

fn read_token(token: &str) -> Result<(ObjectKey, u64), Status> {
    let parsed = STANDARD_NO_PAD
        .decode(token.trim_end_matches('='))
        .ok()
        .and_then(|text| serde_json::from_slice::<serde_json::Value>(&text).ok());
    let read = parsed.and_then(|token| {
        let start = |index: usize| token["start"][index].as_str().map(str::to_owned);
        Some(((start(0)?, start(1)?), token["rv"].as_u64()?))
    });
    read.ok_or_else(|| status::bad_request("continue key is not valid"))
}
