//! Regular expressions in Go's syntax (RE2), run by the `regex` crate after a translation of what differs.

use regex::Regex;

use super::{Fault, Function, Type, Value, done, int, text};
use crate::helm::template::eval::Context;
use crate::helm::template::text::quote_with;
use crate::helm::template::work::{PART, Work};

const MATCH: &[Type] = &[Type::Str, Type::Str];
const MATCH_N: &[Type] = &[Type::Str, Type::Str, Type::Int];
const REPLACE: &[Type] = &[Type::Str, Type::Str, Type::Str];

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("regexMatch", MATCH, |c, a| {
        Ok(Value::Bool(compile(c, text(a, 0)).is_ok_and(|found| found.is_match(text(a, 1)))))
    }),
    Function::new("mustRegexMatch", MATCH, |c, a| {
        Ok(Value::Bool(checked(c, a)?.is_match(text(a, 1))))
    }),
    Function::new("regexFind", MATCH, |c, a| find(a, &must(c, a)?)),
    Function::new("mustRegexFind", MATCH, |c, a| find(a, &checked(c, a)?)),
    Function::new("regexFindAll", MATCH_N, |c, a| Ok(find_all(a, &must(c, a)?))),
    Function::new("mustRegexFindAll", MATCH_N, |c, a| Ok(find_all(a, &checked(c, a)?))),
    Function::new("regexReplaceAll", REPLACE, |c, a| replace(a, &must(c, a)?)),
    Function::new("mustRegexReplaceAll", REPLACE, |c, a| replace(a, &checked(c, a)?)),
    Function::new("regexReplaceAllLiteral", REPLACE, |c, a| literal(a, &must(c, a)?)),
    Function::new("mustRegexReplaceAllLiteral", REPLACE, |c, a| literal(a, &checked(c, a)?)),
    Function::new("regexSplit", MATCH_N, |c, a| Ok(split(a, &must(c, a)?))),
    Function::new("mustRegexSplit", MATCH_N, |c, a| Ok(split(a, &checked(c, a)?))),
    Function::new("regexQuoteMeta", &[Type::Str], |_, a| {
        let mut out = String::new();
        for c in text(a, 0).chars() {
            if "\\.+*?()|[]{}^$".contains(c) {
                out.push('\\');
            }
            out.push(c);
        }
        done(out)
    }),
];

/// `MustCompile` panics with a text of its own.
fn must<'c>(context: &Context<'c>, a: &[Value]) -> Result<Pattern<'c>, Fault> {
    compile(context, text(a, 0)).map_err(|error| {
        let pattern = if text(a, 0).contains('`') {
            quote_with(text(a, 0), '"', false)
        } else {
            format!("`{}`", text(a, 0))
        };
        Fault::new(format!("regexp: Compile({pattern}): {error}"))
    })
}

fn checked<'c>(context: &Context<'c>, a: &[Value]) -> Result<Pattern<'c>, Fault> {
    compile(context, text(a, 0)).map_err(Fault::Plain)
}

/// A compiled pattern with what its searches cost.
struct Pattern<'c> {
    regex: Regex,
    work: &'c Work,
    /// About how many states it has.
    weight: usize,
    /// A search may look far beyond the match that it finds.
    looks_ahead: bool,
}

/// So many bytes meet one state of a pattern in a step. Most patterns do with one look at each byte, some need all states.
const SEARCHED: usize = 64;

impl Pattern<'_> {
    /// Pays for a search through so much text.
    fn search(&self, bytes: usize) -> bool {
        self.work.take(bytes.saturating_mul(self.weight) / SEARCHED)
    }

    fn is_match(&self, source: &str) -> bool {
        self.search(source.len()) && self.regex.is_match(source)
    }

    /// The matches, until the work is used up.
    fn matches<'a>(&self, source: &'a str) -> impl Iterator<Item = regex::Match<'a>> {
        self.search(source.len());
        let searched = |found: &regex::Match<'_>| self.found(source, found.start(), found.len());
        self.regex.find_iter(source).take_while(searched)
    }

    /// Pays for a match, and for the look ahead of the search after it.
    fn found(&self, source: &str, start: usize, length: usize) -> bool {
        let ahead = if self.looks_ahead { (source.len() - start) / 2 } else { 0 };
        self.work.take(PART) && self.search(length + ahead)
    }
}

