//! What the rows of `helm` run: reads the arguments, calls the domain, converts the result.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rhai::{Array, Dynamic};
use serde_json::{Map, Value, json};

use crate::base::clock::{Clock as _, SystemClock};
use crate::base::diagnostic::{Diagnostic, ErrorKind, Position};
use crate::base::net::TcpDialer;
use crate::base::progress::Change;
use crate::base::secret::Secret;
use crate::base::suggest;
use crate::base::yaml;
use crate::engine::builtin;
use crate::engine::call::Call;
use crate::engine::convert::{to_dynamic, to_json};
use crate::engine::files;
use crate::helm::action::{
    self, ConvergeOptions, Crds, Reuse, RollbackOptions, TestOptions, UninstallOptions,
};
use crate::helm::chart::{Chart, File};
use crate::helm::explain::{self, ExplainError, Given};
use crate::helm::provenance::{self, Keyring, PgpError, ProvenanceError, Signed};
use crate::helm::release::{self, Release};
use crate::helm::remote::{self, Credentials, Remote};
use crate::helm::render::{self, Capabilities, ReleaseFacts, RenderOptions};
use crate::helm::template::Environment;
use crate::helm::values::set::{Reading, set};
use crate::helm::{registry, repo, source, values as helm_values};
use crate::http::Client;
use crate::http::tls::Trust;
use crate::k8s::read::Scope;

type Answer = Result<Dynamic, Diagnostic>;

/// For one request while a chart is fetched.
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(300);

fn namespace(call: &Call<'_>) -> Result<String, Diagnostic> {
    match call.opt_string("namespace").filter(|namespace| !namespace.is_empty()) {
        Some(namespace) => Ok(namespace),
        None => Ok(call.host.cluster()?.namespace().to_owned()),
    }
}

/// The chart that the argument names.
fn load(call: &Call<'_>) -> Result<Chart, Diagnostic> {
    Ok(load_signed(call)?.0)
}

/// The chart that the argument names, and who signed it where the option `verify` asks.
fn load_signed(call: &Call<'_>) -> Result<(Chart, Option<Signed>), Diagnostic> {
    let name = call.string("chart");
    let keyring = keyring(call)?;
    if let Some(stand_in) = name.strip_prefix(builtin::PREFIX) {
        if keyring.is_some() {
            return Err(Diagnostic::new(
                ErrorKind::Invalid,
                format!("the stand-in chart `{stand_in}` is signed by nobody"),
            )
            .hint("name a packed chart, or leave the option `verify` out"));
        }
        return Ok((load_builtin(call, stand_in)?, None));
    }
    let version = call.string("version");
    let repository = call.string("repo");
    if !repository.is_empty() || is_remote(&name) {
        let remote =
            Remote { provenance: keyring.is_some(), ..remote(call, call.flag("plain_http"))? };
        let digest = call.string("digest");
        let archive = call.block_on(async {
            if !repository.is_empty() {
                repo::pull(&remote, &repository, &name, &version).await
            } else if name.starts_with(registry::SCHEME) {
                registry::pull(&remote, &name, &version).await
            } else {
                remote::fetch(&remote, &name, &digest).await
            }
        })?;
        let signed = match (&keyring, &archive.provenance) {
            (Some(keyring), Some(provenance)) => {
                let signed = verify(keyring, &archive.data, provenance, &archive.file);
                Some(signed.map_err(|error| error.cause(format!("of `{}`", archive.from)))?)
            }
            _ => None,
        };
        return Ok((archive.chart(&digest)?, signed));
    }
    let readable = call.host.files.readable(&name);
    let exists = readable.as_ref().is_ok_and(|path| path.exists());
    let mut path = readable;
    if !exists && let Some((folder, chart)) = name.rsplit_once('/') {
        let folder = call.host.files.readable(folder)?;
        if folder.is_dir() {
            path = Ok(source::find(&folder, chart, &version)?);
        }
    }
    let path = path?;
    let signed = match &keyring {
        Some(keyring) => {
            let (data, provenance) = source::with_provenance(&path)?;
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            Some(verify(keyring, &data, &provenance, &file)?)
        }
        None => None,
    };
    Ok((checked(call, &path)?, signed))
}

