//! Patterns of `.Files.Glob` (gobwas/glob with `/` as separator): `*`, `**`, `?`, `[a-z]`, `[!a]`, `{a,b}`.

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Char(char),
    /// `?`: any character but the separator.
    Any,
    /// `*`: any run without a separator.
    Star,
    /// `**`: any run.
    Deep,
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    Alternatives(Vec<Vec<Self>>),
}

/// Matching gives up after this many steps, which no honest pattern takes.
const MAX_STEPS: usize = 1_000_000;

impl Glob {
    /// `None` for a pattern that is not well-formed.
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let chars: Vec<char> = pattern.chars().collect();
        let (parts, at) = parse(&chars, 0, 0)?;
        (at == chars.len()).then_some(Self { parts })
    }

    /// The pattern that every name matches.
    pub(crate) fn everything() -> Self {
        Self { parts: vec![Part::Deep] }
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let chars: Vec<char> = name.chars().collect();
        let parts: Vec<&Part> = self.parts.iter().collect();
        let mut steps = 0;
        matches(&parts, &chars, &mut steps)
    }
}

/// Parses up to the end, or to `,` or `}` inside braces.
fn parse(chars: &[char], from: usize, depth: usize) -> Option<(Vec<Part>, usize)> {
    let mut parts = Vec::new();
    let mut at = from;
    while let Some(&c) = chars.get(at) {
        at += 1;
        match c {
            '\\' => {
                parts.push(Part::Char(*chars.get(at)?));
                at += 1;
            }
            '?' => parts.push(Part::Any),
            '*' => {
                let deep = chars.get(at) == Some(&'*');
                while chars.get(at) == Some(&'*') {
                    at += 1;
                }
                parts.push(if deep { Part::Deep } else { Part::Star });
            }
            '[' => {
                let negated = chars.get(at) == Some(&'!');
                at += usize::from(negated);
                let mut ranges = Vec::new();
                loop {
                    let mut low = *chars.get(at)?;
                    at += 1;
                    if low == ']' && !ranges.is_empty() {
                        break;
                    }
                    if low == '\\' {
                        low = *chars.get(at)?;
                        at += 1;
                    }
                    let mut high = low;
                    if chars.get(at) == Some(&'-') && chars.get(at + 1) != Some(&']') {
                        high = *chars.get(at + 1)?;
                        at += 2;
                    }
                    ranges.push((low, high));
                }
                parts.push(Part::Class { negated, ranges });
            }
            '{' => {
                if depth > 8 {
                    return None;
                }
                let mut alternatives = Vec::new();
                loop {
                    let (alternative, end) = parse(chars, at, depth + 1)?;
                    alternatives.push(alternative);
                    at = end + 1;
                    match chars.get(end)? {
                        ',' => {}
                        _ => break,
                    }
                }
                parts.push(Part::Alternatives(alternatives));
            }
            ',' | '}' if depth > 0 => return Some((parts, at - 1)),
            c => parts.push(Part::Char(c)),
        }
    }
    (depth == 0).then_some((parts, at))
}

fn matches(parts: &[&Part], chars: &[char], steps: &mut usize) -> bool {
    *steps += 1;
    if *steps > MAX_STEPS {
        return false;
    }
    let Some((part, rest)) = parts.split_first() else { return chars.is_empty() };
    match part {
        Part::Star | Part::Deep => {
            let longest = match part {
                Part::Star => chars.iter().position(|c| *c == '/').unwrap_or(chars.len()),
                _ => chars.len(),
            };
            (0..=longest).any(|n| matches(rest, &chars[n..], steps))
        }
        Part::Alternatives(alternatives) => alternatives.iter().any(|alternative| {
            let mut all: Vec<&Part> = alternative.iter().collect();
            all.extend(rest);
            matches(&all, chars, steps)
        }),
        Part::Char(_) | Part::Any | Part::Class { .. } => {
            let Some((c, tail)) = chars.split_first() else { return false };
            let found = match part {
                Part::Char(wanted) => c == wanted,
                Part::Class { negated, ranges } => {
                    ranges.iter().any(|(low, high)| (low..=high).contains(&c)) != *negated
                }
                _ => *c != '/',
            };
            found && matches(rest, tail, steps)
        }
    }
}
