//! Mistakes in scripts that can be found without running them: unknown functions, modules, options and parameters, wrong
//! counts of arguments, undefined variables, and habits that fail later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use rhai::{AST, ASTNode, Dynamic, Engine, Expr, FnCallExpr, Map, Position, Stmt};

use super::catalog::{self, Function, Kind};
use super::error;
use super::outline;
use super::scripts::Script;
use super::session::Session;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::suggest;

/// Methods that change their value in place and return `()`.
const IN_PLACE: &[&str] = &[
    "replace",
    "trim",
    "sort",
    "push",
    "append",
    "insert",
    "clear",
    "truncate",
    "pad",
    "reverse",
    "make_upper",
    "make_lower",
];

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The script would fail.
    Error,
    /// It may not do what it seems to do.
    Warning,
}

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    pub severity: Severity,
    pub diagnostic: Diagnostic,
}

/// The functions of one file that others may call: name and numbers of parameters.
type Functions = BTreeMap<String, BTreeSet<usize>>;

/// Checks scripts and everything that they import, in the order of the files' first mention and of the lines.
pub fn check(session: &Session, scripts: &[Script]) -> Vec<Finding> {
    let mut checker = Checker {
        session,
        builtin: builtin(&session.engine),
        modules: BTreeMap::new(),
        reading: Vec::new(),
        findings: Vec::new(),
    };
    for script in scripts {
        checker.file(script, false);
    }
    checker.findings
}

/// The names of the functions and methods of the language itself, operators left out.
pub fn language_functions() -> Vec<String> {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    let is_word = |name: &String| name.starts_with(|c: char| c.is_ascii_alphabetic());
    NAMES.get_or_init(|| builtin(&Engine::new()).into_iter().filter(is_word).collect()).clone()
}

/// The names of the functions that Rhai itself brings.
fn builtin(engine: &Engine) -> BTreeSet<String> {
    let json = engine.gen_fn_metadata_to_json(true).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_default();
    let mut names: BTreeSet<String> = [
        "print",
        "debug",
        "type_of",
        "call",
        "curry",
        "is_def_var",
        "is_def_fn",
        "is_shared",
        "Fn",
        "eval",
    ]
    .into_iter()
    .map(str::to_owned)
    .collect();
    for function in value["functions"].as_array().into_iter().flatten() {
        if let Some(name) = function["baseName"].as_str().or_else(|| function["name"].as_str()) {
            names.insert(name.to_owned());
        }
    }
    // Global rows are in the engine too; their counts are checked against the catalog.
    for name in catalog::names() {
        names.remove(name);
    }
    names
}

struct Checker<'a> {
    session: &'a Session,
    builtin: BTreeSet<String>,
    /// Public functions of the modules that were read, by the name of their file.
    modules: BTreeMap<String, Option<Functions>>,
    /// The files whose imports are being read, outermost first.
    reading: Vec<String>,
    findings: Vec<Finding>,
}

/// What is known while one file is walked.
struct File<'a> {
    script: &'a Script,
    own: Functions,
    /// Public functions of imported modules by alias; `None` when the module could not be read.
    imports: BTreeMap<String, Option<Functions>>,
}

