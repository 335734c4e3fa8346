//! What Go's JSON decoder says of a text that is no JSON: the first wrong character and where it stands.
//!
//! A scanner with the states of Go's `encoding/json`; it is asked only once our own parser has refused a text.

/// `invalid character 't' after top-level value`; `None` when nothing is wrong.
pub(crate) fn syntax_error(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0 };
    match scanner.document() {
        Ok(()) => None,
        Err(Fault::End) => Some("unexpected end of JSON input".to_owned()),
        Err(Fault::Character(context)) => {
            let found = text.get(scanner.at).copied().unwrap_or_default();
            Some(format!("invalid character {} {context}", quoted(found)))
        }
    }
}

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        // Go makes a rune of the one byte.
        _ => format!("'{}'", char::from(byte)),
    }
}

enum Fault {
    End,
    Character(String),
}

type Step = Result<(), Fault>;

fn wrong<T>(context: &str) -> Result<T, Fault> {
    Err(Fault::Character(context.to_owned()))
}

/// As deep as Go's decoder goes.
const MAX_DEPTH: usize = 10_000;

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Step {
        self.value()?;
        self.skip_space();
        if self.at < self.text.len() { wrong("after top-level value") } else { Ok(()) }
    }

    fn skip_space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn peek(&self) -> Result<u8, Fault> {
        self.text.get(self.at).copied().ok_or(Fault::End)
    }

    /// One value, without recursion: a deep text must not exhaust the stack.
    fn value(&mut self) -> Step {
        let mut open: Vec<u8> = Vec::new();
        loop {
            self.skip_space();
            match self.peek()? {
                b'{' => {
                    self.at += 1;
                    self.skip_space();
                    if self.peek()? == b'}' {
                        self.at += 1;
                    } else {
                        self.key()?;
                        open.push(b'{');
                        self.depth(&open)?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    self.skip_space();
                    if self.peek()? == b']' {
                        self.at += 1;
                    } else {
                        open.push(b'[');
                        self.depth(&open)?;
                        continue;
                    }
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.literal("true")?,
                b'f' => self.literal("false")?,
                b'n' => self.literal("null")?,
                _ => return wrong("looking for beginning of value"),
            }
            if !self.close(&mut open)? {
                return Ok(());
            }
        }
    }

    fn depth(&self, open: &[u8]) -> Step {
        if open.len() > MAX_DEPTH { wrong("exceeded max depth") } else { Ok(()) }
    }

    /// After a value: whether another one follows.
    fn close(&mut self, open: &mut Vec<u8>) -> Result<bool, Fault> {
        loop {
            let Some(container) = open.last().copied() else { return Ok(false) };
            self.skip_space();
            match (container, self.peek()?) {
                (b'{', b',') => {
                    self.at += 1;
                    self.key()?;
                    return Ok(true);
                }
                (b'[', b',') => {
                    self.at += 1;
                    return Ok(true);
                }
                (b'{', b'}') | (b'[', b']') => {
                    self.at += 1;
                    open.pop();
                }
                (b'{', _) => return wrong("after object key:value pair"),
                _ => return wrong("after array element"),
            }
        }
    }

    fn key(&mut self) -> Step {
        self.skip_space();
        if self.peek()? != b'"' {
            return wrong("looking for beginning of object key string");
        }
        self.string()?;
        self.skip_space();
        if self.peek()? != b':' {
            return wrong("after object key");
        }
        self.at += 1;
        Ok(())
    }

    fn string(&mut self) -> Step {
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.peek()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                        b'u' => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek()?.is_ascii_hexdigit() {
                                    return wrong("in \\u hexadecimal character escape");
                                }
                                self.at += 1;
                            }
                        }
                        _ => return wrong("in string escape code"),
                    }
                }
                0..0x20 => return wrong("in string literal"),
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Step {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return wrong("in numeric literal"),
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            if !self.peek()?.is_ascii_digit() {
                return wrong("after decimal point in numeric literal");
            }
            self.digits();
        }
        if matches!(self.text.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            if !self.peek()?.is_ascii_digit() {
                return wrong("in exponent of numeric literal");
            }
            self.digits();
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn literal(&mut self, word: &str) -> Step {
        for expected in word.bytes() {
            if self.peek()? != expected {
                let expected = char::from(expected);
                return wrong(&format!("in literal {word} (expecting '{expected}')"));
            }
            self.at += 1;
        }
        Ok(())
    }
}
