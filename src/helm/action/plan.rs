//! What a release would become: chart, values and rendered objects of the next revision. Nothing is written.

use serde_json::{Map, Value as Json};

use super::holder::take_over;
use super::{ActionError, ConvergeOptions, Reuse, check_name};
use crate::base::diagnostic::Diagnostic;
use crate::helm::chart::Chart;
use crate::helm::manifest::Hook;
use crate::helm::release::{self, Release, SYSTEM_LABELS};
use crate::helm::render::{self, Capabilities, ReleaseFacts, RenderOptions, Rendered};
use crate::helm::template::Environment;
use crate::helm::{lookup, post_render, values};
use crate::k8s::cluster::Cluster;

/// The next revision of a release.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) name: String,
    /// Without a release that was uninstalled.
    pub(super) history: Vec<Release>,
    /// All that is stored.
    pub(super) before: Vec<Release>,
    /// The revision to build on: the newest that is deployed, else the newest.
    pub(super) base: Option<Release>,
    pub(super) chart: Chart,
    pub(super) values: Map<String, Json>,
    pub(super) revision: i64,
    pub(super) is_upgrade: bool,
    pub(super) rendered: Rendered,
    /// Rendered as the last revision was: what shows whether anything changes. Only where that counts.
    again: Option<Rendered>,
}

impl Plan {
    /// Hands all rendered objects, hooks too, to `change` and takes what it returns instead.
    ///
    /// # Errors
    /// Those of `change`, and `Invalid` for what is no object.
    pub fn post_render(
        &mut self,
        change: &dyn Fn(Vec<Json>) -> Result<Vec<Json>, Diagnostic>,
    ) -> Result<(), Diagnostic> {
        for rendered in std::iter::once(&mut self.rendered).chain(&mut self.again) {
            let objects = post_render::objects(rendered).map_err(ActionError::Render)?;
            let changed = change(objects)?;
            post_render::replace(rendered, changed).map_err(ActionError::Render)?;
        }
        Ok(())
    }

    /// The last revision, if it is deployed and stays as it is.
    pub(super) fn unchanged(&self) -> Option<&Release> {
        let (last, again) = (self.history.last()?, self.again.as_ref()?);
        is_same(last, &self.chart, &self.values, again).then_some(last)
    }
}

/// Plans to install or upgrade a release. A revision that a killed run left pending is taken over, which is the only write.
///
/// # Errors
/// `InProgress` while another run works on the release, and errors of rendering.
pub async fn plan(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    options: &ConvergeOptions,
) -> Result<Plan, ActionError> {
    if let Some(label) = options.labels.keys().find(|label| SYSTEM_LABELS.contains(&label.as_str()))
    {
        return Err(ActionError::SystemLabel(label.clone()));
    }
    draw_up(cluster, name, chart, options, true).await
}

/// As [`plan`], to be looked at only: nothing at all is written.
///
/// # Errors
/// Errors of rendering.
pub async fn preview(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    options: &ConvergeOptions,
) -> Result<Plan, ActionError> {
    draw_up(cluster, name, chart, options, false).await
}

async fn draw_up(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    options: &ConvergeOptions,
    in_earnest: bool,
) -> Result<Plan, ActionError> {
    check_name(name)?;
    let mut history = release::history(cluster, name, &options.namespace).await?;
    let revision = history.last().map_or(1, |release| release.revision() + 1);
    let before = history.clone();
    history.retain(|release| release.status() != "uninstalled");
    if in_earnest {
        take_over(cluster, &mut history).await?;
    }
    let capabilities = capabilities(cluster).await?;
    let last = history.last();
    // An install that failed is no base of its own: Helm carries it on as an upgrade all the same.
    let is_upgrade = last.is_some_and(|release| release.status() != "pending-install");
    let base =
        history.iter().rev().find(|release| release.status() == "deployed").or(last).cloned();
    let (chart, values) = chosen(chart, options, base.as_ref())?;
    let draw = |revision: i64, is_upgrade: bool| {
        draw(cluster, name, &chart, &values, options, &capabilities, revision, is_upgrade)
    };
    // Where a release was uninstalled and its history kept, Helm tells the templates of a first revision.
    let told = if is_upgrade { revision } else { 1 };
    let rendered = draw(told, is_upgrade).await?;
    let again = match last
        .filter(|last| in_earnest && options.skip_unchanged && last.status() == "deployed")
    {
        Some(last) => Some(draw(last.revision(), last.revision() > 1).await?),
        None => None,
    };
    let name = name.to_owned();
    Ok(Plan { name, history, before, base, chart, values, revision, is_upgrade, rendered, again })
}

