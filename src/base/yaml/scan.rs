//! The scanner: text to tokens, with libyaml's rules for indentation and simple keys.
//!
//! The rules (and the wording of the problems) are those of go-yaml v2, which Kubernetes and Helm read YAML with. Scalars
//! that stand in one line are borrowed from the text.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::YamlError;

/// Nesting beyond this is refused; go-yaml allows 10,000 levels, which no manifest needs and a stack cannot hold.
pub(super) const MAX_DEPTH: usize = 1_000;
/// A simple key ends at most this many characters after its start.
const MAX_SIMPLE_KEY: usize = 1_024;

/// A place in the text: characters from the start, line and column from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) index: usize,
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    StreamEnd,
    VersionDirective { major: u8, minor: u8 },
    TagDirective { handle: String, prefix: String },
    DocumentStart,
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    BlockEntry,
    FlowEntry,
    Key,
    Value,
    Alias(&'a str),
    Anchor(&'a str),
    Tag { handle: String, suffix: String },
    Scalar { text: Cow<'a, str>, plain: bool },
}

#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind<'a>,
    pub(super) start: Mark,
}

/// A place where a simple key may begin.
#[derive(Clone, Copy, Debug, Default)]
struct SimpleKey {
    possible: bool,
    required: bool,
    token: usize,
    mark: Mark,
}

#[derive(Debug)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    pub(super) mark: Mark,
    tokens: VecDeque<Token<'a>>,
    n_taken: usize,
    indent: isize,
    indents: Vec<isize>,
    pub(super) simple_key_allowed: bool,
    /// One per flow level, the block level first.
    simple_keys: Vec<SimpleKey>,
    ended: bool,
}

pub(super) fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Bytes that a plain scalar can run over without a closer look.
fn is_ordinary(byte: u8) -> bool {
    !matches!(
        byte,
        0 | b' '
            | b'\t'
            | b'\r'
            | b'\n'
            | b':'
            | b','
            | b'?'
            | b'['
            | b']'
            | b'{'
            | b'}'
            | 0xC2
            | 0xE2
    )
}

