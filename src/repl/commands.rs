//! What begins with a colon, and how values are shown.

use std::sync::Arc;

use rhai::{Array, Dynamic, Map};

use crate::base::duration::human;
use crate::engine::convert::type_of;
use crate::engine::interactive::Interactive;
use crate::engine::{docs, files, text};
use crate::report::table;

/// Longer values are cut; `print(last)` shows all.
const MAX_LINES: usize = 200;

/// Name, arguments and meaning of each command.
pub(super) const COMMANDS: &[(&str, &str, &str)] = &[
    ("help", "", "lists the commands"),
    ("doc", "NAME", "explains a function, a namespace or a module"),
    ("ls", "[NAMESPACE]", "lists functions"),
    ("find", "TEXT", "lists functions whose name or summary holds a text"),
    ("ctx", "", "shows the target"),
    ("ns", "", "shows the namespace of objects that name none"),
    ("vars", "", "lists the variables"),
    ("type", "EXPR", "shows the type of a value"),
    ("time", "EXPR", "evaluates and shows how long it took"),
    ("load", "FILE", "runs a file as if it had been typed"),
    ("save", "FILE", "writes what was typed as a script"),
    ("reset", "", "forgets variables, functions and imports"),
    ("arm", "", "allows functions that write"),
    ("disarm", "", "makes the session read-only"),
    ("quit", "", "leaves"),
];

/// Whether the session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    Leave,
}

/// The command that a line is: what begins with a colon, and the words that every other session knows.
pub(super) fn of(line: &str) -> Option<String> {
    match line {
        "exit" | "quit" | "help" => Some(format!(":{line}")),
        line => line.starts_with(':').then(|| line.to_owned()),
    }
}

/// Runs a command.
pub(super) fn run(interactive: &mut Interactive, line: &str) -> Next {
    let (name, argument) = line[1..].split_once(' ').unwrap_or((&line[1..], ""));
    let argument = argument.trim();
    let host = Arc::clone(&interactive.session.host);
    let reporter = &host.reporter;
    match name {
        "help" | "h" | "?" => {
            for (name, arguments, doc) in COMMANDS {
                reporter.data(&format!("{:24} {doc}", format!(":{name} {arguments}")));
            }
            reporter.data("\nAnything else is Rhai. `last` is the last value; a line that begins with `.` goes on from it.");
        }
        "doc" | "ls" => {
            let page = if argument.is_empty() {
                Ok(docs::contents(&interactive.session.engine))
            } else {
                docs::page(&interactive.session.engine, argument)
            };
            match page {
                Ok(page) => reporter.data(page.trim_end()),
                Err(error) => reporter.error(&error, &|_| None),
            }
        }
        "find" => {
            let wanted = argument.to_lowercase();
            let contents = docs::contents(&interactive.session.engine);
            for line in contents.lines().filter(|line| line.to_lowercase().contains(&wanted)) {
                reporter.data(line);
            }
        }
        "ctx" | "ns" => match host.target() {
            Ok(target) if name == "ns" => reporter.data(target.cluster.namespace()),
            Ok(target) => {
                let info = &target.info;
                let words = [&info.context, &info.server, &info.version, &info.user];
                let words: Vec<&str> =
                    words.into_iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
                reporter.data(&words.join("  "));
            }
            Err(error) => reporter.error(&error, &|_| None),
        },
        "vars" => {
            for (name, value) in interactive.variables() {
                let line = text::plain(Some(&text::masked(&value))).replace('\n', " ");
                let line = host.redactor.mask(&line);
                let short: String = line.chars().take(80).collect();
                reporter.data(&format!("{name}: {} = {short}", type_of(&value)));
            }
        }
        "type" => match interactive.run(argument) {
            Ok(value) => reporter.data(type_of(&value)),
            Err(error) => reporter.error(&error, &|name| interactive.session.text_of(name)),
        },
        "time" => {
            let before = reporter.elapsed();
            super::evaluate(interactive, argument);
            let span = reporter.elapsed().saturating_sub(before);
            reporter.line_err(&human(span));
        }
        "load" => {
            let done = interactive.load(argument);
            if let Err(error) = done {
                reporter.error(&error, &|name| interactive.session.text_of(name));
            }
        }
        "save" => {
            let saved = host.files.writable(argument).and_then(|path| {
                let text = host.redactor.mask(&interactive.saved());
                files::write(&path, text.as_bytes())
                    .map_err(|error| files::io_error("write", argument, &error))
            });
            match saved {
                Ok(()) => reporter.line_err(&format!("{argument} written")),
                Err(error) => reporter.error(&error, &|_| None),
            }
        }
        "reset" => interactive.reset(),
        "arm" => {
            host.run.set_read_only(false);
            reporter.line_err("functions that write are allowed now");
        }
        "disarm" => {
            host.run.set_read_only(true);
            reporter.line_err("the session is read-only");
        }
        "quit" | "q" | "exit" => return Next::Leave,
        other => {
            let names = COMMANDS.iter().map(|(name, _, _)| *name);
            let near = crate::base::suggest::near(other, names).map_or_else(
                || ":help lists them".to_owned(),
                |near| format!("did you mean :{near}?"),
            );
            reporter.line_err(&format!("there is no command :{other}; {near}"));
        }
    }
    Next::Stay
}

/// A value as it is shown: objects of a list as a table, anything else as YAML.
pub(super) fn shown(value: &Dynamic) -> String {
    let drawn = objects(value).unwrap_or_else(|| text::shown(value));
    let lines: Vec<&str> = drawn.lines().collect();
    if lines.len() <= MAX_LINES {
        return drawn;
    }
    format!("{}\n… {} more lines", lines[..MAX_LINES].join("\n"), lines.len() - MAX_LINES)
}

/// A list of Kubernetes objects as a table.
fn objects(value: &Dynamic) -> Option<String> {
    let items = value.read_lock::<Array>()?;
    let mut rows = Vec::new();
    for item in items.iter() {
        let map = item.read_lock::<Map>()?;
        let metadata = map.get("metadata")?.read_lock::<Map>()?;
        let text =
            |map: &Map, name: &str| map.get(name).map(ToString::to_string).unwrap_or_default();
        rows.push(vec![text(&map, "kind"), text(&metadata, "namespace"), text(&metadata, "name")]);
    }
    if rows.is_empty() {
        return None;
    }
    let heads = ["kind", "namespace", "name"].map(str::to_owned);
    Some(table::draw(&heads, &rows))
}
