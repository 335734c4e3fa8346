//! The evaluator: walks parsed templates with Go's rules for fields, calls, types, variables and errors.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::rc::Rc;

use super::Environment;
use super::ast::{Argument, Branch, Call, Command, Literal, Node, Pipe, Term, Tree, is_blank};
use super::error::{Cause, ExecError, Fault};
use super::funcs::{self, Function, Type};
use super::print;
use super::stack::Stack;
use super::value::{ListKind, Value};
use super::work::{ENTRY, ITEM, MADE, READ, Work};

/// Go's limit, in the message; ours is the stack.
const MAX_EXEC_DEPTH: usize = 100_000;

/// So many variables are passed over in a step when one is looked up.
const FAR: usize = 16;

/// Templates by name; a text given to `tpl` sees those around it and adds its own.
#[derive(Debug, Default)]
pub(crate) struct Templates {
    own: HashMap<Rc<str>, Rc<Tree>>,
    outer: Option<Rc<Self>>,
}

impl Templates {
    pub(crate) fn within(outer: Rc<Self>) -> Self {
        Self { own: HashMap::new(), outer: Some(outer) }
    }

    pub(crate) fn find(&self, name: &str) -> Option<Rc<Tree>> {
        let mut current = self;
        loop {
            if let Some(tree) = current.own.get(name) {
                return Some(tree.clone());
            }
            current = current.outer.as_deref()?;
        }
    }

    /// Adds a template; an empty one does not replace one that says something.
    pub(crate) fn add(&mut self, tree: Tree) {
        let replaces = !is_blank(&tree.root) || self.find(&tree.name).is_none();
        if replaces {
            self.own.insert(tree.name.clone(), Rc::new(tree));
        }
    }
}

/// What all templates of one rendering share.
pub(crate) struct Engine<'e> {
    pub(crate) environment: &'e Environment<'e>,
    pub(crate) stack: Stack,
    /// How often each template is being included right now.
    pub(crate) included: RefCell<HashMap<Rc<str>, usize>>,
    /// The text that `fromYaml` read last, and what it is.
    pub(crate) last_yaml: RefCell<Option<(String, serde_json::Value)>>,
    pub(crate) work: Work,
}

/// What a function may use.
pub(crate) struct Context<'c> {
    pub(crate) engine: &'c Engine<'c>,
    pub(crate) templates: &'c Rc<Templates>,
}

impl<'c> Context<'c> {
    /// What a function pays from whose work grows with its arguments.
    pub(crate) fn work(&self) -> &'c Work {
        &self.engine.work
    }
}

/// A value with whether it is held in an interface, which Go names in type errors.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    value: Value,
    boxed: bool,
}

enum Stop {
    Break,
    Continue,
    Error(Box<ExecError>),
}

type Done<T> = Result<T, Stop>;

