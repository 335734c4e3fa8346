//! OpenPGP packets as far as a signature needs them: keys, user ids and signatures of version 4 (RFC 4880, sections 4 and 5).

use aws_lc_rs::signature::{
    self as aws, EcdsaVerificationAlgorithm, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{PgpError, structural, unsupported};

/// The kinds of signatures that matter here (section 5.2.1).
pub(super) const TEXT: u8 = 0x01;
pub(super) const CERTIFICATIONS: std::ops::RangeInclusive<u8> = 0x10..=0x13;
pub(super) const SUBKEY_BINDING: u8 = 0x18;
const PRIMARY_KEY_BINDING: u8 = 0x19;
pub(super) const KEY_REVOCATION: u8 = 0x20;
pub(super) const SUBKEY_REVOCATION: u8 = 0x28;
pub(super) const CERTIFICATION_REVOCATION: u8 = 0x30;

/// Key flag of section 5.2.3.21: may sign data.
const MAY_SIGN: u8 = 0x02;

const RSA: u8 = 1;
const RSA_ENCRYPT: u8 = 2;
const RSA_SIGN: u8 = 3;
const ELGAMAL: u8 = 16;
const DSA: u8 = 17;
const ECDH: u8 = 18;
const ECDSA: u8 = 19;
const EDDSA: u8 = 22;
const X25519: u8 = 25;
const X448: u8 = 26;
const ED25519: u8 = 27;
const ED448: u8 = 28;

const P256: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x22];
const P521: &[u8] = &[0x2B, 0x81, 0x04, 0x00, 0x23];
const ED25519_LEGACY: &[u8] = &[0x2B, 0x06, 0x01, 0x04, 0x01, 0xDA, 0x47, 0x0F, 0x01];

const SHA1: u8 = 2;
const SHA256: u8 = 8;
const SHA384: u8 = 9;
const SHA512: u8 = 10;
/// SHA-224 and SHA-3, which go-crypto knows too.
const OTHER_HASHES: &[u8] = &[11, 12, 14];

/// How deep signatures lie in signatures.
const MAX_DEPTH: usize = 4;

/// Bytes that are read from the front.
#[derive(Clone, Debug)]
struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    fn take(&mut self, n: usize) -> Result<&'d [u8], PgpError> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(PgpError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, PgpError> {
        Ok(self.take(1)?[0])
    }

    /// A number of up to four bytes.
    fn number(&mut self, bytes: usize) -> Result<u32, PgpError> {
        Ok(self.take(bytes)?.iter().fold(0, |number, byte| (number << 8) | u32::from(*byte)))
    }

    fn sized(&mut self, bytes: usize) -> Result<&'d [u8], PgpError> {
        let length = self.number(bytes)?;
        self.take(usize::try_from(length).map_err(|_| PgpError::Truncated)?)
    }

    /// A multi-precision integer (section 3.2).
    fn mpi(&mut self) -> Result<&'d [u8], PgpError> {
        let bits = self.number(2)?;
        self.take(usize::try_from(bits.div_ceil(8)).map_err(|_| PgpError::Truncated)?)
    }
}

#[derive(Debug)]
pub(super) enum Packet {
    Key(PublicKey),
    UserId(String),
    Signature(Box<Signature>),
    /// One that says nothing here.
    Other,
}

/// The packets of a keyring or a signature.
#[derive(Debug)]
pub(super) struct Packets<'d> {
    rest: Reader<'d>,
    unread: Option<Packet>,
}

impl<'d> Packets<'d> {
    pub(super) fn new(data: &'d [u8]) -> Self {
        Self { rest: Reader(data), unread: None }
    }

    /// Gives a packet back: it is the next one.
    pub(super) fn unread(&mut self, packet: Packet) {
        self.unread = Some(packet);
    }