impl Checker<'_> {
    fn report(&mut self, severity: Severity, mut diagnostic: Diagnostic, file: &str, at: Position) {
        if diagnostic.at.is_none() {
            diagnostic.at = error::place(Some(file), at);
        }
        self.findings.push(Finding { severity, diagnostic });
    }

    /// Checks one file and gives its public functions; `None` when it does not compile.
    fn file(&mut self, script: &Script, is_module: bool) -> Option<Functions> {
        let compiled = self.session.host.scripts.compile(
            &self.session.engine,
            &rhai::Scope::new(),
            script,
            is_module,
        );
        let ast: Arc<AST> = match compiled {
            Ok(ast) => ast,
            Err(diagnostic) => {
                self.findings.push(Finding { severity: Severity::Error, diagnostic });
                return None;
            }
        };
        let mut own = Functions::new();
        let mut public = Functions::new();
        for function in ast.iter_functions() {
            own.entry(function.name.to_owned()).or_default().insert(function.params.len());
            if function.access == rhai::FnAccess::Public {
                public.entry(function.name.to_owned()).or_default().insert(function.params.len());
            }
        }
        let mut file = File { script, own, imports: BTreeMap::new() };
        self.reading.push(script.name.clone());
        self.imports(&mut file, &ast);
        self.reading.pop();
        let mut nodes: Vec<(Severity, Diagnostic, Position)> = Vec::new();
        ast.walk(&mut |path| {
            self.node(&file, path, &mut nodes);
            lints(&ast, path, &mut nodes);
            true
        });
        nodes.sort_by_key(|(_, _, at)| (at.line(), at.position()));
        for (severity, diagnostic, at) in nodes {
            self.report(severity, diagnostic, &script.name, at);
        }
        Some(public)
    }

    /// Reads the imported modules of a file.
    fn imports(&mut self, file: &mut File<'_>, ast: &AST) {
        let mut found: Vec<(String, String, Position)> = Vec::new();
        ast.walk(&mut |path| {
            if let Some(ASTNode::Stmt(Stmt::Import(import, at))) = path.last()
                && let Expr::StringConstant(text, at_text) = &import.0
            {
                let at = if at_text.is_none() { *at } else { *at_text };
                found.push((text.to_string(), import.1.name.to_string(), at));
            }
            true
        });
        for (path, alias, at) in found {
            let functions = match self.session.host.scripts.module(&path, Some(&file.script.name)) {
                Ok(script) if self.reading.contains(&script.name) => {
                    let begin = self.reading.iter().position(|name| *name == script.name);
                    let mut circle = self.reading[begin.unwrap_or(0)..].to_vec();
                    circle.push(script.name.clone());
                    self.report(
                        Severity::Error,
                        super::scripts::circular(&circle),
                        &file.script.name,
                        at,
                    );
                    None
                }
                Ok(script) => match self.modules.get(&script.name) {
                    Some(known) => known.clone(),
                    None => {
                        let functions = self.file(&script, true);
                        self.modules.insert(script.name.clone(), functions.clone());
                        functions
                    }
                },
                Err(diagnostic) => {
                    self.report(Severity::Error, diagnostic, &file.script.name, at);
                    None
                }
            };
            file.imports.insert(alias, functions);
        }
    }

    fn node(
        &self,
        file: &File<'_>,
        path: &[ASTNode<'_>],
        found: &mut Vec<(Severity, Diagnostic, Position)>,
    ) {
        let (call, at) = match path.last() {
            Some(ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at))) => {
                (call, *at)
            }
            _ => return,
        };
        if call.op_token.is_some() || call.name.starts_with("anon$") {
            return;
        }
        let mut fail = |diagnostic, at| found.push((Severity::Error, diagnostic, at));
        let n_arguments = call.args.len();
        if call.namespace.is_empty() {
            if let Some(counts) = file.own.get(call.name.as_str()) {
                if !counts.contains(&n_arguments) && catalog::find(&call.name).is_none() {
                    fail(script_count(&call.name, counts, n_arguments), at);
                }
                return;
            }
            if let Some(function) = catalog::find(&call.name) {
                self.row(file, function, call, at, &mut fail);
            } else if !self.builtin.contains(call.name.as_str()) {
                let known: Vec<String> = file.own.keys().chain(&self.builtin).cloned().collect();
                fail(unknown(&call.name, &known), at);
            }
            return;
        }
        let root = call.namespace.root();
        let full = format!("{}::{}", call.namespace, call.name);
        if let Some(functions) = file.imports.get(root) {
            let Some(functions) = functions else { return };
            match functions.get(call.name.as_str()) {
                None => {
                    let names = functions.keys().filter(|name| !name.starts_with("anon$"));
                    let diagnostic = Diagnostic::new(
                        ErrorKind::Script,
                        format!("the module `{root}` has no function `{}`", call.name),
                    );
                    let near = suggest::near(&call.name, names.clone().map(String::as_str));
                    fail(
                        match near {
                            Some(near) => {
                                diagnostic.hint(format!("did you mean `{root}::{near}`?"))
                            }
                            None => diagnostic.hint(format!(
                                "it has {}",
                                names.cloned().collect::<Vec<_>>().join(", ")
                            )),
                        },
                        at,
                    );
                }
                Some(counts) if !counts.contains(&n_arguments) => {
                    fail(script_count(&full, counts, n_arguments), at);
                }
                Some(_) => {}
            }
            return;
        }
        match catalog::find(&full) {
            Some(function) => self.row(file, function, call, at, &mut fail),
            None if catalog::modules().contains(&root) => fail(unknown(&full, &[]), at),
            None => {}
        }
    }

    /// A call of a row of the catalog: its count of arguments and the keys of its options.
    fn row(
        &self,
        file: &File<'_>,
        function: &'static Function,
        call: &FnCallExpr,
        at: Position,
        fail: &mut dyn FnMut(Diagnostic, Position),
    ) {
        let (least, most) = function.arity();
        if call.args.len() < least || call.args.len() > most {
            fail(error::wrong_count(function, call.args.len()), at);
            return;
        }
        if function.name == "run_script" && function.module.is_empty() {
            self.script_params(file, call, fail);
        }
        if function.options.is_empty() {
            return;
        }
        for (index, argument) in call.args.iter().enumerate() {
            let param = function.params.get(index);
            let takes_map = param
                .is_some_and(|param| matches!(param.kind, Kind::Map | Kind::Manifest | Kind::Any));
            let surplus = call.args.len() > function.params.len();
            let is_last = index + 1 == call.args.len();
            let is_options = is_last && (surplus || !takes_map)
                || function.closure_comes_last() && index + 2 == call.args.len() && !takes_map;
            if !is_options {
                continue;
            }
            for (key, at) in keys(argument) {
                let at = key_place(&file.script.text, &key, at);
                if function.options.iter().any(|option| option.name == key) {
                    continue;
                }
                let names: Vec<&str> = function.options.iter().map(|option| option.name).collect();
                let diagnostic = Diagnostic::new(
                    ErrorKind::Argument,
                    format!("`{}` has no option `{key}`", function.path()),
                );
                let diagnostic = match suggest::near(&key, names.iter().copied()) {
                    Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                    None => diagnostic,
                };
                fail(diagnostic.hint(format!("its options are {}", names.join(", "))), at);
            }
        }
    }

    /// The parameters that `run_script` hands to a script whose name is written out.
    fn script_params(
        &self,
        file: &File<'_>,
        call: &FnCallExpr,
        fail: &mut dyn FnMut(Diagnostic, Position),
    ) {
        let Some(Expr::StringConstant(path, at)) = call.args.first() else { return };
        let host = &self.session.host;
        let real =
            file.script.path.clone().unwrap_or_else(|| host.files.root().join(&file.script.name));
        let folder = real.parent().unwrap_or_else(|| host.files.root());
        let script = match host.scripts.find(path, folder) {
            Ok(script) => script,
            Err(diagnostic) => return fail(diagnostic, *at),
        };
        let Some(given) = call.args.get(1) else { return };
        let Ok(ast) = self.session.compile(&script) else { return };
        let outline = outline::of(&ast);
        if outline.is_open {
            return;
        }
        let known: Vec<&str> = outline.params.iter().map(|param| param.name.as_str()).collect();
        for (key, at) in keys(given) {
            if !known.contains(&key.as_str()) {
                fail(super::params::unknown(&script.name, &key, &known, ErrorKind::Argument), at);
            }
        }
    }
}