fn find(a: &[Value], pattern: &Pattern<'_>) -> Result<Value, Fault> {
    done(pattern.matches(text(a, 1)).next().map_or("", |found| found.as_str()))
}

fn find_all(a: &[Value], pattern: &Pattern<'_>) -> Value {
    let limit = usize::try_from(int(a, 2)).unwrap_or(usize::MAX);
    Value::strings(pattern.matches(text(a, 1)).take(limit).map(|found| found.as_str()))
}

fn replace(a: &[Value], pattern: &Pattern<'_>) -> Result<Value, Fault> {
    let (source, by) = (text(a, 1), text(a, 2));
    let n_references = by.matches('$').count();
    if n_references == 0 {
        return literal(a, pattern);
    }
    pattern.search(source.len());
    let (mut out, mut from) = (String::with_capacity(source.len()), 0);
    for groups in pattern.regex.captures_iter(source) {
        let Some(found) = groups.get(0) else { continue };
        let paid = pattern.found(source, found.start(), found.len())
            && pattern.work.made(by.len() + n_references.saturating_mul(found.len()));
        if !paid {
            break;
        }
        out.push_str(&source[from..found.start()]);
        groups.expand(by, &mut out);
        from = found.end();
    }
    out.push_str(&source[from..]);
    done(out)
}

fn literal(a: &[Value], pattern: &Pattern<'_>) -> Result<Value, Fault> {
    let (source, by) = (text(a, 1), text(a, 2));
    let (mut out, mut from) = (String::with_capacity(source.len()), 0);
    for found in pattern.matches(source) {
        if !pattern.work.made(by.len()) {
            break;
        }
        out.push_str(&source[from..found.start()]);
        out.push_str(by);
        from = found.end();
    }
    out.push_str(&source[from..]);
    done(out)
}

fn split(a: &[Value], pattern: &Pattern<'_>) -> Value {
    let (source, count) = (text(a, 1), int(a, 2));
    if count == 0 {
        return Value::strings(Vec::<String>::new());
    }
    if !text(a, 0).is_empty() && source.is_empty() {
        return Value::strings([""]);
    }
    let limit = usize::try_from(count).unwrap_or(usize::MAX);
    let mut parts: Vec<&str> = Vec::new();
    let mut from = 0;
    let mut end = 0;
    for found in pattern.matches(source) {
        if parts.len() + 1 == limit {
            break;
        }
        end = found.start();
        if found.end() != 0 {
            parts.push(&source[from..end]);
        }
        from = found.end();
    }
    if end != source.len() {
        parts.push(&source[from..]);
    }
    Value::strings(parts)
}

/// Compiles a Go pattern.
fn compile<'c>(context: &Context<'c>, pattern: &str) -> Result<Pattern<'c>, String> {
    /// Steps to compile a small pattern, and those for each of its states.
    const COMPILED: usize = 100;
    const STATE: usize = 10;
    let work = context.work();
    let weight = weight(pattern);
    if !work.take(COMPILED + STATE * weight) {
        return Err(String::new());
    }
    let translated = translate(pattern)?;
    let regex = Regex::new(&translated).map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        format!("error parsing regexp: {}", go_reason(reason, pattern))
    })?;
    Ok(Pattern { regex, work, weight, looks_ahead: looks_ahead(pattern) })
}

/// Whether something repeats without a bound before the end of the pattern.
fn looks_ahead(pattern: &str) -> bool {
    let last = pattern.trim_end_matches([')', '?', '$']);
    let before = last.strip_suffix(['*', '+']).unwrap_or(last);
    before.contains(['*', '+']) || before.contains(",}")
}

