//! What can go wrong with a certificate, with the facts of the one concerned.

use std::path::PathBuf;

use jiff::Timestamp;
use thiserror::Error;

use crate::base::diagnostic::{Diagnostic, ErrorKind};

/// Why a certificate could not be made, read or accepted.
#[derive(Debug, Error)]
pub enum CertError {
    #[error(
        "no certificate found in {what}: expected PEM that begins with `-----BEGIN CERTIFICATE-----`"
    )]
    NoCertificate { what: String },
    #[error("{what} is not readable PEM: {reason}")]
    BadPem { what: String, reason: &'static str },
    #[error("certificate {number} of {what} is malformed: {reason}")]
    BadCertificate { what: String, number: usize, reason: String },
    #[error("no usable private key found: {reason}")]
    BadKey { reason: String },
    #[error("the private key is encrypted; only plain PKCS#8, PKCS#1 and SEC1 keys are read")]
    EncryptedKey,
    #[error("`{found}` is not a kind of key: use one of {}", known.join(", "))]
    UnknownKeyKind { found: String, known: Vec<&'static str>, near: Option<&'static str> },
    #[error("`{name}` cannot be a name in a certificate: {reason}")]
    BadName { name: String, reason: &'static str },
    #[error("a certificate needs at least one name: a DNS name, an IP address or a URI")]
    NoNames,
    #[error("`{field}` of a certificate must have 1 to {limit} characters, found {found}")]
    BadSubject { field: &'static str, limit: usize, found: usize },
    #[error("a validity of {days} days is not possible for {what}: use 1 to {limit}")]
    BadValidity { what: &'static str, days: i64, limit: i64 },
    #[error("`{found}` is not a usage of a certificate: use `server` or `client`")]
    UnknownUsage { found: String },
    #[error(
        "`{subject}` is not a certificate authority (basicConstraints has CA:FALSE or is missing)"
    )]
    NotAnAuthority { subject: String },
    #[error("`{subject}` may not sign certificates: its key usages are {}", usages.join(", "))]
    MayNotSign { subject: String, usages: Vec<&'static str> },
    #[error("`{subject}` may not sign another authority: its path length is {path_length}")]
    PathTooShort { subject: String, path_length: u32 },
    #[error("a path length of {found} is not possible: use 0 to 255")]
    BadPathLength { found: i64 },
    #[error(
        "a certificate until {not_after} would outlive its authority `{subject}`, which ends at {ca_not_after}"
    )]
    OutlivesAuthority { subject: String, not_after: Timestamp, ca_not_after: Timestamp },
    #[error("the authority `{subject}` comes without its private key and cannot sign")]
    NoSigningKey { subject: String },
    #[error("the private key does not belong to the certificate `{subject}`: the certificate has a {certificate_key} key, the private key is {key}{}", if certificate_key == key { ", of another pair" } else { "" })]
    KeyMismatch { subject: String, certificate_key: String, key: String },
    #[error("the certificate signing request is not usable: {reason}")]
    BadRequest { reason: String },
    #[error("{0}")]
    NotTrusted(#[from] Untrusted),
    #[error("the certificate could not be made: {reason}")]
    Signing { reason: String },
    #[error("no random numbers from the system")]
    NoRandomness,
    #[error("`{name}` is not a Secret with a certificate: {reason}")]
    BadSecret { name: String, reason: String },
    #[error("`{found}` exists but `{missing}` does not: a certificate and its key belong together")]
    HalfMissing { found: PathBuf, missing: PathBuf },
    #[error("cannot {action} `{path}`: {source}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
}

/// Why a chain is not accepted for a host at a time.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Untrusted {
    #[error("certificate `{subject}` expired at {not_after}, {} ago", days(*not_after, *at))]
    Expired { subject: String, not_after: Timestamp, at: Timestamp },
    #[error("certificate `{subject}` is not valid before {not_before}, in {}", days(*at, *not_before))]
    NotYetValid { subject: String, not_before: Timestamp, at: Timestamp },
    #[error("certificate `{subject}` is not valid for `{host}`: it is valid for {}", list(names))]
    OtherHost { subject: String, host: String, names: Vec<String> },
    #[error(
        "certificate `{subject}` was issued by `{issuer}`, which is not trusted; trusted: {}",
        list(trusted)
    )]
    UnknownAuthority { subject: String, issuer: String, trusted: Vec<String> },
    #[error(
        "certificate `{subject}` was issued by an authority named `{issuer}`, but not by the trusted one of that name: the key differs"
    )]
    OtherAuthorityOfThatName { subject: String, issuer: String },
    #[error(
        "certificate `{subject}` is not for servers: its extended key usages are {}",
        list(usages)
    )]
    NotForServers { subject: String, usages: Vec<String> },
    #[error(
        "`{subject}` is a certificate authority; a server needs a leaf certificate signed by it"
    )]
    AuthorityAsServer { subject: String },
    #[error("certificate `{subject}` has a signature that does not fit its issuer `{issuer}`")]
    BadSignature { subject: String, issuer: String },
    #[error("`{host}` is neither a DNS name nor an IP address")]
    BadHost { host: String },
    #[error("certificate `{subject}` is not accepted: {reason}")]
    Other { subject: String, reason: String },
}

