//! Values as text: for a line of the report, as a table, as YAML or JSON.

use std::time::Duration;

use rhai::{Array, Dynamic, Map};

use super::convert::to_json;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::{MASK, Secret};
use crate::base::{duration, yaml};
use crate::report::table;

/// A value in a line: a string as it is, data as compact JSON.
pub fn plain(value: Option<&Dynamic>) -> String {
    let Some(value) = value else { return String::new() };
    if value.read_lock::<Secret>().is_some() {
        return MASK.to_owned();
    }
    if value.is_map() || value.is_array() {
        return to_json(&masked(value), "value")
            .map_or_else(|_| value.to_string(), |json| json.to_string());
    }
    value.to_string()
}

/// A value with its secrets replaced by the mask, so that it can be shown.
pub fn masked(value: &Dynamic) -> Dynamic {
    if let Some(items) = value.read_lock::<Array>() {
        return items.iter().map(masked).collect::<Array>().into();
    }
    if let Some(map) = value.read_lock::<Map>() {
        return map.iter().map(|(key, value)| (key.clone(), masked(value))).collect::<Map>().into();
    }
    if value.read_lock::<Secret>().is_some() {
        return MASK.into();
    }
    if value.is_fnptr() {
        return "closure".into();
    }
    value.clone()
}

/// A value for a person: a string raw, nothing for `()`, anything else as YAML.
pub fn shown(value: &Dynamic) -> String {
    if value.is_unit() {
        return String::new();
    }
    if value.is_map() || value.is_array() {
        return to_json(&masked(value), "value")
            .map_or_else(|_| value.to_string(), |json| yaml::emit(&json).trim_end().to_owned());
    }
    plain(Some(value))
}

/// Rows of maps as a table; all keys in the order of their first appearance unless columns are named.
pub fn table(rows: &[Dynamic], columns: &[String]) -> Result<String, Diagnostic> {
    let mut heads: Vec<String> = columns.to_vec();
    let mut maps = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let Some(map) = row.read_lock::<Map>() else {
            return Err(Diagnostic::new(
                ErrorKind::Argument,
                format!("row {index} of the table is not a map"),
            ));
        };
        if columns.is_empty() {
            for key in map.keys() {
                if !heads.iter().any(|head| head == key.as_str()) {
                    heads.push(key.to_string());
                }
            }
        }
        maps.push(map.clone());
    }
    if heads.is_empty() {
        return Ok(String::new());
    }
    let rows: Vec<Vec<String>> = maps
        .iter()
        .map(|map| {
            heads
                .iter()
                .map(|head| {
                    let value = map.get(head.as_str()).filter(|value| !value.is_unit());
                    plain(value).replace('\n', " ")
                })
                .collect()
        })
        .collect();
    Ok(table::draw(&heads, &rows))
}

/// Moves a text that is indented as a whole to the left.
pub fn dedent(text: &str) -> String {
    let indent = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| line.len() - line.trim_start_matches(' ').len())
        .min()
        .unwrap_or(0);
    if indent == 0 {
        return text.to_owned();
    }
    let mut moved: String = text
        .lines()
        .map(|line| line.get(indent..).unwrap_or_else(|| line.trim_start()))
        .collect::<Vec<_>>()
        .join("\n");
    if text.ends_with('\n') {
        moved.push('\n');
    }
    moved
}

/// A time span given as text or as a number of seconds.
pub fn span(value: Option<&Dynamic>) -> Result<Duration, Diagnostic> {
    let wrong = |text: String| Diagnostic::new(ErrorKind::Argument, text);
    let Some(value) = value else { return Ok(Duration::ZERO) };
    if let Ok(seconds) = value.as_int() {
        return u64::try_from(seconds)
            .map(Duration::from_secs)
            .map_err(|_| wrong(format!("`{seconds}` is not a time span")));
    }
    if let Ok(seconds) = value.as_float() {
        return Duration::try_from_secs_f64(seconds)
            .map_err(|_| wrong(format!("`{seconds}` is not a time span")));
    }
    duration::parse(&value.to_string()).map_err(wrong)
}
