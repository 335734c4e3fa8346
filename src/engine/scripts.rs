//! Where scripts come from: files of the workspace, and those embedded in the binary; how `import` finds them; which file
//! a closure belongs to.
//!
//! Rhai's own resolver loops on circular imports, knows no real paths and never sees an edit; and a closure that leaves
//! the file in which it was written is not found any more. Both are mended here.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use include_dir::{Dir, include_dir};
use parking_lot::RwLock;
use rhai::{
    AST, CallFnOptions, Dynamic, Engine, EvalAltResult, FnPtr, Module, ModuleResolver,
    NativeCallContext, Position, Scope, Shared,
};

use super::{brackets, error};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::suggest;

/// The scripts of the guide, as shipped.
pub static SCRIPTS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/scripts");
/// The standard library, as shipped.
pub static STDLIB: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/stdlib");

/// A script's text and where it came from.
#[derive(Clone, Debug)]
pub struct Script {
    /// How messages name it: the path as the user wrote it, or `std/istio`.
    pub name: String,
    /// The real file, `None` for an embedded one.
    pub path: Option<PathBuf>,
    pub text: Arc<str>,
}

/// A closure's home: the tree that holds its body, and whether that is a module.
#[derive(Clone)]
struct Home {
    ast: Arc<AST>,
    is_module: bool,
}

/// The scripts that a run has read.
pub struct Scripts {
    root: PathBuf,
    texts: RwLock<HashMap<String, Arc<str>>>,
    homes: RwLock<HashMap<String, Home>>,
    modules: RwLock<HashMap<String, Cached>>,
}

#[derive(Clone)]
struct Cached {
    modified: Option<SystemTime>,
    module: Shared<Module>,
}

