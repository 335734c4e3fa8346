//! Changes an authority without an outage: old and new are trusted together until no leaf of the old one is left.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use super::credential::Credential;
use super::error::CertError;
use super::facts::Facts;
use super::issue::{self, AuthorityOptions, Serial};

/// The outcome of a rotation.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The new authority. Its `roots` are the bundle: clients take it first, then leaves are issued from the new one.
    pub authority: Credential,
    /// The new key certified by the old authority, for clients that have not got the bundle yet; none if the old one
    /// may sign leaves only, as roots of meshscript do.
    pub cross: Option<CertificateDer<'static>>,
}

/// Makes the successor of an authority.
pub fn rotate(
    old: &Credential,
    options: &AuthorityOptions,
    serials: &[Serial; 2],
    now: Timestamp,
) -> Result<Rotation, CertError> {
    let mut authority = issue::authority(options, None, &serials[0], now)?;
    let cross = match issue::cross_certificate(&authority, old, &serials[1], now) {
        Ok(certificate) => Some(certificate),
        Err(CertError::PathTooShort { .. } | CertError::NoSigningKey { .. }) => None,
        Err(other) => return Err(other),
    };
    let mut all = authority.roots.clone();
    all.extend(old.roots.iter().cloned());
    authority.roots = bundle(all, now)?;
    Ok(Rotation { authority, cross })
}

/// One trust bundle: each certificate once, without what has expired, in the given order.
pub fn bundle(
    certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    now: Timestamp,
) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let mut kept: Vec<CertificateDer<'static>> = Vec::new();
    for certificate in certificates {
        if Facts::of(&certificate)?.not_after >= now && !kept.contains(&certificate) {
            kept.push(certificate);
        }
    }
    Ok(kept)
}
