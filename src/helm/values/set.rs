//! Values on one line, in the grammar of helm's `--set` flags: `a.b=c,list[0].name=x,words={x,y}`.
//!
//! What Helm does with odd texts is kept: a text that ends too early in an index is no error, an empty key sets nothing, and
//! a name used both for a scalar and for a table ends in the words of Go's type assertion.

use std::iter::Peekable;
use std::str::CharIndices;

use serde_json::{Map, Value as Json};

use crate::helm::template::quote;

type Values = Map<String, Json>;

/// Numbers in brackets beyond this are refused.
const MAX_INDEX: i64 = 65_536;
/// Names of more parts are refused.
const MAX_NESTING: usize = 30;

/// How the text after `=` is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// `--set`: booleans, integers and `null` have their type, everything else is text.
    Typed,
    /// `--set-string`: text.
    Text,
    /// `--set-json`: a JSON value; the whole may be one JSON object.
    Json,
    /// `--set-file`: the name of a file whose content is the value.
    File,
    /// `--set-literal`: all that follows is the text.
    Literal,
}

impl Reading {
    /// The flag of helm.
    pub fn flag(self) -> &'static str {
        match self {
            Self::Typed => "--set",
            Self::Text => "--set-string",
            Self::Json => "--set-json",
            Self::File => "--set-file",
            Self::Literal => "--set-literal",
        }
    }
}

/// A text that sets no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    #[error("failed parsing {flag} data: {reason}")]
    Grammar { flag: &'static str, reason: String },
    #[error("failed parsing --set-json data {0}")]
    Json(String),
    #[error("failed parsing --set-json data JSON: {0}")]
    JsonObject(String),
}

/// Reads a file that `--set-file` names.
pub type ReadFile<'f> = dyn Fn(&str) -> Result<String, String> + 'f;

/// Sets what one text says.
///
/// # Errors
/// In Helm's words.
pub fn set(
    values: &mut Values,
    reading: Reading,
    text: &str,
    read_file: &ReadFile<'_>,
) -> Result<(), SetError> {
    if reading == Reading::Json && text.trim_start().starts_with('{') {
        return match serde_json::from_str(text) {
            Ok(Json::Object(mut map)) => {
                super::to_floats_in(&mut map);
                super::merge_into(values, map);
                Ok(())
            }
            _ => Err(SetError::JsonObject(text.to_owned())),
        };
    }
    let mut parser = Parser { text, chars: text.char_indices().peekable(), reading, read_file };
    loop {
        match parser.key(values, 0) {
            Ok(()) => {}
            Err(Stop::End) => return Ok(()),
            Err(Stop::Because(_)) if reading == Reading::Json => {
                return Err(SetError::Json(text.to_owned()));
            }
            Err(Stop::Because(reason)) => {
                return Err(SetError::Grammar { flag: reading.flag(), reason });
            }
        }
    }
}

/// Why reading stops.
enum Stop {
    /// The text is used up.
    End,
    Because(String),
}

fn because<T>(reason: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Because(reason.into()))
}

/// What Go says when a value is of another type than the text needs.
fn conversion<T>(found: &Json, wanted: &str) -> Result<T, Stop> {
    let found = match found {
        Json::Null => "nil",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    };
    because(format!(
        "unable to parse key: interface conversion: interface {{}} is {found}, not {wanted}"
    ))
}

struct Parser<'t> {
    text: &'t str,
    chars: Peekable<CharIndices<'t>>,
    reading: Reading,
    read_file: &'t ReadFile<'t>,
}