/// The keys that the options name, where a chart is to be verified.
fn keyring(call: &Call<'_>) -> Result<Option<Keyring>, Diagnostic> {
    let named = call.opt_string("keyring").filter(|path| !path.is_empty());
    if !call.flag("verify") {
        return match named {
            None => Ok(None),
            Some(_) => {
                Err(Diagnostic::new(ErrorKind::Argument, "option `keyring` needs `verify: true`"))
            }
        };
    }
    let path = match named {
        Some(name) => call.host.files.readable(&name)?,
        // As with a kubeconfig, the user's own place needs no grant.
        None => call.host.settings.environment.keyring().unwrap_or_default(),
    };
    let shown = path.display().to_string();
    let failed = |reason: String, kind: ErrorKind| {
        Diagnostic::new(kind, format!("failed to load keyring `{shown}`: {reason}")).hint(
            "name a file of the trusted public keys with `keyring`, such as `gpg --export` writes",
        )
    };
    let data =
        std::fs::read(&path).map_err(|error| failed(error.to_string(), ErrorKind::NotFound))?;
    let keyring =
        Keyring::read(&data).map_err(|error| failed(error.to_string(), ErrorKind::Invalid))?;
    Ok(Some(keyring))
}

fn verify(
    keyring: &Keyring,
    archive: &[u8],
    provenance: &[u8],
    file: &str,
) -> Result<Signed, Diagnostic> {
    // Of the real world, as the download: a rehearsal's clock may stand elsewhere.
    let now = SystemClock::new().now().as_second();
    provenance::verify(archive, provenance, file, keyring, now).map_err(|error| {
        let hint = match &error {
            ProvenanceError::NotSigned => "a `.prov` is a clear-signed OpenPGP message, as `helm package --sign` writes it",
            ProvenanceError::OpenPgp(PgpError::UnknownIssuer) => {
                "the signer's public key is not in `keyring`; if you trust it, add it there"
            }
            ProvenanceError::OpenPgp(PgpError::KeyExpired | PgpError::KeyRevoked) => {
                "ask the publisher for a chart that is signed by a key that holds"
            }
            _ => "do not use it before you know who changed it; get chart and `.prov` again from their publisher",
        };
        Diagnostic::new(ErrorKind::Invalid, format!("chart `{file}` cannot be verified: {error}"))
            .cause("nothing of it was used")
            .hint(hint)
    })
}

fn is_remote(name: &str) -> bool {
    [registry::SCHEME, "https://", "http://"].iter().any(|scheme| name.starts_with(scheme))
}

/// How charts are fetched: from the real network on the real clock, in a rehearsal too, for a chart is an input of it.
fn remote(call: &Call<'_>, plain_http: bool) -> Result<Remote, Diagnostic> {
    let username = call.string("username");
    let credentials = match call.value("password") {
        None if username.is_empty() => None,
        None => {
            return Err(Diagnostic::new(
                ErrorKind::Argument,
                "option `username` needs a `password`",
            ));
        }
        Some(value) => {
            let password = match value.clone().try_cast::<Secret>() {
                Some(secret) => secret,
                None => Secret::new(value.to_string()),
            };
            call.host.redactor.learn(password.reveal());
            Some(Credentials { username, password })
        }
    };
    Ok(Remote {
        client: Client { dialer: Arc::new(TcpDialer), clock: Arc::new(SystemClock::new()) },
        trust: match call.value("ca") {
            Some(value) => Trust::Only(crate::engine::api::cert::trusted(call, value, "ca")?),
            None => Trust::System,
        },
        proxies: call.proxies(),
        credentials,
        plain_http,
        timeout: FETCH_TIMEOUT,
        cache: call.host.settings.environment.cache_folder(),
        provenance: false,
    })
}

