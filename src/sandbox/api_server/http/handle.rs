//! One request: from HTTP to a verb and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request as HttpRequest};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::path::{self, ObjectPath, Path, Query};
use super::reply::{self, Form, Reply};
use super::streams;
use crate::base::yaml;
use crate::sandbox::api::Status;
use crate::sandbox::api_server::access::Peer;
use crate::sandbox::api_server::json::{self as json_body, Body};
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::api_server::selectors::Selection;
use crate::sandbox::api_server::verbs::delete::{DeleteOptions, Deleted};
use crate::sandbox::api_server::verbs::patch::{PatchTarget, PatchType};
use crate::sandbox::api_server::verbs::read::ListOptions;
use crate::sandbox::api_server::verbs::watch::{Render, WatchOptions};
use crate::sandbox::api_server::verbs::write::Written;
use crate::sandbox::api_server::{ApiServer, FieldValidation, Request, status, table};
use crate::sandbox::authz::{Access, User};
use crate::sandbox::faults::Outcome;
use crate::sandbox::proto;
use crate::sandbox::store::StoredObject;
use crate::sandbox::validation::Cause;

/// The API server's limit for a request body.
const MAX_BODY_BYTES: usize = 3 * 1024 * 1024;

/// Limit for a saved state, which is no Kubernetes request.
const MAX_STATE_BYTES: usize = 1 << 30;

/// The connection is to break without an answer: a fault of the rehearsal.
#[derive(Debug, thiserror::Error)]
#[error("the connection was cut by a fault of the rehearsal")]
pub(super) struct Cut;

/// Answers one request; a failure is an answer too.
pub(super) async fn answer(
    server: Arc<ApiServer>,
    peer: &Peer,
    mut request: HttpRequest<Incoming>,
) -> Result<Reply, Cut> {
    server.clock.touch();
    let write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let control = request.uri().path().starts_with("/meshscript/");
    if !control {
        server.counters.count(write);
    }
    let mut lost = false;
    let outcome = match admit(&server, peer, &request) {
        Ok(user) => {
            match server.faults.any().then(|| server.faults.meet(&access(&request))).flatten() {
                Some(Outcome::Cut) => return Err(Cut),
                Some(Outcome::Refused { code, message, retry_after }) => {
                    return Ok(reply::refused_by_fault(code, &message, retry_after));
                }
                Some(Outcome::AnswerLost) => lost = true,
                None => {}
            }
            request.extensions_mut().insert(user);
            let warning = deprecated(request.uri().path());
            let mut outcome = dispatch(&server, request).await;
            if let (Ok(reply), Some(warning)) = (&mut outcome, warning) {
                reply::warn(reply, &[warning.to_owned()]);
            }
            outcome
        }
        Err(refused) => Err(refused),
    };
    server.clock.touch();
    if lost {
        return Err(Cut);
    }
    Ok(outcome.unwrap_or_else(|refused| reply::failure(&refused)))
}

