//! The parser of templates: Go's grammar, its three tokens of look-ahead and its messages.

use std::rc::Rc;

use super::ast::{
    Action, Argument, Branch, Call, Command, Literal, Node, Nodes, Pipe, Term, Tree, is_blank,
};
use super::funcs;
use super::lex::{Item, Kind, Lexer};

/// Nested parentheses beyond this are an error; Go allows 10,000.
const MAX_EXPRESSION_DEPTH: usize = 10_000;
/// Nested blocks beyond this are an error; Go has no limit but its memory.
const MAX_BLOCK_DEPTH: usize = 10_000;

/// A text that is no template, worded as Go words it: `template: file:line: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParseError(pub(crate) String);

type Parsed<T> = Result<T, ParseError>;

/// Parses a text and the definitions in it. The template of the file itself comes last.
pub(crate) fn parse(file: &str, text: &str) -> Parsed<Vec<Tree>> {
    let file: Rc<str> = file.into();
    let source: Rc<str> = text.into();
    let mut parser = Parser {
        lexer: Lexer::new(text),
        file: file.clone(),
        source: source.clone(),
        trees: Vec::new(),
        block_depth: 0,
        local: Local::default(),
    };
    let root = parser.file()?;
    let tree = Tree { name: file.clone(), file, text: source, root };
    parser.add(tree)?;
    Ok(parser.trees)
}

/// What belongs to one definition.
struct Local {
    tokens: [Item; 3],
    n_peeked: usize,
    variables: Vec<Rc<str>>,
    action_line: usize,
    range_depth: usize,
    expression_depth: usize,
}

