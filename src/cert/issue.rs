//! Makes certificates: authorities, leaves, signing requests.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData,
    SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};

use super::credential::Credential;
use super::error::CertError;
use super::facts::Facts;
use super::key::{KeyKind, PrivateKey};
use super::name::Name;

/// A certificate begins to be valid a little before it is made: clocks of clients may be behind.
const BACKDATED: Duration = Duration::from_secs(5 * 60);
/// Browsers refuse leaves that live longer (CA/Browser Forum ballot SC31).
pub const MAX_LEAF_DAYS: i64 = 398;
pub const LEAF_DAYS: i64 = 90;
pub const CA_DAYS: i64 = 3_650;
const MAX_CA_DAYS: i64 = 36_500;
/// X.520's limit for common and organisation names.
const MAX_SUBJECT: usize = 64;

/// A serial number: 158 random bits, positive, 20 octets (RFC 5280 section 4.1.2.2 allows no more).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial([u8; 20]);

impl Serial {
    /// A number from the system's randomness.
    pub fn random() -> Result<Self, CertError> {
        let mut octets = [0; 20];
        rustls::crypto::aws_lc_rs::default_provider()
            .secure_random
            .fill(&mut octets)
            .map_err(|_| CertError::NoRandomness)?;
        Ok(Self::from_octets(octets))
    }

    /// The number of these octets, made positive and of full length.
    pub fn from_octets(mut octets: [u8; 20]) -> Self {
        octets[0] = octets[0] & 0x7f | 0x40;
        Self(octets)
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What an authority is to be.
#[derive(Clone, Debug)]
pub struct AuthorityOptions {
    pub common_name: String,
    pub organization: Option<String>,
    pub key: KeyKind,
    pub days: i64,
    /// How many authorities may stand between it and a leaf; 0 signs leaves only.
    pub path_length: i64,
}

impl Default for AuthorityOptions {
    fn default() -> Self {
        Self {
            common_name: "meshscript CA".to_owned(),
            organization: None,
            key: KeyKind::default(),
            days: CA_DAYS,
            path_length: 0,
        }
    }
}

/// What a leaf is to be.
#[derive(Clone, Debug)]
pub struct LeafOptions {
    pub names: Vec<Name>,
    /// Without one the first DNS name or address, where it is short enough.
    pub common_name: Option<String>,
    pub organization: Option<String>,
    pub key: KeyKind,
    pub days: i64,
    pub usages: Vec<Usage>,
}

impl Default for LeafOptions {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            common_name: None,
            organization: None,
            key: KeyKind::default(),
            days: LEAF_DAYS,
            usages: vec![Usage::Server],
        }
    }
}

/// Which side of a connection a leaf may stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Server,
    Client,
}

impl std::str::FromStr for Usage {
    type Err = CertError;

    fn from_str(text: &str) -> Result<Self, CertError> {
        match text {
            "server" | "serverAuth" => Ok(Self::Server),
            "client" | "clientAuth" => Ok(Self::Client),
            other => Err(CertError::UnknownUsage { found: other.to_owned() }),
        }
    }
}

/// Makes a root, or with `parent` an authority below it.
pub fn authority(
    options: &AuthorityOptions,
    parent: Option<&Credential>,
    serial: &Serial,
    now: Timestamp,
) -> Result<Credential, CertError> {
    let key = PrivateKey::generate(options.key)?;
    let params = authority_params(options, serial, now)?;
    let Some(parent) = parent else {
        let certificate = params.self_signed(key.pair()).map_err(signing)?.der().clone();
        return Ok(Credential {
            chain: vec![certificate.clone()],
            roots: vec![certificate],
            key: Some(key),
        });
    };
    let signer = Signer::of(parent)?;
    signer.may_sign_authority()?;
    let chain = signer.sign(&params, key.pair())?;
    Ok(Credential { chain, roots: parent.roots.clone(), key: Some(key) })
}

