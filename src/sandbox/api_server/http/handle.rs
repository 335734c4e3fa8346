//! One request: from HTTP to a verb and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::{Method, Request as HttpRequest};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::body::{self, Patch};
use super::options;
use super::path::{self, ObjectPath, Path, Query};
use super::reply::{self, Form, Reply};
use super::streams;
use crate::sandbox::api::Status;
use crate::sandbox::api_server::access::Peer;
use crate::sandbox::api_server::json::Body;
use crate::sandbox::api_server::kinds::Kind;
use crate::sandbox::api_server::selectors::Selection;
use crate::sandbox::api_server::verbs::delete::{DeleteOptions, Deleted};
use crate::sandbox::api_server::verbs::patch::{PatchTarget, PatchType};
use crate::sandbox::api_server::verbs::read::{self, Listed};
use crate::sandbox::api_server::verbs::watch::{Render, Write};
use crate::sandbox::api_server::verbs::write::Written;
use crate::sandbox::api_server::{ApiServer, Request, in_version_of, status, table};
use crate::sandbox::authz::{Access, User};
use crate::sandbox::faults::Outcome;
use crate::sandbox::store::StoredObject;

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
    let found = path::parse(request.uri().path());
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let access = access(&request, &found, &query);
    let mut lost = false;
    let reply = match admit(&server, peer, &request, &access) {
        Ok(user) => {
            match server.faults.any().then(|| server.faults.meet(&access)).flatten() {
                Some(Outcome::Cut) => return Err(Cut),
                Some(Outcome::Refused { code, message, retry_after }) => {
                    return Ok(reply::refused_by_fault(code, &message, retry_after));
                }
                Some(Outcome::AnswerLost) => lost = true,
                None => {}
            }
            request.extensions_mut().insert(user);
            let warning = deprecated(&server, &found);
            let outcome = dispatch(&server, found, query, request).await;
            let mut reply = outcome.unwrap_or_else(|refused| reply::failure(&refused));
            reply::warn(&mut reply, warning.as_slice());
            reply
        }
        Err(refused) => reply::failure(&refused),
    };
    server.clock.touch();
    if lost {
        return Err(Cut);
    }
    Ok(reply)
}

/// What the server says of a kind or version that is on its way out, with every answer.
fn deprecated(server: &ApiServer, path: &Path) -> Option<String> {
    let Path::Object(at) = path else { return None };
    match (at.group.as_str(), at.plural.as_str()) {
        ("", "endpoints") => Some(
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
                .to_owned(),
        ),
        ("", "componentstatuses") => Some("v1 ComponentStatus is deprecated in v1.19+".to_owned()),
        _ => {
            let kind = server.kinds.by_resource(&at.group, &at.version, &at.plural)?;
            kind.custom.as_ref().and_then(|custom| custom.deprecation())
        }
    }
}

/// Who sends a request that is allowed to them.
fn admit(
    server: &ApiServer,
    peer: &Peer,
    request: &HttpRequest<Incoming>,
    access: &Access,
) -> Result<User, Status> {
    let user = server.user_of(peer, request.headers())?;
    server.allow(&user, access)?;
    // A stream into a pod changes it, by whatever method it is opened.
    if access.verb == "get"
        && matches!(access.subresource.as_str(), "exec" | "attach" | "portforward")
    {
        server.allow(&user, &Access { verb: "create".to_owned(), ..access.clone() })?;
    }
    Ok(user)
}

/// What a request is for, as roles name it.
fn access(request: &HttpRequest<Incoming>, path: &Path, query: &Query) -> Access {
    let method = request.method().as_str();
    let Path::Object(at) = path else {
        return Access::to_path(&method.to_ascii_lowercase(), request.uri().path());
    };
    let on_collection = at.name.is_empty();
    let verb = match method {
        "GET" | "HEAD" if query.flag("watch") && on_collection || at.watched => "watch",
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
        namespace: if is_namespace { at.name.clone() } else { at.namespace.clone() },
        group: at.group.clone(),
        resource: at.plural.clone(),
        subresource: at.subresource.clone(),
        name: at.name.clone(),
        path: String::new(),
    }
}