impl Default for Local {
    fn default() -> Self {
        let item = || Item { kind: Kind::Eof, at: 0, text: String::new(), line: 0 };
        Self {
            tokens: [item(), item(), item()],
            n_peeked: 0,
            variables: vec!["$".into()],
            action_line: 0,
            range_depth: 0,
            expression_depth: 0,
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    file: Rc<str>,
    source: Rc<str>,
    trees: Vec<Tree>,
    block_depth: usize,
    local: Local,
}

/// A node, or what ends a list of nodes.
enum Step {
    Node(Node),
    End,
    /// `{{else}}`, also before `if` and `with`.
    Else,
}

impl Parser<'_> {
    // -- tokens -----------------------------------------------------------------------------------

    fn next(&mut self) -> Item {
        if self.local.n_peeked > 0 {
            self.local.n_peeked -= 1;
        } else {
            self.local.tokens[0] = self.lexer.next_item();
        }
        self.local.tokens[self.local.n_peeked].clone()
    }

    fn backup(&mut self) {
        self.local.n_peeked += 1;
    }

    fn peek(&mut self) -> Kind {
        if self.local.n_peeked == 0 {
            self.local.n_peeked = 1;
            self.local.tokens[0] = self.lexer.next_item();
        }
        self.local.tokens[self.local.n_peeked - 1].kind
    }

    fn next_non_space(&mut self) -> Item {
        loop {
            let item = self.next();
            if item.kind != Kind::Space {
                return item;
            }
        }
    }

    fn peek_non_space(&mut self) -> Item {
        let item = self.next_non_space();
        self.backup();
        item
    }

    fn error<T>(&self, message: &str) -> Parsed<T> {
        let line = self.local.tokens[0].line;
        Err(ParseError(format!("template: {}:{line}: {message}", self.file)))
    }

    fn unexpected<T>(&self, item: &Item, context: &str) -> Parsed<T> {
        if item.kind == Kind::Error {
            let started = self.local.action_line;
            let mut extra = String::new();
            if started != 0 && started != item.line {
                extra = format!(" in action started at {}:{started}", self.file);
                if item.text.ends_with(" action") {
                    extra = extra[" in action".len()..].to_owned();
                }
            }
            return self.error(&format!("{item}{extra}"));
        }
        self.error(&format!("unexpected {item} in {context}"))
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Parsed<Item> {
        let item = self.next_non_space();
        if item.kind == kind { Ok(item) } else { self.unexpected(&item, context) }
    }

    // -- structure --------------------------------------------------------------------------------

    fn file(&mut self) -> Parsed<Nodes> {
        let mut nodes = Vec::new();
        loop {
            match self.peek() {
                Kind::Eof => return Ok(nodes),
                Kind::LeftDelim => {
                    let delim = self.next();
                    let item = self.next_non_space();
                    if item.kind == Kind::Define {
                        self.definition()?;
                        continue;
                    }
                    // Both come again: the delimiter is pushed behind the word.
                    self.local.tokens[1] = delim;
                    self.local.n_peeked = 2;
                }
                _ => {}
            }
            match self.text_or_action()? {
                Step::Node(node) => nodes.push(node),
                Step::End => return self.error("unexpected {{end}}"),
                Step::Else => return self.error("unexpected {{else}}"),
            }
        }
    }

    fn definition(&mut self) -> Parsed<()> {
        const CONTEXT: &str = "define clause";
        let outer = std::mem::take(&mut self.local);
        let item = self.next_non_space();
        if !matches!(item.kind, Kind::String | Kind::RawString) {
            return self.unexpected(&item, CONTEXT);
        }
        let name = self.unquote(&item)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        self.body(name, CONTEXT)?;
        self.local = outer;
        Ok(())
    }

    /// The rest of a definition up to its end.
    fn body(&mut self, name: Rc<str>, context: &str) -> Parsed<()> {
        let (root, end) = self.item_list()?;
        if !matches!(end, Step::End) {
            return self.error(&format!("unexpected {{{{else}}}} in {context}"));
        }
        let (file, text) = (self.file.clone(), self.source.clone());
        self.add(Tree { name, file, text, root })
    }

    fn add(&mut self, tree: Tree) -> Parsed<()> {
        match self.trees.iter_mut().find(|known| known.name == tree.name) {
            None => self.trees.push(tree),
            Some(known) if is_blank(&known.root) => *known = tree,
            Some(_) if is_blank(&tree.root) => {}
            Some(_) => {
                let name = super::text::quote(&tree.name);
                return self.error(&format!("template: multiple definition of template {name}"));
            }
        }
        Ok(())
    }

    fn item_list(&mut self) -> Parsed<(Nodes, Step)> {
        self.block_depth += 1;
        if self.block_depth > MAX_BLOCK_DEPTH {
            return self.error("max block depth exceeded");
        }
        let mut nodes = Vec::new();
        while self.peek_non_space().kind != Kind::Eof {
            match self.text_or_action()? {
                Step::Node(node) => nodes.push(node),
                end => {
                    self.block_depth -= 1;
                    return Ok((nodes, end));
                }
            }
        }
        self.error("unexpected EOF")
    }

    fn text_or_action(&mut self) -> Parsed<Step> {
        let item = self.next_non_space();
        match item.kind {
            Kind::Text => Ok(Step::Node(Node::Text(item.text.into()))),
            Kind::LeftDelim => {
                self.local.action_line = item.line;
                let step = self.action()?;
                self.local.action_line = 0;
                Ok(step)
            }
            _ => self.unexpected(&item, "input"),
        }
    }

    fn action(&mut self) -> Parsed<Step> {
        let item = self.next_non_space();
        let node = match item.kind {
            Kind::Block => self.block()?,
            Kind::Break | Kind::Continue => {
                let name = item.text.as_str();
                let end = self.next_non_space();
                if end.kind != Kind::RightDelim {
                    return self.unexpected(&end, &format!("{{{{{name}}}}}"));
                }
                if self.local.range_depth == 0 {
                    return self.error(&format!("{{{{{name}}}}} outside {{{{range}}}}"));
                }
                if item.kind == Kind::Break { Node::Break } else { Node::Continue }
            }
            Kind::Else => {
                let next = self.peek_non_space();
                if !matches!(next.kind, Kind::If | Kind::With) {
                    self.expect(Kind::RightDelim, "else")?;
                }
                return Ok(Step::Else);
            }
            Kind::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Step::End);
            }
            Kind::If => Node::If(self.control("if")?),
            Kind::Range => Node::Range(self.control("range")?),
            Kind::With => Node::With(self.control("with")?),
            Kind::Template => self.template()?,
            _ => {
                self.backup();
                let pipe = self.pipeline("command", Kind::RightDelim)?;
                Node::Action(Action { at: item.at, pipe })
            }
        };
        Ok(Step::Node(node))
    }