/// Certifies the key of an authority by another one: clients that trust only `by` accept what `of` signs.
pub fn cross_certificate(
    of: &Credential,
    by: &Credential,
    serial: &Serial,
    now: Timestamp,
) -> Result<CertificateDer<'static>, CertError> {
    let facts = of.facts()?;
    let key = of
        .key
        .as_ref()
        .ok_or_else(|| CertError::NoSigningKey { subject: facts.subject.clone() })?;
    let signer = Signer::of(by)?;
    signer.may_sign_authority()?;
    let issuer = Issuer::from_ca_cert_der(of.certificate(), key.pair()).map_err(signing)?;
    let mut params = base_params(serial, now, facts.not_after.min(signer.facts.not_after))?;
    params.distinguished_name = subject_of(of.certificate())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = issuer.key_usages().to_vec();
    params.key_identifier_method = key_id(&facts);
    signer
        .sign(&params, key.pair())?
        .into_iter()
        .next()
        .ok_or_else(|| CertError::Signing { reason: "no certificate came out".to_owned() })
}

/// Makes a key and a leaf for it, signed by `ca`.
pub fn leaf(
    options: &LeafOptions,
    ca: &Credential,
    serial: &Serial,
    now: Timestamp,
) -> Result<Credential, CertError> {
    let signer = Signer::of(ca)?;
    let key = PrivateKey::generate(options.key)?;
    let params = leaf_params(options, key.pair(), serial, now)?;
    signer.outlives(now, options.days)?;
    let chain = signer.sign(&params, key.pair())?;
    Ok(Credential { chain, roots: ca.roots.clone(), key: Some(key) })
}

/// Makes a key and a signing request for it.
pub fn request(options: &LeafOptions) -> Result<(String, PrivateKey), CertError> {
    let key = PrivateKey::generate(options.key)?;
    let mut params = CertificateParams::default();
    fill_leaf(&mut params, options, key.pair())?;
    let request = params.serialize_request(key.pair()).map_err(signing)?;
    Ok((super::pem::section("CERTIFICATE REQUEST", request.der()), key))
}

/// Signs a request. Its names, common name and key are taken; validity, usages and everything else are ours. Names in
/// `options`, if any, replace those of the request.
pub fn sign(
    request: &str,
    options: &LeafOptions,
    ca: &Credential,
    serial: &Serial,
    now: Timestamp,
) -> Result<Credential, CertError> {
    let bad = |reason: String| CertError::BadRequest { reason };
    let der =
        CertificateSigningRequestDer::from_pem_slice(request.as_bytes()).map_err(|error| {
            bad(format!("not PEM of the type CERTIFICATE REQUEST: {}", super::pem::defect(&error)))
        })?;
    let request = CertificateSigningRequestParams::from_der(&der).map_err(|error| match error {
        rcgen::Error::InvalidCertificationRequestSignature => {
            bad("its signature does not fit its key".to_owned())
        }
        other => bad(other.to_string()),
    })?;
    if matches!(request.params.is_ca, IsCa::Ca(_)) {
        return Err(bad("it asks for a certificate authority".to_owned()));
    }
    let signer = Signer::of(ca)?;
    let mut options = options.clone();
    if options.names.is_empty() {
        options.names = request_names(&request.params)?;
    }
    if options.common_name.is_none() {
        options.common_name = text_of(&request.params.distinguished_name, &DnType::CommonName);
    }
    if options.organization.is_none() {
        options.organization =
            text_of(&request.params.distinguished_name, &DnType::OrganizationName);
    }
    let params = leaf_params(&options, &request.public_key, serial, now)?;
    signer.outlives(now, options.days)?;
    let chain = signer.sign(&params, &request.public_key)?;
    Ok(Credential { chain, roots: ca.roots.clone(), key: None })
}

/// An authority that is about to sign.
struct Signer<'a> {
    authority: &'a Credential,
    facts: Facts,
    issuer: Issuer<'static, &'a KeyPair>,
}

