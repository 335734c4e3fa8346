//! Words: letter case, abbreviations, wrapping, random text.

use super::{Fault, Function, Type, Value, done, int, text};
use crate::helm::template::eval::Context;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("title", &[Type::Str], |_, a| done(title(text(a, 0)))),
    Function::new("untitle", &[Type::Str], |_, a| done(untitle(text(a, 0)))),
    Function::new("swapcase", &[Type::Str], |_, a| done(swapcase(text(a, 0)))),
    Function::new("snakecase", &[Type::Str], |_, a| done(joined_words(text(a, 0), '_'))),
    Function::new("kebabcase", &[Type::Str], |_, a| done(joined_words(text(a, 0), '-'))),
    Function::new("camelcase", &[Type::Str], |_, a| done(pascal(text(a, 0)))),
    Function::new("initials", &[Type::Str], |_, a| {
        done(
            text(a, 0)
                .split_whitespace()
                .filter_map(|word| word.chars().next())
                .collect::<String>(),
        )
    }),
    Function::new("abbrev", &[Type::Int, Type::Str], |_, a| {
        done(abbreviate(text(a, 1), 0, int(a, 0)))
    }),
    Function::new("abbrevboth", &[Type::Int, Type::Int, Type::Str], |_, a| {
        let (left, right) = (int(a, 0), int(a, 1));
        if right < 4 || (left > 0 && right < 7) {
            return done(text(a, 2));
        }
        done(abbreviate(text(a, 2), left, right))
    }),
    Function::new("wrap", &[Type::Int, Type::Str], |c, a| {
        c.work().made(text(a, 1).len());
        done(wrap(text(a, 1), int(a, 0), "\n", false))
    }),
    Function::new("wrapWith", &[Type::Int, Type::Str, Type::Str], |c, a| {
        // There may be a separator after each character.
        if !c.work().made(text(a, 2).len().saturating_mul(text(a, 1).len().max(1))) {
            return done("");
        }
        done(wrap(text(a, 2), int(a, 0), text(a, 1), true))
    }),
    Function::new("randAlphaNum", &[Type::Int], |c, a| random(c, a, |b| b.is_ascii_alphanumeric())),
    Function::new("randAlpha", &[Type::Int], |c, a| random(c, a, |b| b.is_ascii_alphabetic())),
    Function::new("randNumeric", &[Type::Int], |c, a| random(c, a, |b| b.is_ascii_digit())),
    Function::new("randAscii", &[Type::Int], |c, a| random(c, a, |b| (32..127).contains(&b))),
    Function::new("randInt", &[Type::Int, Type::Int], |c, a| {
        let (low, high) = (int(a, 0), int(a, 1));
        let Some(span) = high.checked_sub(low).filter(|span| *span > 0) else {
            return Err(Fault::new("invalid argument to Intn"));
        };
        let mut bytes = [0; 8];
        fill(c, &mut bytes);
        let drawn = i64::try_from(u64::from_le_bytes(bytes) >> 1).unwrap_or(0);
        Ok(Value::int(low + drawn % span))
    }),
    Function::new("shuffle", &[Type::Str], |c, a| {
        let mut chars: Vec<char> = text(a, 0).chars().collect();
        if !c.work().take(chars.len()) {
            return done("");
        }
        for n in (1..chars.len()).rev() {
            let mut bytes = [0; 8];
            fill(c, &mut bytes);
            let drawn = usize::try_from(u64::from_le_bytes(bytes) >> 1).unwrap_or(0);
            chars.swap(n, drawn % (n + 1));
        }
        done(chars.into_iter().collect::<String>())
    }),
];

/// Random bytes of the environment.
pub(super) fn fill(context: &Context<'_>, bytes: &mut [u8]) {
    if let Some(random) = context.engine.environment.random {
        random(bytes);
    }
}

/// Longer random texts are refused.
const MAX_RANDOM: i64 = 1 << 20;

fn random(c: &mut Context<'_>, a: &[Value], allowed: fn(u8) -> bool) -> Result<Value, Fault> {
    let alphabet: Vec<u8> = (0..128u8).filter(|byte| allowed(*byte)).collect();
    let count = usize::try_from(int(a, 0).clamp(0, MAX_RANDOM)).unwrap_or(0);
    let limit = 256 / alphabet.len() * alphabet.len();
    let mut out = String::with_capacity(count);
    // Without randomness all bytes are zero, which is below every limit.
    while out.len() < count {
        let mut bytes = [0; 64];
        fill(c, &mut bytes);
        let usable = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit);
        for byte in usable.take(count - out.len()) {
            out.push(char::from(alphabet[byte % alphabet.len()]));
        }
    }
    done(out)
}

/// Go's deprecated `strings.Title`: a letter after a non-letter becomes a capital.
fn title(text: &str) -> String {
    let mut before = ' ';
    text.chars()
        .map(|c| {
            let inside = before.is_alphanumeric()
                || before == '_'
                || (!before.is_whitespace()
                    && !before.is_ascii_punctuation()
                    && !before.is_control());
            before = c;
            if inside { c } else { upper(c) }
        })
        .collect()
}

fn upper(c: char) -> char {
    let mut up = c.to_uppercase();
    match (up.next(), up.next()) {
        (Some(up), None) => up,
        _ => c,
    }
}

