//! The reference, from the rows of the catalog and the `///` comments of the standard library: as Markdown, which a
//! terminal shows as well. `gaps` says what a row still lacks; a test holds it empty.

use std::fmt::Write as _;
use std::path::Path;

use rhai::{Engine, FnAccess};

use super::catalog::{self, Effect, Function};
use super::check::literal;
use super::outline::Outline;
use super::scripts::{STDLIB, standard_modules};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::suggest;

/// What a row lacks.
pub fn gaps(function: &Function) -> Vec<String> {
    let mut gaps = Vec::new();
    let mut need = |good: bool, what: &str| {
        if !good {
            gaps.push(format!("{}: {what}", function.path()));
        }
    };
    let summary = function.summary();
    need(
        summary.ends_with('.') && !summary.contains('\n'),
        "its summary is not one sentence with a period",
    );
    need(summary.starts_with(char::is_uppercase), "its summary does not begin with a capital");
    need(!function.returns.is_empty(), "it does not say what it returns");
    need(!function.errors.is_empty(), "it does not say how it fails");
    need(!function.example.trim().is_empty(), "it has no example");
    for param in function.params.iter().chain(function.options) {
        need(
            !param.doc.is_empty() && !param.doc.ends_with('.'),
            &format!("`{}` needs half a sentence without a period", param.name),
        );
    }
    let mut optional = false;
    for param in function.params {
        // A closing closure may follow optional parameters.
        let closing = function.closure_comes_last()
            && std::ptr::eq(param, &function.params[function.params.len() - 1]);
        need(
            !(optional && param.default.is_none() && !closing),
            "a required parameter follows an optional one",
        );
        optional |= param.default.is_some();
    }
    gaps
}

/// A function's page.
pub fn function(function: &Function) -> String {
    let mut text = format!("### `{}`\n\n{}\n", function.signature(), function.doc.trim());
    let list = |text: &mut String, title: &str, params: &[catalog::Param]| {
        if params.is_empty() {
            return;
        }
        let _ = write!(text, "\n{title}\n\n");
        for param in params {
            let default = match param.default {
                None => String::new(),
                Some(default) => format!("; default {}", code(default)),
            };
            let _ = writeln!(
                text,
                "- `{}: {}` — {}{default}",
                param.name,
                param.kind.name(),
                param.doc
            );
        }
    };
    list(&mut text, "Parameters:", function.params);
    list(&mut text, "Options:", function.options);
    let _ = write!(text, "\nReturns {}.\n", function.returns.trim_end_matches('.'));
    let _ = write!(text, "\nErrors: {}\n", function.errors);
    if function.effect == Effect::Write {
        text.push_str("\nIt writes: a plan and a read-only session do not let it.\n");
    }
    let _ = write!(text, "\n```rhai\n{}\n```\n", function.example.trim());
    text
}

fn code(text: &str) -> String {
    if text.contains('`') || text == "none" { text.to_owned() } else { format!("`{text}`") }
}

/// A function of the standard library.
#[derive(Clone, Debug)]
pub struct StandardFunction {
    /// `std/istio`
    pub module: String,
    pub name: String,
    pub params: Vec<String>,
    /// The text of its `///` comment.
    pub doc: String,
}

impl StandardFunction {
    /// `istio::install(version, options)`
    pub fn signature(&self) -> String {
        let module = self.module.trim_start_matches("std/");
        format!("{module}::{}({})", self.name, self.params.join(", "))
    }

    /// The first sentence of its docs.
    pub fn summary(&self) -> &str {
        self.doc.split("\n\n").next().unwrap_or_default().trim()
    }
}

/// The public functions of a script file, with their comments.
pub fn functions_of(engine: &Engine, module: &str, text: &str) -> Vec<StandardFunction> {
    let Ok(ast) = engine.compile(text) else { return Vec::new() };
    let mut functions: Vec<StandardFunction> = ast
        .iter_functions()
        .filter(|function| {
            function.access == FnAccess::Public && !function.name.starts_with("anon$")
        })
        .map(|function| StandardFunction {
            module: module.to_owned(),
            name: function.name.to_owned(),
            params: function.params.iter().map(|name| (*name).to_owned()).collect(),
            doc: comment(&function.comments),
        })
        .collect();
    functions.sort_by(|a, b| a.name.cmp(&b.name).then(a.params.len().cmp(&b.params.len())));
    functions
}

/// All public functions of the embedded standard library.
pub fn standard_functions(engine: &Engine) -> Vec<StandardFunction> {
    standard_modules()
        .iter()
        .flat_map(|module| {
            let file = format!("{}.rhai", module.trim_start_matches("std/"));
            let text = STDLIB.get_file(Path::new(&file)).and_then(|file| file.contents_utf8());
            functions_of(engine, module, text.unwrap_or_default())
        })
        .collect()
}

