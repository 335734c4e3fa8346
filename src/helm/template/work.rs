//! How much a rendering may do. Go's templates may loop and call for as long as they like; here that ends in an error.
//!
//! A step is what the evaluator does for one action, one call or one turn of a loop. Functions whose work grows with what
//! they are given take more, by these prices: what is made costs memory too, so its limit is a limit of memory as well.

use std::cell::Cell;

/// What a rendering may take unless it is told otherwise. Of Istio's charts `base`, with all its CRDs, takes the most: 2.4 million.
pub(crate) const MAX_STEPS: u64 = 500_000_000;

/// So many bytes of text are made in a step, and so many are read.
pub(crate) const MADE: usize = 4;
pub(crate) const READ: usize = 16;
/// Steps for an element of a new list, an entry of a new map, a text of its own in a list.
pub(crate) const ITEM: usize = 8;
pub(crate) const ENTRY: usize = 24;
pub(crate) const PART: usize = 16;

/// The steps that are left. Shared by all that takes part in a rendering; what is spent stays spent.
#[derive(Debug)]
pub(crate) struct Work {
    limit: u64,
    left: Cell<i64>,
}

impl Work {
    pub(crate) fn new(steps: u64) -> Self {
        Self { limit: steps, left: Cell::new(i64::try_from(steps).unwrap_or(i64::MAX)) }
    }

    /// Takes steps. False when there are not so many left: the caller stops where it is, with any result, for the
    /// evaluator ends the rendering.
    pub(crate) fn take(&self, steps: usize) -> bool {
        let left = self.left.get().saturating_sub(i64::try_from(steps).unwrap_or(i64::MAX));
        self.left.set(left);
        left >= 0
    }

    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() < 0
    }

    /// For a text that is made.
    pub(crate) fn made(&self, bytes: usize) -> bool {
        self.take(bytes / MADE)
    }

    /// For a text that is read.
    pub(crate) fn read(&self, bytes: usize) -> bool {
        self.take(bytes / READ)
    }

    /// What the error says.
    pub(crate) fn spent_text(&self) -> String {
        format!(
            "the rendering takes more than {} steps: a loop turns too often here, or a function has too much to do",
            self.limit
        )
    }
}
