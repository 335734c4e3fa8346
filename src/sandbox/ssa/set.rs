//! Sets of paths, and their algebra.
//!
//! A path may be a member although longer paths below it are members too: both "owns the item" and "owns fields of the
//! item" are facts. The operations follow structured-merge-diff's `fieldpath.Set`.

use std::collections::{BTreeMap, BTreeSet};

use super::path::PathElement;
use super::types::TypeRef;

/// A set of paths as a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// Paths that end here.
    pub(super) members: BTreeSet<PathElement>,
    /// Paths that go on.
    pub(super) children: BTreeMap<PathElement, Self>,
}

impl Set {
    /// The set of some paths of fields: `Set::of_fields(&[&["metadata", "labels"], &["spec"]])`.
    pub fn of_fields(paths: &[&[&str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<_> = path.iter().map(|name| PathElement::field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// Whether no path is a member.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.children.values().all(Self::is_empty)
    }

    /// Adds a path. The empty path is no member of any set.
    pub fn insert(&mut self, path: &[PathElement]) {
        match path {
            [] => {}
            [last] => {
                if !self.members.contains(last) {
                    self.members.insert(last.clone());
                }
            }
            [first, rest @ ..] => {
                if let Some(child) = self.children.get_mut(first) {
                    child.insert(rest);
                } else {
                    let mut child = Self::default();
                    child.insert(rest);
                    self.children.insert(first.clone(), child);
                }
            }
        }
    }

    /// Whether exactly this path is a member.
    pub fn has(&self, path: &[PathElement]) -> bool {
        match path {
            [] => false,
            [last] => self.members.contains(last),
            [first, rest @ ..] => self.children.get(first).is_some_and(|child| child.has(rest)),
        }
    }

    /// Members of either.
    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        out.extend(other);
        out
    }

    /// Adds the members of another set.
    pub fn extend(&mut self, other: &Self) {
        self.members.extend(other.members.iter().cloned());
        for (element, set) in &other.children {
            self.children.entry(element.clone()).or_default().extend(set);
        }
    }

    /// Members of both.
    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        let children = self
            .children
            .iter()
            .filter_map(|(element, set)| {
                let both = set.intersection(other.children.get(element)?);
                (!both.is_empty()).then(|| (element.clone(), both))
            })
            .collect();
        Self { members, children }
    }

    /// Members of this set that are not members of the other; paths below a member of the other stay.
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = self
            .children
            .iter()
            .filter_map(|(element, set)| {
                let rest = match other.children.get(element) {
                    Some(other) => set.difference(other),
                    None => set.clone(),
                };
                (!rest.is_empty()).then(|| (element.clone(), rest))
            })
            .collect();
        Self { members, children }
    }

    /// Members of this set that are neither members of the other nor below one.
    pub fn recursive_difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let children = self
            .children
            .iter()
            .filter(|(element, _)| !other.members.contains(element))
            .filter_map(|(element, set)| {
                let rest = match other.children.get(element) {
                    Some(other) => set.recursive_difference(other),
                    None => set.clone(),
                };
                (!rest.is_empty()).then(|| (element.clone(), rest))
            })
            .collect();
        Self { members, children }
    }

    /// Only the members at or below the paths of `roots`.
    pub fn only_below(&self, roots: &Self) -> Self {
        let members = self.members.intersection(&roots.members).cloned().collect();
        let children = self
            .children
            .iter()
            .filter_map(|(element, set)| {
                let kept = if roots.members.contains(element) {
                    set.clone()
                } else {
                    set.only_below(roots.children.get(element)?)
                };
                (!kept.is_empty()).then(|| (element.clone(), kept))
            })
            .collect();
        Self { members, children }
    }

    /// The set with every declared field on the way to a member made a member too: pruning needs it, because structs
    /// are not members themselves.
    pub(super) fn with_named_fields(&self, typ: TypeRef<'_>) -> Self {
        let atom = typ.atom();
        let mut members = self.members.clone();
        let mut children = BTreeMap::new();
        for (element, set) in &self.children {
            let below = match element {
                PathElement::Field(name) => {
                    if atom.map.as_ref().is_some_and(|map| map.declares(name)) {
                        members.insert(element.clone());
                    }
                    atom.map.as_ref().map_or(TypeRef::Nothing, |map| map.field(name))
                }
                PathElement::Key(_) => {
                    atom.list.as_ref().map_or(TypeRef::Nothing, |list| list.items)
                }
                PathElement::Value(_) | PathElement::Index(_) => TypeRef::Nothing,
            };
            children.insert(element.clone(), set.with_named_fields(below));
        }
        Self { members, children }
    }

    /// Every member, those of a level before those below it, as the API server lists them.
    pub fn paths(&self) -> Vec<Vec<PathElement>> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, prefix: &mut Vec<PathElement>, out: &mut Vec<Vec<PathElement>>) {
        for member in &self.members {
            let mut path = prefix.clone();
            path.push(member.clone());
            out.push(path);
        }
        for (element, set) in &self.children {
            prefix.push(element.clone());
            set.collect(prefix, out);
            prefix.pop();
        }
    }
}
