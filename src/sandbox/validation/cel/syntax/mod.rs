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

use kube_cel::cel::common::ast::IdedExpr;

pub(super) use macros::RESULT;
pub(super) use source::{Issue, Source};

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
    /// The text is not of the grammar; the words for it are the crate's.
    Syntax,
    /// It is, but says something that cannot be.
    Issues(Vec<Issue>),
}

/// Parses an expression.
pub(super) fn parse(source: &Source) -> Result<Parsed, Failure> {
    let tokens = token::split(source.letters()).ok_or(Failure::Syntax)?;
    parse::parse(tokens)
}

/// The tree for the evaluator, if the expression says something that the evaluator's own parser does not read.
pub(super) fn own_tree(text: &str) -> Option<IdedExpr> {
    let mut tree = parse(&Source::new(text)).ok()?.tree;
    lower::lower(&mut tree).then_some(tree)
}
