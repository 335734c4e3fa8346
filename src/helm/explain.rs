//! Where a value comes from: each layer that says something about a path, the lowest first.
//!
//! Layers from the lowest: defaults of subcharts, imported values, defaults of the chart, its profile files (as Istio's charts
//! have them), then what was given in the order in which it was laid. Globals of a parent go over those of a subchart.

use serde_json::{Map, Value as Json};

use super::chart::{Chart, dependencies};
use super::render::{self, ReleaseFacts, RenderError, RenderOptions};
use super::template::Environment;
use super::values;
use crate::base::yaml;

type Values = Map<String, Json>;

/// Where Istio's charts keep their defaults until they have laid a profile over them.
const INTERNAL_DEFAULTS: &str = "_internal_defaults_do_not_set";
const PROFILES: &str = "files/profile-";
const GLOBAL: &str = "global";

/// Values that were given, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// ``values file `prod.yaml` ``, `` `set` ``…
    pub layer: String,
    pub values: Values,
}

/// What one layer says.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub layer: String,
    /// A null deletes what lower layers say.
    pub value: Json,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// As the templates see it in the end; `None` when it is not there.
    pub value: Option<Json>,
    /// The layer that gave it; for a map of several layers, `several layers`.
    pub from: String,
    /// All layers that say something, the lowest first.
    pub layers: Vec<Said>,
}

/// A path that cannot be read, or a chart that does not render.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExplainError {
    #[error(
        "`{0}` is no path: write keys with dots between them, such as `pilot.env.A` or `list[0]`"
    )]
    Path(String),
    #[error(transparent)]
    Render(#[from] RenderError),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// `a.b\.c[0]` as `helm --set` writes it.
fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut key = String::new();
    let mut rest = path.chars();
    // A dot has to follow or end an index.
    let mut after_index = false;
    while let Some(c) = rest.next() {
        match c {
            '\\' => key.push(rest.next()?),
            '.' if after_index && key.is_empty() => after_index = false,
            '.' if key.is_empty() => return None,
            '.' => steps.push(Step::Key(std::mem::take(&mut key))),
            '[' => {
                if !key.is_empty() {
                    steps.push(Step::Key(std::mem::take(&mut key)));
                } else if !after_index {
                    return None;
                }
                let digits: String = rest.by_ref().take_while(|c| *c != ']').collect();
                steps.push(Step::Index(digits.parse().ok()?));
                after_index = true;
            }
            c if after_index => return c.is_whitespace().then_some(steps),
            c => key.push(c),
        }
    }
    if !key.is_empty() {
        steps.push(Step::Key(key));
    } else if !after_index {
        return None;
    }
    Some(steps)
}

fn find<'v>(values: &'v Values, path: &[Step]) -> Option<&'v Json> {
    let (Step::Key(first), rest) = path.split_first()? else { return None };
    rest.iter().try_fold(values.get(first)?, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(at) => value.get(at),
    })
}

/// What a layer says at a path: a list takes the place of the whole list below it, also where it is shorter.
fn said(values: &Values, path: &[Step]) -> Option<Json> {
    find(values, path).cloned().or_else(|| {
        let mut lists = (1..path.len()).filter(|at| matches!(path[*at], Step::Index(_)));
        lists.any(|at| find(values, &path[..at]).is_some_and(Json::is_array)).then_some(Json::Null)
    })
}

/// Tells where the value at `path` comes from. `given` are the layers over the chart's own, the lowest first; `merged` is what
/// they are together.
///
/// # Errors
/// `Path`, and errors of dependencies and values. A template that fails is none: then the values are told as they were before.
pub fn explain(
    chart: &Chart,
    given: &[Given],
    merged: &Values,
    path: &str,
    environment: &Environment<'_>,
) -> Result<Explanation, ExplainError> {
    let steps = parse(path).ok_or_else(|| ExplainError::Path(path.to_owned()))?;
    let mut processed = chart.clone();
    dependencies::process(&mut processed, merged).map_err(RenderError::from)?;
    let before = values::coalesce(&processed, merged.clone()).map_err(RenderError::from)?;
    let facts = ReleaseFacts {
        name: "release".to_owned(),
        namespace: "default".to_owned(),
        revision: 1,
        is_upgrade: false,
    };
    let options = RenderOptions { skip_schema_validation: true, ..RenderOptions::default() };
    let after = render::final_values(chart, merged, &facts, &options, environment)
        .unwrap_or_else(|_| before.clone());
    let value = find(&after, &steps).cloned();
    let mut layers = Vec::new();
    for path in seen_as(&steps) {
        let mut own = Vec::new();
        own_layers(&processed, &path, &mut own);
        if own.is_empty()
            && find(&chart.values, &path).is_none()
            && let Some(value) = find(&processed.values, &path)
        {
            own.push(Said {
                layer: "values imported from a subchart".to_owned(),
                value: value.clone(),
            });
        }
        layers.extend(own);
        layers.extend(defaults(chart, &path));
        layers.extend(profiles(chart, &after, &before, &path));
        layers.extend(given.iter().filter_map(|given| {
            let value = said(&given.values, &path)?;
            Some(Said { layer: given.layer.clone(), value })
        }));
    }
    let from = source(&layers, value.as_ref());
    let value = value.map(whole);
    for said in &mut layers {
        said.value = whole(said.value.take());
    }
    Ok(Explanation { value, from, layers })
}

