//! Public keys and whose they are: GnuPG's `pubring.gpg` and `pubring.kbx`, and armored exports of either.
//!
//! A key counts with what it says of itself (its self-signatures), which must verify; what others say of it is not asked.

use super::armor::block;
use super::packet::{
    CERTIFICATION_REVOCATION, CERTIFICATIONS, KEY_REVOCATION, Packet, Packets, PublicKey,
    SUBKEY_BINDING, SUBKEY_REVOCATION, Signature,
};
use super::{PgpError, ProvenanceError, structural};

/// A reason for revocation: the key is compromised (RFC 4880, section 5.2.3.23).
const COMPROMISED: u8 = 2;

/// The keys that are trusted.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    entities: Vec<Entity>,
}

/// A primary key with its user ids and subkeys.
#[derive(Clone, Debug)]
pub(super) struct Entity {
    pub primary: PublicKey,
    pub identities: Vec<Identity>,
    subkeys: Vec<Subkey>,
    revocations: Vec<Signature>,
}

#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub name: String,
    signature: Option<Signature>,
    revocations: Vec<Signature>,
}

#[derive(Clone, Debug)]
struct Subkey {
    key: PublicKey,
    signature: Signature,
    revocations: Vec<Signature>,
}

/// A key that may have signed, and what is said of it.
pub(super) struct SigningKey<'k> {
    pub entity: &'k Entity,
    pub public: &'k PublicKey,
    subkey: Option<&'k Subkey>,
}

impl Keyring {
    /// Reads a keyring of any of the three forms, as Helm 4.3 does. A key that is damaged or of a make that is not known is
    /// left out, unless it is the only one.
    pub fn read(data: &[u8]) -> Result<Self, ProvenanceError> {
        if data.get(4) == Some(&1) && data.get(8..12) == Some(b"KBXf") {
            let keys = keybox(data).map_err(ProvenanceError::Keybox)?;
            return Ok(Self { entities: read(&keys)? });
        }
        if !data.trim_ascii_start().starts_with(b"-----BEGIN PGP") {
            return Ok(Self { entities: read(data)? });
        }
        let (mut entities, mut rest) = (Vec::new(), data);
        let wrong = |reason: String| ProvenanceError::ArmoredKeyring(reason);
        while let Some((block, after)) = block(rest) {
            if !["PGP PUBLIC KEY BLOCK", "PGP PRIVATE KEY BLOCK"].contains(&block.kind.as_str()) {
                let kind = block.kind;
                return Err(wrong(format!("expected a public or private key block, got {kind:?}")));
            }
            let keys = block.data.and_then(|data| read(&data));
            entities.extend(keys.map_err(|error| wrong(error.to_string()))?);
            rest = after;
        }
        if entities.is_empty() {
            return Err(wrong("no keys found".to_owned()));
        }
        Ok(Self { entities })
    }

    /// The keys with this id that may sign.
    pub(super) fn signing_keys(&self, id: u64) -> Vec<SigningKey<'_>> {
        let mut found = Vec::new();
        for entity in &self.entities {
            let own = entity.identity().and_then(|identity| identity.signature.as_ref());
            if entity.primary.id == id && own.is_some_and(Signature::may_sign) {
                found.push(SigningKey { entity, public: &entity.primary, subkey: None });
            }
            for subkey in &entity.subkeys {
                if subkey.key.id == id && subkey.signature.may_sign() {
                    found.push(SigningKey { entity, public: &subkey.key, subkey: Some(subkey) });
                }
            }
        }
        found
    }
}

