//! Passwords: bcrypt, htpasswd, the Master Password algorithm, AES.

use aws_lc_rs::cipher::{
    AES_256, DecryptingKey, DecryptionContext, EncryptionContext, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::{NO_PAD, STANDARD};
use blowfish::Blowfish;

use super::words::fill;
use super::{Fault, Function, Type, Value, any, done, text};
use crate::helm::template::eval::Context;
use crate::helm::template::text::{from_bytes, to_bytes};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("bcrypt", &[Type::Str], |c, a| done(bcrypt(c, text(a, 0)))),
    Function::new("htpasswd", &[Type::Str, Type::Str], |c, a| {
        let user = text(a, 0);
        if user.contains(':') {
            return done(format!("invalid username: {user}"));
        }
        done(format!("{user}:{}", bcrypt(c, text(a, 1))))
    }),
    Function::new(
        "derivePassword",
        &[Type::Uint32, Type::Str, Type::Str, Type::Str, Type::Str],
        |c, a| derive(c, a),
    ),
    Function::new("encryptAES", &[Type::Str, Type::Str], |c, a| encrypt(c, a)),
    Function::new("decryptAES", &[Type::Str, Type::Str], |_, a| decrypt(a)),
];

const COST: u32 = 10;
/// Steps that a hash of bcrypt and a derived password are worth.
const HASH: usize = 500_000;
const DERIVATION: usize = 1_000_000;
/// bcrypt takes no more of a password.
const MAX_PASSWORD: usize = 72;

fn bcrypt(context: &Context<'_>, password: &str) -> String {
    let mut key = to_bytes(password).into_owned();
    if key.len() > MAX_PASSWORD {
        return "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes"
            .to_owned();
    }
    if !context.work().take(HASH) {
        return String::new();
    }
    key.push(0);
    let mut salt = [0; 16];
    fill(context, &mut salt);
    let mut state: Blowfish = Blowfish::bc_init_state();
    state.salted_expand_key(&salt, &key);
    for _ in 0..1u32 << COST {
        state.bc_expand_key(&key);
        state.bc_expand_key(&salt);
    }
    let mut digest = Vec::with_capacity(24);
    for pair in b"OrpheanBeholderScryDoubt".chunks_exact(8) {
        let word =
            |bytes: &[u8]| bytes.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let mut block = [word(&pair[..4]), word(&pair[4..])];
        for _ in 0..64 {
            block = state.bc_encrypt(block);
        }
        digest.extend(block.iter().flat_map(|word| word.to_be_bytes()));
    }
    let alphabet = base64::engine::GeneralPurpose::new(&base64::alphabet::BCRYPT, NO_PAD);
    format!("$2a${COST}${}{}", alphabet.encode(salt), alphabet.encode(&digest[..23]))
}

const SEED: &str = "com.lyndir.masterpassword";

/// Forms of a password by its type: each letter stands for a class of characters.
const FORMS: &[(&str, &[&str])] = &[
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

fn class(letter: u8) -> &'static [u8] {
    match letter {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// The Master Password algorithm: scrypt makes a key of password and user, an HMAC a seed of key, site and counter.
fn derive(context: &Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    let counter = match any(a, 0) {
        Value::Int(counter, _) => u32::try_from(*counter).unwrap_or(0),
        _ => 0,
    };
    let Some((_, forms)) = FORMS.iter().find(|(name, _)| *name == text(a, 1)) else {
        return done(format!("cannot find password template {}", text(a, 1)));
    };
    if !context.work().take(DERIVATION) {
        return done("");
    }
    let sized = |part: &str| {
        let part = to_bytes(part);
        let mut sized = SEED.as_bytes().to_vec();
        sized.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        sized.extend_from_slice(&part);
        sized
    };
    let mut key = [0; 64];
    let failed =
        |error: &dyn std::fmt::Display| done(format!("failed to derive password: {error}"));
    let params = match scrypt::Params::new(15, 8, 2) {
        Ok(params) => params,
        Err(error) => return failed(&error),
    };
    if let Err(error) = scrypt::scrypt(&to_bytes(text(a, 2)), &sized(text(a, 3)), &params, &mut key)
    {
        return failed(&error);
    }
    let mut message = sized(text(a, 4));
    message.extend(counter.to_be_bytes());
    let seed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), &message);
    let seed = seed.as_ref();
    let form = forms[usize::from(seed[0]) % forms.len()];
    let password: String = form
        .bytes()
        .zip(&seed[1..])
        .map(|(letter, byte)| {
            let class = class(letter);
            char::from(class[usize::from(*byte) % class.len()])
        })
        .collect();
    done(password)
}

/// The key is the password's first 32 bytes.
fn key(password: &str) -> Result<UnboundCipherKey, Fault> {
    let mut key = [0; 32];
    for (place, byte) in key.iter_mut().zip(to_bytes(password).iter()) {
        *place = *byte;
    }
    UnboundCipherKey::new(&AES_256, &key).map_err(|_| unusable())
}

fn unusable() -> Fault {
    Fault::new("the cipher could not be used")
}

fn encrypt(context: &Context<'_>, a: &[Value]) -> Result<Value, Fault> {
    if text(a, 1).is_empty() {
        return done("");
    }
    let mut start = [0; 16];
    fill(context, &mut start);
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(key(text(a, 0))?).map_err(|_| unusable())?;
    let mut content = to_bytes(text(a, 1)).into_owned();
    let from = EncryptionContext::Iv128(FixedLength::from(start));
    cipher.less_safe_encrypt(&mut content, from).map_err(|_| unusable())?;
    let mut whole = start.to_vec();
    whole.append(&mut content);
    done(STANDARD.encode(whole))
}

fn decrypt(a: &[Value]) -> Result<Value, Fault> {
    if text(a, 1).is_empty() {
        return done("");
    }
    let whole = STANDARD
        .decode(text(a, 1))
        .map_err(|_| Fault::new(super::convert::base64_decode(text(a, 1))))?;
    let Some((start, content)) = whole.split_first_chunk::<16>() else {
        return Err(Fault::new(format!(
            "runtime error: slice bounds out of range [:16] with capacity {}",
            whole.len()
        )));
    };
    if content.len() % 16 != 0 {
        return Err(Fault::new("crypto/cipher: input not full blocks"));
    }
    let cipher = DecryptingKey::cbc(key(text(a, 0))?).map_err(|_| unusable())?;
    let mut content = content.to_vec();
    let from = DecryptionContext::Iv128(FixedLength::from(*start));
    cipher.decrypt(&mut content, from).map_err(|_| unusable())?;
    // The last byte tells how many bytes were added.
    let added = content.last().copied().map(usize::from);
    let added = added.unwrap_or(0);
    match content.len().checked_sub(added) {
        Some(length) => done(from_bytes(&content[..length])),
        None => Err(Fault::new(format!(
            "runtime error: slice bounds out of range [:-{}]",
            added - content.len()
        ))),
    }
}
