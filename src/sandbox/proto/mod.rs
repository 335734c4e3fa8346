//! Request bodies of typed Go clients: `application/vnd.kubernetes.protobuf` to the JSON that means the same.
//!
//! client-go's typed clients (kubectl create, Helm's release Secrets) send protobuf and take JSON back, so decoding is
//! all there is. The messages are data (`messages.json.gz`), drawn from the `generated.proto` files of Kubernetes 1.36.3
//! and the tags of their Go structs: which message a field has inlined, which zero values JSON leaves out.
//!
//! Bodies come from anywhere: every length is checked, nesting is limited, and an unknown field is skipped, as Go does.

mod special;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Map, Value};

use self::wire::{Field, Reader};

/// The media type.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
const DEEPEST: usize = 64;
const META: &str = "k8s.io.apimachinery.pkg.apis.meta.v1";

/// A body that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// It does not begin with `k8s\0`.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoEnvelope,
    /// The bytes end within a value, or lengths do not fit.
    #[error("the protobuf body is cut or damaged at byte {at}")]
    Damaged {
        /// How far it could be read.
        at: usize,
    },
    /// Messages within messages beyond all reason.
    #[error("the protobuf body nests more than {DEEPEST} messages")]
    TooDeep,
    /// No such message is known.
    #[error("no kind {kind} is registered for version {api_version}")]
    UnknownKind {
        /// `apps/v1`
        api_version: String,
        /// `Deployment`
        kind: String,
    },
    /// A JSON text within the message is none.
    #[error("the protobuf body holds JSON that cannot be read: {message}")]
    Json {
        /// What is wrong with it.
        message: String,
    },
}

/// Whether a `Content-Type` names protobuf.
pub fn is_protobuf(content_type: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case(MEDIA_TYPE)
}

/// Decodes a body into the object that its JSON would be.
///
/// # Errors
/// Bodies that are no envelope, damaged, or of a kind that has no protobuf form (custom resources).
pub fn decode(body: &[u8]) -> Result<Value, ProtoError> {
    decode_at(body, 0)
}

fn decode_at(body: &[u8], depth: usize) -> Result<Value, ProtoError> {
    let envelope = body.strip_prefix(MAGIC).ok_or(ProtoError::NoEnvelope)?;
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut raw: &[u8] = &[];
    let mut reader = Reader::new(envelope);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(meta)) => {
                let mut meta = Reader::new(meta);
                while let Some((number, field)) = meta.next()? {
                    match (number, field) {
                        (1, Field::Bytes(text)) => api_version = lossy(text),
                        (2, Field::Bytes(text)) => kind = lossy(text),
                        _ => {}
                    }
                }
            }
            (2, Field::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let catalogue = Messages::load();
    let name = catalogue.message_of(&api_version, &kind).ok_or_else(|| {
        ProtoError::UnknownKind { api_version: api_version.clone(), kind: kind.clone() }
    })?;
    let mut object = match decode_message(catalogue, &name, raw, depth)? {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    object.insert("apiVersion".to_owned(), Value::from(api_version));
    object.insert("kind".to_owned(), Value::from(kind));
    Ok(Value::Object(object))
}

/// One field of a message: number, JSON name, type, flags.
#[derive(Debug, Deserialize)]
struct FieldType(u32, String, String, String);

impl FieldType {
    fn has(&self, flag: char) -> bool {
        self.3.contains(flag)
    }

    fn is_list(&self) -> bool {
        self.has('r')
    }

    fn is_map(&self) -> bool {
        self.has('m')
    }

    /// Its fields belong to the message around it.
    fn is_inlined(&self) -> bool {
        self.has('i')
    }

    /// JSON leaves the zero value out: `omitempty`, and no pointer.
    fn omits_zero(&self) -> bool {
        self.has('o') && !self.has('p')
    }
}

#[derive(Debug, Default, Deserialize)]
struct Messages {
    /// `apps/v1` to `k8s.io.api.apps.v1`
    groups: BTreeMap<String, String>,
    /// Messages that are lists in JSON.
    lists: BTreeSet<String>,
    messages: BTreeMap<String, Vec<FieldType>>,
}

impl Messages {
    fn load() -> &'static Self {
        static MESSAGES: OnceLock<Messages> = OnceLock::new();
        MESSAGES.get_or_init(|| {
            let mut text = String::new();
            match GzDecoder::new(&include_bytes!("messages.json.gz")[..]).read_to_string(&mut text)
            {
                Ok(_) => serde_json::from_str(&text).unwrap_or_default(),
                Err(_) => Self::default(),
            }
        })
    }

    /// The message of a kind. Options of requests are in every group.
    fn message_of(&self, api_version: &str, kind: &str) -> Option<String> {
        let own = self.groups.get(api_version).map(|package| format!("{package}.{kind}"));
        let shared = ["DeleteOptions", "CreateOptions", "PatchOptions", "UpdateOptions", "Status"]
            .contains(&kind)
            .then(|| format!("{META}.{kind}"));
        own.into_iter().chain(shared).find(|name| self.messages.contains_key(name))
    }
}

