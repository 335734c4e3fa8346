//! What TAB offers and which signature the dim hint shows. Everything is answered from memory.

use rhai::{Dynamic, Map};
use rustyline::completion::Pair;

use super::commands::COMMANDS;
use crate::engine::catalog::{self, Function};
use crate::engine::check;
use crate::engine::docs::functions_of;
use crate::engine::interactive::Interactive;
use crate::engine::scripts::standard_modules;

/// The names that can be typed now.
#[derive(Debug, Default)]
pub(super) struct Names {
    variables: Vec<(String, Dynamic)>,
    /// Names, signatures and first doc lines of functions that are no rows: own ones and those of imports.
    functions: Vec<(String, String, String)>,
}

impl Names {
    /// The names of a session.
    pub(super) fn of(interactive: &Interactive) -> Self {
        let mut functions: Vec<(String, String, String)> = interactive
            .functions()
            .into_iter()
            .map(|(name, params)| {
                let signature = format!("{name}({})", params.join(", "));
                (name, signature, String::new())
            })
            .collect();
        for (path, alias) in interactive.imports() {
            let Ok(script) = interactive.session.host.module(path) else { continue };
            for function in functions_of(&interactive.session.engine, path, &script.text) {
                let name = format!("{alias}::{}", function.name);
                let signature = format!("{name}({})", function.params.join(", "));
                functions.push((name, signature, function.summary().to_owned()));
            }
        }
        Self { variables: interactive.variables(), functions }
    }

    fn signature(&self, path: &str) -> Option<String> {
        catalog::find(path).map(Function::signature).or_else(|| {
            let (_, signature, _) = self.functions.iter().find(|(name, _, _)| name == path)?;
            Some(signature.clone())
        })
    }
}

fn pair(name: &str, note: &str) -> Pair {
    let display = if note.is_empty() { name.to_owned() } else { format!("{name}  {note}") };
    Pair { display, replacement: name.to_owned() }
}

/// The candidates at a place of the line, and where the word to replace begins.
pub(super) fn candidates(names: &Names, line: &str, pos: usize) -> (usize, Vec<Pair>) {
    let before = &line[..pos];
    if let Some(command) = before.strip_prefix(':') {
        return command_candidates(names, command);
    }
    if let Some(quote) = open_string(before) {
        let word = &before[quote + 1..];
        let is_import = before[..quote].trim_end().ends_with("import");
        let found = standard_modules()
            .into_iter()
            .filter(|module| is_import && module.starts_with(word))
            .map(|module| pair(&module, ""))
            .collect();
        return (quote + 1, found);
    }
    let start = before
        .rfind(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':' || c == '.' || c == '?'))
        .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
    let word = &before[start..];
    if let Some(options) = options(before, word) {
        return (start, options);
    }
    if let Some((owner, key)) = word.rsplit_once('.') {
        let mut found = keys(names, owner, key);
        if !key.is_empty() {
            let methods = check::language_functions().into_iter();
            let methods = methods.filter(|method| method.starts_with(key));
            found.extend(methods.map(|method| pair(&format!("{method}("), "")));
        }
        return (start + owner.len() + 1, found);
    }
    let mut found: Vec<Pair> = Vec::new();
    for (name, _) in names.variables.iter().filter(|(name, _)| name.starts_with(word)) {
        found.push(pair(name, ""));
    }
    for (name, signature, summary) in
        names.functions.iter().filter(|(name, _, _)| name.starts_with(word))
    {
        found.push(Pair {
            display: format!("{signature}  {summary}"),
            replacement: format!("{name}("),
        });
    }
    let inside = word.contains("::");
    for function in catalog::functions() {
        let path = function.path();
        if path.starts_with(word) && (inside || function.module.is_empty()) {
            found.push(Pair {
                display: format!("{}  {}", function.signature(), function.summary()),
                replacement: format!("{path}("),
            });
        }
    }
    if !inside {
        for module in catalog::modules().iter().filter(|module| module.starts_with(word)) {
            found.push(pair(&format!("{module}::"), ""));
        }
    }
    (start, found)
}