/// A global of a subchart is also that of each parent, which goes over it: the lowest first.
fn seen_as(path: &[Step]) -> Vec<Vec<Step>> {
    let global = path.iter().position(|step| *step == Step::Key(GLOBAL.to_owned()));
    let Some(at) = global else { return vec![path.to_vec()] };
    (0..=at).rev().map(|depth| path[..depth].iter().chain(&path[at..]).cloned().collect()).collect()
}

/// Defaults of the subcharts that the path leads into, the deepest first.
fn own_layers(chart: &Chart, path: &[Step], into: &mut Vec<Said>) {
    let Some((Step::Key(first), rest)) = path.split_first() else { return };
    let Some(subchart) = chart.dependencies.iter().find(|chart| chart.name() == first) else {
        return;
    };
    own_layers(subchart, rest, into);
    if let Some(value) = find(&subchart.values, rest) {
        let layer = format!("defaults of subchart `{first}`");
        into.push(Said { layer, value: value.clone() });
    }
}

/// What `values.yaml` of the chart says.
fn defaults(chart: &Chart, path: &[Step]) -> Vec<Said> {
    let internal: Vec<Step> = std::iter::once(Step::Key(INTERNAL_DEFAULTS.to_owned()))
        .chain(path.iter().cloned())
        .collect();
    [internal.as_slice(), path]
        .into_iter()
        .filter_map(|path| find(&chart.values, path))
        .map(|value| Said {
            layer: format!("defaults of chart `{}`", chart.name()),
            value: value.clone(),
        })
        .collect()
}

/// What the chosen profile files of the chart say.
fn profiles(chart: &Chart, after: &Values, before: &Values, path: &[Step]) -> Vec<Said> {
    let chosen = |key: &str| {
        let text = |values: &Values| {
            let here = values.get(key).or_else(|| values.get(GLOBAL)?.get(key))?;
            here.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
        };
        text(before).or_else(|| text(after))
    };
    // In the order in which Istio's charts lay them.
    let names = [
        chosen("profile"),
        chosen("compatibilityVersion").map(|version| format!("compatibility-version-{version}")),
        chosen("platform").map(|platform| format!("platform-{platform}")),
    ];
    let mut said = Vec::new();
    for name in names.into_iter().flatten() {
        let file = format!("{PROFILES}{name}.yaml");
        let Some(found) = chart.files.iter().find(|found| found.name == file) else { continue };
        let Ok(Json::Object(mut profile)) = yaml::parse(&found.text()) else { continue };
        values::to_floats_in(&mut profile);
        if let Some(value) = find(&profile, path) {
            said.push(Said { layer: format!("profile file `{file}`"), value: value.clone() });
        }
    }
    said
}

/// The layer that gave the value.
fn source(layers: &[Said], value: Option<&Json>) -> String {
    const TEMPLATE: &str = "a template, while it rendered";
    let Some(highest) = layers.last() else {
        return if value.is_none() { "no layer".to_owned() } else { TEMPLATE.to_owned() };
    };
    match value {
        Some(Json::Object(_)) => {
            let mut tables = layers.iter().filter(|said| said.value.is_object());
            match (tables.next(), tables.next()) {
                (Some(only), None) => only.layer.clone(),
                (None, _) => TEMPLATE.to_owned(),
                _ => "several layers".to_owned(),
            }
        }
        Some(value) if values::same(value, &highest.value) => highest.layer.clone(),
        None if highest.value.is_null() => format!("{}, which takes it away", highest.layer),
        _ => TEMPLATE.to_owned(),
    }
}

/// Numbers as they are written: in values all are floats.
fn whole(value: Json) -> Json {
    match value {
        Json::Number(number) => values::whole(&number),
        Json::Array(items) => items.into_iter().map(whole).collect(),
        Json::Object(map) => map.into_iter().map(|(key, value)| (key, whole(value))).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_for_set() {
        let key = |text: &str| Step::Key(text.to_owned());
        assert_eq!(parse("a.b"), Some(vec![key("a"), key("b")]));
        assert_eq!(parse(r"a\.b[2].c"), Some(vec![key("a.b"), Step::Index(2), key("c")]));
        assert_eq!(parse("a[0][1]"), Some(vec![key("a"), Step::Index(0), Step::Index(1)]));
        for wrong in ["", ".", "a.", ".a", "a..b", "[0]", "a[x]", "a[0]b"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
