//! What the rows of `k8s` run: reads the arguments, calls the domain, converts the result.

use std::sync::Arc;

use rhai::{Array, Dynamic, Map};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::base::diagnostic::{Diagnostic, ErrorKind, Position};
use crate::base::jsonpath::{Found, JsonPath};
use crate::base::net::{SharedDialer, TcpDialer};
use crate::base::secret::Secret;
use crate::engine::builtin;
use crate::engine::call::Call;
use crate::engine::convert::to_dynamic;
use crate::engine::files::io_error;
use crate::http::client::Client;
use crate::http::error::HttpError;
use crate::http::request::Request;
use crate::k8s::access::{self, Access};
use crate::k8s::apply::{self as applying, Applied, ApplyOptions, Validation};
use crate::k8s::cluster::{Cluster, FIELD_MANAGER};
use crate::k8s::delete::{self as deleting, DeleteOptions, Propagation};
use crate::k8s::diff as differing;
use crate::k8s::error::Error;
use crate::k8s::events::{self as telling, EventOptions};
use crate::k8s::exec::{self as executing, ExecOptions};
use crate::k8s::logs::{self as reading, LogOptions};
use crate::k8s::manifest::{self, Manifest};
use crate::k8s::port_forward as forwarding;
use crate::k8s::read::{self, ListOptions, Scope};
use crate::k8s::secrets;
use crate::k8s::wait::{self as waiting, Goal, WaitOptions, Wanted};
use crate::k8s::write::{self, MetadataField, PatchKind, PatchOptions};

type Answer = Result<Dynamic, Diagnostic>;

fn cluster<'a>(call: &'a Call<'_>) -> Result<&'a Cluster, Diagnostic> {
    call.host.cluster()
}

/// The option `namespace`; an empty one counts as left out.
fn namespace(call: &Call<'_>) -> Option<String> {
    call.opt_string("namespace").filter(|namespace| !namespace.is_empty())
}

fn scope(call: &Call<'_>) -> Scope {
    if call.flag("all_namespaces") {
        Scope::AllNamespaces
    } else {
        namespace(call).map_or(Scope::Default, Scope::Namespace)
    }
}

/// An object as scripts see it: without the server's bookkeeping, the data of a Secret opaque.
fn object(value: &Value) -> Dynamic {
    let mut value = value.clone();
    if let Some(metadata) = value["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    let result = to_dynamic(&value);
    if !secrets::is_secret(&value) {
        return result;
    }
    let Some(mut fields) = result.try_cast::<Map>() else { return Dynamic::UNIT };
    if let Some(mut data) = fields.get_mut("data").and_then(|data| data.write_lock::<Map>()) {
        for entry in data.values_mut() {
            let text = entry.clone().into_string().unwrap_or_default();
            *entry = Dynamic::from(Secret::new(text));
        }
    }
    fields.into()
}

fn objects(values: &[Value]) -> Dynamic {
    values.iter().map(object).collect::<Array>().into()
}

/// As [`object`], with the owners of its fields where the caller asks for them.
fn shown(call: &Call<'_>, value: &Value) -> Dynamic {
    let shown = object(value);
    if !call.flag("show_managed_fields") {
        return shown;
    }
    let Some(mut fields) = shown.try_cast::<Map>() else { return Dynamic::UNIT };
    if let Some(mut metadata) =
        fields.get_mut("metadata").and_then(|metadata| metadata.write_lock::<Map>())
    {
        metadata.insert("managedFields".into(), to_dynamic(&value["metadata"]["managedFields"]));
    }
    fields.into()
}

fn manifests(call: &Call<'_>) -> Result<Vec<Manifest>, Diagnostic> {
    let value = call.json_revealing("manifest")?;
    Ok(manifest::from_value(value)?)
}

fn apply_options(call: &Call<'_>) -> Result<ApplyOptions, Diagnostic> {
    let default = ApplyOptions::default();
    let validation = match call.string("validation").to_lowercase().as_str() {
        "" | "strict" => Validation::Strict,
        "warn" => Validation::Warn,
        "ignore" => Validation::Ignore,
        other => {
            return Err(Diagnostic::new(
                ErrorKind::Argument,
                format!("`{other}` is not a validation"),
            )
            .hint("write `strict`, `warn` or `ignore`"));
        }
    };
    Ok(ApplyOptions {
        field_manager: call.opt_string("field_manager").unwrap_or(default.field_manager.clone()),
        namespace: namespace(call),
        validation,
        timeout: call.duration("timeout").unwrap_or(default.timeout),
        ..default
    })
}

fn apply_all(call: &Call<'_>, manifests: Vec<Manifest>) -> Answer {
    let options = apply_options(call)?;
    let cluster = cluster(call)?;
    let applied = call.block_on(applying::apply(cluster, manifests, &options))?;
    let summary = |applied: &Applied| {
        let reference = &applied.reference;
        to_dynamic(&json!({
            "kind": reference.kind,
            "namespace": reference.namespace.clone().unwrap_or_default(),
            "name": reference.name,
            "change": applied.change.name(),
        }))
    };
    Ok(applied.iter().map(summary).collect::<Array>().into())
}

pub(super) fn apply(call: &Call<'_>) -> Answer {
    apply_all(call, manifests(call)?)
}

pub(super) fn apply_file(call: &Call<'_>) -> Answer {
    let path = call.string("path");
    if let Some(name) = path.strip_prefix(builtin::PREFIX) {
        let cluster = cluster(call)?;
        if !cluster.info().rehearsal {
            return Err(Diagnostic::new(
                ErrorKind::Denied,
                format!("`{path}` is a stand-in for rehearsals, not for a real cluster"),
            )
            .hint("name a file with the real manifest"));
        }
        let text = builtin::manifest(name).ok_or_else(|| {
            Diagnostic::new(ErrorKind::NotFound, format!("there is no stand-in `{path}`"))
        })?;
        cluster.progress().info(&format!("uses the stand-in `{path}`"));
        return apply_all(call, parse(text, &path)?);
    }
    let real = call.host.files.readable(&path)?;
    let mut files = vec![real.clone()];
    if real.is_dir() {
        files = std::fs::read_dir(&real)
            .map_err(|error| io_error("read", &path, &error))?
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| {
                let extension = path.extension().and_then(|extension| extension.to_str());
                matches!(extension, Some("yaml" | "yml" | "json"))
            })
            .collect();
        files.sort();
    }
    let mut all = Vec::new();
    for file in files {
        let shown = if file == real { path.clone() } else { file.display().to_string() };
        let text =
            std::fs::read_to_string(&file).map_err(|error| io_error("read", &shown, &error))?;
        all.extend(parse(&text, &shown)?);
    }
    apply_all(call, all)
}