/// Loads a chart whose digest is as the option `digest` says.
fn checked(call: &Call<'_>, path: &Path) -> Result<Chart, Diagnostic> {
    Ok(match call.opt_string("digest").filter(|digest| !digest.is_empty()) {
        Some(digest) => source::load_checked(path, &digest)?,
        None => source::load(path)?,
    })
}

fn load_builtin(call: &Call<'_>, name: &str) -> Result<Chart, Diagnostic> {
    if call.function.name != "template" && call.function.name != "chart" {
        let info = call.host.cluster()?.info();
        if !info.rehearsal {
            return Err(Diagnostic::new(
                ErrorKind::Invalid,
                format!("the stand-in chart `{name}` is for rehearsals only"),
            )
            .hint("name a folder of charts, such as `--set charts=charts`"));
        }
    }
    let Some(files) = builtin::chart(name) else {
        let names = builtin::names();
        let near = suggest::near(name, names.iter().map(String::as_str));
        let missing =
            Diagnostic::new(ErrorKind::NotFound, format!("there is no stand-in chart `{name}`"));
        return Err(match near {
            Some(near) => missing.hint(format!("did you mean `builtin:{near}`?")),
            None => missing,
        });
    };
    let files = files.into_iter().map(|(name, data)| File::new(name, data)).collect();
    Chart::from_files(files)
        .map_err(|error| Diagnostic::new(ErrorKind::Bug, format!("stand-in `{name}`: {error}")))
}

/// An error of a chart's template shows its lines.
fn showing(call: &Call<'_>, chart: &Chart, error: Diagnostic) -> Diagnostic {
    let name = error.at.as_ref().map(|at| at.file.to_string_lossy().into_owned());
    if let Some(name) = name
        && let Some(text) = chart.template_text(&name)
    {
        call.host.scripts.remember(&name, &text);
    }
    error
}

/// Files of values, then the option `values`, then the settings in Helm's order. Numbers of files and of `values` are floats,
/// as Helm reads them.
fn given_values(call: &Call<'_>) -> Result<Map<String, Value>, Diagnostic> {
    let mut values = Map::new();
    for_each_layer(call, |layer| layer.lay(call, &mut values))?;
    Ok(values)
}

/// One source of values.
enum Layer<'t> {
    Map { name: String, values: Map<String, Value> },
    Setting { option: &'t str, reading: Reading, text: &'t str },
}

