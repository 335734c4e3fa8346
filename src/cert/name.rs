//! Names that a certificate is valid for: DNS names, also with a wildcard, IP addresses, URIs.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use rcgen::SanType;
use rcgen::string::Ia5String;

use super::error::CertError;

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Lower case, without a dot at its end; `*` only as the whole first label.
    Dns(String),
    Ip(IpAddr),
    /// A SPIFFE ID or another URI with an authority.
    Uri(String),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) | Self::Uri(text) => f.write_str(text),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl FromStr for Name {
    type Err = CertError;

    fn from_str(text: &str) -> Result<Self, CertError> {
        let bad = |reason| Err(CertError::BadName { name: text.to_owned(), reason });
        if let Ok(address) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Ip(address));
        }
        if text.contains("://") {
            return match uri_defect(text) {
                Some(reason) => bad(reason),
                None => Ok(Self::Uri(text.to_owned())),
            };
        }
        match dns_defect(text) {
            Some(reason) => bad(reason),
            None => Ok(Self::Dns(text.to_lowercase())),
        }
    }
}

impl Name {
    pub(super) fn to_san(&self) -> Result<SanType, CertError> {
        let ascii = |text: &str| {
            Ia5String::try_from(text).map_err(|_| CertError::BadName {
                name: text.to_owned(),
                reason: "only ASCII characters are possible",
            })
        };
        Ok(match self {
            Self::Dns(text) => SanType::DnsName(ascii(text)?),
            Self::Uri(text) => SanType::URI(ascii(text)?),
            Self::Ip(address) => SanType::IpAddress(*address),
        })
    }
}

fn dns_defect(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        return Some("it is empty");
    }
    if !text.is_ascii() {
        return Some("write international names in their ASCII form (`xn--…`)");
    }
    if text.ends_with('.') {
        return Some("leave out the dot at its end");
    }
    if text.contains([':', '/']) {
        return Some("a name holds neither port nor path");
    }
    if text.len() > 253 {
        return Some("a DNS name has at most 253 characters");
    }
    let plain = text.strip_prefix("*.").unwrap_or(text);
    if plain.contains('*') {
        return Some("a wildcard is the whole first label, as in `*.example.com`");
    }
    if plain.len() != text.len() && !plain.contains('.') {
        return Some("a wildcard needs at least two labels after it");
    }
    for label in plain.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Some("each label has 1 to 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Some("a label neither begins nor ends with `-`");
        }
        if !label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Some("labels hold letters, digits and `-`");
        }
    }
    None
}

fn uri_defect(text: &str) -> Option<&'static str> {
    if !text.is_ascii() || text.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control())
    {
        return Some("a URI holds only visible ASCII characters");
    }
    let (scheme, rest) = text.split_once("://")?;
    if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    {
        return Some("a URI begins with a scheme such as `spiffe`");
    }
    if rest.is_empty() || rest.starts_with('/') {
        return Some("a URI needs an authority after `://`");
    }
    let spiffe = scheme.eq_ignore_ascii_case("spiffe");
    if spiffe && (rest.contains(['?', '#', '@', '%']) || rest.ends_with('/')) {
        return Some(
            "a SPIFFE ID is `spiffe://trust-domain/path` without query, fragment or `/` at its end",
        );
    }
    let domain = rest.split('/').next().unwrap_or_default();
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._".contains(c);
    if spiffe && !domain.chars().all(allowed) {
        return Some("a trust domain holds lower-case letters, digits, `-`, `.` and `_`");
    }
    None
}