/// Runs a template on a value and returns its text.
pub(crate) fn execute(
    engine: &Engine<'_>,
    templates: &Rc<Templates>,
    tree: &Tree,
    data: Value,
) -> Result<String, Box<ExecError>> {
    let mut out = String::new();
    let mut state = State {
        engine,
        templates,
        tree,
        out: &mut out,
        variables: vec![("$".into(), Slot { value: data.clone(), boxed: false })],
        at: (0, &""),
    };
    let dot = Slot { value: data, boxed: false };
    match state.walk_all(&dot, &tree.root) {
        Ok(()) | Err(Stop::Break | Stop::Continue) => Ok(out),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// Steps for the arguments that a function looks through from end to end.
fn price_of_reading(value: &Value) -> usize {
    match value {
        Value::Str(text) => text.len() / READ,
        Value::Object(object) => match &**object {
            super::object::Object::Files(files) => files.len(),
            _ => 0,
        },
        _ => 0,
    }
}

/// Steps for a value that nobody else holds, which is to say, that was just made; what it is made of was paid for before.
fn price_of_new(value: &Value) -> usize {
    match value {
        Value::Str(text) if Rc::strong_count(text) == 1 => text.len() / MADE,
        Value::List(list) if Rc::strong_count(list) == 1 => ITEM * list.items.len(),
        Value::Map(map) if Rc::strong_count(map) == 1 && Rc::strong_count(&map.entries) == 1 => {
            ENTRY * map.entries.borrow().len()
        }
        _ => 0,
    }
}

struct State<'s, 'o> {
    engine: &'s Engine<'s>,
    templates: &'s Rc<Templates>,
    tree: &'s Tree,
    out: &'o mut String,
    variables: Vec<(Rc<str>, Slot)>,
    /// The node that an error names.
    at: (usize, &'s dyn Display),
}

impl<'s> State<'s, '_> {
    // -- errors -----------------------------------------------------------------------------------

    fn error<T>(&self, message: impl Into<String>) -> Done<T> {
        Err(self.failure(message.into(), None))
    }

    fn failure(&self, message: String, cause: Option<Cause>) -> Stop {
        let (at, node) = self.at;
        let before = self.tree.text.get(..at).unwrap_or(&self.tree.text);
        let line = 1 + before.matches('\n').count();
        let column = before.rfind('\n').map_or(at, |newline| at - newline - 1);
        Stop::Error(Box::new(ExecError {
            place: format!("{}:{line}:{column}", self.tree.file),
            template: self.tree.name.to_string(),
            node: node.to_string(),
            message,
            cause,
        }))
    }

    fn check_stack(&self) -> Done<()> {
        if super::stack::is_exhausted(self.engine.stack) {
            return self.error(format!("exceeded maximum template depth ({MAX_EXEC_DEPTH})"));
        }
        Ok(())
    }

    /// Takes steps, and ends the rendering when there are no more.
    fn spend(&self, steps: usize) -> Done<()> {
        if self.engine.work.take(steps) { Ok(()) } else { self.too_much_work() }
    }

    #[cold]
    fn too_much_work<T>(&self) -> Done<T> {
        self.error(self.engine.work.spent_text())
    }

    // -- statements -------------------------------------------------------------------------------

    fn walk_all(&mut self, dot: &Slot, nodes: &'s [Node]) -> Done<()> {
        nodes.iter().try_for_each(|node| self.walk(dot, node))
    }

    fn walk(&mut self, dot: &Slot, node: &'s Node) -> Done<()> {
        match node {
            Node::Text(text) => {
                self.out.push_str(text);
                self.engine.work.made(text.len());
                self.check_output()
            }
            Node::Action(action) => {
                self.at = (action.at, action);
                let value = self.pipeline(dot, &action.pipe)?;
                if action.pipe.variables.is_empty() {
                    print::write_value(self.out, &value, &self.engine.work);
                    self.check_output()?;
                }
                Ok(())
            }
            Node::If(branch) => self.walk_if_or_with(dot, branch, false),
            Node::With(branch) => self.walk_if_or_with(dot, branch, true),
            Node::Range(branch) => {
                let mark = self.variables.len();
                let done = self.walk_range(dot, branch);
                self.variables.truncate(mark);
                match done {
                    Err(Stop::Break) => Ok(()),
                    done => done,
                }
            }
            Node::Template(call) => self.walk_template(dot, call),
            Node::Break => Err(Stop::Break),
            Node::Continue => Err(Stop::Continue),
        }
    }

    /// A rendering that grows without end is stopped before the memory is.
    fn check_output(&self) -> Done<()> {
        if self.out.len() > super::MAX_OUTPUT {
            return self.error(format!("template output exceeds {} bytes", super::MAX_OUTPUT));
        }
        if self.engine.work.is_spent() {
            return self.too_much_work();
        }
        Ok(())
    }

    fn walk_if_or_with(&mut self, dot: &Slot, branch: &'s Branch, with: bool) -> Done<()> {
        self.at = (branch.at, branch);
        self.check_stack()?;
        let mark = self.variables.len();
        let value = self.pipeline(dot, &branch.pipe)?;
        let done = if value.is_true() {
            if with {
                self.walk_all(&Slot { value, boxed: false }, &branch.body)
            } else {
                self.walk_all(dot, &branch.body)
            }
        } else if let Some(nodes) = &branch.otherwise {
            self.walk_all(dot, nodes)
        } else {
            Ok(())
        };
        self.variables.truncate(mark);
        done
    }

    fn walk_range(&mut self, dot: &Slot, branch: &'s Branch) -> Done<()> {
        self.at = (branch.at, branch);
        self.check_stack()?;
        let value = self.pipeline(dot, &branch.pipe)?;
        let mark = self.variables.len();
        let n_variables = branch.pipe.variables.len();
        let mut ran = false;
        match &value {
            Value::Int(count, kind) => {
                if n_variables > 1 {
                    let message =
                        format!("can't use {count} to iterate over more than one variable");
                    return self.error(message);
                }
                for n in 0..*count {
                    ran = true;
                    let element = Slot { value: Value::Int(n, *kind), boxed: false };
                    self.iterate(branch, mark, Value::Nil, element)?;
                }
            }
            Value::List(list) => {
                let boxed = list.kind == ListKind::Any;
                for (n, item) in list.items.iter().enumerate() {
                    ran = true;
                    let element = Slot { value: item.element(), boxed };
                    self.iterate(branch, mark, Value::len(n), element)?;
                }
            }
            Value::Map(map) => {
                // The body may change the map: Go sorts the entries once, before it begins.
                self.spend(map.entries.borrow().len())?;
                let entries: Vec<(Rc<str>, Value)> = map
                    .entries
                    .borrow()
                    .iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                for (key, item) in entries {
                    ran = true;
                    let element = Slot { value: item.element(), boxed: true };
                    self.iterate(branch, mark, Value::Str(key), element)?;
                }
            }
            Value::Object(object) => match &**object {
                super::object::Object::Files(files) => {
                    for (name, data) in files {
                        ran = true;
                        self.spend(ITEM * data.len())?;
                        let element = Slot { value: super::object::bytes(data), boxed: false };
                        self.iterate(branch, mark, Value::Str(name.clone()), element)?;
                    }
                }
                _ => {
                    let text = print::strval(&value, &self.engine.work);
                    return self.error(format!("range can't iterate over {text}"));
                }
            },
            Value::Nil | Value::NilInterface => {}
            Value::Bool(_) | Value::Float(_) | Value::Str(_) => {
                let text = print::to_string(&value, &self.engine.work);
                return self.error(format!("range can't iterate over {text}"));
            }
        }
        if !ran && let Some(nodes) = &branch.otherwise {
            return self.walk_all(dot, nodes);
        }
        Ok(())
    }

    fn iterate(
        &mut self,
        branch: &'s Branch,
        mark: usize,
        index: Value,
        element: Slot,
    ) -> Done<()> {
        self.spend(1)?;
        let names = &branch.pipe.variables;
        let index = Slot { value: index, boxed: false };
        if branch.pipe.assigns {
            match &names[..] {
                [only] => self.set_variable(only, element.clone())?,
                [first, second] => {
                    self.set_variable(first, index)?;
                    self.set_variable(second, element.clone())?;
                }
                _ => {}
            }
        } else {
            // The pipeline declared the variables; the element is the last of them.
            if !names.is_empty() {
                self.variables[mark - 1].1 = element.clone();
            }
            if names.len() > 1 {
                self.variables[mark - 2].1 = index;
            }
        }
        let done = self.walk_all(&element, &branch.body);
        self.variables.truncate(mark);
        match done {
            Err(Stop::Continue) => Ok(()),
            done => done,
        }
    }

    fn walk_template(&mut self, dot: &Slot, call: &'s Call) -> Done<()> {
        self.at = (call.at, call);
        let Some(tree) = self.templates.find(&call.name) else {
            return self.error(format!("template {} not defined", super::text::quote(&call.name)));
        };
        self.check_stack()?;
        self.spend(1)?;
        let value = match &call.pipe {
            Some(pipe) => self.pipeline(dot, pipe)?,
            None => Value::Nil,
        };
        let slot = Slot { value, boxed: false };
        let mut state = State {
            engine: self.engine,
            templates: self.templates,
            tree: &tree,
            out: &mut *self.out,
            variables: vec![("$".into(), slot.clone())],
            at: (0, &""),
        };
        state.walk_all(&slot, &tree.root)
    }

    // -- variables --------------------------------------------------------------------------------

    fn set_variable(&mut self, name: &str, slot: Slot) -> Done<()> {
        match self.variables.iter().rev().position(|(known, _)| &**known == name) {
            Some(back) => {
                let at = self.variables.len() - 1 - back;
                self.variables[at].1 = slot;
                self.spend(back / FAR)
            }
            None => self.error(format!("undefined variable: {name}")),
        }
    }

    fn variable(&self, name: &str) -> Done<Slot> {
        match self.variables.iter().rev().enumerate().find(|(_, (known, _))| &**known == name) {
            Some((back, (_, slot))) => {
                self.spend(back / FAR)?;
                Ok(slot.clone())
            }
            None => self.error(format!("undefined variable: {name}")),
        }
    }

    // -- expressions ------------------------------------------------------------------------------

    fn pipeline(&mut self, dot: &Slot, pipe: &'s Pipe) -> Done<Value> {
        self.at = (pipe.at, pipe);
        self.check_stack()?;
        self.spend(pipe.commands.len())?;
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?.value.concrete());
        }
        let value = value.unwrap_or(Value::Nil);
        for name in &pipe.variables {
            let slot = Slot { value: value.clone(), boxed: false };
            if pipe.assigns {
                self.set_variable(name, slot)?;
            } else {
                self.variables.push((name.clone(), slot));
            }
        }
        Ok(value)
    }

    fn not_a_function(&self, arguments: &[Argument], last: Option<&Value>) -> Done<()> {
        if arguments.len() > 1 || last.is_some() {
            return self.error(format!("can't give argument to non-function {}", arguments[0]));
        }
        Ok(())
    }

    fn command(&mut self, dot: &Slot, command: &'s Command, last: Option<Value>) -> Done<Slot> {
        let arguments = &command.arguments[..];
        let first = &arguments[0];
        let rest = &arguments[1..];
        match &first.term {
            Term::Field(fields) => {
                self.at = (first.at, first);
                self.fields(dot, dot.clone(), first, fields, rest, last)
            }
            Term::Chain(inner, fields) => self.chain(dot, first, inner, fields, rest, last),
            Term::Function(function) => {
                self.at = (first.at, first);
                let node: (usize, &'s dyn Display) = (command.at, command);
                self.call(dot, function, None, node, rest, last)
            }
            Term::Pipe(pipe) => {
                self.not_a_function(arguments, last.as_ref())?;
                Ok(Slot { value: self.pipeline(dot, pipe)?, boxed: false })
            }
            Term::Variable(fields) => {
                self.variable_fields(dot, first, fields, rest, last, Some(arguments))
            }
            Term::Dot | Term::Nil | Term::Bool(_) | Term::Number(_) | Term::Str(..) => {
                self.at = (first.at, first);
                self.not_a_function(arguments, last.as_ref())?;
                match &first.term {
                    Term::Dot => Ok(dot.clone()),
                    Term::Nil => self.error("nil is not a command"),
                    _ => Ok(Slot { value: self.constant(first)?, boxed: false }),
                }
            }
        }
    }

    /// A literal where its type is free.
    fn constant(&mut self, argument: &'s Argument) -> Done<Value> {
        match &argument.term {
            Term::Bool(value) => Ok(Value::Bool(*value)),
            Term::Str(text, _) => Ok(Value::Str(text.clone())),
            Term::Number(literal) => {
                self.at = (argument.at, argument);
                self.ideal_number(literal)
            }
            _ => self.error(format!("can't evaluate command {argument}")),
        }
    }

    fn ideal_number(&self, literal: &Literal) -> Done<Value> {
        let text = literal.text.as_str();
        if literal.complex {
            return self.error(format!("complex constant {text} is not supported"));
        }
        let rune = text.starts_with('\'');
        let hex = text.len() > 2
            && (text.starts_with("0x") || text.starts_with("0X"))
            && !text.contains(['p', 'P']);
        match (literal.float, literal.int) {
            (Some(float), _) if !hex && !rune && text.contains(['.', 'e', 'E', 'p', 'P']) => {
                Ok(Value::Float(float))
            }
            (_, Some(int)) => Ok(Value::int(int)),
            _ => self.error(format!("{text} overflows int")),
        }
    }

    fn chain(
        &mut self,
        dot: &Slot,
        node: &'s Argument,
        inner: &'s Argument,
        fields: &'s [Rc<str>],
        rest: &'s [Argument],
        last: Option<Value>,
    ) -> Done<Slot> {
        self.at = (node.at, node);
        if matches!(inner.term, Term::Nil) {
            return self.error(format!("indirection through explicit nil in {node}"));
        }
        let value = self.argument(dot, None, inner)?;
        self.fields(dot, Slot { value, boxed: false }, node, fields, rest, last)
    }

    fn variable_fields(
        &mut self,
        dot: &Slot,
        node: &'s Argument,
        fields: &'s [Rc<str>],
        rest: &'s [Argument],
        last: Option<Value>,
        arguments: Option<&'s [Argument]>,
    ) -> Done<Slot> {
        self.at = (node.at, node);
        let slot = self.variable(&fields[0])?;
        if fields.len() == 1 {
            if let Some(arguments) = arguments {
                self.not_a_function(arguments, last.as_ref())?;
            }
            return Ok(slot);
        }
        self.fields(dot, slot, node, &fields[1..], rest, last)
    }

    fn fields(
        &mut self,
        dot: &Slot,
        receiver: Slot,
        node: &'s Argument,
        fields: &'s [Rc<str>],
        rest: &'s [Argument],
        last: Option<Value>,
    ) -> Done<Slot> {
        let mut receiver = receiver;
        let Some((name, before)) = fields.split_last() else { return Ok(receiver) };
        self.spend(fields.len())?;
        for field in before {
            receiver = self.field(dot, &receiver, node, field, &[], None)?;
        }
        self.field(dot, &receiver, node, name, rest, last)
    }

    fn field(
        &mut self,
        dot: &Slot,
        receiver: &Slot,
        node: &'s Argument,
        name: &str,
        rest: &'s [Argument],
        last: Option<Value>,
    ) -> Done<Slot> {
        let value = &receiver.value;
        if let Value::Nil = value {
            return Ok(Slot { value: Value::Nil, boxed: false });
        }
        if let Value::NilInterface = value {
            return self.error(format!("nil pointer evaluating interface {{}}.{name}"));
        }
        if let Some(method) = funcs::method(value, name) {
            let node: (usize, &'s dyn Display) = (node.at, node);
            return self.call(dot, method, Some(value), node, rest, last);
        }
        let has_arguments = !rest.is_empty() || last.is_some();
        match value {
            Value::Map(map) => {
                if has_arguments {
                    return self.error(format!("{name} is not a method but has arguments"));
                }
                let value = match map.get(name) {
                    Some(value) => value.element(),
                    None if map.kind == super::value::MapKind::Str => Value::str(""),
                    None => Value::NilInterface,
                };
                Ok(Slot { value, boxed: true })
            }
            Value::Object(object) => match object.field(name) {
                Some(_) if has_arguments && object.kind_name() == "map" => {
                    self.error(format!("{name} is not a method but has arguments"))
                }
                Some(_) if has_arguments => {
                    self.error(format!("{name} has arguments but cannot be invoked as function"))
                }
                Some(value) => {
                    self.spend(price_of_new(&value))?;
                    Ok(Slot { value, boxed: false })
                }
                None => self.no_field(receiver, name),
            },
            _ => self.no_field(receiver, name),
        }
    }

    fn no_field<T>(&self, receiver: &Slot, name: &str) -> Done<T> {
        let of = if receiver.boxed { "interface {}" } else { receiver.value.type_name() };
        self.error(format!("can't evaluate field {name} in type {of}"))
    }

    fn call(
        &mut self,
        dot: &Slot,
        function: &'static Function,
        receiver: Option<&Value>,
        node: (usize, &'s dyn Display),
        rest: &'s [Argument],
        last: Option<Value>,
    ) -> Done<Slot> {
        let name = function.name;
        let params = function.params;
        let n_in = rest.len() + usize::from(last.is_some());
        if function.variadic.is_some() {
            if n_in < params.len() {
                return self.error(format!(
                    "wrong number of args for {name}: want at least {} got {}",
                    params.len(),
                    rest.len()
                ));
            }
        } else if n_in != params.len() {
            return self.error(format!(
                "wrong number of args for {name}: want {} got {n_in}",
                params.len()
            ));
        }
        self.spend(1 + n_in)?;
        let type_at = |n: usize| params.get(n).copied().or(function.variadic).unwrap_or(Type::Any);
        if function.short_circuits() {
            let ends_on = name == "or";
            let mut value = Value::Nil;
            for argument in rest {
                value = self.argument(dot, Some(Type::Reflect), argument)?;
                if value.is_true() == ends_on {
                    return Ok(Slot { value, boxed: true });
                }
            }
            return Ok(Slot { value: last.unwrap_or(value), boxed: true });
        }
        let mut values = Vec::with_capacity(n_in + 1);
        values.extend(receiver.cloned());
        for (n, argument) in rest.iter().enumerate() {
            let value = self.argument(dot, Some(type_at(n)), argument)?;
            values.push(value);
        }
        if let Some(last) = last {
            let value = self.validate(last, Some(type_at(n_in - 1)))?;
            values.push(value);
        }
        let mut context = Context { engine: self.engine, templates: self.templates };
        let work = &self.engine.work;
        work.take(values.iter().map(price_of_reading).sum());
        let outcome = (function.run)(&mut context, &values);
        if let Ok(value) = &outcome {
            work.take(price_of_new(value));
        }
        // What a function says after it stopped early is of no use.
        if work.is_spent() && !matches!(outcome, Err(Fault::Exec(_))) {
            self.at = node;
            return self.too_much_work();
        }
        match outcome {
            Ok(value) => Ok(Slot { value, boxed: true }),
            Err(fault) => {
                self.at = node;
                let cause = match fault {
                    // Go shows what was written, not what it stands for.
                    Fault::Plain(text) if name == "call" && text.starts_with("non-function") => {
                        let of = text.rsplit(" of type ").next().unwrap_or_default();
                        let callee = rest.first().map_or(String::new(), ToString::to_string);
                        Cause::Plain(format!("non-function {callee} of type {of}"))
                    }
                    Fault::Plain(text) => Cause::Plain(text),
                    Fault::Exec(error) => Cause::Exec(error),
                };
                Err(self.failure(format!("error calling {name}: "), Some(cause)))
            }
        }
    }

    /// Checks that a value can be given for a type.
    fn validate(&self, value: Value, wanted: Option<Type>) -> Done<Value> {
        let Some(wanted) = wanted else { return Ok(value) };
        if matches!(wanted, Type::Any | Type::Reflect) {
            return Ok(value.concrete());
        }
        if let Value::Nil = value {
            if wanted.can_be_nil() {
                return Ok(Value::Nil);
            }
            return self.error(format!("invalid value; expected {}", wanted.name()));
        }
        if wanted.takes(&value) {
            return Ok(value);
        }
        self.error(format!(
            "wrong type for value; expected {}; got {}",
            wanted.name(),
            value.type_name()
        ))
    }

    fn argument(
        &mut self,
        dot: &Slot,
        wanted: Option<Type>,
        argument: &'s Argument,
    ) -> Done<Value> {
        self.at = (argument.at, argument);
        let value = match &argument.term {
            Term::Dot => dot.value.clone(),
            Term::Nil => match wanted {
                Some(wanted) if !wanted.can_be_nil() => {
                    return self.error(format!("cannot assign nil to {}", wanted.name()));
                }
                _ => return Ok(Value::Nil),
            },
            Term::Field(fields) => {
                self.fields(dot, dot.clone(), argument, fields, &[], None)?.value
            }
            Term::Variable(fields) => {
                self.variable_fields(dot, argument, fields, &[], None, None)?.value
            }
            Term::Pipe(pipe) => self.pipeline(dot, pipe)?,
            Term::Function(function) => {
                let node: (usize, &'s dyn Display) = (argument.at, argument);
                self.call(dot, function, None, node, &[], None)?.value
            }
            Term::Chain(inner, fields) => {
                self.chain(dot, argument, inner, fields, &[], None)?.value
            }
            Term::Bool(_) | Term::Number(_) | Term::Str(..) => {
                return self.literal(wanted, argument);
            }
        };
        self.validate(value, wanted)
    }

    /// A literal where a type is expected.
    fn literal(&mut self, wanted: Option<Type>, argument: &'s Argument) -> Done<Value> {
        let wanted = wanted.unwrap_or(Type::Any);
        match (wanted, &argument.term) {
            (Type::Any | Type::Reflect, _) => self.constant(argument),
            (Type::Bool, Term::Bool(value)) => Ok(Value::Bool(*value)),
            (Type::Str, Term::Str(text, _)) => Ok(Value::Str(text.clone())),
            (Type::Int, Term::Number(Literal { int: Some(int), .. })) => Ok(Value::int(*int)),
            (Type::Float, Term::Number(Literal { float: Some(float), .. })) => {
                Ok(Value::Float(*float))
            }
            (Type::Bool, _) => self.error(format!("expected bool; found {argument}")),
            (Type::Str, _) => self.error(format!("expected string; found {argument}")),
            (Type::Int, _) => self.error(format!("expected integer; found {argument}")),
            (Type::Float, _) => self.error(format!("expected float; found {argument}")),
            (Type::Uint32, Term::Number(Literal { int: Some(int), .. }))
                if u32::try_from(*int).is_ok() =>
            {
                Ok(Value::Int(*int, super::value::IntKind::Uint32))
            }
            (Type::Uint32, _) => self.error(format!("expected unsigned integer; found {argument}")),
            (Type::Map | Type::List | Type::Time | Type::Version | Type::Certificate, _) => {
                self.error(format!("can't handle {argument} for arg of type {}", wanted.name()))
            }
        }
    }
}