/// A manifest of a file; its errors name the file.
fn parse(text: &str, path: &str) -> Result<Vec<Manifest>, Diagnostic> {
    manifest::parse(text).map_err(|error| {
        let line = match &error {
            Error::InvalidManifest { line, .. } => *line,
            _ => 0,
        };
        let mut diagnostic = Diagnostic::from(error);
        diagnostic.message = format!("`{path}`: {}", diagnostic.message);
        if line > 0 {
            diagnostic.at = Some(Position { file: path.into(), line, column: 0 });
        }
        diagnostic
    })
}

pub(super) fn apply_url(call: &Call<'_>) -> Answer {
    let (url, wanted) = (call.string("url"), call.string("sha256").to_lowercase());
    if !url.starts_with("https://") {
        return Err(Diagnostic::new(
            ErrorKind::Argument,
            format!("`{url}` is not an https address"),
        ));
    }
    let client = Client { dialer: Arc::new(TcpDialer), clock: call.host.clock()? };
    let failed = |error: HttpError| {
        Diagnostic::new(ErrorKind::Unreachable, format!("cannot download `{url}`"))
            .cause(error.to_string())
    };
    let mut request = Request::new(http::Method::GET, url.parse().map_err(failed)?);
    request.redirects = 5;
    request.proxies = call.proxies();
    let download = async { client.send(&request).await.map_err(failed) };
    let response = call.block_on(download)?;
    if !response.status.is_success() {
        return Err(Diagnostic::new(
            ErrorKind::Unreachable,
            format!("`{url}` answered {}", response.status),
        ));
    }
    let found = hex::encode(Sha256::digest(&response.body));
    if found != wanted {
        return Err(Diagnostic::new(ErrorKind::Invalid, format!("`{url}` has another digest"))
            .cause(format!("expected sha256 {wanted}, found {found}"))
            .hint("look at what changed before you trust it"));
    }
    let text = String::from_utf8_lossy(&response.body).into_owned();
    apply_all(call, parse(&text, &url)?)
}