/// What the server says of a built-in kind that is on its way out, with every answer.
fn deprecated(path: &str) -> Option<&'static str> {
    let Path::Object(at) = path::parse(path) else { return None };
    match (at.group.as_str(), at.plural.as_str()) {
        ("", "endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// Who sends a request that is allowed to them.
fn admit(server: &ApiServer, peer: &Peer, request: &HttpRequest<Incoming>) -> Result<User, Status> {
    let user = server.user_of(peer, request.headers())?;
    server.allow(&user, &access(request))?;
    Ok(user)
}

/// What a request is for, as roles name it.
fn access(request: &HttpRequest<Incoming>) -> Access {
    let method = request.method().as_str();
    let Path::Object(at) = path::parse(request.uri().path()) else {
        return Access::to_path(&method.to_ascii_lowercase(), request.uri().path());
    };
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let on_collection = at.name.is_empty();
    // A stream into a pod changes it, by whatever method it is opened.
    let is_stream = matches!(at.subresource.as_str(), "exec" | "attach" | "portforward");
    let verb = match method {
        "GET" | "HEAD" if is_stream => "create",
        "GET" | "HEAD" if query.flag("watch") => "watch",
        "GET" | "HEAD" if on_collection => "list",
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" if on_collection => "deletecollection",
        "DELETE" => "delete",
        _ => "",
    };
    // A namespace is in itself.
    let is_namespace = at.group.is_empty() && at.plural == "namespaces";
    Access {
        verb: verb.to_owned(),
        namespace: if is_namespace { at.name.clone() } else { at.namespace },
        group: at.group,
        resource: at.plural,
        subresource: at.subresource,
        name: at.name,
        path: String::new(),
    }
}

/// The user whom [`answer`] admitted.
fn user_of(request: &HttpRequest<Incoming>) -> User {
    request.extensions().get::<User>().cloned().unwrap_or_else(User::anonymous)
}

async fn dispatch(
    server: &Arc<ApiServer>,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let found = path::parse(request.uri().path());
    if let Path::Object(at) = found {
        return object(server, at, request).await;
    }
    if let Path::Control(function) = found {
        return control(server, &function, request).await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Err(status::method_not_allowed());
    }
    let form = reply::accepted(request.headers())?;
    let plain = if form == Form::Discovery { Form::Json } else { form };
    Ok(match found {
        Path::Version => reply::json(200, plain, &server.version()),
        Path::Health => reply::bytes(200, "text/plain; charset=utf-8", "ok"),
        Path::Groups { core } if form == Form::Discovery => {
            reply::json(200, form, &server.aggregated_discovery(core))
        }
        Path::Groups { core: true } => reply::json(200, plain, &server.core_versions()),
        Path::Groups { core: false } => reply::json(200, plain, &server.group_list()),
        Path::Group(name) => match server.group(&name) {
            Some(group) => reply::json(200, plain, &group),
            None => reply::no_page(),
        },
        Path::Resources { group, version } => match server.resource_list(&group, &version) {
            Some(list) => reply::json(200, plain, &list),
            None => reply::no_page(),
        },
        Path::OpenApiIndex => reply::json(200, plain, &server.openapi_index()),
        Path::OpenApi { group, version } => match server.openapi(&group, &version) {
            Some(document) => reply::json(200, plain, &document),
            None => reply::no_page(),
        },
        Path::Object(_) | Path::Control(_) | Path::Unknown => reply::no_page(),
    })
}

/// A function of the sandbox itself: faults, time, state.
async fn control(
    server: &Arc<ApiServer>,
    function: &str,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let Some(control) = server.control() else { return Ok(reply::no_page()) };
    if request.method() != Method::POST {
        return Err(status::method_not_allowed());
    }
    let body = Limited::new(request.into_body(), MAX_STATE_BYTES).collect().await;
    let body = body.map_err(|_| status::too_large("the state is larger than 1 GiB"))?.to_bytes();
    let arguments: Value = serde_json::from_slice(&body)
        .map_err(|error| status::bad_request(format!("the arguments are no JSON: {error}")))?;
    let answer = control.call(function, &arguments)?;
    Ok(reply::json(200, Form::Json, &answer))
}

async fn object(
    server: &Arc<ApiServer>,
    at: ObjectPath,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let Some(kind) = server.kinds.by_resource(&at.group, &at.version, &at.plural) else {
        let group_served = server.kinds.groups().iter().any(|group| {
            group.name == at.group && group.versions.iter().any(|(v, _)| *v == at.version)
        });
        return if group_served { Err(status::resource_not_found()) } else { Ok(reply::no_page()) };
    };
    // A cluster-wide path of a namespaced kind names all namespaces; anything else must fit its scope.
    if kind.namespaced == at.namespace.is_empty() && !(kind.namespaced && at.name.is_empty()) {
        return Err(status::resource_not_found());
    }
    let query = Query::parse(request.uri().query().unwrap_or_default());
    if !at.subresource.is_empty() {
        return subresource(server, &kind, at, query, request).await;
    }
    let form = reply::accepted(request.headers())?;
    let method = request.method().clone();
    let on_collection = at.name.is_empty();
    match (method.as_str(), on_collection) {
        ("GET" | "HEAD", true) => {
            if !kind.verbs.iter().any(|verb| verb == "list") {
                return Err(status::method_not_allowed());
            }
            if query.flag("watch") {
                watch(server, &kind, &at, &query, form)
            } else {
                list(server, &kind, &at, &query, form)
            }
        }
        ("GET" | "HEAD", false) => get(server, &kind, &at, &query, form),
        ("POST", true) => {
            let mut context = context(&request, &query, "CreateOptions")?;
            let user = user_of(&request);
            let body = read_body(&kind, request).await?;
            let reviewed = server.review(&kind, &at.namespace, || body.value.clone(), &user);
            if let Some(review) = reviewed {
                return Ok(reply::json(201, form, &review?));
            }
            let written = post(server, &kind, &at, body, &mut context)?;
            Ok(written_reply(&written, form, &context))
        }
        ("PUT", false) => {
            let mut context = context(&request, &query, "UpdateOptions")?;
            let body = read_body(&kind, request).await?;
            let written = put(server, &kind, &at, body, &mut context)?;
            Ok(written_reply(&written, form, &context))
        }
        ("PATCH", false) => {
            let mut context = context(&request, &query, "PatchOptions")?;
            let patch = read_patch(&kind, request).await?;
            let written = patch_object(server, &kind, &at, patch, &mut context)?;
            Ok(written_reply(&written, form, &context))
        }
        ("DELETE", _) => delete(server, &kind, &at, &query, form, request).await,
        _ => Err(status::method_not_allowed()),
    }
}

fn get(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    query: &Query,
    form: Form,
) -> Result<Reply, Status> {
    let stored = server.get_stored(kind, &at.namespace, &at.name)?;
    if form == Form::Table {
        let value = server.store.value(&stored);
        let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
        return Ok(reply::json(
            200,
            form,
            &tabled(server, kind, &metadata, &[(*value).clone()], query),
        ));
    }
    if form == Form::Metadata {
        let value = server.store.value(&stored);
        return Ok(reply::json(200, form, &reply::metadata_only(&value)));
    }
    Ok(reply::json_text(200, form, stored.json_as(&kind.api_version())))
}

fn list(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    query: &Query,
    form: Form,
) -> Result<Reply, Status> {
    let selection =
        Selection::parse(kind, query.text("labelSelector"), query.text("fieldSelector"))?;
    let options = ListOptions {
        limit: query.number("limit").unwrap_or(0),
        continue_token: query.text("continue").to_owned(),
        resource_version: query.text("resourceVersion").to_owned(),
    };
    let listed = server.list_stored(kind, &at.namespace, &selection, &options)?;
    let mut metadata = json!({"resourceVersion": listed.revision.to_string()});
    if let Some(token) = listed.continue_token {
        metadata["continue"] = token.into();
    }
    if kind.custom.is_some() && metadata["continue"].is_null() {
        metadata["continue"] = "".into();
    }
    if let Some(remaining) = listed.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    if form == Form::Table {
        let objects: Vec<Value> =
            listed.objects.iter().map(|stored| (*server.store.value(stored)).clone()).collect();
        return Ok(reply::json(200, form, &tabled(server, kind, &metadata, &objects, query)));
    }
    let metadata_only = form == Form::Metadata;
    let (list_kind, version) = if metadata_only {
        ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
    } else {
        (kind.list_kind.clone(), kind.api_version())
    };
    let mut text = format!(
        "{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":["
    )
    .into_bytes();
    let api_version = kind.api_version();
    for (index, stored) in listed.objects.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        if metadata_only {
            let value = server.store.value(stored);
            text.extend(reply::metadata_only(&value).to_string().into_bytes());
        } else if kind.custom.is_some() {
            text.extend(stored.json_as(&api_version));
        } else {
            text.extend(stored.json_bare());
        }
    }
    text.extend_from_slice(b"]}");
    Ok(reply::json_text(200, form, text))
}

fn watch(
    server: &Arc<ApiServer>,
    kind: &Arc<Kind>,
    at: &ObjectPath,
    query: &Query,
    form: Form,
) -> Result<Reply, Status> {
    let selection =
        Selection::parse(kind, query.text("labelSelector"), query.text("fieldSelector"))?;
    let options = WatchOptions {
        resource_version: query.text("resourceVersion").to_owned(),
        bookmarks: query.flag("allowWatchBookmarks"),
        send_initial_events: query
            .has("sendInitialEvents")
            .then(|| query.flag("sendInitialEvents")),
        timeout: query.number("timeoutSeconds").filter(|s| *s > 0).map(Duration::from_secs),
    };
    let api_version = kind.api_version();
    let render: Render = if form == Form::Metadata {
        let server = server.clone();
        Arc::new(move |stored: &StoredObject| {
            reply::metadata_only(&server.store.value(stored)).to_string().into_bytes()
        })
    } else if form == Form::Table {
        let (server, kind, query) = (server.clone(), kind.clone(), query.clone());
        Arc::new(move |stored: &StoredObject| {
            let value = server.store.value(stored);
            let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
            let table = tabled(&server, &kind, &metadata, &[(*value).clone()], &query);
            table.to_string().into_bytes()
        })
    } else {
        Arc::new(move |stored: &StoredObject| stored.json_as(&api_version))
    };
    let stream = server.watch(kind, &at.namespace, selection, &options, render)?;
    Ok(reply::stream("application/json", stream))
}

fn tabled(
    server: &ApiServer,
    kind: &Kind,
    metadata: &Value,
    objects: &[Value],
    query: &Query,
) -> Value {
    let include = table::Include::parse(query.text("includeObject"));
    table::table(kind, metadata, objects, include, server.now())
}

fn written_reply(written: &Written, form: Form, context: &Request) -> Reply {
    let code = if written.created { 201 } else { 200 };
    let mut answer = if form == Form::Metadata {
        reply::json(code, form, &reply::metadata_only(&written.object))
    } else {
        reply::json(code, form, &written.object)
    };
    reply::warn(&mut answer, &context.warnings);
    answer
}

/// Reads the options of a write from query and headers.
fn context(
    request: &HttpRequest<Incoming>,
    query: &Query,
    options: &str,
) -> Result<Request, Status> {
    let mut causes = Vec::new();
    let dry_run = query.all("dryRun");
    if dry_run.iter().any(|value| value != "All" && !value.is_empty()) {
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
    let manager = match query.text("fieldManager") {
        // What a client calls itself is cut to what a manager's name may be.
        "" => {
            let name = header("user-agent").split('/').next().unwrap_or_default();
            name.chars().filter(|found| !found.is_control()).take(128).collect()
        }
        given => given.to_owned(),
    };
    let is_apply = header("content-type").starts_with("application/apply-patch+yaml");
    if is_apply && !query.has("fieldManager") {
        causes.push(Cause::required("fieldManager", "is required for apply patch"));
    }
    if options == "PatchOptions" && query.flag("force") && !is_apply {
        causes.push(Cause::forbidden("force", "may not be specified for non-apply patch"));
    }
    if manager.len() > 128 {
        causes.push(Cause::too_long("fieldManager", 128));
    }
    if !causes.is_empty() {
        return Err(status::invalid("meta.k8s.io", options, "", causes));
    }
    let user = user_of(request);
    Ok(Request {
        manager: if manager.is_empty() { "unknown".to_owned() } else { manager },
        user: user.name,
        groups: user.groups,
        dry_run: !dry_run.is_empty(),
        validation,
        force: query.flag("force"),
        warnings: Vec::new(),
        duplicates: Vec::new(),
    })
}

/// The media type of a request, and its body.
async fn raw_body(request: HttpRequest<Incoming>) -> Result<(String, Bytes), Status> {
    let media = request
        .headers()
        .get("content-type")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
        .to_owned();
    let body = Limited::new(request.into_body(), MAX_BODY_BYTES).collect().await.map_err(|_| {
        status::too_large(&format!("Request entity too large: limit is {MAX_BODY_BYTES}"))
    })?;
    Ok((media, body.to_bytes()))
}

async fn read_body(kind: &Kind, request: HttpRequest<Incoming>) -> Result<Body, Status> {
    let (media, text) = raw_body(request).await?;
    let unrecognized = |why: String| {
        let start = match text.first() {
            None => "<empty>".to_owned(),
            Some(b'{') => String::from_utf8_lossy(&text[..text.len().min(64)]).into_owned(),
            Some(_) => hex::encode(&text[..text.len().min(64)]),
        };
        status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {why} ({start})",
            kind.kind
        ))
    };
    let body = match media.as_str() {
        "" | "application/json" => {
            json_body::parse(&text).map_err(|error| unrecognized(go_json_error(&error)))?
        }
        "application/yaml" | "application/x-yaml" | "text/yaml" => {
            let text = std::str::from_utf8(&text)
                .map_err(|_| status::bad_request("the body is not UTF-8"))?;
            let value = yaml::parse(text).map_err(|error| {
                status::bad_request(format!("error converting YAML to JSON: {error}"))
            })?;
            Body { value, duplicates: Vec::new() }
        }
        media if proto::is_protobuf(media) => {
            let value =
                proto::decode(&text).map_err(|error| status::bad_request(error.to_string()))?;
            Body { value, duplicates: Vec::new() }
        }
        _ => {
            return Err(status::unsupported_media_type(
                "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"
                    .to_owned(),
            ));
        }
    };
    if !body.value.is_object() {
        let found = match &body.value {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            Value::Null | Value::Object(_) => "null",
        };
        return Err(unrecognized(format!(
            "json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}"
        )));
    }
    Ok(body)
}

fn go_json_error(error: &serde_json::Error) -> String {
    if error.is_eof() { "unexpected end of JSON input".to_owned() } else { error.to_string() }
}

/// A body that may leave out `apiVersion` and `kind`, as the server's decoder allows for the kind of the path.
fn with_kind(kind: &Kind, mut body: Body) -> Body {
    if let Some(fields) = body.value.as_object_mut() {
        fields.entry("apiVersion").or_insert_with(|| kind.api_version().into());
        fields.entry("kind").or_insert_with(|| kind.kind.clone().into());
    }
    body
}

fn post(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    body: Body,
    context: &mut Request,
) -> Result<Written, Status> {
    let mut body = with_kind(kind, body);
    deprecation(kind, context);
    context.duplicates = std::mem::take(&mut body.duplicates);
    let namespace = if kind.namespaced && at.namespace.is_empty() {
        return Err(status::method_not_allowed());
    } else {
        at.namespace.as_str()
    };
    server.create(kind, namespace, body.value.take(), context)
}

fn put(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    body: Body,
    context: &mut Request,
) -> Result<Written, Status> {
    let mut body = with_kind(kind, body);
    deprecation(kind, context);
    context.duplicates = std::mem::take(&mut body.duplicates);
    server.update(kind, &at.namespace, &at.name, &at.subresource, body.value.take(), context)
}

fn deprecation(kind: &Kind, context: &mut Request) {
    if let Some(warning) = kind.custom.as_ref().and_then(|custom| custom.deprecation()) {
        context.warnings.push(warning);
    }
}

struct Patch {
    patch_type: PatchType,
    body: Body,
}

async fn read_patch(kind: &Kind, request: HttpRequest<Incoming>) -> Result<Patch, Status> {
    let (media, text) = raw_body(request).await?;
    let custom = kind.custom.is_some();
    let known =
        PatchType::of(&media).filter(|patch_type| !(custom && *patch_type == PatchType::Strategic));
    let Some(patch_type) = known else {
        return Err(status::unsupported_media_type(format!(
            "the body of the request was in an unknown format - accepted media types include: {}",
            PatchType::accepted(custom)
        )));
    };
    let body = if patch_type == PatchType::Apply {
        // YAML includes JSON, but JSON is what nearly everybody sends.
        match json_body::parse(&text) {
            Ok(body) => body,
            Err(_) => {
                let text = std::str::from_utf8(&text)
                    .map_err(|_| status::bad_request("the body is not UTF-8"))?;
                let value = yaml::parse(text).map_err(|error| {
                    status::bad_request(format!("error decoding YAML: {error}"))
                })?;
                Body { value, duplicates: Vec::new() }
            }
        }
    } else {
        json_body::parse(&text).map_err(|error| {
            status::bad_request(format!("error decoding patch: {}", go_json_error(&error)))
        })?
    };
    if patch_type == PatchType::Apply && !body.value.is_object() {
        return Err(status::bad_request("error decoding YAML: an object is expected"));
    }
    Ok(Patch { patch_type, body })
}

fn patch_object(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    patch: Patch,
    context: &mut Request,
) -> Result<Written, Status> {
    deprecation(kind, context);
    context.duplicates = patch.body.duplicates;
    let target =
        PatchTarget { namespace: &at.namespace, name: &at.name, subresource: &at.subresource };
    match patch.patch_type {
        PatchType::Apply => server.apply(kind, target, patch.body.value, context),
        patch_type => server.patch(kind, target, patch_type, &patch.body.value, context),
    }
}

async fn delete(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    query: &Query,
    form: Form,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let mut context = context(&request, query, "DeleteOptions")?;
    let (media, text) = raw_body(request).await?;
    let body: Value = if text.is_empty() {
        Value::Null
    } else if proto::is_protobuf(&media) {
        proto::decode(&text).map_err(|error| status::bad_request(error.to_string()))?
    } else {
        json_body::parse(&text).map_err(|error| status::bad_request(go_json_error(&error)))?.value
    };
    if body["dryRun"].as_array().is_some_and(|list| !list.is_empty()) {
        context.dry_run = true;
    }
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let options = DeleteOptions {
        grace_period_seconds: body["gracePeriodSeconds"]
            .as_i64()
            .or_else(|| query.number("gracePeriodSeconds")),
        propagation: text(&body["propagationPolicy"])
            .or_else(|| match (&body["orphanDependents"], query.flag("orphanDependents")) {
                (Value::Bool(true), _) | (_, true) => Some("Orphan".to_owned()),
                (Value::Bool(false), _) => Some("Background".to_owned()),
                _ => None,
            })
            .unwrap_or_else(|| query.text("propagationPolicy").to_owned()),
        uid: text(&body["preconditions"]["uid"]),
        resource_version: text(&body["preconditions"]["resourceVersion"]),
    };
    if !matches!(options.propagation.as_str(), "" | "Orphan" | "Background" | "Foreground") {
        let cause = Cause::unsupported(
            "propagationPolicy",
            &options.propagation.clone().into(),
            &["Foreground", "Background", "Orphan", "nil"],
        );
        return Err(status::invalid("meta.k8s.io", "DeleteOptions", "", vec![cause]));
    }
    if at.name.is_empty() {
        return delete_collection(server, kind, at, query, &options, form, context);
    }
    let deleted = server.delete(kind, &at.namespace, &at.name, &options, &mut context)?;
    let mut answer = match deleted {
        Deleted::Marked(object) => reply::json(200, form, &object),
        // The object of a deletion at once is returned for kinds with a graceful end; else its uid is enough.
        Deleted::Gone(object) => {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            if kind.group.is_empty() && kind.plural == "pods" {
                reply::json(200, form, &object)
            } else {
                reply::json(200, form, &status::deleted(&kind.group, &kind.plural, &at.name, uid))
            }
        }
    };
    reply::warn(&mut answer, &context.warnings);
    Ok(answer)
}

fn delete_collection(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    query: &Query,
    options: &DeleteOptions,
    form: Form,
    mut context: Request,
) -> Result<Reply, Status> {
    if !kind.verbs.iter().any(|verb| verb == "deletecollection") {
        return Err(status::method_not_allowed());
    }
    let selection =
        Selection::parse(kind, query.text("labelSelector"), query.text("fieldSelector"))?;
    let listed = server.list_stored(kind, &at.namespace, &selection, &ListOptions::default())?;
    let mut items = Vec::new();
    for stored in listed.objects {
        let (namespace, name) = &stored.key;
        match server.delete(kind, namespace, name, options, &mut context) {
            Ok(Deleted::Gone(object) | Deleted::Marked(object)) => items.push((*object).clone()),
            Err(refused) if refused.code == 404 => {}
            Err(refused) => return Err(refused),
        }
    }
    let list = json!({
        "kind": kind.list_kind, "apiVersion": kind.api_version(),
        "metadata": {"resourceVersion": server.store.revision().to_string()},
        "items": items
    });
    Ok(reply::json(200, form, &list))
}

async fn subresource(
    server: &Arc<ApiServer>,
    kind: &Arc<Kind>,
    at: ObjectPath,
    query: Query,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    if !kind.has_subresource(&at.subresource) {
        return Err(status::resource_not_found());
    }
    let method = request.method().as_str().to_owned();
    match (at.subresource.as_str(), method.as_str()) {
        ("log", "GET") => return streams::logs(server, &at, &query),
        ("exec" | "attach", "GET" | "POST") => return streams::exec(server, &at, &query, request),
        ("portforward", "GET" | "POST") => {
            return streams::port_forward(server, &at, &query, request);
        }
        ("proxy", _) => return streams::proxy(server, at, request).await,
        _ => {}
    }
    let form = reply::accepted(request.headers())?;
    match (at.subresource.as_str(), method.as_str()) {
        ("status" | "ephemeralcontainers" | "resize" | "approval", "GET") => {
            get(server, kind, &at, &query, form)
        }
        ("scale", "GET") => {
            let stored = server.get_stored(kind, &at.namespace, &at.name)?;
            let object = server.store.value(&stored);
            Ok(reply::json(200, form, &server.scale_of(kind, &object, true)?))
        }
        ("scale", "PUT" | "PATCH") => {
            let mut context = context(&request, &query, "UpdateOptions")?;
            let change = if method == "PUT" {
                (PatchType::Apply, read_body(kind, request).await?.value)
            } else {
                let patch = read_patch(kind, request).await?;
                (patch.patch_type, patch.body.value)
            };
            let scale = server.write_scale(kind, &at.namespace, &at.name, &change, &mut context)?;
            Ok(reply::json(200, form, &scale))
        }
        ("status", "PUT") => {
            let mut context = context(&request, &query, "UpdateOptions")?;
            let body = read_body(kind, request).await?;
            let written = put(server, kind, &at, body, &mut context)?;
            Ok(written_reply(&written, form, &context))
        }
        ("status" | "ephemeralcontainers" | "resize", "PATCH") => {
            let mut context = context(&request, &query, "PatchOptions")?;
            let patch = read_patch(kind, request).await?;
            let written = patch_object(server, kind, &at, patch, &mut context)?;
            Ok(written_reply(&written, form, &context))
        }
        ("eviction", "POST") => {
            let mut context = context(&request, &query, "CreateOptions")?;
            let body = read_body(kind, request).await?;
            let answer = server.evict(kind, &at.namespace, &at.name, &body.value, &mut context)?;
            Ok(reply::json(201, form, &answer))
        }
        ("token", "POST") => {
            let body = read_body(kind, request).await?;
            let token = server.token(kind, &at.namespace, &at.name, &body.value)?;
            Ok(reply::json(201, form, &token))
        }
        ("binding", "POST") => {
            let mut context = context(&request, &query, "CreateOptions")?;
            let body = read_body(kind, request).await?;
            let node = body.value["target"]["name"].as_str().unwrap_or_default();
            server.bind_pod(&at.namespace, &at.name, node, &mut context)?;
            let done = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201
            });
            Ok(reply::json(201, form, &done))
        }
        ("finalize", "PUT") => {
            let mut context = context(&request, &query, "UpdateOptions")?;
            let body = read_body(kind, request).await?;
            let written = server.finalize(&at.name, &body.value, &mut context)?;
            Ok(written_reply(&written, form, &context))
        }
        (other, _) => {
            Err(server.refuse_not_modelled(&format!("{method} of {}/{other}", kind.plural)))
        }
    }
}
