//! Tokens to documents: the grammar of YAML, anchors, aliases, merge keys, tags.

use std::collections::HashMap;

use base64::Engine as _;
use serde_json::{Map, Value};

use super::resolve::{Scalar, resolve};
use super::scan::{Kind, MAX_DEPTH, Mark, Scanner, Token};
use super::{Document, YamlError};

const TAG_PREFIX: &str = "tag:yaml.org,2002:";

/// What an anchor stands for.
#[derive(Debug)]
enum Anchor {
    /// Its node is not complete: an alias here would contain itself.
    Open,
    Node {
        value: Value,
        n_nodes: usize,
        n_bytes: usize,
    },
}

/// How many keys that came again are noted.
const MOST_DOUBLED: usize = 100;
/// So much may be copied for the anchors and aliases of a document: go-yaml counts only nodes, however long their texts.
const MAX_COPIED: usize = 256 << 20;
/// What a node takes without its text.
const NODE: usize = 64;

pub(super) struct Composer<'a> {
    scanner: Scanner<'a>,
    anchors: HashMap<&'a str, Anchor>,
    tag_handles: Vec<(String, String)>,
    depth: usize,
    /// The most levels that there may be.
    deepest: usize,
    /// Keys that came again in their mapping, in go-yaml's words.
    doubled: Vec<String>,
    started: bool,
    /// Nodes made so far, and how many of them came from aliases.
    n_nodes: usize,
    n_aliased: usize,
    /// Bytes of their texts, and bytes that were copied.
    n_bytes: usize,
    n_copied: usize,
}

/// The anchor and tag before a node.
#[derive(Default)]
struct Properties<'a> {
    anchor: Option<&'a str>,
    tag: Option<String>,
}

