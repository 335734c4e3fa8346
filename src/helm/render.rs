//! Chart and values to manifests, as `helm template` and `helm install` render them.

use std::rc::Rc;

use serde_json::{Map, Value as Json, json};

use super::chart::{Chart, ChartError, dependencies};
use super::known_versions::API_VERSIONS;
use super::manifest::{self, Hook, Manifest, ManifestError};
use super::semver::{Constraint, Version};
use super::template::object::{Capabilities as Seen, FileMap, KubeVersion as SeenVersion, Object};
use super::template::value::{Entries, MapKind, Value};
use super::template::work::Work;
use super::template::{self, Environment, Source, TemplateError};
use super::values;
use crate::base::diagnostic::{Diagnostic, ErrorKind, Position};

const NOTES: &str = "NOTES.txt";

/// A chart that cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    #[error(transparent)]
    Chart(#[from] ChartError),
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    #[error(
        "values don't meet the specifications of the schema(s) in the following chart(s):\n{0}"
    )]
    Schema(String),
    #[error("chart requires kubeVersion: {wanted} which is incompatible with Kubernetes {found}")]
    KubeVersion { wanted: String, found: String },
    #[error("library charts are not installable")]
    Library,
    #[error("invalid kube version '{0}'")]
    InvalidKubeVersion(String),
    #[error("object {0} of the post-renderer is no object of Kubernetes: it has no `kind`")]
    PostRender(usize),
}

impl From<RenderError> for Diagnostic {
    fn from(error: RenderError) -> Self {
        let text = error.to_string();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default().to_owned();
        let place = match &error {
            RenderError::Template(inner) => place_of(inner.place()),
            _ => None,
        };
        let mut diagnostic =
            Self::new(ErrorKind::Invalid, format!("chart does not render: {first}"));
        for line in lines {
            diagnostic = diagnostic.cause(line.trim());
        }
        let diagnostic = match place {
            Some(place) => diagnostic.at(place),
            None => diagnostic,
        };
        match error {
            RenderError::Template(TemplateError::Endless { .. }) => diagnostic.hint(
                "look for a count, a list or a text that is far too big, in the values or in the template; no real chart comes near this limit",
            ),
            RenderError::Template(_) => diagnostic.hint(
                "give the value that the template needs by `values`, `values_files` or `set`; `helm::chart(chart).values` shows the chart's own",
            ),
            RenderError::Schema(_) => diagnostic.hint(
                "correct what `values`, `values_files` or `set` gives; the chart's `values.schema.json` says what it takes",
            ),
            RenderError::KubeVersion { .. } => {
                diagnostic.hint("take a version of the chart that is made for this cluster")
            }
            RenderError::Chart(_)
            | RenderError::Manifest(_)
            | RenderError::Library
            | RenderError::InvalidKubeVersion(_) => diagnostic,
            RenderError::PostRender(_) => {
                diagnostic.hint("return the array of objects from the closure `post_render`")
            }
        }
    }
}

/// `chart/templates/x.yaml:12:3` as a place.
fn place_of(text: &str) -> Option<Position> {
    let mut parts = text.split(':');
    let file = parts.next()?;
    let line = parts.next()?.parse().ok()?;
    let column = parts.next().and_then(|column| column.parse().ok()).unwrap_or(0);
    Some(Position { file: file.into(), line, column })
}

/// What the cluster can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// As the API server tells it: `v1.36.3`.
    pub kube_version: String,
    /// `v1`, `apps/v1`, `apps/v1/Deployment`, …
    pub api_versions: Vec<String>,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            kube_version: "v1.37.0".to_owned(),
            api_versions: API_VERSIONS.iter().map(|version| (*version).to_owned()).collect(),
        }
    }
}

/// The release that templates are told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseFacts {
    pub name: String,
    pub namespace: String,
    pub revision: i64,
    pub is_upgrade: bool,
}

/// How to render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    pub capabilities: Capabilities,
    pub skip_schema_validation: bool,
    /// Notes of subcharts too.
    pub subchart_notes: bool,
    /// What all templates together may do: an action, a call, a turn of a loop is a step.
    pub max_steps: u64,
}

impl Default for RenderOptions {
    fn default() -> Self {
        Self {
            capabilities: Capabilities::default(),
            skip_schema_validation: false,
            subchart_notes: false,
            max_steps: template::work::MAX_STEPS,
        }
    }
}

/// A rendered chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The chart with the subcharts that take part.
    pub chart: Chart,
    pub manifests: Vec<Manifest>,
    pub hooks: Vec<Hook>,
    pub notes: String,
}