fn command_candidates(names: &Names, command: &str) -> (usize, Vec<Pair>) {
    if let Some((_, argument)) = command.rsplit_once(' ') {
        let rows = catalog::functions().map(Function::path);
        let modules = catalog::modules().into_iter().map(str::to_owned);
        let own = names.functions.iter().map(|(name, _, _)| name.clone());
        let found = rows
            .chain(modules)
            .chain(own)
            .filter(|name| name.starts_with(argument))
            .map(|name| pair(&name, ""))
            .collect();
        return (1 + command.len() - argument.len(), found);
    }
    let found = COMMANDS
        .iter()
        .filter(|(name, _, _)| name.starts_with(command))
        .map(|(name, _, doc)| Pair {
            display: format!(":{name}  {doc}"),
            replacement: (*name).to_owned(),
        })
        .collect();
    (1, found)
}

/// The keys of a variable that is a map.
fn keys(names: &Names, owner: &str, key: &str) -> Vec<Pair> {
    let mut parts = owner.split(['.', '?']).filter(|part| !part.is_empty());
    let Some(first) = parts.next() else { return Vec::new() };
    let Some((_, value)) = names.variables.iter().find(|(name, _)| name == first) else {
        return Vec::new();
    };
    let mut value = value.clone();
    for part in parts {
        let inner = value.read_lock::<Map>().and_then(|map| map.get(part).cloned());
        let Some(inner) = inner else { return Vec::new() };
        value = inner;
    }

    value
        .read_lock::<Map>()
        .map(|map| {
            map.keys().filter(|known| known.starts_with(key)).map(|known| pair(known, "")).collect()
        })
        .unwrap_or_default()
}

/// The options of the call in whose map the cursor stands.
fn options(before: &str, word: &str) -> Option<Vec<Pair>> {
    let (open, call) = enclosing(before)?;
    if open != '{' {
        return None;
    }
    // A value is being typed, not a key.
    let typed = before.trim_end_matches(word).trim_end();
    if !typed.ends_with(['{', ',']) {
        return None;
    }
    let function = catalog::find(&call)?;
    let found: Vec<Pair> = function
        .options
        .iter()
        .filter(|option| option.name.starts_with(word))
        .map(|option| Pair {
            display: format!("{}: {}  {}", option.name, option.kind.name(), option.doc),
            replacement: format!("{}: ", option.name),
        })
        .collect();
    Some(found)
}

/// The innermost bracket that is open and the function whose call surrounds it.
fn enclosing(before: &str) -> Option<(char, String)> {
    let mut stack: Vec<(char, usize)> = Vec::new();
    let mut quote: Option<char> = None;
    let mut escaped = false;
    for (at, c) in before.char_indices() {
        if let Some(open) = quote {
            if c == open && !escaped {
                quote = None;
            }
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' | '`' => quote = Some(c),
            '(' | '[' | '{' => stack.push((c, at)),
            ')' | ']' | '}' => {
                stack.pop();
            }
            _ => {}
        }
    }
    let (open, _) = *stack.last()?;
    let (_, at) = *stack.iter().rev().find(|(c, _)| *c == '(')?;
    let name: String = before[..at]
        .chars()
        .rev()
        .take_while(|c| c.is_alphanumeric() || *c == '_' || *c == ':')
        .collect();
    Some((open, name.chars().rev().collect()))
}

/// Where a string that is still open begins.
fn open_string(before: &str) -> Option<usize> {
    let mut open = None;
    let mut escaped = false;
    for (at, c) in before.char_indices() {
        if c == '"' && !escaped {
            open = if open.is_some() { None } else { Some(at) };
        }
        escaped = c == '\\' && !escaped;
    }
    open
}

/// The signature of the call that is being typed, to stand dim behind the cursor.
pub(super) fn hint(names: &Names, line: &str) -> Option<String> {
    if line.starts_with(':') {
        return None;
    }
    let (open, call) = enclosing(line)?;
    let fresh = open == '(' && line.trim_end().ends_with(['(', ',']);
    if !fresh {
        return None;
    }
    Some(format!("   {}", names.signature(&call)?))
}