impl<'a> Composer<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, YamlError> {
        Self::within(text, MAX_DEPTH)
    }

    /// A composer of a text that may have so many levels.
    pub(super) fn within(text: &'a str, deepest: usize) -> Result<Self, YamlError> {
        check_characters(text)?;
        Ok(Self {
            scanner: Scanner::new(text),
            anchors: HashMap::new(),
            tag_handles: Vec::new(),
            depth: 0,
            deepest,
            doubled: Vec::new(),
            started: false,
            n_nodes: 0,
            n_aliased: 0,
            n_bytes: 0,
            n_copied: 0,
        })
    }

    /// What go-yaml says of keys that came again, as many as decoders keep.
    pub(super) fn doubled(self) -> Vec<String> {
        self.doubled
    }

    /// The next document; `None` at the end of the stream.
    pub(super) fn document(&mut self) -> Result<Option<Document>, YamlError> {
        self.anchors.clear();
        self.n_nodes = 0;
        self.n_aliased = 0;
        self.n_bytes = 0;
        self.n_copied = 0;
        if self.started {
            while self.scanner.peek()?.kind == Kind::DocumentEnd {
                self.scanner.take()?;
            }
        }
        let first = self.scanner.peek()?;
        let start = first.start;
        if first.kind == Kind::StreamEnd {
            return Ok(None);
        }
        let explicit = matches!(
            first.kind,
            Kind::VersionDirective { .. } | Kind::TagDirective { .. } | Kind::DocumentStart
        );
        let mut line = start.line;
        let value = if explicit || self.started {
            self.directives()?;
            let token = self.scanner.take()?;
            if token.kind != Kind::DocumentStart {
                return Err(YamlError::at(token.start, "did not find expected <document start>"));
            }
            let next = self.scanner.peek()?;
            if matches!(
                next.kind,
                Kind::VersionDirective { .. }
                    | Kind::TagDirective { .. }
                    | Kind::DocumentStart
                    | Kind::DocumentEnd
                    | Kind::StreamEnd
            ) {
                Value::Null
            } else {
                line = next.start.line;
                self.node(true, false)?
            }
        } else {
            self.tag_handles.clear();
            self.node(true, false)?
        };
        self.started = true;
        if self.scanner.peek()?.kind == Kind::DocumentEnd {
            self.scanner.take()?;
        }
        Ok(Some(Document { line: line + 1, value }))
    }

    fn directives(&mut self) -> Result<(), YamlError> {
        self.tag_handles.clear();
        let mut versioned = false;
        loop {
            let token = self.scanner.peek()?;
            let start = token.start;
            match &token.kind {
                Kind::VersionDirective { major, minor } => {
                    if versioned {
                        return Err(YamlError::at(start, "found duplicate %YAML directive"));
                    }
                    if (*major, *minor) != (1, 1) {
                        return Err(YamlError::at(start, "found incompatible YAML document"));
                    }
                    versioned = true;
                }
                Kind::TagDirective { handle, prefix } => {
                    if self.tag_handles.iter().any(|(known, _)| known == handle) {
                        return Err(YamlError::at(start, "found duplicate %TAG directive"));
                    }
                    self.tag_handles.push((handle.clone(), prefix.clone()));
                }
                _ => return Ok(()),
            }
            self.scanner.take()?;
        }
    }

    fn node(&mut self, block: bool, indentless: bool) -> Result<Value, YamlError> {
        self.depth += 1;
        if self.depth > self.deepest {
            let start = self.scanner.peek()?.start;
            return Err(YamlError::at(start, &format!("exceeded max depth of {}", self.deepest)));
        }
        let value = self.node_within(block, indentless);
        self.depth -= 1;
        value
    }

    fn node_within(&mut self, block: bool, indentless: bool) -> Result<Value, YamlError> {
        if let Kind::Alias(name) = self.scanner.peek()?.kind {
            let start = self.scanner.take()?.start;
            return self.alias(name, start);
        }
        let start = self.scanner.peek()?.start;
        let properties = self.properties()?;
        let (before, bytes_before) = (self.n_nodes, self.n_bytes);
        self.n_nodes += 1;
        if let Some(anchor) = properties.anchor {
            self.anchors.insert(anchor, Anchor::Open);
        }
        let token = self.scanner.peek()?;
        let value = match &token.kind {
            Kind::BlockEntry if indentless => self.indentless_sequence()?,
            Kind::Scalar { .. } => {
                let Token { kind: Kind::Scalar { text, plain }, start } = self.scanner.take()?
                else {
                    return Err(YamlError::at(start, "did not find expected node content"));
                };
                self.n_bytes += text.len();
                scalar(&text, plain, properties.tag.as_deref(), start)?
            }
            Kind::FlowSequenceStart => self.flow_sequence()?,
            Kind::FlowMappingStart => self.flow_mapping()?,
            Kind::BlockSequenceStart if block => self.block_sequence()?,
            Kind::BlockMappingStart if block => self.block_mapping()?,
            _ if properties.anchor.is_some() || properties.tag.is_some() => {
                scalar("", true, properties.tag.as_deref(), start)?
            }
            _ => {
                return Err(YamlError::at(token.start, "did not find expected node content")
                    .with_context(start));
            }
        };
        if let Some(anchor) = properties.anchor {
            let (n_nodes, n_bytes) = (self.n_nodes - before, self.n_bytes - bytes_before);
            self.copying(n_nodes, n_bytes, start)?;
            let node = Anchor::Node { value: value.clone(), n_nodes, n_bytes };
            self.anchors.insert(anchor, node);
        }
        Ok(value)
    }

    /// A copy of the anchor's node. Copies are counted as go-yaml counts them, so that a small text cannot become a
    /// huge value.
    fn alias(&mut self, name: &str, start: Mark) -> Result<Value, YamlError> {
        match self.anchors.get(name) {
            None => {
                let message = format!("unknown anchor '{name}' referenced");
                Err(YamlError::without_line(start, &message))
            }
            Some(Anchor::Open) => {
                let message = format!("anchor '{name}' value contains itself");
                Err(YamlError::without_line(start, &message))
            }
            Some(Anchor::Node { value, n_nodes, n_bytes }) => {
                let value = value.clone();
                let (n_nodes, n_bytes) = (*n_nodes, *n_bytes);
                self.n_nodes += n_nodes + 1;
                self.n_bytes += n_bytes;
                self.n_aliased += n_nodes;
                let (total, aliased) = (self.n_nodes, self.n_aliased);
                if aliased > 100 && total > 1_000 && ratio(aliased, total) > allowed_ratio(total) {
                    return Err(excessive(start));
                }
                self.copying(n_nodes, n_bytes, start)?;
                Ok(value)
            }
        }
    }

    /// Counts what a copy takes.
    fn copying(&mut self, n_nodes: usize, n_bytes: usize, start: Mark) -> Result<(), YamlError> {
        self.n_copied += NODE * n_nodes + n_bytes;
        if self.n_copied > MAX_COPIED { Err(excessive(start)) } else { Ok(()) }
    }

    fn properties(&mut self) -> Result<Properties<'a>, YamlError> {
        let mut properties = Properties::default();
        loop {
            let token = self.scanner.peek()?;
            let start = token.start;
            match &token.kind {
                Kind::Anchor(name) if properties.anchor.is_none() => {
                    properties.anchor = Some(name);
                }
                Kind::Tag { handle, suffix } if properties.tag.is_none() => {
                    let tag = if handle.is_empty() {
                        suffix.clone()
                    } else {
                        let known = self.tag_handles.iter().find(|(known, _)| known == handle);
                        let prefix = match (known, handle.as_str()) {
                            (Some((_, prefix)), _) => prefix,
                            (None, "!") => "!",
                            (None, "!!") => TAG_PREFIX,
                            (None, _) => {
                                return Err(YamlError::at(start, "found undefined tag handle"));
                            }
                        };
                        format!("{prefix}{suffix}")
                    };
                    properties.tag = Some(tag);
                }
                _ => return Ok(properties),
            }
            self.scanner.take()?;
        }
    }

    fn block_sequence(&mut self) -> Result<Value, YamlError> {
        let start = self.scanner.take()?.start;
        let mut items = Vec::new();
        loop {
            let token = self.scanner.take()?;
            match token.kind {
                Kind::BlockEntry => {
                    let next = &self.scanner.peek()?.kind;
                    items.push(if matches!(next, Kind::BlockEntry | Kind::BlockEnd) {
                        self.empty()
                    } else {
                        self.node(true, false)?
                    });
                }
                Kind::BlockEnd => return Ok(Value::Array(items)),
                _ => {
                    return Err(YamlError::at(token.start, "did not find expected '-' indicator")
                        .with_context(start));
                }
            }
        }
    }

    fn indentless_sequence(&mut self) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        while self.scanner.peek()?.kind == Kind::BlockEntry {
            self.scanner.take()?;
            let next = &self.scanner.peek()?.kind;
            let empty = matches!(next, Kind::BlockEntry | Kind::Key | Kind::Value | Kind::BlockEnd);
            items.push(if empty { self.empty() } else { self.node(true, false)? });
        }
        Ok(Value::Array(items))
    }

    fn block_mapping(&mut self) -> Result<Value, YamlError> {
        let start = self.scanner.take()?.start;
        let mut map = Map::new();
        loop {
            let token = self.scanner.take()?;
            match token.kind {
                Kind::Key => {
                    let next = self.scanner.peek()?;
                    let at = next.start;
                    let empty = matches!(next.kind, Kind::Key | Kind::Value | Kind::BlockEnd);
                    let key = if empty { Key::Null } else { self.key(true)? };
                    let line = self.scanner.peek()?.start.line;
                    let value = self.block_value()?;
                    self.note_doubled(&map, &key, line);
                    insert(&mut map, key, value, at)?;
                }
                // A value without a key.
                Kind::Value => {
                    return Err(
                        YamlError::at(token.start, "did not find expected key").with_context(start)
                    );
                }
                Kind::BlockEnd => return Ok(Value::Object(map)),
                _ => {
                    return Err(
                        YamlError::at(token.start, "did not find expected key").with_context(start)
                    );
                }
            }
        }
    }

    fn block_value(&mut self) -> Result<Value, YamlError> {
        if self.scanner.peek()?.kind != Kind::Value {
            return Ok(self.empty());
        }
        self.scanner.take()?;
        let next = &self.scanner.peek()?.kind;
        if matches!(next, Kind::Key | Kind::Value | Kind::BlockEnd) {
            return Ok(self.empty());
        }
        self.node(true, true)
    }

    fn flow_sequence(&mut self) -> Result<Value, YamlError> {
        let start = self.scanner.take()?.start;
        let mut items = Vec::new();
        loop {
            let token = self.scanner.peek()?;
            if token.kind == Kind::FlowSequenceEnd {
                break;
            }
            if !items.is_empty() {
                if token.kind != Kind::FlowEntry {
                    return Err(YamlError::at(token.start, "did not find expected ',' or ']'")
                        .with_context(start));
                }
                self.scanner.take()?;
            }
            match self.scanner.peek()?.kind {
                Kind::Key => items.push(self.flow_pair()?),
                Kind::FlowSequenceEnd => break,
                _ => items.push(self.node(false, false)?),
            }
        }
        self.scanner.take()?;
        Ok(Value::Array(items))
    }

    /// `[key: value]`: a mapping of one pair.
    fn flow_pair(&mut self) -> Result<Value, YamlError> {
        let at = self.scanner.take()?.start;
        self.n_nodes += 1;
        let next = &self.scanner.peek()?.kind;
        let key = if matches!(next, Kind::Value | Kind::FlowEntry | Kind::FlowSequenceEnd) {
            Key::Null
        } else {
            self.key(false)?
        };
        let value = self.flow_value()?;
        let mut map = Map::new();
        insert(&mut map, key, value, at)?;
        Ok(Value::Object(map))
    }

    fn flow_mapping(&mut self) -> Result<Value, YamlError> {
        let start = self.scanner.take()?.start;
        let mut map = Map::new();
        let mut first = true;
        loop {
            let token = self.scanner.peek()?;
            if token.kind == Kind::FlowMappingEnd {
                break;
            }
            if !first {
                if token.kind != Kind::FlowEntry {
                    return Err(YamlError::at(token.start, "did not find expected ',' or '}'")
                        .with_context(start));
                }
                self.scanner.take()?;
            }
            first = false;
            let token = self.scanner.peek()?;
            let at = token.start;
            match token.kind {
                Kind::FlowMappingEnd => break,
                Kind::Key => {
                    self.scanner.take()?;
                    let next = &self.scanner.peek()?.kind;
                    let empty =
                        matches!(next, Kind::Value | Kind::FlowEntry | Kind::FlowMappingEnd);
                    let key = if empty { Key::Null } else { self.key(false)? };
                    let line = self.scanner.peek()?.start.line;
                    let value = self.flow_value()?;
                    self.note_doubled(&map, &key, line);
                    insert(&mut map, key, value, at)?;
                }
                _ => {
                    let key = self.key(false)?;
                    let value = self.empty();
                    insert(&mut map, key, value, at)?;
                }
            }
        }
        self.scanner.take()?;
        Ok(Value::Object(map))
    }

    fn flow_value(&mut self) -> Result<Value, YamlError> {
        if self.scanner.peek()?.kind != Kind::Value {
            return Ok(self.empty());
        }
        self.scanner.take()?;
        let next = &self.scanner.peek()?.kind;
        if matches!(next, Kind::FlowEntry | Kind::FlowMappingEnd | Kind::FlowSequenceEnd) {
            return Ok(self.empty());
        }
        self.node(false, false)
    }

    fn note_doubled(&mut self, map: &Map<String, Value>, key: &Key, line: usize) {
        if let Key::Text(text) = key
            && self.doubled.len() < MOST_DOUBLED
            && map.contains_key(text)
        {
            let key = go_syntax(&Value::from(text.as_str()));
            self.doubled.push(format!("line {}: key {key} already set in map", line + 1));
        }
    }

    fn empty(&mut self) -> Value {
        self.n_nodes += 1;
        Value::Null
    }

    /// A mapping key: its scalar's type decides the text, so it is not made a value first.
    fn key(&mut self, block: bool) -> Result<Key, YamlError> {
        if let Kind::Scalar { .. } = self.scanner.peek()?.kind {
            let Token { kind: Kind::Scalar { text, plain }, start } = self.scanner.take()? else {
                return Ok(Key::Null);
            };
            self.n_nodes += 1;
            if !plain {
                return Ok(Key::Text(text.into_owned()));
            }
            if text == "<<" {
                return Ok(Key::Merge);
            }
            return Ok(match resolve(&text) {
                Scalar::Str(_) => Key::Text(text.into_owned()),
                other => match other.to_key() {
                    Some(key) => Key::Text(key),
                    None if text.is_empty() || other == Scalar::Null => Key::Null,
                    None => return Err(YamlError::without_line(start, "invalid map key")),
                },
            });
        }
        Ok(match self.node(block, block)? {
            Value::Null => Key::Null,
            Value::String(text) => Key::Text(text),
            Value::Bool(value) => Key::Text(value.to_string()),
            Value::Number(value) => Key::Text(value.to_string()),
            value @ (Value::Array(_) | Value::Object(_)) => Key::Collection(go_syntax(&value)),
        })
    }
}

