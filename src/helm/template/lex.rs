//! The lexer of templates: Go's tokens, positions and messages.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Error,
    Bool,
    Char,
    CharConstant,
    Complex,
    Assign,
    Declare,
    Eof,
    Field,
    Identifier,
    LeftDelim,
    LeftParen,
    Number,
    Pipe,
    RawString,
    RightDelim,
    RightParen,
    Space,
    String,
    Text,
    Variable,
    Block,
    Break,
    Continue,
    Dot,
    Define,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

impl Kind {
    fn is_keyword(self) -> bool {
        matches!(
            self,
            Self::Block
                | Self::Break
                | Self::Continue
                | Self::Dot
                | Self::Define
                | Self::Else
                | Self::End
                | Self::If
                | Self::Nil
                | Self::Range
                | Self::Template
                | Self::With
        )
    }

    fn keyword(word: &str) -> Option<Self> {
        Some(match word {
            "block" => Self::Block,
            "break" => Self::Break,
            "continue" => Self::Continue,
            "define" => Self::Define,
            "else" => Self::Else,
            "end" => Self::End,
            "if" => Self::If,
            "nil" => Self::Nil,
            "range" => Self::Range,
            "template" => Self::Template,
            "with" => Self::With,
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// Byte offset in the text.
    pub(super) at: usize,
    pub(super) text: String,
    /// 1-based.
    pub(super) line: usize,
}

impl std::fmt::Display for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.kind {
            Kind::Eof => f.write_str("EOF"),
            Kind::Error => f.write_str(&self.text),
            kind if kind.is_keyword() => write!(f, "<{}>", self.text),
            _ if self.text.len() > 10 => {
                let mut end = 10;
                while !self.text.is_char_boundary(end) {
                    end -= 1;
                }
                write!(f, "{}...", super::text::quote(&self.text[..end]))
            }
            _ => f.write_str(&super::text::quote(&self.text)),
        }
    }
}

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    start: usize,
    line: usize,
    start_line: usize,
    parens: usize,
    inside: bool,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn is_alphanumeric(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn has_left_trim(text: &str) -> bool {
    matches!(text.as_bytes(), [b'-', b' ' | b'\t' | b'\r' | b'\n', ..])
}

fn has_right_trim(text: &str) -> bool {
    matches!(text.as_bytes(), [b' ' | b'\t' | b'\r' | b'\n', b'-', ..])
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, start: 0, line: 1, start_line: 1, parens: 0, inside: false }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn accept(&mut self, valid: &str) -> bool {
        let found = self.peek().is_some_and(|c| valid.contains(c));
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, valid: &str) {
        while self.accept(valid) {}
    }

    fn item(&mut self, kind: Kind) -> Item {
        let item = Item {
            kind,
            at: self.start,
            text: self.text[self.start..self.at].to_owned(),
            line: self.start_line,
        };
        self.start = self.at;
        self.start_line = self.line;
        item
    }

    /// Skips what was scanned since the start of the item; `lines` counts its line breaks.
    fn ignore(&mut self, lines: bool) {
        if lines {
            self.line += self.text[self.start..self.at].matches('\n').count();
        }
        self.start = self.at;
        self.start_line = self.line;
    }

    fn error(&mut self, message: String) -> Item {
        let item = Item { kind: Kind::Error, at: self.start, text: message, line: self.start_line };
        self.text = "";
        self.at = 0;
        self.start = 0;
        item
    }

    /// The next token; `Eof` or `Error` is the last.
    pub(super) fn next_item(&mut self) -> Item {
        loop {
            let item = if self.inside { Some(self.inside_action()) } else { self.outside() };
            if let Some(item) = item {
                return item;
            }
        }
    }

    /// Text up to the next action, or the start of the action. `None` after a comment.
    fn outside(&mut self) -> Option<Item> {
        let Some(x) = self.rest().find("{{") else {
            self.at = self.text.len();
            if self.at > self.start {
                self.line += self.text[self.start..self.at].matches('\n').count();
                return Some(self.item(Kind::Text));
            }
            return Some(Item {
                kind: Kind::Eof,
                at: self.at,
                text: "EOF".into(),
                line: self.start_line,
            });
        };
        if x > 0 {
            let delim = self.at + x;
            let trimmed = if has_left_trim(&self.text[delim + 2..]) {
                let before = &self.text[self.start..delim];
                before.len() - before.trim_end_matches(is_space).len()
            } else {
                0
            };
            self.at = delim - trimmed;
            self.line += self.text[self.start..self.at].matches('\n').count();
            let item = self.item(Kind::Text);
            self.at = delim;
            self.ignore(true);
            if !item.text.is_empty() {
                return Some(item);
            }
        }
        self.at += 2;
        let after_marker = if has_left_trim(self.rest()) { 2 } else { 0 };
        if self.text[self.at + after_marker..].starts_with("/*") {
            self.at += after_marker;
            self.ignore(true);
            return self.comment();
        }
        let item = self.item(Kind::LeftDelim);
        self.inside = true;
        self.at += after_marker;
        self.ignore(true);
        self.parens = 0;
        Some(item)
    }

    fn comment(&mut self) -> Option<Item> {
        self.at += 2;
        let Some(x) = self.rest().find("*/") else {
            return Some(self.error("unclosed comment".to_owned()));
        };
        self.at += x + 2;
        let Some(trim) = self.at_right_delim() else {
            return Some(self.error("comment ends before closing delimiter".to_owned()));
        };
        self.close_delim(trim);
        self.ignore(true);
        None
    }

    /// Whether a right delimiter stands here, and whether it trims.
    fn at_right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if has_right_trim(rest) && rest[2..].starts_with("}}") {
            Some(true)
        } else if rest.starts_with("}}") {
            Some(false)
        } else {
            None
        }
    }