    fn control(&mut self, word: &'static str) -> Parsed<Branch> {
        let n_variables = self.local.variables.len();
        let pipe = self.pipeline(word, Kind::RightDelim)?;
        self.local.range_depth += usize::from(word == "range");
        let (body, end) = self.item_list()?;
        self.local.range_depth -= usize::from(word == "range");
        let otherwise = match end {
            Step::Else => {
                let next = self.peek();
                let chained = match (word, next) {
                    ("if", Kind::If) => Some("if"),
                    ("with", Kind::With) => Some("with"),
                    _ => None,
                };
                if let Some(word) = chained {
                    self.next();
                    self.block_depth += 1;
                    if self.block_depth > MAX_BLOCK_DEPTH {
                        return self.error("max block depth exceeded");
                    }
                    let branch = self.control(word)?;
                    self.block_depth -= 1;
                    Some(vec![if word == "if" { Node::If(branch) } else { Node::With(branch) }])
                } else {
                    let (nodes, end) = self.item_list()?;
                    if !matches!(end, Step::End) {
                        return self.error("expected end; found {{else}}");
                    }
                    Some(nodes)
                }
            }
            _ => None,
        };
        self.local.variables.truncate(n_variables);
        Ok(Branch { at: pipe.at, word, pipe, body, otherwise })
    }

    fn block(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "block clause";
        let item = self.next_non_space();
        let name = self.template_name(&item, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        let outer = std::mem::take(&mut self.local);
        self.body(name.clone(), CONTEXT)?;
        self.local = outer;
        Ok(Node::Template(Call { at: item.at, name, pipe: Some(pipe) }))
    }

    fn template(&mut self) -> Parsed<Node> {
        const CONTEXT: &str = "template clause";
        let item = self.next_non_space();
        let name = self.template_name(&item, CONTEXT)?;
        let pipe = if self.next_non_space().kind == Kind::RightDelim {
            None
        } else {
            self.backup();
            Some(self.pipeline(CONTEXT, Kind::RightDelim)?)
        };
        Ok(Node::Template(Call { at: item.at, name, pipe }))
    }

    fn template_name(&mut self, item: &Item, context: &str) -> Parsed<Rc<str>> {
        match item.kind {
            Kind::String | Kind::RawString => self.unquote(item),
            _ => self.unexpected(item, context),
        }
    }

    // -- expressions ------------------------------------------------------------------------------

    fn pipeline(&mut self, context: &str, end: Kind) -> Parsed<Pipe> {
        let first = self.peek_non_space();
        let mut pipe =
            Pipe { at: first.at, variables: Vec::new(), assigns: false, commands: Vec::new() };
        loop {
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                break;
            }
            self.next();
            let after = {
                self.peek();
                self.local.tokens[self.local.n_peeked - 1].clone()
            };
            let next = self.peek_non_space();
            if matches!(next.kind, Kind::Assign | Kind::Declare) {
                pipe.assigns = next.kind == Kind::Assign;
                self.next_non_space();
                pipe.variables.push(variable.text.as_str().into());
                self.local.variables.push(variable.text.as_str().into());
                break;
            }
            if next.kind == Kind::Char && next.text == "," {
                self.next_non_space();
                pipe.variables.push(variable.text.as_str().into());
                self.local.variables.push(variable.text.as_str().into());
                if context == "range" && pipe.variables.len() < 2 {
                    let next = self.peek_non_space().kind;
                    if matches!(next, Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                        continue;
                    }
                    return self.error("range can only initialize variables");
                }
                return self.error(&format!("too many declarations in {context}"));
            }
            if after.kind == Kind::Space {
                self.local.tokens[1] = after;
                self.local.tokens[2] = variable;
                self.local.n_peeked = 3;
            } else {
                self.local.tokens[1] = variable;
                self.local.n_peeked = 2;
            }
            break;
        }
        loop {
            let item = self.next_non_space();
            match item.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParen => {
                    self.backup();
                    let command = self.command()?;
                    pipe.commands.push(command);
                }
                _ => return self.unexpected(&item, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.error(&format!("missing value for {context}"));
        }
        for (n, command) in pipe.commands.iter().enumerate().skip(1) {
            if let Some(Argument {
                term: Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(_) | Term::Str(..),
                ..
            }) = command.arguments.first()
            {
                let stage = n + 1;
                return self.error(&format!("non executable command in pipeline stage {stage}"));
            }
        }
        Ok(pipe)
    }

    fn command(&mut self) -> Parsed<Command> {
        let mut command = Command { at: self.peek_non_space().at, arguments: Vec::new() };
        loop {
            self.peek_non_space();
            if let Some(argument) = self.operand()? {
                command.arguments.push(argument);
            }
            let item = self.next();
            match item.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.backup(),
                Kind::Pipe => {}
                _ => return self.unexpected(&item, "operand"),
            }
            break;
        }
        if command.arguments.is_empty() {
            return self.error("empty command");
        }
        Ok(command)
    }

