//! PEM text to DER and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::error::CertError;

/// Every certificate of a PEM text, in its order; `what` names the text in errors.
pub fn certificates(text: &str, what: &str) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| CertError::BadPem { what: what.to_owned(), reason: defect(&error) })?;
    if certificates.is_empty() {
        return Err(CertError::NoCertificate { what: what.to_owned() });
    }
    Ok(certificates)
}

/// What is wrong with a PEM text, without any part of it: it may be a key.
pub(super) fn defect(error: &rustls_pki_types::pem::Error) -> &'static str {
    use rustls_pki_types::pem::Error;
    match error {
        Error::MissingSectionEnd { .. } => "a section has no `-----END …-----`",
        Error::IllegalSectionStart { .. } => "a `-----BEGIN …-----` line is malformed",
        Error::Base64Decode(_) => "a section is not base64",
        Error::NoItemsFound => "it has no section of the wanted type",
        _ => "its form is not PEM",
    }
}

/// One PEM section.
pub fn section(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every index is a character boundary.
        let (line, next) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Certificates as one PEM text.
pub fn join<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>) -> String {
    certificates.into_iter().map(|certificate| section("CERTIFICATE", certificate)).collect()
}