impl Parser<'_> {
    /// The characters before one of `stops`, and that one; none when the text ends first.
    fn until(&mut self, stops: &str) -> (String, Option<char>) {
        let mut found = String::new();
        while let Some((_, c)) = self.chars.next() {
            if stops.contains(c) {
                return (found, Some(c));
            }
            if c == '\\' && self.reading != Reading::Literal {
                match self.chars.next() {
                    Some((_, next)) => found.push(next),
                    None => return (found, None),
                }
            } else {
                found.push(c);
            }
        }
        (found, None)
    }

    fn key(&mut self, values: &mut Values, level: usize) -> Result<(), Stop> {
        let stops = if self.reading == Reading::Literal { "=[." } else { "=[,." };
        let (key, stop) = self.until(stops);
        match stop {
            None if key.is_empty() => Err(Stop::End),
            None => because(format!("key {} has no value", quote(&key))),
            Some('[') => {
                let index = self.index()?;
                let mut list = match values.get(&key) {
                    None => Vec::new(),
                    Some(Json::Array(list)) => list.clone(),
                    Some(other) => return conversion(other, "[]interface {}"),
                };
                let done = self.item(&mut list, index, level);
                put(values, key, Json::Array(list));
                done
            }
            Some('=') => {
                let (value, done) = self.value()?;
                put(values, key, value);
                done
            }
            Some(',') => because(format!("key {} has no value (cannot end with ,)", quote(&key))),
            Some(_) => {
                let level = level + 1;
                if level > MAX_NESTING {
                    return because(format!(
                        "value name nested level is greater than maximum supported nested level of {MAX_NESTING}"
                    ));
                }
                let mut inner = match values.get(&key) {
                    None => Values::new(),
                    Some(Json::Object(inner)) => inner.clone(),
                    Some(other) => return conversion(other, "map[string]interface {}"),
                };
                let done = self.key(&mut inner, level);
                if inner.is_empty() {
                    return match done {
                        Ok(()) => because(format!("key map {} has no value", quote(&key))),
                        stop => stop,
                    };
                }
                put(values, key, Json::Object(inner));
                done
            }
        }
    }

    /// The number in brackets. A text that ends inside them ends the reading without a complaint.
    fn index(&mut self) -> Result<i64, Stop> {
        let (digits, stop) = self.until("]");
        if stop.is_none() {
            return Err(Stop::End);
        }
        digits.parse().or_else(|_| {
            let number = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
            let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
            let why = if is_number { "value out of range" } else { "invalid syntax" };
            because(format!("error parsing index: strconv.Atoi: parsing {}: {why}", quote(&digits)))
        })
    }

    /// What follows an index: a value, a further index, or a name.
    fn item(&mut self, list: &mut Vec<Json>, index: i64, level: usize) -> Result<(), Stop> {
        if index < 0 {
            return because(format!("negative {index} index not allowed"));
        }
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let (rest, stop) = self.until("[.=");
        if !rest.is_empty() {
            // Go shows the characters one by one.
            let shown: Vec<String> = rest.chars().map(|c| format!("{c:?}")).collect();
            let shown = shown.join(" ");
            return because(format!("unexpected data at end of array index: [{shown}]"));
        }
        match stop {
            None => Err(Stop::End),
            Some('=') => {
                let (value, done) = self.value()?;
                put_at(list, index, value)?;
                // A text that ends after the sign has set the empty text; the next key tells the end.
                match done {
                    Err(Stop::End) => Ok(()),
                    done => done,
                }
            }
            Some('[') => {
                let next = self.index()?;
                let mut inner = match list.get(at) {
                    None | Some(Json::Null) => Vec::new(),
                    Some(Json::Array(inner)) => inner.clone(),
                    Some(other) => return conversion(other, "[]interface {}"),
                };
                self.item(&mut inner, next, level)?;
                put_at(list, index, Json::Array(inner))
            }
            Some(_) => {
                let mut inner = match list.get(at) {
                    Some(Json::Object(inner)) => inner.clone(),
                    _ => Values::new(),
                };
                let done = self.key(&mut inner, level);
                // What is there is changed in place, whatever comes after.
                if done.is_ok() || at < list.len() {
                    put_at(list, index, Json::Object(inner))?;
                }
                done
            }
        }
    }

    /// The value after `=`, and whether the text goes on.
    fn value(&mut self) -> Result<(Json, Result<(), Stop>), Stop> {
        match self.reading {
            Reading::Literal => Ok((Json::from(self.until("").0), Ok(()))),
            Reading::Json => self.json().map(|value| (value, Ok(()))),
            Reading::Typed | Reading::Text | Reading::File => match self.chars.peek() {
                None => Ok((Json::from(""), Err(Stop::End))),
                Some((_, '{')) => {
                    self.chars.next();
                    self.list().map(|list| (list, Ok(())))
                }
                Some(_) => {
                    let (text, _) = self.until(",");
                    self.scalar(&text).map(|value| (value, Ok(())))
                }
            },
        }
    }

    fn list(&mut self) -> Result<Json, Stop> {
        let mut items = Vec::new();
        loop {
            let (text, stop) = self.until(",}");
            match stop {
                None => return because("list must terminate with '}'"),
                Some(stop) => {
                    items.push(self.scalar(&text)?);
                    if stop == '}' {
                        self.chars.next_if(|(_, c)| *c == ',');
                        return Ok(Json::Array(items));
                    }
                }
            }
        }
    }

    fn scalar(&self, text: &str) -> Result<Json, Stop> {
        match self.reading {
            Reading::File => (self.read_file)(text).map(Json::from).or_else(because),
            Reading::Typed => Ok(typed(text)),
            Reading::Text | Reading::Json | Reading::Literal => Ok(Json::from(text)),
        }
    }

    /// A JSON value up to the next comma; nothing is `null`.
    fn json(&mut self) -> Result<Json, Stop> {
        if self.is_empty_value() {
            return Ok(Json::Null);
        }
        let from = self.chars.peek().map_or(self.text.len(), |(at, _)| *at);
        let mut values = serde_json::Deserializer::from_str(&self.text[from..]).into_iter::<Json>();
        let Some(Ok(mut value)) = values.next() else { return because("invalid JSON") };
        super::to_floats(&mut value);
        let end = from + values.byte_offset();
        while self.chars.next_if(|(at, _)| *at < end).is_some() {}
        self.is_empty_value();
        Ok(value)
    }

    /// Whether nothing stands before the next comma, which is taken.
    fn is_empty_value(&mut self) -> bool {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
        match self.chars.peek() {
            None => true,
            Some((_, ',')) => {
                self.chars.next();
                true
            }
            Some(_) => false,
        }
    }
}

fn put(values: &mut Values, key: String, value: Json) {
    if !key.is_empty() {
        values.insert(key, value);
    }
}

fn put_at(list: &mut Vec<Json>, index: i64, value: Json) -> Result<(), Stop> {
    if index > MAX_INDEX {
        return because(format!(
            "index of {index} is greater than maximum supported index of {MAX_INDEX}"
        ));
    }
    let at = usize::try_from(index).unwrap_or(0);
    if list.len() <= at {
        list.resize(at + 1, Json::Null);
    }
    list[at] = value;
    Ok(())
}

/// `true`, `null` and whole numbers without leading zeros are not text.
fn typed(text: &str) -> Json {
    if text.eq_ignore_ascii_case("true") {
        return Json::Bool(true);
    }
    if text.eq_ignore_ascii_case("false") {
        return Json::Bool(false);
    }
    if text.eq_ignore_ascii_case("null") {
        return Json::Null;
    }
    match text.parse::<i64>() {
        Ok(number) if text == "0" || !text.starts_with('0') => Json::from(number),
        _ => Json::from(text),
    }
}