impl Rendered {
    /// The manifest as a release stores it.
    pub fn manifest(&self) -> String {
        let mut out = String::with_capacity(
            self.manifests.iter().map(|manifest| manifest.content.len() + 64).sum(),
        );
        for manifest in &self.manifests {
            out.push_str("---\n# Source: ");
            out.push_str(&manifest.source);
            out.push('\n');
            out.push_str(&manifest.content);
            out.push('\n');
        }
        out
    }

    /// What `helm template` prints: with `crds`, those of `crds/` first; hooks last.
    pub fn template_output(&self, crds: bool) -> String {
        let mut text = String::new();
        if crds {
            for file in self.chart.crds() {
                text.push_str(&format!("---\n# Source: {}\n{}\n", file.name, file.text()));
            }
        }
        text.push_str(&self.manifest());
        let mut out = format!("{}\n", text.trim());
        for hook in &self.hooks {
            out.push_str(&format!("---\n# Source: {}\n{}\n", hook.path, hook.manifest));
        }
        out
    }
}

/// Renders a chart.
///
/// # Errors
/// When dependencies, values, schema, a template or a rendered document is wrong.
pub fn render(
    chart: &Chart,
    given: &Map<String, Json>,
    release: &ReleaseFacts,
    options: &RenderOptions,
    environment: &Environment<'_>,
) -> Result<Rendered, RenderError> {
    let notes_path = format!("{}/templates/{NOTES}", chart.name());
    let mut notes: Vec<String> = Vec::new();
    let (ran, hooks, manifests) = manifest::reading(|reader| {
        let each = |name: String, text: String| {
            if !name.ends_with(NOTES) {
                reader.add(name, text);
            } else if options.subchart_notes || name == notes_path {
                notes.push(text);
            }
        };
        run(chart, given, release, options, environment, each, |_| ())
    })?;
    Ok(Rendered { chart: ran.chart, manifests, hooks, notes: notes.join("\n") })
}

/// The values as the last template leaves them: charts such as Istio's merge profiles into them while they render.
///
/// # Errors
/// Those of [`render`], but for what is wrong with rendered documents.
pub(crate) fn final_values(
    chart: &Chart,
    given: &Map<String, Json>,
    release: &ReleaseFacts,
    options: &RenderOptions,
    environment: &Environment<'_>,
) -> Result<Map<String, Json>, RenderError> {
    let left = |values: &Value| values.to_json(&Work::new(options.max_steps)).ok();
    match run(chart, given, release, options, environment, |_, _| (), left)?.looked {
        Some(Json::Object(values)) => Ok(values),
        _ => Ok(Map::new()),
    }
}

/// What running all templates gives.
struct Ran<T> {
    /// With the subcharts that take part.
    chart: Chart,
    looked: T,
}

/// Runs all templates, and hands each file with its text to `each`; `look` sees the values afterwards.
fn run<T: Send>(
    chart: &Chart,
    given: &Map<String, Json>,
    release: &ReleaseFacts,
    options: &RenderOptions,
    environment: &Environment<'_>,
    each: impl FnMut(String, String) + Send,
    look: impl FnOnce(&Value) -> T + Send,
) -> Result<Ran<T>, RenderError> {
    if chart.metadata.chart_type == "library" {
        return Err(RenderError::Library);
    }
    dependencies::check(chart)?;
    let mut chart = chart.clone();
    dependencies::process(&mut chart, given)?;
    let values = values::coalesce(&chart, given.clone())?;
    if !options.skip_schema_validation {
        let failures = super::values::schema_failures(&chart, &values);
        if !failures.is_empty() {
            return Err(RenderError::Schema(failures));
        }
    }
    let version = kube_version(&options.capabilities.kube_version)?;
    check_kube_version(&chart, &version)?;
    let looked = template::on_big_stack(|stack| {
        let seen = seen_capabilities(&options.capabilities)?;
        let root = root_scope(values, release, seen);
        let mut sources = Vec::new();
        let scope = add_sources(&chart, chart.name(), &root, true, &mut sources);
        template::render(environment, stack, options.max_steps, sources, each)?;
        let left = match &scope {
            Value::Map(scope) => scope.get("Values"),
            _ => None,
        };
        let looked = look(&left.unwrap_or(Value::Nil));
        Ok::<_, RenderError>(looked)
    })
    .map_err(|error| TemplateError::Thread(error.to_string()))??;
    Ok(Ran { chart, looked })
}

