//! The shape of the code, held by tests: who may import whom, file sizes, module heads, who prints.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every arrow between our modules that is allowed. A new one is a line here, in a commit of its own with its reason.
/// `helm` is two layers: `helm` (chart, values, template, render, manifest: pure) and `helm_io` (action, release, repo).
const ARROWS: &[(&str, &[&str])] = &[
    ("main", &[]),
    ("lib", &["cli"]),
    ("cli", &["base", "config", "engine", "repl", "report"]),
    ("repl", &["base", "engine", "report"]),
    ("engine", &["base", "cert", "config", "helm", "helm_io", "http", "k8s", "report", "sandbox"]),
    ("helm_io", &["base", "helm", "http", "k8s"]),
    ("helm", &["base"]),
    ("k8s", &["base"]),
    ("cert", &["base"]),
    ("http", &["base", "cert"]),
    ("sandbox", &["base"]),
    ("report", &["base"]),
    ("config", &["base"]),
    ("base", &[]),
];

/// The parts of `helm` that talk to a cluster or the network.
const HELM_IO: &[&str] = &["action", "lookup", "release", "repo", "registry", "remote", "source"];

const MAX_LINES: usize = 1_000;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The layer of a path of modules such as `helm::action::install`.
fn layer(modules: &[&str]) -> String {
    match modules {
        ["helm", second, ..] if HELM_IO.contains(second) => "helm_io".to_owned(),
        [first, ..] => (*first).to_owned(),
        [] => "lib".to_owned(),
    }
}

/// The layer that a source file belongs to.
fn layer_of_file(relative: &Path) -> String {
    let text = relative.with_extension("").to_string_lossy().into_owned();
    let modules: Vec<&str> = text.split('/').filter(|part| *part != "mod").collect();
    layer(&modules)
}

/// The layers that a file's `crate::…` paths lead to. Braced groups (`use crate::{a, b::c};`) are unfolded one level.
fn imports(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let names = if let Some(group) = rest.strip_prefix('{') {
            let end = group.find("};").unwrap_or(group.len());
            split_group(&group[..end])
        } else {
            vec![rest.to_owned()]
        };
        for name in names {
            let end = name
                .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'))
                .unwrap_or(name.len());
            let modules: Vec<&str> =
                name[..end].split("::").filter(|part| !part.is_empty()).collect();
            found.insert(layer(&modules));
            // `use crate::helm::{action, chart}` hides the second module behind a brace.
            if modules == ["helm"]
                && let Some(group) = name[end..].strip_prefix('{')
            {
                for inner in split_group(group.split_once('}').map_or(group, |(group, _)| group)) {
                    let first = inner.split("::").next().unwrap_or_default().trim();
                    found.insert(layer(&["helm", first]));
                }
            }
        }
    }
    found
}

/// Splits at the commas outside of inner braces.
fn split_group(group: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0usize;
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts.into_iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn sources() -> Vec<(PathBuf, String)> {
    let src = root().join("src");
    files_below(&src, "rs")
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file is readable");
            (path.strip_prefix(&src).expect("below src").to_owned(), text)
        })
        .collect()
}

#[test]
fn imports_follow_the_arrow_table() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let from = layer_of_file(&path);
        let allowed = ARROWS.iter().find(|(layer, _)| *layer == from).map(|(_, to)| *to);
        let Some(allowed) = allowed else {
            wrong.push(format!("src/{}: layer `{from}` is not in the table", path.display()));
            continue;
        };
        for to in imports(&text) {
            if to != from && to != "lib" && !allowed.contains(&to.as_str()) {
                wrong.push(format!("src/{}: `{from}` may not import `{to}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_arrow_table_has_no_cycle() {
    for (layer, _) in ARROWS {
        let mut seen = BTreeSet::new();
        let mut open: Vec<&str> = ARROWS
            .iter()
            .find(|(name, _)| name == layer)
            .map(|(_, to)| to.to_vec())
            .unwrap_or_default();
        while let Some(next) = open.pop() {
            assert_ne!(next, *layer, "`{layer}` reaches itself");
            if seen.insert(next) {
                open.extend(
                    ARROWS.iter().filter(|(name, _)| *name == next).flat_map(|(_, to)| *to),
                );
            }
        }
    }
}

#[test]
fn files_stay_small_and_modules_open_with_a_head() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("src/{}: {lines} lines, at most {MAX_LINES}", path.display()));
        }
        if !text.starts_with("//!") {
            wrong.push(format!("src/{}: no head comment (`//!`)", path.display()));
        }
    }
    for path in files_below(&root().join("tests"), "rs") {
        let lines = fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        if lines > MAX_LINES {
            wrong.push(format!("{}: {lines} lines, at most {MAX_LINES}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_report_prints_and_nobody_leaves_marks() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let prints = path.starts_with("report");
        for (number, line) in text.lines().enumerate() {
            let code = line.trim_start();
            let print = ["println!", "eprintln!", "print!(", "eprint!("]
                .iter()
                .any(|name| code.contains(name) && !code.starts_with("//"));
            if print && !prints {
                wrong.push(format!(
                    "src/{}:{}: prints outside of `report`",
                    path.display(),
                    number + 1
                ));
            }
            if ["TODO", "FIXME", "XXX"].iter().any(|mark| line.contains(mark)) {
                wrong.push(format!("src/{}:{}: a to-do mark", path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_top_level_is_what_the_readme_says() {
    const TOP: &[&str] =
        &["Cargo.toml", "Cargo.lock", "src", "scripts", "stdlib", "examples", "tests", "README.md"];
    let mut wrong: Vec<String> = fs::read_dir(root())
        .expect("the project folder is readable")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && name != "target" && !TOP.contains(&name.as_str()))
        .collect();
    wrong.sort();
    assert!(wrong.is_empty(), "not of the top level: {wrong:?}");
}

#[test]
fn arrows_are_found_in_every_form_of_import() {
    let text = "use crate::helm::{action, chart};\nuse crate::{base::clock, k8s};\nlet a = crate::cert::issue();\n// use crate::repl;";
    let found: Vec<String> = imports(text).into_iter().collect();
    assert_eq!(found, ["base", "cert", "helm", "helm_io", "k8s"]);
}
