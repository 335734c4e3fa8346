//! Values read by their types: validation, field sets, comparison, merge and removal.
//!
//! The walks mirror structured-merge-diff's `typed` package: which kind of value is looked at first, what counts as a
//! leaf, and when an empty or null value differs from an absent one decide who owns what. Reading order: `walk`
//! (list items and their keys), `validate`, `fields` (what an object mentions), `compare`, `merge`, `remove`,
//! `reconcile` (sets written under an older schema).

mod compare;
mod fields;
mod merge;
mod reconcile;
mod remove;
mod validate;
mod walk;

pub(super) use compare::{Comparison, compare};
pub(super) use fields::field_set;
pub(super) use merge::merge;
pub(super) use reconcile::reconcile;
pub(super) use remove::remove;
pub(super) use validate::{Duplicates, validate};
pub(super) use walk::same;

use std::fmt;

/// What is wrong with a value, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TypeErrors(Vec<(String, String)>);

impl TypeErrors {
    fn one(message: String) -> Self {
        Self(vec![(String::new(), message)])
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn below(mut self, element: &dyn fmt::Display) -> Self {
        if !self.0.is_empty() {
            let prefix = element.to_string();
            for (path, _) in &mut self.0 {
                path.insert_str(0, &prefix);
            }
        }
        self
    }

    fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for TypeErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |(path, message): &(String, String)| {
            if path.is_empty() { message.clone() } else { format!("{path}: {message}") }
        };
        if let [only] = self.0.as_slice() {
            return f.write_str(&line(only));
        }
        f.write_str("errors:")?;
        for error in &self.0 {
            write!(f, "\n  {}", line(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for TypeErrors {}
