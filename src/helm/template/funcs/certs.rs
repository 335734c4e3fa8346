//! Keys and certificates: `genCA`, `genSignedCert`, `genPrivateKey` and so on. Keys come from the cryptographic library's own
//! generator, which takes no other randomness.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, RsaKeySize, SanType, SerialNumber,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::words::fill;
use super::{Fault, Function, Object, Type, Value, any, done, int, text};
use crate::helm::template::eval::Context;
use crate::helm::template::print;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("genPrivateKey", &[Type::Str], |c, a| {
        let kind = text(a, 0);
        let Some(kind) = Kind::named(kind) else { return done(format!("Unknown type {kind}")) };
        match kind.generate(c) {
            Ok(key) => done(key.pem),
            Err(error) => done(format!("failed to generate private key: {error}")),
        }
    }),
    Function::new("genCA", &[Type::Str, Type::Int], |c, a| {
        authority(c, a, &Kind::Rsa2048.generate(c).map_err(no_key)?)
    }),
    Function::new("genCAWithKey", &[Type::Str, Type::Int, Type::Str], |c, a| {
        authority(c, a, &given_key(text(a, 2))?)
    }),
    Function::new("genSelfSignedCert", LEAF, |c, a| {
        leaf(c, a, &Kind::Rsa2048.generate(c).map_err(no_key)?, None)
    }),
    Function::new("genSelfSignedCertWithKey", LEAF_WITH_KEY, |c, a| {
        leaf(c, a, &given_key(text(a, 4))?, None)
    }),
    Function::new("genSignedCert", SIGNED_LEAF, |c, a| {
        leaf(c, a, &Kind::Rsa2048.generate(c).map_err(no_key)?, Some(any(a, 4)))
    }),
    Function::new("genSignedCertWithKey", SIGNED_LEAF_WITH_KEY, |c, a| {
        leaf(c, a, &given_key(text(a, 5))?, Some(any(a, 4)))
    }),
    Function::new("buildCustomCert", &[Type::Str, Type::Str], |_, a| custom(a)),
];

const LEAF: &[Type] = &[Type::Str, Type::List, Type::List, Type::Int];
const LEAF_WITH_KEY: &[Type] = &[Type::Str, Type::List, Type::List, Type::Int, Type::Str];
const SIGNED_LEAF: &[Type] = &[Type::Str, Type::List, Type::List, Type::Int, Type::Certificate];
const SIGNED_LEAF_WITH_KEY: &[Type] =
    &[Type::Str, Type::List, Type::List, Type::Int, Type::Certificate, Type::Str];

/// Steps that a certificate is worth, its signature most of all.
const SIGNATURE: usize = 20_000;

#[derive(Clone, Copy)]
enum Kind {
    Rsa2048,
    Rsa4096,
    P256,
    Ed25519,
}

/// A private key with the text that Go writes for it.
struct Key {
    pair: KeyPair,
    pem: String,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        match name {
            "" | "rsa" => Some(Self::Rsa4096),
            "ecdsa" => Some(Self::P256),
            "ed25519" => Some(Self::Ed25519),
            _ => None,
        }
    }

    fn generate(self, context: &Context<'_>) -> Result<Key, rcgen::Error> {
        let steps = match self {
            Self::Rsa2048 => 2_000_000,
            Self::Rsa4096 => 15_000_000,
            Self::P256 | Self::Ed25519 => 2_000,
        };
        if !context.work().take(steps) {
            return Err(rcgen::Error::KeyGenerationUnavailable);
        }
        let pair = match self {
            Self::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
            Self::Rsa4096 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096),
            Self::P256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            Self::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        }?;
        let pem = self.pem(&pair).ok_or(rcgen::Error::CouldNotParseKeyPair)?;
        Ok(Key { pair, pem })
    }

    /// PKCS#1 for RSA, SEC 1 for ECDSA, PKCS#8 of the first version for Ed25519.
    fn pem(self, pair: &KeyPair) -> Option<String> {
        let inner = private_part(pair.serialized_der())?;
        Some(match self {
            Self::Rsa2048 | Self::Rsa4096 => section("RSA PRIVATE KEY", inner),
            Self::P256 => {
                const CURVE: &[u8] = &[6, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7];
                let (_, fields, _) = element(inner)?;
                let (_, _, rest) = element(fields)?;
                let (_, secret, _) = element(rest)?;
                let mut point = vec![0];
                point.extend_from_slice(pair.public_key_raw());
                let body = [
                    tagged(2, &[1]),
                    tagged(4, secret),
                    tagged(0xA0, CURVE),
                    tagged(0xA1, &tagged(3, &point)),
                ];
                section("EC PRIVATE KEY", &tagged(0x30, &body.concat()))
            }
            Self::Ed25519 => {
                let body =
                    [tagged(2, &[0]), tagged(0x30, &[6, 3, 0x2B, 0x65, 0x70]), tagged(4, inner)];
                section("PRIVATE KEY", &tagged(0x30, &body.concat()))
            }
        })
    }
}

/// The octets inside a PKCS#8 key: version, algorithm, octets.
fn private_part(pkcs8: &[u8]) -> Option<&[u8]> {
    let (_, body, _) = element(pkcs8)?;
    let (_, _, rest) = element(body)?;
    let (_, _, rest) = element(rest)?;
    element(rest).map(|(_, inner, _)| inner)
}

/// Tag, content and what follows of the first DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let n = usize::from(first & 0x7F);
        if n > 4 || rest.len() < n {
            return None;
        }
        let (digits, rest) = rest.split_at(n);
        (digits.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    (length <= rest.len()).then(|| (*tag, &rest[..length], &rest[length..]))
}

fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ ..0x80) => out.push(length),
        Ok(length) => out.extend([0x81, length]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(content);
    out
}