fn width(byte: u8) -> usize {
    match byte {
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            bytes: text.as_bytes(),
            at: 0,
            mark: Mark::default(),
            tokens: VecDeque::new(),
            n_taken: 0,
            indent: -1,
            indents: Vec::new(),
            simple_key_allowed: true,
            simple_keys: vec![SimpleKey::default()],
            ended: false,
        }
    }

    /// The next token, which stays the next one.
    pub(super) fn peek(&mut self) -> Result<&Token<'a>, YamlError> {
        self.fill()?;
        self.tokens.front().ok_or_else(|| YamlError::at(Mark::default(), "unexpected end"))
    }

    /// Takes the next token.
    pub(super) fn take(&mut self) -> Result<Token<'a>, YamlError> {
        self.fill()?;
        self.n_taken += 1;
        self.tokens.pop_front().ok_or_else(|| YamlError::at(Mark::default(), "unexpected end"))
    }

    /// Scans until the first token is certain: no key token can still come before it.
    fn fill(&mut self) -> Result<(), YamlError> {
        loop {
            if !self.tokens.is_empty() {
                let head = self
                    .simple_keys
                    .iter()
                    .rposition(|key| key.possible && key.token == self.n_taken);
                match head {
                    None => return Ok(()),
                    Some(level) => {
                        if !self.simple_key_is_valid(level)? {
                            return Ok(());
                        }
                    }
                }
            } else if self.ended {
                let kind = Kind::StreamEnd;
                self.tokens.push_back(Token { kind, start: self.mark });
                return Ok(());
            }
            self.fetch()?;
        }
    }

    pub(super) fn byte(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    /// The length in bytes of the line break `ahead`, 0 if there is none.
    fn break_len(&self, ahead: usize) -> usize {
        match self.byte(ahead) {
            b'\r' if self.byte(ahead + 1) == b'\n' => 2,
            b'\r' | b'\n' => 1,
            0xC2 if self.byte(ahead + 1) == 0x85 => 2,
            0xE2 if self.byte(ahead + 1) == 0x80 && matches!(self.byte(ahead + 2), 0xA8 | 0xA9) => {
                3
            }
            _ => 0,
        }
    }

    pub(super) fn is_breakz(&self, ahead: usize) -> bool {
        self.byte(ahead) == 0 || self.break_len(ahead) > 0
    }

    pub(super) fn is_blankz(&self, ahead: usize) -> bool {
        is_blank(self.byte(ahead)) || self.is_breakz(ahead)
    }

    pub(super) fn skip(&mut self) {
        self.at += width(self.byte(0));
        self.mark.index += 1;
        self.mark.column += 1;
    }

    pub(super) fn skip_n(&mut self, n: usize) {
        for _ in 0..n {
            self.skip();
        }
    }

    pub(super) fn skip_line(&mut self) {
        let length = self.break_len(0);
        if length > 0 {
            self.mark.index += if self.byte(0) == b'\r' { length } else { 1 };
            self.at += length;
            self.mark.column = 0;
            self.mark.line += 1;
        }
    }

    pub(super) fn read(&mut self, into: &mut String) {
        let end = (self.at + width(self.byte(0))).min(self.bytes.len());
        into.push_str(self.text.get(self.at..end).unwrap_or_default());
        self.at = end;
        self.mark.index += 1;
        self.mark.column += 1;
    }

    /// Reads a line break: CR, LF and NEL become LF.
    fn read_line(&mut self, into: &mut String) {
        match self.break_len(0) {
            0 => return,
            3 => into.push_str(self.text.get(self.at..self.at + 3).unwrap_or_default()),
            _ => into.push('\n'),
        }
        self.skip_line();
    }

    pub(super) fn skip_comment(&mut self) {
        if self.byte(0) == b'#' {
            while !self.is_breakz(0) {
                self.skip();
            }
        }
    }

    fn error(&self, problem: &str) -> YamlError {
        YamlError::scanner(self.mark, problem)
    }

    pub(super) fn error_in(&self, context: Mark, problem: &str) -> YamlError {
        YamlError::scanner(self.mark, problem).with_context(context)
    }

    pub(super) fn push(&mut self, kind: Kind<'a>, start: Mark) {
        self.tokens.push_back(Token { kind, start });
    }

    fn insert(&mut self, number: usize, kind: Kind<'a>, start: Mark) {
        let at = number.saturating_sub(self.n_taken).min(self.tokens.len());
        self.tokens.insert(at, Token { kind, start });
    }

    fn in_flow(&self) -> bool {
        self.simple_keys.len() > 1
    }

    fn column(&self) -> isize {
        isize::try_from(self.mark.column).unwrap_or(isize::MAX)
    }

    fn fetch(&mut self) -> Result<(), YamlError> {
        self.scan_to_next_token();
        self.unroll_indent(self.column());
        if self.at >= self.bytes.len() {
            return self.fetch_stream_end();
        }
        let start_of_line = self.mark.column == 0;
        let byte = self.byte(0);
        if start_of_line {
            if byte == b'%' {
                return self.fetch_directive();
            }
            if self.starts_document_marker(b'-') {
                return self.fetch_document_marker(Kind::DocumentStart);
            }
            if self.starts_document_marker(b'.') {
                return self.fetch_document_marker(Kind::DocumentEnd);
            }
        }
        let in_flow = self.in_flow();
        match byte {
            b'[' => self.fetch_flow_start(Kind::FlowSequenceStart),
            b'{' => self.fetch_flow_start(Kind::FlowMappingStart),
            b']' => self.fetch_flow_end(Kind::FlowSequenceEnd),
            b'}' => self.fetch_flow_end(Kind::FlowMappingEnd),
            b',' => self.fetch_flow_entry(),
            b'-' if self.is_blankz(1) => self.fetch_block_entry(),
            b'?' if in_flow || self.is_blankz(1) => self.fetch_key(),
            b':' if in_flow || self.is_blankz(1) => self.fetch_value(),
            b'*' | b'&' => self.fetch_anchor(byte == b'*'),
            b'!' => self.fetch_tag(),
            b'|' | b'>' if !in_flow => self.fetch_block_scalar(byte == b'|'),
            b'\'' | b'"' => self.fetch_flow_scalar(byte == b'\''),
            b'-' => self.fetch_plain_scalar(),
            b'?' | b':' if !in_flow => self.fetch_plain_scalar(),
            b'?' | b':' | b'#' | b'|' | b'>' | b'%' | b'@' | b'`' | b'\t' => {
                Err(self.error("found character that cannot start any token"))
            }
            _ => self.fetch_plain_scalar(),
        }
    }

    fn starts_document_marker(&self, byte: u8) -> bool {
        self.mark.column == 0 && (0..3).all(|ahead| self.byte(ahead) == byte) && self.is_blankz(3)
    }

    fn scan_to_next_token(&mut self) {
        loop {
            if self.mark.column == 0 && self.bytes[self.at..].starts_with(b"\xEF\xBB\xBF") {
                self.skip();
            }
            while self.byte(0) == b' '
                || (self.byte(0) == b'\t' && (self.in_flow() || !self.simple_key_allowed))
            {
                self.skip();
            }
            self.skip_comment();
            if self.break_len(0) == 0 {
                return;
            }
            self.skip_line();
            if !self.in_flow() {
                self.simple_key_allowed = true;
            }
        }
    }

    // -- simple keys and indentation --------------------------------------------------------------

    fn simple_key_is_valid(&mut self, level: usize) -> Result<bool, YamlError> {
        let key = self.simple_keys[level];
        if !key.possible {
            return Ok(false);
        }
        if key.mark.line < self.mark.line || key.mark.index + MAX_SIMPLE_KEY < self.mark.index {
            if key.required {
                return Err(self.error_in(key.mark, "could not find expected ':'"));
            }
            self.simple_keys[level].possible = false;
            return Ok(false);
        }
        Ok(true)
    }

    pub(super) fn save_simple_key(&mut self) -> Result<(), YamlError> {
        if self.simple_key_allowed {
            let required = !self.in_flow() && self.indent == self.column();
            self.remove_simple_key()?;
            let key = SimpleKey {
                possible: true,
                required,
                token: self.n_taken + self.tokens.len(),
                mark: self.mark,
            };
            if let Some(last) = self.simple_keys.last_mut() {
                *last = key;
            }
        }
        Ok(())
    }

    pub(super) fn remove_simple_key(&mut self) -> Result<(), YamlError> {
        let mark = self.mark;
        if let Some(key) = self.simple_keys.last_mut()
            && key.possible
        {
            if key.required {
                let error = YamlError::scanner(mark, "could not find expected ':'");
                return Err(error.with_context(key.mark));
            }
            key.possible = false;
        }
        Ok(())
    }

    /// Opens a block collection at a column that is deeper than the current one.
    fn roll_indent(
        &mut self,
        column: isize,
        before: Option<usize>,
        kind: Kind<'a>,
        mark: Mark,
    ) -> Result<(), YamlError> {
        if self.in_flow() || self.indent >= column {
            return Ok(());
        }
        self.indents.push(self.indent);
        self.indent = column;
        if self.indents.len() > MAX_DEPTH {
            return Err(self.error(&format!("exceeded max depth of {MAX_DEPTH}")));
        }
        match before {
            Some(number) => self.insert(number, kind, mark),
            None => self.push(kind, mark),
        }
        Ok(())
    }

    pub(super) fn unroll_indent(&mut self, column: isize) {
        if self.in_flow() {
            return;
        }
        while self.indent > column {
            self.push(Kind::BlockEnd, self.mark);
            self.indent = self.indents.pop().unwrap_or(-1);
        }
    }

    // -- tokens -----------------------------------------------------------------------------------

    fn fetch_stream_end(&mut self) -> Result<(), YamlError> {
        if self.mark.column != 0 {
            self.mark.column = 0;
            self.mark.line += 1;
        }
        // An open flow collection hides the block level; its own error comes from the composer.
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.ended = true;
        self.push(Kind::StreamEnd, self.mark);
        Ok(())
    }

    fn fetch_document_marker(&mut self, kind: Kind<'a>) -> Result<(), YamlError> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        self.push(kind, self.mark);
        self.skip_n(3);
        Ok(())
    }

    fn fetch_flow_start(&mut self, kind: Kind<'a>) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_keys.push(SimpleKey::default());
        if self.simple_keys.len() > MAX_DEPTH + 1 {
            return Err(self.error(&format!("exceeded max depth of {MAX_DEPTH}")));
        }
        self.simple_key_allowed = true;
        self.push(kind, self.mark);
        self.skip();
        Ok(())
    }

    fn fetch_flow_end(&mut self, kind: Kind<'a>) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        if self.in_flow() {
            self.simple_keys.pop();
        }
        self.simple_key_allowed = false;
        self.push(kind, self.mark);
        self.skip();
        Ok(())
    }

    fn fetch_flow_entry(&mut self) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push(Kind::FlowEntry, self.mark);
        self.skip();
        Ok(())
    }

    fn fetch_block_entry(&mut self) -> Result<(), YamlError> {
        if !self.in_flow() {
            if !self.simple_key_allowed {
                return Err(self.error("block sequence entries are not allowed in this context"));
            }
            self.roll_indent(self.column(), None, Kind::BlockSequenceStart, self.mark)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        self.push(Kind::BlockEntry, self.mark);
        self.skip();
        Ok(())
    }

    fn fetch_key(&mut self) -> Result<(), YamlError> {
        if !self.in_flow() {
            if !self.simple_key_allowed {
                return Err(self.error("mapping keys are not allowed in this context"));
            }
            self.roll_indent(self.column(), None, Kind::BlockMappingStart, self.mark)?;
        }
        self.remove_simple_key()?;
        self.simple_key_allowed = !self.in_flow();
        self.push(Kind::Key, self.mark);
        self.skip();
        Ok(())
    }

    fn fetch_value(&mut self) -> Result<(), YamlError> {
        let level = self.simple_keys.len() - 1;
        if self.simple_key_is_valid(level)? {
            let key = self.simple_keys[level];
            self.insert(key.token, Kind::Key, key.mark);
            let column = isize::try_from(key.mark.column).unwrap_or(isize::MAX);
            self.roll_indent(column, Some(key.token), Kind::BlockMappingStart, key.mark)?;
            self.simple_keys[level].possible = false;
            self.simple_key_allowed = false;
        } else {
            if !self.in_flow() {
                if !self.simple_key_allowed {
                    return Err(self.error("mapping values are not allowed in this context"));
                }
                self.roll_indent(self.column(), None, Kind::BlockMappingStart, self.mark)?;
            }
            self.simple_key_allowed = !self.in_flow();
        }
        self.push(Kind::Value, self.mark);
        self.skip();
        Ok(())
    }

    fn fetch_anchor(&mut self, alias: bool) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.mark;
        self.skip();
        let from = self.at;
        while is_word(self.byte(0)) {
            self.skip();
        }
        let name = &self.text[from..self.at];
        let ends = self.is_blankz(0)
            || matches!(self.byte(0), b'?' | b':' | b',' | b']' | b'}' | b'%' | b'@' | b'`');
        if name.is_empty() || !ends {
            return Err(
                self.error_in(start, "did not find expected alphabetic or numeric character")
            );
        }
        self.push(if alias { Kind::Alias(name) } else { Kind::Anchor(name) }, start);
        Ok(())
    }

    fn fetch_block_scalar(&mut self, literal: bool) -> Result<(), YamlError> {
        self.remove_simple_key()?;
        self.simple_key_allowed = true;
        let start = self.mark;
        let text = self.scan_block_scalar(literal)?;
        self.push(Kind::Scalar { text, plain: false }, start);
        Ok(())
    }

    fn fetch_flow_scalar(&mut self, single: bool) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.mark;
        let text = self.scan_flow_scalar(single)?;
        self.push(Kind::Scalar { text, plain: false }, start);
        Ok(())
    }

    fn fetch_plain_scalar(&mut self) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.mark;
        let text = self.scan_plain_scalar()?;
        self.push(Kind::Scalar { text, plain: true }, start);
        Ok(())
    }

    // -- scalars ----------------------------------------------------------------------------------

    fn scan_block_scalar(&mut self, literal: bool) -> Result<Cow<'a, str>, YamlError> {
        let start = self.mark;
        self.skip();
        let mut chomp = 0u8;
        let mut increment = 0usize;
        for _ in 0..2 {
            match self.byte(0) {
                sign @ (b'+' | b'-') if chomp == 0 => chomp = sign,
                b'0' if increment == 0 => {
                    return Err(self.error_in(start, "found an indentation indicator equal to 0"));
                }
                digit @ b'1'..=b'9' if increment == 0 => increment = usize::from(digit - b'0'),
                _ => break,
            }
            self.skip();
        }
        while is_blank(self.byte(0)) {
            self.skip();
        }
        self.skip_comment();
        if !self.is_breakz(0) {
            return Err(self.error_in(start, "did not find expected comment or line break"));
        }
        self.skip_line();

        let parent = usize::try_from(self.indent).unwrap_or(0);
        let mut indent = if increment > 0 { parent + increment } else { 0 };
        let mut text = String::new();
        let mut leading_break = String::new();
        let mut trailing_breaks = String::new();
        self.scan_block_breaks(&mut indent, &mut trailing_breaks, start)?;
        let mut leading_blank = false;
        while self.mark.column == indent && self.at < self.bytes.len() {
            let trailing_blank = is_blank(self.byte(0));
            if !literal && !leading_blank && !trailing_blank && leading_break.starts_with('\n') {
                if trailing_breaks.is_empty() {
                    text.push(' ');
                }
            } else {
                text.push_str(&leading_break);
            }
            leading_break.clear();
            text.push_str(&trailing_breaks);
            trailing_breaks.clear();
            leading_blank = is_blank(self.byte(0));
            let from = self.at;
            while !self.is_breakz(0) {
                self.skip();
            }
            text.push_str(&self.text[from..self.at]);
            self.read_line(&mut leading_break);
            self.scan_block_breaks(&mut indent, &mut trailing_breaks, start)?;
        }
        if chomp != b'-' {
            text.push_str(&leading_break);
        }
        if chomp == b'+' {
            text.push_str(&trailing_breaks);
        }
        Ok(Cow::Owned(text))
    }

    /// Skips the indentation of a block scalar's next line and collects empty lines before it.
    fn scan_block_breaks(
        &mut self,
        indent: &mut usize,
        breaks: &mut String,
        start: Mark,
    ) -> Result<(), YamlError> {
        let mut deepest = 0;
        loop {
            while (*indent == 0 || self.mark.column < *indent) && self.byte(0) == b' ' {
                self.skip();
            }
            deepest = deepest.max(self.mark.column);
            if (*indent == 0 || self.mark.column < *indent) && self.byte(0) == b'\t' {
                return Err(self.error_in(
                    start,
                    "found a tab character where an indentation space is expected",
                ));
            }
            if self.break_len(0) == 0 {
                break;
            }
            self.read_line(breaks);
        }
        if *indent == 0 {
            let parent = usize::try_from(self.indent + 1).unwrap_or(0);
            *indent = deepest.max(parent).max(1);
        }
        Ok(())
    }

    fn scan_flow_scalar(&mut self, single: bool) -> Result<Cow<'a, str>, YamlError> {
        let start = self.mark;
        self.skip();
        let quote = if single { b'\'' } else { b'"' };
        // Most scalars end in their line and have no escape: borrow them.
        let from = self.at;
        let plain_end = self.bytes[from..].iter().position(|byte| {
            *byte == quote
                || matches!(byte, b'\n' | b'\r' | 0xC2 | 0xE2)
                || (*byte == b'\\' && !single)
        });
        if let Some(length) = plain_end
            && self.bytes[from + length] == quote
            && !(single && self.bytes.get(from + length + 1) == Some(&b'\''))
            && from > 0
        {
            let text = &self.text[from..from + length];
            let n_chars = if text.is_ascii() { length } else { text.chars().count() };
            self.at += length;
            self.mark.index += n_chars;
            self.mark.column += n_chars;
            self.skip();
            return Ok(Cow::Borrowed(text));
        }
        let mut text = String::new();
        loop {
            if self.starts_document_marker(b'-') || self.starts_document_marker(b'.') {
                return Err(self.error_in(start, "found unexpected document indicator"));
            }
            if self.at >= self.bytes.len() {
                return Err(self.error_in(start, "found unexpected end of stream"));
            }
            let mut leading_blanks = false;
            while !self.is_blankz(0) {
                let byte = self.byte(0);
                if single && byte == b'\'' && self.byte(1) == b'\'' {
                    text.push('\'');
                    self.skip_n(2);
                } else if byte == quote {
                    break;
                } else if !single && byte == b'\\' && self.break_len(1) > 0 {
                    self.skip();
                    self.skip_line();
                    leading_blanks = true;
                    break;
                } else if !single && byte == b'\\' {
                    self.scan_escape(&mut text, start)?;
                } else {
                    self.read(&mut text);
                }
            }
            if self.byte(0) == quote {
                break;
            }
            let mut whitespaces = String::new();
            let mut leading_break = String::new();
            let mut trailing_breaks = String::new();
            loop {
                if is_blank(self.byte(0)) {
                    if leading_blanks {
                        self.skip();
                    } else {
                        self.read(&mut whitespaces);
                    }
                } else if self.break_len(0) > 0 {
                    if leading_blanks {
                        self.read_line(&mut trailing_breaks);
                    } else {
                        whitespaces.clear();
                        self.read_line(&mut leading_break);
                        leading_blanks = true;
                    }
                } else {
                    break;
                }
            }
            if leading_blanks {
                fold(&mut text, &leading_break, &trailing_breaks);
            } else {
                text.push_str(&whitespaces);
            }
        }
        self.skip();
        Ok(Cow::Owned(text))
    }

    fn scan_escape(&mut self, text: &mut String, start: Mark) -> Result<(), YamlError> {
        let mut n_digits = 0;
        match self.byte(1) {
            b'0' => text.push('\0'),
            b'a' => text.push('\x07'),
            b'b' => text.push('\x08'),
            b't' | b'\t' => text.push('\t'),
            b'n' => text.push('\n'),
            b'v' => text.push('\x0B'),
            b'f' => text.push('\x0C'),
            b'r' => text.push('\r'),
            b'e' => text.push('\x1B'),
            byte @ (b' ' | b'"' | b'\'' | b'\\') => text.push(char::from(byte)),
            b'N' => text.push('\u{85}'),
            b'_' => text.push('\u{A0}'),
            b'L' => text.push('\u{2028}'),
            b'P' => text.push('\u{2029}'),
            b'x' => n_digits = 2,
            b'u' => n_digits = 4,
            b'U' => n_digits = 8,
            _ => return Err(self.error_in(start, "found unknown escape character")),
        }
        self.skip_n(2);
        if n_digits > 0 {
            let mut value = 0u32;
            for ahead in 0..n_digits {
                let Some(digit) = char::from(self.byte(ahead)).to_digit(16) else {
                    return Err(self.error_in(start, "did not find expected hexdecimal number"));
                };
                value = value.wrapping_shl(4) | digit;
            }
            let Some(c) = char::from_u32(value) else {
                return Err(self.error_in(start, "found invalid Unicode character escape code"));
            };
            text.push(c);
            self.skip_n(n_digits);
        }
        Ok(())
    }

    fn scan_plain_scalar(&mut self) -> Result<Cow<'a, str>, YamlError> {
        let start = self.mark;
        let indent = self.indent + 1;
        let in_flow = self.in_flow();
        let mut text: Cow<'a, str> = Cow::Borrowed("");
        let mut leading_blanks = false;
        let mut whitespaces: &'a str = "";
        let mut leading_break = String::new();
        let mut trailing_breaks = String::new();
        loop {
            if self.starts_document_marker(b'-') || self.starts_document_marker(b'.') {
                break;
            }
            if self.byte(0) == b'#' {
                break;
            }
            let from = self.at;
            let mut n_chars = 0;
            loop {
                let byte = self.byte(0);
                if is_ordinary(byte) {
                    self.at += 1;
                    n_chars += usize::from(byte & 0xC0 != 0x80);
                    continue;
                }
                let ends = self.is_blankz(0)
                    || (byte == b':' && self.is_blankz(1))
                    || (in_flow && matches!(byte, b',' | b'?' | b'[' | b']' | b'{' | b'}'));
                if ends {
                    break;
                }
                self.at += 1;
                n_chars += 1;
            }
            if self.at > from {
                self.mark.index += n_chars;
                self.mark.column += n_chars;
                let piece = &self.text[from..self.at];
                if leading_blanks {
                    let owned = text.to_mut();
                    fold(owned, &leading_break, &trailing_breaks);
                    leading_break.clear();
                    trailing_breaks.clear();
                    leading_blanks = false;
                    owned.push_str(piece);
                } else if text.is_empty() {
                    text = Cow::Borrowed(piece);
                } else if let Cow::Borrowed(before) = text {
                    // Pieces of one line are neighbours in the text: one longer borrow.
                    let first = from - whitespaces.len() - before.len();
                    text = Cow::Borrowed(&self.text[first..self.at]);
                } else {
                    let owned = text.to_mut();
                    owned.push_str(whitespaces);
                    owned.push_str(piece);
                }
                whitespaces = "";
            }
            if !is_blank(self.byte(0)) && self.break_len(0) == 0 {
                break;
            }
            let blanks_from = self.at;
            loop {
                if is_blank(self.byte(0)) {
                    if leading_blanks && self.column() < indent && self.byte(0) == b'\t' {
                        return Err(
                            self.error_in(start, "found a tab character that violates indentation")
                        );
                    }
                    self.skip();
                    if !leading_blanks {
                        whitespaces = &self.text[blanks_from..self.at];
                    }
                } else if self.break_len(0) > 0 {
                    if leading_blanks {
                        self.read_line(&mut trailing_breaks);
                    } else {
                        whitespaces = "";
                        self.read_line(&mut leading_break);
                        leading_blanks = true;
                    }
                } else {
                    break;
                }
            }
            if !in_flow && self.column() < indent {
                break;
            }
        }
        if leading_blanks {
            self.simple_key_allowed = true;
        }
        Ok(text)
    }
}

/// Joins two lines of a flow scalar: one break becomes a space, more keep all but the first.
fn fold(text: &mut String, leading_break: &str, trailing_breaks: &str) {
    if leading_break.starts_with('\n') {
        if trailing_breaks.is_empty() {
            text.push(' ');
        } else {
            text.push_str(trailing_breaks);
        }
    } else {
        text.push_str(leading_break);
        text.push_str(trailing_breaks);
    }
}
