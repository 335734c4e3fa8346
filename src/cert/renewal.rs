//! Whether a certificate must be made anew.

use std::time::Duration;

use jiff::Timestamp;

use super::credential::Credential;
use super::error::{CertError, Untrusted};
use super::key::KeyKind;
use super::name::Name;
use super::verify::verify;

/// What the certificate should be; what is left out is not compared.
#[derive(Clone, Debug, Default)]
pub struct Wanted<'a> {
    pub names: Vec<Name>,
    pub key: Option<KeyKind>,
    pub issuer: Option<&'a Credential>,
    /// How long before its end it is to be renewed; without one, when a third of its life is left.
    pub window: Option<Duration>,
}

/// Why a certificate must be made anew.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("it expired at {not_after}")]
    Expired { not_after: Timestamp },
    #[error("{} of its life is left: it ends at {not_after}", if *window { "less than the wanted rest" } else { "less than a third" })]
    Ending { not_after: Timestamp, window: bool },
    #[error("names differ: {}", differences(missing, extra))]
    Names { missing: Vec<String>, extra: Vec<String> },
    #[error("it has a {found} key, wanted is {wanted}")]
    Key { found: String, wanted: KeyKind },
    #[error("it was issued by {}`{found}`, not by the present `{wanted}`", if found == wanted { "an earlier " } else { "" })]
    Issuer { found: String, wanted: String },
}

/// The first reason to renew, if there is one, and the time from which its age is one.
pub fn needs_renewal(
    credential: &Credential,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<(Option<Reason>, Timestamp), CertError> {
    let facts = credential.facts()?;
    let not_after = facts.not_after;
    let third = (not_after.as_second() - facts.not_before.as_second()) / 3;
    let rest = wanted.window.and_then(|window| i64::try_from(window.as_secs()).ok());
    let renew_at = not_after.as_second().saturating_sub(rest.unwrap_or(third));
    let renew_at = Timestamp::from_second(renew_at).unwrap_or(Timestamp::MIN);
    let reason = if now > not_after {
        Some(Reason::Expired { not_after })
    } else if now >= renew_at {
        Some(Reason::Ending { not_after, window: rest.is_some() })
    } else if let Some(reason) = names(&facts.names, &wanted.names) {
        Some(reason)
    } else if let Some(kind) = wanted.key.filter(|kind| kind.name() != facts.key) {
        Some(Reason::Key { found: facts.key, wanted: kind })
    } else {
        issuer(credential, wanted)?
    };
    Ok((reason, renew_at))
}

fn names(found: &[String], wanted: &[Name]) -> Option<Reason> {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    if wanted.is_empty() {
        return None;
    }
    let found: Vec<String> = found.iter().map(|name| name.to_lowercase()).collect();
    let lacks = |have: &[String], name: &&String| !have.contains(name);
    let missing: Vec<String> = wanted.iter().filter(|name| lacks(&found, name)).cloned().collect();
    let extra: Vec<String> = found.iter().filter(|name| lacks(&wanted, name)).cloned().collect();
    (!missing.is_empty() || !extra.is_empty()).then_some(Reason::Names { missing, extra })
}

/// A name says little: the chain must verify against the wanted authority. Its time is the beginning of its own life, so
/// that only the authority decides.
fn issuer(credential: &Credential, wanted: &Wanted<'_>) -> Result<Option<Reason>, CertError> {
    let Some(authority) = wanted.issuer else { return Ok(None) };
    let facts = credential.facts()?;
    let authority_facts = authority.facts()?;
    let begin = facts.not_before.max(authority_facts.not_before);
    let trusted = [authority.certificate().clone()];
    let chain = &credential.chain[..1];
    match verify(chain, &trusted, None, begin) {
        // Certificates for clients only do not pass as a server's, but their signature was found to fit before that.
        Ok(()) | Err(CertError::NotTrusted(Untrusted::NotForServers { .. })) => Ok(None),
        Err(CertError::NotTrusted(_)) => {
            Ok(Some(Reason::Issuer { found: facts.issuer, wanted: authority_facts.subject }))
        }
        Err(other) => Err(other),
    }
}

fn differences(missing: &[String], extra: &[String]) -> String {
    let mut parts = Vec::new();
    for (what, names) in [("missing", missing), ("no longer wanted", extra)] {
        if !names.is_empty() {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            parts.push(format!("{what} {}", names.join(", ")));
        }
    }
    parts.join("; ")
}
