//! Values that must never be shown, and the filter that keeps them out of all output.
//!
//! A `Secret` prints as `***`. What becomes known as secret while a run goes on (keys, tokens, the data of Secrets) is
//! told to the `Redactor`, through which `report` passes every byte that it writes.

use std::collections::BTreeSet;
use std::fmt;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use parking_lot::RwLock;
use regex::Regex;

/// What stands in place of a secret.
pub const MASK: &str = "***";

/// Texts shorter than this are not searched for: they would mask ordinary words.
const MIN_LENGTH: usize = 8;

/// An opaque secret text, such as a private key in PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself; for the wire and for files, never for output.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Knows the secrets of a run and masks them in text, in every form in which our outputs write them.
#[derive(Default)]
pub struct Redactor {
    known: RwLock<Known>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

#[derive(Default)]
struct Known {
    forms: BTreeSet<String>,
    /// Those of `forms` that the automaton does not know yet.
    recent: Vec<String>,
    /// Finds the others, all in one pass.
    automaton: Option<AhoCorasick>,
    /// Secrets with spaces, which YAML may fold at any of them.
    folded: Vec<Regex>,
}

impl Redactor {
    /// Remembers a secret: as it is, by its lines, encoded and escaped. Texts below 8 characters are ignored.
    pub fn learn(&self, secret: &str) {
        if secret.len() < MIN_LENGTH || self.known.read().forms.contains(secret) {
            return;
        }
        let mut known = self.known.write();
        for form in forms(secret) {
            if form.len() >= MIN_LENGTH
                && !form.starts_with("-----")
                && !known.forms.contains(&form)
            {
                known.recent.push(form.clone());
                known.forms.insert(form);
            }
        }
        let words: Vec<String> = secret.split_whitespace().map(regex::escape).collect();
        if words.len() > 1
            && !secret.contains("-----BEGIN")
            && let Ok(pattern) = Regex::new(&words.join(r"\s+"))
        {
            known.folded.push(pattern);
        }
        // Building costs as much as the whole: it is worth it when the new ones have become many.
        if known.recent.len() > 64.max(known.forms.len() / 4) {
            known.automaton = AhoCorasick::new(&known.forms).ok();
            if known.automaton.is_some() {
                known.recent.clear();
            }
        }
    }

    /// The text with every known secret masked.
    pub fn mask(&self, text: &str) -> String {
        let known = self.known.read();
        let mut found: Vec<(usize, usize)> = Vec::new();
        if let Some(automaton) = &known.automaton {
            found.extend(automaton.find_overlapping_iter(text).map(|hit| (hit.start(), hit.end())));
        }
        for form in &known.recent {
            found.extend(text.match_indices(form).map(|(at, hit)| (at, at + hit.len())));
        }
        for pattern in &known.folded {
            found.extend(pattern.find_iter(text).map(|hit| (hit.start(), hit.end())));
        }
        if found.is_empty() {
            return text.to_owned();
        }
        // A secret may lie inside of another or overlap it: what any of them covers is masked.
        found.sort_unstable();
        let mut masked = String::with_capacity(text.len());
        let mut end = 0;
        for (from, to) in found {
            if from > end || end == 0 {
                masked.push_str(&text[end..from]);
                masked.push_str(MASK);
            }
            end = end.max(to);
        }
        masked.push_str(&text[end..]);
        masked
    }
}

/// A secret as JSON, YAML, XML, URLs, Secrets and debug messages write it.
fn forms(secret: &str) -> Vec<String> {
    let unquoted = |text: String| {
        let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        inner.map_or(text.clone(), ToOwned::to_owned)
    };
    let mut forms = vec![
        secret.to_owned(),
        STANDARD.encode(secret),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        percent(secret),
    ];
    forms.extend(tokens(secret));
    // Lines of a text are printed one by one; a key is known by any of them.
    for line in secret.lines().map(str::trim).chain([secret.trim()]) {
        if line.len() < MIN_LENGTH {
            continue;
        }
        forms.push(line.to_owned());
        let once = unquoted(serde_json::Value::from(line).to_string());
        if once != line {
            // JSON in a text that is shown as JSON.
            forms.push(unquoted(serde_json::Value::from(once.as_str()).to_string()));
        }
        forms.push(once);
        forms.push(unquoted(format!("{line:?}")));
        forms.push(line.replace('\'', "''"));
        forms.push(
            line.replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&quot;")
                .replace('\'', "&apos;"),
        );
    }
    forms
}

/// The runs of a longer secret that are secrets of their own, such as the password in a URL: however the whole is quoted, quoted again
/// or cut, they stay as they are. Words of a language are not among them.
fn tokens(secret: &str) -> Vec<String> {
    let is_random = |run: &&str| {
        let has = |what: fn(&char) -> bool| run.chars().any(|c| what(&c));
        run.len() >= 2 * MIN_LENGTH
            && (has(char::is_ascii_digit)
                || has(char::is_ascii_uppercase) && has(char::is_ascii_lowercase))
    };
    secret
        .split(|c: char| !c.is_ascii_alphanumeric() && !"+/=".contains(c))
        .flat_map(|run| [run, run.trim_matches(['+', '/', '='])])
        .filter(is_random)
        .map(str::to_owned)
        .collect()
}

/// Percent-encoded as in the query of a URL.
fn percent(text: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
