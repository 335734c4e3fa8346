//! Tokens to a tree, by recursive descent over cel-go's grammar.

use kube_cel::cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};

use super::macros;
use super::token::{Kind, Token};
use super::{Failure, Issue, Parsed, children};

/// Words that are no names.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];
const RELATIONS: &[(&str, &str)] = &[
    ("<", operators::LESS),
    ("<=", operators::LESS_EQUALS),
    (">=", operators::GREATER_EQUALS),
    (">", operators::GREATER),
    ("==", operators::EQUALS),
    ("!=", operators::NOT_EQUALS),
];
const SUMS: &[(&str, &str)] = &[("+", operators::ADD), ("-", operators::SUBSTRACT)];
const PRODUCTS: &[(&str, &str)] =
    &[("*", operators::MULTIPLY), ("/", operators::DIVIDE), ("%", operators::MODULO)];
/// How deep expressions are nested at most, and how high their trees are: a chain of fields or sums is as high as it is long.
const MAX_DEPTH: usize = 250;

/// How many nodes a tree has at most before parts of it are copied.
const MAX_NODES: usize = 20_000;

/// Builds the tree.
pub(super) fn parse(tokens: Vec<Token>) -> Result<Parsed, Failure> {
    let mut parser =
        Parser { tokens, at: 0, depth: 0, nodes: Nodes::default(), issues: Vec::new() };
    let tree = parser.expression().filter(|_| parser.kind() == &Kind::End);
    if parser.nodes.too_high {
        return Err(Failure::Limit("max recursion depth exceeded".to_owned()));
    }
    if parser.depth > MAX_DEPTH {
        let what = format!("expression recursion limit exceeded: {MAX_DEPTH}");
        return Err(Failure::Limit(what));
    }
    match tree {
        None => Err(Failure::Syntax),
        Some(tree) if parser.issues.is_empty() => Ok(Parsed { tree, places: parser.nodes.places }),
        Some(_) => Err(Failure::Issues(parser.issues)),
    }
}

/// Gives nodes their ids, and keeps their places and heights.
#[derive(Default)]
pub(super) struct Nodes {
    places: Vec<usize>,
    heights: Vec<usize>,
    /// A node was too high and is left out: whoever walks over the tree must not run out of stack.
    too_high: bool,
}

impl Nodes {
    pub(super) fn id(&mut self, place: usize) -> u64 {
        if self.places.is_empty() {
            // The crate's ids start at one.
            self.places.push(0);
            self.heights.push(0);
        }
        self.places.push(place);
        self.heights.push(0);
        (self.places.len() - 1) as u64
    }

    /// Whether there are so many that none may be copied any more: each `optMap` of a chain doubles what stands before it.
    pub(super) fn are_too_many(&mut self) -> bool {
        let too_many = self.places.len() > MAX_NODES;
        self.too_high |= too_many;
        too_many
    }

    pub(super) fn node(&mut self, place: usize, expr: Expr) -> IdedExpr {
        let height = 1 + self.highest_below(&expr);
        let id = self.id(place);
        if height > MAX_DEPTH {
            self.too_high = true;
            return IdedExpr { id, expr: Expr::Literal(LiteralValue::Null) };
        }
        if let Some(last) = self.heights.last_mut() {
            *last = height;
        }
        IdedExpr { id, expr }
    }

    /// The height of the highest part of an expression.
    fn highest_below(&self, expr: &Expr) -> usize {
        let of = |node: &IdedExpr| {
            let at = usize::try_from(node.id).ok();
            at.and_then(|at| self.heights.get(at).copied()).unwrap_or_default()
        };
        let highest = children(expr).into_iter().map(of).max();
        highest.unwrap_or_default()
    }

    pub(super) fn call(&mut self, place: usize, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
        let call = CallExpr { func_name: name.to_owned(), target: None, args };
        self.node(place, Expr::Call(call))
    }

    pub(super) fn place(&self, id: u64) -> usize {
        usize::try_from(id).ok().and_then(|id| self.places.get(id).copied()).unwrap_or_default()
    }
}

pub(super) struct Parser {
    pub(super) tokens: Vec<Token>,
    pub(super) at: usize,
    depth: usize,
    pub(super) nodes: Nodes,
    issues: Vec<Issue>,
}

