//! The text of a script as commands: the part of POSIX sh that the commands of pods are written in.
//!
//! Here documents, functions, `case`, patterns and jobs are not read: a script with them is refused as a whole, and a container
//! that runs it just runs.

/// A piece of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Text(String),
    /// `$NAME`, `${NAME}`, `${NAME:-otherwise}`
    Variable {
        name: String,
        otherwise: String,
    },
    /// `$(…)`
    Output(List),
    /// `$((…))`
    Sum(String),
}

/// A word before it is expanded; pieces that are quoted are not split.
pub(super) type Word = Vec<(Piece, bool)>;

/// A stream and where it goes or comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Redirect {
    Input(Word),
    Output {
        stream: u8,
        append: bool,
        path: Word,
    },
    /// `2>&1`: a stream goes where another one goes.
    Same {
        stream: u8,
        other: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Simple { assignments: Vec<(String, Word)>, words: Vec<Word> },
    For { name: String, words: Vec<Word>, body: List },
    While { wanted: bool, condition: List, body: List },
    If { branches: Vec<(List, List)>, otherwise: List },
    Group { body: List, subshell: bool },
}

/// A command and its redirections.
pub(super) type Stage = (Command, Vec<Redirect>);

/// When a pipeline runs, judged by the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Anything,
    Success,
    Failure,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pipeline {
    pub(super) after: After,
    /// `!` before it.
    pub(super) negated: bool,
    pub(super) stages: Vec<Stage>,
}

pub(super) type List = Vec<Pipeline>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    /// `;`, `&&`, `|`, a newline, …
    Sign(&'static str),
    /// The stream's number stands before it: `2>`.
    Redirect(u8, &'static str),
}

/// Why a text is no script, in the words of sh.
pub(super) type Refusal = String;

/// How deep commands may lie in one another.
const MAX_DEPTH: usize = 40;

/// Reads a script.
pub(super) fn script(text: &str) -> Result<List, Refusal> {
    nested(text, 0)
}

fn nested(text: &str, depth: usize) -> Result<List, Refusal> {
    if depth > MAX_DEPTH {
        return Err("nested too deep".to_owned());
    }
    let mut reader = Reader { tokens: tokens(text, depth)?, at: 0, depth };
    let list = reader.list(&[])?;
    match reader.next() {
        None => Ok(list),
        Some(token) => Err(unexpected(&token)),
    }
}

/// Whether a text only lacks its end.
pub(super) fn is_unfinished(why: &str) -> bool {
    ["unexpected end of file", "unterminated", "missing"].iter().any(|word| why.contains(word))
}

fn unexpected(token: &Token) -> Refusal {
    let shown = match token {
        Token::Word(word) => literal(word).unwrap_or_default(),
        Token::Sign("\n") => "newline".to_owned(),
        Token::Sign(sign) | Token::Redirect(_, sign) => (*sign).to_owned(),
    };
    format!("syntax error: unexpected \"{shown}\"")
}

/// The text of a word without quotes and variables.
pub(super) fn literal(word: &Word) -> Option<String> {
    match word.as_slice() {
        [(Piece::Text(text), false)] => Some(text.clone()),
        _ => None,
    }
}

fn tokens(text: &str, depth: usize) -> Result<Vec<Token>, Refusal> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if c == ' ' || c == '\t' || c == '\r' {
            rest = &rest[1..];
        } else if let Some(after) = rest.strip_prefix("\\\n") {
            rest = after;
        } else if c == '#' {
            rest = rest.find('\n').map_or("", |end| &rest[end..]);
        } else if let Some((token, after)) = redirect(rest) {
            found.push(token);
            rest = after;
        } else if let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
            found.push(Token::Sign(sign));
            rest = &rest[sign.len()..];
        } else {
            let (word, after) = word(rest, depth)?;
            found.push(Token::Word(word));
            rest = after;
        }
    }
    Ok(found)
}

/// Longer ones first.
const SIGNS: &[&str] = &["&&", "||", ";", "|", "&", "(", ")", "\n"];

fn redirect(text: &str) -> Option<(Token, &str)> {
    let (stream, rest) = match text.as_bytes() {
        [digit @ b'0'..=b'2', b'<' | b'>', ..] => (Some(digit - b'0'), &text[1..]),
        _ => (None, text),
    };
    for (sign, default) in [(">&1", 1), (">&2", 1), (">>", 1), (">", 1), ("<<", 0), ("<", 0)] {
        if let Some(after) = rest.strip_prefix(sign) {
            return Some((Token::Redirect(stream.unwrap_or(default), sign), after));
        }
    }
    None
}

