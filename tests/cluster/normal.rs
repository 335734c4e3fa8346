//! Objects without what no two clusters share: each uid, time, address, key and random part of a name is replaced by
//! what it stands for, so that two worlds can be compared field by field.

use std::collections::BTreeMap;

use serde_json::Value;

/// The words of one world, and what they stand for.
pub(crate) struct Normal {
    /// Longest first: `10.96.0.12` must not be taken for `10.96.0.1`.
    words: Vec<(String, String)>,
}

impl Normal {
    /// Learns from a world's objects which of its words are its own.
    pub(crate) fn of(objects: &[Value]) -> Self {
        let mut words = BTreeMap::new();
        for object in objects {
            let place = format!(
                "{}/{}",
                text(&object["metadata"]["namespace"]),
                text(&object["metadata"]["name"])
            );
            let mut learn = |word: &Value, meaning: String| {
                let word = text(word);
                if !word.is_empty() && word != "None" {
                    words.insert(word.to_owned(), meaning);
                }
            };
            match text(&object["kind"]) {
                "Service" => {
                    learn(&object["spec"]["clusterIP"], format!("<address of Service {place}>"));
                }
                "Pod" => {
                    let of = text(&object["metadata"]["generateName"]);
                    let namespace = text(&object["metadata"]["namespace"]);
                    learn(&object["status"]["podIP"], format!("<address of Pod {namespace}/{of}>"));
                }
                "Node" => {
                    learn(&object["metadata"]["name"], "<node>".to_owned());
                    for address in object["status"]["addresses"].as_array().into_iter().flatten() {
                        learn(&address["address"], "<node>".to_owned());
                    }
                }
                _ => {}
            }
            let labels = &object["metadata"]["labels"];
            learn(&labels["pod-template-hash"], "<hash>".to_owned());
            learn(&labels["controller-revision-hash"], "<hash>".to_owned());
            let (name, prefix) =
                (text(&object["metadata"]["name"]), text(&object["metadata"]["generateName"]));
            if let Some(suffix) = name.strip_prefix(prefix).filter(|_| !prefix.is_empty()) {
                learn(&suffix.into(), "<suffix>".to_owned());
            }
        }
        let mut words: Vec<(String, String)> = words.into_iter().collect();
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        Self { words }
    }

    /// Kind, namespace and name.
    pub(crate) fn name(&self, object: &Value) -> String {
        let metadata = &object["metadata"];
        self.said(&format!(
            "{} {}/{}",
            text(&object["kind"]),
            text(&metadata["namespace"]),
            text(&metadata["name"])
        ))
    }

    /// The scalars of an object by path.
    pub(crate) fn fields(&self, object: &Value) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        self.flatten(object, String::new(), &mut found);
        found
    }

    fn flatten(&self, value: &Value, path: String, found: &mut BTreeMap<String, String>) {
        let last = path.rsplit(['.', ']']).next().unwrap_or_default();
        // The endpoints' annotation is there or not by whether a pod was ready in the second in which it started.
        if matches!(last, "uid" | "resourceVersion" | "io/last-change-trigger-time") {
            return;
        }
        match value {
            Value::Object(fields) if fields.is_empty() => {
                found.insert(path, "{}".to_owned());
            }
            Value::Array(items) if items.is_empty() => {
                found.insert(path, "[]".to_owned());
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    let name = self.said(name);
                    let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                    self.flatten(value, path, found);
                }
            }
            Value::Array(items) => {
                for (key, item) in keys(items).into_iter().zip(items) {
                    self.flatten(item, format!("{path}[{}]", self.said(&key)), found);
                }
            }
            // Helm's label of a release: seconds since 1970.
            Value::String(_) if last == "modifiedAt" => {
                found.insert(path, "<time>".to_owned());
            }
            Value::String(string) => {
                found.insert(path, format!("{:?}", self.said(string)));
            }
            Value::Number(_) if matches!(last, "nodePort" | "healthCheckNodePort") => {
                found.insert(path, "<port of the node>".to_owned());
            }
            scalar => {
                found.insert(path, scalar.to_string());
            }
        }
    }

    /// A text with every word of this world replaced.
    fn said(&self, string: &str) -> String {
        // A PEM block, or the Base64 of one.
        if string.starts_with("-----BEGIN CERTIFICATE") || string.starts_with("LS0tLS1CRUdJTiBDRVJ")
        {
            return "<certificates>".to_owned();
        }
        let mut said = without_times(string);
        for (word, meaning) in &self.words {
            if said.contains(word.as_str()) {
                said = said.replace(word.as_str(), meaning);
            }
        }
        const TOKEN: &str = "kube-api-access-";
        if let Some(at) = said.find(TOKEN) {
            let end = (at + TOKEN.len() + 5).min(said.len());
            said.replace_range(at + TOKEN.len()..end, "<suffix>");
        }
        said
    }
}

/// A text with `<time>` for each moment in it (`2026-01-01T00:00:36Z`, with or without parts of a second).
fn without_times(string: &str) -> String {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let bytes = string.as_bytes();
    let mut said = String::with_capacity(string.len());
    let mut at = 0;
    while at < bytes.len() {
        let here = bytes.get(at..at + SHAPE.len()).is_some_and(|window| {
            let fits = |(found, wanted): (&u8, &u8)| match wanted {
                b'0' => found.is_ascii_digit(),
                wanted => found == wanted,
            };
            window.iter().zip(SHAPE).all(fits)
        });
        let end = bytes.get(at + SHAPE.len()..).and_then(|rest| {
            let parts =
                rest.iter().take_while(|byte| **byte == b'.' || byte.is_ascii_digit()).count();
            (rest.get(parts) == Some(&b'Z')).then_some(at + SHAPE.len() + parts + 1)
        });
        if let (true, Some(end)) = (here, end) {
            said.push_str("<time>");
            at = end;
            continue;
        }
        let next = string[at..].chars().next().map_or(1, char::len_utf8);
        said.push_str(&string[at..at + next]);
        at += next;
    }
    said
}

/// How the items of a list are told apart: by what names them if that is unique, else by their place.
fn keys(items: &[Value]) -> Vec<String> {
    let by: [fn(&Value) -> Option<String>; 4] = [
        |item| {
            item["manager"].as_str().map(|manager| {
                format!("{manager} {} {}", text(&item["operation"]), text(&item["subresource"]))
            })
        },
        |item| item["type"].as_str().map(str::to_owned),
        |item| item["name"].as_str().map(str::to_owned),
        |item| item["mountPath"].as_str().map(str::to_owned),
    ];
    for key in by {
        let found: Option<Vec<String>> = items.iter().map(key).collect();
        let Some(found) = found else { continue };
        let unique: std::collections::BTreeSet<&String> = found.iter().collect();
        if unique.len() == found.len() {
            return found;
        }
    }
    (0..items.len()).map(|at| at.to_string()).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
