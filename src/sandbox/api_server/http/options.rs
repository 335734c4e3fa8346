//! The options of a request, as its query, headers and body give them.

use std::time::Duration;

use http::Request as HttpRequest;
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::path::Query;
use crate::sandbox::api::Status;
use crate::sandbox::api_server::verbs::delete::DeleteOptions;
use crate::sandbox::api_server::verbs::read::{ListOptions, VersionMatch};
use crate::sandbox::api_server::verbs::watch::WatchOptions;
use crate::sandbox::api_server::{FieldValidation, Request, status};
use crate::sandbox::authz::User;
use crate::sandbox::validation::Cause;

/// The longest name of a field manager.
const MAX_MANAGER: usize = 128;

/// A whole number of the query; a text that is none is refused with Go's words.
fn number(query: &Query, name: &str) -> Result<Option<i64>, Status> {
    let text = query.text(name);
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
    })
}

fn refuse(kind: &str, causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() { Ok(()) } else { Err(status::invalid("meta.k8s.io", kind, "", causes)) }
}

const MATCH: &str = "resourceVersionMatch";

/// The options of a list.
///
/// # Errors
/// Numbers that are none, and combinations that the API server refuses.
pub(super) fn list(query: &Query) -> Result<ListOptions, Status> {
    let limit = number(query, "limit")?;
    number(query, "timeoutSeconds")?;
    let version = query.text("resourceVersion");
    let continues = !query.text("continue").is_empty();
    let wanted = query.text(MATCH);
    let mut causes = Vec::new();
    if !wanted.is_empty() {
        if version.is_empty() {
            let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if continues {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if !matches!(wanted, "Exact" | "NotOlderThan") {
            let known = ["Exact", "NotOlderThan", ""];
            causes.push(Cause::unsupported(MATCH, &wanted.into(), &known));
        }
        if wanted == "Exact" && version == "0" {
            let why = "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"";
            causes.push(Cause::forbidden(MATCH, why));
        }
    }
    if query.has("sendInitialEvents") {
        let why = "sendInitialEvents is forbidden for list";
        causes.push(Cause::forbidden("sendInitialEvents", why));
    }
    refuse("ListOptions", causes)?;
    if continues && !matches!(version, "" | "0") {
        let why = "specifying resource version is not allowed when using continue";
        return Err(status::bad_request(why));
    }
    Ok(ListOptions {
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(0),
        continue_token: query.text("continue").to_owned(),
        resource_version: version.to_owned(),
        version_match: match wanted {
            "Exact" => VersionMatch::Exact,
            _ => VersionMatch::NotOlderThan,
        },
    })
}

/// The options of a watch.
///
/// # Errors
/// As for [`list`].
pub(super) fn watch(query: &Query) -> Result<WatchOptions, Status> {
    number(query, "limit")?;
    let timeout = number(query, "timeoutSeconds")?;
    let initial = query.has("sendInitialEvents").then(|| query.flag("sendInitialEvents"));
    let wanted = query.text(MATCH);
    let mut causes = Vec::new();
    if initial.is_some() && wanted != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        causes.push(Cause::forbidden(MATCH, why));
    }
    if !wanted.is_empty() {
        if initial.is_none() {
            let why =
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(Cause::forbidden(MATCH, why));
        }
        if wanted != "NotOlderThan" {
            causes.push(Cause::unsupported(MATCH, &wanted.into(), &["NotOlderThan"]));
        }
    }
    if !query.text("continue").is_empty() {
        let why = "resourceVersionMatch is forbidden when continue is provided";
        causes.push(Cause::forbidden(MATCH, why));
    }
    refuse("ListOptions", causes)?;
    Ok(WatchOptions {
        resource_version: query.text("resourceVersion").to_owned(),
        bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events: initial,
        timeout: timeout
            .and_then(|seconds| u64::try_from(seconds).ok())
            .filter(|seconds| *seconds > 0)
            .map(Duration::from_secs),
    })
}

/// The options of a deletion: those of the body, or without one those of the query.
///
/// # Errors
/// Values that the API server refuses.
pub(super) fn delete(query: &Query, body: &Value) -> Result<DeleteOptions, Status> {
    if let Some(grace) = body.get("gracePeriodSeconds")
        && !(grace.is_i64() || grace.is_null())
    {
        let found = if grace.is_string() { "string" } else { "object" };
        return Err(status::bad_request(format!(
            "json: cannot unmarshal {found} into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        )));
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let (grace, policy, orphan) = if body.is_null() {
        let orphan = query.has("orphanDependents").then(|| query.flag("orphanDependents"));
        let policy =
            query.has("propagationPolicy").then(|| query.text("propagationPolicy").to_owned());
        (number(query, "gracePeriodSeconds")?, policy, orphan)
    } else {
        let policy = text(&body["propagationPolicy"]);
        (body["gracePeriodSeconds"].as_i64(), policy, body["orphanDependents"].as_bool())
    };
    const FIELD: &str = "propagationPolicy";
    let mut causes = Vec::new();
    if let Some(policy) = &policy {
        let shown = Value::from(policy.as_str());
        if orphan.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid(FIELD, &shown, why));
        }
        if !matches!(policy.as_str(), "Orphan" | "Background" | "Foreground") {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            causes.push(Cause::unsupported(FIELD, &shown, &known));
        }
    }
    let dry_run = body["dryRun"].as_array().cloned().unwrap_or_default();
    if dry_run.iter().any(|value| value != "All") {
        causes.push(Cause::unsupported("dryRun", &dry_run.into(), &["All"]));
    }
    refuse("DeleteOptions", causes)?;
    let by_orphan = orphan.map(|orphan| if orphan { "Orphan" } else { "Background" }.to_owned());
    Ok(DeleteOptions {
        grace_period_seconds: grace,
        propagation: policy.or(by_orphan).unwrap_or_default(),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
    })
}

/// Reads the options of a write from query and headers.
///
/// # Errors
/// Values that the API server refuses; `options` names them.
pub(super) fn write(
    request: &HttpRequest<Incoming>,
    query: &Query,
    options: &str,
) -> Result<Request, Status> {
    let mut causes = Vec::new();
    let dry_run = query.all("dryRun");
    if dry_run.iter().any(|value| value != "All") {
        causes.push(Cause::unsupported("dryRun", &json!(dry_run), &["All"]));
    }
    let validation = match query.text("fieldValidation") {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            let known = ["", "Ignore", "Strict", "Warn"];
            causes.push(Cause::unsupported("fieldValidation", &other.into(), &known));
            FieldValidation::Warn
        }
    };
    let header = |name: &str| {
        request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    };
    let given = query.text("fieldManager");
    let manager = match given {
        "" => header("user-agent").split('/').next().unwrap_or_default().to_owned(),
        given => given.to_owned(),
    };
    let is_apply = header("content-type").starts_with("application/apply-patch+yaml");
    if is_apply && !query.has("fieldManager") {
        causes.push(Cause::required("fieldManager", "is required for apply patch"));
    }
    if options == "PatchOptions" && query.flag("force") && !is_apply {
        causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
    }
    if given.len() > MAX_MANAGER {
        causes.push(Cause::too_long("fieldManager", MAX_MANAGER as u64));
    }
    for (at, character) in given.char_indices().filter(|(_, c)| c.is_control()) {
        let code = u32::from(character);
        let why = format!("invalid character U+{code:04X} (at position {at})");
        causes.push(Cause::invalid("fieldManager", &given.into(), why));
    }
    refuse(options, causes)?;
    let user = user_of(request);
    let shortened: String = manager.chars().take(MAX_MANAGER).collect();
    Ok(Request {
        manager: if manager.is_empty() { "unknown".to_owned() } else { shortened },
        user: user.name,
        groups: user.groups,
        dry_run: !dry_run.is_empty(),
        validation,
        force: query.flag("force"),
        is_patch: false,
        is_apply,
        warnings: Vec::new(),
        duplicates: Vec::new(),
        body: bytes::Bytes::new(),
    })
}

/// The user whom the server admitted with this request.
pub(super) fn user_of(request: &HttpRequest<Incoming>) -> User {
    request.extensions().get::<User>().cloned().unwrap_or_else(User::anonymous)
}