enum Key {
    Text(String),
    Merge,
    Null,
    /// A list or map, in Go's notation for the message.
    Collection(String),
}

fn insert(map: &mut Map<String, Value>, key: Key, value: Value, at: Mark) -> Result<(), YamlError> {
    match key {
        Key::Text(text) => {
            map.insert(text, value);
        }
        Key::Merge => merge(map, value, at)?,
        Key::Null => {
            let message = format!(
                "unsupported map key of type: %!s(<nil>), key: <nil>, value: {}",
                go_syntax(&value)
            );
            return Err(YamlError::bare(at, message));
        }
        Key::Collection(text) => {
            return Err(YamlError::without_line(at, &format!("invalid map key: {text}")));
        }
    }
    Ok(())
}

/// `<<: map` or `<<: [map, …]`: of several maps the earlier win.
fn merge(map: &mut Map<String, Value>, value: Value, at: Mark) -> Result<(), YamlError> {
    let wants_map =
        || YamlError::without_line(at, "map merge requires map or sequence of maps as the value");
    match value {
        Value::Object(source) => map.extend(source),
        Value::Array(sources) => {
            for source in sources.into_iter().rev() {
                let Value::Object(source) = source else { return Err(wants_map()) };
                map.extend(source);
            }
        }
        _ => return Err(wants_map()),
    }
    Ok(())
}

