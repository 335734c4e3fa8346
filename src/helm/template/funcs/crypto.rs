//! Digests and random bytes.

use base64::Engine as _;
use sha2::Digest as _;

use super::words::fill;
use super::{Function, Type, done, int, text};
use crate::helm::template::text::to_bytes;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("sha1sum", &[Type::Str], |_, a| done(hex::encode(sha1(&to_bytes(text(a, 0)))))),
    Function::new("sha256sum", &[Type::Str], |_, a| {
        done(hex::encode(sha2::Sha256::digest(to_bytes(text(a, 0)))))
    }),
    Function::new("sha512sum", &[Type::Str], |_, a| {
        done(hex::encode(sha2::Sha512::digest(to_bytes(text(a, 0)))))
    }),
    Function::new("adler32sum", &[Type::Str], |_, a| {
        let (mut low, mut high) = (1u32, 0u32);
        for byte in to_bytes(text(a, 0)).iter() {
            low = (low + u32::from(*byte)) % 65_521;
            high = (high + low) % 65_521;
        }
        done((high << 16 | low).to_string())
    }),
    Function::new("uuidv4", &[], |c, _| {
        let mut bytes = [0; 16];
        fill(c, &mut bytes);
        bytes[6] = bytes[6] & 0x0F | 0x40;
        bytes[8] = bytes[8] & 0x3F | 0x80;
        let hex = hex::encode(bytes);
        let [a, b, c, d, e] = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        done(format!("{a}-{b}-{c}-{d}-{e}"))
    }),
    Function::new("randBytes", &[Type::Int], |c, a| {
        let count = usize::try_from(int(a, 0).clamp(0, 1 << 20)).unwrap_or(0);
        let mut bytes = vec![0; count];
        fill(c, &mut bytes);
        done(base64::engine::general_purpose::STANDARD.encode(bytes))
    }),
];

/// SHA-1, which only checksums of old charts use.
fn sha1(data: &[u8]) -> [u8; 20] {
    let mut state: [u32; 5] = [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476, 0xC3D2_E1F0];
    let mut message = data.to_vec();
    message.push(0x80);
    while message.len() % 64 != 56 {
        message.push(0);
    }
    message.extend_from_slice(&(u64::try_from(data.len()).unwrap_or(0) * 8).to_be_bytes());
    for block in message.chunks_exact(64) {
        let mut words = [0u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte));
        }
        for n in 16..80 {
            words[n] = (words[n - 3] ^ words[n - 8] ^ words[n - 14] ^ words[n - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (n, word) in words.iter().enumerate() {
            let (mix, constant) = match n {
                0..20 => (b & c | !b & d, 0x5A82_7999),
                20..40 => (b ^ c ^ d, 0x6ED9_EBA1),
                40..60 => (b & c | b & d | c & d, 0x8F1B_BCDC),
                _ => (b ^ c ^ d, 0xCA62_C1D6),
            };
            let next = a
                .rotate_left(5)
                .wrapping_add(mix)
                .wrapping_add(e)
                .wrapping_add(constant)
                .wrapping_add(*word);
            (a, b, c, d, e) = (next, a, b.rotate_left(30), c, d);
        }
        for (sum, part) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(part);
        }
    }
    let mut digest = [0; 20];
    for (bytes, word) in digest.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    digest
}
