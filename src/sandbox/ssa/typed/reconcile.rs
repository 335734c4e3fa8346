//! Brings a field set that was written under an older schema up to date: where a field became atomic, its owner owns
//! the field instead of what is below it.

use super::super::path::PathElement;
use super::super::set::Set;
use super::super::types::{Handler, Relation, TypeRef};

/// The set as it is to be read under the current schema; `None` when nothing changes.
pub(in crate::sandbox::ssa) fn reconcile(set: &Set, typ: TypeRef<'_>) -> Option<Set> {
    let mut became_atomic = Set::default();
    walk(Some(set), false, typ, &mut Vec::new(), &mut became_atomic);
    if became_atomic.is_empty() {
        return None;
    }
    Some(set.recursive_difference(&became_atomic).union(&became_atomic))
}

fn walk(
    set: Option<&Set>,
    atomic: bool,
    typ: TypeRef<'_>,
    path: &mut Vec<PathElement>,
    out: &mut Set,
) {
    match typ.atom().handler() {
        Handler::Scalar(_) | Handler::None => {}
        Handler::List(list) => {
            if !atomic && matches!(list.relation, Relation::Atomic) {
                out.insert(path);
                return;
            }
            descend(set, |_| Some(list.items), path, out);
        }
        Handler::Map(map) => {
            if map.is_deduced() {
                return;
            }
            if !atomic && map.atomic {
                if set.is_some_and(|set| !set.is_empty()) {
                    out.insert(path);
                }
                return;
            }
            let field = |element: &PathElement| match element {
                PathElement::Field(name) => match map.field(name) {
                    TypeRef::Nothing => None,
                    typ => Some(typ),
                },
                _ => None,
            };
            descend(set, field, path, out);
        }
    }
}

fn descend<'a>(
    set: Option<&Set>,
    typ: impl Fn(&PathElement) -> Option<TypeRef<'a>>,
    path: &mut Vec<PathElement>,
    out: &mut Set,
) {
    let Some(set) = set else { return };
    let only_children = set.children.keys().filter(|element| !set.members.contains(*element));
    for element in only_children.chain(&set.members) {
        let Some(typ) = typ(element) else { continue };
        let below = set.children.get(element);
        let atomic = set.members.contains(element) && below.is_none();
        path.push(element.clone());
        walk(below, atomic, typ, path, out);
        path.pop();
    }
}