/// A value as Go's `%#v` prints what go-yaml made of it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        Value::String(text) => format!("{text:?}"),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let pairs: Vec<String> =
                map.iter().map(|(key, value)| format!("{key:?}:{}", go_syntax(value))).collect();
            format!("map[interface {{}}]interface {{}}{{{}}}", pairs.join(", "))
        }
    }
}

fn excessive(start: Mark) -> YamlError {
    YamlError::without_line(start, "document contains excessive aliasing")
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole as f64
}

/// How much of a document may come from aliases: 99 % of a small one, down to 10 % of a huge one.
fn allowed_ratio(n_nodes: usize) -> f64 {
    const LOW: usize = 400_000;
    const HIGH: usize = 4_000_000;
    match n_nodes {
        ..=LOW => 0.99,
        HIGH.. => 0.10,
        _ => 0.99 - 0.89 * ratio(n_nodes - LOW, HIGH - LOW),
    }
}

/// A scalar's value by its tag, or by its text when it is plain.
fn scalar(text: &str, plain: bool, tag: Option<&str>, start: Mark) -> Result<Value, YamlError> {
    let unsupported = || {
        let name = match text.as_bytes() {
            [_, b'n' | b'N', ..] => "NaN",
            [b'-', ..] => "-Inf",
            _ => "+Inf",
        };
        YamlError::bare(start, format!("json: unsupported value: {name}"))
    };
    let Some(tag) = tag else {
        return if plain {
            resolve(text).to_json().ok_or_else(unsupported)
        } else {
            Ok(Value::from(text))
        };
    };
    let Some(short) = tag.strip_prefix(TAG_PREFIX) else { return Ok(Value::from(text)) };
    let found = resolve(text);
    let fits = match short {
        "binary" => {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text.replace(['\r', '\n'], ""))
                .map_err(|_| {
                    YamlError::without_line(start, "!!binary value contains invalid base64 data")
                })?;
            return Ok(Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        }
        "null" => found == Scalar::Null,
        "bool" => matches!(found, Scalar::Bool(_)),
        "int" => matches!(found, Scalar::Int(_) | Scalar::Uint(_)),
        "float" => matches!(found, Scalar::Float(_) | Scalar::Int(_)),
        "timestamp" => matches!(found, Scalar::Timestamp(_)),
        _ => return Ok(Value::from(text)),
    };
    if !fits {
        let message = format!("cannot decode {} `{text}` as a !!{short}", found.tag());
        return Err(YamlError::without_line(start, &message));
    }
    found.to_json().ok_or_else(unsupported)
}

/// go-yaml's reader refuses control characters anywhere in a text.
fn check_characters(text: &str) -> Result<(), YamlError> {
    let bytes = text.as_bytes();
    // Without an early end the compiler checks many bytes at once; nearly every text passes here.
    let unusual = |byte: &u8| !matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
    if !bytes.iter().fold(false, |found, byte| found | unusual(byte)) {
        return Ok(());
    }
    let bad = bytes.iter().enumerate().position(|(at, byte)| match byte {
        0..=8 | 0x0B | 0x0C | 0x0E..=0x1F | 0x7F => true,
        0xC2 => bytes.get(at + 1).is_some_and(|next| (0x80..0xA0).contains(next) && *next != 0x85),
        0xEF => bytes.get(at + 1) == Some(&0xBF) && bytes.get(at + 2) >= Some(&0xBE),
        _ => false,
    });
    match bad {
        None => Ok(()),
        Some(at) => {
            let before = &bytes[..at];
            let line = before.iter().filter(|byte| **byte == b'\n').count();
            let mark = Mark { line, ..Mark::default() };
            Err(YamlError::without_line(mark, "control characters are not allowed"))
        }
    }
}