pub(super) fn get(call: &Call<'_>) -> Answer {
    let (kind, name, namespace) = (call.string("kind"), call.string("name"), namespace(call));
    let cluster = cluster(call)?;
    let found = call.block_on(read::require(cluster, &kind, &name, namespace.as_deref()))?;
    Ok(shown(call, &found))
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let options = ListOptions {
        scope: scope(call),
        labels: call.string("selector"),
        fields: call.string("fields"),
    };
    let (cluster, kind) = (cluster(call)?, call.string("kind"));
    let found = call.block_on(read::list(cluster, &kind, &options))?;
    Ok(found.iter().map(|value| shown(call, value)).collect::<Array>().into())
}

pub(super) fn exists(call: &Call<'_>) -> Answer {
    let (kind, name, namespace) = (call.string("kind"), call.string("name"), namespace(call));
    let cluster = cluster(call)?;
    Ok(call.block_on(read::exists(cluster, &kind, &name, namespace.as_deref()))?.into())
}

pub(super) fn create(call: &Call<'_>) -> Answer {
    let manifests = manifests(call)?;
    let (cluster, namespace) = (cluster(call)?, namespace(call));
    let mut created = Vec::new();
    for manifest in manifests {
        let create = write::create(cluster, manifest.object, namespace.as_deref(), FIELD_MANAGER);
        created.push(call.block_on(create)?);
    }
    Ok(match created.as_slice() {
        [one] => object(one),
        several => objects(several),
    })
}

pub(super) fn patch(call: &Call<'_>) -> Answer {
    let (kind, name, namespace) = (call.string("kind"), call.string("name"), namespace(call));
    let patch = call.json_revealing("patch")?;
    let default = PatchOptions::default();
    let options = PatchOptions {
        kind: match call.opt_string("type") {
            None if patch.is_array() => PatchKind::Json,
            named => PatchKind::parse(&named.unwrap_or_default())?,
        },
        field_manager: call.opt_string("field_manager").unwrap_or(default.field_manager.clone()),
        subresource: call.string("subresource"),
        ..default
    };
    let cluster = cluster(call)?;
    let patched = write::patch(cluster, &kind, &name, namespace.as_deref(), &patch, &options);
    let patched = call.block_on(patched)?;
    let mut result = Map::new();
    result.insert("change".into(), patched.change.name().into());
    result.insert("object".into(), object(&patched.object));
    Ok(result.into())
}

fn delete_options(call: &Call<'_>) -> Result<DeleteOptions, Diagnostic> {
    let default = DeleteOptions::default();
    Ok(DeleteOptions {
        propagation: Propagation::parse(&call.string("propagation"))?,
        grace_period: call.int("grace_period"),
        wait: call.opt_bool("wait").unwrap_or(true),
        timeout: call.duration("timeout").unwrap_or(default.timeout),
    })
}

pub(super) fn delete(call: &Call<'_>) -> Answer {
    let (kind, name, namespace) = (call.string("kind"), call.string("name"), namespace(call));
    let options = delete_options(call)?;
    let cluster = cluster(call)?;
    let deleted = deleting::delete(cluster, &kind, &name, namespace.as_deref(), &options);
    Ok(call.block_on(deleted)?.into())
}

pub(super) fn delete_objects(call: &Call<'_>) -> Answer {
    let mut manifests = manifests(call)?;
    if let Some(namespace) = namespace(call) {
        for manifest in &mut manifests {
            let own = &manifest.object["metadata"]["namespace"];
            if manifest.object["metadata"].is_object() && own.is_null() {
                manifest.object["metadata"]["namespace"] = namespace.clone().into();
            }
        }
    }
    let options = delete_options(call)?;
    let cluster = cluster(call)?;
    let deleted = call.block_on(deleting::delete_manifests(cluster, manifests, &options))?;
    Ok(Dynamic::from_int(i64::try_from(deleted).unwrap_or(i64::MAX)))
}

fn set_metadata(call: &Call<'_>, field: MetadataField, values: &Value) -> Answer {
    let (kind, name, namespace) = (call.string("kind"), call.string("name"), namespace(call));
    let cluster = cluster(call)?;
    let namespace = namespace.as_deref();
    let set = write::set_metadata(cluster, &kind, &name, namespace, field, values);
    Ok(call.block_on(set)?.change.name().into())
}

pub(super) fn label(call: &Call<'_>) -> Answer {
    set_metadata(call, MetadataField::Labels, &call.json("labels")?)
}

pub(super) fn annotate(call: &Call<'_>) -> Answer {
    set_metadata(call, MetadataField::Annotations, &call.json("annotations")?)
}

