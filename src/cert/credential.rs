//! A certificate together with its chain, its root and its key.

use rustls_pki_types::CertificateDer;

use super::error::CertError;
use super::facts::Facts;
use super::key::PrivateKey;
use super::pem;

/// A certificate as it is deployed: what a server presents, what a client trusts, and the private key where we have it.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The certificate itself, then the authorities between it and the root.
    pub chain: Vec<CertificateDer<'static>>,
    /// What clients must trust. Several while an authority is rotated.
    pub roots: Vec<CertificateDer<'static>>,
    pub key: Option<PrivateKey>,
}

impl Credential {
    /// Puts a certificate together from PEM texts; `what` names it in errors.
    ///
    /// Without `roots` a self-signed certificate is its own root. Roots in `chain` (some tools append them) are moved.
    pub fn from_pem(
        chain: &str,
        roots: Option<&str>,
        key: Option<PrivateKey>,
        what: &str,
    ) -> Result<Self, CertError> {
        let mut found = pem::certificates(chain, what)?;
        let mut trusted = roots.map_or(Ok(Vec::new()), |text| pem::certificates(text, what))?;
        let rest = found.split_off(1);
        for (index, certificate) in rest.into_iter().enumerate() {
            let facts = Facts::of(&certificate).map_err(|error| error.numbered(what, index + 2))?;
            if facts.is_self_issued() {
                trusted.push(certificate);
            } else {
                found.push(certificate);
            }
        }
        let credential = Self { chain: found, roots: trusted, key };
        let facts = credential.facts().map_err(|error| error.numbered(what, 1))?;
        credential.checked(facts)
    }

    fn checked(mut self, facts: Facts) -> Result<Self, CertError> {
        if self.roots.is_empty() && facts.is_self_issued() {
            self.roots.extend(self.chain.first().cloned());
        }
        self.roots.dedup();
        if let Some(key) = &self.key
            && !key.belongs_to_certificate(self.certificate())?
        {
            return Err(CertError::KeyMismatch {
                subject: facts.subject,
                certificate_key: facts.key,
                key: key.describe(),
            });
        }
        Ok(self)
    }

    /// The certificate itself.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        // `chain` is private to construction here and in `issue`: it always holds the certificate itself.
        &self.chain[0]
    }

    /// What is written in the certificate.
    pub fn facts(&self) -> Result<Facts, CertError> {
        Facts::of(self.certificate())
    }

    /// The certificate alone as PEM.
    pub fn certificate_pem(&self) -> String {
        pem::join([self.certificate()])
    }

    /// What a server presents (`tls.crt`): the certificate and the authorities up to, not including, the root.
    pub fn chain_pem(&self) -> String {
        pem::join(&self.chain)
    }

    /// What a client trusts (`ca.crt`).
    pub fn roots_pem(&self) -> String {
        pem::join(&self.roots)
    }
}

impl PrivateKey {
    /// Whether it is the private half of the certificate's key.
    pub fn belongs_to_certificate(
        &self,
        certificate: &CertificateDer<'_>,
    ) -> Result<bool, CertError> {
        super::facts::with_parsed(certificate, |parsed| self.belongs_to(parsed.public_key()))
    }
}
