//! Tokens of the language.

/// A token with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) place: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Name(String),
    /// A name in backticks.
    Quoted(String),
    /// The digits, without a sign; `0x` before those of base 16.
    Int(String),
    Uint(String),
    Double(String),
    String(String),
    Bytes(Vec<u8>),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

/// Longer ones first.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!",
    "?", ":", "+", "*", "/", "%",
];

/// Splits a text; nothing if something in it is no token.
pub(super) fn split(letters: &[char]) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(letter) = letters.get(at) {
        if matches!(letter, ' ' | '\t' | '\r' | '\n' | '\u{c}') {
            at += 1;
        } else if letters[at..].starts_with(&['/', '/']) {
            at += letters[at..].iter().take_while(|letter| **letter != '\n').count();
        } else {
            let (kind, length) = next(&letters[at..])?;
            found.push(Token { kind, place: at });
            at += length;
        }
    }
    found.push(Token { kind: Kind::End, place: letters.len() });
    Some(found)
}

fn next(letters: &[char]) -> Option<(Kind, usize)> {
    if let Some(found) = quoted_text(letters) {
        return found;
    }
    let first = *letters.first()?;
    let dotted = first == '.' && letters.get(1).is_some_and(char::is_ascii_digit);
    if first.is_ascii_digit() || dotted {
        return Some(number(letters));
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let name: String = letters
            .iter()
            .take_while(|letter| letter.is_ascii_alphanumeric() || **letter == '_')
            .collect();
        let length = name.len();
        return Some((Kind::Name(name), length));
    }
    if first == '`' {
        let length = letters[1..].iter().position(|letter| *letter == '`')?;
        let name: String = letters[1..=length].iter().collect();
        return Some((Kind::Quoted(name), length + 2));
    }
    let sign = SIGNS
        .iter()
        .find(|sign| sign.chars().zip(letters).filter(|(a, b)| a == *b).count() == sign.len())?;
    Some((Kind::Sign(sign), sign.len()))
}

fn number(letters: &[char]) -> (Kind, usize) {
    let digits = |from: usize| {
        letters[from.min(letters.len())..]
            .iter()
            .take_while(|letter| letter.is_ascii_digit())
            .count()
    };
    let text = |to: usize| letters[..to].iter().collect::<String>();
    let unsigned = |at: usize| matches!(letters.get(at), Some('u' | 'U'));
    if letters.starts_with(&['0', 'x']) && letters.get(2).is_some_and(char::is_ascii_hexdigit) {
        let end = 2 + letters[2..].iter().take_while(|letter| letter.is_ascii_hexdigit()).count();
        return if unsigned(end) {
            (Kind::Uint(text(end)), end + 1)
        } else {
            (Kind::Int(text(end)), end)
        };
    }
    let whole = digits(0);
    let mut end = whole;
    let fraction = digits(end + 1);
    if letters.get(end) == Some(&'.') && fraction > 0 {
        end += 1 + fraction;
    }
    if matches!(letters.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(letters.get(end + 1), Some('+' | '-')));
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    if end > whole {
        (Kind::Double(text(end)), end)
    } else if unsigned(end) {
        (Kind::Uint(text(end)), end + 1)
    } else {
        (Kind::Int(text(end)), end)
    }
}

/// A string or bytes, if the text starts with one; `Some(None)` if it is broken.
fn quoted_text(letters: &[char]) -> Option<Option<(Kind, usize)>> {
    let mut at = 0;
    let (mut raw, mut bytes) = (false, false);
    while let Some(letter) = letters.get(at) {
        match letter {
            'b' | 'B' if !bytes && !raw => bytes = true,
            'r' | 'R' if !raw => raw = true,
            '"' | '\'' => break,
            _ => return None,
        }
        at += 1;
    }
    let quote = *letters.get(at)?;
    let long = letters[at..].starts_with(&[quote, quote, quote]);
    let width = if long { 3 } else { 1 };
    Some(content(&letters[at + width..], quote, width, raw, bytes).map(|(content, length)| {
        let kind = if bytes {
            Kind::Bytes(content)
        } else {
            Kind::String(String::from_utf8_lossy(&content).into_owned())
        };
        (kind, at + width + length)
    }))
}

/// The content up to the closing quotes, and the length with them.
fn content(
    letters: &[char],
    quote: char,
    width: usize,
    raw: bool,
    bytes: bool,
) -> Option<(Vec<u8>, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        let letter = *letters.get(at)?;
        if letter == quote && (1..width).all(|more| letters.get(at + more) == Some(&quote)) {
            return Some((found, at + width));
        }
        if width == 1 && matches!(letter, '\n' | '\r') {
            return None;
        }
        if letter == '\\' && !raw {
            at += escape(&letters[at + 1..], bytes, &mut found)? + 1;
            continue;
        }
        // Ends of lines are unified inside of long texts.
        if letter == '\r' {
            found.push(b'\n');
            at += if letters.get(at + 1) == Some(&'\n') { 2 } else { 1 };
            continue;
        }
        push(letter, &mut found);
        at += 1;
    }
}

fn push(letter: char, found: &mut Vec<u8>) {
    found.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

/// What stands after a backslash; its length.
fn escape(letters: &[char], bytes: bool, found: &mut Vec<u8>) -> Option<usize> {
    let mut code = |from: usize, n_digits: usize, base: u32| {
        let digits: String = letters.get(from..from + n_digits)?.iter().collect();
        let number = u32::from_str_radix(&digits, base).ok()?;
        if bytes && n_digits <= 3 {
            found.push(u8::try_from(number).ok()?);
        } else {
            push(char::from_u32(number)?, found);
        }
        Some(from + n_digits)
    };
    match letters.first()? {
        'x' | 'X' => code(1, 2, 16),
        'u' => code(1, 4, 16),
        'U' => code(1, 8, 16),
        '0'..='3' => code(0, 3, 8),
        simple => {
            found.push(match simple {
                'a' => 7,
                'b' => 8,
                'f' => 12,
                'n' => b'\n',
                'r' => b'\r',
                't' => b'\t',
                'v' => 11,
                '"' | '\'' | '\\' | '?' | '`' => u8::try_from(*simple).ok()?,
                _ => return None,
            });
            Some(1)
        }
    }
}
