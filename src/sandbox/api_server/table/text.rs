//! How printers write ages, labels, selectors and lists.

use jiff::Timestamp;
use serde_json::Value;

/// What stands for nothing.
pub(super) const NONE: &str = "<none>";

/// A list, or no elements.
pub(super) fn items<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object[field].as_array().map(Vec::as_slice).unwrap_or_default()
}

/// A text, or an empty one.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

/// A text, or the words for its absence.
pub(super) fn or<'a>(text: &'a str, absent: &'a str) -> &'a str {
    if text.is_empty() { absent } else { text }
}

/// The time since a moment as Kubernetes shortens it: `45s`, `3m20s`, `5d2h`; `<unknown>` without one.
pub(super) fn age(moment: &Value, now: Timestamp) -> String {
    let parsed = moment.as_str().and_then(|text| text.parse::<Timestamp>().ok());
    parsed.map_or_else(
        || "<unknown>".to_owned(),
        |moment| duration(now.as_second() - moment.as_second()),
    )
}

/// A span of seconds as Kubernetes shortens it (`k8s.io/apimachinery` `HumanDuration`).
pub(super) fn duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    let hours = seconds / 3_600;
    let two = |first: i64, unit: char, second: i64, small: char| {
        if second == 0 { format!("{first}{unit}") } else { format!("{first}{unit}{second}{small}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1..0 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => two(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => two(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => two(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// `a=b,c=d` in the order of keys; `<none>` without labels.
pub(super) fn labels(map: &Value) -> String {
    let mut pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    or(&pairs.join(","), NONE).to_owned()
}

/// A label selector: `a=b,c in (d,e),!f`; `<none>` for an empty or absent one.
pub(super) fn selector(selector: &Value) -> String {
    let mut terms: Vec<(String, String)> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.clone(), format!("{key}={}", value.as_str().unwrap_or_default())))
        .collect();
    for expression in items(selector, "matchExpressions") {
        let key = text(expression, "key");
        let mut values: Vec<&str> =
            items(expression, "values").iter().filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        let term = match text(expression, "operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        };
        terms.push((key.to_owned(), term));
    }
    terms.sort();
    let joined = terms.into_iter().map(|(_, term)| term).collect::<Vec<_>>().join(",");
    or(&joined, NONE).to_owned()
}

/// The names and images of a pod template's containers, joined.
pub(super) fn containers(pod: &Value) -> (String, String) {
    let all = items(pod, "containers");
    let join = |field: &str| all.iter().map(|one| text(one, field)).collect::<Vec<_>>().join(",");
    (join("name"), join("image"))
}

/// The first three of a list, and how many more there are.
pub(super) fn three(list: &[String], absent: &str) -> String {
    const SHOWN: usize = 3;
    if list.is_empty() {
        return absent.to_owned();
    }
    let shown = list[..list.len().min(SHOWN)].join(",");
    if list.len() > SHOWN { format!("{shown} + {} more...", list.len() - SHOWN) } else { shown }
}

/// A number or a text as text; empty for anything else.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}
