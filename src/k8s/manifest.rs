//! Manifests: YAML text, an object or a list of objects, as single objects in their order.

use serde_json::Value;

use super::error::Error;
use crate::base::object_ref::ObjectRef;
use crate::base::yaml;

/// One object of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    pub object: Value,
    /// 1-based line of the text at which its document begins; 0 when it came from no text.
    pub line: usize,
}

impl Manifest {
    /// An object that came from no text.
    pub fn of(object: Value) -> Self {
        Self { object, line: 0 }
    }

    /// Its reference.
    ///
    /// # Errors
    /// `InvalidManifest` when `apiVersion`, `kind` or `metadata.name` is missing.
    pub fn reference(&self) -> Result<ObjectRef, Error> {
        let object = &self.object;
        for field in ["apiVersion", "kind"] {
            if object[field].as_str().is_none_or(str::is_empty) {
                return Err(self.invalid(format!("{} has no `{field}`", self.describe())));
            }
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        if name.is_empty() {
            return Err(self.invalid(format!("{} has no `metadata.name`", self.describe())));
        }
        check_name(name)?;
        ObjectRef::of(object).ok_or_else(|| self.invalid("the manifest has no name".to_owned()))
    }

    fn invalid(&self, reason: String) -> Error {
        Error::InvalidManifest { reason, line: self.line }
    }

    fn describe(&self) -> String {
        let name = self.object["metadata"]["name"].as_str();
        match (self.object["kind"].as_str(), name) {
            (Some(kind), Some(name)) => format!("the {kind} `{name}`"),
            (Some(kind), None) => format!("the {kind}"),
            (None, Some(name)) => format!("the object `{name}`"),
            (None, None) => "the manifest".to_owned(),
        }
    }
}

/// Refuses what cannot be a segment of a path of the API.
///
/// # Errors
/// `InvalidInput`.
pub fn check_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '%']) {
        return Err(Error::InvalidInput {
            reason: format!("`{name}` cannot be the name of an object"),
            hint: None,
        });
    }
    Ok(())
}

/// The objects of a YAML (or JSON) stream.
///
/// # Errors
/// `InvalidManifest` with the line.
pub fn parse(text: &str) -> Result<Vec<Manifest>, Error> {
    let documents = yaml::parse_documents(text).map_err(|error| Error::InvalidManifest {
        reason: format!("the manifest is not valid YAML: {}", error.message),
        line: error.line,
    })?;
    let mut manifests = Vec::new();
    for document in documents {
        flatten(document.value, document.line, &mut manifests)?;
    }
    Ok(manifests)
}

/// The objects of a value: an object, a `List`, an array of them, or YAML text.
///
/// # Errors
/// `InvalidManifest`.
pub fn from_value(value: Value) -> Result<Vec<Manifest>, Error> {
    let mut manifests = Vec::new();
    flatten(value, 0, &mut manifests)?;
    Ok(manifests)
}

fn flatten(value: Value, line: usize, into: &mut Vec<Manifest>) -> Result<(), Error> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => items.into_iter().try_for_each(|item| flatten(item, line, into)),
        Value::String(text) if line == 0 => {
            into.extend(parse(&text)?);
            Ok(())
        }
        Value::Object(mut object) => {
            let is_list = object.get("kind").and_then(Value::as_str).is_some_and(|kind| {
                kind.ends_with("List") && object.get("items").is_some_and(Value::is_array)
            });
            if is_list {
                let items = object.remove("items").unwrap_or_default();
                return flatten(items, line, into);
            }
            into.push(Manifest { object: Value::Object(object), line });
            Ok(())
        }
        other => Err(Error::InvalidManifest {
            reason: format!("a manifest is an object, found `{other}`"),
            line,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_streams_become_objects_in_order() {
        let text = "---\n# nothing\n---\napiVersion: v1\nkind: List\nitems:\n- {kind: A}\n- {kind: B}\n---\nkind: C\n";
        let kinds: Vec<Value> = parse(text)
            .expect("valid")
            .into_iter()
            .map(|manifest| manifest.object["kind"].clone())
            .collect();
        assert_eq!(kinds, ["A", "B", "C"]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let of = |text: &str| {
            let manifests = parse(text).expect("valid YAML");
            manifests[0].reference().map_err(|error| error.to_string())
        };
        assert_eq!(of("kind: Pod").unwrap_err(), "the Pod has no `apiVersion`");
        assert_eq!(of("metadata: {name: a}").unwrap_err(), "the object `a` has no `apiVersion`");
        assert_eq!(
            of("{apiVersion: v1, kind: Pod}").unwrap_err(),
            "the Pod has no `metadata.name`"
        );
        let named = of("{apiVersion: v1, kind: Pod, metadata: {name: ../x}}");
        assert_eq!(named.unwrap_err(), "`../x` cannot be the name of an object");
        assert!(parse("a: [").is_err());
        assert!(parse("- 1").is_err());
    }
}