fn lower(c: char) -> char {
    let mut low = c.to_lowercase();
    match (low.next(), low.next()) {
        (Some(low), None) => low,
        _ => c,
    }
}

fn untitle(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let first = start && !c.is_whitespace();
            start = c.is_whitespace();
            if first { lower(c) } else { c }
        })
        .collect()
}

fn swapcase(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_uppercase() {
                lower(c)
            } else if c.is_lowercase() {
                upper(c)
            } else {
                c
            }
        })
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Upper,
    Lower,
    Digit,
    Connector,
    Other,
}

fn class(c: char) -> Class {
    if c == '_' || c == '-' || c.is_whitespace() {
        Class::Connector
    } else if c.is_uppercase() {
        Class::Upper
    } else if c.is_numeric() {
        Class::Digit
    } else if c.is_lowercase() || c.is_alphabetic() {
        Class::Lower
    } else {
        Class::Other
    }
}

/// xstrings' `ToSnakeCase` and `ToKebabCase`: `HTTPServer2Go` is `http_server_2_go`.
fn joined_words(text: &str, connector: char) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut out = String::new();
    let mut at = 0;
    let flush = |word: &mut String, words: &mut Vec<String>| {
        if !word.is_empty() {
            words.push(std::mem::take(word));
        }
    };
    while at < chars.len() {
        let c = chars[at];
        match class(c) {
            Class::Connector => {
                flush(&mut word, &mut words);
                words.push(String::new());
            }
            Class::Upper => {
                let before = at.checked_sub(1).map(|before| class(chars[before]));
                let next = chars.get(at + 1).map(|next| class(*next));
                let starts = match before {
                    Some(Class::Upper) => next == Some(Class::Lower),
                    Some(Class::Lower | Class::Digit) => true,
                    _ => false,
                };
                if starts {
                    flush(&mut word, &mut words);
                }
                word.extend(c.to_lowercase());
            }
            Class::Digit | Class::Lower | Class::Other => {
                word.push(c);
            }
        }
        at += 1;
    }
    flush(&mut word, &mut words);
    let mut pending = false;
    for word in words {
        if word.is_empty() {
            out.push(connector);
            pending = false;
            continue;
        }
        if pending {
            out.push(connector);
        }
        out.push_str(&word);
        pending = true;
    }
    out
}

/// xstrings' `ToPascalCase`: connectors go, the letter after each is a capital.
fn pascal(text: &str) -> String {
    let is_connector = |c: char| c == '_' || c == '-' || c.is_whitespace();
    let mut out = String::new();
    let mut chars = text.chars();
    // Connectors before the first letter stay.
    let mut current = loop {
        match chars.next() {
            None => return out,
            Some(c) if is_connector(c) => out.push(c),
            Some(c) => break c,
        }
    };
    // Further capitals of a word that begins with one become small.
    let mut was_upper = current.is_uppercase();
    current = upper(current);
    for c in chars {
        let before = std::mem::replace(&mut current, c);
        if is_connector(c) && is_connector(before) {
            out.push(before);
            continue;
        }
        if is_connector(before) {
            was_upper = c.is_uppercase();
            current = upper(c);
            continue;
        }
        if was_upper {
            if c.is_uppercase() {
                current = lower(c);
            } else {
                was_upper = false;
            }
        }
        out.push(before);
    }
    out.push(current);
    out
}

/// goutils' `AbbreviateFull` for widths that are allowed.
fn abbreviate(text: &str, offset: i64, width: i64) -> String {
    let bytes = text.as_bytes();
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    if text.is_empty() || width < 4 || length <= width {
        return text.to_owned();
    }
    let part = |from: i64, to: i64| {
        let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to).unwrap_or(0));
        crate::helm::template::text::from_bytes(bytes.get(from..to).unwrap_or_default())
    };
    let mut offset = offset.min(length);
    if length - offset < width - 3 {
        offset = length - (width - 3);
    }
    if offset <= 4 {
        return format!("{}...", part(0, width - 3));
    }
    if width < 7 {
        return text.to_owned();
    }
    if offset + width - 3 < length {
        return format!("...{}", abbreviate(&part(offset, length), 0, width - 3));
    }
    format!("...{}", part(length - (width - 3), length))
}

/// goutils' `WrapCustom`: lines of at most `width` characters, broken at spaces; longer words only when asked.
fn wrap(text: &str, width: i64, separator: &str, break_words: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let separator = if separator.is_empty() { "\n" } else { separator };
    let mut out = String::new();
    let mut offset = 0;
    while chars.len() - offset > width {
        if chars[offset] == ' ' {
            offset += 1;
            continue;
        }
        let end = offset + width;
        let space = (offset..=end.min(chars.len() - 1)).rev().find(|at| chars[*at] == ' ');
        if let Some(space) = space.filter(|space| *space >= offset) {
            out.extend(&chars[offset..space]);
            out.push_str(separator);
            offset = space + 1;
        } else if break_words {
            out.extend(&chars[offset..end]);
            out.push_str(separator);
            offset = end;
        } else {
            match (end..chars.len()).find(|at| chars[*at] == ' ') {
                Some(space) => {
                    out.extend(&chars[offset..space]);
                    out.push_str(separator);
                    offset = space + 1;
                }
                None => {
                    out.extend(&chars[offset..]);
                    offset = chars.len();
                }
            }
        }
    }
    out.extend(&chars[offset..]);
    out
}
