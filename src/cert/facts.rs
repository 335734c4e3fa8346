//! What is written in a certificate.

use std::net::IpAddr;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
use serde::Serialize;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::error::CertError;
use super::key;

/// The facts of one certificate. Numbers are lower-case hex without colons, as Envoy and istioctl write them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// `CN=shop, O=Example`, in the order of the certificate.
    pub subject: String,
    pub issuer: String,
    pub common_name: Option<String>,
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Every name that it is valid for, in the order of the certificate.
    pub names: Vec<String>,
    pub sans: Sans,
    /// `P-256`, `RSA-2048`, `Ed25519`.
    pub key: String,
    pub signature_algorithm: String,
    pub is_ca: bool,
    pub path_length: Option<u32>,
    pub key_usages: Vec<&'static str>,
    pub extended_key_usages: Vec<String>,
    pub subject_key_id: Option<String>,
    pub authority_key_id: Option<String>,
    pub self_signed: bool,
    pub fingerprints: Fingerprints,
}

/// Subject alternative names by their type.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sans {
    pub dns: Vec<String>,
    pub ip: Vec<String>,
    pub uri: Vec<String>,
    pub email: Vec<String>,
    /// Types that have no text form here, by their name.
    pub other: Vec<String>,
}

/// SHA-256 over the certificate and over its public key (the pin of RFC 7469).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fingerprints {
    pub sha256: String,
    pub public_key_sha256: String,
}

impl Facts {
    /// Reads a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, CertError> {
        with_parsed(certificate, |parsed| Self::read(certificate, parsed))?
    }

    /// What messages call it: its subject, or its names where it has none.
    pub fn title(&self) -> String {
        if self.subject.is_empty() { self.names.join(", ") } else { self.subject.clone() }
    }

    /// Whether its issuer has its own name, as a root's has.
    pub fn is_self_issued(&self) -> bool {
        self.subject == self.issuer && self.is_ca
    }

    /// The part of its life that is over at a time, 0 to 1.
    pub fn life_used(&self, at: Timestamp) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "seconds of a calendar, far below 2^53")]
        let seconds = |from: Timestamp, to: Timestamp| (to.as_second() - from.as_second()) as f64;
        let life = seconds(self.not_before, self.not_after);
        if life <= 0.0 { 1.0 } else { (seconds(self.not_before, at) / life).clamp(0.0, 1.0) }
    }

    fn read(der: &CertificateDer<'_>, parsed: &X509Certificate<'_>) -> Result<Self, CertError> {
        let mut facts = Self {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            common_name: parsed
                .subject()
                .iter_common_name()
                .next()
                .and_then(|name| name.as_str().ok())
                .map(ToOwned::to_owned),
            serial: serial(parsed.raw_serial()),
            not_before: timestamp(parsed.validity().not_before.timestamp())?,
            not_after: timestamp(parsed.validity().not_after.timestamp())?,
            names: Vec::new(),
            sans: Sans::default(),
            key: key::describe(parsed.public_key()),
            signature_algorithm: signature(&parsed.signature_algorithm.algorithm.to_id_string()),
            is_ca: false,
            path_length: None,
            key_usages: Vec::new(),
            extended_key_usages: Vec::new(),
            subject_key_id: None,
            authority_key_id: None,
            self_signed: parsed.subject().as_raw() == parsed.issuer().as_raw(),
            fingerprints: Fingerprints {
                sha256: hex::encode(Sha256::digest(der.as_ref())),
                public_key_sha256: hex::encode(Sha256::digest(parsed.public_key().raw)),
            },
        };
        for extension in parsed.iter_extensions() {
            facts.add(extension.parsed_extension());
        }
        if let (Some(own), Some(issuer)) = (&facts.subject_key_id, &facts.authority_key_id) {
            facts.self_signed &= own == issuer;
        }
        Ok(facts)
    }

    fn add(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::BasicConstraints(constraints) => {
                self.is_ca = constraints.ca;
                self.path_length = constraints.path_len_constraint;
            }
            ParsedExtension::KeyUsage(usage) => self.key_usages = key_usages(usage),
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended_key_usages = extended_key_usages(usage);
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().for_each(|name| self.add_name(name));
            }
            ParsedExtension::SubjectKeyIdentifier(id) => {
                self.subject_key_id = Some(hex::encode(id.0));
            }
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                self.authority_key_id = id.key_identifier.as_ref().map(|id| hex::encode(id.0));
            }
            _ => {}
        }
    }

    fn add_name(&mut self, name: &GeneralName<'_>) {
        let (list, text) = match name {
            GeneralName::DNSName(name) => (&mut self.sans.dns, (*name).to_owned()),
            GeneralName::URI(uri) => (&mut self.sans.uri, (*uri).to_owned()),
            GeneralName::RFC822Name(address) => (&mut self.sans.email, (*address).to_owned()),
            GeneralName::IPAddress(octets) => (&mut self.sans.ip, address(octets)),
            other => (&mut self.sans.other, other.to_string()),
        };
        list.push(text.clone());
        self.names.push(text);
    }
}

