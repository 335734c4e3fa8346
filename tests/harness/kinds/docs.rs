//! The reference is complete and true: every row has its docs, every example runs in a fresh sandbox.

use libtest_mimic::{Failed, Trial};
use meshscript::engine::catalog::{Function, functions};
use meshscript::engine::{docs, scripts, session};
use meshscript::report::ReportOptions;

use super::script;

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("docs/rows_are_complete", || {
            let gaps: Vec<String> = functions().flat_map(docs::gaps).collect();
            if gaps.is_empty() { Ok(()) } else { Err(gaps.join("\n").into()) }
        }),
        Trial::test("docs/names_are_unique", || {
            let mut paths: Vec<String> = functions().map(Function::path).collect();
            paths.sort();
            let twice: Vec<String> = paths
                .windows(2)
                .filter(|pair| pair[0] == pair[1])
                .map(|pair| pair[0].clone())
                .collect();
            if twice.is_empty() { Ok(()) } else { Err(twice.join("\n").into()) }
        }),
        Trial::test("docs/standard_library_is_documented", || {
            let functions = docs::standard_functions(&engine());
            let mut gaps: Vec<String> = functions
                .iter()
                .filter(|function| !function.summary().ends_with('.'))
                .map(|function| {
                    format!("{}: no summary that ends with a period", function.signature())
                })
                .collect();
            // A module that does not compile has no functions.
            for module in scripts::standard_modules() {
                if !functions.iter().any(|function| function.module == module) {
                    gaps.push(format!("{module}: no function"));
                }
            }
            if gaps.is_empty() { Ok(()) } else { Err(gaps.join("\n").into()) }
        }),
    ];
    trials.extend(functions().map(|function| {
        Trial::test(format!("docs/example/{}", function.path()), move || example(function.example))
    }));
    let mut names = Vec::new();
    for function in docs::standard_functions(&engine()) {
        let path = format!("{}::{}", function.module, function.name);
        let name =
            if names.contains(&path) { format!("{path}/{}", function.params.len()) } else { path };
        names.push(name.clone());
        trials.push(Trial::test(format!("docs/example/{name}"), move || {
            // A form with fewer arguments refers to the full one, which holds the docs.
            match code(&function.doc) {
                Some(code) => example(&code),
                None if function.summary().starts_with("As `") => Ok(()),
                None => Err(format!("{} has no example", function.signature()).into()),
            }
        }));
    }
    trials
}

/// An engine with the limits of a session: the standard library nests deeper than Rhai's own allow in a debug build.
fn engine() -> rhai::Engine {
    let mut engine = rhai::Engine::new();
    session::limit(&mut engine);
    engine
}

/// The code of a doc comment.
fn code(doc: &str) -> Option<String> {
    let (_, rest) = doc.split_once("```rhai\n")?;
    let (code, _) = rest.split_once("```")?;
    Some(code.to_owned())
}

/// Runs an example in a sandbox and a workspace of its own.
fn example(text: &str) -> Result<(), Failed> {
    let workspace = tempfile::tempdir()?;
    let (session, captured) =
        script::session(script::settings(workspace.path()), ReportOptions::default());
    session.eval(text).map(drop).map_err(|error| {
        session.host.reporter.error(&error, &|name| session.text_of(name));
        captured.lock().all.clone().into()
    })
}