/// The keys of a map that is written out.
fn keys(argument: &Expr) -> Vec<(String, Position)> {
    match argument {
        Expr::Map(map, _) => map.0.iter().map(|(key, _)| (key.name.to_string(), key.pos)).collect(),
        Expr::DynamicConstant(value, at) => value
            .read_lock::<Map>()
            .map(|map| map.keys().map(|key| (key.to_string(), *at)).collect())
            .unwrap_or_default(),
        _ => Vec::new(),
    }
}

/// Where a key stands in the text of a map that begins at `from`: the parser keeps no places inside of constant maps.
fn key_place(text: &str, key: &str, from: Position) -> Position {
    let (Some(first), Some(column)) = (from.line(), from.position()) else { return from };
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    for (index, line) in text.lines().enumerate().skip(first - 1).take(50) {
        let skipped: usize = if index + 1 == first {
            line.chars().take(column - 1).map(char::len_utf8).sum()
        } else {
            0
        };
        for (at, _) in line[skipped..].match_indices(key) {
            let (before, after) = (&line[..skipped + at], &line[skipped + at + key.len()..]);
            let is_key = after.trim_start_matches('"').trim_start().starts_with(':');
            if is_key && !before.ends_with(is_name) {
                let column = before.chars().count() + 1;
                let place = |number: usize| u16::try_from(number).ok();
                return match (place(index + 1), place(column)) {
                    (Some(line), Some(column)) => Position::new(line, column),
                    _ => from,
                };
            }
        }
    }
    from
}

