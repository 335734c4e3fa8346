//! The document as protobuf (`openapi.v2.Document` of gnostic's models), which is how client-go asks for it.
//!
//! Field numbers are those of its `OpenAPIv2.proto`; only what the document holds is written.

use serde_json::Value;

use crate::base::yaml;

/// A message under construction.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.varint(field << 3);
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(field, text.as_bytes());
        }
    }

    fn message(&mut self, field: u64, message: &Self) {
        self.bytes(field, &message.0);
    }

    /// Entries of a map: messages of a name and a value.
    fn named(&mut self, field: u64, entries: &Value, write: fn(&Value) -> Self) {
        for (name, value) in entries.as_object().into_iter().flatten() {
            let mut entry = Self::default();
            entry.bytes(1, name.as_bytes());
            entry.message(2, &write(value));
            self.message(field, &entry);
        }
    }

    /// What begins with `x-`, as YAML.
    fn extensions(&mut self, field: u64, owner: &Value) {
        for (name, value) in owner.as_object().into_iter().flatten() {
            if name.starts_with("x-") {
                let mut entry = Self::default();
                entry.bytes(1, name.as_bytes());
                entry.message(2, &any(value));
                self.message(field, &entry);
            }
        }
    }
}

/// The whole document.
pub(in crate::sandbox::api_server) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    let mut info = Message::default();
    info.text(1, &document["info"]["title"]);
    info.text(2, &document["info"]["version"]);
    out.message(2, &info);
    let mut paths = Message::default();
    paths.named(2, &document["paths"], path_item);
    out.message(8, &paths);
    let mut definitions = Message::default();
    definitions.named(1, &document["definitions"], schema);
    out.message(9, &definitions);
    out.0
}

fn any(value: &Value) -> Message {
    let mut out = Message::default();
    out.bytes(2, yaml::emit(value).as_bytes());
    out
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(field, &operation(&item[method]));
        }
    }
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let mut query = Message::default();
        query.text(2, &parameter["in"]);
        query.text(4, &parameter["name"]);
        query.text(6, &parameter["type"]);
        if parameter["uniqueItems"] == true {
            query.number(20, 1);
        }
        // Within what is no body: `ParametersItem`, `Parameter`, `NonBodyParameter`.
        for field in [3, 2, 1] {
            let inner = std::mem::take(&mut query);
            query.message(field, &inner);
        }
        out.message(8, &query);
    }
    let mut responses = Message::default();
    responses.named(1, &operation["responses"], |found| {
        let (mut response, mut out) = (Message::default(), Message::default());
        response.text(1, &found["description"]);
        out.message(1, &response);
        out
    });
    out.message(9, &responses);
    out.extensions(13, operation);
    out
}

fn schema(found: &Value) -> Message {
    let mut out = Message::default();
    for (field, name) in
        [(1, "$ref"), (2, "format"), (3, "title"), (4, "description"), (13, "pattern")]
    {
        out.text(field, &found[name]);
    }
    for (field, name) in [(6, "multipleOf"), (7, "maximum"), (9, "minimum")] {
        if let Some(value) = found[name].as_f64() {
            out.double(field, value);
        }
    }
    for (field, name) in [
        (11, "maxLength"),
        (12, "minLength"),
        (14, "maxItems"),
        (15, "minItems"),
        (17, "maxProperties"),
        (18, "minProperties"),
    ] {
        if let Some(value) = found[name].as_u64() {
            out.number(field, value);
        }
    }
    for required in found["required"].as_array().into_iter().flatten() {
        out.text(19, required);
    }
    for value in found["enum"].as_array().into_iter().flatten() {
        out.message(20, &any(value));
    }
    match &found["additionalProperties"] {
        Value::Bool(allowed) => {
            let mut item = Message::default();
            item.number(2, u64::from(*allowed));
            out.message(21, &item);
        }
        Value::Object(_) => {
            let mut item = Message::default();
            item.message(1, &schema(&found["additionalProperties"]));
            out.message(21, &item);
        }
        _ => {}
    }
    if found["type"].is_string() {
        let mut item = Message::default();
        item.text(1, &found["type"]);
        out.message(22, &item);
    }
    if found["items"].is_object() {
        let mut item = Message::default();
        item.message(1, &schema(&found["items"]));
        out.message(23, &item);
    }
    if found["properties"].is_object() {
        let mut properties = Message::default();
        properties.named(1, &found["properties"], schema);
        out.message(25, &properties);
    }
    out.extensions(31, found);
    out
}