fn section(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

fn no_key(error: rcgen::Error) -> Fault {
    Fault::new(format!("error generating rsa key: {error}"))
}

/// A key that the chart gives.
fn given_key(pem: &str) -> Result<Key, Fault> {
    parse_key(pem).map_err(|why| Fault::new(format!("parsing private key: {why}")))
}

fn parse_key(pem: &str) -> Result<Key, String> {
    let label = label(pem).ok_or("no PEM data in input")?;
    let Some(kind) = label.strip_suffix("PRIVATE KEY") else {
        return Err(format!("no private key data in PEM block of type {label}"));
    };
    let what = match kind.trim_end() {
        "" => "decoding PEM as PKCS#8",
        "RSA" => "parsing RSA private key from PEM",
        "EC" => "parsing EC private key from PEM",
        kind => return Err(format!("invalid private key type {kind}")),
    };
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| format!("{what}: {error}"))?;
    let pair = KeyPair::try_from(&der).map_err(|error| format!("{what}: {error}"))?;
    Ok(Key { pair, pem: pem.to_owned() })
}

/// The type of the first PEM block.
fn label(pem: &str) -> Option<&str> {
    let (_, rest) = pem.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    rest.contains(&format!("-----END {label}-----")).then_some(label)
}

/// What all certificates have; valid from now.
fn params(context: &Context<'_>, name: &str, days: i64) -> Result<CertificateParams, Fault> {
    context.work().take(SIGNATURE);
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    params.distinguished_name = subject;
    let mut serial = [0; 16];
    fill(context, &mut serial);
    if serial == [0; 16] {
        serial[15] = 1;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    /// The last second that a certificate can name.
    const END: i64 = 253_402_300_799;
    let now = context.engine.environment.now.unwrap_or(jiff::Timestamp::UNIX_EPOCH).as_second();
    let moment = |seconds: i64| {
        let since = Duration::from_secs(u64::try_from(seconds.clamp(0, END)).unwrap_or(0));
        rcgen::date_time_ymd(1970, 1, 1) + since
    };
    params.not_before = moment(now);
    params.not_after = moment(now.saturating_add(days.saturating_mul(86_400)));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    Ok(params)
}

fn not_created(error: rcgen::Error) -> Fault {
    Fault::new(format!("error creating certificate: {error}"))
}

fn certificate(der: &[u8], key: &Key) -> Value {
    Value::object(Object::Certificate {
        cert: section("CERTIFICATE", der).into(),
        key: key.pem.as_str().into(),
    })
}

fn authority(context: &Context<'_>, a: &[Value], key: &Key) -> Result<Value, Fault> {
    let mut params = params(context, text(a, 0), int(a, 1))?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let made = params.self_signed(&key.pair).map_err(not_created)?;
    Ok(certificate(made.der(), key))
}

fn leaf(
    context: &Context<'_>,
    a: &[Value],
    key: &Key,
    signer: Option<&Value>,
) -> Result<Value, Fault> {
    let signer = signer.map(issuer).transpose()?;
    let mut params = params(context, text(a, 0), int(a, 3))?;
    for address in items(any(a, 1)) {
        let Value::Str(text) = address else {
            let shown = print::to_string(address, context.work());
            return Err(Fault::new(format!("error parsing ip: {shown} is not a string")));
        };
        let address: IpAddr =
            text.parse().map_err(|_| Fault::new(format!("error parsing ip: {text}")))?;
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    for name in items(any(a, 2)) {
        let Value::Str(text) = name else {
            let shown = print::to_string(name, context.work());
            return Err(Fault::new(format!(
                "error processing alternate dns name: {shown} is not a string"
            )));
        };
        let name = text.to_string().try_into().map_err(|_| {
            Fault::new(format!("error creating certificate: x509: invalid name {text}"))
        })?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    let made = match &signer {
        Some(issuer) => params.signed_by(&key.pair, issuer),
        None => params.self_signed(&key.pair),
    };
    Ok(certificate(made.map_err(not_created)?.der(), key))
}

/// The authority that a leaf is signed with.
fn issuer(value: &Value) -> Result<Issuer<'static, KeyPair>, Fault> {
    let (cert, key) = match value {
        Value::Object(object) => match &**object {
            Object::Certificate { cert, key } => (&**cert, &**key),
            _ => ("", ""),
        },
        _ => ("", ""),
    };
    let der = CertificateDer::from_pem_slice(cert.as_bytes())
        .map_err(|_| Fault::new("unable to decode certificate"))?;
    let key =
        parse_key(key).map_err(|why| Fault::new(format!("error parsing private key: {why}")))?;
    Issuer::from_ca_cert_der(&der, key.pair).map_err(|error| {
        Fault::new(format!("error parsing certificate: decodedSignerCert.Bytes: {error}"))
    })
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::List(list) => &list.items,
        _ => &[],
    }
}

fn custom(a: &[Value]) -> Result<Value, Fault> {
    let decode = |n: usize, what: &str| {
        STANDARD
            .decode(text(a, n))
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| Fault::new(format!("unable to decode base64 {what}")))
    };
    let (cert, key) = (decode(0, "certificate")?, decode(1, "private key")?);
    let der = CertificateDer::from_pem_slice(cert.as_bytes())
        .map_err(|_| Fault::new("unable to decode certificate"))?;
    x509_parser::parse_x509_certificate(&der).map_err(|error| {
        Fault::new(format!("error parsing certificate: decodedCert.Bytes: {error}"))
    })?;
    parse_key(&key).map_err(|why| Fault::new(format!("error parsing private key: {why}")))?;
    Ok(Value::object(Object::Certificate { cert: cert.into(), key: key.into() }))
}
