//! Scanning of directives and tags, which manifests hardly ever have.

use super::YamlError;
use super::scan::{Kind, Mark, Scanner, is_blank, is_word};

impl Scanner<'_> {
    pub(super) fn fetch_directive(&mut self) -> Result<(), YamlError> {
        self.unroll_indent(-1);
        self.remove_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.mark;
        self.skip();
        let mut name = String::new();
        while is_word(self.byte(0)) {
            self.read(&mut name);
        }
        if name.is_empty() {
            return Err(self.error_in(start, "could not find expected directive name"));
        }
        if !self.is_blankz(0) {
            return Err(self.error_in(start, "found unexpected non-alphabetical character"));
        }
        self.skip_blanks();
        let kind = match name.as_str() {
            "YAML" => {
                let major = self.scan_version_number(start)?;
                if self.byte(0) != b'.' {
                    return Err(
                        self.error_in(start, "did not find expected digit or '.' character")
                    );
                }
                self.skip();
                Kind::VersionDirective { major, minor: self.scan_version_number(start)? }
            }
            "TAG" => {
                let handle = self.scan_tag_handle(true, start)?;
                if !is_blank(self.byte(0)) {
                    return Err(self.error_in(start, "did not find expected whitespace"));
                }
                self.skip_blanks();
                let prefix = self.scan_tag_uri("", start)?;
                if !self.is_blankz(0) {
                    return Err(
                        self.error_in(start, "did not find expected whitespace or line break")
                    );
                }
                Kind::TagDirective { handle, prefix }
            }
            _ => return Err(self.error_in(start, "found unknown directive name")),
        };
        self.skip_blanks();
        self.skip_comment();
        if !self.is_breakz(0) {
            return Err(self.error_in(start, "did not find expected comment or line break"));
        }
        self.skip_line();
        self.push(kind, start);
        Ok(())
    }

    fn skip_blanks(&mut self) {
        while is_blank(self.byte(0)) {
            self.skip();
        }
    }

    fn scan_version_number(&mut self, start: Mark) -> Result<u8, YamlError> {
        let mut value = 0u8;
        let mut n_digits = 0;
        while self.byte(0).is_ascii_digit() {
            n_digits += 1;
            if n_digits > 2 {
                return Err(self.error_in(start, "found extremely long version number"));
            }
            value = value * 10 + (self.byte(0) - b'0');
            self.skip();
        }
        if n_digits == 0 {
            return Err(self.error_in(start, "did not find expected version number"));
        }
        Ok(value)
    }

    pub(super) fn fetch_tag(&mut self) -> Result<(), YamlError> {
        self.save_simple_key()?;
        self.simple_key_allowed = false;
        let start = self.mark;
        let kind = if self.byte(1) == b'<' {
            self.skip_n(2);
            let suffix = self.scan_tag_uri("", start)?;
            if self.byte(0) != b'>' {
                return Err(self.error_in(start, "did not find the expected '>'"));
            }
            self.skip();
            Kind::Tag { handle: String::new(), suffix }
        } else {
            let handle = self.scan_tag_handle(false, start)?;
            if handle.len() > 1 && handle.ends_with('!') {
                let suffix = self.scan_tag_uri("", start)?;
                Kind::Tag { handle, suffix }
            } else {
                let suffix = self.scan_tag_uri(&handle, start)?;
                if suffix.is_empty() {
                    Kind::Tag { handle: suffix, suffix: "!".to_owned() }
                } else {
                    Kind::Tag { handle: "!".to_owned(), suffix }
                }
            }
        };
        if !self.is_blankz(0) {
            return Err(self.error_in(start, "did not find expected whitespace or line break"));
        }
        self.push(kind, start);
        Ok(())
    }

    fn scan_tag_handle(&mut self, directive: bool, start: Mark) -> Result<String, YamlError> {
        if self.byte(0) != b'!' {
            return Err(self.error_in(start, "did not find expected '!'"));
        }
        let mut handle = String::new();
        self.read(&mut handle);
        while is_word(self.byte(0)) {
            self.read(&mut handle);
        }
        if self.byte(0) == b'!' {
            self.read(&mut handle);
        } else if directive && handle != "!" {
            return Err(self.error_in(start, "did not find expected '!'"));
        }
        Ok(handle)
    }

    fn scan_tag_uri(&mut self, head: &str, start: Mark) -> Result<String, YamlError> {
        let mut uri = head.get(1..).unwrap_or_default().as_bytes().to_vec();
        let mut found = !head.is_empty();
        loop {
            let byte = self.byte(0);
            if byte == b'%' {
                let digit = |ahead| char::from(self.byte(ahead)).to_digit(16);
                let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                    return Err(self.error_in(start, "did not find URI escaped octet"));
                };
                uri.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                self.skip_n(3);
            } else if is_word(byte) || b";/?:@&=+$,.!~*'()[]".contains(&byte) {
                uri.push(byte);
                self.skip();
            } else {
                break;
            }
            found = true;
        }
        if !found {
            return Err(self.error_in(start, "did not find expected tag URI"));
        }
        String::from_utf8(uri)
            .map_err(|_| self.error_in(start, "found an incorrect leading UTF-8 octet"))
    }
}
