//! Definition files (`.d.rhai`) for editors: one for each namespace, from the same rows as everything else. Rhai's own
//! generator writes types that its language server does not parse.

use std::fmt::Write as _;

use super::catalog::{self, Function, Kind};

/// File names and texts.
pub fn all() -> Vec<(String, String)> {
    let mut files = vec![("global.d.rhai".to_owned(), file(""))];
    for module in catalog::modules() {
        files.push((format!("{module}.d.rhai"), file(module)));
    }
    files
}

fn file(module: &str) -> String {
    let head =
        if module.is_empty() { "module static;".to_owned() } else { format!("module {module};") };
    let mut text = format!("{head}\n");
    for function in catalog::functions().filter(|function| function.module == module) {
        let (least, most) = function.arity();
        for count in least..=most {
            text.push('\n');
            for line in comment(function, count == least) {
                let _ = writeln!(text, "/// {line}");
            }
            let _ = writeln!(
                text,
                "fn {}({}) -> {};",
                function.name,
                parameters(function, count),
                result(function)
            );
        }
    }
    text
}

fn comment(function: &Function, is_first: bool) -> Vec<String> {
    if !is_first {
        return vec![format!("As `{}` with fewer arguments.", function.path())];
    }
    let mut lines = vec![function.summary().to_owned(), String::new()];
    for param in function.params.iter().chain(function.options) {
        lines.push(format!("- `{}: {}` — {}", param.name, param.kind.name(), param.doc));
    }
    lines.push(String::new());
    lines.push(format!("Returns {}.", function.returns.replace('\n', " ")));
    lines
}

fn parameters(function: &Function, count: usize) -> String {
    let mut names: Vec<String> = function
        .params
        .iter()
        .map(|param| format!("{}: {}", param.name, word(param.kind)))
        .collect();
    if count > names.len() {
        let at = names.len() - usize::from(function.closure_comes_last());
        names.insert(at, "options: map".to_owned());
    }
    names.truncate(count);
    names.join(", ")
}

/// A type that the language server knows.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::String | Kind::Duration => "String",
        Kind::Int => "int",
        Kind::Float => "float",
        Kind::Bool => "bool",
        Kind::Map => "map",
        Kind::Array => "array",
        Kind::Closure => "Fn",
        Kind::Any | Kind::Secret | Kind::Manifest | Kind::Strings => "?",
    }
}

/// The result's type, if the docs begin with one.
fn result(function: &Function) -> &'static str {
    let returns = function.returns.trim_start_matches('`');
    [
        ("string", "String"),
        ("bool", "bool"),
        ("int", "int"),
        ("array", "array"),
        ("map", "map"),
        ("#{", "map"),
        ("()", "()"),
    ]
    .iter()
    .find(|(start, _)| returns.starts_with(start))
    .map_or("?", |(_, word)| word)
}
