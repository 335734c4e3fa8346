//! The walk over a tree that finds the type of each node, as cel-go's checker does it.

use std::collections::HashMap;

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr,
    SelectExpr, StructExpr, operators,
};

use super::Environment;
use super::declared::escape;
use super::signatures::{self, Signature};
use super::types::Type;
use super::unify::{Bindings, most_general};
use crate::sandbox::validation::cel::syntax::{Issue, Parsed};

/// What a call turned out to call.
pub(super) struct Called {
    /// With the words before it, if the function's name has a dot.
    pub(super) name: String,
    /// What the cost of each way to call it that fits is told by.
    pub(super) ids: Vec<&'static str>,
    pub(super) is_method: bool,
}

/// What was found, by the ids of the nodes.
#[derive(Default)]
pub(super) struct Found {
    pub(super) types: Vec<Type>,
    pub(super) calls: HashMap<u64, Called>,
    /// Fields that are names with a dot: `authorizer.requestResource`.
    pub(super) names: HashMap<u64, String>,
    pub(super) issues: Vec<Issue>,
}

impl Found {
    pub(super) fn kind(&self, node: &IdedExpr) -> Type {
        index(node.id).and_then(|at| self.types.get(at)).cloned().unwrap_or(Type::Dyn)
    }
}

fn index(id: u64) -> Option<usize> {
    usize::try_from(id).ok()
}

/// Finds all types.
pub(super) fn check(parsed: &Parsed, environment: &Environment) -> Found {
    let mut checker = Checker {
        parsed,
        environment,
        scopes: Vec::new(),
        bindings: Bindings::default(),
        found: Found { types: vec![Type::Dyn; parsed.n_ids()], ..Found::default() },
    };
    checker.node(&parsed.tree);
    let Checker { bindings, mut found, .. } = checker;
    for kind in &mut found.types {
        *kind = bindings.resolve(kind, true);
    }
    found
}

struct Checker<'a> {
    parsed: &'a Parsed,
    environment: &'a Environment,
    /// The variables of loops, the innermost last.
    scopes: Vec<(String, Type)>,
    bindings: Bindings,
    found: Found,
}

