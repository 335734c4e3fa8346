//! Cases of the kind `yaml`: `NAME.yaml` is read and written again; `NAME.out` holds what sigs.k8s.io/yaml 1.6.0
//! (go-yaml 2.4.4) makes of it: the JSON and the marshalled YAML, or the error.

use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use meshscript::base::yaml;
use serde_json::Value;

pub(crate) fn trials() -> Vec<Trial> {
    super::super::each("yaml", Some("yaml"), run)
}

fn run(path: &Path) -> Result<(), Failed> {
    let text = fs::read_to_string(path)?;
    let actual = match yaml::parse(&text) {
        Ok(value) => {
            format!("json: {}\n---\n{}", json(&value), yaml::emit(&value))
        }
        Err(error) => format!("error: {}\n", error.go_text()),
    };
    super::super::expect(&path.with_extension("out"), &actual)
}

/// JSON with numbers and line separators written as Go's `encoding/json` does.
fn json(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && (1e-6..1e21).contains(&float.abs()) => {
                float.to_string()
            }
            _ => number.to_string(),
        },
        Value::Array(items) => {
            format!("[{}]", items.iter().map(json).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => {
            let pairs: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}:{}", json(&Value::from(key.as_str())), json(value)))
                .collect();
            format!("{{{}}}", pairs.join(","))
        }
        scalar => scalar.to_string().replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"),
    }
}
