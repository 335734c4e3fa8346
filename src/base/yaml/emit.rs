//! Values to text, byte for byte as `sigs.k8s.io/yaml` marshals: sorted keys, quotes only where needed, folding at
//! column 80, sequences not indented inside mappings.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::resolve::{Scalar, resolve};

/// A space after this column becomes a line break in a scalar that may be folded.
const WIDTH: usize = 80;
const INDENT: usize = 2;
/// A longer key is written in the explicit form `? key`.
const MAX_SIMPLE_KEY: usize = 128;

/// Writes one document.
pub(super) fn document(value: &Value, indented: bool) -> String {
    let mut emitter = Emitter {
        out: String::with_capacity(256),
        column: 0,
        whitespace: true,
        indention: true,
        indent: None,
        width: if indented { usize::MAX } else { WIDTH },
        indented,
    };
    emitter.node(value, Context::Root);
    emitter.indent = None;
    emitter.write_indent();
    emitter.out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Root,
    Sequence,
    Mapping,
    SimpleKey,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

struct Emitter {
    out: String,
    column: usize,
    /// The last character was white space or an indicator that needs none after it.
    whitespace: bool,
    /// Only indentation and `-`, `?`, `:` stand in the line so far.
    indention: bool,
    indent: Option<usize>,
    width: usize,
    /// Sequences are indented inside mappings.
    indented: bool,
}

/// What a text allows.
struct Analysis {
    multiline: bool,
    plain: bool,
    single: bool,
    block: bool,
    ascii: bool,
}

impl Emitter {
    fn node(&mut self, value: &Value, context: Context) {
        match value {
            Value::Null => self.write_plain("null", false),
            Value::Bool(true) => self.write_plain("true", false),
            Value::Bool(false) => self.write_plain("false", false),
            Value::Number(number) => self.write_plain(&format_number(number), false),
            Value::String(text) => self.string(text, context),
            Value::Array(items) if items.is_empty() => self.write_empty("[", "]"),
            Value::Object(map) if map.is_empty() => self.write_empty("{", "}"),
            Value::Array(items) => self.sequence(items, context),
            Value::Object(map) => self.mapping(map),
        }
    }

    fn sequence(&mut self, items: &[Value], context: Context) {
        let indentless = context == Context::Mapping && !self.indention && !self.indented;
        let outer = self.increase_indent(indentless);
        for item in items {
            self.write_indent();
            self.write_indicator("-", true, false, true);
            self.node(item, Context::Sequence);
        }
        self.indent = outer;
    }

    fn mapping(&mut self, map: &Map<String, Value>) {
        let outer = self.increase_indent(false);
        for (key, value) in sorted(map.iter().collect()) {
            self.write_indent();
            let multiline = key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
            if multiline || key.len() > MAX_SIMPLE_KEY {
                self.write_indicator("?", true, false, true);
                self.string(key, Context::Mapping);
                self.write_indent();
                self.write_indicator(":", true, false, true);
            } else {
                self.string(key, Context::SimpleKey);
                self.write_indicator(":", false, false, false);
            }
            self.node(value, Context::Mapping);
        }
        self.indent = outer;
    }

    fn increase_indent(&mut self, indentless: bool) -> Option<usize> {
        let outer = self.indent;
        self.indent = Some(match outer {
            None => 0,
            Some(indent) if indentless => indent,
            Some(indent) => indent + INDENT,
        });
        outer
    }

    fn string(&mut self, text: &str, context: Context) {
        if text.contains('\u{85}') {
            return self.string(&through_json(text), context);
        }
        let analysis = analyze(text);
        let simple_key = context == Context::SimpleKey;
        let mut style = if text.contains('\n') {
            Style::Literal
        } else if matches!(resolve(text), Scalar::Str(_)) && !is_base60(text) {
            Style::Plain
        } else {
            Style::Double
        };
        if simple_key && analysis.multiline {
            style = Style::Double;
        }
        if style == Style::Plain && (!analysis.plain || (text.is_empty() && simple_key)) {
            style = Style::Single;
        }
        if style == Style::Single && !analysis.single {
            style = Style::Double;
        }
        if style == Style::Literal && (!analysis.block || simple_key) {
            style = Style::Double;
        }
        let outer = self.indent;
        self.indent = Some(outer.map_or(INDENT, |indent| indent + INDENT));
        match style {
            Style::Plain if analysis.ascii => self.write_plain(text, !simple_key),
            Style::Plain => self.write_folded_chars(text, !simple_key, false),
            Style::Single => self.write_single(text, !simple_key),
            Style::Double => self.write_double(text, !simple_key),
            Style::Literal => self.write_literal(text),
        }
        self.indent = outer;
    }

    // -- writing ----------------------------------------------------------------------------------

    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn put_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.put_break();
        }
        while self.column < indent {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn write_indicator(&mut self, text: &str, spaced: bool, whitespace: bool, indention: bool) {
        if spaced && !self.whitespace {
            self.put(' ');
        }
        self.out.push_str(text);
        self.column += text.len();
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
    }

    fn write_empty(&mut self, open: &str, close: &str) {
        self.write_indicator(open, true, true, false);
        self.write_indicator(close, false, false, false);
    }

    /// An ASCII text without line breaks.
    fn write_plain(&mut self, text: &str, may_fold: bool) {
        if !may_fold || self.column + 1 + text.len() <= self.width || !text.contains(' ') {
            if !self.whitespace {
                self.put(' ');
            }
            self.out.push_str(text);
            self.column += text.len();
            self.whitespace = false;
            self.indention = false;
            return;
        }
        self.write_words(text);
    }

    /// An ASCII text without line breaks that may be folded at its spaces, word by word.
    fn write_words(&mut self, text: &str) {
        if !self.whitespace {
            self.put(' ');
        }
        let mut rest = text;
        let mut spaces = false;
        while let Some(first) = rest.bytes().next() {
            if first == b' ' {
                rest = &rest[1..];
                if !spaces && self.column > self.width && !rest.starts_with(' ') {
                    self.write_indent();
                } else {
                    self.put(' ');
                }
                spaces = true;
            } else {
                let (word, after) = rest.split_at(rest.find(' ').unwrap_or(rest.len()));
                self.out.push_str(word);
                self.column += word.len();
                self.indention = false;
                spaces = false;
                rest = after;
            }
        }
        self.whitespace = false;
        self.indention = false;
    }

    fn write_single(&mut self, text: &str, may_fold: bool) {
        self.write_indicator("'", true, false, false);
        self.write_folded_chars(text, may_fold, true);
        self.write_indicator("'", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    /// The characters of a plain or single-quoted scalar.
    fn write_folded_chars(&mut self, text: &str, may_fold: bool, single: bool) {
        if !single && !self.whitespace {
            self.put(' ');
        }
        let mut spaces = false;
        let mut breaks = false;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c == ' ' {
                let next = chars.peek().map(|(_, next)| *next);
                let inside = !single || (at > 0 && next.is_some());
                if may_fold && !spaces && self.column > self.width && inside && next != Some(' ') {
                    self.write_indent();
                } else {
                    self.put(c);
                }
                spaces = true;
            } else if is_break(c) {
                if !breaks && c == '\n' {
                    self.put_break();
                }
                self.out.push(c);
                self.column = 0;
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.write_indent();
                }
                if single && c == '\'' {
                    self.put('\'');
                }
                self.put(c);
                self.indention = false;
                spaces = false;
                breaks = false;
            }
        }
        self.whitespace = false;
        self.indention = false;
    }

    fn write_double(&mut self, text: &str, may_fold: bool) {
        self.write_indicator("\"", true, false, false);
        let mut spaces = false;
        // go-yaml looks for the byte order mark at the start of the text, whichever character it is at.
        let escape_all = text.starts_with('\u{FEFF}');
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if escape_all || !is_printable(c) || is_break(c) || c == '"' || c == '\\' {
                self.write_escape(c);
                spaces = false;
            } else if c == ' ' {
                let next = chars.peek().map(|(_, next)| *next);
                if may_fold && !spaces && self.column > self.width && at > 0 && next.is_some() {
                    self.write_indent();
                    if next == Some(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(c);
                }
                spaces = true;
            } else {
                self.put(c);
                spaces = false;
            }
        }
        self.write_indicator("\"", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn write_escape(&mut self, c: char) {
        let short = match c {
            '\0' => Some('0'),
            '\x07' => Some('a'),
            '\x08' => Some('b'),
            '\t' => Some('t'),
            '\n' => Some('n'),
            '\x0B' => Some('v'),
            '\x0C' => Some('f'),
            '\r' => Some('r'),
            '\x1B' => Some('e'),
            '"' | '\\' => Some(c),
            '\u{85}' => Some('N'),
            '\u{A0}' => Some('_'),
            '\u{2028}' => Some('L'),
            '\u{2029}' => Some('P'),
            _ => None,
        };
        let text = match short {
            Some(letter) => format!("\\{letter}"),
            None => match u32::from(c) {
                code @ ..=0xFF => format!("\\x{code:02X}"),
                code @ ..=0xFFFF => format!("\\u{code:04X}"),
                code => format!("\\U{code:08X}"),
            },
        };
        self.column += text.len();
        self.out.push_str(&text);
    }

    fn write_literal(&mut self, text: &str) {
        self.write_indicator("|", true, false, false);
        if text.starts_with([' ', '\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']) {
            self.write_indicator("2", false, false, false);
        }
        let mut from_end = text.chars().rev();
        let last = from_end.next().is_some_and(is_break);
        if !last {
            self.write_indicator("-", false, false, false);
        } else if from_end.next().is_none_or(is_break) {
            self.write_indicator("+", false, false, false);
        }
        self.put_break();
        self.indention = true;
        self.whitespace = true;
        let mut breaks = true;
        for c in text.chars() {
            if is_break(c) {
                self.out.push(c);
                self.column = 0;
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.write_indent();
                }
                self.put(c);
                self.indention = false;
                breaks = false;
            }
        }
    }
}

/// A string as it arrives after the step through JSON, where NEL stands unescaped and YAML folds it.
fn through_json(text: &str) -> String {
    let json = serde_json::to_string(text).unwrap_or_default();
    let json = json.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    match super::parse(&json) {
        Ok(Value::String(folded)) => folded.replace('\u{85}', " "),
        _ => text.replace('\u{85}', " "),
    }
}

/// Sorts pairs by key. Go's order has cycles (`10` < `1a` < `2` < `10`), which a library sort may answer with a
/// panic; a plain merge sort over keys in byte order always gives the same sequence.
fn sorted<'a>(pairs: Vec<(&'a String, &'a Value)>) -> Vec<(&'a String, &'a Value)> {
    let in_order = |pair: &[(&String, &Value)]| {
        super::natural_order(pair[0].0, pair[1].0) != Ordering::Greater
    };
    if pairs.windows(2).all(in_order) {
        return pairs;
    }
    let middle = pairs.len() / 2;
    let mut right = pairs;
    let left = sorted(right.drain(..middle).collect());
    let right = sorted(right);
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let from_left = super::natural_order(a.0, b.0) != Ordering::Greater;
        merged.extend(if from_left { left.next() } else { right.next() });
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// What go-yaml calls printable; characters above U+FFFF are not.
fn is_printable(c: char) -> bool {
    matches!(
        c,
        '\n' | ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FEFE}' | '\u{FF00}'..='\u{FFFD}'
    )
}

fn analyze(text: &str) -> Analysis {
    if text.is_empty() {
        let (multiline, plain, single, block, ascii) = (false, true, true, false, true);
        return Analysis { multiline, plain, single, block, ascii };
    }
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let mut line_breaks = false;
    let mut special = false;
    let (mut leading_space, mut leading_break) = (false, false);
    let (mut trailing_space, mut trailing_break) = (false, false);
    let (mut break_space, mut space_break) = (false, false);
    let mut before_is_white = true;
    let (mut previous_space, mut previous_break) = (false, false);
    let mut chars = text.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        let after_is_white = next.is_none_or(|next| next == ' ' || next == '\t');
        indicators |= match c {
            '#' => first || before_is_white,
            ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
            | '`' => first,
            ':' => after_is_white,
            '?' | '-' => first && after_is_white,
            _ => false,
        };
        special |= !is_printable(c);
        if c == ' ' {
            leading_space |= first;
            trailing_space |= next.is_none();
            break_space |= previous_break;
            (previous_space, previous_break) = (true, false);
        } else if is_break(c) {
            line_breaks = true;
            leading_break |= first;
            trailing_break |= next.is_none();
            space_break |= previous_space;
            (previous_space, previous_break) = (false, true);
        } else {
            (previous_space, previous_break) = (false, false);
        }
        before_is_white = c == ' ' || c == '\t' || c == '\0' || is_break(c);
        first = false;
    }
    let edges = leading_space || leading_break || trailing_space || trailing_break;
    let special = special || space_break;
    Analysis {
        multiline: line_breaks,
        plain: !(edges || break_space || special || line_breaks || indicators),
        single: !(break_space || special),
        block: !(trailing_space || special),
        ascii: text.is_ascii(),
    }
}

