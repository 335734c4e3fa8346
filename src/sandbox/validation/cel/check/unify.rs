//! Which type stands where another is wanted, and what the types that are still looked for turn out to be.

use std::slice;
use std::sync::Arc;

use super::types::Type;

/// The types found so far, by the number of the variable.
#[derive(Default)]
pub(super) struct Bindings {
    found: Vec<Option<Type>>,
    /// What was found before, newest last, so that an attempt that fails leaves nothing.
    trail: Vec<(usize, Option<Type>)>,
}

impl Bindings {
    /// A type that is looked for.
    pub(super) fn fresh(&mut self) -> Type {
        self.found.push(None);
        Type::Var(self.found.len() - 1)
    }

    /// Whether the one type can stand for the other; if not, nothing is learned.
    pub(super) fn assign(&mut self, a: &Type, b: &Type) -> bool {
        self.assign_all(slice::from_ref(a), slice::from_ref(b))
    }

    /// As `assign`, pair by pair.
    pub(super) fn assign_all(&mut self, a: &[Type], b: &[Type]) -> bool {
        self.trail.clear();
        let fits = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| self.fits(a, b));
        if !fits {
            while let Some((at, before)) = self.trail.pop() {
                self.found[at] = before;
            }
        }
        fits
    }

    fn bound(&self, kind: &Type) -> Option<&Type> {
        match kind {
            Type::Var(at) => self.found.get(*at)?.as_ref(),
            _ => None,
        }
    }

    fn bind(&mut self, variable: &Type, to: Type) {
        let Type::Var(at) = variable else { return };
        let before = self.found[*at].replace(to);
        self.trail.push((*at, before));
    }

    fn fits(&mut self, a: &Type, b: &Type) -> bool {
        if matches!(b, Type::Var(_)) {
            match self.stands_for(a, b) {
                (true, _) => return true,
                (false, true) => return false,
                (false, false) => {}
            }
        }
        if matches!(a, Type::Var(_)) {
            return self.stands_for(b, a).0;
        }
        if a.is_dyn_or_error() || b.is_dyn_or_error() {
            return true;
        }
        match (a, b) {
            (Type::Null, other) | (other, Type::Null) => {
                matches!(
                    other,
                    Type::Null
                        | Type::Opaque(..)
                        | Type::Struct(_)
                        | Type::Duration
                        | Type::Timestamp
                )
            }
            (Type::Meta(_), Type::Meta(_)) => true,
            (Type::Opaque(..) | Type::List(_) | Type::Map(..), _) => {
                let (of_a, of_b) = (a.parts(), b.parts());
                a.same_kind(b)
                    && a.name() == b.name()
                    && of_a.len() == of_b.len()
                    && of_a.into_iter().zip(of_b).all(|(a, b)| self.fits(a, b))
            }
            _ => a == b,
        }
    }

    /// Whether a variable (or what is known of it) can be a type; and whether something was known of it.
    fn stands_for(&mut self, kind: &Type, variable: &Type) -> (bool, bool) {
        if kind == variable {
            return (true, true);
        }
        if let Some(known) = self.bound(variable).cloned() {
            if kind == &known {
                return (true, true);
            }
            if !self.fits(kind, &known) {
                return (false, true);
            }
            let general = most_general(kind, &known);
            if self.is_free_of(variable, &general) {
                self.bind(variable, general);
            }
            return (true, true);
        }
        if !self.is_free_of(variable, kind) {
            return (false, false);
        }
        self.bind(variable, kind.clone());
        (true, false)
    }

    /// Whether a variable does not occur in a type.
    fn is_free_of(&self, variable: &Type, within: &Type) -> bool {
        if variable == within {
            return false;
        }
        match within {
            Type::Var(_) => self.bound(within).is_none_or(|known| self.is_free_of(variable, known)),
            other => other.parts().into_iter().all(|part| self.is_free_of(variable, part)),
        }
    }

    /// The type with everything in it that is known; what is not becomes `dyn` if wanted.
    pub(super) fn resolve(&self, kind: &Type, to_dyn: bool) -> Type {
        let resolve = |part: &Arc<Type>| Arc::new(self.resolve(part, to_dyn));
        match kind {
            Type::Var(_) => match self.bound(kind) {
                Some(known) => self.resolve(known, to_dyn),
                None if to_dyn => Type::Dyn,
                None => kind.clone(),
            },
            Type::Opaque(name, of) => Type::Opaque(name, of.as_ref().map(resolve)),
            Type::List(of) => Type::List(resolve(of)),
            Type::Map(key, value) => Type::Map(resolve(key), resolve(value)),
            Type::Meta(of) => Type::Meta(of.as_ref().map(resolve)),
            other => other.clone(),
        }
    }
}

/// Of two types that fit each other the one that says less.
pub(super) fn most_general(a: &Type, b: &Type) -> Type {
    if says_no_more(a, b) { a.clone() } else { b.clone() }
}

fn says_no_more(a: &Type, b: &Type) -> bool {
    if matches!(a, Type::Dyn | Type::Var(_)) {
        return true;
    }
    if matches!(b, Type::Dyn | Type::Var(_)) || !a.same_kind(b) {
        return false;
    }
    match a {
        Type::Opaque(..) | Type::List(_) | Type::Map(..) => {
            let (of_a, of_b) = (a.parts(), b.parts());
            a.name() == b.name()
                && of_a.len() == of_b.len()
                && of_a.into_iter().zip(of_b).all(|(a, b)| says_no_more(a, b))
        }
        Type::Meta(_) => true,
        _ => a == b,
    }
}