    fn close_delim(&mut self, trim: bool) {
        self.at += if trim { 4 } else { 2 };
        if trim {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(is_space).len();
        }
    }

    fn right_delim(&mut self, trim: bool) -> Item {
        if trim {
            self.at += 2;
            self.ignore(true);
        }
        self.at += 2;
        let item = self.item(Kind::RightDelim);
        if trim {
            let rest = self.rest();
            self.at += rest.len() - rest.trim_start_matches(is_space).len();
            self.ignore(true);
        }
        self.inside = false;
        item
    }

    fn inside_action(&mut self) -> Item {
        if let Some(trim) = self.at_right_delim() {
            if self.parens == 0 {
                return self.right_delim(trim);
            }
            return self.error("unclosed left paren".to_owned());
        }
        let Some(c) = self.peek() else { return self.error("unclosed action".to_owned()) };
        match c {
            c if is_space(c) => return self.space(),
            '.' => {
                let next = self.text.as_bytes().get(self.at + 1);
                if next.is_some_and(|next| !next.is_ascii_digit()) {
                    self.next();
                    return self.field_or_variable(Kind::Field);
                }
                return self.number();
            }
            '+' | '-' | '0'..='9' => return self.number(),
            c if is_alphanumeric(c) => return self.identifier(),
            _ => {}
        }
        self.next();
        match c {
            '=' => self.item(Kind::Assign),
            ':' => {
                if self.next() != Some('=') {
                    return self.error("expected :=".to_owned());
                }
                self.item(Kind::Declare)
            }
            '|' => self.item(Kind::Pipe),
            '"' => self.quoted('"', "unterminated quoted string", Kind::String),
            '\'' => self.quoted('\'', "unterminated character constant", Kind::CharConstant),
            '`' => {
                loop {
                    match self.next() {
                        None => return self.error("unterminated raw quoted string".to_owned()),
                        Some('`') => break,
                        Some(_) => {}
                    }
                }
                self.item(Kind::RawString)
            }
            '$' => {
                if self.at_terminator() {
                    return self.item(Kind::Variable);
                }
                self.field_or_variable(Kind::Variable)
            }
            '(' => {
                self.parens += 1;
                self.item(Kind::LeftParen)
            }
            ')' => {
                if self.parens == 0 {
                    return self.error("unexpected right paren".to_owned());
                }
                self.parens -= 1;
                self.item(Kind::RightParen)
            }
            ' '..='~' => self.item(Kind::Char),
            c => self.error(format!("unrecognized character in action: {}", name_of(Some(c)))),
        }
    }

