//! istiod's certificate authority: what it puts into ConfigMaps, webhooks and proxies.

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox's mesh authority: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

/// A certificate and its key, PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

/// The authority of the mesh, made when it is first asked.
#[derive(Default)]
pub struct Authority {
    root: Mutex<Option<Pair>>,
}

impl Authority {
    /// The root certificate and its key.
    pub fn root(&self) -> Result<Pair, CertificateError> {
        let mut root = self.root.lock();
        if let Some(root) = &*root {
            return Ok(root.clone());
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "cluster.local");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let made = Pair { certificate: params.self_signed(&key)?.pem(), key: key.serialize_pem() };
        *root = Some(made.clone());
        Ok(made)
    }

    /// A workload's certificate for its SPIFFE identity.
    pub fn workload(&self, identity: &str) -> Result<Pair, CertificateError> {
        let root = self.root()?;
        let issuer = Issuer::from_ca_cert_pem(&root.certificate, KeyPair::from_pem(&root.key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity.try_into()?)];
        let certificate = params.signed_by(&key, &issuer)?;
        Ok(Pair { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}
