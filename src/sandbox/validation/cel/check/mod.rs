//! What can be said of an expression before it runs: the types of its parts, errors in it, and what it costs at most.
//!
//! kube-apiserver refuses CustomResourceDefinitions and admission policies whose expressions do not fit their schemas or
//! could take too long. `declared` makes types of schemas, `checker` finds the type of every node with `signatures` and
//! `unify`, `literals` looks at constants, `cost` estimates. Source of truth: cel-go 0.26 as Kubernetes 1.36 sets it up.

mod call_cost;
mod checker;
mod cost;
mod declared;
mod literals;
mod path;
mod signatures;
mod types;
mod unify;

use std::collections::BTreeMap;

use super::stack;
use super::syntax::{self, Failure, Parsed, Source};
pub(super) use declared::{Declared, escape};
pub(super) use types::Type;

/// The variables that an expression may name.
#[derive(Clone, Default)]
pub(super) struct Environment {
    variables: BTreeMap<String, Type>,
}

impl Environment {
    /// Declares a variable; an earlier one of the name goes.
    pub(super) fn declare(&mut self, name: &str, kind: Type) {
        self.variables.insert(name.to_owned(), kind);
    }

    fn variable(&self, name: &str) -> Option<&Type> {
        self.variables.get(name)
    }
}

/// An expression without errors.
pub(super) struct Checked {
    parsed: Parsed,
    found: checker::Found,
}

impl Checked {
    /// The type of the whole.
    pub(super) fn result(&self) -> Type {
        self.found.kind(&self.parsed.tree)
    }

    /// What it costs at most to run it on values of a schema.
    pub(super) fn max_cost(&self, schema: &Declared) -> u64 {
        let tree = &self.parsed.tree;
        let estimate = || cost::estimate(tree, &self.found, schema).max;
        stack::with_room(stack::is_high(tree), estimate).unwrap_or(u64::MAX)
    }

    /// Whether it names a variable.
    pub(super) fn uses(&self, variable: &str) -> bool {
        self.parsed.tree.references().has_variable(variable)
    }
}

/// Why an expression is refused.
pub(super) enum Refused {
    /// It is not of the grammar.
    Syntax,
    /// With the places marked in it.
    Why(String),
}

/// Checks an expression.
pub(super) fn check(text: &str, environment: &Environment) -> Result<Checked, Refused> {
    let source = Source::new(text);
    let parsed = syntax::parse(&source).map_err(|failure| match failure {
        Failure::Syntax => Refused::Syntax,
        Failure::Issues(issues) => Refused::Why(source.show(issues)),
        Failure::Limit(why) => Refused::Why(Source::show_limit(&why)),
    })?;
    let mut found = checker::check(&parsed, environment);
    if found.issues.is_empty() {
        found.issues = literals::check(&parsed, &found);
    }
    if found.issues.is_empty() {
        Ok(Checked { parsed, found })
    } else {
        Err(Refused::Why(source.show(found.issues)))
    }
}
