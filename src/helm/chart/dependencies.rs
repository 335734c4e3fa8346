//! Which subcharts take part, under which names, and which of their values the parent takes over.

use serde_json::{Map, Value as Json};

use super::{Chart, ChartError, Dependency};
use crate::helm::semver::{Constraint, Version};
use crate::helm::values;

type Values = Map<String, Json>;

/// Enables, renames and drops subcharts by conditions and tags, then imports values.
pub(crate) fn process(chart: &mut Chart, given: &Values) -> Result<(), ChartError> {
    enable(chart, given, "")?;
    import(chart)
}

/// Every dependency of `Chart.yaml` must be in `charts/`.
pub(crate) fn check(chart: &Chart) -> Result<(), ChartError> {
    let missing: Vec<&str> = chart
        .metadata
        .dependencies
        .iter()
        .filter(|wanted| !chart.dependencies.iter().any(|found| found.name() == wanted.name))
        .map(|wanted| wanted.name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(ChartError::MissingDependencies(missing.join(", ")))
}

fn is_compatible(range: &str, version: &str) -> bool {
    match (Constraint::parse(range), Version::parse(version)) {
        (Ok(range), Ok(version)) => range.matches(&version),
        _ => false,
    }
}

fn is_meant(dependency: &Dependency, chart: &Chart) -> bool {
    chart.name() == dependency.name && is_compatible(&dependency.version, &chart.metadata.version)
}

fn enable(chart: &mut Chart, given: &Values, path: &str) -> Result<(), ChartError> {
    if chart.metadata.dependencies.is_empty() {
        return Ok(());
    }
    let found = std::mem::take(&mut chart.dependencies);
    let mut wanted = std::mem::take(&mut chart.metadata.dependencies);
    let mut charts: Vec<Chart> = found
        .iter()
        .filter(|chart| !wanted.iter().any(|dependency| is_meant(dependency, chart)))
        .cloned()
        .collect();
    for dependency in &mut wanted {
        if let Some(source) = found.iter().find(|chart| is_meant(dependency, chart)) {
            let mut copy = source.clone();
            if !dependency.alias.is_empty() {
                copy.metadata.name.clone_from(&dependency.alias);
            }
            charts.push(copy);
        }
        if !dependency.alias.is_empty() {
            dependency.name.clone_from(&dependency.alias);
        }
        dependency.enabled = true;
    }
    chart.dependencies = charts;
    let coalesced = values::coalesce(chart, given.clone())?;
    apply_tags(&mut wanted, &coalesced);
    apply_conditions(&mut wanted, &coalesced, path);
    let dropped: Vec<String> = wanted
        .iter()
        .filter(|dependency| !dependency.enabled)
        .map(|dependency| dependency.name.clone())
        .collect();
    chart.dependencies.retain(|chart| !dropped.contains(&chart.metadata.name));
    wanted.retain(|dependency| !dropped.contains(&dependency.name));
    for subchart in &mut chart.dependencies {
        let below = format!("{path}{}.", subchart.metadata.name);
        enable(subchart, &coalesced, &below)?;
    }
    chart.metadata.dependencies = wanted;
    Ok(())
}

fn apply_tags(wanted: &mut [Dependency], coalesced: &Values) {
    let Some(Json::Object(tags)) = coalesced.get("tags") else { return };
    for dependency in wanted {
        let set: Vec<bool> = dependency
            .tags
            .iter()
            .filter_map(|tag| tags.get(tag).and_then(Json::as_bool))
            .collect();
        dependency.enabled = set.is_empty() || set.contains(&true);
    }
}

fn apply_conditions(wanted: &mut [Dependency], coalesced: &Values, path: &str) {
    for dependency in wanted {
        let decision = dependency
            .condition
            .trim()
            .split(',')
            .filter(|condition| !condition.is_empty())
            .find_map(|condition| scalar_at(coalesced, &format!("{path}{condition}"))?.as_bool());
        if let Some(enabled) = decision {
            dependency.enabled = enabled;
        }
    }
}

fn scalar_at<'v>(map: &'v Values, path: &str) -> Option<&'v Json> {
    let (folder, name) = path.rsplit_once('.').unwrap_or(("", path));
    let table = if folder.is_empty() { map } else { table_at(map, folder)? };
    table.get(name).filter(|value| !value.is_object())
}

fn table_at<'v>(map: &'v Values, path: &str) -> Option<&'v Values> {
    path.split('.').try_fold(map, |table, name| table.get(name)?.as_object())
}

fn import(chart: &mut Chart) -> Result<(), ChartError> {
    for subchart in &mut chart.dependencies {
        import(subchart)?;
    }
    if chart.metadata.dependencies.is_empty() {
        return Ok(());
    }
    let merged = values::merge_defaults(chart)?;
    let mut imported = Values::new();
    for dependency in &mut chart.metadata.dependencies {
        let mut normal = Vec::new();
        for item in &dependency.import_values {
            let (child, parent) = match item {
                Json::String(name) => (format!("exports.{name}"), ".".to_owned()),
                Json::Object(pair) => {
                    let text = |key: &str| match pair.get(key) {
                        Some(Json::String(text)) => text.clone(),
                        _ => "<nil>".to_owned(),
                    };
                    (text("child"), text("parent"))
                }
                _ => continue,
            };
            normal.push(serde_json::json!({"child": child, "parent": parent}));
            let Some(table) = table_at(&merged, &format!("{}.{child}", dependency.name)) else {
                continue;
            };
            let nested = if parent == "." {
                table.clone()
            } else {
                parent.rsplit('.').fold(table.clone(), |inner, name| {
                    [(name.to_owned(), Json::Object(inner))].into_iter().collect()
                })
            };
            values::merge_tables(&mut imported, nested, true);
        }
        dependency.import_values = normal;
    }
    let mut own = merged;
    values::merge_tables(&mut own, imported, true);
    chart.values = own;
    Ok(())
}
