//! Which bracket of a script is still open at a place: what a compile error about a missing end leaves out.

use std::iter::Peekable;
use std::str::Chars;

/// The place (line and column, from 1) of the innermost `wanted` bracket that is open before `end`.
pub(super) fn open_at(text: &str, wanted: char, end: (usize, usize)) -> Option<(usize, usize)> {
    let mut reader = Reader { rest: text.chars().peekable(), line: 1, column: 1 };
    let mut open: Vec<(char, (usize, usize))> = Vec::new();
    loop {
        let at = (reader.line, reader.column);
        if at >= end {
            break;
        }
        let Some(letter) = reader.next() else { break };
        match letter {
            '/' if reader.rest.peek() == Some(&'/') => reader.skip_line(),
            '/' if reader.rest.peek() == Some(&'*') => reader.skip_comment(),
            '"' | '`' | '\'' => reader.skip_quoted(letter),
            '(' | '[' | '{' => open.push((letter, at)),
            ')' | ']' | '}' => {
                open.pop();
            }
            _ => {}
        }
    }
    open.into_iter().rev().find(|(letter, _)| *letter == wanted).map(|(_, at)| at)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
    column: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.next()?;
        if letter == '\n' {
            self.line += 1;
            self.column = 1;
        } else {
            self.column += 1;
        }
        Some(letter)
    }

    fn skip_line(&mut self) {
        while self.rest.peek().is_some_and(|letter| *letter != '\n') {
            self.next();
        }
    }

    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        let mut last = '/';
        while let Some(letter) = self.next() {
            match (last, letter) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth = depth.saturating_sub(1),
                _ => {
                    last = letter;
                    continue;
                }
            }
            if depth == 0 {
                return;
            }
            last = ' ';
        }
    }

    /// Up to the closing quote; an interpolation between backticks counts as text.
    fn skip_quoted(&mut self, quote: char) {
        while let Some(letter) = self.next() {
            if letter == quote {
                return;
            }
            if letter == '\\' && quote != '`' {
                self.next();
            }
        }
    }
}