fn unknown(path: &str, known: &[String]) -> Diagnostic {
    let diagnostic = Diagnostic::new(ErrorKind::Script, format!("there is no function `{path}`"));
    match error::near_function(path, known) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

fn script_count(name: &str, counts: &BTreeSet<usize>, given: usize) -> Diagnostic {
    let wanted: Vec<String> = counts.iter().map(ToString::to_string).collect();
    let wanted = wanted.join(" or ");
    let word = if wanted == "1" { "argument" } else { "arguments" };
    Diagnostic::new(ErrorKind::Script, format!("`{name}` takes {wanted} {word}, got {given}"))
}

/// Habits that compile but do not do what they seem to do.
fn lints(ast: &AST, path: &[ASTNode<'_>], found: &mut Vec<(Severity, Diagnostic, Position)>) {
    let mut warn = |text: String, hint: &str, at: Position| {
        found.push((Severity::Warning, Diagnostic::new(ErrorKind::Script, text).hint(hint), at));
    };
    match path.last() {
        Some(ASTNode::Stmt(found @ Stmt::Import(import, _)))
            if !ast.statements().iter().any(|top| std::ptr::eq(top, *found)) =>
        {
            warn(
                "an import inside of a block".to_owned(),
                "import at the top of the file: functions lose sight of constants otherwise",
                import.0.position(),
            );
        }
        Some(ASTNode::Stmt(Stmt::Share(names))) => {
            let inside: Vec<&str> = path
                .iter()
                .filter_map(|node| match node {
                    ASTNode::Stmt(Stmt::For(inner, _)) => Some(inner.0.name.as_str()),
                    _ => None,
                })
                .collect();
            let is_kept = is_kept(path);
            let captured = names.iter().filter(|(name, _)| inside.contains(&name.name.as_str()));
            for (name, _) in captured.filter(|_| is_kept) {
                warn(
                    format!("a closure captures the loop variable `{}`", name.name),
                    "every closure sees its last value: copy it first, `let own = …;`, or use `parallel_map`",
                    name.pos,
                );
            }
        }
        Some(ASTNode::Stmt(Stmt::Var(inner, _, _))) => {
            if let Some((method, at)) = in_place(&inner.1) {
                warn(
                    format!("`{method}` changes its value in place and returns `()`"),
                    "call it as a statement of its own",
                    at,
                );
            }
        }
        _ => {}
    }
}

/// Whether the closure at the end of a path is put into a list, where it outlives the turn of the loop.
fn is_kept(path: &[ASTNode<'_>]) -> bool {
    let call = path.iter().rev().find_map(|node| match node {
        ASTNode::Expr(Expr::MethodCall(call, _) | Expr::FnCall(call, _))
        | ASTNode::Stmt(Stmt::FnCall(call, _)) => Some(call),
        _ => None,
    });
    call.is_some_and(|call| matches!(call.name.as_str(), "push" | "insert"))
}

/// The in-place method that an expression ends with.
fn in_place(expression: &Expr) -> Option<(String, Position)> {
    let mut expression = expression;
    while let Expr::Dot(pair, _, _) = expression {
        expression = &pair.rhs;
    }
    match expression {
        Expr::MethodCall(call, at) if IN_PLACE.contains(&call.name.as_str()) => {
            Some((call.name.to_string(), *at))
        }
        _ => None,
    }
}

/// A literal of a script as the docs show it.
pub fn literal(value: &Dynamic) -> String {
    if value.is_string() { format!("\"{value}\"") } else { value.to_string() }
}
