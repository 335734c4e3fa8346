//! Go's text/template with the functions that Helm registers, as Helm 4.3 runs them.
//!
//! Reading order: `lex`, `parse`, `ast` (text to tree), `value`, `object` (what templates compute with), `eval` (the
//! evaluator), `print` and `verbs` (Go's fmt), `funcs` (the functions), `error` (how a failure is told). Pure: cluster, clock and
//! randomness come in by [`Environment`].
//!
//! Deliberate differences from Helm:
//! - recursion ends when our stack is used up, with Go's message, where Go ends at 100,000 levels or at its memory;
//! - one template's output ends at 256 MiB;
//! - a rendering ends after 500 million steps (`work`), where Go loops on or dies of its memory;
//! - the anchors and aliases of a YAML document copy at most 256 MiB;
//! - values that contain themselves print as `...`; Go dies of them;
//! - `keys` and `values` give byte order, where Go gives a random one; Go prints the address of `.Capabilities`
//!   inside a map, here stand its fields;
//! - complex numbers and DSA keys do not exist; keys and certificates take their randomness from the cryptographic library;
//! - structs such as `.Capabilities.KubeVersion` become JSON with sorted keys; `len nil` (the literal) and a TOML text that
//!   does not parse are told in other words.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use jiff::Timestamp;
use serde_json::Value as Json;

pub(crate) mod ast;
pub(crate) mod dates;
mod error;
mod eval;
mod funcs;
pub(crate) mod json;
mod lex;
mod moments;
mod number;
pub(crate) mod object;
mod parse;
mod print;
mod stack;
mod text;
pub(crate) mod value;
mod verbs;
pub(crate) mod work;

pub use error::TemplateError;

use error::ExecError;
use eval::{Engine, Templates};
use stack::Stack;
use value::Value;
use work::Work;

/// A template's text ends here.
const MAX_OUTPUT: usize = 256 << 20;

/// `lookup(apiVersion, kind, namespace, name)`: an object, or a list when `name` is empty; `null` when there is none.
pub type Lookup<'e> = dyn Fn(&str, &str, &str, &str) -> Result<Json, String> + Sync + 'e;

/// Fills a buffer with random bytes.
pub type Random<'e> = dyn Fn(&mut [u8]) + Sync + 'e;

/// What templates may learn of the world.
#[derive(Default)]
pub struct Environment<'e> {
    /// Reads the cluster; without it `lookup` finds nothing.
    pub lookup: Option<&'e Lookup<'e>>,
    /// What `now` says.
    pub now: Option<Timestamp>,
    /// Where random text, keys and identifiers come from; without it they are all zeros.
    pub random: Option<&'e Random<'e>>,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Environment").field("now", &self.now).finish_non_exhaustive()
    }
}

/// A template file with the scope that it runs in.
pub(crate) struct Source {
    /// `chart/templates/file.yaml`.
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) base_path: String,
    /// Shared by all files of a chart.
    pub(crate) scope: Value,
}

/// Runs every file that is no partial, in Helm's order, within a number of steps, and hands each with its text to `each`.
pub(crate) fn render(
    environment: &Environment<'_>,
    stack: Stack,
    steps: u64,
    mut sources: Vec<Source>,
    mut each: impl FnMut(String, String),
) -> Result<(), TemplateError> {
    let depth = |name: &str| name.matches('/').count();
    sources.sort_by(|a, b| depth(&b.name).cmp(&depth(&a.name)).then_with(|| b.name.cmp(&a.name)));
    let mut templates = Templates::default();
    for source in &sources {
        let trees = parse::parse(&source.name, &source.text)
            .map_err(|error| TemplateError::from_parse(&source.name, &error))?;
        for tree in trees {
            templates.add(tree);
        }
    }
    let templates = Rc::new(templates);
    let engine = Engine {
        environment,
        stack,
        included: RefCell::new(HashMap::new()),
        last_yaml: RefCell::new(None),
        work: Work::new(steps),
    };
    for source in sources {
        let file = source.name.rsplit('/').next().unwrap_or(&source.name);
        if file.starts_with('_') {
            continue;
        }
        if let Value::Map(scope) = &source.scope {
            let entries = [
                (Rc::from("Name"), Value::str(source.name.as_str())),
                (Rc::from("BasePath"), Value::str(source.base_path.as_str())),
            ];
            let template = Value::typed_map(entries.into(), value::MapKind::Values);
            scope.entries.borrow_mut().insert("Template".into(), template);
        }
        let Some(tree) = templates.find(&source.name) else { continue };
        let text = eval::execute(&engine, &templates, &tree, source.scope.clone())
            .map_err(|error: Box<ExecError>| TemplateError::from_exec(&error, &engine.work))?;
        each(source.name, without_no_value(text));
    }
    Ok(())
}

/// The names of all functions that templates can call, sorted.
pub fn function_names() -> Vec<&'static str> {
    funcs::names()
}

/// What Go's `fmt` makes of a value from a chart.
pub(crate) fn go_format(format: &str, value: &Json) -> String {
    print::sprintf(format, &[Value::from_json(value)], &Work::new(work::MAX_STEPS))
}

/// Helm deletes what Go writes for nothing.
pub(crate) fn without_no_value(text: String) -> String {
    const NO_VALUE: &str = "<no value>";
    if text.contains(NO_VALUE) { text.replace(NO_VALUE, "") } else { text }
}

pub(crate) use stack::on_big_stack;
pub(crate) use text::quote;