impl Layer<'_> {
    fn lay(&self, call: &Call<'_>, over: &mut Map<String, Value>) -> Result<(), Diagnostic> {
        match self {
            Self::Map { values, .. } => helm_values::merge_into(over, values.clone()),
            Self::Setting { option, reading, text } => {
                let read =
                    |name: &str| read_text(call, name).map_err(|error| error.message.clone());
                set(over, *reading, text, &read).map_err(|error| {
                    Diagnostic::new(ErrorKind::Argument, format!("option `{option}`: {error}"))
                        .cause(format!("the text is `{text}`"))
                })?;
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        match self {
            Self::Map { name, .. } => name.clone(),
            Self::Setting { option, text, .. } => {
                let key = text.split_once('=').map_or(*text, |(key, _)| key);
                format!("`{option}` of `{key}`")
            }
        }
    }
}

fn for_each_layer(
    call: &Call<'_>,
    mut each: impl FnMut(Layer<'_>) -> Result<(), Diagnostic>,
) -> Result<(), Diagnostic> {
    for name in call.strings("values_files") {
        let text = read_text(call, &name)?;
        match yaml::parse(&text) {
            Ok(Value::Object(mut map)) => {
                helm_values::to_floats_in(&mut map);
                each(Layer::Map { name: format!("values file `{name}`"), values: map })?;
            }
            Ok(Value::Null) => {}
            Ok(_) => {
                let message = format!("values file `{name}` holds no map");
                return Err(Diagnostic::new(ErrorKind::Invalid, message));
            }
            Err(error) => {
                let message = format!("values file `{name}`: {}", error.message);
                let place =
                    Position { file: name.as_str().into(), line: error.line, column: error.column };
                return Err(Diagnostic::new(ErrorKind::Invalid, message).at(place));
            }
        }
    }
    if let Value::Object(mut values) = call.json_revealing("values")? {
        helm_values::to_floats_in(&mut values);
        each(Layer::Map { name: "`values`".to_owned(), values })?;
    }
    for (option, reading) in [
        ("set_json", Reading::Json),
        ("set", Reading::Typed),
        ("set_string", Reading::Text),
        ("set_file", Reading::File),
        ("set_literal", Reading::Literal),
    ] {
        for text in call.strings(option) {
            each(Layer::Setting { option, reading, text: &text })?;
        }
    }
    Ok(())
}

fn read_text(call: &Call<'_>, name: &str) -> Result<String, Diagnostic> {
    let path = call.host.files.readable(name)?;
    std::fs::read_to_string(&path).map_err(|error| files::io_error("read", name, &error))
}

fn converge_options(call: &Call<'_>) -> Result<ConvergeOptions, Diagnostic> {
    let crds = match call.string("crds").as_str() {
        "" | "install" => Crds::Install,
        "upgrade" => Crds::Upgrade,
        "skip" => Crds::Skip,
        other => {
            return Err(Diagnostic::new(
                ErrorKind::Argument,
                format!("`{other}` is not a way to treat `crds/`"),
            )
            .hint("write `install`, `upgrade` or `skip`"));
        }
    };
    let reuse: Vec<(&str, Reuse)> = [
        ("reset_values", Reuse::Reset),
        ("reuse_values", Reuse::Values),
        ("reset_then_reuse_values", Reuse::ResetThenReuse),
    ]
    .into_iter()
    .filter(|(option, _)| call.flag(option))
    .collect();
    if let [(first, _), (second, _), ..] = reuse[..] {
        return Err(Diagnostic::new(
            ErrorKind::Argument,
            format!("options `{first}` and `{second}` exclude each other"),
        ));
    }
    let by_default =
        if call.function.name == "upgrade" { Reuse::WhenNoneGiven } else { Reuse::Reset };
    let labels = match call.json("labels")? {
        Value::Object(labels) => labels,
        _ => Map::new(),
    };
    Ok(ConvergeOptions {
        values: given_values(call)?,
        reuse: reuse.first().map_or(by_default, |(_, reuse)| *reuse),
        create_namespace: call.flag("create_namespace"),
        wait: call.flag("wait"),
        wait_for_jobs: call.flag("wait_for_jobs"),
        crds,
        skip_unchanged: call.opt_bool("skip_unchanged").unwrap_or(true),
        take_ownership: call.flag("take_ownership"),
        skip_schema_validation: call.flag("skip_schema_validation"),
        rollback_on_failure: call.flag("rollback_on_failure"),
        cleanup_on_failure: call.flag("cleanup_on_failure"),
        no_hooks: call.flag("no_hooks"),
        description: call.string("description"),
        labels,
        history_max: history_max(call)?,
        ..ConvergeOptions::new(&namespace(call)?, call.duration("timeout").unwrap_or(TIMEOUT))
    })
}

fn history_max(call: &Call<'_>) -> Result<usize, Diagnostic> {
    match call.int("history_max") {
        None => Ok(action::MAX_HISTORY),
        Some(n) => usize::try_from(n).map_err(|_| {
            Diagnostic::new(ErrorKind::Argument, format!("option `history_max`: {n} is negative"))
                .hint("write how many revisions are kept, 0 for all")
        }),
    }
}

fn facts(release: &Release) -> Value {
    json!({
        "name": release.name(),
        "namespace": release.namespace(),
        "revision": release.revision(),
        "status": release.status(),
        "chart": format!("{}-{}", release.chart_name(), release.chart_version()),
        "app_version": release.app_version(),
        "updated": release.updated(),
        "description": release.description(),
    })
}

fn told(release: &Release, change: Change) -> Dynamic {
    let mut facts = facts(release);
    facts["change"] = Value::from(change.name());
    facts["notes"] = Value::from(release.notes());
    to_dynamic(&facts)
}

fn all(releases: &[Release]) -> Dynamic {
    releases.iter().map(|release| to_dynamic(&facts(release))).collect::<Array>().into()
}

pub(super) fn template(call: &Call<'_>) -> Answer {
    let chart = load(call)?;
    let mut capabilities = Capabilities::default();
    if let Some(version) = call.opt_string("kube_version") {
        capabilities.kube_version = version;
    }
    capabilities.api_versions.extend(call.strings("api_versions"));
    let release = ReleaseFacts {
        name: call.string("name"),
        namespace: call.opt_string("namespace").unwrap_or_else(|| "default".to_owned()),
        revision: 1,
        is_upgrade: call.flag("is_upgrade"),
    };
    let options = RenderOptions {
        capabilities,
        skip_schema_validation: call.flag("skip_schema_validation"),
        subchart_notes: false,
        ..RenderOptions::default()
    };
    let now = call.host.now();
    let environment =
        Environment { now: Some(now), random: Some(&action::random), ..Environment::default() };
    let rendered = render::render(&chart, &given_values(call)?, &release, &options, &environment)
        .map_err(|error| showing(call, &chart, error.into()))?;
    Ok(rendered.template_output(call.flag("include_crds")).into())
}

pub(super) fn install(call: &Call<'_>) -> Answer {
    let chart = load(call)?;
    let options = converge_options(call)?;
    let cluster = call.host.cluster()?;
    let name = call.string("name");
    let mut plan = call
        .block_on(action::plan(cluster, &name, &chart, &options))
        .map_err(|error| showing(call, &chart, error))?;
    post_render(call, &mut plan)?;
    let done = call.block_on(action::converge(cluster, plan, &options))?;
    Ok(told(&done.release, done.change))
}

/// Hands the objects of a plan to the closure of the option `post_render`.
fn post_render(call: &Call<'_>, plan: &mut action::Plan) -> Result<(), Diagnostic> {
    let Some(closure) = call.closure("post_render") else { return Ok(()) };
    plan.post_render(&|objects| {
        let given: Array = objects.iter().map(to_dynamic).collect();
        let returned = call.call_closure(&closure, vec![given.into()])?;
        match to_json(&returned, "post_render")? {
            Value::Array(objects) => Ok(objects),
            _ => Err(Diagnostic::new(
                ErrorKind::Argument,
                "the closure `post_render` does not return an array of objects",
            )
            .hint("end it with the array: `|objects| { …; objects }`")),
        }
    })
}

pub(super) fn upgrade(call: &Call<'_>) -> Answer {
    require(call)?;
    install(call)
}

/// The history of the release, which must exist.
fn require(call: &Call<'_>) -> Result<Vec<Release>, Diagnostic> {
    let (name, namespace) = (call.string("name"), namespace(call)?);
    let cluster = call.host.cluster()?;
    let history = call.block_on(release::history(cluster, &name, &namespace))?;
    if history.is_empty() {
        return Err(Diagnostic::new(
            ErrorKind::NotFound,
            format!("release `{name}` does not exist in namespace `{namespace}`"),
        )
        .hint("`helm::list(#{ all_namespaces: true })` tells which releases there are"));
    }
    Ok(history)
}

/// The revision that the option names, else the newest.
fn pick(call: &Call<'_>, history: Vec<Release>) -> Option<Release> {
    match call.int("revision") {
        Some(wanted) => history.into_iter().find(|release| release.revision() == wanted),
        None => history.into_iter().last(),
    }
}

fn required(call: &Call<'_>) -> Result<Release, Diagnostic> {
    pick(call, require(call)?).ok_or_else(|| {
        let (name, revision) = (call.string("name"), call.int("revision").unwrap_or(0));
        Diagnostic::new(ErrorKind::NotFound, format!("release `{name}` has no revision {revision}"))
    })
}

pub(super) fn rollback(call: &Call<'_>) -> Answer {
    let options = RollbackOptions {
        revision: call.int("revision").unwrap_or(0),
        wait: call.flag("wait"),
        wait_for_jobs: call.flag("wait_for_jobs"),
        no_hooks: call.flag("no_hooks"),
        cleanup_on_failure: call.flag("cleanup_on_failure"),
        history_max: history_max(call)?,
        ..RollbackOptions::new(&namespace(call)?, call.duration("timeout").unwrap_or(TIMEOUT))
    };
    let cluster = call.host.cluster()?;
    let name = call.string("name");
    let release = call.block_on(action::rollback(cluster, &name, &options))?;
    Ok(told(&release, Change::Configured))
}

pub(super) fn uninstall(call: &Call<'_>) -> Answer {
    let options = UninstallOptions {
        namespace: namespace(call)?,
        wait: call.flag("wait"),
        timeout: call.duration("timeout").unwrap_or(TIMEOUT),
        keep_history: call.flag("keep_history"),
        no_hooks: call.flag("no_hooks"),
        description: call.string("description"),
    };
    let cluster = call.host.cluster()?;
    let name = call.string("name");
    Ok(call.block_on(action::uninstall(cluster, &name, &options))?.into())
}

pub(super) fn repo(call: &Call<'_>) -> Answer {
    let remote = remote(call, false)?;
    let found = call.block_on(repo::index(&remote, &call.string("url")))?;
    Ok(found
        .iter()
        .map(|entry| {
            to_dynamic(&json!({
                "name": entry.name,
                "version": entry.version,
                "app_version": entry.app_version,
                "description": entry.description,
                "deprecated": entry.deprecated,
                "digest": entry.digest,
                "urls": entry.urls,
            }))
        })
        .collect::<Array>()
        .into())
}

pub(super) fn explain(call: &Call<'_>) -> Answer {
    let chart = load(call)?;
    let path = call.string("path");
    let (mut given, mut merged) = (Vec::new(), Map::new());
    for_each_layer(call, |layer| {
        layer.lay(call, &mut merged)?;
        let mut values = Map::new();
        layer.lay(call, &mut values)?;
        given.push(Given { layer: layer.name(), values });
        Ok(())
    })?;
    let environment = Environment {
        now: Some(call.host.now()),
        random: Some(&action::random),
        ..Environment::default()
    };
    let found = explain::explain(&chart, &given, &merged, &path, &environment).map_err(
        |error| match error {
            ExplainError::Path(_) => Diagnostic::new(ErrorKind::Argument, error.to_string()),
            ExplainError::Render(error) => error.into(),
        },
    )?;
    let layers: Vec<Value> =
        found.layers.iter().map(|said| json!({"layer": said.layer, "value": said.value})).collect();
    Ok(to_dynamic(&json!({
        "path": path,
        "value": found.value,
        "from": found.from,
        "layers": layers,
    })))
}

pub(super) fn test(call: &Call<'_>) -> Answer {
    let options = TestOptions {
        namespace: namespace(call)?,
        timeout: call.duration("timeout").unwrap_or(TIMEOUT),
        filter: call.strings("filter"),
        logs: call.flag("logs"),
    };
    let cluster = call.host.cluster()?;
    let runs = call.block_on(action::test(cluster, &call.string("name"), &options))?;
    Ok(runs
        .iter()
        .map(|run| to_dynamic(&json!({"name": run.name, "phase": run.phase, "log": run.log})))
        .collect::<Array>()
        .into())
}

pub(super) fn diff(call: &Call<'_>) -> Answer {
    let chart = load(call)?;
    let options = converge_options(call)?;
    let cluster = call.host.cluster()?;
    let mut plan = call
        .block_on(action::preview(cluster, &call.string("name"), &chart, &options))
        .map_err(|error| showing(call, &chart, error))?;
    post_render(call, &mut plan)?;
    let found = call.block_on(action::diff(cluster, &plan, &options))?;
    let object = |reference: &crate::base::object_ref::ObjectRef| {
        json!({
            "apiVersion": reference.api_version,
            "kind": reference.kind,
            "namespace": reference.namespace,
            "name": reference.name,
        })
    };
    let mut objects = Vec::new();
    for diff in &found.objects {
        let fields: Vec<Value> = diff
            .fields
            .iter()
            .map(|field| json!({"path": field.path, "live": field.before, "next": field.after}))
            .collect();
        let mut told = object(&diff.reference);
        told["change"] = Value::from(diff.change.name());
        told["fields"] = Value::Array(fields);
        objects.push(told);
    }
    for reference in &found.removed {
        let mut told = object(reference);
        told["change"] = Value::from(Change::Deleted.name());
        told["fields"] = json!([]);
        objects.push(told);
    }
    let hooks: Vec<Value> = found
        .hooks
        .iter()
        .map(|hook| {
            json!({
                "name": hook.name,
                "kind": hook.kind,
                "path": hook.path,
                "events": hook.events,
                "change": hook.change.name(),
                "manifest": hook.manifest,
            })
        })
        .collect();
    Ok(to_dynamic(&json!({
        "objects": objects,
        "manifest": found.manifest,
        "hooks": hooks,
        "lost": found.lost,
    })))
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let scope = if call.flag("all_namespaces") {
        Scope::AllNamespaces
    } else {
        Scope::Namespace(namespace(call)?)
    };
    let cluster = call.host.cluster()?;
    Ok(all(&call.block_on(release::newest(cluster, scope))?))
}

pub(super) fn status(call: &Call<'_>) -> Answer {
    let (name, namespace) = (call.string("name"), namespace(call)?);
    let cluster = call.host.cluster()?;
    let history = call.block_on(release::history(cluster, &name, &namespace))?;
    Ok(pick(call, history).map_or(Dynamic::UNIT, |release| {
        let mut facts = facts(&release);
        facts["notes"] = Value::from(release.notes());
        to_dynamic(&facts)
    }))
}

pub(super) fn history(call: &Call<'_>) -> Answer {
    let (name, namespace) = (call.string("name"), namespace(call)?);
    let cluster = call.host.cluster()?;
    Ok(all(&call.block_on(release::history(cluster, &name, &namespace))?))
}

pub(super) fn values(call: &Call<'_>) -> Answer {
    let release = required(call)?;
    let mut values = if call.flag("all") { release.defaults() } else { Map::new() };
    helm_values::merge_into(&mut values, release.config());
    Ok(to_dynamic(&Value::Object(values)))
}

pub(super) fn notes(call: &Call<'_>) -> Answer {
    Ok(required(call)?.notes().to_owned().into())
}

pub(super) fn hooks(call: &Call<'_>) -> Answer {
    let release = required(call)?;
    let hooks = release.json["hooks"].as_array().cloned().unwrap_or_default();
    Ok(hooks
        .iter()
        .map(|hook| {
            to_dynamic(&json!({
                "name": hook["name"],
                "kind": hook["kind"],
                "path": hook["path"],
                "events": hook["events"],
                "weight": hook["weight"].as_i64().unwrap_or(0),
                "phase": hook["last_run"]["phase"].as_str().unwrap_or_default(),
                "manifest": hook["manifest"],
            }))
        })
        .collect::<Array>()
        .into())
}

pub(super) fn manifest(call: &Call<'_>) -> Answer {
    Ok(required(call)?.manifest().to_owned().into())
}

pub(super) fn chart(call: &Call<'_>) -> Answer {
    let (chart, signed) = load_signed(call)?;
    let metadata = &chart.metadata;
    let files: Vec<&str> =
        chart.templates.iter().chain(&chart.files).map(|file| file.name.as_str()).collect();
    Ok(to_dynamic(&json!({
        "name": metadata.name,
        "version": metadata.version,
        "app_version": metadata.app_version,
        "description": metadata.description,
        "type": if metadata.chart_type.is_empty() { "application" } else { &metadata.chart_type },
        "values": chart.values,
        "files": files,
        "signed": signed.map(|signed| json!({
            "by": signed.by,
            "fingerprint": signed.fingerprint,
            "digest": signed.digest,
        })),
    })))
}