/// The one goal that the options name.
fn goal(call: &Call<'_>) -> Result<Goal, Diagnostic> {
    let mut goals = Vec::new();
    if let Some(condition) = call.opt_string("condition") {
        goals.push(Goal::parse_condition(&condition));
    }
    if let Some(path) = call.opt_string("jsonpath") {
        let value = call.value("value").map(ToString::to_string);
        goals.push(Goal::JsonPath { path: JsonPath::parse(&path).map_err(Error::from)?, value });
    }
    let flags = [
        ("rollout", Goal::Rollout),
        ("ready", Goal::Ready { jobs: true }),
        ("exists", Goal::Exists),
        ("deleted", Goal::Deleted { uid: String::new() }),
    ];
    goals.extend(flags.into_iter().filter(|(name, _)| call.flag(name)).map(|(_, goal)| goal));
    if goals.len() == 1
        && let Some(goal) = goals.pop()
    {
        return Ok(goal);
    }
    Err(Diagnostic::new(
        ErrorKind::Argument,
        if goals.is_empty() {
            "`k8s::wait` does not say what to wait for"
        } else {
            "`k8s::wait` waits for one thing at a time"
        },
    )
    .hint(
        "give one of the options `condition`, `jsonpath`, `rollout`, `ready`, `exists`, `deleted`",
    ))
}

pub(super) fn wait(call: &Call<'_>) -> Answer {
    let goal = goal(call)?;
    let names = call.strings("name");
    let several = call.value("name").is_some_and(Dynamic::is_array);
    let cluster = cluster(call)?;
    let (kind, namespace) = (call.string("kind"), namespace(call));
    let default = WaitOptions::default();
    let options = WaitOptions { timeout: call.duration("timeout").unwrap_or(default.timeout) };
    let work = async {
        let resource = cluster.resolve(&kind).await?;
        let namespace = namespace.unwrap_or_else(|| cluster.namespace().to_owned());
        let wanted = names
            .into_iter()
            .map(|name| Wanted {
                resource: resource.clone(),
                namespace: resource.namespaced.then(|| namespace.clone()),
                name,
                goal: goal.clone(),
            })
            .collect();
        waiting::wait(cluster, wanted, &options).await
    };
    let found = call.block_on(work)?;
    Ok(match found.as_slice() {
        [one] if !several => object(one),
        found => objects(found),
    })
}

pub(super) fn diff(call: &Call<'_>) -> Answer {
    let manifests = manifests(call)?;
    let options = apply_options(call)?;
    let cluster = cluster(call)?;
    let found = call.block_on(differing::diff(cluster, manifests, &options))?;
    let summary = |diff: &differing::ObjectDiff| {
        let fields: Vec<Value> = diff
            .fields
            .iter()
            .map(|field| json!({"path": field.path, "before": field.before, "after": field.after}))
            .collect();
        to_dynamic(&json!({
            "kind": diff.reference.kind,
            "namespace": diff.reference.namespace.clone().unwrap_or_default(),
            "name": diff.reference.name,
            "change": diff.change.name(),
            "fields": fields,
        }))
    };
    Ok(found.iter().map(summary).collect::<Array>().into())
}

pub(super) fn logs(call: &Call<'_>) -> Answer {
    let options = LogOptions {
        container: call.string("container"),
        tail: call.int("tail"),
        since: call.duration("since"),
        previous: call.flag("previous"),
        follow: call.duration("follow"),
        until: call.string("until"),
        timestamps: call.flag("timestamps"),
    };
    let (cluster, target, namespace) = (cluster(call)?, call.string("target"), namespace(call));
    Ok(call.block_on(reading::logs(cluster, &target, namespace.as_deref(), &options))?.into())
}

pub(super) fn exec(call: &Call<'_>) -> Answer {
    let default = ExecOptions::default();
    let options = ExecOptions {
        container: call.string("container"),
        stdin: call.opt_string("stdin"),
        timeout: call.duration("timeout").unwrap_or(default.timeout),
    };
    let (target, namespace, command) =
        (call.string("target"), namespace(call), call.strings("command"));
    let cluster = cluster(call)?;
    let work = executing::exec(cluster, &target, namespace.as_deref(), &command, &options);
    let output = call.block_on(work)?;
    if output.code != 0 && call.opt_bool("check").unwrap_or(true) {
        let failed = Error::CommandFailed { pod: target, code: output.code, stderr: output.stderr };
        return Err(failed.into());
    }
    Ok(to_dynamic(&json!({
        "stdout": output.stdout, "stderr": output.stderr, "code": output.code,
    })))
}