thread_local! {
    /// The imports in progress on this thread, outermost first.
    static IMPORTING: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

impl Scripts {
    /// The scripts of a workspace; `root` is its real folder.
    pub fn new(root: PathBuf) -> Self {
        Self {
            root,
            texts: RwLock::default(),
            homes: RwLock::default(),
            modules: RwLock::default(),
        }
    }

    /// The text of a script that was read, for the source window of an error.
    pub fn text(&self, name: &str) -> Option<Arc<str>> {
        self.texts.read().get(name).cloned()
    }

    /// Remembers a text that has no file, such as a line of the REPL.
    pub fn remember(&self, name: &str, text: &str) {
        self.texts.write().insert(name.to_owned(), text.into());
    }

    /// Finds a script named on the command line or by `run_script`: below `current`, in the workspace, else the embedded one.
    ///
    /// # Errors
    /// `Usage` with the near name, `Invalid` when it is not UTF-8.
    pub fn find(&self, name: &str, current: &Path) -> Result<Script, Diagnostic> {
        let with_extension = if Path::new(name).extension().is_some() {
            name.to_owned()
        } else {
            format!("{name}.rhai")
        };
        let folders = [current.to_owned(), self.root.clone(), self.root.join("scripts")];
        for folder in folders {
            for candidate in [name, with_extension.as_str()] {
                let path = folder.join(candidate);
                if path.is_file() {
                    let shown = self.shown(&path, current, candidate);
                    return self.read(&path, shown);
                }
            }
        }
        let bare = with_extension.strip_prefix("./").unwrap_or(&with_extension);
        let embedded = SCRIPTS.get_file(bare.strip_prefix("scripts/").unwrap_or(bare));
        if let Some(text) = embedded.and_then(|file| file.contents_utf8()) {
            let shown = format!("scripts/{}", bare.strip_prefix("scripts/").unwrap_or(bare));
            self.texts.write().insert(shown.clone(), text.into());
            return Ok(Script { name: shown, path: None, text: text.into() });
        }
        let diagnostic = Diagnostic::new(ErrorKind::Usage, format!("there is no script `{name}`"))
            .cause("looked in the current folder, the workspace and the built-in scripts");
        let known: Vec<String> = SCRIPTS
            .files()
            .filter(|file| file.path().extension().is_some_and(|found| found == "rhai"))
            .map(|file| format!("scripts/{}", file.path().display()))
            .collect();
        let beside = std::fs::read_dir(current.join(name).parent().unwrap_or(current));
        let beside: Vec<String> = beside
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().extension().is_some_and(|found| found == "rhai"))
            .map(|entry| {
                let folder = Path::new(name).parent().unwrap_or(Path::new(""));
                folder.join(entry.file_name()).display().to_string()
            })
            .collect();
        let names = beside.iter().chain(&known).map(String::as_str);
        Err(match suggest::near(name, names) {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic.hint(format!("the built-in scripts are {}", known.join(", "))),
        })
    }

    /// How messages name a file: as written when it is short, else relative to the workspace.
    fn shown(&self, path: &Path, current: &Path, written: &str) -> String {
        if current.join(written) == path {
            return written.strip_prefix("./").unwrap_or(written).to_owned();
        }
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }

    fn read(&self, path: &Path, name: String) -> Result<Script, Diagnostic> {
        let bytes =
            std::fs::read(path).map_err(|error| super::files::io_error("read", &name, &error))?;
        let text: Arc<str> = String::from_utf8(bytes)
            .map_err(|_| Diagnostic::new(ErrorKind::Invalid, format!("`{name}` is not UTF-8")))?
            .into();
        self.texts.write().insert(name.clone(), Arc::clone(&text));
        Ok(Script { name, path: Some(path.to_owned()), text })
    }

    /// Compiles a script and remembers its closures.
    ///
    /// # Errors
    /// `Script` with the place.
    pub fn compile(
        &self,
        engine: &Engine,
        scope: &Scope<'_>,
        script: &Script,
        is_module: bool,
    ) -> Result<Arc<AST>, Diagnostic> {
        let mut ast = engine
            .compile_with_scope(scope, &*script.text)
            .map_err(|problem| self.compile_error(&script.name, &problem))?;
        ast.set_source(script.name.as_str());
        let ast = Arc::new(ast);
        self.adopt(&ast, is_module);
        Ok(ast)
    }

    /// Remembers which tree holds which closure.
    pub fn adopt(&self, ast: &Arc<AST>, is_module: bool) {
        let mut homes = self.homes.write();
        for function in ast.iter_functions().filter(|function| function.name.starts_with("anon$")) {
            homes.insert(function.name.to_owned(), Home { ast: Arc::clone(ast), is_module });
        }
    }

    /// The diagnostic of a compile error.
    pub fn compile_error(&self, name: &str, problem: &rhai::ParseError) -> Diagnostic {
        let mut diagnostic = error::parse_error(problem.err_type());
        diagnostic.at = error::place(Some(name), problem.position());
        let Some(text) = self.text(name) else { return diagnostic };
        let lines: Vec<&str> = text.lines().collect();
        let missing_end = matches!(
            problem.err_type(),
            rhai::ParseErrorType::MissingToken(token, _) if token == ";"
        );
        if let Some(at) = &mut diagnostic.at
            && missing_end
        {
            // Rhai stops at the token that follows; what is missing is missing at the end of the line before.
            let starts_line = lines
                .get(at.line - 1)
                .is_some_and(|line| line.len() - line.trim_start().len() + 1 >= at.column);
            let before = (1..at.line).rev().find(|line| {
                let code = lines[line - 1].trim();
                !code.is_empty() && !code.starts_with("//")
            });
            if let Some(before) = before.filter(|_| starts_line) {
                at.line = before;
                at.column = lines[before - 1].trim_end().chars().count() + 1;
                diagnostic.message = "expected `;` at the end of the statement".to_owned();
            }
        } else if !lines.is_empty() && diagnostic.at.as_ref().is_none_or(|at| at.line > lines.len())
        {
            // What is missing at the very end is missing after the last line that holds something.
            let last = lines.iter().rposition(|line| !line.trim().is_empty()).unwrap_or(0);
            diagnostic.at = Some(crate::base::diagnostic::Position {
                file: name.into(),
                line: last + 1,
                column: lines[last].trim_end().chars().count() + 1,
            });
        }
        if let rhai::ParseErrorType::VariableUndefined(missing) = problem.err_type() {
            diagnostic.hints = error::about_variable(missing, &text);
        }
        if let (Some(at), Some(opened)) = (&diagnostic.at, missing_closer(problem))
            && let Some((line, column)) = brackets::open_at(&text, opened, (at.line, at.column))
        {
            return diagnostic.hint(format!("`{opened}` was opened at {name}:{line}:{column}"));
        }
        diagnostic
    }

    /// Finds the text of an imported module. `from` is the real file or the name of the importing script.
    ///
    /// # Errors
    /// `Script` when there is none, or it lies outside of the workspace.
    pub fn module(&self, path: &str, from: Option<&str>) -> Result<Script, Diagnostic> {
        let file = if path.ends_with(".rhai") { path.to_owned() } else { format!("{path}.rhai") };
        if let Some(inner) = file.strip_prefix("std/") {
            let own = self.root.join("stdlib").join(inner);
            if own.is_file() {
                return self.read(&own, format!("stdlib/{inner}"));
            }
            if let Some(text) = STDLIB.get_file(inner).and_then(|file| file.contents_utf8()) {
                let name = path.trim_end_matches(".rhai").to_owned();
                self.texts.write().insert(name.clone(), text.into());
                return Ok(Script { name, path: None, text: text.into() });
            }
            let known = standard_modules();
            let diagnostic =
                Diagnostic::new(ErrorKind::Script, format!("there is no module `{path}`"));
            return Err(match suggest::near(path, known.iter().map(String::as_str)) {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic.hint(format!("the standard library has {}", known.join(", "))),
            });
        }
        let folder = from
            .and_then(|from| Path::new(from).parent())
            .map_or_else(|| self.root.clone(), |folder| self.root.join(folder));
        for folder in [folder, self.root.clone()] {
            let found = plain(&folder.join(&file));
            if found.is_file() {
                let real = found.canonicalize().unwrap_or_else(|_| found.clone());
                if !real.starts_with(&self.root) {
                    return Err(Diagnostic::new(
                        ErrorKind::Script,
                        format!("the module `{path}` lies outside of the workspace"),
                    ));
                }
                let name = real.strip_prefix(&self.root).unwrap_or(&real).display().to_string();
                return self.read(&real, name);
            }
        }
        Err(Diagnostic::new(ErrorKind::Script, format!("there is no module `{path}`"))
            .cause(format!("neither beside the importing file nor in the workspace is a `{file}`"))
            .hint("modules of the standard library begin with `std/`"))
    }
}