/// Calls `read` with the parsed certificate, which borrows from the DER.
pub(super) fn with_parsed<T>(
    certificate: &CertificateDer<'_>,
    read: impl FnOnce(&X509Certificate<'_>) -> T,
) -> Result<T, CertError> {
    let malformed = |reason: String| CertError::BadCertificate {
        what: "the chain".to_owned(),
        number: 1,
        reason,
    };
    let (rest, parsed) =
        X509Certificate::from_der(certificate).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed(format!("{} bytes follow its end", rest.len())));
    }
    Ok(read(&parsed))
}

impl CertError {
    /// The same defect with the text and the number of the certificate in it.
    pub(super) fn numbered(self, what: &str, number: usize) -> Self {
        match self {
            Self::BadCertificate { reason, .. } => {
                Self::BadCertificate { what: what.to_owned(), number, reason }
            }
            other => other,
        }
    }
}

fn timestamp(seconds: i64) -> Result<Timestamp, CertError> {
    Timestamp::from_second(seconds).map_err(|error| CertError::BadCertificate {
        what: "the chain".to_owned(),
        number: 1,
        reason: error.to_string(),
    })
}

fn serial(raw: &[u8]) -> String {
    // DER puts a zero before a number whose first bit is set; it is no digit of the number.
    let digits = match raw {
        [0, rest @ ..] if !rest.is_empty() => rest,
        other => other,
    };
    hex::encode(digits)
}

fn address(octets: &[u8]) -> String {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let sixteen = <[u8; 16]>::try_from(octets).map(IpAddr::from);
    four.or(sixteen).map_or_else(|_| hex::encode(octets), |address| address.to_string())
}

fn signature(oid: &str) -> String {
    let name = match oid {
        "1.2.840.10045.4.3.2" => "ECDSA-SHA256",
        "1.2.840.10045.4.3.3" => "ECDSA-SHA384",
        "1.2.840.10045.4.3.4" => "ECDSA-SHA512",
        "1.2.840.113549.1.1.5" => "RSA-SHA1",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.11" => "RSA-SHA256",
        "1.2.840.113549.1.1.12" => "RSA-SHA384",
        "1.2.840.113549.1.1.13" => "RSA-SHA512",
        "1.3.101.112" => "Ed25519",
        other => other,
    };
    name.to_owned()
}

fn key_usages(usage: &KeyUsage) -> Vec<&'static str> {
    [
        (usage.digital_signature(), "digitalSignature"),
        (usage.non_repudiation(), "contentCommitment"),
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ]
    .into_iter()
    .filter_map(|(set, name)| set.then_some(name))
    .collect()
}

fn extended_key_usages(usage: &ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (usage.any, "anyExtendedKeyUsage"),
        (usage.server_auth, "serverAuth"),
        (usage.client_auth, "clientAuth"),
        (usage.code_signing, "codeSigning"),
        (usage.email_protection, "emailProtection"),
        (usage.time_stamping, "timeStamping"),
        (usage.ocsp_signing, "OCSPSigning"),
    ];
    known
        .into_iter()
        .filter(|(set, _)| *set)
        .map(|(_, name)| name.to_owned())
        .chain(usage.other.iter().map(|oid| oid.to_id_string()))
        .collect()
}