/// About how many states a pattern has: characters, classes by their size, all times how often they repeat.
fn weight(pattern: &str) -> usize {
    /// The compiler refuses what is bigger.
    const MOST: usize = 300_000;
    const CLASS: usize = 8;
    const PROPERTY: usize = 300;
    let mut outer: Vec<usize> = Vec::new();
    let (mut sum, mut last) = (1usize, 0usize);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        let mut atom = Some(1);
        match c {
            '\\' => {
                let next = rest[1..].chars().next();
                length += next.map_or(0, char::len_utf8);
                if matches!(next, Some('p' | 'P')) {
                    atom = Some(PROPERTY);
                }
            }
            '.' | '[' => atom = Some(CLASS),
            '(' => {
                outer.push(sum);
                (sum, atom) = (0, None);
            }
            ')' => {
                last = sum;
                sum = sum.saturating_add(outer.pop().unwrap_or(0));
                atom = None;
            }
            '{' => {
                if let Some(n) = counted(rest) {
                    let counts = rest[1..n - 1].split(',');
                    let count = counts.filter_map(|part| part.parse().ok()).max().unwrap_or(1);
                    let all = last.saturating_mul(count);
                    sum = sum.saturating_add(all.saturating_sub(last));
                    (last, length, atom) = (all, n, None);
                }
            }
            _ => {}
        }
        if let Some(atom) = atom {
            last = atom;
            sum = sum.saturating_add(atom);
        }
        rest = &rest[length..];
    }
    outer.into_iter().fold(sum, usize::saturating_add).min(MOST)
}

/// The common mistakes in Go's words.
fn go_reason(reason: &str, pattern: &str) -> String {
    if reason.contains("unclosed group") {
        format!("missing closing ): `{pattern}`")
    } else if reason.contains("unopened group") {
        format!("unexpected ): `{pattern}`")
    } else if reason.contains("unclosed character class") {
        let from = pattern.rfind('[').unwrap_or(0);
        format!("missing closing ]: `{}`", &pattern[from..])
    } else if reason.contains("repetition operator missing expression") {
        let operator = pattern.chars().find(|c| "*+?".contains(*c)).unwrap_or('*');
        format!("missing argument to repetition operator: `{operator}`")
    } else if reason.contains("invalid character class range") {
        let chars: Vec<char> = pattern.chars().collect();
        let range = chars.windows(3).find(|range| range[1] == '-' && range[0] > range[2]);
        let range: String = range.unwrap_or(&chars).iter().collect();
        format!("invalid character class range: `{range}`")
    } else if reason.contains("look-around") {
        let from = pattern.find("(?").unwrap_or(0);
        format!(
            "invalid or unsupported Perl syntax: `{}`",
            pattern.get(from..from + 3).unwrap_or("(?")
        )
    } else {
        format!("{reason}: `{pattern}`")
    }
}

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\f\r ";

