//! Provenance: who signed a packed chart, and that it is the one that was signed.
//!
//! A `.prov` file is a clear-signed OpenPGP message over the chart's metadata and the SHA-256 of its archive. What is
//! accepted, and in which words the rest is refused, is what Helm 4.3 and the OpenPGP library under it (go-crypto 1.4) do.
//! Reading order: `armor` (text to bytes), `packet` (bytes to keys and signatures), `keyring` (whose keys they are).
//!
//! Only signatures are read, and aws-lc verifies them: a whole OpenPGP library would bring a second cryptographic provider.
//! Deliberate differences: keys and signatures of version 6, DSA, Ed448 and the curves of Brainpool are not known; every
//! block of a file with several armored exports is read, where Helm loses those whose first line its buffer swallowed.

mod armor;
mod keyring;
mod packet;

pub use keyring::Keyring;

use sha2::{Digest as _, Sha256};

use crate::base::yaml;
use packet::{Packet, Packets};

/// What stands between the metadata and the digests, and ends a YAML document.
const BETWEEN: &[u8] = b"\n...\n";

/// Who vouches for an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The user ids of the signer's key.
    pub by: Vec<String>,
    /// Of the signer's primary key, in upper-case hexadecimal.
    pub fingerprint: String,
    /// The archive's, `sha256:…`.
    pub digest: String,
}

/// Why an archive is not trusted. The words are Helm's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvenanceError {
    #[error("signature block not found")]
    NotSigned,
    #[error("provenance does not contain a SHA for a file named {0:?}")]
    OtherFile(String),
    #[error("sha256 sum does not match for {file}: {signed:?} != {found:?}")]
    Digest { file: String, signed: String, found: String },
    #[error("message block must have at least two parts")]
    NoDigests,
    #[error("{0}")]
    Digests(String),
    #[error("{0}")]
    OpenPgp(#[from] PgpError),
    #[error("reading keybox: {0}")]
    Keybox(String),
    #[error("reading armored keyring: {0}")]
    ArmoredKeyring(String),
}

/// What is wrong with OpenPGP data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PgpError {
    #[error("openpgp: invalid data: {0}")]
    Structural(String),
    #[error("openpgp: unsupported feature: {0}")]
    Unsupported(String),
    #[error("openpgp: invalid argument: {0}")]
    Argument(&'static str),
    #[error("openpgp: invalid signature: {0}")]
    Signature(String),
    #[error("openpgp: unknown critical packet type: {0}")]
    UnknownPacket(u8),
    #[error("openpgp: signature made by unknown entity")]
    UnknownIssuer,
    #[error("openpgp: signature made by revoked key")]
    KeyRevoked,
    #[error("openpgp: key expired")]
    KeyExpired,
    #[error("openpgp: signature expired")]
    SignatureExpired,
    #[error("unexpected EOF")]
    Truncated,
    #[error("illegal base64 data")]
    Base64,
}

pub(super) fn structural(message: impl Into<String>) -> PgpError {
    PgpError::Structural(message.into())
}

pub(super) fn unsupported(message: impl Into<String>) -> PgpError {
    PgpError::Unsupported(message.into())
}

/// Verifies that `provenance` is signed by a key of the ring at `now` (seconds since 1970), and names the archive under its
/// file name.
///
/// # Errors
/// As the variants say; nothing of the archive is read as a chart.
pub fn verify(
    archive: &[u8],
    provenance: &[u8],
    file: &str,
    keyring: &Keyring,
    now: i64,
) -> Result<Signed, ProvenanceError> {
    let message = armor::clear_signed(provenance).ok_or(ProvenanceError::NotSigned)?;
    let signer = signer(&message, keyring, now)?;
    let found = format!("sha256:{}", hex::encode(Sha256::digest(archive)));
    let digests = digests(&message.text)?;
    match digests.get(file).and_then(serde_json::Value::as_str) {
        None => Err(ProvenanceError::OtherFile(file.to_owned())),
        Some(signed) if signed != found => {
            Err(ProvenanceError::Digest { file: file.to_owned(), signed: signed.to_owned(), found })
        }
        Some(_) => Ok(Signed {
            by: signer.identities.iter().map(|identity| identity.name.clone()).collect(),
            fingerprint: hex::encode_upper(signer.primary.fingerprint),
            digest: found,
        }),
    }
}

/// The first signature whose key the ring holds decides.
fn signer<'k>(
    message: &armor::Message,
    keyring: &'k Keyring,
    now: i64,
) -> Result<&'k keyring::Entity, PgpError> {
    let data = message.signature.as_ref().map_err(Clone::clone)?;
    let mut packets = Packets::new(data);
    while let Some(packet) = packets.next()? {
        let Packet::Signature(signature) = packet else {
            return Err(structural("non signature packet found"));
        };
        let issuer =
            signature.issuer.ok_or_else(|| structural("signature doesn't have an issuer"))?;
        let keys = keyring.signing_keys(issuer);
        if keys.is_empty() {
            continue;
        }
        // A text signature is over lines that end in CR LF; the message has no others.
        if signature.kind > packet::TEXT {
            return Err(unsupported(format!("unsupported signature type: {}", signature.kind)));
        }
        let mut last = PgpError::UnknownIssuer;
        for key in keys {
            match key.public.verify(message.signed.clone(), &signature) {
                Ok(()) => return key.check(&signature, now).map(|()| key.entity),
                Err(error) => last = error,
            }
        }
        return Err(last);
    }
    Err(PgpError::UnknownIssuer)
}

fn digests(text: &[u8]) -> Result<serde_json::Map<String, serde_json::Value>, ProvenanceError> {
    let at = find(text, BETWEEN).ok_or(ProvenanceError::NoDigests)?;
    let rest = &text[at + BETWEEN.len()..];
    let rest = &rest[..find(rest, BETWEEN).unwrap_or(rest.len())];
    let wrong = |reason: &str| ProvenanceError::Digests(reason.to_owned());
    let rest = std::str::from_utf8(rest).map_err(|_| wrong("the digests are no text"))?;
    let mut sums = yaml::parse(rest).map_err(|error| ProvenanceError::Digests(error.go_text()))?;
    match sums["files"].take() {
        serde_json::Value::Object(files) => Ok(files),
        serde_json::Value::Null => Ok(serde_json::Map::new()),
        _ => Err(wrong("the digests are no map of files")),
    }
}

fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).position(|window| window == pattern)
}
