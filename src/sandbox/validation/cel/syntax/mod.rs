//! Source text of the Common Expression Language to the syntax tree of the `cel` crate.
//!
//! The crate has a parser of its own, but keeps the places of the nodes to itself and does not know Kubernetes' macros
//! (`optMap`, `sortBy`, loops over two variables). Here macros are expanded as cel-go does it, so that types, places in
//! errors and costs come out the same. `source` draws errors, `token` splits, `parse` and `primary` build, `macros` expands, `lower` makes of
//! the tree what the evaluator knows.

mod lower;
mod macros;
mod parse;
mod primary;
mod source;
mod token;

use kube_cel::cel::common::ast::{EntryExpr, Expr, IdedExpr, MapExpr, StructExpr};

pub(super) use macros::RESULT;
pub(super) use source::{Issue, Source};

/// How many characters an expression has at most whose errors of grammar are explained.
const MAX_EXPLAINED: usize = 500;
/// How many characters an expression has at most.
const MAX_SIZE: usize = 100_000;

/// A parsed expression: its tree, and where in the source (in characters) the node with each id starts.
pub(super) struct Parsed {
    pub(super) tree: IdedExpr,
    places: Vec<usize>,
}

impl Parsed {
    /// Where a node starts.
    pub(super) fn place(&self, id: u64) -> usize {
        usize::try_from(id).ok().and_then(|id| self.places.get(id).copied()).unwrap_or_default()
    }

    /// One more than the largest id.
    pub(super) fn n_ids(&self) -> usize {
        self.places.len()
    }
}

/// Why there is no tree.
pub(super) enum Failure {
    /// The text is not of the grammar; the words for it are the crate's, unless it is long: its parser takes its time to
    /// come to terms with what it cannot read.
    Syntax,
    /// It is, but says something that cannot be.
    Issues(Vec<Issue>),
    /// It is longer or deeper than expressions may be.
    Limit(String),
}

/// Parses an expression.
pub(super) fn parse(source: &Source) -> Result<Parsed, Failure> {
    let size = source.letters().len();
    if size > MAX_SIZE {
        let what = "expression code point size exceeds limit";
        return Err(Failure::Limit(format!("{what}: size: {size}, limit {MAX_SIZE}")));
    }
    let parsed = match token::split(source.letters()) {
        Some(tokens) => parse::parse(tokens),
        None => Err(Failure::Syntax),
    };
    match parsed {
        Err(Failure::Syntax) if size > MAX_EXPLAINED => {
            let what = "Syntax error: the expression is not of the grammar";
            Err(Failure::Limit(format!("{what}, and too long to tell where ({size} characters)")))
        }
        parsed => parsed,
    }
}

/// A tree for the evaluator.
pub(super) struct OwnTree {
    pub(super) tree: IdedExpr,
    /// The expression says something that the evaluator's own parser does not read, or reads otherwise.
    pub(super) is_needed: bool,
}

/// The tree for the evaluator, if the expression can be read.
///
/// # Errors
/// An expression that is too long or too deep, which no parser is to see.
pub(super) fn own_tree(text: &str) -> Result<Option<OwnTree>, String> {
    match parse(&Source::new(text)) {
        Ok(Parsed { mut tree, .. }) => {
            // The crate takes several signs in a row for one.
            let is_needed = lower::lower(&mut tree) || text.contains("!!") || text.contains("--");
            Ok(Some(OwnTree { tree, is_needed }))
        }
        Err(Failure::Limit(why)) => Err(Source::show_limit(&why)),
        Err(Failure::Syntax | Failure::Issues(_)) => Ok(None),
    }
}

/// The nodes right below an expression.
pub(super) fn children(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => entries
            .iter()
            .flat_map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
                EntryExpr::StructField(field) => vec![&field.value],
            })
            .collect(),
        Expr::Comprehension(parts) => vec![
            &parts.iter_range,
            &parts.accu_init,
            &parts.loop_cond,
            &parts.loop_step,
            &parts.result,
        ],
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

/// As `children`, to be changed.
fn children_mut(expr: &mut Expr) -> Vec<&mut IdedExpr> {
    match expr {
        Expr::Call(call) => call.target.as_deref_mut().into_iter().chain(&mut call.args).collect(),
        Expr::Select(select) => vec![&mut select.operand],
        Expr::List(list) => list.elements.iter_mut().collect(),
        Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => entries
            .iter_mut()
            .flat_map(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => vec![&mut entry.key, &mut entry.value],
                EntryExpr::StructField(field) => vec![&mut field.value],
            })
            .collect(),
        Expr::Comprehension(parts) => {
            let parts = &mut **parts;
            vec![
                &mut parts.iter_range,
                &mut parts.accu_init,
                &mut parts.loop_cond,
                &mut parts.loop_step,
                &mut parts.result,
            ]
        }
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}
