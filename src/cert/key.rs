//! Private keys: made, read, compared; never shown.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rcgen::{KeyPair, PublicKeyData, RsaKeySize};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::error::CertError;
use super::pem;
use crate::base::secret::Secret;
use crate::base::suggest;

/// Which key to make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on NIST P-256: small, fast, taken by every client and by Envoy.
    #[default]
    P256,
    P384,
    Rsa2048,
    Rsa3072,
    Rsa4096,
    Ed25519,
}

impl KeyKind {
    const ALL: [Self; 6] =
        [Self::P256, Self::P384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096, Self::Ed25519];

    /// The name in options, facts and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
            Self::Ed25519 => "Ed25519",
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for KeyKind {
    type Err = CertError;

    /// Case and dashes do not matter; `rsa` alone is RSA-2048, `ecdsa` and `ec` are P-256.
    fn from_str(text: &str) -> Result<Self, CertError> {
        let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
        match plain(text).as_str() {
            "rsa" => return Ok(Self::Rsa2048),
            "ec" | "ecdsa" => return Ok(Self::P256),
            _ => {}
        }
        Self::ALL.into_iter().find(|kind| plain(kind.name()) == plain(text)).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.into_iter().map(Self::name).collect();
            let near = suggest::near(text, known.iter().copied());
            let near = known.iter().copied().find(|name| Some(*name) == near);
            CertError::UnknownKeyKind { found: text.to_owned(), known, near }
        })
    }
}

/// A private key. Its text leaves only as a `Secret`.
#[derive(Clone)]
pub struct PrivateKey {
    pair: Arc<KeyPair>,
    pem: Secret,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PrivateKey").field(&self.pem).finish()
    }
}

impl PrivateKey {
    /// Makes a key with the system's randomness.
    pub fn generate(kind: KeyKind) -> Result<Self, CertError> {
        let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
        let pair = match kind {
            KeyKind::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::P384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
            KeyKind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
            KeyKind::Rsa2048 => rsa(RsaKeySize::_2048),
            KeyKind::Rsa3072 => rsa(RsaKeySize::_3072),
            KeyKind::Rsa4096 => rsa(RsaKeySize::_4096),
        }
        .map_err(|error| CertError::Signing { reason: error.to_string() })?;
        let pem = pem::section("PRIVATE KEY", &interoperable(kind, pair.serialized_der()));
        Ok(Self { pair: Arc::new(pair), pem: Secret::new(pem) })
    }

    /// Reads the first private key of a PEM text: PKCS#8, PKCS#1 (RSA) or SEC1 (EC), not encrypted.
    pub fn from_pem(secret: &Secret) -> Result<Self, CertError> {
        let text = secret.reveal();
        if text.contains("ENCRYPTED") {
            return Err(CertError::EncryptedKey);
        }
        // Neither parser's message holds bytes of the key.
        let der = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|error| CertError::BadKey { reason: pem::defect(&error).to_owned() })?;
        let pair = KeyPair::try_from(&der).map_err(|_| CertError::BadKey {
            reason: "neither ECDSA (P-256, P-384, P-521), RSA (2048 to 8192 bits) nor Ed25519"
                .to_owned(),
        })?;
        Ok(Self { pair: Arc::new(pair), pem: secret.clone() })
    }

    /// The PEM text.
    pub fn pem(&self) -> &Secret {
        &self.pem
    }

    /// The kind of the key as facts name it: `P-256`, `RSA-2048`, `Ed25519`.
    pub fn describe(&self) -> String {
        let info = self.pair.subject_public_key_info();
        SubjectPublicKeyInfo::from_der(&info)
            .map_or_else(|_| "unknown".to_owned(), |(_, info)| describe(&info))
    }

    /// Whether it is the private half of the public key in a certificate.
    pub fn belongs_to(&self, public_key: &SubjectPublicKeyInfo<'_>) -> bool {
        self.pair.public_key_raw() == public_key.subject_public_key.data.as_ref()
    }

    pub(super) fn pair(&self) -> &KeyPair {
        &self.pair
    }
}

/// The kind of a public key: `P-256`, `RSA-2048`, `Ed25519`, or its OID.
pub(super) fn describe(info: &SubjectPublicKeyInfo<'_>) -> String {
    let curve = info.algorithm.parameters.as_ref().and_then(|parameter| parameter.as_oid().ok());
    match info.algorithm.algorithm.to_id_string().as_str() {
        "1.2.840.10045.2.1" => match curve.map(|oid| oid.to_id_string()).as_deref() {
            Some("1.2.840.10045.3.1.7") => "P-256".to_owned(),
            Some("1.3.132.0.34") => "P-384".to_owned(),
            Some("1.3.132.0.35") => "P-521".to_owned(),
            Some(other) => format!("EC {other}"),
            None => "EC".to_owned(),
        },
        "1.2.840.113549.1.1.1" => {
            let bits = info.parsed().map_or(0, |key| key.key_size());
            format!("RSA-{bits}")
        }
        "1.3.101.112" => "Ed25519".to_owned(),
        other => other.to_owned(),
    }
}

/// The PKCS#8 form that every reader takes.
///
/// Ed25519 keys come as version 2, with the public key attached, which OpenSSL 3.0 and Envoy refuse; version 1 is the
/// fixed head followed by the 32 bytes of the seed (RFC 8410 section 7).
fn interoperable(kind: KeyKind, der: &[u8]) -> Vec<u8> {
    const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    match der.get(HEAD.len()..HEAD.len() + 32) {
        Some(seed) if kind == KeyKind::Ed25519 && der.get(7..16) == HEAD.get(7..16) => {
            [HEAD.as_slice(), seed].concat()
        }
        _ => der.to_vec(),
    }
}
