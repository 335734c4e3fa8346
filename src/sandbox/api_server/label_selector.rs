//! Label selectors as text: the API server's own little grammar, with its complaints.

use serde_json::Value;

use crate::sandbox::validation::names;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Operator {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

/// A parsed selector; all of its requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LabelSelector(Vec<(String, Operator)>);

impl LabelSelector {
    /// Reads `a=b,c in (d,e),!f,g>1`.
    ///
    /// # Errors
    /// What the API server says of a text that is no selector.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Parser { tokens: tokens(text), at: 0 }.requirements().map(Self)
    }

    pub(crate) fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn matches(&self, labels: &Value) -> bool {
        self.0.iter().all(|(key, operator)| {
            let value = labels.get(key).and_then(Value::as_str);
            let number = || value.and_then(|value| value.parse::<i64>().ok());
            match operator {
                Operator::In(values) => {
                    value.is_some_and(|value| values.iter().any(|found| found == value))
                }
                Operator::NotIn(values) => {
                    value.is_none_or(|value| values.iter().all(|found| found != value))
                }
                Operator::Exists => value.is_some(),
                Operator::Absent => value.is_none(),
                Operator::Greater(bound) => number().is_some_and(|number| number > *bound),
                Operator::Less(bound) => number().is_some_and(|number| number < *bound),
            }
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Symbol(&'static str),
    Word(String),
    End,
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Symbol(text) => text,
            Self::Word(text) => text,
            Self::End => "",
        }
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(found) if *found == symbol)
    }
}

/// The longer ones first.
const SYMBOLS: &[&str] = &["==", "!=", ")", "(", ",", "!", "=", ">", "<"];

fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
        if rest.is_empty() {
            found.push(Token::End);
            return found;
        }
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            found.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
            continue;
        }
        let end = rest
            .find(|c: char| {
                matches!(c, ' ' | '\t' | '\r' | '\n' | '=' | '!' | '(' | ')' | ',' | '>' | '<')
            })
            .unwrap_or(rest.len());
        found.push(Token::Word(rest[..end].to_owned()));
        rest = &rest[end..];
    }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).unwrap_or(&Token::End)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn requirements(&mut self) -> Result<Vec<(String, Operator)>, String> {
        let mut found = Vec::new();
        loop {
            match self.peek() {
                Token::End => return Ok(found),
                Token::Word(_) | Token::Symbol("!") => {}
                other @ Token::Symbol(_) => {
                    return Err(format!(
                        "found '{}', expected: !, identifier, or 'end of string'",
                        other.text()
                    ));
                }
            }
            let requirement = self.requirement();
            found.push(requirement.map_err(|why| format!("unable to parse requirement: {why}"))?);
            match self.next() {
                Token::End => return Ok(found),
                comma if comma.is(",") => {}
                other => {
                    let text = other.text();
                    return Err(format!("found '{text}', expected: ',' or 'end of string'"));
                }
            }
            if !matches!(self.peek(), Token::Word(_) | Token::Symbol("!")) {
                let text = self.peek().text();
                return Err(format!("found '{text}', expected: identifier after ','"));
            }
        }
    }

    fn requirement(&mut self) -> Result<(String, Operator), String> {
        let absent = self.peek().is("!");
        if absent {
            self.at += 1;
        }
        let key = self.word()?;
        let why = names::qualified_name(&key);
        if !why.is_empty() {
            return Err(format!("<nil>: Invalid value: {key:?}: {}", why.join("; ")));
        }
        if absent {
            return Ok((key, Operator::Absent));
        }
        let operator = match self.peek() {
            Token::End | Token::Symbol(",") => return Ok((key, Operator::Exists)),
            _ => self.next(),
        };
        let operator = match operator.text() {
            "in" => Operator::In(self.values(&key)?),
            "notin" => Operator::NotIn(self.values(&key)?),
            "=" | "==" => Operator::In(self.value(&key)?),
            "!=" => Operator::NotIn(self.value(&key)?),
            ">" => Operator::Greater(self.number(&key)?),
            "<" => Operator::Less(self.number(&key)?),
            other => {
                return Err(format!("found '{other}', expected: in, notin, =, ==, !=, gt, lt"));
            }
        };
        Ok((key, operator))
    }

    fn word(&mut self) -> Result<String, String> {
        match self.next() {
            Token::Word(word) => Ok(word),
            other => Err(format!("found '{}', expected: identifier", other.text())),
        }
    }

    fn value(&mut self, key: &str) -> Result<Vec<String>, String> {
        let value = match self.peek() {
            Token::End | Token::Symbol(",") => String::new(),
            _ => self.word()?,
        };
        checked(key, vec![value])
    }

    fn number(&mut self, key: &str) -> Result<i64, String> {
        let values = self.value(key)?;
        let text = values.first().map(String::as_str).unwrap_or_default();
        text.parse().map_err(|_| {
            format!(
                "values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            )
        })
    }

    fn values(&mut self, key: &str) -> Result<Vec<String>, String> {
        let open = self.next();
        if !open.is("(") {
            return Err(format!("found '{}' expected: '('", open.text()));
        }
        let mut values = Vec::new();
        if self.peek().is(")") {
            self.at += 1;
            return Ok(vec![String::new()]);
        }
        if !matches!(self.peek(), Token::Word(_) | Token::Symbol(",")) {
            let text = self.peek().text();
            return Err(format!("found '{text}', expected: ',', ')' or identifier"));
        }
        loop {
            match self.next() {
                Token::Word(word) => {
                    values.push(word);
                    match self.peek() {
                        Token::Symbol(",") => {}
                        Token::Symbol(")") => break,
                        other => {
                            return Err(format!("found '{}', expected: ',' or ')'", other.text()));
                        }
                    }
                }
                Token::Symbol(",") => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    if self.peek().is(")") {
                        values.push(String::new());
                        break;
                    }
                    if self.peek().is(",") {
                        self.at += 1;
                        values.push(String::new());
                    }
                }
                other => {
                    return Err(format!("found '{}', expected: ',', or identifier", other.text()));
                }
            }
        }
        self.at += 1;
        values.sort_unstable();
        values.dedup();
        checked(key, values)
    }
}

/// Values that labels can have.
fn checked(key: &str, values: Vec<String>) -> Result<Vec<String>, String> {
    for (at, value) in values.iter().enumerate() {
        let why = names::label_value(value);
        if !why.is_empty() {
            return Err(format!(
                "values[{at}][{key}]: Invalid value: {value:?}: {}",
                why.join("; ")
            ));
        }
    }
    Ok(values)
}
