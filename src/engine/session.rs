//! An engine with everything registered, and how scripts and expressions run in it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rhai::{AST, ASTNode, Dynamic, Engine, EvalAltResult, OptimizationLevel, Scope, Stmt};

use super::host::Host;
use super::outline::{self, Outline};
use super::scripts::{Importing, Resolver, Script, find_closures};
use super::{check, error, params, register, text};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::{MASK, Secret};
use crate::base::{stack, suggest};
use crate::report::event::TargetLine;
use crate::report::state::Counts;

/// Operations that one script may do; a run of the guide needs far below a million.
const MAX_OPERATIONS: u64 = 50_000_000;
/// Function calls inside of each other.
pub const MAX_CALLS: usize = 256;
/// Expressions inside of each other.
const MAX_DEPTH: usize = 512;
/// Bytes of a string.
const MAX_STRING: usize = 64 << 20;
/// Elements of an array or map.
const MAX_ITEMS: usize = 1_000_000;
/// The stack of a thread that runs scripts: for the scripts, and for a chart that one of them renders.
const STACK: usize = (128 + 256) << 20;

/// An engine on a host.
pub struct Session {
    pub engine: Engine,
    pub host: Arc<Host>,
}

impl Session {
    /// Builds the engine. Nothing is connected yet.
    pub fn new(host: Arc<Host>) -> Self {
        let mut engine = Engine::new();
        limit(&mut engine);
        engine.set_module_resolver(Resolver(Arc::clone(&host.scripts)));
        find_closures(&mut engine, &host.scripts);
        engine.disable_symbol("eval");
        let progress = Arc::clone(&host);
        engine.on_progress(move |_| progress.ended().map(|cause| cause.token().into()));
        let printer = Arc::clone(&host);
        engine.on_print(move |text| printer.reporter.print(text));
        let printer = Arc::clone(&host);
        engine.on_debug(move |text, _, _| printer.reporter.print(text));
        engine.register_type_with_name::<Secret>("secret");
        engine.register_fn("to_string", |_: &mut Secret| MASK);
        engine.register_fn("to_debug", |_: &mut Secret| MASK);
        register::register(&mut engine, &host);
        // The REPL, whose variables live in a scope, switches this off.
        engine.set_strict_variables(true);
        Self { engine, host }
    }

    /// Runs scripts one after the other on the target.
    ///
    /// # Errors
    /// What the first script that fails fails with; before anything runs, what does not compile and what `--set` names
    /// but no script declares.
    pub fn run(&self, names: &[String]) -> Result<Dynamic, Diagnostic> {
        on_big_stack(|| {
            let current = &self.host.settings.environment.folder;
            let mut scripts = Vec::new();
            for name in names {
                let script = self.host.scripts.find(name, current)?;
                let ast = self.compile(&script)?;
                scripts.push((script, ast));
            }
            self.refuse_mistakes(&scripts)?;
            self.check_parameters(&scripts)?;
            self.connect()?;
            let mut value = Dynamic::UNIT;
            for (script, ast) in &scripts {
                let before = (self.host.reporter.counts(), self.host.cluster()?.requests());
                value = self.run_ast(script, ast)?;
                if scripts.len() > 1 {
                    self.tell_pass(&script.name, before)?;
                }
            }
            self.check_used()?;
            Ok(value)
        })
    }

    /// What one script of several came to.
    fn tell_pass(
        &self,
        name: &str,
        (counts, (reads, writes)): (Counts, (u64, u64)),
    ) -> Result<(), Diagnostic> {
        let now = self.host.reporter.counts();
        let (reads_now, writes_now) = self.host.cluster()?.requests();
        self.host.progress.info(&format!(
            "{name}: {} changed, {} unchanged; requests: {} read, {} write",
            now.changed() - counts.changed(),
            now.unchanged - counts.unchanged,
            reads_now - reads,
            writes_now - writes,
        ));
        Ok(())
    }

    /// Opens the target and tells which one it is.
    ///
    /// # Errors
    /// As [`Host::target`].
    pub fn connect(&self) -> Result<(), Diagnostic> {
        let info = &self.host.target()?.info;
        self.host.reporter.target(&TargetLine {
            context: info.context.clone(),
            server: info.server.clone(),
            version: info.version.clone(),
            user: info.user.clone(),
            rehearsal: info.rehearsal,
        });
        Ok(())
    }