/// The bracket whose end a compile error misses.
fn missing_closer(problem: &rhai::ParseError) -> Option<char> {
    let rhai::ParseErrorType::MissingToken(token, _) = problem.err_type() else { return None };
    match token.as_str() {
        "}" => Some('{'),
        ")" => Some('('),
        "]" => Some('['),
        _ => None,
    }
}

/// `std/…` of every module of the standard library.
pub fn standard_modules() -> Vec<String> {
    let mut names: Vec<String> = STDLIB
        .files()
        .filter(|file| file.path().extension().is_some_and(|found| found == "rhai"))
        .map(|file| format!("std/{}", file.path().with_extension("").display()))
        .collect();
    names.sort();
    names
}

/// A path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

/// `import` for an engine.
pub struct Resolver(pub Arc<Scripts>);

impl ModuleResolver for Resolver {
    fn resolve(
        &self,
        engine: &Engine,
        source: Option<&str>,
        path: &str,
        position: Position,
    ) -> Result<Shared<Module>, Box<EvalAltResult>> {
        let import = format!("import \"{path}\"");
        let fail = |diagnostic| error::to_script(diagnostic, &import, source, position);
        let script = self.0.module(path, source).map_err(fail)?;
        let modified =
            script.path.as_ref().and_then(|path| std::fs::metadata(path).ok()?.modified().ok());
        if let Some(cached) = self.0.modules.read().get(&script.name)
            && cached.modified == modified
        {
            return Ok(Shared::clone(&cached.module));
        }
        let _guard = Importing::begin(&script.name).map_err(fail)?;
        let scope = Scope::new();
        let ast = self.0.compile(engine, &scope, &script, true).map_err(fail)?;
        let module = Module::eval_ast_as_new(scope, &ast, engine)
            .map_err(|problem| fail(error::diagnose(&problem, Some(&script.name))))?;
        let module = Shared::new(module);
        self.0
            .modules
            .write()
            .insert(script.name, Cached { modified, module: Shared::clone(&module) });
        Ok(module)
    }
}

