//! Values that must never be shown, and the filter that keeps them out of all output.
//!
//! A `Secret` prints as `***`. What becomes known as secret while a run goes on (keys, tokens, the data of Secrets) is
//! told to the `Redactor`, through which `report` passes every byte that it writes.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::RwLock;

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

/// Knows the secrets of a run and masks them in text.
#[derive(Debug, Default)]
pub struct Redactor {
    known: RwLock<BTreeSet<SecretText>>,
}

/// Ordered longest first, so that a secret that contains another is masked whole.
#[derive(PartialEq, Eq)]
struct SecretText(String);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Ord for SecretText {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.0.len().cmp(&self.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for SecretText {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Redactor {
    /// Remembers a secret, each of its lines and its base64 form. Texts below 8 characters are ignored.
    pub fn learn(&self, secret: &str) {
        use base64::Engine as _;
        let mut known = self.known.write();
        let mut add = |text: &str| {
            if text.len() >= MIN_LENGTH && !text.starts_with("-----") {
                known.insert(SecretText(text.to_owned()));
            }
        };
        add(secret);
        add(&base64::engine::general_purpose::STANDARD.encode(secret));
        secret.lines().map(str::trim).for_each(add);
    }

    /// The text with every known secret masked.
    pub fn mask(&self, text: &str) -> String {
        let known = self.known.read();
        let mut masked = text.to_owned();
        for secret in known.iter() {
            if masked.contains(&secret.0) {
                masked = masked.replace(&secret.0, MASK);
            }
        }
        masked
    }
}