    /// Compiles a script.
    ///
    /// # Errors
    /// `Script` with the place.
    pub fn compile(&self, script: &Script) -> Result<Arc<AST>, Diagnostic> {
        self.host.scripts.compile(&self.engine, &Scope::new(), script, false)
    }

    fn run_ast(&self, script: &Script, ast: &AST) -> Result<Dynamic, Diagnostic> {
        let _guard = Importing::begin(&script.name)?;
        self.host.begin();
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.engine.eval_ast_with_scope::<Dynamic>(&mut Scope::new(), ast)
        }))
        .map_err(|panic| {
            Diagnostic::new(ErrorKind::Bug, "the script host crashed")
                .cause(register::panic_text(panic.as_ref()))
        })?;
        finish(done, &script.name).map_err(|problem| {
            if problem.message == error::ENDLESS {
                with_loops(problem, script, ast)
            } else {
                problem
            }
        })
    }

    /// Evaluates one expression or a few statements; what they define is lost afterwards.
    ///
    /// # Errors
    /// `Script` when it does not compile, and its own.
    pub fn eval(&self, text: &str) -> Result<Dynamic, Diagnostic> {
        on_big_stack(|| {
            let script = Script { name: "<input>".to_owned(), path: None, text: text.into() };
            self.host.scripts.remember(&script.name, text);
            let ast = self.compile(&script)?;
            self.run_ast(&script, &ast)
        })
    }

    /// The text of a script by the name that positions carry.
    pub fn text_of(&self, name: &str) -> Option<Arc<str>> {
        self.host.scripts.text(name)
    }

    /// A value as a person reads it.
    pub fn shown(&self, value: &Dynamic) -> String {
        text::shown(value)
    }

    /// The outline of a script with those of all that it runs and imports.
    pub fn outline(&self, script: &Script, ast: &AST) -> Outline {
        let mut whole = outline::of(ast);
        let mut seen = vec![script.name.clone()];
        let mut open: Vec<(String, bool, String)> = next(&whole, &script.name);
        while let Some((path, is_module, from)) = open.pop() {
            let folder = self.host.files.root().join(&from);
            let folder = folder.parent().unwrap_or_else(|| self.host.files.root());
            let found = if is_module {
                self.host.scripts.module(&path, Some(&from))
            } else {
                self.host.scripts.find(&path, folder)
            };
            let Ok(found) = found else { continue };
            if seen.contains(&found.name) {
                continue;
            }
            seen.push(found.name.clone());
            let Ok(ast) = self.host.scripts.compile(&self.engine, &Scope::new(), &found, is_module)
            else {
                continue;
            };
            let inner = outline::of(&ast);
            open.extend(next(&inner, &found.name));
            whole.is_open |= inner.is_open;
            whole.steps.extend(inner.steps);
            for param in inner.params {
                if whole.params.iter().all(|known| known.name != param.name) {
                    whole.params.push(param);
                }
            }
        }
        whole
    }

    /// Refuses what the static check finds, so that a slip at the end of a script does not leave half of its work behind.
    fn refuse_mistakes(&self, scripts: &[(Script, Arc<AST>)]) -> Result<(), Diagnostic> {
        let scripts: Vec<Script> = scripts.iter().map(|(script, _)| script.clone()).collect();
        let first = check::check(self, &scripts)
            .into_iter()
            .find(|finding| finding.severity == check::Severity::Error);
        first.map_or(Ok(()), |finding| Err(finding.diagnostic))
    }

    /// Refuses a `--set` that no script of the run declares, before anything runs.
    fn check_parameters(&self, scripts: &[(Script, Arc<AST>)]) -> Result<(), Diagnostic> {
        if self.host.settings.set.is_empty() {
            return Ok(());
        }
        let mut known = Vec::new();
        for (script, ast) in scripts {
            let outline = self.outline(script, ast);
            if outline.is_open {
                return Ok(());
            }
            known.extend(outline.params.into_iter().map(|param| param.name));
        }
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let shown = scripts.iter().map(|(script, _)| script.name.as_str()).collect::<Vec<_>>();
        match self.host.settings.set.iter().find(|(name, _)| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some((name, _)) => {
                Err(params::unknown(&shown.join(", "), name, &names, ErrorKind::Usage))
            }
        }
    }

    /// Refuses, at the end, what was named but met nothing: parameters whose names are computed, steps.
    fn check_used(&self) -> Result<(), Diagnostic> {
        let (unmatched, met) = self.host.run.unmatched();
        if let Some(pattern) = unmatched.first() {
            let diagnostic =
                Diagnostic::new(ErrorKind::Usage, format!("there is no step `{pattern}`"));
            let last: Vec<&str> =
                met.iter().map(|path| path.rsplit('/').next().unwrap_or(path)).collect();
            let near = suggest::near(pattern, met.iter().map(String::as_str).chain(last));
            return Err(match near {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic.hint(format!("the steps are {}", met.join(", "))),
            });
        }
        let (unused, declared) = self.host.run.unused();
        let known: Vec<&str> = declared.iter().map(String::as_str).collect();
        match unused.first() {
            None => Ok(()),
            Some(name) => Err(params::unknown("", name, &known, ErrorKind::Usage)),
        }
    }
}

