//! Values: files and settings merged, then coalesced with the defaults of a chart and its subcharts.
//!
//! A number of YAML is a float, as Helm has it; an integer comes only from `set`.

use serde_json::{Map, Number, Value as Json};

use crate::helm::chart::{Chart, ChartError};

mod schema;
pub mod set;

pub(crate) use schema::failures as schema_failures;

type Values = Map<String, Json>;

const GLOBAL: &str = "global";

/// Merges deeply: what is in `from` wins, maps are merged, everything else is replaced.
pub fn merge_into(into: &mut Values, from: Values) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Json::Object(old)), Json::Object(new)) => merge_into(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

/// Makes every number a float.
pub fn to_floats(value: &mut Json) {
    match value {
        Json::Number(number) => {
            if let Some(float) = number.as_f64().and_then(Number::from_f64) {
                *number = float;
            }
        }
        Json::Array(items) => items.iter_mut().for_each(to_floats),
        Json::Object(map) => to_floats_in(map),
        Json::Null | Json::Bool(_) | Json::String(_) => {}
    }
}

/// Makes every number in a map a float.
pub fn to_floats_in(map: &mut Values) {
    map.values_mut().for_each(to_floats);
}

/// The values that templates see: the given ones over the chart's and its subcharts' defaults. A null deletes a default.
pub(crate) fn coalesce(chart: &Chart, given: Values) -> Result<Values, ChartError> {
    let mut values = given;
    coalesce_within(chart, &mut values, false)?;
    Ok(values)
}

/// All defaults of a chart and its subcharts, nulls kept.
pub(crate) fn merge_defaults(chart: &Chart) -> Result<Values, ChartError> {
    let mut values = Values::new();
    coalesce_within(chart, &mut values, true)?;
    Ok(values)
}

fn coalesce_within(chart: &Chart, values: &mut Values, merge: bool) -> Result<(), ChartError> {
    coalesce_own(chart, values, merge);
    for subchart in &chart.dependencies {
        let name = subchart.name();
        match values.get(name) {
            None => {
                values.insert(name.to_owned(), Json::Object(Values::new()));
            }
            Some(Json::Object(_)) => {}
            Some(other) => {
                let found = crate::helm::template::go_format("%t", other);
                return Err(ChartError::SubchartValues { name: name.to_owned(), found });
            }
        }
        let globals = values.get(GLOBAL).cloned();
        if let Some(Json::Object(inner)) = values.get_mut(name) {
            coalesce_globals(inner, globals);
            coalesce_within(subchart, inner, merge)?;
        }
    }
    Ok(())
}

/// The globals of the parent win over those of the subchart.
fn coalesce_globals(inner: &mut Values, globals: Option<Json>) {
    let mut own = match inner.get(GLOBAL) {
        None => Values::new(),
        Some(Json::Object(own)) => own.clone(),
        Some(_) => return,
    };
    let globals = match globals {
        None => Values::new(),
        Some(Json::Object(globals)) => globals,
        Some(_) => return,
    };
    for (key, value) in globals {
        match value {
            Json::Object(mut table) => match own.get(&key) {
                None => {
                    own.insert(key, Json::Object(table));
                }
                Some(Json::Object(old)) => {
                    merge_tables(&mut table, old.clone(), true);
                    own.insert(key, Json::Object(table));
                }
                Some(_) => {}
            },
            value => {
                if !matches!(own.get(&key), Some(Json::Object(_))) {
                    own.insert(key, value);
                }
            }
        }
    }
    inner.insert(GLOBAL.to_owned(), Json::Object(own));
}

fn coalesce_own(chart: &Chart, values: &mut Values, merge: bool) {
    for (key, default) in &chart.values {
        match values.get_mut(key) {
            Some(Json::Null) if !merge => {
                values.remove(key);
            }
            Some(Json::Object(table)) => {
                if let Json::Object(default) = default {
                    let is_subchart =
                        chart.dependencies.iter().any(|subchart| subchart.name() == key);
                    let merge = merge || is_subchart;
                    let mut default = default.clone();
                    if !merge {
                        remove_nulls(&mut default);
                    }
                    merge_tables(table, default, merge);
                }
            }
            Some(_) => {}
            None => {
                let mut default = default.clone();
                if !merge {
                    if default.is_null() {
                        continue;
                    }
                    if let Json::Object(table) = &mut default {
                        remove_nulls(table);
                    }
                }
                values.insert(key.clone(), default);
            }
        }
    }
}

/// Fills a table from one of lower precedence. Without `merge`, a null deletes what the lower table says.
pub(crate) fn merge_tables(into: &mut Values, from: Values, merge: bool) {
    for (key, value) in from {
        match into.get_mut(&key) {
            Some(Json::Null) if !merge && !value.is_null() => {
                into.remove(&key);
            }
            None => {
                into.insert(key, value);
            }
            Some(Json::Object(table)) => {
                if let Json::Object(value) = value {
                    merge_tables(table, value, merge);
                }
            }
            Some(_) => {}
        }
    }
}

fn remove_nulls(table: &mut Values) {
    table.retain(|_, value| {
        if let Json::Object(inner) = value {
            remove_nulls(inner);
        }
        !value.is_null()
    });
}

/// Whether two values say the same, numbers compared by value.
pub(crate) fn same(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

/// A number as JSON reads it again: a whole one is an integer.
pub(crate) fn whole(number: &Number) -> Json {
    match number.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < 9e15 => {
            Json::from(value as i64)
        }
        _ => Json::Number(number.clone()),
    }
}
