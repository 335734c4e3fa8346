//! The certificate authorities of the simulated components: istiod's for proxies and webhooks, MetalLB's for its webhooks,
//! the API server's own, which also signs CertificateSigningRequests.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer as _;
use x509_parser::x509::AttributeTypeAndValue;

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

    /// A certificate for a request (PEM) with its subject, names and key: PEM, valid from five minutes before `now`, as
    /// kube-controller-manager's signers give it: those five minutes are part of a `span` of eight hours and more. `usages`
    /// are those of a CertificateSigningRequest. Of several organizations in the subject only one would be kept.
    ///
    /// # Errors
    /// A request that cannot be read, whose signature is wrong or that asks for an extension which is not known.
    pub fn sign(
        &self,
        request: &str,
        usages: &[&str],
        now: Timestamp,
        span: Duration,
    ) -> Result<String, CertificateError> {
        let root = self.root()?;
        let issuer = Issuer::from_ca_cert_pem(&root.certificate, KeyPair::from_pem(&root.key)?)?;
        let mut request = CertificateSigningRequestParams::from_pem(request)?;
        let params = &mut request.params;
        let span = if span < SHORT { span + BACKDATE } else { span };
        valid(params, now.checked_sub(BACKDATE).unwrap_or(now), span);
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = usages.iter().filter_map(|usage| key_usage(usage)).collect();
        params.extended_key_usages =
            usages.iter().filter_map(|usage| extended_key_usage(usage)).collect();
        Ok(request.signed_by(&issuer)?.pem())
    }
}

/// How much earlier than now a signed certificate begins.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// From which span on that is taken off its end.
const SHORT: Duration = Duration::from_secs(8 * 3_600);

fn key_usage(usage: &str) -> Option<KeyUsagePurpose> {
    Some(match usage {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_key_usage(usage: &str) -> Option<ExtendedKeyUsagePurpose> {
    let ipsec = |last| ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, last]);
    Some(match usage {
        "any" => ExtendedKeyUsagePurpose::Any,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
        "ipsec end system" => ipsec(5),
        "ipsec tunnel" => ipsec(6),
        "ipsec user" => ipsec(7),
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        "microsoft sgc" => ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
        "netscape sgc" => ExtendedKeyUsagePurpose::Other(vec![2, 16, 840, 1, 113_730, 4, 1]),
        _ => return None,
    })
}

/// What a request says of whom it is for.
#[derive(Default)]
pub struct Subject {
    pub common_name: String,
    pub organizations: Vec<String>,
    /// How many names of each kind: DNS, IP, mail, URI.
    pub names: [usize; 4],
}

impl Subject {
    /// From a request in PEM; `None` for what is no request.
    pub fn of(pem: &[u8]) -> Option<Self> {
        let (_, part) = x509_parser::pem::parse_x509_pem(pem).ok()?;
        let (_, request) = X509CertificationRequest::from_der(&part.contents).ok()?;
        let found = &request.certification_request_info.subject;
        let text = |part: &AttributeTypeAndValue<'_>| part.as_str().ok().map(str::to_owned);
        let mut names = [0; 4];
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(found) = extension else { continue };
            for name in &found.general_names {
                match name {
                    GeneralName::DNSName(_) => names[0] += 1,
                    GeneralName::IPAddress(_) => names[1] += 1,
                    GeneralName::RFC822Name(_) => names[2] += 1,
                    GeneralName::URI(_) => names[3] += 1,
                    _ => {}
                }
            }
        }
        Some(Self {
            common_name: found.iter_common_name().find_map(text).unwrap_or_default(),
            organizations: found.iter_organization().filter_map(text).collect(),
            names,
        })
    }
}