/// Names the loops of a script that did too much: Rhai forgets on its way up which one ran.
fn with_loops(mut problem: Diagnostic, script: &Script, ast: &AST) -> Diagnostic {
    let mut places = Vec::new();
    ast.walk(&mut |path| {
        if let Some(ASTNode::Stmt(Stmt::While(_, at) | Stmt::Do(_, _, at))) = path.last()
            && let (Some(line), Some(column)) = (at.line(), at.position())
        {
            places.push((line, column));
        }
        true
    });
    places.sort_unstable();
    for (line, column) in places.into_iter().take(3) {
        let text = script.text.lines().nth(line - 1).unwrap_or_default().trim();
        problem =
            problem.hint(format!("look at the loop at {}:{line}:{column}: `{text}`", script.name));
    }
    problem
}

fn next(outline: &Outline, from: &str) -> Vec<(String, bool, String)> {
    let scripts = outline.scripts.iter().map(|path| (path.clone(), false, from.to_owned()));
    let imports = outline.imports.iter().map(|path| (path.clone(), true, from.to_owned()));
    scripts.chain(imports).collect()
}

/// What a script came to: its value, or its error as a diagnostic.
pub fn finish(
    done: Result<Dynamic, Box<EvalAltResult>>,
    name: &str,
) -> Result<Dynamic, Diagnostic> {
    match done {
        Ok(value) => Ok(value),
        Err(problem) => match *problem {
            EvalAltResult::Exit(value, _) | EvalAltResult::Return(value, _) => Ok(value),
            other => Err(error::diagnose(&other, Some(name))),
        },
    }
}

/// Limits that hold for every engine, and the language's dialect.
pub fn limit(engine: &mut Engine) {
    engine
        .set_max_operations(MAX_OPERATIONS)
        .set_max_call_levels(MAX_CALLS)
        .set_max_expr_depths(MAX_DEPTH, MAX_DEPTH)
        .set_max_string_size(MAX_STRING)
        .set_max_array_size(MAX_ITEMS)
        .set_max_map_size(MAX_ITEMS)
        .set_max_modules(200)
        .set_max_strings_interned(0)
        .set_optimization_level(OptimizationLevel::Simple);
}

/// Runs something on a thread whose stack carries deeply nested scripts.
///
/// # Errors
/// Its own, or `Bug` when there is no thread.
pub fn on_big_stack<T: Send>(
    inside: impl FnOnce() -> Result<T, Diagnostic> + Send,
) -> Result<T, Diagnostic> {
    match stack::with("script", STACK, |_| inside()) {
        Ok(done) => done.unwrap_or_else(|panic| {
            Err(Diagnostic::new(ErrorKind::Bug, "the script host crashed")
                .cause(register::panic_text(panic.as_ref())))
        }),
        Err(error) => {
            Err(Diagnostic::new(ErrorKind::Bug, "cannot start a thread").cause(error.to_string()))
        }
    }
}
