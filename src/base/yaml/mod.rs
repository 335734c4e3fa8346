//! YAML as Go's Kubernetes tools read and write it (sigs.k8s.io/yaml over go-yaml v2).
//!
//! Documents become `serde_json::Value` with YAML 1.1 scalars; `emit` writes what `yaml.Marshal` writes: keys
//! sorted, the same quoting and folding. Reading order: `scan` (text to tokens), `compose` (tokens to values),
//! `resolve` (what a plain scalar means), `emit`. Never panics, whatever the text; nesting beyond 1,000 levels and
//! documents that explode through aliases are errors.
//!
//! Both halves are our own and not a binding: an emitter of arbitrary events is not needed, a reader of untrusted text
//! must not panic, and CRD charts are megabytes.

use std::cmp::Ordering;
use std::fmt;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

mod compose;
mod directives;
mod emit;
mod resolve;
mod scan;

use compose::Composer;
use scan::Mark;

/// Where and why a text is not YAML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct YamlError {
    /// 1-based.
    pub line: usize,
    /// 1-based, 0 when unknown.
    pub column: usize,
    pub message: String,
    /// The line that go-yaml names, which is often the one before; 0 where it names none.
    go_line: usize,
    /// The message does not come from go-yaml but from the step to JSON after it.
    bare: bool,
}

impl std::error::Error for YamlError {}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "yaml: line {}: {}", self.line, self.message)
    }
}

impl YamlError {
    /// A problem of the grammar.
    fn at(mark: Mark, message: &str) -> Self {
        Self {
            line: mark.line + 1,
            column: mark.column + 1,
            message: message.to_owned(),
            go_line: mark.line,
            bare: false,
        }
    }

    /// A problem of the characters.
    fn scanner(mark: Mark, message: &str) -> Self {
        let go_line = if mark.line == 0 { 0 } else { mark.line + 1 };
        Self { go_line, ..Self::at(mark, message) }
    }

    /// go-yaml names the line of the context when the problem is in the first line.
    fn with_context(self, context: Mark) -> Self {
        let go_line = if self.go_line == 0 { context.line } else { self.go_line };
        Self { go_line, ..self }
    }

    fn without_line(mark: Mark, message: &str) -> Self {
        Self { go_line: 0, ..Self::at(mark, message) }
    }

    fn bare(mark: Mark, message: String) -> Self {
        Self { bare: true, ..Self::without_line(mark, &message) }
    }

    /// The error as `sigs.k8s.io/yaml` words it: `error converting YAML to JSON: yaml: line 3: …`.
    pub fn go_text(&self) -> String {
        format!("error converting YAML to JSON: {}", self.bare_go_text())
    }

    /// The same without what it was done for: `yaml: line 3: …`.
    pub fn bare_go_text(&self) -> String {
        match (self.bare, self.go_line) {
            (true, _) => self.message.clone(),
            (false, 0) => format!("yaml: {}", self.message),
            (false, line) => format!("yaml: line {line}: {}", self.message),
        }
    }
}

/// One document of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// 1-based line of the stream at which the document begins.
    pub line: usize,
    pub value: Value,
}

/// Parses one document; an empty text is `null`. What follows the first document is not read.
pub fn parse(text: &str) -> Result<Value, YamlError> {
    Ok(Composer::new(text)?.document()?.map_or(Value::Null, |document| document.value))
}

/// As [`parse`], for a text that may have so many levels and no more: parsing recurses, and not every thread has the stack
/// for a deep one. With it comes what go-yaml says of keys that came again: `line 6: key "a" already set in map`.
pub fn parse_within(text: &str, deepest: usize) -> Result<(Value, Vec<String>), YamlError> {
    let mut composer = Composer::within(text, deepest)?;
    let value = composer.document()?.map_or(Value::Null, |document| document.value);
    Ok((value, composer.doubled()))
}

/// Parses a stream; empty documents are left out.
pub fn parse_documents(text: &str) -> Result<Vec<Document>, YamlError> {
    let mut composer = Composer::new(text)?;
    let mut documents = Vec::new();
    while let Some(document) = composer.document()? {
        if !document.value.is_null() {
            documents.push(document);
        }
    }
    Ok(documents)
}

/// Writes a value as `sigs.k8s.io/yaml` does, ending with a newline.
pub fn emit(value: &Value) -> String {
    emit::document(value, false)
}

/// Writes a value as go-yaml v3 does with two spaces: sequences are indented inside mappings, nothing is folded.
pub fn emit_indented(value: &Value) -> String {
    emit::document(value, true)
}

/// The order of mapping keys in YAML that Go writes: runs of digits compare as numbers, letters come last.
pub fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.chars(), b.chars());
    let mut at = 0;
    loop {
        let (rest_left, rest_right) = (left.as_str(), right.as_str());
        let (x, y) = match (left.next(), right.next()) {
            (Some(x), Some(y)) => (x, y),
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
        };
        if x == y {
            at += x.len_utf8();
            continue;
        }
        return match (x.is_alphabetic(), y.is_alphabetic()) {
            (true, true) => x.cmp(&y),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                // A zero after a nonzero digit is no leading zero: both numbers get the same digit before.
                let inside = (x == '0' || y == '0')
                    && a[..at].chars().rev().take_while(|c| is_digit(*c)).any(|digit| digit != '0');
                let (n_left, len_left) = leading_number(rest_left, inside);
                let (n_right, len_right) = leading_number(rest_right, inside);
                n_left.cmp(&n_right).then(len_left.cmp(&len_right)).then(x.cmp(&y))
            }
        };
    }
}

fn leading_number(text: &str, inside: bool) -> (i64, usize) {
    text.chars().take_while(|c| is_digit(*c)).fold((i64::from(inside), 0), |(number, n), digit| {
        let digit = i64::from(u32::from(digit)) - i64::from(u32::from('0'));
        (number.wrapping_mul(10).wrapping_add(digit), n + 1)
    })
}

/// A decimal digit of any script.
fn is_digit(c: char) -> bool {
    static DIGIT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{Nd}").ok());
    c.is_ascii_digit()
        || (!c.is_ascii()
            && c.is_numeric()
            && DIGIT.as_ref().is_some_and(|digit| digit.is_match(c.encode_utf8(&mut [0; 4]))))
}

/// A float as Go's `%v` prints it: the shortest digits that read back, with an exponent below 1e-4 and from 1e6
/// (`999999`, `1e+06`, `1.2345678e+07`, `1e-05`).
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
}
