//! Whether a client accepts a chain: signatures, validity, purpose, name.

use std::time::Duration;

use jiff::Timestamp;
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, OtherError, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::error::{CertError, Untrusted};
use super::facts::Facts;

/// Verifies that a server with this chain is accepted for `host` at a time by a client that trusts only `roots`.
///
/// Without a host, the names are not looked at.
pub fn verify(
    chain: &[CertificateDer<'_>],
    roots: &[CertificateDer<'_>],
    host: Option<&str>,
    at: Timestamp,
) -> Result<(), CertError> {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(CertError::NoCertificate { what: "the chain".to_owned() });
    };
    let facts = Facts::of(leaf)?;
    let root_facts = roots.iter().map(Facts::of).collect::<Result<Vec<_>, _>>()?;
    let verdict = |error: rustls::Error| judge(error, &facts, chain, &root_facts, host, at);

    let parsed = ParsedCertificate::try_from(leaf).map_err(verdict)?;
    verify_server_cert_signed_by_trust_anchor(
        &parsed,
        &store(roots, &root_facts, at),
        intermediates,
        unix_time(at),
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.all,
    )
    .map_err(verdict)?;
    if let Some(host) = host {
        let name =
            ServerName::try_from(host).map_err(|_| Untrusted::BadHost { host: host.to_owned() })?;
        verify_server_name(&parsed, &name).map_err(verdict)?;
    }
    Ok(())
}

/// Verifiers take trust anchors for granted; an expired root, however, is refused by OpenSSL and browsers, so it is
/// not trusted here either.
fn store(roots: &[CertificateDer<'_>], facts: &[Facts], at: Timestamp) -> RootCertStore {
    let mut store = RootCertStore::empty();
    let valid = roots
        .iter()
        .zip(facts)
        .filter(|(_, facts)| facts.not_before <= at && at <= facts.not_after)
        .map(|(root, _)| root.clone().into_owned());
    store.add_parsable_certificates(valid);
    store
}

fn judge(
    error: rustls::Error,
    leaf: &Facts,
    chain: &[CertificateDer<'_>],
    roots: &[Facts],
    host: Option<&str>,
    at: Timestamp,
) -> Untrusted {
    let subject = leaf.title();
    let rustls::Error::InvalidCertificate(reason) = error else {
        return Untrusted::Other { subject, reason: error.to_string() };
    };
    let all: Vec<Facts> = chain.iter().filter_map(|one| Facts::of(one).ok()).collect();
    match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            expired(all.iter().find(|facts| facts.not_after < at).unwrap_or(leaf), at)
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            let early = all.iter().find(|facts| facts.not_before > at).unwrap_or(leaf);
            Untrusted::NotYetValid { subject: early.title(), not_before: early.not_before, at }
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Untrusted::OtherHost {
                subject,
                host: host.unwrap_or_default().to_owned(),
                names: leaf.names.clone(),
            }
        }
        CertificateError::UnknownIssuer => unknown(all.last().unwrap_or(leaf), roots, at),
        CertificateError::BadSignature => {
            let last = all.last().unwrap_or(leaf);
            if roots.iter().any(|root| root.subject == last.issuer) {
                return unknown(last, roots, at);
            }
            Untrusted::BadSignature { subject, issuer: leaf.issuer.clone() }
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            Untrusted::NotForServers { subject, usages: leaf.extended_key_usages.clone() }
        }
        CertificateError::Other(OtherError(_)) if leaf.is_ca => {
            Untrusted::AuthorityAsServer { subject }
        }
        CertificateError::Other(OtherError(source)) => {
            Untrusted::Other { subject, reason: source.to_string() }
        }
        other => Untrusted::Other { subject, reason: other.to_string() },
    }
}

/// Nobody trusted issued the last certificate of the chain: expired, of the same name, or simply another.
fn unknown(last: &Facts, roots: &[Facts], at: Timestamp) -> Untrusted {
    let named: Vec<&Facts> = roots.iter().filter(|root| root.subject == last.issuer).collect();
    let old = named
        .iter()
        .find(|root| root.not_after < at && root.subject_key_id == last.authority_key_id);
    if let Some(root) = old {
        return expired(root, at);
    }
    let (subject, issuer) = (last.title(), last.issuer.clone());
    if !named.is_empty() {
        return Untrusted::OtherAuthorityOfThatName { subject, issuer };
    }
    let trusted = roots.iter().map(|root| root.subject.clone()).collect();
    Untrusted::UnknownAuthority { subject, issuer, trusted }
}

fn expired(facts: &Facts, at: Timestamp) -> Untrusted {
    Untrusted::Expired { subject: facts.title(), not_after: facts.not_after, at }
}

fn unix_time(at: Timestamp) -> UnixTime {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
