//! What an expression costs at most, as cel-go estimates it from the tree and from how large values can become.
//!
//! The unit is a name or a field that is read. Constants cost nothing; texts a tenth for each character that is passed;
//! loops their turns times what happens in one. `call_cost` has the functions.

use std::collections::HashMap;

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr,
};

use super::call_cost::{self, Argument};
use super::checker::Found;
use super::declared::Declared;
use super::path::Path;
use super::types::Type;
use crate::sandbox::validation::cel::syntax::RESULT;

/// The least and the most of a size or of a cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) min: u64,
    pub(super) max: u64,
}

impl Range {
    pub(super) const UNKNOWN: Self = Self { min: 0, max: u64::MAX };

    pub(super) fn fixed(size: u64) -> Self {
        Self { min: size, max: size }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self { min: self.min.saturating_add(other.min), max: self.max.saturating_add(other.max) }
    }

    pub(super) fn times(self, other: Self) -> Self {
        Self { min: self.min.saturating_mul(other.min), max: self.max.saturating_mul(other.max) }
    }

    /// Rounded up.
    pub(super) fn scaled(self, factor: f64) -> Self {
        Self { min: scale(self.min, factor), max: scale(self.max, factor) }
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }
}

fn scale(size: u64, factor: f64) -> u64 {
    (size as f64 * factor).ceil() as u64
}

/// How large the entries of a list or map are.
#[derive(Clone, Copy)]
pub(super) struct Entries {
    is_list: bool,
    key: Range,
    value: Range,
}

impl Entries {
    pub(super) fn union(self, other: Self) -> Self {
        Self {
            is_list: self.is_list,
            key: self.key.union(other.key),
            value: self.value.union(other.value),
        }
    }
}

/// The cost of a whole expression.
pub(super) fn estimate(tree: &IdedExpr, found: &Found, root: &Declared) -> Range {
    let mut coster = Coster {
        found,
        root,
        paths: HashMap::new(),
        locals: Vec::new(),
        sizes: HashMap::new(),
        entries: HashMap::new(),
    };
    coster.cost(tree)
}

struct Local {
    name: String,
    path: Path,
    size: Option<Range>,
    entries: Option<Entries>,
}

/// Facts about nodes by their ids.
pub(super) struct Coster<'a> {
    found: &'a Found,
    root: &'a Declared,
    paths: HashMap<u64, Path>,
    locals: Vec<Local>,
    sizes: HashMap<u64, Range>,
    entries: HashMap<u64, Entries>,
}

const READ: Range = Range { min: 1, max: 1 };