    fn operand(&mut self) -> Parsed<Option<Argument>> {
        let Some(argument) = self.term()? else { return Ok(None) };
        if self.peek() != Kind::Field {
            return Ok(Some(argument));
        }
        let at = self.peek_non_space().at;
        let mut fields: Vec<Rc<str>> = Vec::new();
        while self.peek() == Kind::Field {
            fields.push(self.next().text[1..].into());
        }
        let Argument { at: term_at, term } = argument;
        let term = match term {
            Term::Field(mut own) => {
                own.extend(fields);
                Term::Field(own)
            }
            Term::Variable(mut own) => {
                own.extend(fields);
                Term::Variable(own)
            }
            Term::Bool(_) | Term::Str(..) | Term::Number(_) | Term::Nil | Term::Dot => {
                let term = super::text::quote(&Argument { at: term_at, term }.to_string());
                return self.error(&format!("unexpected . after term {term}"));
            }
            term => Term::Chain(Box::new(Argument { at: term_at, term }), fields),
        };
        Ok(Some(Argument { at, term }))
    }

    fn term(&mut self) -> Parsed<Option<Argument>> {
        let item = self.next_non_space();
        let term = match item.kind {
            Kind::Identifier => match funcs::find(&item.text) {
                Some(function) => Term::Function(function),
                None => {
                    let name = super::text::quote(&item.text);
                    return self.error(&format!("function {name} not defined"));
                }
            },
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Variable => {
                if !self.local.variables.iter().any(|known| **known == *item.text) {
                    let name = super::text::quote(&item.text);
                    return self.error(&format!("undefined variable {name}"));
                }
                Term::Variable(vec![item.text.as_str().into()])
            }
            Kind::Field => Term::Field(vec![item.text[1..].into()]),
            Kind::Bool => Term::Bool(item.text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                match number(&item.text, item.kind) {
                    Ok(literal) => Term::Number(literal),
                    Err(message) => return self.error(&message),
                }
            }
            Kind::LeftParen => {
                if self.local.expression_depth >= MAX_EXPRESSION_DEPTH {
                    return self.error("max expression depth exceeded");
                }
                self.local.expression_depth += 1;
                let pipe = self.pipeline("parenthesized pipeline", Kind::RightParen)?;
                self.local.expression_depth -= 1;
                let at = pipe.at;
                return Ok(Some(Argument { at, term: Term::Pipe(Box::new(pipe)) }));
            }
            Kind::String | Kind::RawString => {
                let text = self.unquote(&item)?;
                Term::Str(text, item.text)
            }
            _ => {
                self.backup();
                return Ok(None);
            }
        };
        Ok(Some(Argument { at: item.at, term }))
    }