/// Files that import each other, the first one again at the end.
pub(super) fn circular(circle: &[String]) -> Diagnostic {
    Diagnostic::new(ErrorKind::Script, format!("circular import: {}", circle.join(" -> ")))
        .hint("move what both files need into a third one")
}

/// Keeps a file on the stack of imports while it is being imported.
pub struct Importing;

impl Importing {
    /// Puts a file on the stack; the guard takes it off.
    ///
    /// # Errors
    /// `Script` with the circle when the file is on the stack already.
    pub fn begin(name: &str) -> Result<Self, Diagnostic> {
        IMPORTING.with_borrow_mut(|importing| {
            if let Some(at) = importing.iter().position(|known| known == name) {
                let mut circle = importing[at..].to_vec();
                circle.push(name.to_owned());
                return Err(circular(&circle));
            }
            importing.push(name.to_owned());
            Ok(Self)
        })
    }
}

impl Drop for Importing {
    fn drop(&mut self) {
        IMPORTING.with_borrow_mut(|importing| importing.pop());
    }
}

/// The file in which a native call stands.
pub fn current_source(context: &NativeCallContext<'_>) -> Option<String> {
    context
        .iter_namespaces()
        .last()
        .and_then(|module| module.id())
        .or_else(|| context.call_source())
        .map(str::to_owned)
}

/// Calls a closure that was given to a host function, in the file where it was written.
pub fn call_closure(
    scripts: &Scripts,
    context: &NativeCallContext<'_>,
    closure: &FnPtr,
    arguments: Vec<Dynamic>,
) -> Result<Dynamic, Diagnostic> {
    let home = scripts.homes.read().get(closure.fn_name()).cloned();
    let Some(home) = home else {
        let source = current_source(context);
        return closure
            .call_within_context(context, arguments)
            .map_err(|problem| error::diagnose(&problem, source.as_deref()));
    };
    let source = home.ast.source();
    if home.is_module && current_source(context).as_deref() != source {
        return call_in(context.engine(), &home.ast, closure, arguments)
            .map_err(|problem| error::diagnose(&problem, source));
    }
    #[expect(deprecated, reason = "Rhai marks what may change between versions; ours is pinned")]
    let done = {
        let mut stored = context.store_data();
        stored.global.source = source.map(Into::into);
        stored.global.lib = std::iter::once(Shared::clone(home.ast.shared_lib())).collect();
        closure.call_within_context(&stored.create_context(context.engine()), arguments)
    };
    done.map_err(|problem| error::diagnose(&problem, source))
}

/// Calls a closure of a module from elsewhere: the module's own imports and constants are set up first.
fn call_in(
    engine: &Engine,
    ast: &AST,
    closure: &FnPtr,
    arguments: Vec<Dynamic>,
) -> Result<Dynamic, Box<EvalAltResult>> {
    let all: Vec<Dynamic> = closure.iter_curry().cloned().chain(arguments).collect();
    let options = CallFnOptions::new().eval_ast(true).rewind_scope(true);
    engine.call_fn_with_options(options, &mut Scope::new(), ast, closure.fn_name(), all)
}

/// Lets closures that left their file be found: Rhai looks for them only in the file that calls.
pub fn find_closures(engine: &mut Engine, scripts: &Arc<Scripts>) {
    let scripts = Arc::clone(scripts);
    #[expect(deprecated, reason = "Rhai marks what may change between versions; ours is pinned")]
    engine.on_missing_function(move |name, arguments, _, context| {
        if !name.starts_with("anon$") {
            return Ok(None);
        }
        let Some(home) = scripts.homes.read().get(name).cloned() else { return Ok(None) };
        let known = context
            .iter_namespaces()
            .any(|module| home.ast.source().is_some() && module.id() == home.ast.source());
        if known {
            // It was found and failed by itself: a wrong number of arguments, or an error of its own.
            return Ok(None);
        }
        let arguments: Vec<Dynamic> =
            arguments.iter().map(|argument| (**argument).clone()).collect();
        let options = CallFnOptions::new().eval_ast(home.is_module).rewind_scope(true);
        context
            .engine()
            .call_fn_with_options(options, &mut Scope::new(), &home.ast, name, arguments)
            .map(Some)
    });
}
