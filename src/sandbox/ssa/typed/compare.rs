//! What differs between two objects, as sets of paths.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::path::PathElement;
use super::super::set::Set;
use super::super::types::{Handler, ListOf, MapOf, Relation, TypeRef};
use super::TypeErrors;
use super::validate::scalar_fits;
use super::walk::{as_list, as_map, item_element, keys_of, same};

/// The difference from one object to another. No path is in two of the sets.
#[derive(Clone, Debug, Default)]
pub(in crate::sandbox::ssa) struct Comparison {
    pub(in crate::sandbox::ssa) removed: Set,
    pub(in crate::sandbox::ssa) modified: Set,
    pub(in crate::sandbox::ssa) added: Set,
}

impl Comparison {
    /// The comparison as a filter lets it through.
    pub(in crate::sandbox::ssa) fn map(self, filter: impl Fn(Set) -> Set) -> Self {
        Self {
            removed: filter(self.removed),
            modified: filter(self.modified),
            added: filter(self.added),
        }
    }
}

/// Compares two values of one type.
pub(in crate::sandbox::ssa) fn compare(
    old: &Value,
    new: &Value,
    typ: TypeRef<'_>,
) -> Result<Comparison, TypeErrors> {
    let mut walker = Walker { path: Vec::new(), out: Comparison::default() };
    let errors = walker.compare(Some(old), Some(new), typ);
    errors.into_result(walker.out)
}

struct Walker {
    path: Vec<PathElement>,
    out: Comparison,
}

impl Walker {
    fn compare(
        &mut self,
        old: Option<&Value>,
        new: Option<&Value>,
        typ: TypeRef<'_>,
    ) -> TypeErrors {
        let atom = typ.atom();
        let (old_atom, new_atom) = (atom.deduce(old), atom.deduce(new));
        let mut errors = TypeErrors::default();
        // A leaf notes the difference itself; of anything else the coming and going of the whole is noted, too.
        let mut leaf = false;
        if new.is_none() {
            errors.extend(self.handle(old_atom.handler(), old, new, &mut leaf));
        } else if old.is_none() || old_atom.agrees(&new_atom) {
            errors.extend(self.handle(new_atom.handler(), old, new, &mut leaf));
        } else {
            let mut old_leaf = false;
            errors.extend(self.handle(old_atom.handler(), old, new, &mut old_leaf));
            errors.extend(self.handle(new_atom.handler(), old, new, &mut leaf));
        }
        if !leaf {
            if old.is_none() {
                self.out.added.insert(&self.path);
            } else if new.is_none() {
                self.out.removed.insert(&self.path);
            }
        }
        errors
    }

    fn handle(
        &mut self,
        handler: Handler<'_>,
        old: Option<&Value>,
        new: Option<&Value>,
        leaf: &mut bool,
    ) -> TypeErrors {
        match handler {
            Handler::Scalar(scalar) => {
                if let (Err(left), Err(right)) =
                    (scalar_fits(scalar, old), scalar_fits(scalar, new))
                {
                    let mut errors = TypeErrors::one(format!("lhs: {left}"));
                    errors.extend(TypeErrors::one(format!("rhs: {right}")));
                    return errors;
                }
                self.leaf(old, new, leaf);
                TypeErrors::default()
            }
            Handler::Map(map) => {
                let (left, right) = (as_map(old), as_map(new));
                let empty = left.is_none_or(serde_json::Map::is_empty)
                    && right.is_none_or(serde_json::Map::is_empty);
                if map.atomic || empty {
                    self.leaf(old, new, leaf);
                    return TypeErrors::default();
                }
                self.maps(left, right, &map)
            }
            Handler::List(list) => {
                let (left, right) = (as_list(old), as_list(new));
                let empty =
                    left.is_none_or(<[Value]>::is_empty) && right.is_none_or(<[Value]>::is_empty);
                if matches!(list.relation, Relation::Atomic) || empty {
                    self.leaf(old, new, leaf);
                    return TypeErrors::default();
                }
                self.lists(left.unwrap_or_default(), right.unwrap_or_default(), &list)
            }
            Handler::None => TypeErrors::one("schema error: invalid atom: inlined".to_owned()),
        }
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>, leaf: &mut bool) {
        *leaf = true;
        match (old, new) {
            (None, _) => self.out.added.insert(&self.path),
            (Some(_), None) => self.out.removed.insert(&self.path),
            (Some(old), Some(new)) => {
                if !same(old, new) {
                    self.out.modified.insert(&self.path);
                }
            }
        }
    }

    fn maps(
        &mut self,
        left: Option<&serde_json::Map<String, Value>>,
        right: Option<&serde_json::Map<String, Value>>,
        map: &MapOf<'_>,
    ) -> TypeErrors {
        let mut errors = TypeErrors::default();
        for name in keys_of(left, right) {
            let old = left.and_then(|left| left.get(name));
            let new = right.and_then(|right| right.get(name));
            errors.extend(self.child(PathElement::field(name), old, new, map.field(name)));
        }
        errors
    }

    fn child(
        &mut self,
        element: PathElement,
        old: Option<&Value>,
        new: Option<&Value>,
        typ: TypeRef<'_>,
    ) -> TypeErrors {
        self.path.push(element);
        let errors = self.compare(old, new, typ);
        match self.path.pop() {
            Some(element) => errors.below(&element),
            None => errors,
        }
    }

    fn lists(&mut self, left: &[Value], right: &[Value], list: &ListOf<'_>) -> TypeErrors {
        let mut errors = TypeErrors::default();
        let mut items: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
        for (at, item) in left.iter().enumerate() {
            match item_element(list, item) {
                Ok(element) => items.entry(element).or_default().0.push(item),
                Err(message) => {
                    errors.extend(TypeErrors::one(format!("element {at}: {message}")));
                }
            }
        }
        for (at, item) in right.iter().enumerate() {
            match item_element(list, item) {
                Ok(element) => items.entry(element).or_default().1.push(item),
                Err(message) => {
                    errors.extend(TypeErrors::one(format!("element {at}: {message}")));
                }
            }
        }
        if !errors.is_empty() {
            return errors;
        }
        for (element, (old, new)) in items {
            errors.extend(self.item(element, &old, &new, list));
        }
        errors
    }

    /// One item of a list; items that are there twice compare as a whole.
    fn item(
        &mut self,
        element: PathElement,
        old: &[&Value],
        new: &[&Value],
        list: &ListOf<'_>,
    ) -> TypeErrors {
        let mut path = self.path.clone();
        path.push(element.clone());
        match (old.len(), new.len()) {
            (0 | 1, 0 | 1) => {
                self.child(element, old.first().copied(), new.first().copied(), list.items)
            }
            (2.., 2..) => {
                let equal = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| same(a, b));
                if !equal {
                    self.out.modified.insert(&path);
                }
                TypeErrors::default()
            }
            (2.., _) => {
                let errors = match new.first() {
                    Some(new) => self.child(element, None, Some(new), list.items),
                    None => TypeErrors::default(),
                };
                self.out.removed.insert(&path);
                errors
            }
            (_, _) => {
                let errors = match old.first() {
                    Some(old) => self.child(element, Some(old), None, list.items),
                    None => TypeErrors::default(),
                };
                self.out.added.insert(&path);
                errors
            }
        }
    }
}