    fn unquote(&mut self, item: &Item) -> Parsed<Rc<str>> {
        match unquote(&item.text) {
            Some(text) => Ok(text.into()),
            None => self.error("invalid syntax"),
        }
    }
}

/// Go's `strconv.Unquote` for `"…"` and raw strings.
fn unquote(quoted: &str) -> Option<String> {
    let inner = quoted.get(1..quoted.len().checked_sub(1)?)?;
    if quoted.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        let (piece, tail) = unquote_char(rest, '"')?;
        match piece {
            Piece::Char(c) => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Piece::Byte(byte) => bytes.push(byte),
        }
        rest = tail;
    }
    Some(super::text::from_bytes(&bytes))
}

enum Piece {
    Char(char),
    Byte(u8),
}

fn unquote_char(text: &str, quote: char) -> Option<(Piece, &str)> {
    let mut chars = text.chars();
    let c = chars.next()?;
    if c == quote || c == '\n' {
        return None;
    }
    if c != '\\' {
        return Some((Piece::Char(c), chars.as_str()));
    }
    let escape = chars.next()?;
    let rest = chars.as_str();
    let hex = |n: usize| -> Option<(u32, &str)> {
        let digits =
            rest.get(..n).filter(|digits| digits.bytes().all(|d| d.is_ascii_hexdigit()))?;
        Some((u32::from_str_radix(digits, 16).ok()?, &rest[n..]))
    };
    let piece = match escape {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0C',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0B',
        '\\' => '\\',
        '\'' | '"' if escape == quote => escape,
        'x' => {
            let (value, tail) = hex(2)?;
            return Some((Piece::Byte(u8::try_from(value).ok()?), tail));
        }
        'u' | 'U' => {
            let (value, tail) = hex(if escape == 'u' { 4 } else { 8 })?;
            return Some((Piece::Char(char::from_u32(value)?), tail));
        }
        '0'..='7' => {
            let digits = text
                .get(1..4)
                .filter(|digits| digits.bytes().all(|d| (b'0'..=b'7').contains(&d)))?;
            let value = u8::try_from(u32::from_str_radix(digits, 8).ok()?).ok()?;
            return Some((Piece::Byte(value), &text[4..]));
        }
        _ => return None,
    };
    Some((Piece::Char(piece), rest))
}

/// What a number can mean. Go tries integer, then float, and lets one be the other where it is exact.
fn number(text: &str, kind: Kind) -> Result<Literal, String> {
    let literal = |int, float| Literal { text: text.to_owned(), int, float, complex: false };
    if kind == Kind::CharConstant {
        let malformed = || format!("malformed character constant: {text}");
        let inner = text.get(1..text.len().saturating_sub(1)).ok_or_else(malformed)?;
        let (piece, rest) = unquote_char(inner, '\'').ok_or_else(malformed)?;
        if !rest.is_empty() {
            return Err(malformed());
        }
        let code = match piece {
            Piece::Char(c) => u32::from(c),
            Piece::Byte(byte) => u32::from(byte),
        };
        return Ok(literal(Some(code.into()), Some(code.into())));
    }
    if kind == Kind::Complex || text.ends_with('i') {
        return Ok(Literal { complex: true, ..literal(None, None) });
    }
    let (mut int, uint) = super::number::parse_int(text);
    let mut float = None;
    #[expect(clippy::cast_precision_loss, reason = "Go converts the same way")]
    if let Some(value) = int {
        float = Some(value as f64);
    } else if let Some(value) = uint {
        float = Some(value as f64);
    } else if let Some(value) = super::number::parse_float(text) {
        if !text.contains(['.', 'e', 'E', 'p', 'P']) {
            return Err(format!("integer overflow: {}", super::text::quote(text)));
        }
        float = Some(value);
        #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
        if value.fract() == 0.0 && value.abs() < 9.2e18 {
            int = Some(value as i64);
        }
    }
    if int.is_none() && float.is_none() {
        return Err(format!("illegal number syntax: {}", super::text::quote(text)));
    }
    Ok(literal(int, float))
}