impl Parser {
    pub(super) fn kind(&self) -> &Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    pub(super) fn place(&self) -> usize {
        self.tokens.get(self.at).map_or(0, |token| token.place)
    }

    /// Passes a sign; its place.
    pub(super) fn sign(&mut self, sign: &str) -> Option<usize> {
        let found = matches!(self.kind(), Kind::Sign(found) if *found == sign);
        let place = self.place();
        self.at += usize::from(found);
        found.then_some(place)
    }

    pub(super) fn issue(&mut self, place: usize, message: impl Into<String>) -> IdedExpr {
        self.issues.push(Issue { place, message: message.into() });
        self.nodes.node(place, Expr::Literal(LiteralValue::Null))
    }

    pub(super) fn expression(&mut self) -> Option<IdedExpr> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let condition = self.logic(operators::LOGICAL_OR, "||")?;
        let found = if let Some(place) = self.sign("?") {
            let yes = self.logic(operators::LOGICAL_OR, "||")?;
            self.sign(":")?;
            let no = self.expression()?;
            self.nodes.call(place, operators::CONDITIONAL, vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Some(found)
    }

    /// A chain of `||` or `&&`, made a balanced tree.
    fn logic(&mut self, name: &str, sign: &str) -> Option<IdedExpr> {
        let mut terms = Vec::new();
        let mut places = Vec::new();
        loop {
            terms.push(Some(if sign == "||" {
                self.logic(operators::LOGICAL_AND, "&&")?
            } else {
                self.relation()?
            }));
            let Some(place) = self.sign(sign) else { break };
            places.push(place);
        }
        self.balance(name, &mut terms, &places)
    }

    fn balance(
        &mut self,
        name: &str,
        terms: &mut [Option<IdedExpr>],
        places: &[usize],
    ) -> Option<IdedExpr> {
        if places.is_empty() {
            return terms.first_mut()?.take();
        }
        let middle = places.len() / 2;
        let (first, second) = terms.split_at_mut(middle + 1);
        let left = self.balance(name, first, &places[..middle])?;
        let right = self.balance(name, second, &places[middle + 1..])?;
        Some(self.nodes.call(places[middle], name, vec![left, right]))
    }

    fn relation(&mut self) -> Option<IdedExpr> {
        let mut left = self.operation(SUMS)?;
        loop {
            let place = self.place();
            let name = match self.kind() {
                Kind::Name(name) if name == "in" => operators::IN,
                Kind::Sign(sign) => match RELATIONS.iter().find(|(known, _)| known == sign) {
                    Some((_, name)) => name,
                    None => return Some(left),
                },
                _ => return Some(left),
            };
            self.at += 1;
            let right = self.operation(SUMS)?;
            left = self.nodes.call(place, name, vec![left, right]);
        }
    }

    /// Sums of products of unary expressions.
    fn operation(&mut self, level: &[(&str, &str)]) -> Option<IdedExpr> {
        let sums = level == SUMS;
        let mut left = if sums { self.operation(PRODUCTS)? } else { self.unary()? };
        loop {
            let place = self.place();
            let Kind::Sign(sign) = self.kind() else { return Some(left) };
            let Some((_, name)) = level.iter().find(|(known, _)| known == sign) else {
                return Some(left);
            };
            self.at += 1;
            let right = if sums { self.operation(PRODUCTS)? } else { self.unary()? };
            left = self.nodes.call(place, name, vec![left, right]);
        }
    }

    fn unary(&mut self) -> Option<IdedExpr> {
        let place = self.place();
        for (sign, name) in [("!", operators::LOGICAL_NOT), ("-", operators::NEGATE)] {
            let mut n_signs = 0;
            while !(sign == "-" && self.is_signed_number()) && self.sign(sign).is_some() {
                n_signs += 1;
            }
            if n_signs > 0 {
                let member = self.member()?;
                return Some(if n_signs % 2 == 0 {
                    member
                } else {
                    self.nodes.call(place, name, vec![member])
                });
            }
        }
        self.member()
    }

    /// Whether a minus stands here that belongs to the number after it.
    pub(super) fn is_signed_number(&self) -> bool {
        self.kind() == &Kind::Sign("-")
            && matches!(
                self.tokens.get(self.at + 1).map(|token| &token.kind),
                Some(Kind::Int(_) | Kind::Double(_))
            )
    }

    fn member(&mut self) -> Option<IdedExpr> {
        let mut found = self.primary()?;
        loop {
            if let Some(place) = self.sign(".") {
                found = self.dotted(found, place)?;
            } else if let Some(place) = self.sign("[") {
                let optional = self.sign("?").is_some();
                let index = self.expression()?;
                self.sign("]")?;
                let name = if optional { operators::OPT_INDEX } else { operators::INDEX };
                found = self.nodes.call(place, name, vec![found, index]);
            } else {
                return Some(found);
            }
        }
    }

    /// A field or a method after a dot.
    fn dotted(&mut self, operand: IdedExpr, dot: usize) -> Option<IdedExpr> {
        let optional = self.sign("?").is_some();
        let place = self.place();
        let (name, quoted) = match self.kind().clone() {
            Kind::Name(name)
                if name != "in" && name != "true" && name != "false" && name != "null" =>
            {
                (name, false)
            }
            Kind::Quoted(name) => (name, true),
            _ => return None,
        };
        self.at += 1;
        if quoted {
            // Kubernetes leaves this syntax switched off.
            return Some(self.issue(place, format!("unsupported syntax: '`{name}`'")));
        }
        if optional {
            let field = self.nodes.node(place, Expr::Literal(LiteralValue::String(name.into())));
            return Some(self.nodes.call(dot, operators::OPT_SELECT, vec![operand, field]));
        }
        let Some(open) = self.sign("(") else {
            let select = SelectExpr { operand: Box::new(operand), field: name, test: false };
            return Some(self.nodes.node(dot, Expr::Select(select)));
        };
        let args = self.arguments()?;
        Some(self.call(open, name, Some(operand), args))
    }

    /// A call, or what the macro of that name makes of it.
    fn call(
        &mut self,
        place: usize,
        name: String,
        target: Option<IdedExpr>,
        args: Vec<IdedExpr>,
    ) -> IdedExpr {
        match macros::expand(&mut self.nodes, place, &name, target, args) {
            Ok(Ok(expanded)) => expanded,
            Ok(Err(issue)) => self.issue(issue.place, issue.message),
            Err((target, args)) => {
                let target = target.map(Box::new);
                self.nodes.node(place, Expr::Call(CallExpr { func_name: name, target, args }))
            }
        }
    }

    fn arguments(&mut self) -> Option<Vec<IdedExpr>> {
        let mut args = Vec::new();
        if self.sign(")").is_some() {
            return Some(args);
        }
        loop {
            args.push(self.expression()?);
            if self.sign(",").is_none() {
                self.sign(")")?;
                return Some(args);
            }
        }
    }

    fn primary(&mut self) -> Option<IdedExpr> {
        if self.sign("(").is_some() {
            let found = self.expression()?;
            self.sign(")")?;
            return Some(found);
        }
        if let Some(place) = self.sign("[") {
            return self.list(place);
        }
        if let Some(place) = self.sign("{") {
            return self.map(place);
        }
        let leading = self.sign(".");
        match self.kind() {
            Kind::Name(name)
                if leading.is_some() || !matches!(name.as_str(), "true" | "false" | "null") =>
            {
                let name = name.clone();
                self.named(name, leading)
            }
            _ if leading.is_none() => self.literal(),
            _ => None,
        }
    }

    fn named(&mut self, name: String, leading: Option<usize>) -> Option<IdedExpr> {
        if name == "in" {
            return None;
        }
        if let Some(found) = self.message(leading.is_some()) {
            return found;
        }
        let place = self.place();
        self.at += 1;
        if RESERVED.contains(&name.as_str()) {
            let place = leading.unwrap_or(place);
            return Some(self.issue(place, format!("reserved identifier: {name}")));
        }
        let name = if leading.is_some() { format!(".{name}") } else { name };
        let Some(open) = self.sign("(") else {
            return Some(self.nodes.node(place, Expr::Ident(name)));
        };
        let args = self.arguments()?;
        Some(self.call(open, name, None, args))
    }
}
