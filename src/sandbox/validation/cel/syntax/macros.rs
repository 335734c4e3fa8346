//! Calls that stand for loops, expanded as cel-go does it: every node of the expansion has the place of the call.

use kube_cel::cel::common::ast::{
    CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr,
    operators,
};

use super::parse::Nodes;
use super::{Issue, children_mut};

/// What loops gather in.
pub(in super::super) const RESULT: &str = "@result";
/// The variable of a loop that never turns.
const UNUSED: &str = "#unused";
const SORTED: &str = "@__sortBy_input__";

type Call = (Option<IdedExpr>, Vec<IdedExpr>);

/// Expands a call; gives it back if no macro has its name and form.
pub(super) fn expand(
    nodes: &mut Nodes,
    place: usize,
    name: &str,
    target: Option<IdedExpr>,
    args: Vec<IdedExpr>,
) -> Result<Result<IdedExpr, Issue>, Call> {
    let mut macros = Macros { nodes, place };
    let n_args = args.len();
    let Some(target) = target else {
        return if name == operators::HAS && n_args == 1 {
            Ok(macros.has(args))
        } else {
            Err((None, args))
        };
    };
    match (name, n_args) {
        ("all" | "exists" | "exists_one", 2 | 3) | ("existsOne", 3) => {
            Ok(macros.quantifier(name, target, args))
        }
        ("map", 2 | 3) => Ok(macros.map(target, args)),
        ("filter", 2) => Ok(macros.filter(target, args)),
        ("transformList", 3 | 4) => Ok(macros.transform(name, target, args)),
        ("transformMap" | "transformMapEntry", 3 | 4) => Ok(macros.transform(name, target, args)),
        ("optMap" | "optFlatMap", 2) => Ok(macros.of_optional(name, target, args)),
        ("sortBy", 2) => Ok(macros.sort_by(target, args)),
        _ => Err((Some(target), args)),
    }
}

/// The parts of a loop.
struct Loop {
    range: IdedExpr,
    names: (String, Option<String>),
    start: IdedExpr,
    condition: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

struct Macros<'a> {
    nodes: &'a mut Nodes,
    place: usize,
}

