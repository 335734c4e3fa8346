//! PATCH: JSON patch, merge patch, strategic merge patch and server-side apply, all ending as an update.

use serde_json::Value;

use super::write::{Written, check_name, metadata_of, place};
use crate::sandbox::api::Status;
use crate::sandbox::api_server::go_decode::restore_error;
use crate::sandbox::api_server::kinds::{Kind, metadata_text};
use crate::sandbox::api_server::{ApiServer, Request, status};
use crate::sandbox::ssa::go_text;
use crate::sandbox::validation::Cause;
use crate::sandbox::{patch, ssa};

/// The media types of patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

impl PatchType {
    pub(crate) fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::Strategic),
            "application/apply-patch+yaml" => Some(Self::Apply),
            _ => None,
        }
    }

    /// What a kind accepts, as a refusal lists it.
    pub(crate) fn accepted(custom: bool) -> &'static str {
        if custom {
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
        } else {
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml"
        }
    }
}

/// Which object a patch is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PatchTarget<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) subresource: &'a str,
}

impl ApiServer {
    /// A patch that is no apply.
    pub(crate) fn patch(
        &self,
        kind: &Kind,
        target: PatchTarget<'_>,
        patch_type: PatchType,
        body: &Value,
        request: &mut Request,
    ) -> Result<Written, Status> {
        let PatchTarget { namespace, name, subresource } = target;
        request.is_patch = true;
        self.change(kind, namespace, name, subresource, request, |live, request| {
            let mut object = self.patched(kind, patch_type, live, body)?;
            check_identity(kind, patch_type, live, &mut object)?;
            let patched = object.clone();
            let cannot = |why: &str| match patch_type {
                PatchType::Strategic => not_patched(&go_text::plain(body), why),
                _ => not_patched(&serde_json::to_string(&patched).unwrap_or_default(), why),
            };
            let schema = kind.schema().filter(|_| patch_type == PatchType::Strategic);
            if let Some(why) = schema.and_then(|schema| restore_error(&schema, &object)) {
                return Err(cannot(&why));
            }
            if kind.custom.is_some() {
                self.decode(kind, &mut object, request)?;
            } else {
                self.decode_or(kind, &mut object, request, &cannot)?;
            }
            check_name(name, metadata_text(&object, "name"))?;
            place(kind, namespace, &mut object)?;
            Ok(object)
        })
    }

    /// The object with the patch applied, before decoding.
    pub(crate) fn patched(
        &self,
        kind: &Kind,
        patch_type: PatchType,
        live: &Value,
        body: &Value,
    ) -> Result<Value, Status> {
        let outcome = match patch_type {
            PatchType::Json => patch::json_patch(live, body),
            PatchType::Merge => patch::merge_patch(live, body),
            PatchType::Strategic => match kind.schema() {
                Some(schema) if kind.custom.is_none() => {
                    patch::strategic_merge_patch(live, body, &schema)
                }
                _ => {
                    return Err(status::unsupported_media_type(format!(
                        "the body of the request was in an unknown format - accepted media types include: {}",
                        PatchType::accepted(true)
                    )));
                }
            },
            PatchType::Apply => return Err(status::internal("an apply is no patch of a document")),
        };
        outcome.map_err(|error| error.to_status())
    }

    /// Server-side apply; creates the object if it is not there.
    pub(crate) fn apply(
        &self,
        kind: &Kind,
        target: PatchTarget<'_>,
        applied: Value,
        request: &mut Request,
    ) -> Result<Written, Status> {
        let PatchTarget { namespace, name, subresource } = target;
        place(kind, namespace, &mut applied.clone())?;
        let given = metadata_text(&applied, "name").to_owned();
        if !given.is_empty() {
            check_name(name, &given)?;
        }
        for _ in 0..100 {
            let stored = self.store.get(&kind.resource, namespace, name);
            if stored.is_none() && !subresource.is_empty() {
                return Err(status::not_found(&kind.group, &kind.plural, name));
            }
            let live = stored.as_ref().map(|stored| self.value_as(kind, stored));
            let outcome = self.with_target(kind, subresource, |target| {
                ssa::apply(&ssa::ApplyRequest {
                    target,
                    live: live.as_deref(),
                    applied: &applied,
                    manager: &request.manager,
                    force: request.force,
                })
            });
            let mut object = outcome.map_err(|error| error.to_status())?.object;
            check_name(name, metadata_text(&object, "name"))?;
            place(kind, namespace, &mut object)?;
            self.decode(kind, &mut object, request)?;
            let (Some(stored), Some(live)) = (stored, live) else {
                if !metadata_text(&applied, "uid").is_empty() {
                    return Err(status::conflict(
                        &kind.group,
                        &kind.plural,
                        name,
                        &format!(
                            "uid mismatch: the provided object specified uid {}, and no existing object was found",
                            metadata_text(&applied, "uid")
                        ),
                    ));
                }
                let created = self.finish_create(kind, namespace, object, request);
                match created {
                    Err(refused) if refused.reason == "AlreadyExists" => continue,
                    created => return created,
                }
            };
            if metadata_text(&applied, "resourceVersion").is_empty() {
                metadata_of(&mut object).remove("resourceVersion");
            }
            self.check_revision(kind, name, &live, &object, false)?;
            if let Some(written) =
                self.finish_update(kind, &live, stored.revision, object, subresource, request)?
            {
                return Ok(written);
            }
        }
        Err(status::modified(&kind.group, &kind.plural, name))
    }
}

/// A patch changes neither kind nor name.
fn check_identity(
    kind: &Kind,
    patch_type: PatchType,
    live: &Value,
    object: &mut Value,
) -> Result<(), Status> {
    if !object.is_object() {
        return Err(status::bad_request(format!(
            "the patch does not leave an object of kind {}",
            kind.kind
        )));
    }
    if patch_type == PatchType::Strategic {
        // It is merged into the Go type, whose kind is beyond it.
        for field in ["apiVersion", "kind"] {
            object[field] = live[field].clone();
        }
    }
    check_name(metadata_text(live, "name"), metadata_text(object, "name"))?;
    for field in ["apiVersion", "kind"] {
        if object.get(field) != live.get(field) {
            return Err(status::bad_request(format!(
                "the patch may not change {field} of {} {}",
                kind.kind,
                metadata_text(live, "name")
            )));
        }
    }
    Ok(())
}

/// The answer to a patch whose result does not decode: it names neither kind nor object.
fn not_patched(shown: &str, why: &str) -> Status {
    status::invalid("", "", "", vec![Cause::invalid("patch", &shown.into(), why)])
}