impl CertError {
    /// The kind that scripts match on.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownKeyKind { .. }
            | Self::BadName { .. }
            | Self::NoNames
            | Self::BadSubject { .. }
            | Self::BadValidity { .. }
            | Self::UnknownUsage { .. }
            | Self::BadPathLength { .. } => ErrorKind::Argument,
            Self::NoCertificate { .. }
            | Self::BadPem { .. }
            | Self::BadCertificate { .. }
            | Self::BadKey { .. }
            | Self::EncryptedKey
            | Self::NotAnAuthority { .. }
            | Self::MayNotSign { .. }
            | Self::PathTooShort { .. }
            | Self::OutlivesAuthority { .. }
            | Self::NoSigningKey { .. }
            | Self::KeyMismatch { .. }
            | Self::BadRequest { .. }
            | Self::NotTrusted(_)
            | Self::BadSecret { .. }
            | Self::HalfMissing { .. } => ErrorKind::Invalid,
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                ErrorKind::NotFound
            }
            Self::File { .. } | Self::Signing { .. } | Self::NoRandomness => ErrorKind::Failed,
        }
    }

    /// What the reader can do.
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::UnknownKeyKind { near: Some(near), .. } => format!("did you mean `{near}`?"),
            Self::BadPem { .. } | Self::NoCertificate { .. } => {
                "give the text of a `.crt` or `.pem` file, not its path".to_owned()
            }
            Self::EncryptedKey => {
                "decrypt it first, for instance with `openssl pkey -in FILE -out PLAIN`".to_owned()
            }
            Self::OutlivesAuthority { .. } => {
                "ask for fewer `days`, or renew the authority with `cert::rotate`".to_owned()
            }
            Self::PathTooShort { .. } => {
                "make the upper authority with `path_length: 1`".to_owned()
            }
            Self::KeyMismatch { .. } => {
                "load the key that was made together with this certificate, or issue a new pair"
                    .to_owned()
            }
            Self::HalfMissing { .. } => {
                "put the missing file back, or remove both to have new ones made".to_owned()
            }
            Self::NotTrusted(reason) => return reason.hint(),
            _ => return None,
        })
    }
}

impl From<CertError> for Diagnostic {
    fn from(error: CertError) -> Self {
        let diagnostic = Self::new(error.kind(), error.to_string());
        match error.hint() {
            Some(hint) => diagnostic.hint(hint),
            None => diagnostic,
        }
    }
}

impl Untrusted {
    /// What the reader can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Expired { .. } => {
                "issue a new certificate: `meshscript run scripts/gateway.rhai` renews the gateway's".to_owned()
            }
            Self::NotYetValid { .. } => "compare the clocks of this machine and of the issuer".to_owned(),
            Self::OtherHost { host, .. } => {
                format!("ask for one of these names, or issue a certificate for `{host}`")
            }
            Self::UnknownAuthority { .. } | Self::OtherAuthorityOfThatName { .. } => {
                "trust the authority that issued it: `ca.crt` of the certificate's Secret".to_owned()
            }
            Self::NotForServers { .. } => {
                "issue it with `usages: \"server\"`".to_owned()
            }
            Self::AuthorityAsServer { .. } => "issue a leaf with `cert::issue`".to_owned(),
            Self::BadSignature { .. } | Self::BadHost { .. } | Self::Other { .. } => return None,
        })
    }
}

/// A span as a person says it: `3 days`, `5 hours`.
fn days(from: Timestamp, to: Timestamp) -> String {
    let seconds = (to.as_second() - from.as_second()).max(0);
    let (count, unit) = match seconds {
        0..120 => (seconds, "second"),
        120..7_200 => (seconds / 60, "minute"),
        7_200..172_800 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