impl Macros<'_> {
    fn node(&mut self, expr: Expr) -> IdedExpr {
        self.nodes.node(self.place, expr)
    }

    fn call(&mut self, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.nodes.call(self.place, name, args)
    }

    fn method(&mut self, name: &str, target: IdedExpr, args: Vec<IdedExpr>) -> IdedExpr {
        let target = Some(Box::new(target));
        self.node(Expr::Call(CallExpr { func_name: name.to_owned(), target, args }))
    }

    fn ident(&mut self, name: &str) -> IdedExpr {
        self.node(Expr::Ident(name.to_owned()))
    }

    fn result(&mut self) -> IdedExpr {
        self.ident(RESULT)
    }

    fn bool(&mut self, value: bool) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Boolean(value.into())))
    }

    fn int(&mut self, value: i64) -> IdedExpr {
        self.node(Expr::Literal(LiteralValue::Int(value.into())))
    }

    fn list(&mut self, elements: Vec<IdedExpr>) -> IdedExpr {
        self.node(Expr::List(ListExpr::new(elements)))
    }

    fn comprehension(&mut self, parts: Loop, gathers_in: &str) -> IdedExpr {
        self.node(Expr::Comprehension(Box::new(ComprehensionExpr {
            iter_range: parts.range,
            iter_var: parts.names.0,
            iter_var2: parts.names.1,
            accu_var: gathers_in.to_owned(),
            accu_init: parts.start,
            loop_cond: parts.condition,
            loop_step: parts.step,
            result: parts.result,
        })))
    }

    fn issue(&self, at: &IdedExpr, message: impl Into<String>) -> Issue {
        Issue { place: self.nodes.place(at.id), message: message.into() }
    }

    /// The name that an argument is.
    fn name(&self, arg: &IdedExpr, otherwise: &str) -> Result<String, Issue> {
        match &arg.expr {
            Expr::Ident(name) if name == RESULT || name == "__result__" => {
                Err(self.issue(arg, "iteration variable overwrites accumulator variable"))
            }
            Expr::Ident(name) => Ok(name.clone()),
            _ => Err(self.issue(arg, otherwise)),
        }
    }

    fn two_names(
        &self,
        first: &IdedExpr,
        second: &IdedExpr,
    ) -> Result<(String, Option<String>), Issue> {
        let what = "argument must be a simple name";
        let (one, two) = (self.name(first, what)?, self.name(second, what)?);
        if one == two {
            return Err(self.issue(second, format!("duplicate variable name: {one}")));
        }
        Ok((one, Some(two)))
    }

    fn has(&mut self, mut args: Vec<IdedExpr>) -> Result<IdedExpr, Issue> {
        match args.pop() {
            Some(IdedExpr { expr: Expr::Select(select), .. }) => {
                Ok(self.node(Expr::Select(SelectExpr { test: true, ..select })))
            }
            Some(other) => Err(self.issue(&other, "invalid argument to has() macro")),
            None => Err(Issue {
                place: self.place,
                message: "invalid argument to has() macro".to_owned(),
            }),
        }
    }

    fn quantifier(
        &mut self,
        kind: &str,
        range: IdedExpr,
        mut args: Vec<IdedExpr>,
    ) -> Result<IdedExpr, Issue> {
        let names = match args.as_slice() {
            [first, second, _] => self.two_names(first, second)?,
            [first, ..] => (self.name(first, "argument must be a simple name")?, None),
            [] => return Err(self.no_argument()),
        };
        let Some(test) = args.pop() else { return Err(self.no_argument()) };
        let (start, condition, step, result);
        match kind {
            "all" => {
                start = self.bool(true);
                let gathered = self.result();
                condition = self.call(operators::NOT_STRICTLY_FALSE, vec![gathered]);
                let gathered = self.result();
                step = self.call(operators::LOGICAL_AND, vec![gathered, test]);
                result = self.result();
            }
            "exists" => {
                start = self.bool(false);
                let gathered = self.result();
                let not = self.call(operators::LOGICAL_NOT, vec![gathered]);
                condition = self.call(operators::NOT_STRICTLY_FALSE, vec![not]);
                let gathered = self.result();
                step = self.call(operators::LOGICAL_OR, vec![gathered, test]);
                result = self.result();
            }
            _ => {
                start = self.int(0);
                condition = self.bool(true);
                let (gathered, one) = (self.result(), self.int(1));
                let more = self.call(operators::ADD, vec![gathered, one]);
                let same = self.result();
                step = self.call(operators::CONDITIONAL, vec![test, more, same]);
                let (gathered, one) = (self.result(), self.int(1));
                result = self.call(operators::EQUALS, vec![gathered, one]);
            }
        }
        Ok(self.comprehension(Loop { range, names, start, condition, step, result }, RESULT))
    }

    fn no_argument(&self) -> Issue {
        Issue { place: self.place, message: "argument must be a simple name".to_owned() }
    }

    fn map(&mut self, range: IdedExpr, mut args: Vec<IdedExpr>) -> Result<IdedExpr, Issue> {
        let filtered = args.len() == 3;
        let Some(made) = args.pop() else { return Err(self.no_argument()) };
        let filter = if filtered { args.pop() } else { None };
        let Some(variable) = args.pop() else { return Err(self.no_argument()) };
        let name = self.name(&variable, "argument is not an identifier")?;
        Ok(self.gather_list(range, (name, None), filter, made))
    }

    fn filter(&mut self, range: IdedExpr, mut args: Vec<IdedExpr>) -> Result<IdedExpr, Issue> {
        let (Some(test), Some(variable)) = (args.pop(), args.pop()) else {
            return Err(self.no_argument());
        };
        let name = self.name(&variable, "argument is not an identifier")?;
        Ok(self.gather_list(range, (name, None), Some(test), variable))
    }

    fn transform(
        &mut self,
        kind: &str,
        range: IdedExpr,
        mut args: Vec<IdedExpr>,
    ) -> Result<IdedExpr, Issue> {
        let filtered = args.len() == 4;
        let Some(made) = args.pop() else { return Err(self.no_argument()) };
        let filter = if filtered { args.pop() } else { None };
        let [first, second] = args.as_slice() else { return Err(self.no_argument()) };
        let names = self.two_names(first, second)?;
        if kind == "transformList" {
            return Ok(self.gather_list(range, names, filter, made));
        }
        let start = self.node(Expr::Map(MapExpr { entries: Vec::<_>::new() }));
        let mut inserted = vec![self.result()];
        if kind == "transformMap" {
            inserted.push(self.ident(&names.0));
        }
        inserted.push(made);
        let step = self.call("cel.@mapInsert", inserted);
        Ok(self.gather(range, names, start, filter, step))
    }

    /// A loop that adds an element at each turn.
    fn gather_list(
        &mut self,
        range: IdedExpr,
        names: (String, Option<String>),
        filter: Option<IdedExpr>,
        made: IdedExpr,
    ) -> IdedExpr {
        let start = self.list(Vec::new());
        let gathered = self.result();
        let made = self.list(vec![made]);
        let step = self.call(operators::ADD, vec![gathered, made]);
        self.gather(range, names, start, filter, step)
    }

    fn gather(
        &mut self,
        range: IdedExpr,
        names: (String, Option<String>),
        start: IdedExpr,
        filter: Option<IdedExpr>,
        step: IdedExpr,
    ) -> IdedExpr {
        let condition = self.bool(true);
        let step = match filter {
            Some(filter) => {
                let same = self.result();
                self.call(operators::CONDITIONAL, vec![filter, step, same])
            }
            None => step,
        };
        let result = self.result();
        self.comprehension(Loop { range, names, start, condition, step, result }, RESULT)
    }

    /// A name for a value: a loop that does not turn.
    fn bind(&mut self, name: &str, value: IdedExpr, result: IdedExpr) -> IdedExpr {
        let parts = Loop {
            range: self.list(Vec::new()),
            names: (UNUSED.to_owned(), None),
            start: value,
            condition: self.bool(false),
            step: self.ident(name),
            result,
        };
        self.comprehension(parts, name)
    }

    fn of_optional(
        &mut self,
        kind: &str,
        target: IdedExpr,
        mut args: Vec<IdedExpr>,
    ) -> Result<IdedExpr, Issue> {
        let (Some(made), Some(variable)) = (args.pop(), args.pop()) else {
            return Err(self.no_argument());
        };
        let Expr::Ident(name) = variable.expr else {
            let message = format!("{kind}() variable name must be a simple identifier");
            return Err(self.issue(&variable, message));
        };
        let again = self.copy(&target);
        let there = self.method("hasValue", target, Vec::new());
        let value = self.method("value", again, Vec::new());
        let mut bound = self.bind(&name, value, made);
        if kind == "optMap" {
            bound = self.optional("of", vec![bound]);
        }
        let none = self.optional("none", Vec::new());
        Ok(self.call(operators::CONDITIONAL, vec![there, bound, none]))
    }

    /// `optional.NAME(…)`, in the form that the evaluator knows.
    fn optional(&mut self, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.call(&format!("optional.{name}"), args)
    }

    fn sort_by(&mut self, target: IdedExpr, args: Vec<IdedExpr>) -> Result<IdedExpr, Issue> {
        if matches!(target.expr, Expr::Literal(_) | Expr::Map(_) | Expr::Struct(_)) {
            let message = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
            return Err(self.issue(&target, message));
        }
        let list = self.ident(SORTED);
        let keys = self.map(list, args)?;
        let list = self.ident(SORTED);
        let sorted = self.method("@sortByAssociatedKeys", list, vec![keys]);
        Ok(self.bind(SORTED, target, sorted))
    }

    /// The same with ids of its own, at the same places; nothing, where the tree has become too large.
    fn copy(&mut self, original: &IdedExpr) -> IdedExpr {
        if self.nodes.are_too_many() {
            return self.node(Expr::Unspecified);
        }
        let mut copied = original.clone();
        self.renew(&mut copied);
        copied
    }

    fn renew(&mut self, node: &mut IdedExpr) {
        let place = self.nodes.place(node.id);
        node.id = self.nodes.node(place, Expr::Unspecified).id;
        for child in children_mut(&mut node.expr) {
            self.renew(child);
        }
    }
}
