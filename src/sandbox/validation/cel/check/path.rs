//! Where in a schema a value is: a variable, then fields, `@items`, `@values`, `@keys`.
//!
//! cel-go grows these paths with Go's `append`, which writes into the array that other paths still use when there is room
//! behind. So in `self.list.exists(i, i.names.exists(n, n == i.name))` the path of `i.names` becomes that of `i.name`
//! before its size is asked for, and the rule is cheaper than it should be. Users' rules pass because of that, so paths
//! here share their arrays in the same way.

use std::cell::RefCell;
use std::rc::Rc;

use super::declared::Declared;

/// A path that may share its array with others.
#[derive(Clone, Default)]
pub(super) struct Path {
    array: Rc<RefCell<Vec<String>>>,
    length: usize,
}

impl Path {
    /// The path of a variable.
    pub(super) fn of(variable: &str) -> Self {
        Self { array: Rc::new(RefCell::new(vec![variable.to_owned()])), length: 1 }
    }

    /// One step further, in the same array if it has room.
    pub(super) fn append(&self, step: &str) -> Self {
        let mut array = self.array.borrow_mut();
        if let Some(slot) = array.get_mut(self.length) {
            step.clone_into(slot);
            drop(array);
            return Self { array: Rc::clone(&self.array), length: self.length + 1 };
        }
        let room = (self.length * 2).max(1);
        let mut longer = array.clone();
        longer.push(step.to_owned());
        longer.resize(room, String::new());
        Self { array: Rc::new(RefCell::new(longer)), length: self.length + 1 }
    }

    /// One step further, in an array of its own.
    pub(super) fn step(&self, step: &str) -> Self {
        let mut array = self.array.borrow()[..self.length].to_vec();
        array.push(step.to_owned());
        Self { array: Rc::new(RefCell::new(array)), length: self.length + 1 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The variable that it begins with.
    pub(super) fn starts_with(&self, variable: &str) -> bool {
        self.length > 0 && self.array.borrow().first().is_some_and(|found| found == variable)
    }

    /// What the steps after the variable lead to.
    pub(super) fn find<'a>(&self, root: &'a Declared) -> Option<&'a Declared> {
        if self.length == 0 { None } else { root.at(&self.array.borrow()[1..self.length]) }
    }
}
