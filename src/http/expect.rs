//! What a probe waits for: a form of answer, or a form of failure.

use http::StatusCode;
use regex::Regex;
use serde_json::Value;

use super::error::{Failure, HttpError};
use super::response::Response;
use crate::cert::Facts;

/// Everything that is named must hold.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// Any of these; none means 200 to 299.
    pub status: Vec<StatusRange>,
    /// Texts that the body holds.
    pub contains: Vec<String>,
    /// A pattern that the body matches.
    pub matches: Option<Regex>,
    /// Headers by lower-case name: the text that their value holds; empty: any value.
    pub headers: Vec<(String, String)>,
    /// Values in the JSON of the body, by a path such as `headers.X-Id` or `items[0].name`.
    pub json: Vec<(String, Value)>,
    /// The serial number of the server's certificate, in hex.
    pub serial: Option<String>,
    /// The exchange fails, in one of these ways.
    pub fails: Vec<Failure>,
}

/// Status codes from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange(pub u16, pub u16);

impl std::str::FromStr for StatusRange {
    type Err = HttpError;

    /// `200`, `2xx`, `200-299`.
    fn from_str(text: &str) -> Result<Self, HttpError> {
        let code = |text: &str| text.parse::<u16>().ok().filter(|code| (100..600).contains(code));
        let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
        let range = match (class, text.split_once('-')) {
            (Some(class @ 1..=5), _) => Some(Self(class * 100, class * 100 + 99)),
            (_, Some((from, to))) => code(from).zip(code(to)).map(|(from, to)| Self(from, to)),
            _ => code(text).map(|code| Self(code, code)),
        };
        range.ok_or_else(|| HttpError::BadOption {
            what: "a status",
            value: text.to_owned(),
            reason: "write `200`, `2xx` or `200-299`".to_owned(),
        })
    }
}

impl Expectation {
    /// Why an outcome is not the expected one; `None` when it is.
    pub fn defect(&self, outcome: &Result<Response, HttpError>) -> Option<String> {
        match outcome {
            Err(error) if self.fails.is_empty() => Some(error.to_string()),
            Err(error) => {
                let found = error.failure();
                (!self.fails.iter().any(|wanted| Some(*wanted) == found))
                    .then(|| format!("{error} (expected: {})", names(&self.fails)))
            }
            Ok(response) if !self.fails.is_empty() => {
                Some(format!("status {} (expected: {})", code(response.status), names(&self.fails)))
            }
            Ok(response) => self.response_defect(response),
        }
    }

    fn response_defect(&self, response: &Response) -> Option<String> {
        let usual = [StatusRange(200, 299)];
        let wanted = if self.status.is_empty() { &usual[..] } else { &self.status };
        let status = response.status.as_u16();
        if !wanted.iter().any(|range| (range.0..=range.1).contains(&status)) {
            let ranges: Vec<String> = wanted.iter().map(ToString::to_string).collect();
            let excerpt = excerpt(&response.body);
            let said = if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") };
            return Some(format!(
                "status {} instead of {}{said}",
                code(response.status),
                ranges.join(" or ")
            ));
        }
        let text = String::from_utf8_lossy(&response.body);
        if let Some(missing) = self.contains.iter().find(|wanted| !text.contains(wanted.as_str())) {
            return Some(format!("the body lacks `{missing}`: {}", excerpt(&response.body)));
        }
        if let Some(pattern) = &self.matches
            && !pattern.is_match(&text)
        {
            return Some(format!(
                "the body does not match `{pattern}`: {}",
                excerpt(&response.body)
            ));
        }
        self.headers
            .iter()
            .find_map(|(name, wanted)| header_defect(response, name, wanted))
            .or_else(|| self.json_defect(response))
            .or_else(|| self.serial_defect(response))
    }

    fn json_defect(&self, response: &Response) -> Option<String> {
        if self.json.is_empty() {
            return None;
        }
        let Ok(body) = serde_json::from_slice::<Value>(&response.body) else {
            return Some(format!("the body is not JSON: {}", excerpt(&response.body)));
        };
        self.json.iter().find_map(|(path, wanted)| match at_path(&body, path) {
            Some(found) if same(found, wanted) => None,
            Some(found) => Some(format!("`{path}` is {found} instead of {wanted}")),
            None => Some(format!("the body has no `{path}`")),
        })
    }

    fn serial_defect(&self, response: &Response) -> Option<String> {
        let wanted = self.serial.as_ref()?;
        let leaf = response.tls.as_ref().and_then(|tls| tls.chain.first());
        let Some(facts) = leaf.and_then(|leaf| Facts::of(leaf).ok()) else {
            return Some("the server showed no certificate".to_owned());
        };
        (facts.serial != wanted.to_lowercase().replace(':', "")).then(|| {
            format!("the server's certificate has the serial {} instead of {wanted}", facts.serial)
        })
    }
}

impl std::fmt::Display for StatusRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == self.1 { write!(f, "{}", self.0) } else { write!(f, "{}-{}", self.0, self.1) }
    }
}

/// The value at a path such as `headers.X-Id` or `items[0].name`; with a `/` in front it is a JSON pointer.
pub fn at_path<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.starts_with('/') {
        return value.pointer(path);
    }
    path.split('.').try_fold(value, |value, part| {
        let (name, indices) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        let value = if name.is_empty() { value } else { value.get(name)? };
        indices.split('[').filter(|text| !text.is_empty()).try_fold(value, |value, text| {
            value.get(text.strip_suffix(']')?.parse::<usize>().ok()?)
        })
    })
}

/// Equal as a script sees it: a number and its text are not, but 1 and 1.0 are.
fn same(found: &Value, wanted: &Value) -> bool {
    found == wanted || found.as_f64().zip(wanted.as_f64()).is_some_and(|(a, b)| a == b)
}

fn header_defect(response: &Response, name: &str, wanted: &str) -> Option<String> {
    let values: Vec<_> = response
        .headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    if values.is_empty() {
        return Some(format!("the header `{name}` is missing"));
    }
    (!values.iter().any(|value| value.contains(wanted)))
        .then(|| format!("the header `{name}` is `{}` instead of `{wanted}`", values.join(", ")))
}

fn code(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

fn names(failures: &[Failure]) -> String {
    let names: Vec<&str> = failures.iter().map(|failure| failure.name()).collect();
    format!("it fails with {}", names.join(" or "))
}

/// The beginning of a body on one line.
fn excerpt(body: &[u8]) -> String {
    const LENGTH: usize = 120;
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * LENGTH)]);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() > LENGTH {
        line.chars().take(LENGTH).chain(['…']).collect()
    } else {
        line
    }
}