    fn quoted(&mut self, end: char, message: &str, kind: Kind) -> Item {
        loop {
            match self.next() {
                Some('\\') => {
                    if matches!(self.next(), None | Some('\n')) {
                        return self.error(message.to_owned());
                    }
                }
                None | Some('\n') => return self.error(message.to_owned()),
                Some(c) if c == end => return self.item(kind),
                Some(_) => {}
            }
        }
    }

    fn space(&mut self) -> Item {
        let mut n = 0;
        while self.peek().is_some_and(is_space) {
            self.next();
            n += 1;
        }
        let last = self.at - 1;
        let tail = &self.text[last..];
        if has_right_trim(tail) && tail[2..].starts_with("}}") {
            let newline = self.text.as_bytes()[last] == b'\n';
            self.at = last;
            self.line -= usize::from(newline);
            if n == 1 {
                return self.right_delim(true);
            }
        }
        self.item(Kind::Space)
    }

    fn identifier(&mut self) -> Item {
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        if !self.at_terminator() {
            let message = format!("bad character {}", name_of(self.peek()));
            return self.error(message);
        }
        let word = &self.text[self.start..self.at];
        let kind = match word {
            "true" | "false" => Kind::Bool,
            word => Kind::keyword(word).unwrap_or(Kind::Identifier),
        };
        self.item(kind)
    }

    fn field_or_variable(&mut self, kind: Kind) -> Item {
        if self.at_terminator() {
            return self.item(if kind == Kind::Variable { kind } else { Kind::Dot });
        }
        while self.peek().is_some_and(is_alphanumeric) {
            self.next();
        }
        if !self.at_terminator() {
            let message = format!("bad character {}", name_of(self.peek()));
            return self.error(message);
        }
        self.item(kind)
    }

    fn at_terminator(&self) -> bool {
        match self.peek() {
            None | Some('.' | ',' | '|' | ':' | ')' | '(') => true,
            Some(c) => is_space(c) || self.rest().starts_with("}}"),
        }
    }

    fn number(&mut self) -> Item {
        let ok = self.scan_number();
        let mut complex = false;
        let ok = ok
            && match self.peek() {
                Some('+' | '-') => {
                    complex = true;
                    self.scan_number() && self.text[..self.at].ends_with('i')
                }
                _ => true,
            };
        if !ok {
            let text = super::text::quote(&self.text[self.start..self.at]);
            return self.error(format!("bad number syntax: {text}"));
        }
        self.item(if complex { Kind::Complex } else { Kind::Number })
    }

    fn scan_number(&mut self) -> bool {
        self.accept("+-");
        let mut digits = "0123456789_";
        if self.accept("0") {
            if self.accept("xX") {
                digits = "0123456789abcdefABCDEF_";
            } else if self.accept("oO") {
                digits = "01234567_";
            } else if self.accept("bB") {
                digits = "01_";
            }
        }
        self.accept_run(digits);
        if self.accept(".") {
            self.accept_run(digits);
        }
        let exponent = match digits.len() {
            11 => "eE",
            23 => "pP",
            _ => "",
        };
        if !exponent.is_empty() && self.accept(exponent) {
            self.accept("+-");
            self.accept_run("0123456789_");
        }
        self.accept("i");
        if self.peek().is_some_and(is_alphanumeric) {
            self.next();
            return false;
        }
        true
    }
}

/// Go's `%#U`.
fn name_of(c: Option<char>) -> String {
    match c {
        None => "U+FFFFFFFFFFFFFFFF".to_owned(),
        Some(c) if super::text::is_print(c) => format!("U+{:04X} '{c}'", u32::from(c)),
        Some(c) => format!("U+{:04X}", u32::from(c)),
    }
}