pub(super) fn port_forward(call: &Call<'_>) -> Answer {
    let port = |name: &str| {
        let number = call.int(name).unwrap_or(0);
        u16::try_from(number).map_err(|_| {
            Diagnostic::new(ErrorKind::Argument, format!("`{name}` cannot be {number}"))
                .hint("a port is a number from 1 to 65535")
        })
    };
    let (port, local_port) = (port("port")?, port("local_port")?);
    let (target, namespace) = (call.string("target"), namespace(call));
    let cluster = cluster(call)?;
    let listening = call.block_on(async {
        let forward = forwarding::forward(cluster, &target, namespace.as_deref(), port).await?;
        forward.listen(local_port).await
    })?;
    let forward = listening.forward;
    let mut result = Map::new();
    result.insert("namespace".into(), forward.namespace.clone().into());
    result.insert("pod".into(), forward.pod.clone().into());
    result.insert("port".into(), i64::from(forward.port).into());
    result.insert("local_port".into(), i64::from(listening.local_port).into());
    result.insert("address".into(), format!("127.0.0.1:{}", listening.local_port).into());
    let dialer: SharedDialer = Arc::new(forward);
    result.insert("dialer".into(), Dynamic::from(dialer));
    Ok(result.into())
}

pub(super) fn events(call: &Call<'_>) -> Answer {
    let options = EventOptions {
        scope: scope(call),
        kind: call.string("kind"),
        name: call.string("name"),
        warnings: call.flag("warnings"),
    };
    let cluster = cluster(call)?;
    Ok(to_dynamic(&Value::Array(call.block_on(telling::events(cluster, &options))?)))
}

pub(super) fn scale(call: &Call<'_>) -> Answer {
    let (kind, name, namespace) = (call.string("kind"), call.string("name"), namespace(call));
    let replicas = call.int("replicas").unwrap_or(0);
    let cluster = cluster(call)?;
    let scaled = write::scale(cluster, &kind, &name, namespace.as_deref(), replicas);
    Ok(call.block_on(scaled)?.change.name().into())
}

pub(super) fn restart(call: &Call<'_>) -> Answer {
    let (kind, name, namespace) = (call.string("kind"), call.string("name"), namespace(call));
    let cluster = cluster(call)?;
    let restarted = write::restart(cluster, &kind, &name, namespace.as_deref());
    Ok(call.block_on(restarted)?.change.name().into())
}

pub(super) fn can_i(call: &Call<'_>) -> Answer {
    let cluster = cluster(call)?;
    let scope = if call.flag("all_namespaces") {
        None
    } else {
        Some(namespace(call).unwrap_or_else(|| cluster.namespace().to_owned()))
    };
    let access = Access {
        verb: call.string("verb"),
        kind: call.string("kind"),
        name: call.string("name"),
        namespace: scope,
    };
    Ok(call.block_on(access::can_i(cluster, &access))?.into())
}

pub(super) fn resources(call: &Call<'_>) -> Answer {
    let cluster = cluster(call)?;
    let resources = call.block_on(cluster.resources())?;
    let rows = resources.iter().map(|resource| {
        to_dynamic(&json!({
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
            "plural": resource.plural,
            "short_names": resource.short_names,
            "namespaced": resource.namespaced,
            "verbs": resource.verbs,
        }))
    });
    Ok(rows.collect::<Array>().into())
}

pub(super) fn version(call: &Call<'_>) -> Answer {
    let cluster = cluster(call)?;
    let version = call.block_on(access::version(cluster))?;
    // Some providers write the minor version as `31+`.
    let number = |name: &str| {
        let text = version[name].as_str().unwrap_or_default();
        text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<i64>().unwrap_or(0)
    };
    Ok(to_dynamic(&json!({
        "git_version": version["gitVersion"],
        "major": number("major"),
        "minor": number("minor"),
        "platform": version["platform"],
    })))
}

pub(super) fn context(call: &Call<'_>) -> Answer {
    let cluster = cluster(call)?;
    let info = cluster.info();
    Ok(to_dynamic(&json!({
        "context": info.context,
        "server": info.server,
        "version": info.version,
        "user": info.user,
        "namespace": cluster.namespace(),
        "rehearsal": info.rehearsal,
    })))
}

pub(super) fn jsonpath(call: &Call<'_>) -> Answer {
    let path = JsonPath::parse(&call.string("path")).map_err(Error::from)?;
    Ok(match path.find(&call.json("value")?) {
        Found::One(found) => found.as_ref().map(to_dynamic).unwrap_or_default(),
        Found::Many(found) => to_dynamic(&Value::Array(found)),
        Found::Text(text) => text.into(),
    })
}
