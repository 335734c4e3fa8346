//! OpenPGP's text forms: armored blocks and clear-signed messages (RFC 9580, sections 6 and 7), as go-crypto reads them.

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::{PgpError, find};

const START: &str = "-----BEGIN ";
const END_OF_LINE: &str = "-----";
const SIGNED_MESSAGE: &[u8] = b"-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &[u8] = b"-----BEGIN PGP SIGNATURE-----";
const SIGNATURE_END: &[u8] = b"\n-----END PGP SIGNATURE-----";
const HASHES: &[&str] =
    &["MD5", "SHA1", "RIPEMD160", "SHA224", "SHA256", "SHA384", "SHA512", "SHA3-256", "SHA3-512"];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// A block between `-----BEGIN` and `-----END`.
#[derive(Debug)]
pub(super) struct Block {
    /// Such as `PGP PUBLIC KEY BLOCK`.
    pub kind: String,
    pub data: Result<Vec<u8>, PgpError>,
}

/// A clear-signed message.
#[derive(Debug)]
pub(super) struct Message {
    /// What was signed: the lines without trailing blanks, joined by CR LF.
    pub signed: Vec<u8>,
    /// The same, joined by LF.
    pub text: Vec<u8>,
    /// The signature's packets.
    pub signature: Result<Vec<u8>, PgpError>,
}

/// The first line without its end, and what follows it.
fn line(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => {
            let line = &data[..end];
            (line.strip_suffix(b"\r").unwrap_or(line), &data[end + 1..])
        }
        None => (data, &[]),
    }
}

/// Where the headers of a block end.
enum Headers<'a> {
    /// Before this, with the empty line after them.
    Passed(&'a [u8]),
    /// At a line that is no header; what follows it.
    Refused(&'a [u8]),
    /// Nowhere: there is no empty line.
    Open,
}

fn headers(mut rest: &[u8], is_header: impl Fn(&[u8]) -> bool) -> Headers<'_> {
    while !rest.is_empty() {
        let (header, after) = line(rest);
        rest = after;
        if header.trim_ascii().is_empty() {
            return Headers::Passed(rest);
        }
        if !is_header(header) {
            return Headers::Refused(rest);
        }
    }
    Headers::Open
}

/// Whether a header of a signed message names hashes that are known.
fn names_hashes(header: &[u8]) -> bool {
    let Ok(header) = std::str::from_utf8(header) else { return false };
    let Some((name, hashes)) = header.split_once(':') else { return false };
    let is_known = |hash: &str| HASHES.contains(&hash.trim().to_ascii_uppercase().as_str());
    let is_plain = header.chars().all(|c| (' '..='~').contains(&c));
    is_plain && name.trim() == "Hash" && hashes.split(',').all(is_known)
}

/// The next block, and what follows it; text before a block is passed over. A checksum is not looked at.
pub(super) fn block(mut data: &[u8]) -> Option<(Block, &[u8])> {
    while !data.is_empty() {
        let (first, rest) = line(data);
        data = rest;
        let first = String::from_utf8_lossy(first.trim_ascii()).into_owned();
        let Some(kind) = first
            .strip_prefix(START)
            .and_then(|kind| kind.strip_suffix(END_OF_LINE))
            .filter(|kind| !kind.is_empty())
        else {
            continue;
        };
        let mut rest = match headers(rest, |header| header.contains(&b':')) {
            Headers::Passed(rest) => rest,
            Headers::Refused(after) => {
                data = after;
                continue;
            }
            Headers::Open => return None,
        };
        let mut encoded = Vec::new();
        loop {
            if rest.is_empty() {
                return Some((
                    Block { kind: kind.to_owned(), data: Err(PgpError::Truncated) },
                    rest,
                ));
            }
            let (row, after) = line(rest);
            rest = after;
            let row = row.trim_ascii();
            if row.starts_with(b"-----END ") {
                break;
            }
            if row.len() == 5 && row.starts_with(b"=") {
                rest = find(rest, b"-----END ").map_or(&[][..], |at| line(&rest[at..]).1);
                break;
            }
            encoded.extend_from_slice(row);
        }
        let data = BASE64.decode(&encoded).map_err(|_| PgpError::Base64);
        return Some((Block { kind: kind.to_owned(), data }, rest));
    }
    None
}

/// Reads a clear-signed message; `None` for what is none.
pub(super) fn clear_signed(data: &[u8]) -> Option<Message> {
    let at = if data.starts_with(SIGNED_MESSAGE) {
        0
    } else {
        find(data, &[b"\n", SIGNED_MESSAGE].concat())? + 1
    };
    let (suffix, rest) = line(&data[at + SIGNED_MESSAGE.len()..]);
    if !suffix.is_empty() {
        return None;
    }
    let Headers::Passed(mut rest) = headers(rest, names_hashes) else { return None };
    let (mut signed, mut text) = (Vec::new(), Vec::new());
    loop {
        let (row, after) = line(rest);
        if row.is_empty() && after.is_empty() {
            return None;
        }
        if row == SIGNATURE {
            break;
        }
        rest = after;
        if !text.is_empty() {
            signed.extend_from_slice(b"\r\n");
        }
        let row = row.strip_prefix(b"- ").unwrap_or(row);
        let end = row.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |at| at + 1);
        signed.extend_from_slice(&row[..end]);
        text.extend_from_slice(&row[..end]);
        text.push(b'\n');
    }
    text.pop();
    find(rest, SIGNATURE_END)?;
    let (block, _) = block(rest)?;
    Some(Message { signed, text, signature: block.data })
}
