//! An interactive session: variables, functions, imports and constants stay from line to line, also after an error.

use std::sync::Arc;

use rhai::{AST, Dynamic, ParseErrorType, Position, Scope, Stmt, Token};

use super::error;
use super::scripts::Script;
use super::session::{Session, finish, on_big_stack};
use crate::base::diagnostic::Diagnostic;
use crate::base::suggest;

/// How messages name what was typed.
const INPUT: &str = "<input>";

/// The state between two lines.
pub struct Interactive {
    pub session: Session,
    scope: Scope<'static>,
    /// Functions that were defined.
    functions: AST,
    /// Imports that were made, as written, the last one of each alias.
    imports: Vec<(String, String)>,
    /// Lines that were accepted, for `:save`.
    lines: Vec<String>,
}

/// Whether what was typed can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    Complete,
    /// More lines must follow.
    Incomplete,
}

impl Interactive {
    /// A session without variables.
    pub fn new(mut session: Session) -> Self {
        // Variables live in the scope between lines, where the compiler does not see them.
        session.engine.set_strict_variables(false);
        Self {
            session,
            scope: Scope::new(),
            functions: AST::empty(),
            imports: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Runs a line, or several, and gives its value.
    ///
    /// # Errors
    /// Those of the script; the session goes on with what was done before the error.
    pub fn run(&mut self, text: &str) -> Result<Dynamic, Diagnostic> {
        self.session.host.scripts.remember(INPUT, text);
        let value = on_big_stack(|| self.evaluate(text))?;
        self.lines.push(text.to_owned());
        Ok(value)
    }

    fn evaluate(&mut self, text: &str) -> Result<Dynamic, Diagnostic> {
        let engine = &self.session.engine;
        let scripts = &self.session.host.scripts;
        let mut typed =
            engine.compile(text).map_err(|problem| scripts.compile_error(INPUT, &problem))?;
        typed.set_source(INPUT);
        let prelude = engine
            .compile(self.prelude(&typed))
            .map_err(|problem| scripts.compile_error(INPUT, &problem))?;
        let mut whole = prelude.merge(&self.functions).merge(&typed);
        whole.set_source(INPUT);
        let whole = Arc::new(whole);
        scripts.adopt(&whole, false);
        let done = engine.eval_ast_with_scope::<Dynamic>(&mut self.scope, &whole);
        self.keep(&typed);
        let value = finish(done, INPUT).map_err(|problem| self.with_near(problem))?;
        if !value.is_unit() {
            self.scope.set_or_push("last", value.clone());
        }
        Ok(value)
    }

    /// Names the variable that was meant instead of one that does not exist.
    fn with_near(&self, mut problem: Diagnostic) -> Diagnostic {
        let missing = problem.message.strip_prefix("there is no variable `");
        let missing = missing.and_then(|rest| rest.strip_suffix('`')).map(str::to_owned);
        let Some(missing) = missing else { return problem };
        let known = self.scope.iter_raw().map(|(name, _, _)| name);
        problem.hints = match suggest::near(&missing, known) {
            Some(near) => vec![format!("did you mean `{near}`?")],
            None => {
                vec![format!("declare it with `let {missing} = …`; `:vars` lists those there are")]
            }
        };
        problem
    }

    /// What must be said again before each line: imports, and constants so that functions see them.
    fn prelude(&self, typed: &AST) -> String {
        let mut text = String::new();
        let again: Vec<String> = imports(typed).into_iter().map(|(_, alias)| alias).collect();
        for (path, alias) in &self.imports {
            if !again.contains(alias) {
                text.push_str(&format!("import {path:?} as {alias}; "));
            }
        }
        for (name, is_constant, _) in self.scope.iter_raw() {
            if is_constant {
                text.push_str(&format!("const {name} = {name}; "));
            }
        }
        text
    }

    /// Remembers the functions and imports of a line, and keeps the last value of each variable alone.
    fn keep(&mut self, typed: &AST) {
        self.functions = self.functions.merge(&typed.clone_functions_only());
        for (path, alias) in imports(typed) {
            self.imports.retain(|(_, known)| *known != alias);
            self.imports.push((path, alias));
        }
        let mut kept: Vec<(String, bool, Dynamic)> = Vec::new();
        for (name, is_constant, value) in self.scope.iter_raw() {
            kept.retain(|(known, _, _)| known != name);
            kept.push((name.to_owned(), is_constant, value.clone()));
        }
        self.scope.clear();
        for (name, is_constant, value) in kept {
            if is_constant {
                self.scope.push_constant_dynamic(name, value);
            } else {
                self.scope.push_dynamic(name, value);
            }
        }
    }

    /// Runs a file as if it had been typed.
    ///
    /// # Errors
    /// `NotFound`, and the script's own.
    pub fn load(&mut self, path: &str) -> Result<Dynamic, Diagnostic> {
        let Script { text, .. } = self.session.host.find_script(path)?;
        self.run(&text)
    }

    /// The accepted lines as a script.
    pub fn saved(&self) -> String {
        let (imports, rest): (Vec<&String>, Vec<&String>) =
            self.lines.iter().partition(|line| line.trim_start().starts_with("import "));
        let mut text = String::new();
        for line in imports.into_iter().chain(rest) {
            text.push_str(line.trim_end());
            if !line.trim_end().ends_with([';', '}']) {
                text.push(';');
            }
            text.push('\n');
        }
        text
    }

    /// Names, types and values of the variables.
    pub fn variables(&self) -> Vec<(String, Dynamic)> {
        self.scope.iter_raw().map(|(name, _, value)| (name.to_owned(), value.clone())).collect()
    }

    /// Aliases and paths of the imports.
    pub fn imports(&self) -> &[(String, String)] {
        &self.imports
    }

    /// Names and parameters of the functions that were defined.
    pub fn functions(&self) -> Vec<(String, Vec<String>)> {
        self.functions
            .iter_functions()
            .filter(|function| !function.name.starts_with("anon$"))
            .map(|function| {
                let params = function.params.iter().map(|name| (*name).to_owned()).collect();
                (function.name.to_owned(), params)
            })
            .collect()
    }

    /// Forgets everything that was defined.
    pub fn reset(&mut self) {
        self.scope.clear();
        self.functions = AST::empty();
        self.imports.clear();
        self.lines.clear();
    }

    /// Whether what was typed is complete.
    pub fn input(&self, text: &str) -> Input {
        complete(&self.session.engine, text)
    }
}

/// Whether a text is complete (reference 3.4: what the parser misses at the very end may still be typed).
pub fn complete(engine: &rhai::Engine, text: &str) -> Input {
    if text.ends_with('\n') && !text.trim().is_empty() {
        // An empty line always submits.
        return Input::Complete;
    }
    let inputs = [text];
    let (mut tokens, _control) = engine.lex(&inputs);
    for (token, _) in tokens.by_ref() {
        if token == Token::EOF || matches!(token, Token::LexError(_)) {
            break;
        }
    }
    if tokens.state.comment_level > 0 {
        return Input::Incomplete;
    }
    let Err(problem) = engine.compile(text) else {
        let closure_head = text.trim_end().ends_with('|') && !text.trim_end().ends_with("||");
        return if closure_head { Input::Incomplete } else { Input::Complete };
    };
    let position = problem.position();
    match problem.err_type() {
        ParseErrorType::UnexpectedEOF => Input::Incomplete,
        ParseErrorType::BadInput(rhai::LexError::UnterminatedString) => {
            let quoted = letter_at(text, position) == Some('"');
            if quoted && !text.ends_with('\\') { Input::Complete } else { Input::Incomplete }
        }
        _ if is_past_end(text, position) => Input::Incomplete,
        _ => Input::Complete,
    }
}

fn letter_at(text: &str, position: Position) -> Option<char> {
    let line = text.lines().nth(position.line()? - 1)?;
    line.chars().nth(position.position()?.checked_sub(1)?)
}

fn is_past_end(text: &str, position: Position) -> bool {
    let Some(line) = position.line() else { return true };
    let lines: Vec<&str> = text.trim_end().lines().collect();
    if line > lines.len() {
        return true;
    }
    line == lines.len()
        && position.position().unwrap_or(0)
            > lines.last().map_or(0, |last| last.trim_end().chars().count())
}

/// Paths and aliases of the imports of a text.
fn imports(ast: &AST) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for statement in ast.statements() {
        if let Stmt::Import(import, _) = statement
            && let rhai::Expr::StringConstant(path, _) = &import.0
        {
            found.push((path.to_string(), import.1.name.to_string()));
        }
    }
    found
}

/// A diagnostic of a call that was cancelled, for the session that goes on.
pub fn is_interruption(diagnostic: &Diagnostic) -> bool {
    diagnostic.message == error::terminated(error::INTERRUPTED).message
}
