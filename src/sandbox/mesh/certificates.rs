//! The certificate authorities of the simulated components: istiod's for proxies and webhooks, MetalLB's for its webhooks,
//! the API server's own.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox's certificate authority: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// How long istiod's root and the certificates of workloads are valid, and how much earlier the latter begin.
const ROOT: Duration = Duration::from_secs(3_650 * 24 * 3_600);
const WORKLOAD: Duration = Duration::from_secs(24 * 3_600);
const SKEW: Duration = Duration::from_secs(2 * 60);

/// An authority, made when it is first asked.
pub struct Authority {
    name: (DnType, &'static str),
    /// When it began; one that says nothing is valid for ever.
    since: Option<Timestamp>,
    root: Mutex<Option<Pair>>,
}

/// Makes a certificate valid for a span from a moment on.
fn valid(params: &mut CertificateParams, from: Timestamp, span: Duration) {
    let begin = u64::try_from(from.as_second()).unwrap_or(0);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(begin);
    params.not_after = params.not_before + span;
}

impl Default for Authority {
    /// The mesh's.
    fn default() -> Self {
        let name = (DnType::OrganizationName, "cluster.local");
        Self { name, since: None, root: Mutex::default() }
    }
}

impl Authority {
    /// An authority with a common name.
    pub fn named(name: &'static str) -> Self {
        Self { name: (DnType::CommonName, name), since: None, root: Mutex::default() }
    }

    /// The mesh's, from a moment on.
    pub fn since(moment: Timestamp) -> Self {
        Self { since: Some(moment), ..Self::default() }
    }

    /// The root certificate and its key.
    pub fn root(&self) -> Result<Pair, CertificateError> {
        let mut root = self.root.lock();
        if let Some(root) = &*root {
            return Ok(root.clone());
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(self.name.0.clone(), self.name.1);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        if let Some(since) = self.since {
            valid(&mut params, since, ROOT);
        }
        let made = Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() };
        *root = Some(made.clone());
        Ok(made)
    }

    /// Goes on as an authority that was saved.
    ///
    /// # Errors
    /// A certificate or key that is none, or of which one is not the other's.
    pub fn restore(&self, root: Pair) -> Result<(), CertificateError> {
        Issuer::from_ca_cert_pem(&root.certificate, KeyPair::from_pem(&root.key)?)?;
        *self.root.lock() = Some(root);
        Ok(())
    }

    /// A server's certificate for names and addresses.
    pub fn server(&self, names: Vec<String>) -> Result<Pair, CertificateError> {
        let common = names.first().cloned().unwrap_or_default();
        self.leaf(CertificateParams::new(names)?, &common, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client's certificate for a user of a group.
    pub fn client(&self, user: &str, group: &str) -> Result<Pair, CertificateError> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.leaf(params, user, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn leaf(
        &self,
        mut params: CertificateParams,
        common_name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Pair, CertificateError> {
        let root = self.root()?;
        let issuer = Issuer::from_ca_cert_pem(&root.certificate, KeyPair::from_pem(&root.key)?)?;
        let key = KeyPair::generate()?;
        let organization = params.distinguished_name.get(&DnType::OrganizationName).cloned();
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(organization) = organization {
            params.distinguished_name.push(DnType::OrganizationName, organization);
        }
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A workload's certificate for its SPIFFE identity, for a day from now on.
    pub fn workload(&self, identity: &str, now: Timestamp) -> Result<Pair, CertificateError> {
        let root = self.root()?;
        let issuer = Issuer::from_ca_cert_pem(&root.certificate, KeyPair::from_pem(&root.key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
        valid(&mut params, now.checked_sub(SKEW).unwrap_or(now), WORKLOAD + SKEW);
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