impl SigningKey<'_> {
    /// Whether a signature of this key holds at `now`.
    pub(super) fn check(&self, signature: &Signature, now: i64) -> Result<(), PgpError> {
        let entity = self.entity;
        let identity = entity.identity();
        let own = identity.and_then(|identity| identity.signature.as_ref());
        let bindings = self
            .subkey
            .iter()
            .flat_map(|subkey| [Some(&subkey.signature), subkey.signature.embedded.as_deref()]);
        let said: Vec<&Signature> =
            [Some(signature), own].into_iter().chain(bindings).flatten().collect();
        if let Some(note) = said.iter().find_map(|said| said.critical_note.as_ref()) {
            return Err(PgpError::Signature(format!("unknown critical notation: {note}")));
        }
        if is_revoked(&entity.revocations, now)
            || self.subkey.is_some_and(|subkey| is_revoked(&subkey.revocations, now))
            || identity.is_some_and(|identity| is_revoked(&identity.revocations, now))
        {
            return Err(PgpError::KeyRevoked);
        }
        if own.is_some_and(|own| entity.primary.is_expired(own, now))
            || self.subkey.is_some_and(|subkey| subkey.key.is_expired(&subkey.signature, now))
        {
            return Err(PgpError::KeyExpired);
        }
        if said.iter().any(|said| said.is_expired(now)) {
            return Err(PgpError::SignatureExpired);
        }
        Ok(())
    }
}

impl Entity {
    /// The user id that speaks for the key: without revocations, marked as primary, the newest.
    fn identity(&self) -> Option<&Identity> {
        self.identities.iter().min_by_key(|identity| {
            let own = identity.signature.as_ref();
            let age = std::cmp::Reverse(own.map_or(0, |own| own.created));
            (identity.revocations.len(), !own.is_some_and(|own| own.is_primary_id), age)
        })
    }

    fn read(packets: &mut Packets<'_>) -> Result<Option<Self>, PgpError> {
        let Some(packet) = packets.next()? else { return Ok(None) };
        let primary = match packet {
            Packet::Key(key) => key,
            other => {
                packets.unread(other);
                return Err(structural("first packet was not a public/private key"));
            }
        };
        if !primary.can_sign() {
            return Err(structural("primary key cannot be used for signatures"));
        }
        let (identities, subkeys, revocations) = (Vec::new(), Vec::new(), Vec::new());
        let mut entity = Self { primary, identities, subkeys, revocations };
        while let Some(packet) = packets.next()? {
            match packet {
                Packet::UserId(name) => entity.read_identity(packets, name)?,
                Packet::Signature(signature) if signature.kind == KEY_REVOCATION => {
                    entity.revocations.push(*signature);
                }
                Packet::Key(key) if key.is_subkey => entity.read_subkey(packets, key)?,
                Packet::Key(key) => {
                    packets.unread(Packet::Key(key));
                    break;
                }
                Packet::Signature(_) | Packet::Other => {}
            }
        }
        if entity.identities.is_empty() {
            return Err(structural("v4 entity without any identities"));
        }
        for revocation in &entity.revocations {
            entity
                .primary
                .verify(entity.primary.framed()?, revocation)
                .map_err(|_| structural("revocation signature signed by alternate key"))?;
        }
        Ok(Some(entity))
    }

    fn read_identity(&mut self, packets: &mut Packets<'_>, name: String) -> Result<(), PgpError> {
        let mut identity = Identity { name, signature: None, revocations: Vec::new() };
        let mut is_ours = false;
        while let Some(packet) = packets.next()? {
            let Packet::Signature(signature) = packet else {
                packets.unread(packet);
                break;
            };
            let is_revocation = signature.kind == CERTIFICATION_REVOCATION;
            if !is_revocation && !CERTIFICATIONS.contains(&signature.kind) {
                return Err(structural("user ID signature with wrong type"));
            }
            if !signature.is_by(&self.primary) {
                continue;
            }
            let mut data = self.primary.framed()?;
            data.push(0xB4);
            let length = u32::try_from(identity.name.len()).unwrap_or(u32::MAX);
            data.extend_from_slice(&length.to_be_bytes());
            data.extend_from_slice(identity.name.as_bytes());
            self.primary
                .verify(data, &signature)
                .map_err(|error| structural(format!("user ID self-signature invalid: {error}")))?;
            is_ours = true;
            if is_revocation {
                identity.revocations.push(*signature);
            } else if is_newer(identity.signature.as_ref(), &signature) {
                identity.signature = Some(*signature);
            }
        }
        if is_ours {
            self.identities.retain(|other| other.name != identity.name);
            self.identities.push(identity);
        }
        Ok(())
    }