/// A number in YAML 1.1's base 60 (`1:30`), which older parsers would read as one.
fn is_base60(text: &str) -> bool {
    if !text.contains(':') {
        return false;
    }
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = text.split(':');
    let head = parts.next().unwrap_or_default().as_bytes();
    let head_ok = head.first().is_some_and(u8::is_ascii_digit)
        && head.iter().all(|byte| byte.is_ascii_digit() || *byte == b'_');
    let rest: Vec<&str> = parts.collect();
    let last = rest.len().saturating_sub(1);
    head_ok
        && rest.iter().enumerate().all(|(at, part)| {
            let digits = match part.split_once('.') {
                Some((digits, fraction))
                    if at == last && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_') =>
                {
                    digits
                }
                Some(_) => return false,
                None => part,
            };
            match digits.as_bytes() {
                [digit] => digit.is_ascii_digit(),
                [ten, digit] => (b'0'..=b'5').contains(ten) && digit.is_ascii_digit(),
                _ => false,
            }
        })
}

fn format_number(number: &Number) -> String {
    if let Some(value) = number.as_i64() {
        return value.to_string();
    }
    if let Some(value) = number.as_u64() {
        return value.to_string();
    }
    let value = number.as_f64().unwrap_or_default();
    // JSON writes a float without fraction as digits, and YAML reads digits that fit as an integer.
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    #[expect(clippy::cast_sign_loss, reason = "the range is checked")]
    if value.fract() == 0.0 {
        if (-9.223_372_036_854_775e18..9.223_372_036_854_775e18).contains(&value) {
            return (value as i64).to_string();
        }
        if (0.0..1.844_674_407_370_955e19).contains(&value) {
            return (value as u64).to_string();
        }
    }
    super::format_float(value)
}