fn decode_message(
    catalogue: &Messages,
    name: &str,
    bytes: &[u8],
    depth: usize,
) -> Result<Value, ProtoError> {
    if depth > DEEPEST {
        return Err(ProtoError::TooDeep);
    }
    if let Some(value) = special::decode(catalogue, name, bytes, depth) {
        return value;
    }
    let mut fields = Map::new();
    decode_fields(catalogue, name, bytes, depth, &mut fields)?;
    if catalogue.lists.contains(name) {
        return Ok(fields.remove("items").unwrap_or_else(|| Value::Array(Vec::new())));
    }
    Ok(Value::Object(fields))
}

fn decode_fields(
    catalogue: &Messages,
    name: &str,
    bytes: &[u8],
    depth: usize,
    out: &mut Map<String, Value>,
) -> Result<(), ProtoError> {
    let types = catalogue.messages.get(name).map(Vec::as_slice).unwrap_or_default();
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next()? {
        let Some(typ) = types.iter().find(|typ| typ.0 == number) else { continue };
        if typ.is_inlined() {
            if let Field::Bytes(bytes) = field {
                if depth > DEEPEST {
                    return Err(ProtoError::TooDeep);
                }
                decode_fields(catalogue, &typ.2, bytes, depth + 1, out)?;
            }
        } else if typ.is_map() {
            if let Field::Bytes(entry) = field {
                let (key, value) = decode_entry(catalogue, &typ.2, entry, depth)?;
                let map = out.entry(typ.1.as_str()).or_insert_with(|| Value::Object(Map::new()));
                if let Some(map) = map.as_object_mut() {
                    map.insert(key, value);
                }
            }
        } else if typ.is_list() {
            let mut items = Vec::new();
            match (field, typ.2.as_str()) {
                (Field::Bytes(packed), scalar) if is_varint(scalar) => {
                    let mut packed = Reader::new(packed);
                    while let Some(value) = packed.varint_if_any()? {
                        items.push(number_value(scalar, value));
                    }
                }
                (field, scalar) => {
                    items.extend(decode_value(catalogue, scalar, field, depth)?);
                }
            }
            let list = out.entry(typ.1.as_str()).or_insert_with(|| Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                list.extend(items);
            }
        } else if let Some(value) = decode_value(catalogue, &typ.2, field, depth)?
            && !(typ.omits_zero() && is_zero(&value))
            && !(typ.has('o') && value.is_null())
        {
            out.insert(typ.1.clone(), value);
        }
    }
    Ok(())
}

fn decode_entry(
    catalogue: &Messages,
    typ: &str,
    entry: &[u8],
    depth: usize,
) -> Result<(String, Value), ProtoError> {
    let mut key = String::new();
    let mut value = None;
    let mut reader = Reader::new(entry);
    while let Some((number, field)) = reader.next()? {
        match (number, field) {
            (1, Field::Bytes(text)) => key = lossy(text),
            (1, Field::Varint(number)) => key = number.to_string(),
            (2, field) => value = decode_value(catalogue, typ, field, depth)?,
            _ => {}
        }
    }
    let value = match value {
        Some(value) => value,
        // An entry without a value holds the zero value.
        None => match typ {
            "string" | "bytes" => Value::from(""),
            scalar if is_varint(scalar) => number_value(scalar, 0),
            message => decode_message(catalogue, message, &[], depth + 1)?,
        },
    };
    Ok((key, value))
}

/// `None` for a field whose wire type does not fit its type.
fn decode_value(
    catalogue: &Messages,
    typ: &str,
    field: Field<'_>,
    depth: usize,
) -> Result<Option<Value>, ProtoError> {
    Ok(match (typ, field) {
        ("string", Field::Bytes(text)) => Some(Value::from(lossy(text))),
        ("bytes", Field::Bytes(bytes)) => Some(Value::from(STANDARD.encode(bytes))),
        ("double", Field::Fixed64(bits)) => Some(Value::from(f64::from_bits(bits))),
        ("float", Field::Fixed32(bits)) => Some(Value::from(f32::from_bits(bits))),
        (scalar, Field::Varint(value)) if is_varint(scalar) => Some(number_value(scalar, value)),
        ("string" | "bytes" | "double" | "float", _) => None,
        (scalar, _) if is_varint(scalar) => None,
        (message, Field::Bytes(bytes)) => {
            Some(decode_message(catalogue, message, bytes, depth + 1)?)
        }
        _ => None,
    })
}

fn is_varint(typ: &str) -> bool {
    matches!(typ, "bool" | "int32" | "int64" | "uint32" | "uint64")
}

#[expect(clippy::cast_possible_wrap, reason = "protobuf writes negative numbers as their bits")]
fn number_value(typ: &str, value: u64) -> Value {
    match typ {
        "bool" => Value::from(value != 0),
        "uint32" | "uint64" => Value::from(value),
        _ => Value::from(value as i64),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        // A struct that is no pointer is always written.
        Value::Object(_) => false,
    }
}

/// Go's strings may hold anything; JSON's hold characters.
fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
