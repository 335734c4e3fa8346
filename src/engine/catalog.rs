//! A function of the host is one row of a table: registration, argument errors, the plan gate, docs, completion,
//! editor definitions and static checks all read it. What has no row does not exist.

use rhai::Dynamic;

use super::call::Call;
use crate::base::diagnostic::Diagnostic;

/// What a function does to the target; `plan` and the REPL's read-only mode go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Computes only.
    Pure,
    /// Reads the target, a file or the network.
    Read,
    /// May change the target or a file.
    Write,
}

/// The type of a parameter as the docs name it and the argument check enforces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Any,
    String,
    Int,
    /// An int is taken as well.
    Float,
    Bool,
    Map,
    Array,
    /// A string such as `"90s"`.
    Duration,
    /// A closure.
    Closure,
    /// An opaque secret such as a private key.
    Secret,
    /// An object (map), an array of objects, or YAML text.
    Manifest,
    /// A string or an array of strings.
    Strings,
}

impl Kind {
    /// The word in docs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Map => "map",
            Self::Array => "array",
            Self::Duration => "duration",
            Self::Closure => "closure",
            Self::Secret => "secret",
            Self::Manifest => "map, array or YAML string",
            Self::Strings => "string or array",
        }
    }
}

/// A positional parameter or an option.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    pub kind: Kind,
    /// The default as the docs print it (`"60s"` with quotes, `5`, `none`); `None` means required.
    pub default: Option<&'static str>,
    /// Half a sentence, lower case, no period, with the unit where there is one.
    pub doc: &'static str,
}

impl Param {
    /// A required positional parameter.
    pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self { name, kind, default: None, doc }
    }

    /// A parameter or option that may be left out.
    pub const fn optional(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Self {
        Self { name, kind, default: Some(default), doc }
    }
}

/// How a row does its work: reads its arguments from the call, calls one domain function, converts the result.
pub type Run = fn(&Call<'_>) -> Result<Dynamic, Diagnostic>;

/// One function of the host.
///
/// A function with `options` takes an object map as its last argument, which may be left out; unknown keys are errors.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// `k8s`, `helm`, …; empty for the global functions.
    pub module: &'static str,
    pub name: &'static str,
    /// One sentence, third person, ends with a period. More sentences may follow after a blank line.
    pub doc: &'static str,
    /// Required ones first.
    pub params: &'static [Param],
    pub options: &'static [Param],
    /// The shape of the result: ``#{ ready: int }``, `string`, `()`.
    pub returns: &'static str,
    /// Which kinds of error, when; also what is not an error.
    pub errors: &'static str,
    pub effect: Effect,
    /// Rhai code that runs in a fresh sandbox as a test.
    pub example: &'static str,
    pub run: Run,
}

impl Function {
    /// `k8s::apply`, or the bare name of a global function.
    pub fn path(&self) -> String {
        if self.module.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}::{}", self.module, self.name)
        }
    }

    /// `k8s::get(kind: string, name: string, options?: map)`; options stand before a closure that comes last.
    pub fn signature(&self) -> String {
        let mut parameters: Vec<String> = self
            .params
            .iter()
            .map(|param| {
                let mark = if param.default.is_some() { "?" } else { "" };
                format!("{}{mark}: {}", param.name, param.kind.name())
            })
            .collect();
        if !self.options.is_empty() {
            let at = parameters.len() - usize::from(self.closure_comes_last());
            parameters.insert(at, "options?: map".to_owned());
        }
        format!("{}({})", self.path(), parameters.join(", "))
    }

    /// How many arguments it takes at least and at most, the options map included.
    pub fn arity(&self) -> (usize, usize) {
        let least = self.params.iter().filter(|param| param.default.is_none()).count();
        (least, self.params.len() + usize::from(!self.options.is_empty()))
    }

    /// Whether the last parameter is a required closure: the options map may stand before it then, so that a call
    /// ends with the block.
    pub fn closure_comes_last(&self) -> bool {
        self.params
            .last()
            .is_some_and(|param| param.kind == Kind::Closure && param.default.is_none())
    }

    /// The first sentence of the docs.
    pub fn summary(&self) -> &'static str {
        self.doc.split("\n\n").next().unwrap_or(self.doc).trim()
    }
}

/// All rows, namespace by namespace.
pub fn functions() -> impl Iterator<Item = &'static Function> {
    super::api::TABLES.iter().flat_map(|table| table.iter())
}

/// The row of a path such as `k8s::apply`.
pub fn find(path: &str) -> Option<&'static Function> {
    let (module, name) = path.rsplit_once("::").unwrap_or(("", path));
    functions().find(|function| function.module == module && function.name == name)
}

/// The names of the global functions.
pub fn names() -> Vec<&'static str> {
    functions()
        .filter(|function| function.module.is_empty())
        .map(|function| function.name)
        .collect()
}

/// The namespaces in the order of the reference, the global one left out.
pub fn modules() -> Vec<&'static str> {
    let mut modules: Vec<&str> = Vec::new();
    for function in functions() {
        if !function.module.is_empty() && !modules.contains(&function.module) {
            modules.push(function.module);
        }
    }
    modules
}