/// Go's classes are ASCII, `\Q…\E` quotes, and a class has no set operations; the crate differs in all three.
fn translate(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    let mut class_start = false;
    let mut after_repeat = false;
    while let Some(c) = rest.chars().next() {
        let mut length = c.len_utf8();
        let mut repeat = false;
        if c == '\\' {
            let next = rest[1..].chars().next();
            length += next.map_or(0, char::len_utf8);
            match next {
                Some('Q') if !in_class => {
                    let body = &rest[2..];
                    let end = body.find("\\E");
                    let quoted = &body[..end.unwrap_or(body.len())];
                    out.push_str(&regex::escape(quoted));
                    length = 2 + quoted.len() + if end.is_some() { 2 } else { 0 };
                }
                Some('d') => out.push_str(&class(DIGIT, false, in_class)),
                Some('D') => out.push_str(&class(DIGIT, true, in_class)),
                Some('w') => out.push_str(&class(WORD, false, in_class)),
                Some('W') => out.push_str(&class(WORD, true, in_class)),
                Some('s') => out.push_str(&class(SPACE, false, in_class)),
                Some('S') => out.push_str(&class(SPACE, true, in_class)),
                Some('b') if !in_class => out.push_str("(?-u:\\b)"),
                Some('B') if !in_class => out.push_str("(?-u:\\B)"),
                Some('z') => out.push_str("\\z"),
                Some('C') => out.push_str("(?s:.)"),
                None => {
                    return Err(
                        "error parsing regexp: trailing backslash at end of expression: ``"
                            .to_owned(),
                    );
                }
                Some(letter)
                    if letter.is_ascii_alphanumeric()
                        && !"afnrtvAzCpPxQdDwWsSbB0".contains(letter) =>
                {
                    return Err(format!(
                        "error parsing regexp: invalid escape sequence: `{}`",
                        &rest[..length]
                    ));
                }
                Some(_) => out.push_str(&rest[..length]),
            }
            class_start = false;
        } else if in_class {
            match c {
                ']' if !class_start => {
                    in_class = false;
                    out.push(']');
                }
                '[' if rest.starts_with("[:") => match rest.find(":]") {
                    Some(end) => {
                        length = end + 2;
                        out.push_str(&rest[..length]);
                    }
                    None => out.push_str("\\["),
                },
                '[' => out.push_str("\\["),
                ']' => out.push_str("\\]"),
                '&' | '~' => {
                    out.push('\\');
                    out.push(c);
                }
                '-' if rest.starts_with("--") => out.push_str("\\-"),
                c => out.push(c),
            }
            class_start = class_start && c == '^' && out.ends_with("[^");
        } else {
            match c {
                '[' => {
                    in_class = true;
                    class_start = true;
                    out.push('[');
                    if rest[1..].starts_with('^') {
                        out.push('^');
                        length = 2;
                    }
                }
                '*' | '+' | '?' => {
                    if after_repeat && c != '?' {
                        return Err(format!(
                            "error parsing regexp: invalid nested repetition operator: `{}`",
                            nested(pattern, rest)
                        ));
                    }
                    repeat = !(after_repeat && c == '?');
                    out.push(c);
                }
                '{' => match counted(rest) {
                    Some(n) => {
                        if after_repeat {
                            return Err(format!(
                                "error parsing regexp: invalid nested repetition operator: `{}`",
                                nested(pattern, rest)
                            ));
                        }
                        if rest[1..n - 1]
                            .split(',')
                            .any(|part| part.parse::<u32>().is_ok_and(|count| count > 1_000))
                        {
                            return Err(format!(
                                "error parsing regexp: invalid repeat count: `{}`",
                                &rest[..n]
                            ));
                        }
                        out.push_str(&rest[..n]);
                        length = n;
                        repeat = true;
                    }
                    None => out.push_str("\\{"),
                },
                '}' => out.push_str("\\}"),
                c => out.push(c),
            }
        }
        after_repeat = repeat;
        rest = &rest[length..];
    }
    Ok(out)
}

fn nested(pattern: &str, rest: &str) -> String {
    let at = pattern.len() - rest.len();
    let from = pattern[..at].char_indices().next_back().map_or(0, |(from, _)| from);
    pattern[from..].chars().take(2).collect()
}

/// The length of `{n}`, `{n,}` or `{n,m}`; any other brace is a brace.
fn counted(text: &str) -> Option<usize> {
    let end = text.find('}')?;
    let body = &text[1..end];
    let (low, high) = body.split_once(',').unwrap_or((body, "0"));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    (!low.is_empty() && digits(low) && digits(high)).then_some(end + 1)
}

fn class(members: &str, negated: bool, inside: bool) -> String {
    match (negated, inside) {
        (false, true) => members.to_owned(),
        (true, _) => format!("[^{members}]"),
        (false, false) => format!("[{members}]"),
    }
}