/// Chart and values with what is taken over from the last revision.
fn chosen(
    chart: &Chart,
    options: &ConvergeOptions,
    base: Option<&Release>,
) -> Result<(Chart, Map<String, Json>), ActionError> {
    let mut chart = chart.clone();
    let mut given = options.values.clone();
    let Some(base) = base else { return Ok((chart, given)) };
    match options.reuse {
        Reuse::Reset => {}
        Reuse::WhenNoneGiven => {
            if given.is_empty() {
                given = base.config();
                values::to_floats_in(&mut given);
            }
        }
        Reuse::Values | Reuse::ResetThenReuse => {
            let mut old = base.config();
            values::to_floats_in(&mut old);
            if options.reuse == Reuse::Values {
                let mut defaults = base.defaults();
                values::to_floats_in(&mut defaults);
                values::merge_into(&mut defaults, old.clone());
                chart.values = defaults;
            }
            values::merge_into(&mut old, given);
            given = old;
        }
    }
    Ok((chart, given))
}

/// Chart, values and rendered objects are those of the stored revision.
fn is_same(last: &Release, chart: &Chart, given: &Map<String, Json>, again: &Rendered) -> bool {
    last.chart_name() == chart.metadata.name
        && last.chart_version() == chart.metadata.version
        && values::same(&Json::Object(last.config()), &Json::Object(given.clone()))
        && last.manifest() == again.manifest()
        && same_hooks(last, &again.hooks)
}

fn same_hooks(last: &Release, hooks: &[Hook]) -> bool {
    let stored = last.json["hooks"].as_array().into_iter().flatten();
    stored
        .map(|hook| (hook["path"].as_str(), hook["manifest"].as_str()))
        .eq(hooks.iter().map(|hook| (Some(hook.path.as_str()), Some(hook.manifest.as_str()))))
}

#[expect(clippy::too_many_arguments, reason = "the facts of a release")]
async fn draw(
    cluster: &Cluster,
    name: &str,
    chart: &Chart,
    values: &Map<String, Json>,
    options: &ConvergeOptions,
    capabilities: &Capabilities,
    revision: i64,
    is_upgrade: bool,
) -> Result<Rendered, ActionError> {
    let facts = ReleaseFacts {
        name: name.to_owned(),
        namespace: options.namespace.clone(),
        revision,
        is_upgrade,
    };
    let render_options = RenderOptions {
        capabilities: capabilities.clone(),
        skip_schema_validation: options.skip_schema_validation,
        subchart_notes: false,
        ..RenderOptions::default()
    };
    let now = cluster.clock().now();
    let (chart, values) = (chart.clone(), values.clone());
    lookup::serve(cluster, move |lookup| {
        let environment =
            Environment { now: Some(now), random: Some(&random), lookup: Some(lookup) };
        render::render(&chart, &values, &facts, &render_options, &environment)
    })
    .await
    .map_err(ActionError::Render)
}

/// The system's randomness for templates.
pub fn random(bytes: &mut [u8]) {
    // A generator that fails has failed since the start of the process: TLS would not work either.
    let _ = aws_lc_rs::rand::fill(bytes);
}

/// Version and API versions of the cluster.
pub async fn capabilities(cluster: &Cluster) -> Result<Capabilities, ActionError> {
    let mut info = cluster.info();
    if info.version.is_empty() {
        info = cluster.reach().await?;
    }
    let mut api_versions: Vec<String> = Vec::new();
    for resource in cluster.resources().await?.iter() {
        let version = resource.api_version();
        let kind = format!("{version}/{}", resource.kind);
        for text in [version, kind] {
            if !api_versions.contains(&text) {
                api_versions.push(text);
            }
        }
    }
    let default = Capabilities::default();
    let kube_version =
        if info.version.is_empty() { default.kube_version } else { info.version.clone() };
    Ok(Capabilities { kube_version, api_versions })
}