async fn dispatch(
    server: &Arc<ApiServer>,
    path: Path,
    query: Query,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    if let Path::Object(at) = path {
        return object(server, at, query, request).await;
    }
    if let Path::Control(function) = path {
        return control(server, &function, request).await;
    }
    let is_document = matches!(path, Path::Groups { .. } | Path::Group(_) | Path::Resources { .. });
    if request.method() != Method::GET && (is_document || request.method() != Method::HEAD) {
        return Err(status::method_not_allowed());
    }
    if matches!(path, Path::OpenApiV2) {
        return Ok(reply::openapi_v2(request.headers(), &server.openapi_v2()));
    }
    let form = reply::accepted(request.headers())?;
    let plain = if form == Form::Discovery { Form::Json } else { form };
    Ok(match path {
        Path::Root => reply::json(200, plain, &server.root_paths()),
        Path::Version => reply::json(200, plain, &server.version()),
        Path::Health => reply::bytes(200, "text/plain; charset=utf-8", "ok"),
        Path::Groups { core } if form == Form::Discovery => {
            reply::json(200, form, &server.aggregated_discovery(core))
        }
        Path::Groups { core: true } => reply::json(200, plain, &server.core_versions()),
        Path::Groups { core: false } => reply::json(200, plain, &server.group_list()),
        Path::Group(_) | Path::Resources { .. } if form == Form::Discovery => {
            return Err(reply::only_plain());
        }
        Path::Group(name) => match server.group(&name) {
            Some(group) => reply::json(200, plain, &group),
            None => reply::no_page(),
        },
        Path::Resources { group, version } => match server.resource_list(&group, &version) {
            Some(list) => reply::json(200, plain, &list),
            None => return nothing_there(server, &group),
        },
        Path::OpenApiIndex => reply::json(200, plain, &server.openapi_index()),
        Path::OpenApi { group, version } => match server.openapi(&group, &version) {
            Some(document) => reply::json(200, plain, &document),
            None => reply::bytes(404, "text/plain; charset=utf-8", ""),
        },
        Path::Unknown => {
            // Below the API server's own groups a path that is nothing is refused as an object would be.
            let mut parts = request.uri().path().trim_matches('/').split('/');
            match (parts.next(), parts.next()) {
                (Some("api"), Some(_)) => return Err(status::resource_not_found()),
                (Some("apis"), Some(group)) => return nothing_there(server, group),
                _ => reply::no_page(),
            }
        }
        Path::Object(_) | Path::Control(_) | Path::OpenApiV2 => reply::no_page(),
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
    query: Query,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let Some(kind) = server.kinds.by_resource(&at.group, &at.version, &at.plural) else {
        return nothing_there(server, &at.group);
    };
    // A cluster-wide path of a namespaced kind names all namespaces; anything else must fit its scope.
    if kind.namespaced == at.namespace.is_empty() && !(kind.namespaced && at.name.is_empty()) {
        return nothing_there(server, &at.group);
    }
    if !at.subresource.is_empty() {
        return subresource(server, &kind, at, query, request).await;
    }
    let method = request.method().clone();
    let on_collection = at.name.is_empty();
    let reads = matches!(method.as_str(), "GET" | "HEAD");
    if !kind.verbs.iter().any(|verb| verb == "get" || verb == "list") && !on_collection {
        return Err(status::resource_not_found());
    }
    // Writes of a namespaced kind need the namespace in their path.
    if !reads && kind.namespaced && at.namespace.is_empty() {
        return Err(status::method_not_allowed());
    }
    let watched = reads && (at.watched || (on_collection && query.flag("watch")));
    let is_list = on_collection && matches!(method.as_str(), "GET" | "HEAD" | "DELETE");
    let form = reply::accepted_object(request.headers(), &kind, is_list && !watched)?;
    if form == Form::Table {
        table::Include::check(query.text("includeObject"))?;
    }
    match (method.as_str(), on_collection) {
        ("GET" | "HEAD", true) => {
            if !kind.verbs.iter().any(|verb| verb == "list") {
                return Err(status::method_not_allowed());
            }
            if query.flag("watch") || at.watched {
                watch(server, &kind, &at, &query, form)
            } else {
                list(server, &kind, &at, &query, form)
            }
        }
        ("GET" | "HEAD", false) if at.watched => watch(server, &kind, &at, &query, form),
        ("GET" | "HEAD", false) => get(server, &kind, &at, &query, form),
        ("POST", true) => {
            let mut context = options::write(&request, &query, "CreateOptions")?;
            let user = options::user_of(&request);
            let body = body::object(&kind, request).await?;
            let reviewed =
                server.review(&kind, &at.namespace, || body.value.clone(), &user, &context);
            if let Some(review) = reviewed {
                return Ok(reply::json(201, form, &review?));
            }
            if kind.group.is_empty() && kind.plural == "bindings" {
                let done = server.bind(&at.namespace, "", &body.value, &mut context)?;
                return Ok(reply::json(201, form, &done));
            }
            let written = post(server, &kind, &at, body, &mut context);
            Ok(written_reply(server, &kind, &query, written, form, &context))
        }
        ("PUT", false) => {
            let mut context = options::write(&request, &query, "UpdateOptions")?;
            let body = body::object(&kind, request).await?;
            let written = put(server, &kind, &at, body, &mut context);
            Ok(written_reply(server, &kind, &query, written, form, &context))
        }
        ("PATCH", false) => {
            let mut context = options::write(&request, &query, "PatchOptions")?;
            let patch = body::patch(&kind, request).await?;
            let written = patch_object(server, &kind, &at, patch, &mut context);
            Ok(written_reply(server, &kind, &query, written, form, &context))
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
    let version = query.text("resourceVersion");
    if !version.is_empty() {
        read::revision(version)?;
    }
    let stored = server.get_stored(kind, &at.namespace, &at.name)?;
    if form == Form::Table || form == Form::Metadata {
        let value = server.value_as(kind, &stored);
        return Ok(object_reply(server, kind, query, 200, form, &value));
    }
    let mut text = server.text_as(kind, &stored);
    text.push(b'\n');
    Ok(reply::json_text(200, form, text))
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
    let options = options::list(query)?;
    let listed = server.list_stored(kind, &at.namespace, &selection, &options)?;
    Ok(listed_reply(server, kind, query, form, &listed))
}

/// What an item of a list has beside its kept text: braces, a comma, the kind and version of a custom one.
const ITEM_FRAME: usize = 64;

/// A list in the form that was asked for.
fn listed_reply(
    server: &ApiServer,
    kind: &Kind,
    query: &Query,
    form: Form,
    listed: &Listed,
) -> Reply {
    let mut metadata = match kind.plural.as_str() {
        // They are asked of the components, not of the store.
        "componentstatuses" => json!({}),
        _ => json!({"resourceVersion": listed.revision.to_string()}),
    };
    if let Some(token) = &listed.continue_token {
        metadata["continue"] = token.as_str().into();
    }
    if kind.custom.is_some() && form == Form::Json && metadata["continue"].is_null() {
        metadata["continue"] = "".into();
    }
    if let Some(remaining) = listed.remaining {
        metadata["remainingItemCount"] = remaining.into();
    }
    if form == Form::Table {
        let objects: Vec<Value> =
            listed.objects.iter().map(|stored| (*server.value_as(kind, stored)).clone()).collect();
        return reply::json(200, form, &tabled(server, kind, &metadata, &objects, query));
    }
    let metadata_only = form == Form::Metadata;
    let (list_kind, version) = if metadata_only {
        ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned())
    } else {
        (kind.list_kind.clone(), kind.api_version())
    };
    let head = format!(
        "{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":"
    );
    let size: usize = listed.objects.iter().map(|stored| stored.size() + ITEM_FRAME).sum();
    let mut text = Vec::with_capacity(head.len() + if metadata_only { 0 } else { size });
    text.extend_from_slice(head.as_bytes());
    if metadata_only && listed.objects.is_empty() {
        // A slice that nothing was appended to.
        text.extend_from_slice(b"null}\n");
        return reply::json_text(200, form, text);
    }
    text.push(b'[');
    for (index, stored) in listed.objects.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        if metadata_only {
            let value = server.store.value(stored);
            text.extend(reply::metadata_only(&value).to_string().into_bytes());
        } else {
            server.write_item(kind, stored, &mut text);
        }
    }
    text.extend_from_slice(b"]}\n");
    reply::json_text(200, form, text)
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
    let selection = if at.name.is_empty() { selection } else { selection.of_name(&at.name) };
    let options = options::watch(query)?;
    let render = render(server, kind, query, form);
    let stream = server.watch(kind, &at.namespace, selection, &options, render)?;
    Ok(reply::stream("application/json", stream))
}

/// How the events of a watch are written.
fn render(server: &Arc<ApiServer>, kind: &Arc<Kind>, query: &Query, form: Form) -> Render {
    if form != Form::Table && form != Form::Metadata {
        let (server, of_stored, kind) = (server.clone(), kind.clone(), kind.clone());
        return Render {
            stored: Arc::new(move |stored: &StoredObject| server.text_as(&of_stored, stored)),
            value: Arc::new(move |value: &Value| {
                in_version_of(&kind, value.clone()).to_string().into_bytes()
            }),
        };
    }
    let value: Write<Value> = if form == Form::Metadata {
        Arc::new(|value: &Value| reply::metadata_only(value).to_string().into_bytes())
    } else {
        let (server, kind, query) = (server.clone(), kind.clone(), query.clone());
        let told = AtomicBool::new(false);
        Arc::new(move |value: &Value| {
            let metadata = json!({"resourceVersion": value["metadata"]["resourceVersion"]});
            let mut table = tabled(&server, &kind, &metadata, std::slice::from_ref(value), &query);
            // Clients learn the columns from the first event.
            if told.swap(true, Ordering::Relaxed) {
                table["columnDefinitions"] = Value::Null;
            }
            table.to_string().into_bytes()
        })
    };
    let (server, kind, of_stored) = (server.clone(), kind.clone(), value.clone());
    Render {
        stored: Arc::new(move |stored: &StoredObject| of_stored(&server.value_as(&kind, stored))),
        value,
    }
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

/// The answer to a write, with its warnings, whatever came of it.
fn written_reply(
    server: &ApiServer,
    kind: &Kind,
    query: &Query,
    written: Result<Written, Status>,
    form: Form,
    context: &Request,
) -> Reply {
    let mut answer = match written {
        Ok(written) => {
            let code = if written.created { 201 } else { 200 };
            object_reply(server, kind, query, code, form, &written.object)
        }
        Err(refused) => reply::failure(&refused),
    };
    reply::warn(&mut answer, &context.warnings);
    answer
}

/// One object in the form that was asked for.
fn object_reply(
    server: &ApiServer,
    kind: &Kind,
    query: &Query,
    code: u16,
    form: Form,
    object: &Value,
) -> Reply {
    match form {
        Form::Metadata => reply::json(code, form, &reply::metadata_only(object)),
        Form::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            let table = tabled(server, kind, &metadata, std::slice::from_ref(object), query);
            reply::json(code, form, &table)
        }
        Form::Json | Form::Yaml | Form::Discovery => reply::json(code, form, object),
    }
}

/// The answer to a path of a group in which there is no such thing: groups of CRDs are served by another handler.
fn nothing_there(server: &ApiServer, group: &str) -> Result<Reply, Status> {
    if server.kinds.is_builtin_group(group) {
        Err(status::resource_not_found())
    } else {
        Ok(reply::no_page())
    }
}

fn post(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    body: Body,
    context: &mut Request,
) -> Result<Written, Status> {
    let mut body = body::with_kind(kind, body);
    context.duplicates = std::mem::take(&mut body.duplicates);
    context.body = std::mem::take(&mut body.text);
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
    let mut body = body::with_kind(kind, body);
    context.duplicates = std::mem::take(&mut body.duplicates);
    context.body = std::mem::take(&mut body.text);
    server.update(kind, &at.namespace, &at.name, &at.subresource, body.value.take(), context)
}

fn patch_object(
    server: &Arc<ApiServer>,
    kind: &Kind,
    at: &ObjectPath,
    patch: Patch,
    context: &mut Request,
) -> Result<Written, Status> {
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
    let mut context = options::write(&request, query, "DeleteOptions")?;
    let (media, text) = body::raw(request).await?;
    let body = body::delete_options(&media, &text)?;
    // With a body, it alone says how to delete.
    context.dry_run &= body.is_null();
    let options = options::delete(query, &body)?;
    if body["dryRun"].as_array().is_some_and(|list| !list.is_empty()) {
        context.dry_run = true;
    }
    if at.name.is_empty() {
        return delete_collection(server, kind, at, query, &options, form, context);
    }
    let deleted = server.delete(kind, &at.namespace, &at.name, &options, &mut context)?;
    let mut answer = match deleted {
        Deleted::Marked(object) => object_reply(server, kind, query, 200, form, &object),
        // The object of a deletion at once is returned for kinds with a graceful end; else its uid is enough.
        Deleted::Gone(object) => {
            let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
            if returns_deleted(kind) {
                object_reply(server, kind, query, 200, form, &object)
            } else {
                reply::json(200, form, &status::deleted(&kind.group, &kind.plural, &at.name, uid))
            }
        }
    };
    reply::warn(&mut answer, &context.warnings);
    Ok(answer)
}

/// Kinds whose deletion answers with the object; the others' with a `Status`.
fn returns_deleted(kind: &Kind) -> bool {
    kind.custom.is_none()
        && matches!(
            (kind.group.as_str(), kind.plural.as_str()),
            ("resource.k8s.io", _)
                | (
                    "",
                    "pods"
                        | "services"
                        | "serviceaccounts"
                        | "resourcequotas"
                        | "podtemplates"
                        | "persistentvolumes"
                        | "persistentvolumeclaims"
                )
                | (
                    "storage.k8s.io",
                    "storageclasses"
                        | "volumeattachments"
                        | "csinodes"
                        | "csidrivers"
                        | "volumeattributesclasses"
                )
        )
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
    let listed = server.list_stored(kind, &at.namespace, &selection, &options::list(query)?)?;
    let list = listed_reply(server, kind, query, form, &listed);
    for stored in &listed.objects {
        let (namespace, name) = &stored.key;
        match server.delete(kind, namespace, name, options, &mut context) {
            Ok(_) => {}
            Err(refused) if refused.code == 404 => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(list)
}

async fn subresource(
    server: &Arc<ApiServer>,
    kind: &Arc<Kind>,
    at: ObjectPath,
    query: Query,
    request: HttpRequest<Incoming>,
) -> Result<Reply, Status> {
    let method = request.method().as_str().to_owned();
    let Some(served) = kind.subresources.iter().find(|sub| sub.subresource == at.subresource)
    else {
        return Err(match &kind.custom {
            Some(_) => status::not_found(&kind.group, &kind.plural, &at.name),
            None => status::resource_not_found(),
        });
    };
    let verb = match method.as_str() {
        "GET" | "HEAD" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        _ => "delete",
    };
    if !served.verbs.iter().any(|found| found == verb) {
        return Err(match &kind.custom {
            Some(_) => status::not_supported(verb, &kind.group, &kind.plural),
            None => status::method_not_allowed(),
        });
    }
    if matches!(at.subresource.as_str(), "exec" | "attach" | "portforward") {
        server.get_stored(kind, &at.namespace, &at.name)?;
    }
    match (at.subresource.as_str(), method.as_str()) {
        ("log", "GET") => return streams::logs(server, &at, &query),
        ("exec" | "attach", "GET" | "POST") => return streams::exec(server, &at, &query, request),
        ("portforward", "GET" | "POST") => {
            return streams::port_forward(server, &at, &query, request);
        }
        ("proxy", _) => return streams::proxy(server, at, request).await,
        _ => {}
    }
    let form = reply::accepted_object(request.headers(), kind, false)?;
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
            let mut context = options::write(&request, &query, "UpdateOptions")?;
            let change = if method == "PUT" {
                (PatchType::Apply, body::object(kind, request).await?.value)
            } else {
                let patch = body::patch(kind, request).await?;
                (patch.patch_type, patch.body.value)
            };
            let scale = server.write_scale(kind, &at.namespace, &at.name, &change, &mut context)?;
            Ok(reply::json(200, form, &scale))
        }
        ("status" | "approval" | "ephemeralcontainers" | "resize", "PUT") => {
            let mut context = options::write(&request, &query, "UpdateOptions")?;
            let body = body::object(kind, request).await?;
            let written = put(server, kind, &at, body, &mut context);
            Ok(written_reply(server, kind, &query, written, form, &context))
        }
        ("status" | "approval" | "ephemeralcontainers" | "resize", "PATCH") => {
            let mut context = options::write(&request, &query, "PatchOptions")?;
            let patch = body::patch(kind, request).await?;
            let written = patch_object(server, kind, &at, patch, &mut context);
            Ok(written_reply(server, kind, &query, written, form, &context))
        }
        ("eviction", "POST") => {
            let mut context = options::write(&request, &query, "CreateOptions")?;
            let body = body::object(kind, request).await?;
            let answer = server.evict(kind, &at.namespace, &at.name, &body.value, &mut context)?;
            Ok(reply::json(201, form, &answer))
        }
        ("token", "POST") => {
            let context = options::write(&request, &query, "CreateOptions")?;
            let body = body::object(kind, request).await?;
            let token = server.token(kind, &at.namespace, &at.name, &body.value, &context)?;
            Ok(reply::json(201, form, &token))
        }
        ("binding", "POST") => {
            let mut context = options::write(&request, &query, "CreateOptions")?;
            let body = body::object(kind, request).await?;
            let done = server.bind(&at.namespace, &at.name, &body.value, &mut context)?;
            Ok(reply::json(201, form, &done))
        }
        ("finalize", "PUT") => {
            let mut context = options::write(&request, &query, "UpdateOptions")?;
            let body = body::object(kind, request).await?;
            let written = server.finalize(&at.name, &body.value, &mut context);
            Ok(written_reply(server, kind, &query, written, form, &context))
        }
        (other, _) => {
            Err(server.refuse_not_modelled(&format!("{method} of {}/{other}", kind.plural)))
        }
    }
}