/// Reads one word from the beginning of a text.
fn word(text: &str, depth: usize) -> Result<(Word, &str), Refusal> {
    let mut pieces: Word = Vec::new();
    let mut rest = text;
    let mut quoted = false;
    let put = |pieces: &mut Word, text: &str, quoted: bool| match pieces.last_mut() {
        Some((Piece::Text(last), same)) if *same == quoted => last.push_str(text),
        _ => pieces.push((Piece::Text(text.to_owned()), quoted)),
    };
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '"' => {
                quoted = !quoted;
                // An empty pair of quotes is a word, too.
                put(&mut pieces, "", true);
                rest = after;
            }
            '\'' if !quoted => {
                let end = after.find('\'').ok_or("syntax error: unterminated quoted string")?;
                put(&mut pieces, &after[..end], true);
                rest = &after[end + 1..];
            }
            '\\' => {
                let next = after.chars().next().unwrap_or('\\');
                let kept = quoted && !matches!(next, '"' | '\\' | '$' | '`' | '\n');
                if kept {
                    put(&mut pieces, "\\", true);
                }
                if next != '\n' {
                    put(&mut pieces, next.encode_utf8(&mut [0; 4]), true);
                }
                rest = after.get(next.len_utf8()..).unwrap_or_default();
            }
            '$' => {
                let (piece, after) = dollar(after, depth)?;
                match piece {
                    Some(piece) => pieces.push((piece, quoted)),
                    None => put(&mut pieces, "$", quoted),
                }
                rest = after;
            }
            '`' => return Err("backquotes are not read here; write $(…)".to_owned()),
            _ if !quoted && (c.is_whitespace() || ";|&()<>".contains(c)) => break,
            _ => {
                put(&mut pieces, &rest[..c.len_utf8()], quoted);
                rest = after;
            }
        }
    }
    if quoted {
        return Err("syntax error: unterminated quoted string".to_owned());
    }
    Ok((pieces, rest))
}

/// What follows a `$`; `None` when it stands for itself.
fn dollar(text: &str, depth: usize) -> Result<(Option<Piece>, &str), Refusal> {
    let variable = |name: &str, otherwise: &str| {
        Some(Piece::Variable { name: name.to_owned(), otherwise: otherwise.to_owned() })
    };
    if let Some(rest) = text.strip_prefix("((") {
        let end = rest.find("))").ok_or("syntax error: missing '))'")?;
        return Ok((Some(Piece::Sum(rest[..end].to_owned())), &rest[end + 2..]));
    }
    if let Some(rest) = text.strip_prefix('(') {
        let end = closing(rest).ok_or("syntax error: unterminated $(")?;
        return Ok((Some(Piece::Output(nested(&rest[..end], depth + 1)?)), &rest[end + 1..]));
    }
    if let Some(rest) = text.strip_prefix('{') {
        let end = rest.find('}').ok_or("syntax error: missing '}'")?;
        let inside = &rest[..end];
        let (name, otherwise) = inside.split_once(":-").unwrap_or((inside, ""));
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '?') {
            return Err("syntax error: bad substitution".to_owned());
        }
        return Ok((variable(name, otherwise), &rest[end + 1..]));
    }
    let first = text.chars().next();
    if let Some('?' | '$' | '#' | '@' | '*' | '0'..='9') = first {
        return Ok((variable(&text[..1], ""), &text[1..]));
    }
    let length = text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
    Ok((if length == 0 { None } else { variable(&text[..length], "") }, &text[length..]))
}