fn comment(lines: &[&str]) -> String {
    lines
        .iter()
        .flat_map(|block| block.lines())
        .map(|line| {
            let line = line.trim_start().trim_start_matches("///");
            line.strip_prefix(' ').unwrap_or(line)
        })
        .collect::<Vec<_>>()
        .join("\n")
}

/// A page of a function of the standard library.
pub fn standard(function: &StandardFunction) -> String {
    format!(
        "### `{}`\n\nimport \"{}\"\n\n{}\n",
        function.signature(),
        function.module,
        function.doc.trim()
    )
}

/// The page of a namespace: its functions, one line each.
pub fn namespace(name: &str) -> String {
    let shown = if name.is_empty() { "global functions" } else { name };
    let mut text = format!("## {shown}\n\n");
    for function in catalog::functions().filter(|function| function.module == name) {
        let _ = writeln!(text, "- `{}` — {}", function.signature(), function.summary());
    }
    text
}

/// The page of a script: its head comment and its parameters.
pub fn script(name: &str, text: &str, outline: &Outline) -> String {
    let mut page = format!("## {name}\n\n");
    for line in text.lines().take_while(|line| line.starts_with("//")) {
        let line = line.trim_start_matches('/');
        let _ = writeln!(page, "{}", line.strip_prefix(' ').unwrap_or(line));
    }
    if !outline.params.is_empty() {
        page.push_str("\nParameters:\n\n");
        for param in &outline.params {
            let default = param.default.as_ref().map_or_else(|| "computed".to_owned(), literal);
            let _ =
                writeln!(page, "- `{}` — {}; default {}", param.name, param.doc, code(&default));
        }
    }
    if !outline.steps.is_empty() {
        let _ = write!(page, "\nSteps: {}\n", outline.steps.join(", "));
    }
    page
}

/// The whole reference.
pub fn reference(engine: &Engine) -> String {
    let mut text = String::from("# Functions\n");
    let mut modules = vec![""];
    modules.extend(catalog::modules());
    for module in modules {
        let shown = if module.is_empty() { "Global functions" } else { module };
        let _ = write!(text, "\n## {shown}\n");
        for row in catalog::functions().filter(|function| function.module == module) {
            let _ = write!(text, "\n{}", function(row));
        }
    }
    text.push_str("\n# Standard library\n");
    let mut last = String::new();
    for item in standard_functions(engine) {
        if item.module != last {
            let _ = write!(text, "\n## {}\n", item.module);
            last.clone_from(&item.module);
        }
        let _ = write!(text, "\n{}", standard(&item));
    }
    text
}

/// The page of a name: a function, a namespace, a module of the standard library, or one of its functions.
///
/// # Errors
/// `NotFound` with the near name.
pub fn page(engine: &Engine, name: &str) -> Result<String, Diagnostic> {
    if let Some(row) = catalog::find(name) {
        return Ok(function(row));
    }
    let name = name.trim_end_matches("::");
    if catalog::modules().contains(&name) {
        return Ok(namespace(name));
    }
    if name == "core" || name == "global" {
        return Ok(namespace(""));
    }
    let all = standard_functions(engine);
    let bare = name.trim_start_matches("std/");
    let of_module: Vec<&StandardFunction> =
        all.iter().filter(|function| function.module.trim_start_matches("std/") == bare).collect();
    if !of_module.is_empty() {
        let mut text = format!("## {}\n\n", of_module[0].module);
        for function in of_module {
            let _ = writeln!(text, "- `{}` — {}", function.signature(), function.summary());
        }
        return Ok(text);
    }
    let path = |function: &StandardFunction| {
        format!("{}::{}", function.module.trim_start_matches("std/"), function.name)
    };
    let found: Vec<String> =
        all.iter().filter(|function| path(function) == bare).map(standard).collect();
    if !found.is_empty() {
        return Ok(found.join("\n"));
    }
    let known: Vec<String> = catalog::functions()
        .map(Function::path)
        .chain(catalog::modules().into_iter().map(str::to_owned))
        .chain(all.iter().map(path))
        .chain(standard_modules())
        .collect();
    let diagnostic =
        Diagnostic::new(ErrorKind::NotFound, format!("there is nothing called `{name}`"));
    let ends: Vec<&String> =
        known.iter().filter(|known| known.rsplit("::").next() == Some(name)).collect();
    if !ends.is_empty() {
        let ends: Vec<String> = ends.iter().map(|name| format!("`{name}`")).collect();
        return Err(diagnostic.hint(format!("did you mean {}?", ends.join(" or "))));
    }
    Err(match suggest::near(name, known.iter().map(String::as_str)) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic.hint("`meshscript doc` lists everything"),
    })
}

/// The table of contents.
pub fn contents(engine: &Engine) -> String {
    let mut text = namespace("");
    for module in catalog::modules() {
        let _ = write!(text, "\n{}", namespace(module));
    }
    text.push_str("\n## standard library\n\n");
    for function in standard_functions(engine) {
        let _ = writeln!(text, "- `{}` — {}", function.signature(), function.summary());
    }
    text
}
