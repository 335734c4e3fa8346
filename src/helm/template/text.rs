//! Go strings hold any bytes, Rust's only UTF-8: a byte that is not part of a character is kept as a private character
//! of plane 16 and becomes a byte again where bytes are looked at.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

const BASE: u32 = 0x10_FF00;

/// The text of bytes.
pub(crate) fn from_bytes(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(
            chunk.invalid().iter().filter_map(|byte| char::from_u32(BASE + u32::from(*byte))),
        );
    }
    text
}

/// The byte that a private character stands for.
pub(crate) fn stray_byte(c: char) -> Option<u8> {
    u32::from(c)
        .checked_sub(BASE)
        .and_then(|byte| u8::try_from(byte).ok())
        .filter(|byte| *byte >= 0x80)
}

/// The bytes of a text.
pub(crate) fn to_bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.as_bytes().contains(&0xF4) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match stray_byte(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// The text with U+FFFD for each byte that is not part of a character, as Go's encoders write it.
pub(crate) fn lossy(text: &str) -> String {
    if !text.as_bytes().contains(&0xF4) {
        return text.to_owned();
    }
    text.chars().map(|c| if stray_byte(c).is_some() { '\u{FFFD}' } else { c }).collect()
}

/// Go's `unicode.IsPrint`.
pub(crate) fn is_print(c: char) -> bool {
    static PRINTABLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"[\p{L}\p{M}\p{N}\p{P}\p{S}]").ok());
    if c.is_ascii() {
        return (' '..='~').contains(&c);
    }
    PRINTABLE.as_ref().is_some_and(|class| class.is_match(c.encode_utf8(&mut [0; 4])))
}

/// Go's `strconv.Quote`.
pub(crate) fn quote(text: &str) -> String {
    quote_with(text, '"', false)
}

/// Go's `strconv.QuoteToASCII` when `ascii`, with the given quote.
pub(crate) fn quote_with(text: &str, quote: char, ascii: bool) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0C' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0B' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c => match (stray_byte(c), u32::from(c)) {
                (Some(byte), _) => out.push_str(&format!("\\x{byte:02x}")),
                (None, code) if code < 0x80 => out.push_str(&format!("\\x{code:02x}")),
                (None, code) => {
                    if !ascii && is_print(c) {
                        out.push(c);
                    } else if code < 0x1_0000 {
                        out.push_str(&format!("\\u{code:04x}"));
                    } else {
                        out.push_str(&format!("\\U{code:08x}"));
                    }
                }
            },
        }
    }
    out.push(quote);
    out
}