impl<'a> Signer<'a> {
    fn of(authority: &'a Credential) -> Result<Self, CertError> {
        let facts = authority.facts()?;
        let subject = || facts.subject.clone();
        if !facts.is_ca {
            return Err(CertError::NotAnAuthority { subject: subject() });
        }
        // An authority without the extension may do everything (RFC 5280 section 4.2.1.3).
        if !facts.key_usages.is_empty() && !facts.key_usages.contains(&"keyCertSign") {
            return Err(CertError::MayNotSign { subject: subject(), usages: facts.key_usages });
        }
        let key =
            authority.key.as_ref().ok_or_else(|| CertError::NoSigningKey { subject: subject() })?;
        let issuer =
            Issuer::from_ca_cert_der(authority.certificate(), key.pair()).map_err(signing)?;
        Ok(Self { authority, facts, issuer })
    }

    fn may_sign_authority(&self) -> Result<(), CertError> {
        match self.facts.path_length {
            Some(0) => {
                Err(CertError::PathTooShort { subject: self.facts.subject.clone(), path_length: 0 })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn outlives(&self, now: Timestamp, days: i64) -> Result<(), CertError> {
        let not_after = after(now, days)?;
        if not_after > self.facts.not_after {
            return Err(CertError::OutlivesAuthority {
                subject: self.facts.subject.clone(),
                not_after,
                ca_not_after: self.facts.not_after,
            });
        }
        Ok(())
    }

    /// The signed certificate followed by the authorities below the root.
    fn sign(
        &self,
        params: &CertificateParams,
        public_key: &impl PublicKeyData,
    ) -> Result<Vec<CertificateDer<'static>>, CertError> {
        let certificate = params.signed_by(public_key, &self.issuer).map_err(signing)?;
        let certificate = certificate.der().clone();
        // The issuer's name is written anew from its parts: one of a rare form would not come out the same, and no
        // client would find the way from the leaf to its authority.
        if Facts::of(&certificate)?.issuer != self.facts.subject {
            return Err(CertError::Signing {
                reason: format!(
                    "the name `{}` has a form that is not supported",
                    self.facts.subject
                ),
            });
        }
        let mut chain = vec![certificate];
        if !self.facts.is_self_issued() {
            chain.extend(self.authority.chain.iter().cloned());
        }
        Ok(chain)
    }
}

fn authority_params(
    options: &AuthorityOptions,
    serial: &Serial,
    now: Timestamp,
) -> Result<CertificateParams, CertError> {
    check_days("an authority", options.days, MAX_CA_DAYS)?;
    let path_length = u8::try_from(options.path_length)
        .map_err(|_| CertError::BadPathLength { found: options.path_length })?;
    let mut params = base_params(serial, now, after(now, options.days)?)?;
    params.distinguished_name =
        subject(Some(&options.common_name), options.organization.as_deref())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_length));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn leaf_params(
    options: &LeafOptions,
    public_key: &impl PublicKeyData,
    serial: &Serial,
    now: Timestamp,
) -> Result<CertificateParams, CertError> {
    check_days("a leaf", options.days, MAX_LEAF_DAYS)?;
    let mut params = base_params(serial, now, after(now, options.days)?)?;
    fill_leaf(&mut params, options, public_key)?;
    Ok(params)
}

fn fill_leaf(
    params: &mut CertificateParams,
    options: &LeafOptions,
    public_key: &impl PublicKeyData,
) -> Result<(), CertError> {
    if options.names.is_empty() {
        return Err(CertError::NoNames);
    }
    let first = options.names.iter().find_map(|name| match name {
        Name::Dns(_) | Name::Ip(_) => {
            Some(name.to_string()).filter(|text| text.len() <= MAX_SUBJECT)
        }
        // As in Istio's certificates, a SPIFFE ID stands in the names alone.
        Name::Uri(_) => None,
    });
    params.distinguished_name = subject(
        options.common_name.as_deref().or(first.as_deref()),
        options.organization.as_deref(),
    )?;
    params.subject_alt_names = options.names.iter().map(Name::to_san).collect::<Result<_, _>>()?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // TLS 1.2 with an RSA key exchange encrypts to the key; an elliptic curve cannot.
    let rsa = [&rcgen::PKCS_RSA_SHA256, &rcgen::PKCS_RSA_SHA384, &rcgen::PKCS_RSA_SHA512];
    if rsa.contains(&public_key.algorithm()) {
        params.key_usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    params.extended_key_usages = options
        .usages
        .iter()
        .map(|usage| match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        })
        .collect();
    Ok(())
}

fn base_params(
    serial: &Serial,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<CertificateParams, CertError> {
    let since_epoch = |time: Timestamp| {
        u64::try_from(time.as_second())
            .map(Duration::from_secs)
            .map_err(|_| CertError::Signing { reason: format!("{time} lies before 1970") })
    };
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + since_epoch(now)?.saturating_sub(BACKDATED);
    params.not_after = epoch + since_epoch(not_after)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial.0));
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn check_days(what: &'static str, days: i64, limit: i64) -> Result<(), CertError> {
    if (1..=limit).contains(&days) {
        Ok(())
    } else {
        Err(CertError::BadValidity { what, days, limit })
    }
}

fn after(now: Timestamp, days: i64) -> Result<Timestamp, CertError> {
    now.checked_add(jiff::SignedDuration::from_hours(days.saturating_mul(24)))
        .map_err(|error| CertError::Signing { reason: error.to_string() })
}

fn subject(
    common_name: Option<&str>,
    organization: Option<&str>,
) -> Result<DistinguishedName, CertError> {
    let mut subject = DistinguishedName::new();
    let fields = [
        ("common name", DnType::CommonName, common_name),
        ("organization", DnType::OrganizationName, organization),
    ];
    for (field, kind, text) in fields {
        let Some(text) = text else { continue };
        let found = text.chars().count();
        if found == 0 || found > MAX_SUBJECT {
            return Err(CertError::BadSubject { field, limit: MAX_SUBJECT, found });
        }
        subject.push(kind, text);
    }
    Ok(subject)
}

fn subject_of(certificate: &CertificateDer<'_>) -> Result<DistinguishedName, CertError> {
    super::facts::with_parsed(certificate, |parsed| {
        let text = |found: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            found.and_then(|value| value.as_str().ok()).map(ToOwned::to_owned)
        };
        let name = parsed.subject();
        let common_name = text(name.iter_common_name().next());
        let organization = text(name.iter_organization().next());
        subject(common_name.as_deref(), organization.as_deref())
    })?
}