impl Coster<'_> {
    fn cost(&mut self, node: &IdedExpr) -> Range {
        match &node.expr {
            Expr::Literal(_) | Expr::Unspecified => Range::default(),
            Expr::Ident(name) => {
                let path =
                    self.local(name).map_or_else(|| Path::of(name), |local| local.path.clone());
                self.paths.insert(node.id, path);
                READ
            }
            Expr::Select(select) => self.select(node, select),
            Expr::Call(call) => self.call(node, call),
            Expr::List(list) => {
                let mut sum = Range::fixed(10);
                let mut value = no_size(list.elements.is_empty());
                for element in &list.elements {
                    sum = sum.plus(self.cost(element));
                    value = value.union(self.size_or_unknown(element));
                }
                let entries = Entries { is_list: true, key: Range::fixed(1), value };
                self.entries.insert(node.id, entries);
                sum
            }
            Expr::Map(map) => {
                let mut sum = Range::fixed(30);
                let mut key = no_size(map.entries.is_empty());
                let mut value = key;
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    sum = sum.plus(self.cost(&entry.key)).plus(self.cost(&entry.value));
                    key = key.union(self.size_or_unknown(&entry.key));
                    value = value.union(self.size_or_unknown(&entry.value));
                }
                self.entries.insert(node.id, Entries { is_list: false, key, value });
                sum
            }
            Expr::Struct(message) => {
                let mut sum = Range::fixed(40);
                for entry in &message.entries {
                    if let EntryExpr::StructField(field) = &entry.expr {
                        sum = sum.plus(self.cost(&field.value));
                    }
                }
                sum
            }
            Expr::Comprehension(parts) if is_binding(parts) => self.binding(node, parts),
            Expr::Comprehension(parts) => self.comprehension(node, parts),
        }
    }

    fn local(&self, name: &str) -> Option<&Local> {
        self.locals.iter().rev().find(|local| local.name == name)
    }

    fn path(&self, node: &IdedExpr) -> Path {
        if let Expr::Ident(name) = &node.expr
            && let Some(local) = self.local(name)
        {
            return local.path.clone();
        }
        self.paths.get(&node.id).cloned().unwrap_or_default()
    }

    fn select(&mut self, node: &IdedExpr, select: &SelectExpr) -> Range {
        if let Some(name) = self.found.names.get(&node.id) {
            self.paths.insert(node.id, Path::of(name));
            return READ;
        }
        let mut sum = self.cost(&select.operand);
        if select.test {
            return sum;
        }
        if matches!(
            self.found.kind(&select.operand),
            Type::Map(..) | Type::Struct(_) | Type::Param(_) | Type::Var(_)
        ) {
            sum = sum.plus(READ);
        }
        let path = self.path(&select.operand).append(&select.field);
        self.paths.insert(node.id, path);
        sum
    }

    fn call(&mut self, node: &IdedExpr, call: &CallExpr) -> Range {
        if let ("dyn", [arg]) = (call.func_name.as_str(), call.args.as_slice()) {
            let cost = self.cost(arg);
            self.copy_sizes(node, arg);
            return READ.plus(cost);
        }
        let mut costs = Range::default();
        let mut each = Vec::new();
        let mut args = Vec::new();
        for arg in &call.args {
            let cost = self.cost(arg);
            costs = costs.plus(cost);
            each.push(cost);
            args.push(self.argument(arg));
        }
        let found = self.found;
        let Some(called) = found.calls.get(&node.id) else { return Range::default() };
        let mut sum = Range::default();
        let mut target = None;
        if called.is_method
            && let Some(node) = &call.target
        {
            sum = self.cost(node);
            target = Some(self.argument(node));
        }
        let mut most = Range { min: u64::MAX, max: 0 };
        let mut size: Option<Range> = None;
        for id in &called.ids {
            let (cost, result) =
                self.way(node, &called.name, id, target.as_ref(), &args, &each, costs);
            most = most.union(cost);
            if let Some(result) = result {
                size = Some(size.map_or(result, |size| size.union(result)));
            }
            if let ("index_list" | "index_map", Some(of)) = (*id, call.args.first()) {
                size = self.entries_of(of).map(|entries| entries.value);
                let below = if *id == "index_list" { "@items" } else { "@values" };
                let path = self.path(of).append(below);
                self.paths.insert(node.id, path);
            }
            if size.is_none() {
                size = self.size(node);
            }
        }
        self.set_size(node, size);
        sum.plus(most)
    }

    /// The cost of one way to call a function with that of the arguments, and the size of what it gives.
    #[expect(clippy::too_many_arguments, reason = "all of them are facts of the one call")]
    fn way(
        &mut self,
        node: &IdedExpr,
        name: &str,
        id: &str,
        target: Option<&Argument<'_>>,
        args: &[Argument<'_>],
        each: &[Range],
        costs: Range,
    ) -> (Range, Option<Range>) {
        if let Some((cost, size)) = call_cost::known(self.root, name, id, target, args) {
            return (cost.plus(costs), size);
        }
        match (id, args, each) {
            ("logic", _, [left, right]) => {
                (Range { min: left.min, max: left.plus(*right).max }, None)
            }
            ("conditional", [_, yes, no], [condition, if_yes, if_no]) => {
                let size = yes.size_or_unknown().union(no.size_or_unknown());
                if let (Some(yes), Some(no)) = (yes.entries, no.entries) {
                    self.entries.insert(node.id, yes.union(no));
                }
                (condition.plus(if_yes.union(*if_no)), Some(size))
            }
            ("add_list" | "add_text", [left, right], _) => {
                let size = left.size_or_unknown().plus(right.size_or_unknown());
                if let (Some(left), Some(right)) = (left.entries, right.entries) {
                    self.entries.insert(node.id, left.union(right));
                }
                let own = if id == "add_list" { READ } else { size.scaled(call_cost::PASSED) };
                (own.plus(costs), Some(size))
            }
            _ => {
                let (cost, size) = call_cost::standard(id, target, args).unwrap_or((READ, None));
                (cost.plus(costs), size)
            }
        }
    }

    fn argument<'n>(&mut self, node: &'n IdedExpr) -> Argument<'n> {
        let path = self.path(node);
        Argument {
            path: if path.starts_with(RESULT) { Path::default() } else { path },
            kind: self.found.kind(node),
            node: Some(node),
            size: self.size(node),
            entries: self.entries_of(node),
        }
    }

    fn comprehension(&mut self, node: &IdedExpr, parts: &ComprehensionExpr) -> Range {
        let mut sum = self.cost(&parts.iter_range).plus(self.cost(&parts.accu_init));
        let n_outside = self.locals.len();
        self.push_value(&parts.accu_var, &parts.accu_init);
        let entries = self.entries_of(&parts.iter_range);
        let is_list = entries.map_or_else(
            || matches!(self.found.kind(&parts.iter_range), Type::List(_)),
            |entries| entries.is_list,
        );
        let (keys, values) = if is_list { ("@indices", "@items") } else { ("@keys", "@values") };
        let key = (keys, entries.map(|entries| entries.key));
        let value = (values, entries.map(|entries| entries.value));
        let first = if parts.iter_var2.is_none() && is_list { value } else { key };
        self.push_entry(&parts.iter_var, &parts.iter_range, first);
        if let Some(name) = &parts.iter_var2 {
            self.push_entry(name, &parts.iter_range, value);
        }
        let turn = self.cost(&parts.loop_cond);
        let turn = self.cost(&parts.loop_step).plus(turn);
        self.locals.truncate(n_outside + 1);
        sum = sum.plus(self.cost(&parts.result));
        self.locals.truncate(n_outside);
        let n_turns = self.size_or_unknown(&parts.iter_range);
        sum = sum.plus(n_turns.times(turn));
        match &parts.accu_init.expr {
            Expr::Literal(_) => {
                let size = self.size(&parts.accu_init);
                self.set_size(node, size);
            }
            Expr::List(_) | Expr::Map(_) => {
                self.set_size(node, Some(n_turns));
                if let Some(entries) = self.entries_of(&parts.loop_step) {
                    self.entries.insert(node.id, entries);
                }
            }
            _ => {}
        }
        sum
    }

    /// A loop that only gives a name to a value.
    fn binding(&mut self, node: &IdedExpr, parts: &ComprehensionExpr) -> Range {
        let sum = self.cost(&parts.iter_range).plus(self.cost(&parts.accu_init));
        let n_outside = self.locals.len();
        self.push_value(&parts.accu_var, &parts.accu_init);
        let sum = sum.plus(self.cost(&parts.result));
        self.locals.truncate(n_outside);
        self.copy_sizes(node, &parts.result);
        sum
    }

    fn push_value(&mut self, name: &str, value: &IdedExpr) {
        let (path, size, entries) = (self.path(value), self.size(value), self.entries_of(value));
        self.locals.push(Local { name: name.to_owned(), path, size, entries });
    }

    fn push_entry(&mut self, name: &str, range: &IdedExpr, (below, size): (&str, Option<Range>)) {
        let path = self.path(range).append(below);
        self.locals.push(Local { name: name.to_owned(), path, size, entries: None });
    }

    fn set_size(&mut self, node: &IdedExpr, size: Option<Range>) {
        if let Some(size) = size {
            self.sizes.insert(node.id, size);
        }
    }

    fn copy_sizes(&mut self, to: &IdedExpr, from: &IdedExpr) {
        let size = self.size(from);
        self.set_size(to, size);
        if let Some(entries) = self.entries_of(from) {
            self.entries.insert(to.id, entries);
        }
    }

    fn size_or_unknown(&mut self, node: &IdedExpr) -> Range {
        self.size(node).unwrap_or(Range::UNKNOWN)
    }

    fn size(&mut self, node: &IdedExpr) -> Option<Range> {
        if let Some(size) = self.sizes.get(&node.id) {
            return Some(*size);
        }
        if let Some(size) = literal_size(node) {
            return Some(Range::fixed(size));
        }
        if let Some(size) = call_cost::declared_size(self.root, &self.path(node)) {
            self.sizes.insert(node.id, size);
            return Some(size);
        }
        if self.found.kind(node).is_scalar() {
            return Some(Range::fixed(1));
        }
        match &node.expr {
            Expr::Ident(name) => self.local(name)?.size,
            _ => None,
        }
    }

    fn entries_of(&self, node: &IdedExpr) -> Option<Entries> {
        match (self.entries.get(&node.id), &node.expr) {
            (Some(entries), _) => Some(*entries),
            (None, Expr::Ident(name)) => self.local(name)?.entries,
            (None, _) => None,
        }
    }
}

/// The size of no entry yet.
fn no_size(is_empty: bool) -> Range {
    Range { min: if is_empty { 0 } else { u64::MAX }, max: 0 }
}

fn is_binding(parts: &ComprehensionExpr) -> bool {
    let never_turns =
        matches!(&parts.iter_range.expr, Expr::List(list) if list.elements.is_empty());
    let stops =
        matches!(&parts.loop_cond.expr, Expr::Literal(LiteralValue::Boolean(on)) if !*on.inner());
    never_turns && stops && parts.accu_var != RESULT
}

fn literal_size(node: &IdedExpr) -> Option<u64> {
    let size = match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => text.inner().chars().count(),
        Expr::Literal(LiteralValue::Bytes(bytes)) => bytes.inner().len(),
        Expr::Literal(_) => 1,
        Expr::List(list) => list.elements.len(),
        Expr::Map(map) => map.entries.len(),
        _ => return None,
    };
    u64::try_from(size).ok()
}
