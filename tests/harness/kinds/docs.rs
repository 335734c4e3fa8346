//! The reference is complete and true: every row has its docs, every example runs in a fresh sandbox.

use std::fs;

use libtest_mimic::{Failed, Trial};
use meshscript::engine::catalog::{Function, functions};
use meshscript::engine::{docs, scripts, session};
use meshscript::report::ReportOptions;

use super::{provenance, script};

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
        Trial::test("docs/options_of_helm_have_examples", || {
            let helm: Vec<&Function> =
                functions().filter(|function| function.module == "helm").collect();
            let missing: Vec<String> = helm
                .iter()
                .flat_map(|function| function.options.iter().map(move |option| (function, option)))
                .filter(|(_, option)| {
                    let is_shown = |shown: &&Function| {
                        shown.options.iter().any(|other| other.name == option.name)
                            && shown.example.contains(&format!("{}: ", option.name))
                    };
                    !helm.iter().copied().any(|function| is_shown(&function))
                })
                .map(|(function, option)| format!("{}: {}", function.path(), option.name))
                .collect();
            if missing.is_empty() { Ok(()) } else { Err(missing.join("\n").into()) }
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
    trials.push(Trial::test("docs/wrong_arguments_are_no_defects", wrong_arguments));
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

/// Calls every function with each kind of value at every place: whatever comes of it, it is not a crash.
fn wrong_arguments() -> Result<(), Failed> {
    // These wait for what never comes, or for somebody to answer.
    const LEFT_OUT: &[&str] = &["confirm", "sleep", "http::probe", "http::load"];
    const VALUES: &[&str] = &[
        "\"a text\"",
        "\"\"",
        "-1",
        "1.5",
        "true",
        "[]",
        "[1]",
        "#{}",
        "#{ a: 1 }",
        "()",
        "|x| x",
    ];
    let workspace = tempfile::tempdir()?;
    let (session, _) =
        script::session(script::settings(workspace.path()), ReportOptions::default());
    let mut defects = Vec::new();
    let mut calls = 0;
    for function in functions().filter(|function| !LEFT_OUT.contains(&function.path().as_str())) {
        let (least, most) = function.arity();
        for count in least..=most {
            for value in VALUES {
                let arguments = vec![*value; count].join(", ");
                let call = format!("{}({arguments})", function.path());
                calls += 1;
                let tried = session.eval(&format!(
                    "let tried = attempt(|| {call}); if tried.ok {{ \"\" }} else {{ tried.error.kind }}"
                ));
                // What ends the whole script, such as `fail`, is told as an error.
                let kind = match tried {
                    Ok(kind) => kind.into_string().unwrap_or_default(),
                    Err(error) => format!("{:?}", error.kind),
                };
                if kind == "Bug" {
                    defects.push(call);
                }
            }
        }
    }
    if calls < 1_000 {
        return Err(format!("only {calls} calls").into());
    }
    if defects.is_empty() { Ok(()) } else { Err(defects.join("\n").into()) }
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

/// Runs an example in a sandbox and a workspace of its own, which holds the packed chart `charts/web-1.2.0.tgz`, and a signed
/// one in `signed/`. One that ends with a condition claims that it holds.
fn example(text: &str) -> Result<(), Failed> {
    let workspace = tempfile::tempdir()?;
    let charts = workspace.path().join("charts");
    fs::create_dir(&charts)?;
    fs::write(charts.join("web-1.2.0.tgz"), packed("1.2.0")?)?;
    let (known, signed) = (provenance::folder(), workspace.path().join("signed"));
    fs::create_dir(&signed)?;
    for (from, to) in [
        ("web-1.2.0.tgz", "web-1.2.0.tgz"),
        ("rsa.prov", "web-1.2.0.tgz.prov"),
        ("trusted.asc", "trusted.asc"),
    ] {
        fs::copy(known.join(from), signed.join(to))?;
    }
    let (session, captured) =
        script::session(script::settings(workspace.path()), ReportOptions::default());
    let value = session.eval(text).map_err(|error| {
        session.host.reporter.error(&error, &|name| session.text_of(name));
        Failed::from(captured.lock().all.clone())
    })?;
    match value.as_bool() {
        Ok(false) => Err(format!("the example does not hold:\n{text}").into()),
        _ => Ok(()),
    }
}

/// A packed chart `web` with one ConfigMap that tells its version.
pub(crate) fn packed(version: &str) -> Result<Vec<u8>, Failed> {
    let chart = format!("apiVersion: v2\nname: web\nversion: {version}\n");
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata:\n  version: {{ .Chart.Version | quote }}\n";
    archive(&[
        ("web/Chart.yaml".to_owned(), chart.into_bytes()),
        ("web/templates/map.yaml".to_owned(), map.as_bytes().to_vec()),
    ])
}

/// A packed chart of files by their paths.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Failed> {
    let mut archive =
        tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, &data[..])?;
    }
    Ok(archive.into_inner()?.finish()?)
}