impl Checker<'_> {
    fn issue(&mut self, id: u64, message: String) {
        let place = self.parsed.place(id);
        self.found.issues.push(Issue { place, message });
    }

    fn undeclared(&mut self, id: u64, name: &str) {
        self.issue(id, format!("undeclared reference to '{name}' (in container '')"));
    }

    fn mismatch(&mut self, id: u64, wanted: &Type, found: &Type) {
        self.issue(id, format!("expected type '{wanted}' but found '{found}'"));
    }

    /// Finds the type of a node and all below it.
    fn node(&mut self, node: &IdedExpr) -> Type {
        let kind = match &node.expr {
            Expr::Literal(literal) => of_literal(literal),
            Expr::Ident(name) => match self.lookup(name) {
                Some(kind) => kind,
                None => {
                    self.undeclared(node.id, name);
                    Type::Error
                }
            },
            Expr::Select(select) => self.select(node, select),
            Expr::Call(call) => self.call(node, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Struct(message) => self.message(node, message),
            Expr::Comprehension(parts) => self.comprehension(parts),
            Expr::Unspecified => Type::Error,
        };
        if let Some(slot) = index(node.id).and_then(|at| self.found.types.get_mut(at)) {
            *slot = kind.clone();
        }
        kind
    }

    fn lookup(&self, name: &str) -> Option<Type> {
        let name = name.strip_prefix('.').unwrap_or(name);
        let local = self.scopes.iter().rev().find(|(known, _)| known == name);
        local
            .map(|(_, kind)| kind.clone())
            .or_else(|| self.environment.variable(name).cloned())
            .or_else(|| signatures::named_type(name).map(Type::type_of))
    }

    fn select(&mut self, node: &IdedExpr, select: &SelectExpr) -> Type {
        if let Some(name) = dotted_name(node)
            && let Some(kind) = self.lookup(&name)
        {
            self.found.names.insert(node.id, name);
            return kind;
        }
        let kind = self.field(node.id, &select.operand, &select.field, false);
        if select.test { Type::Bool } else { self.bindings.resolve(&kind, false) }
    }

    fn field(&mut self, id: u64, operand: &IdedExpr, field: &str, optional: bool) -> Type {
        let operand = self.node(operand);
        let operand = self.bindings.resolve(&operand, false);
        let (target, is_optional) = operand.unwrapped();
        let found = match target {
            Type::Map(_, value) => value.as_ref().clone(),
            // A field may also be named as a word of the language is.
            Type::Struct(object) => object
                .fields
                .get(field)
                .or_else(|| object.fields.get(&escape(field)?))
                .cloned()
                .unwrap_or_else(|| {
                    let name = &object.name;
                    self.issue(
                        id,
                        if signatures::is_opaque(name) {
                            format!("unexpected failed resolution of '{name}'")
                        } else {
                            format!("undefined field '{field}'")
                        },
                    );
                    Type::Error
                }),
            Type::Var(_) => {
                self.bindings.assign(&Type::Dyn, target);
                Type::Dyn
            }
            other => {
                if !other.is_dyn_or_error() {
                    self.issue(id, format!("type '{other}' does not support field selection"));
                }
                Type::Dyn
            }
        };
        if is_optional || optional { Type::optional(found) } else { found }
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Type {
        if call.func_name == operators::OPT_SELECT
            && let [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(field)), .. }] =
                call.args.as_slice()
        {
            let kind = self.field(node.id, operand, field.inner(), true);
            let called = Called { name: call.func_name.clone(), ids: vec![""], is_method: false };
            self.found.calls.insert(node.id, called);
            return self.bindings.resolve(&kind, false);
        }
        let mut args: Vec<Type> = call.args.iter().map(|arg| self.node(arg)).collect();
        let Some(target) = &call.target else {
            let name = call.func_name.strip_prefix('.').unwrap_or(&call.func_name);
            return match signatures::function(name) {
                Some([Signature { id: "logic", .. }]) => self.logic(node.id, name, &call.args),
                Some(ways) => self.resolve(node.id, name, ways, args, false),
                None => {
                    self.undeclared(node.id, &call.func_name);
                    Type::Error
                }
            };
        };
        if let Some(before) = dotted_name(target) {
            let name = format!("{before}.{}", call.func_name);
            let name = name.strip_prefix('.').unwrap_or(&name);
            if let Some(ways) = signatures::function(name) {
                return self.resolve(node.id, name, ways, args, false);
            }
        }
        args.insert(0, self.node(target));
        match signatures::function(&call.func_name) {
            Some(ways) => self.resolve(node.id, &call.func_name, ways, args, true),
            None => {
                self.undeclared(node.id, &call.func_name);
                Type::Error
            }
        }
    }

    /// Of `&&` and `||` each side is told by itself.
    fn logic(&mut self, id: u64, name: &str, args: &[IdedExpr]) -> Type {
        let mut result = Type::Bool;
        for arg in args {
            let kind = self.found.kind(arg);
            if !self.bindings.assign(&kind, &Type::Bool) {
                self.mismatch(arg.id, &Type::Bool, &kind);
                result = Type::Error;
            }
        }
        let called = Called { name: name.to_owned(), ids: vec!["logic"], is_method: false };
        self.found.calls.insert(id, called);
        result
    }

    /// Picks the ways to call a function that fit the arguments; the first gives the type.
    fn resolve(
        &mut self,
        id: u64,
        name: &str,
        ways: &[Signature],
        mut args: Vec<Type>,
        is_method: bool,
    ) -> Type {
        let mut result: Option<Type> = None;
        let mut ids = Vec::new();
        for way in ways.iter().filter(|way| way.is_method == is_method) {
            let fresh: Vec<(char, Type)> =
                way.parameters.iter().map(|letter| (*letter, self.bindings.fresh())).collect();
            let wanted: Vec<Type> = way.args.iter().map(|arg| instance(arg, &fresh)).collect();
            if !self.bindings.assign_all(&args, &wanted) {
                continue;
            }
            ids.push(way.id);
            let kind = self.bindings.resolve(&instance(&way.result, &fresh), false);
            result = Some(match result {
                None => kind,
                Some(before) if matches!(before, Type::Dyn) || before == kind => before,
                Some(_) => Type::Dyn,
            });
        }
        let Some(result) = result else {
            for arg in &mut args {
                *arg = self.bindings.resolve(arg, true);
            }
            self.no_way(id, name, &args, is_method);
            return Type::Error;
        };
        self.found.calls.insert(id, Called { name: name.to_owned(), ids, is_method });
        result
    }

    fn no_way(&mut self, id: u64, name: &str, args: &[Type], is_method: bool) {
        let (target, args) = match args.split_first() {
            Some((target, rest)) if is_method => (format!("{target}."), rest),
            _ => (String::new(), args),
        };
        let args: Vec<String> = args.iter().map(Type::to_string).collect();
        let applied = format!("{target}({})", args.join(", "));
        self.issue(id, format!("found no matching overload for '{name}' applied to '{applied}'"));
    }

    /// The type of an entry with a question mark: what the optional holds.
    fn unwrap(&mut self, node: &IdedExpr, kind: Type) -> Type {
        let (inner, is_optional) = kind.unwrapped();
        if !is_optional && !matches!(inner, Type::Dyn) {
            self.mismatch(node.id, &Type::optional(inner.clone()), inner);
        }
        inner.clone()
    }

    fn join(&mut self, before: Option<Type>, kind: Type) -> Type {
        match before {
            None => kind,
            Some(before) if self.bindings.assign(&before, &kind) => most_general(&before, &kind),
            Some(_) => Type::Dyn,
        }
    }

    fn list(&mut self, list: &ListExpr) -> Type {
        let mut of = None;
        for (at, element) in list.elements.iter().enumerate() {
            let mut kind = self.node(element);
            if list.optional_indices.contains(&at) {
                kind = self.unwrap(element, kind);
            }
            of = Some(self.join(of, kind));
        }
        Type::list(of.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn map(&mut self, map: &MapExpr) -> Type {
        let (mut keys, mut values) = (None, None);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let kind = self.node(&entry.key);
            keys = Some(self.join(keys, kind));
            let mut kind = self.node(&entry.value);
            if entry.optional {
                kind = self.unwrap(&entry.value, kind);
            }
            values = Some(self.join(values, kind));
        }
        let keys = keys.unwrap_or_else(|| self.bindings.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.bindings.fresh()))
    }

    fn message(&mut self, node: &IdedExpr, message: &StructExpr) -> Type {
        let result = match self.lookup(&message.type_name) {
            None => {
                self.undeclared(node.id, &message.type_name);
                return Type::Error;
            }
            Some(Type::Meta(Some(of))) => match of.as_ref() {
                known @ (Type::Duration | Type::Timestamp | Type::Null) => known.clone(),
                other => {
                    self.issue(node.id, format!("'{}' is not a message type", other.name()));
                    Type::Error
                }
            },
            Some(other) => {
                self.issue(node.id, format!("'{}' is not a type", other.name()));
                Type::Error
            }
        };
        for entry in &message.entries {
            if let EntryExpr::StructField(field) = &entry.expr {
                self.node(&field.value);
            }
        }
        result
    }

    fn comprehension(&mut self, parts: &ComprehensionExpr) -> Type {
        let range = self.node(&parts.iter_range);
        let gathered = self.node(&parts.accu_init);
        let range = self.bindings.resolve(&range, false);
        let n_outside = self.scopes.len();
        self.scopes.push((parts.accu_var.clone(), gathered.clone()));
        let (first, second) = match &range {
            Type::List(of) if parts.iter_var2.is_some() => (Type::Int, of.as_ref().clone()),
            Type::List(of) => (of.as_ref().clone(), Type::Dyn),
            Type::Map(key, value) => (key.as_ref().clone(), value.as_ref().clone()),
            Type::Dyn | Type::Error | Type::Var(_) => {
                self.bindings.assign(&Type::Dyn, &range);
                (Type::Dyn, Type::Dyn)
            }
            other => {
                let message = format!(
                    "expression of type '{other}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.issue(parts.iter_range.id, message);
                (Type::Error, Type::Error)
            }
        };
        self.scopes.push((parts.iter_var.clone(), first));
        if let Some(name) = &parts.iter_var2 {
            self.scopes.push((name.clone(), second));
        }
        self.assert(&parts.loop_cond, &Type::Bool);
        self.assert(&parts.loop_step, &gathered);
        self.scopes.truncate(n_outside + 1);
        let result = self.node(&parts.result);
        self.scopes.truncate(n_outside);
        self.bindings.resolve(&result, false)
    }

    fn assert(&mut self, node: &IdedExpr, wanted: &Type) {
        let kind = self.node(node);
        if !self.bindings.assign(wanted, &kind) {
            self.mismatch(node.id, wanted, &kind);
        }
    }
}

fn of_literal(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::String,
        LiteralValue::UInt(_) => Type::Uint,
    }
}

/// `a.b.c`, if a node is that.
fn dotted_name(node: &IdedExpr) -> Option<String> {
    match &node.expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", dotted_name(&select.operand)?, select.field))
        }
        _ => None,
    }
}

/// A signature's type with types of this call in place of the letters.
fn instance(kind: &Type, fresh: &[(char, Type)]) -> Type {
    let inner = |part: &Type| instance(part, fresh);
    match kind {
        Type::Param(letter) => fresh
            .iter()
            .find(|(known, _)| known == letter)
            .map_or(Type::Dyn, |(_, variable)| variable.clone()),
        Type::List(of) => Type::list(inner(of)),
        Type::Map(key, value) => Type::map(inner(key), inner(value)),
        Type::Opaque(name, Some(of)) => Type::Opaque(name, Some(inner(of).into())),
        Type::Meta(Some(of)) => Type::type_of(inner(of)),
        other => other.clone(),
    }
}