    fn read_subkey(&mut self, packets: &mut Packets<'_>, key: PublicKey) -> Result<(), PgpError> {
        let wrong = |error: PgpError| structural(format!("subkey signature invalid: {error}"));
        let (mut binding, mut revocations): (Option<Signature>, _) = (None, Vec::new());
        while let Some(packet) = packets.next().map_err(wrong)? {
            let Packet::Signature(signature) = packet else {
                packets.unread(packet);
                break;
            };
            if ![SUBKEY_BINDING, SUBKEY_REVOCATION].contains(&signature.kind) {
                return Err(structural("subkey signature with wrong type"));
            }
            self.primary.verify_subkey(&key, &signature).map_err(wrong)?;
            if signature.kind == SUBKEY_REVOCATION {
                revocations.push(*signature);
            } else if is_newer(binding.as_ref(), &signature) {
                binding = Some(*signature);
            }
        }
        let signature =
            binding.ok_or_else(|| structural("subkey packet not followed by signature"))?;
        self.subkeys.push(Subkey { key, signature, revocations });
        Ok(())
    }
}

fn is_newer(known: Option<&Signature>, signature: &Signature) -> bool {
    known.is_none_or(|known| signature.created > known.created)
}

fn is_revoked(revocations: &[Signature], now: i64) -> bool {
    revocations
        .iter()
        .any(|revocation| revocation.reason == Some(COMPROMISED) || !revocation.is_expired(now))
}

/// Every key of a stream of packets.
fn read(data: &[u8]) -> Result<Vec<Entity>, PgpError> {
    let mut packets = Packets::new(data);
    let (mut entities, mut skipped) = (Vec::new(), None);
    loop {
        match Entity::read(&mut packets) {
            Ok(Some(entity)) => entities.push(entity),
            Ok(None) => break,
            Err(error @ (PgpError::Structural(_) | PgpError::Unsupported(_))) => {
                skipped = Some(error);
                if !to_next_key(&mut packets)? {
                    break;
                }
            }
            Err(error) => return Err(error),
        }
    }
    match skipped {
        Some(error) if entities.is_empty() => Err(error),
        _ => Ok(entities),
    }
}

/// Passes over packets until a primary key; tells whether there is one.
fn to_next_key(packets: &mut Packets<'_>) -> Result<bool, PgpError> {
    while let Some(packet) = packets.next()? {
        if let Packet::Key(key) = packet
            && !key.is_subkey
        {
            packets.unread(Packet::Key(key));
            return Ok(true);
        }
    }
    Ok(false)
}

/// The keys of GnuPG's keybox: a row of blobs, each with its length, kind and, for OpenPGP, the place of its keys.
fn keybox(data: &[u8]) -> Result<Vec<u8>, String> {
    const OPENPGP: u8 = 2;
    const EPHEMERAL: u8 = 2;
    let number = |blob: &[u8], at: usize| {
        let bytes = blob.get(at..at + 4)?;
        let number = bytes.iter().fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
        usize::try_from(number).ok()
    };
    let (mut keys, mut at) = (Vec::new(), 0);
    while at < data.len() {
        let rest = &data[at..];
        if rest.len() < 5 {
            return Err(format!("truncated blob header at offset {at}"));
        }
        let length = number(rest, 0).unwrap_or(0);
        if length < 5 {
            return Err(format!("invalid blob length {length} at offset {at}"));
        }
        let blob = rest.get(..length).ok_or_else(|| {
            let left = rest.len();
            format!("blob at offset {at} has length {length} exceeding the {left} remaining bytes")
        })?;
        if blob[4] == OPENPGP {
            let place = number(blob, 8).zip(number(blob, 12));
            let (Some((from, size)), Some(flags)) = (place, blob.get(7)) else {
                return Err(format!("OpenPGP blob at offset {at} is too short"));
            };
            let end = from.checked_add(size).and_then(|end| blob.get(from..end));
            let found = end.ok_or_else(|| {
                format!("OpenPGP blob at offset {at} has an out-of-range keyblock")
            })?;
            if flags & EPHEMERAL == 0 {
                keys.extend_from_slice(found);
            }
        }
        at += length;
    }
    if keys.is_empty() { Err("keybox contains no OpenPGP keys".to_owned()) } else { Ok(keys) }
}