fn key_id(facts: &Facts) -> rcgen::KeyIdMethod {
    facts
        .subject_key_id
        .as_ref()
        .and_then(|id| hex::decode(id).ok())
        .map_or(rcgen::KeyIdMethod::Sha256, rcgen::KeyIdMethod::PreSpecified)
}

fn request_names(params: &CertificateParams) -> Result<Vec<Name>, CertError> {
    params
        .subject_alt_names
        .iter()
        .map(|san| match san {
            rcgen::SanType::DnsName(text) | rcgen::SanType::URI(text) => text.as_str().parse(),
            rcgen::SanType::IpAddress(address) => Ok(Name::Ip(*address)),
            other => Err(CertError::BadRequest {
                reason: format!(
                    "the name {other:?} is neither a DNS name, an IP address nor a URI"
                ),
            }),
        })
        .collect()
}

fn text_of(name: &DistinguishedName, kind: &DnType) -> Option<String> {
    match name.get(kind)? {
        rcgen::DnValue::Utf8String(text) => Some(text.clone()),
        rcgen::DnValue::PrintableString(text) => Some(text.as_str().to_owned()),
        rcgen::DnValue::Ia5String(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn signing(error: rcgen::Error) -> CertError {
    CertError::Signing { reason: error.to_string() }
}
