//! What Go's JSON encoder makes of fields without a value, by type and field: `go_fields.txt`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::sandbox::schema::Unset;

static TEXT: &str = include_str!("go_fields.txt");

static FIELDS: LazyLock<BTreeMap<(&'static str, &'static str), &'static str>> =
    LazyLock::new(|| {
        let mut fields = BTreeMap::new();
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split(' ');
            let name = words.next().unwrap_or_default();
            for (class, list) in words.filter_map(|word| word.split_once(':')) {
                fields.extend(list.split(',').map(|field| ((name, field), class)));
            }
        }
        fields
    });

/// What becomes of a field of a definition (`io.k8s.api.core.v1.PodSpec`) when it is not set.
pub(super) fn of_field(type_name: &str, field: &str) -> Unset {
    let Some(name) = type_name.strip_prefix("io.k8s.") else { return Unset::Kept };
    match FIELDS.get(&(name, field)).copied() {
        Some("o") => Unset::Omitted,
        Some("n") => Unset::Written(Value::Null),
        Some("s") => Unset::Written(json!("")),
        Some("i") => Unset::Written(json!(0)),
        Some("b") => Unset::Written(json!(false)),
        Some("q") => Unset::Written(json!("0")),
        Some("t") => Unset::Written(json!({})),
        _ => Unset::Kept,
    }
}