/// The parts of a Kubernetes version: as given with `v`, normalised, major, minor.
fn kube_version(text: &str) -> Result<(String, String, String, String), RenderError> {
    let invalid = || RenderError::InvalidKubeVersion(text.to_owned());
    let bare = text.strip_prefix('v').unwrap_or(text);
    let mut numbers = Vec::new();
    let mut rest = bare;
    loop {
        let n = rest.bytes().take_while(u8::is_ascii_digit).count();
        if n == 0 {
            break;
        }
        numbers.push(rest[..n].trim_start_matches('0'));
        rest = &rest[n..];
        match rest.strip_prefix('.') {
            Some(tail) if numbers.len() < 3 => rest = tail,
            _ => break,
        }
    }
    let [major, minor, patch] = match numbers[..] {
        [major, minor] => [major, minor, ""],
        [major, minor, patch] => [major, minor, patch],
        _ => return Err(invalid()),
    }
    .map(|number| if number.is_empty() { "0".to_owned() } else { number.to_owned() });
    Ok((format!("v{bare}"), format!("v{major}.{minor}.{patch}"), major, minor))
}

fn check_kube_version(
    chart: &Chart,
    version: &(String, String, String, String),
) -> Result<(), RenderError> {
    let wanted = &chart.metadata.kube_version;
    if wanted.is_empty() {
        return Ok(());
    }
    let fits = match (Constraint::parse(wanted), Version::parse(&version.1)) {
        (Ok(constraint), Ok(version)) => constraint.matches(&version),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(RenderError::KubeVersion { wanted: wanted.clone(), found: version.0.clone() })
}

fn seen_capabilities(capabilities: &Capabilities) -> Result<Seen, RenderError> {
    let (version, normalized, major, minor) = kube_version(&capabilities.kube_version)?;
    Ok(Seen {
        kube_version: Rc::new(SeenVersion {
            version: version.into(),
            normalized: normalized.into(),
            major: major.into(),
            minor: minor.into(),
        }),
        api_versions: capabilities.api_versions.iter().map(|text| text.as_str().into()).collect(),
    })
}

/// `.Release`, `.Capabilities` and `.Values` of the root chart.
fn root_scope(values: Map<String, Json>, release: &ReleaseFacts, seen: Seen) -> Entries {
    let mut facts = Value::entries_from_json(
        json!({
            "Name": release.name,
            "Namespace": release.namespace,
            "IsUpgrade": release.is_upgrade,
            "IsInstall": !release.is_upgrade,
            "Service": "Helm",
        })
        .as_object()
        .unwrap_or(&Map::new()),
    );
    facts.insert("Revision".into(), Value::int(release.revision));
    [
        ("Release".into(), Value::map(facts)),
        ("Capabilities".into(), Value::object(Object::Capabilities(Rc::new(seen)))),
        ("Values".into(), Value::typed_map(Value::entries_from_json(&values), MapKind::Values)),
    ]
    .into()
}

/// Collects the templates of a chart and those below it, each with the chart's scope, and returns that scope.
fn add_sources(
    chart: &Chart,
    path: &str,
    parent: &Entries,
    is_root: bool,
    sources: &mut Vec<Source>,
) -> Value {
    let values = match parent.get("Values") {
        Some(values) if is_root => values.clone(),
        Some(Value::Map(values)) => match values.get(chart.name()) {
            // The same map as the parent's: a change is seen by both.
            Some(Value::Map(own)) => Value::Map(own.retyped(MapKind::Values)),
            _ => Value::typed_map(Entries::new(), MapKind::Values),
        },
        _ => Value::typed_map(Entries::new(), MapKind::Values),
    };
    let files: FileMap =
        chart.files.iter().map(|file| (file.name.as_str().into(), Rc::from(&*file.data))).collect();
    let get = |name: &str| parent.get(name).cloned().unwrap_or(Value::Nil);
    let subcharts = Value::map(Entries::new());
    let entries: Entries = [
        ("Chart".into(), Value::from_json(&chart.metadata.to_scope(is_root))),
        ("Files".into(), Value::object(Object::Files(files))),
        ("Release".into(), get("Release")),
        ("Capabilities".into(), get("Capabilities")),
        ("Values".into(), values),
        ("Subcharts".into(), subcharts.clone()),
    ]
    .into();
    for dependency in &chart.dependencies {
        let below = format!("{path}/charts/{}", dependency.name());
        let scope = add_sources(dependency, &below, &entries, false, sources);
        if let Value::Map(map) = &subcharts {
            map.entries.borrow_mut().insert(dependency.name().into(), scope);
        }
    }
    let scope = Value::map(entries);
    // The same map under the type that the dot of a template has.
    let seen = match &scope {
        Value::Map(map) => Value::Map(map.retyped(MapKind::Values)),
        other => other.clone(),
    };
    let is_library = chart.metadata.chart_type == "library";
    for file in &chart.templates {
        let base = file.name.rsplit('/').next().unwrap_or(&file.name);
        if is_library && !base.starts_with('_') {
            continue;
        }
        sources.push(Source {
            name: format!("{path}/{}", file.name),
            text: file.text(),
            base_path: format!("{path}/templates"),
            scope: seen.clone(),
        });
    }
    scope
}