/// Where the parenthesis closes that was open before the text.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (1, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<Token> {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned()
    }

    /// The word that stands here, when it is a plain one.
    fn plain(&self) -> Option<String> {
        match self.peek()? {
            Token::Word(word) => literal(word),
            _ => None,
        }
    }

    fn take(&mut self, wanted: &str) -> Result<(), Refusal> {
        if self.plain().as_deref() == Some(wanted) {
            self.at += 1;
            return Ok(());
        }
        Err(self.next().map_or_else(
            || format!("syntax error: unexpected end of file (expecting \"{wanted}\")"),
            |token| unexpected(&token),
        ))
    }

    fn skip(&mut self, signs: &[&str]) {
        while matches!(self.peek(), Some(Token::Sign(sign)) if signs.contains(sign)) {
            self.at += 1;
        }
    }

    /// Pipelines up to one of the words, a closing parenthesis or the end.
    fn list(&mut self, ends: &[&str]) -> Result<List, Refusal> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deep".to_owned());
        }
        let mut found = Vec::new();
        let mut after = After::Anything;
        loop {
            self.skip(if after == After::Anything { &[";", "\n"] } else { &["\n"] });
            let ends_here = match self.peek() {
                None | Some(Token::Sign(")")) => true,
                _ => self.plain().is_some_and(|word| ends.contains(&word.as_str())),
            };
            if ends_here {
                break;
            }
            let mut pipeline = self.pipeline()?;
            pipeline.after = after;
            found.push(pipeline);
            after = match self.peek() {
                Some(Token::Sign("&&")) => After::Success,
                Some(Token::Sign("||")) => After::Failure,
                Some(Token::Sign(";" | "\n")) => After::Anything,
                None | Some(Token::Sign(")")) => break,
                Some(other) => return Err(unexpected(other)),
            };
            self.at += 1;
        }
        self.depth -= 1;
        Ok(found)
    }

    fn pipeline(&mut self) -> Result<Pipeline, Refusal> {
        let negated = self.plain().as_deref() == Some("!");
        if negated {
            self.at += 1;
        }
        let mut stages = vec![self.stage()?];
        while self.peek() == Some(&Token::Sign("|")) {
            self.at += 1;
            self.skip(&["\n"]);
            stages.push(self.stage()?);
        }
        Ok(Pipeline { after: After::Anything, negated, stages })
    }

    fn stage(&mut self) -> Result<Stage, Refusal> {
        if self.peek() == Some(&Token::Sign("(")) {
            self.at += 1;
            let body = self.list(&[])?;
            if self.next() != Some(Token::Sign(")")) {
                return Err("syntax error: missing ')'".to_owned());
            }
            return Ok((Command::Group { body, subshell: true }, self.redirects()?));
        }
        let command = match self.plain().as_deref() {
            Some("{") => {
                self.at += 1;
                let body = self.list(&["}"])?;
                self.take("}")?;
                Command::Group { body, subshell: false }
            }
            Some(word @ ("while" | "until")) => {
                let wanted = word == "while";
                self.at += 1;
                let condition = self.list(&["do"])?;
                Command::While { wanted, condition, body: self.body()? }
            }
            Some("for") => self.count()?,
            Some("if") => self.choice()?,
            Some("case" | "function" | "select") => {
                return Err(unexpected(&self.tokens[self.at]));
            }
            _ => return self.simple(),
        };
        Ok((command, self.redirects()?))
    }

    fn body(&mut self) -> Result<List, Refusal> {
        self.take("do")?;
        let body = self.list(&["done"])?;
        self.take("done")?;
        Ok(body)
    }

    fn count(&mut self) -> Result<Command, Refusal> {
        self.at += 1;
        let name = self.plain().ok_or("syntax error: bad for loop variable")?;
        self.at += 1;
        self.take("in")?;
        let mut words = Vec::new();
        while let Some(Token::Word(word)) = self.peek() {
            words.push(word.clone());
            self.at += 1;
        }
        self.skip(&[";", "\n"]);
        Ok(Command::For { name, words, body: self.body()? })
    }

    fn choice(&mut self) -> Result<Command, Refusal> {
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        loop {
            // `if` or `elif`
            self.at += 1;
            let condition = self.list(&["then"])?;
            self.take("then")?;
            branches.push((condition, self.list(&["elif", "else", "fi"])?));
            match self.plain().as_deref() {
                Some("elif") => {}
                Some("else") => {
                    self.at += 1;
                    otherwise = self.list(&["fi"])?;
                    break;
                }
                _ => break,
            }
        }
        self.take("fi")?;
        Ok(Command::If { branches, otherwise })
    }

    fn simple(&mut self) -> Result<Stage, Refusal> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match self.peek() {
                Some(Token::Word(word)) => {
                    match assignment(word).filter(|_| words.is_empty()) {
                        Some(found) => assignments.push(found),
                        None => words.push(word.clone()),
                    }
                    self.at += 1;
                }
                Some(Token::Redirect(..)) => redirects.extend(self.redirects()?),
                Some(Token::Sign("(")) => return Err(unexpected(&Token::Sign("("))),
                _ => break,
            }
        }
        if assignments.is_empty() && words.is_empty() && redirects.is_empty() {
            return Err(self.next().map_or_else(
                || "syntax error: unexpected end of file".to_owned(),
                |token| unexpected(&token),
            ));
        }
        Ok((Command::Simple { assignments, words }, redirects))
    }

    fn redirects(&mut self) -> Result<Vec<Redirect>, Refusal> {
        let mut found = Vec::new();
        while let Some(Token::Redirect(stream, sign)) = self.peek().cloned() {
            self.at += 1;
            if let ">&1" | ">&2" = sign {
                let other = if sign == ">&1" { 1 } else { 2 };
                found.push(Redirect::Same { stream, other });
                continue;
            }
            let Some(Token::Word(path)) = self.next() else {
                return Err("syntax error: a redirection needs a file".to_owned());
            };
            found.push(match sign {
                "<" => Redirect::Input(path),
                ">" | ">>" => Redirect::Output { stream, append: sign == ">>", path },
                other => return Err(format!("syntax error: unexpected \"{other}\"")),
            });
        }
        Ok(found)
    }
}

/// `NAME=…` at the beginning of a command.
fn assignment(word: &Word) -> Option<(String, Word)> {
    let (Piece::Text(text), false) = word.first()? else { return None };
    let (name, value) = text.split_once('=')?;
    let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !named {
        return None;
    }
    let mut rest = word.clone();
    rest[0].0 = Piece::Text(value.to_owned());
    Some((name.to_owned(), rest))
}

/// The programs that a script may run, as far as their names stand in it.
pub(super) fn programs(list: &List, found: &mut Vec<String>) {
    for (command, _) in list.iter().flat_map(|pipeline| &pipeline.stages) {
        match command {
            Command::Simple { words, .. } => {
                found.extend(words.first().map(|word| literal(word).unwrap_or_default()));
            }
            Command::For { body, .. } | Command::Group { body, .. } => programs(body, found),
            Command::While { condition, body, .. } => {
                programs(condition, found);
                programs(body, found);
            }
            Command::If { branches, otherwise } => {
                for (condition, body) in branches {
                    programs(condition, found);
                    programs(body, found);
                }
                programs(otherwise, found);
            }
        }
    }
}