    /// The next packet; those of unknown or unsupported make are passed over, as go-crypto passes them.
    pub(super) fn next(&mut self) -> Result<Option<Packet>, PgpError> {
        if let Some(packet) = self.unread.take() {
            return Ok(Some(packet));
        }
        while !self.rest.0.is_empty() {
            let (tag, body) = self.body()?;
            match read(tag, &body) {
                Ok(Some(packet)) => return Ok(Some(packet)),
                Ok(None) | Err(PgpError::Unsupported(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// A packet's tag and body (section 4.2).
    fn body(&mut self) -> Result<(u8, Vec<u8>), PgpError> {
        let head = self.rest.byte()?;
        if head & 0x80 == 0 {
            return Err(structural("tag byte does not have MSB set"));
        }
        if head & 0x40 == 0 {
            let body = match head & 3 {
                3 => self.rest.take(self.rest.0.len())?,
                size => self.rest.sized(1 << size)?,
            };
            return Ok(((head >> 2) & 0x0F, body.to_vec()));
        }
        let mut body = Vec::new();
        loop {
            let first = self.rest.byte()?;
            match first {
                0..=191 => body.extend_from_slice(self.rest.take(first.into())?),
                192..=223 => {
                    let length = (usize::from(first - 192) << 8) + usize::from(self.rest.byte()?);
                    body.extend_from_slice(self.rest.take(length + 192)?);
                }
                224..=254 => {
                    body.extend_from_slice(self.rest.take(1 << (first & 0x1F))?);
                    continue;
                }
                255 => body.extend_from_slice(self.rest.sized(4)?),
            }
            return Ok((head & 0x3F, body));
        }
    }
}

fn read(tag: u8, body: &[u8]) -> Result<Option<Packet>, PgpError> {
    Ok(Some(match tag {
        2 => Packet::Signature(Box::new(Signature::read(body, 0)?)),
        5 | 6 => Packet::Key(PublicKey::read(body, false)?),
        7 | 14 => Packet::Key(PublicKey::read(body, true)?),
        13 => Packet::UserId(String::from_utf8_lossy(body).into_owned()),
        1 | 3 | 4 | 8 | 9 | 11 | 17 | 18 | 20 | 21 => Packet::Other,
        10 | 12 | 40.. => return Ok(None),
        _ => return Err(PgpError::UnknownPacket(tag)),
    }))
}

#[derive(Clone, Debug)]
enum Material {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    Ecdsa {
        curve: &'static [u8],
        point: Vec<u8>,
    },
    Ed25519(Vec<u8>),
    /// Signs, but not so that we could tell.
    Unknown(&'static str),
    /// Does not sign.
    Encryption,
}

/// A public key, or the public part of a secret one.
#[derive(Clone, Debug)]
pub(super) struct PublicKey {
    pub is_subkey: bool,
    algorithm: u8,
    created: u32,
    /// What fingerprint and signatures are over.
    body: Vec<u8>,
    material: Material,
    pub fingerprint: [u8; 20],
    pub id: u64,
}

impl PublicKey {
    fn read(data: &[u8], is_subkey: bool) -> Result<Self, PgpError> {
        let mut reader = Reader(data);
        let version = reader.byte()?;
        if version != 4 {
            return Err(unsupported(format!("public key version {version}")));
        }
        let created = reader.number(4)?;
        let algorithm = reader.byte()?;
        let material = Material::read(&mut reader, algorithm)?;
        let body = data[..data.len() - reader.0.len()].to_vec();
        let framed = framed(&body)?;
        let fingerprint = sha1(&framed);
        let id = fingerprint[12..].iter().fold(0, |id, byte| (id << 8) | u64::from(*byte));
        Ok(Self { is_subkey, algorithm, created, body, material, fingerprint, id })
    }

    pub(super) fn can_sign(&self) -> bool {
        !matches!(self.algorithm, RSA_ENCRYPT | ELGAMAL | ECDH)
    }

    /// What signatures over this key begin with (section 5.2.4).
    pub(super) fn framed(&self) -> Result<Vec<u8>, PgpError> {
        framed(&self.body)
    }

    pub(super) fn is_expired(&self, signature: &Signature, now: i64) -> bool {
        ended(self.created, signature.key_lifetime, now)
    }

    /// Whether this key made the signature over the data.
    pub(super) fn verify(&self, mut data: Vec<u8>, signature: &Signature) -> Result<(), PgpError> {
        if !self.can_sign() {
            return Err(PgpError::Argument("public key cannot generate signatures"));
        }
        if self.algorithm != signature.algorithm {
            return Err(PgpError::Argument("public key and signature use different algorithms"));
        }
        data.extend_from_slice(&signature.suffix);
        match (&self.material, &signature.value[..]) {
            (Material::Rsa { n, e }, [value]) => {
                let parameters = rsa(signature.hash)?;
                // The key's size, zeros in front included.
                let mut padded = vec![0; n.len().saturating_sub(value.len())];
                padded.extend_from_slice(value);
                RsaPublicKeyComponents { n, e }
                    .verify(parameters, &data, &padded)
                    .map_err(|_| failed("RSA verification failure"))
            }
            (Material::Ecdsa { curve, point }, [r, s]) => {
                UnparsedPublicKey::new(ecdsa(curve, signature.hash)?, point)
                    .verify(&data, &der(r, s))
                    .map_err(|_| failed("ECDSA verification failure"))
            }
            (Material::Ed25519(point), value) => {
                let words = if self.algorithm == EDDSA { "EdDSA" } else { "Ed25519" };
                let failed = || failed(&format!("{words} verification failure"));
                let mut whole = Vec::new();
                for part in value {
                    let size = 64 / value.len().max(1);
                    let missing = size.checked_sub(part.len()).ok_or_else(failed)?;
                    whole.resize(whole.len() + missing, 0);
                    whole.extend_from_slice(part);
                }
                UnparsedPublicKey::new(&aws::ED25519, point)
                    .verify(&hashed(&data, signature.hash)?, &whole)
                    .map_err(|_| failed())
            }
            (Material::Unknown(what), _) => Err(unsupported(format!("{what} signatures"))),
            _ => Err(failed("Unsupported public key algorithm used in signature")),
        }
    }

    /// Whether this key bound (or revoked) the subkey, and the subkey itself where it signs.
    pub(super) fn verify_subkey(
        &self,
        subkey: &Self,
        signature: &Signature,
    ) -> Result<(), PgpError> {
        let data = [self.framed()?, subkey.framed()?].concat();
        self.verify(data.clone(), signature)?;
        if !signature.may_sign() {
            return Ok(());
        }
        let embedded = signature
            .embedded
            .as_ref()
            .ok_or_else(|| structural("signing subkey is missing cross-signature"))?;
        subkey
            .verify(data, embedded)
            .map_err(|error| structural(format!("error while verifying cross-signature: {error}")))
    }
}

impl Material {
    fn read(reader: &mut Reader<'_>, algorithm: u8) -> Result<Self, PgpError> {
        let skip =
            |reader: &mut Reader<'_>, n: usize| (0..n).try_for_each(|_| reader.mpi().map(drop));
        Ok(match algorithm {
            RSA | RSA_ENCRYPT | RSA_SIGN => {
                let (n, e) = (reader.mpi()?.to_vec(), reader.mpi()?.to_vec());
                if e.len() > 3 {
                    return Err(unsupported("large public exponent"));
                }
                if algorithm == RSA_ENCRYPT { Self::Encryption } else { Self::Rsa { n, e } }
            }
            ELGAMAL => {
                skip(reader, 3)?;
                Self::Encryption
            }
            DSA => {
                skip(reader, 4)?;
                Self::Unknown("DSA")
            }
            ECDH => {
                reader.sized(1)?;
                reader.mpi()?;
                reader.sized(1)?;
                Self::Encryption
            }
            ECDSA => {
                let oid = reader.sized(1)?;
                let point = reader.mpi()?.to_vec();
                let curve = [P256, P384, P521].into_iter().find(|known| *known == oid);
                let unknown = || unsupported(format!("unknown oid: {}", hex::encode(oid)));
                Self::Ecdsa { curve: curve.ok_or_else(unknown)?, point }
            }
            EDDSA => {
                let oid = reader.sized(1)?;
                let point = reader.mpi()?;
                if oid != ED25519_LEGACY {
                    return Err(unsupported(format!("unknown oid: {}", hex::encode(oid))));
                }
                match point.split_first() {
                    None => return Err(structural("empty EdDSA public key")),
                    Some((0x40, point)) => Self::Ed25519(point.to_vec()),
                    Some((flag, _)) => {
                        return Err(unsupported(format!("unsupported EdDSA compression: {flag}")));
                    }
                }
            }
            X25519 => {
                reader.take(32)?;
                Self::Encryption
            }
            X448 => {
                reader.take(56)?;
                Self::Encryption
            }
            ED25519 => Self::Ed25519(reader.take(32)?.to_vec()),
            ED448 => {
                reader.take(57)?;
                Self::Unknown("Ed448")
            }
            other => return Err(unsupported(format!("public key type: {other}"))),
        })
    }
}

/// A signature.
#[derive(Clone, Debug)]
pub(super) struct Signature {
    pub kind: u8,
    algorithm: u8,
    hash: u8,
    /// What is hashed after the data.
    suffix: Vec<u8>,
    value: Vec<Vec<u8>>,
    pub created: u32,
    lifetime: Option<u32>,
    key_lifetime: Option<u32>,
    pub issuer: Option<u64>,
    issuer_fingerprint: Option<Vec<u8>>,
    pub is_primary_id: bool,
    flags: Option<u8>,
    /// Why a key is revoked (section 5.2.3.23).
    pub reason: Option<u8>,
    pub embedded: Option<Box<Self>>,
    /// The first note that must be understood.
    pub critical_note: Option<String>,
}

impl Signature {
    fn read(data: &[u8], depth: usize) -> Result<Self, PgpError> {
        let mut reader = Reader(data);
        let version = reader.byte()?;
        if version != 4 {
            return Err(unsupported(format!("signature packet version {version}")));
        }
        let (kind, algorithm, hash) = (reader.byte()?, reader.byte()?, reader.byte()?);
        if !matches!(algorithm, RSA | RSA_SIGN | DSA | ECDSA | EDDSA | ED25519 | ED448) {
            return Err(unsupported(format!("public key algorithm {algorithm}")));
        }
        if !matches!(hash, SHA1 | SHA256 | SHA384 | SHA512) && !OTHER_HASHES.contains(&hash) {
            return Err(unsupported(format!("hash function {hash}")));
        }
        let hashed = reader.sized(2)?;
        let length = u32::try_from(6 + hashed.len()).unwrap_or(u32::MAX);
        let mut suffix = data[..data.len() - reader.0.len()].to_vec();
        suffix.extend_from_slice(&[4, 0xFF]);
        suffix.extend_from_slice(&length.to_be_bytes());
        let mut signature = Self {
            kind,
            algorithm,
            hash,
            suffix,
            value: Vec::new(),
            created: 0,
            lifetime: None,
            key_lifetime: None,
            issuer: None,
            issuer_fingerprint: None,
            is_primary_id: false,
            flags: None,
            reason: None,
            embedded: None,
            critical_note: None,
        };
        if !signature.read_subpackets(hashed, true, depth)? {
            return Err(structural("no creation time in signature"));
        }
        let unhashed = reader.sized(2)?;
        signature.read_subpackets(unhashed, false, depth)?;
        reader.take(2)?;
        let n_parts = match algorithm {
            RSA | RSA_SIGN => 1,
            ED25519 => {
                signature.value = vec![reader.take(64)?.to_vec()];
                0
            }
            ED448 => {
                signature.value = vec![reader.take(114)?.to_vec()];
                0
            }
            _ => 2,
        };
        for _ in 0..n_parts {
            signature.value.push(reader.mpi()?.to_vec());
        }
        Ok(signature)
    }

    /// Reads subpackets (section 5.2.3.1); tells whether there was a time of creation.
    fn read_subpackets(
        &mut self,
        data: &[u8],
        is_hashed: bool,
        depth: usize,
    ) -> Result<bool, PgpError> {
        let truncated = |_| structural("signature subpacket truncated");
        let (mut reader, mut is_dated) = (Reader(data), false);
        while !reader.0.is_empty() {
            let first = reader.byte().map_err(truncated)?;
            let length = match first {
                0..=191 => first.into(),
                192..=254 => {
                    (u32::from(first - 192) << 8)
                        + u32::from(reader.byte().map_err(truncated)?)
                        + 192
                }
                255 => reader.number(4).map_err(truncated)?,
            };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            let subpacket = reader.take(length).map_err(truncated)?;
            let (kind, body) = subpacket
                .split_first()
                .ok_or_else(|| structural("zero length signature subpacket"))?;
            is_dated |= self.read_subpacket(*kind, body, is_hashed, depth)?;
        }
        Ok(is_dated)
    }

    fn read_subpacket(
        &mut self,
        kind: u8,
        body: &[u8],
        is_hashed: bool,
        depth: usize,
    ) -> Result<bool, PgpError> {
        let is_critical = kind & 0x80 != 0;
        let kind = kind & 0x7F;
        // Only these may stand outside of what is signed: they prove themselves.
        if !is_hashed && ![16, 32, 33].contains(&kind) {
            return Ok(false);
        }
        let number = |what: &str| {
            let wrong = || structural(what);
            Ok(u32::from_be_bytes(body.try_into().map_err(|_| wrong())?))
        };
        match kind {
            2 => {
                self.created = number("signature creation time not four bytes")?;
                return Ok(true);
            }
            3 => self.lifetime = Some(number("expiration subpacket with bad length")?),
            4 if body.first().is_none_or(|exportable| *exportable == 0) => {
                return Err(unsupported("signature with non-exportable certification"));
            }
            9 => self.key_lifetime = Some(number("key expiration subpacket with bad length")?),
            16 => {
                let wrong = |_| structural("issuer subpacket with bad length");
                self.issuer = Some(u64::from_be_bytes(body.try_into().map_err(wrong)?));
            }
            20 => self.read_note(body, is_critical)?,
            25 => match body {
                [flag] => self.is_primary_id = *flag > 0,
                _ => return Err(structural("primary user id subpacket with bad length")),
            },
            27 => self.flags = Some(body.first().copied().unwrap_or(0)),
            29 => {
                let reason = body.first().copied();
                self.reason =
                    Some(reason.ok_or_else(|| structural("empty revocation reason subpacket"))?);
            }
            32 => {
                if self.embedded.is_some() || depth == MAX_DEPTH {
                    return Err(structural("Cannot have multiple embedded signatures"));
                }
                let embedded = Self::read(body, depth + 1)?;
                if embedded.kind != PRIMARY_KEY_BINDING {
                    let kind = embedded.kind;
                    return Err(structural(format!("cross-signature has unexpected type {kind}")));
                }
                self.embedded = Some(Box::new(embedded));
            }
            33 => match body {
                [4, fingerprint @ ..] if fingerprint.len() == 20 => {
                    let id = &fingerprint[12..];
                    self.issuer = Some(id.iter().fold(0, |id, byte| (id << 8) | u64::from(*byte)));
                    self.issuer_fingerprint = Some(fingerprint.to_vec());
                }
                [] => return Err(structural("empty issuer fingerprint subpacket")),
                _ => return Err(structural("bad fingerprint length")),
            },
            // Exportable, trust, expressions, preferences, key servers, policies, signers, features, recipients.
            4 | 5 | 6 | 11 | 21 | 22 | 23 | 24 | 26 | 28 | 30 | 35 | 39 => {}
            other if is_critical => {
                let text = format!("unknown critical signature subpacket type {other}");
                return Err(unsupported(text));
            }
            _ => {}
        }
        Ok(false)
    }

    fn read_note(&mut self, body: &[u8], is_critical: bool) -> Result<(), PgpError> {
        let wrong = |_| structural("notation data subpacket with bad length");
        let mut reader = Reader(body);
        reader.take(4).map_err(wrong)?;
        let (name, value) = (reader.number(2).map_err(wrong)?, reader.number(2).map_err(wrong)?);
        let length = |length: u32| usize::try_from(length).unwrap_or(usize::MAX);
        let name = reader.take(length(name)).map_err(wrong)?;
        reader.take(length(value)).map_err(wrong)?;
        if is_critical {
            self.critical_note.get_or_insert_with(|| String::from_utf8_lossy(name).into_owned());
        }
        Ok(())
    }

    /// Whether the key of this signature may sign data.
    pub(super) fn may_sign(&self) -> bool {
        self.flags.is_some_and(|flags| flags & MAY_SIGN != 0)
    }

    pub(super) fn is_by(&self, key: &PublicKey) -> bool {
        match &self.issuer_fingerprint {
            Some(fingerprint) => fingerprint[..] == key.fingerprint,
            None => self.issuer == Some(key.id),
        }
    }

    pub(super) fn is_expired(&self, now: i64) -> bool {
        ended(self.created, self.lifetime, now)
    }
}

/// Not yet begun, or over; a life of nothing has no end.
fn ended(created: u32, lifetime: Option<u32>, now: i64) -> bool {
    let created = i64::from(created);
    created > now || lifetime.is_some_and(|life| life != 0 && now > created + i64::from(life))
}

fn failed(message: &str) -> PgpError {
    PgpError::Signature(message.to_owned())
}

fn framed(body: &[u8]) -> Result<Vec<u8>, PgpError> {
    let length = u16::try_from(body.len()).map_err(|_| structural("key is too long"))?;
    let mut framed = vec![0x99];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(body);
    Ok(framed)
}

fn sha1(data: &[u8]) -> [u8; 20] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, data);
    let mut bytes = [0; 20];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

fn hashed(data: &[u8], hash: u8) -> Result<Vec<u8>, PgpError> {
    Ok(match hash {
        SHA1 => sha1(data).to_vec(),
        SHA256 => Sha256::digest(data).to_vec(),
        SHA384 => Sha384::digest(data).to_vec(),
        SHA512 => Sha512::digest(data).to_vec(),
        other => return Err(unsupported(format!("hash function {other}"))),
    })
}

fn rsa(hash: u8) -> Result<&'static RsaParameters, PgpError> {
    Ok(match hash {
        SHA1 => &aws::RSA_PKCS1_1024_8192_SHA1_FOR_LEGACY_USE_ONLY,
        SHA256 => &aws::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        SHA384 => &aws::RSA_PKCS1_2048_8192_SHA384,
        SHA512 => &aws::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        other => return Err(unsupported(format!("hash function {other}"))),
    })
}

fn ecdsa(curve: &[u8], hash: u8) -> Result<&'static EcdsaVerificationAlgorithm, PgpError> {
    Ok(match (curve, hash) {
        (P256, SHA256) => &aws::ECDSA_P256_SHA256_ASN1,
        (P256, SHA384) => &aws::ECDSA_P256_SHA384_ASN1,
        (P256, SHA512) => &aws::ECDSA_P256_SHA512_ASN1,
        (P384, SHA256) => &aws::ECDSA_P384_SHA256_ASN1,
        (P384, SHA384) => &aws::ECDSA_P384_SHA384_ASN1,
        (P384, SHA512) => &aws::ECDSA_P384_SHA512_ASN1,
        (P521, SHA256) => &aws::ECDSA_P521_SHA256_ASN1,
        (P521, SHA384) => &aws::ECDSA_P521_SHA384_ASN1,
        (P521, SHA512) => &aws::ECDSA_P521_SHA512_ASN1,
        (_, other) => return Err(unsupported(format!("hash function {other}"))),
    })
}

/// Two numbers as ASN.1 wants them: `SEQUENCE { r INTEGER, s INTEGER }`.
fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    // The shortest form that holds the length; two numbers of 66 bytes are the longest.
    let length = |n: usize| match u8::try_from(n) {
        Ok(n) if n < 0x80 => vec![n],
        Ok(n) => vec![0x81, n],
        Err(_) => [&[0x82][..], &u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes()].concat(),
    };
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
        let number = &number[start..];
        let sign: &[u8] = if number.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
        [&[0x02][..], &length(sign.len() + number.len()), sign, number].concat()
    };
    let both = [integer(r), integer(s)].concat();
    [&[0x30][..], &length(both.len()), &both].concat()
}
