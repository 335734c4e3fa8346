//! Between script errors and diagnostics; the one place where hints are added to domain errors.
//!
//! A `Diagnostic` travels through a script as the map `#{kind, message, causes, hints, source, line, column, trace}`, so
//! that `catch (e)` can match on `e.kind`; at the top it becomes the same diagnostic again.

use std::path::Path;

use rhai::{
    Array, Dynamic, EvalAltResult, LexError, Map, ParseErrorType, Position as RhaiPosition,
};

use super::convert::{type_of, type_word};
use super::session::MAX_CALLS;
use super::{catalog, check};
use crate::base::diagnostic::{Diagnostic, ErrorKind, Frame, Position};
use crate::base::suggest;

/// What a cancelled run ends with; scripts cannot catch it.
pub const INTERRUPTED: &str = "interrupted";
/// A script that does not end.
pub const ENDLESS: &str = "the script did too many operations: an endless loop?";
/// How a text without a file is named.
pub const TEXT: &str = "<input>";
/// What a run ends with whose time is up; scripts cannot catch it.
pub const TIMED_OUT: &str = "timed out";

/// The script error of a diagnostic that the host function `function` returned at `position` of `source`.
pub fn to_script(
    mut diagnostic: Diagnostic,
    function: &str,
    source: Option<&str>,
    position: RhaiPosition,
) -> Box<EvalAltResult> {
    if diagnostic.kind == ErrorKind::Interrupted {
        return EvalAltResult::ErrorTerminated(INTERRUPTED.into(), position).into();
    }
    let here = place(source, position);
    match &diagnostic.at {
        None => diagnostic.at = here,
        // A text that the script made has no file: its line is told beside the place of the call.
        Some(at) if at.file.as_os_str() == TEXT && at.column == 0 => {
            diagnostic.causes.insert(0, format!("it is line {} of the text", at.line));
            diagnostic.at = here;
        }
        // The place is in a file that the function read; the call is how the run got there.
        Some(at) if diagnostic.trace.is_empty() && !is_script(&at.file) => {
            diagnostic.trace.extend(here.map(|at| Frame { function: function.to_owned(), at }));
        }
        Some(_) => {}
    }
    EvalAltResult::ErrorRuntime(to_map(&diagnostic).into(), position).into()
}

/// Whether a place is in a script, and not in a chart or manifest.
fn is_script(file: &Path) -> bool {
    file.extension().is_some_and(|found| found == "rhai")
        || file.starts_with("std")
        || file.as_os_str() == TEXT
}

/// The map that a script catches.
pub fn to_map(diagnostic: &Diagnostic) -> Map {
    let mut map = Map::new();
    let texts = |texts: &[String]| -> Dynamic {
        texts.iter().map(|text| Dynamic::from(text.clone())).collect::<Array>().into()
    };
    map.insert("kind".into(), diagnostic.kind.name().into());
    map.insert("message".into(), diagnostic.message.clone().into());
    map.insert("causes".into(), texts(&diagnostic.causes));
    map.insert("hints".into(), texts(&diagnostic.hints));
    if let Some(at) = &diagnostic.at {
        insert_place(&mut map, at);
    }
    let trace: Array = diagnostic
        .trace
        .iter()
        .map(|frame| {
            let mut map = Map::new();
            map.insert("function".into(), frame.function.clone().into());
            insert_place(&mut map, &frame.at);
            map.into()
        })
        .collect();
    if !trace.is_empty() {
        map.insert("trace".into(), trace.into());
    }
    map
}

fn insert_place(map: &mut Map, at: &Position) {
    map.insert("source".into(), at.file.display().to_string().into());
    map.insert("line".into(), Dynamic::from_int(i64::try_from(at.line).unwrap_or(0)));
    map.insert("column".into(), Dynamic::from_int(i64::try_from(at.column).unwrap_or(0)));
}

/// The diagnostic of a map as [`to_map`] makes it, or that a script threw itself: `throw #{message: "…"}`.
pub fn from_map(map: &Map) -> Diagnostic {
    let text = |name: &str| map.get(name).map(ToString::to_string).filter(|text| !text.is_empty());
    let texts = |name: &str| -> Vec<String> {
        map.get(name)
            .and_then(|value| value.read_lock::<Array>().map(|items| items.to_vec()))
            .map(|items| items.iter().map(ToString::to_string).collect())
            .unwrap_or_default()
    };
    let kind = text("kind").and_then(|name| ErrorKind::from_name(&name));
    Diagnostic {
        kind: kind.unwrap_or(ErrorKind::Failed),
        message: text("message")
            .or_else(|| text("error"))
            .unwrap_or_else(|| Dynamic::from(map.clone()).to_string()),
        at: place_of(map),
        trace: map
            .get("trace")
            .and_then(|value| value.read_lock::<Array>().map(|items| items.to_vec()))
            .unwrap_or_default()
            .iter()
            .filter_map(|frame| {
                let frame = frame.read_lock::<Map>()?;
                Some(Frame { function: frame.get("function")?.to_string(), at: place_of(&frame)? })
            })
            .collect(),
        causes: texts("causes"),
        hints: texts("hints"),
    }
}

fn place_of(map: &Map) -> Option<Position> {
    let number =
        |name: &str| map.get(name)?.as_int().ok().and_then(|int| usize::try_from(int).ok());
    Some(Position {
        file: map.get("source")?.to_string().into(),
        line: number("line").filter(|line| *line > 0)?,
        column: number("column").unwrap_or(0),
    })
}

/// A place of Rhai as ours; `None` without a line.
pub fn place(source: Option<&str>, position: RhaiPosition) -> Option<Position> {
    Some(Position {
        file: source.unwrap_or("<input>").into(),
        line: position.line()?,
        column: position.position().unwrap_or(0),
    })
}

/// The diagnostic of a script error whose outermost call was made in `source`.
pub fn diagnose(error: &EvalAltResult, source: Option<&str>) -> Diagnostic {
    let mut file = source.map(str::to_owned);
    let mut frames = Vec::new();
    let mut error = error;
    loop {
        match error {
            EvalAltResult::ErrorInFunctionCall(name, callee, inner, position) => {
                if !name.starts_with("anon$")
                    && let Some(at) = place(file.as_deref(), *position)
                {
                    frames.push(Frame { function: name.clone(), at });
                }
                if !callee.is_empty() {
                    file = Some(callee.clone());
                }
                error = inner;
            }
            EvalAltResult::ErrorInModule(name, inner, position) => {
                if let Some(at) = place(file.as_deref(), *position) {
                    frames.push(Frame { function: format!("import \"{name}\""), at });
                }
                error = inner;
            }
            _ => break,
        }
    }
    let mut diagnostic = innermost(error);
    if diagnostic.at.is_none() {
        diagnostic.at = place(file.as_deref(), error.position());
    }
    frames.reverse();
    for frame in frames {
        // A native function that called a closure told its own part of the chain already.
        if !diagnostic.trace.contains(&frame) {
            diagnostic.trace.push(frame);
        }
    }
    diagnostic
}

fn innermost(error: &EvalAltResult) -> Diagnostic {
    let script = |message: String| Diagnostic::new(ErrorKind::Script, message);
    match error {
        EvalAltResult::ErrorRuntime(value, _) => {
            if let Some(map) = value.read_lock::<Map>() {
                return from_map(&map);
            }
            let text = value.to_string();
            let text = if text.is_empty() { "the script threw an error".to_owned() } else { text };
            Diagnostic::new(ErrorKind::Failed, text)
        }
        EvalAltResult::ErrorTerminated(token, _) => terminated(&token.to_string()),
        EvalAltResult::ErrorParsing(error, _) => parse_error(error),
        EvalAltResult::ErrorVariableNotFound(name, _) => unknown_variable(name),
        EvalAltResult::ErrorFunctionNotFound(signature, _) => unknown_function(signature, &[]),
        EvalAltResult::ErrorModuleNotFound(name, _) => unknown_module(name),
        EvalAltResult::ErrorPropertyNotFound(name, _) => {
            script(format!("the map has no property `{name}`"))
        }
        EvalAltResult::ErrorDotExpr(text, _) => dot_expression(text),
        EvalAltResult::ErrorIndexNotFound(index, _) => {
            script(format!("the index `{index}` does not exist"))
        }
        EvalAltResult::ErrorArrayBounds(length, index, _) => script(format!(
            "the index {index} is outside of the array, which has {length} elements"
        )),
        EvalAltResult::ErrorStringBounds(length, index, _) => script(format!(
            "the index {index} is outside of the string, which has {length} characters"
        )),
        EvalAltResult::ErrorMismatchDataType(wanted, found, _)
        | EvalAltResult::ErrorMismatchOutputType(wanted, found, _) => {
            script(format!("expected {}, got {}", type_word(wanted), type_word(found)))
        }
        EvalAltResult::ErrorIndexingType(text, _) => {
            script(format!("{} cannot be indexed", retyped(text)))
        }
        EvalAltResult::ErrorFor(_) => {
            script("`for` needs an array, a range, a string or a map's keys".to_owned())
        }
        EvalAltResult::ErrorDataRace(name, _) => {
            script(format!("`{name}` is in use by another branch"))
                .hint("return a value from each branch instead of assigning to a captured variable")
        }
        EvalAltResult::ErrorAssignmentToConstant(name, _) => {
            script(format!("`{name}` is a constant and cannot be assigned"))
        }
        EvalAltResult::ErrorTooManyOperations(_) => Diagnostic::new(ErrorKind::Failed, ENDLESS)
            .hint(
                "end the loop on a condition, or wait with `k8s::wait`, `http::probe` or `retry`",
            ),
        EvalAltResult::ErrorStackOverflow(_) => Diagnostic::new(
            ErrorKind::Failed,
            "functions call each other too deeply: endless recursion?",
        )
        .hint(format!("end the recursion on a condition; calls nest at most {MAX_CALLS} deep")),
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            Diagnostic::new(ErrorKind::Failed, format!("a value grew too large: {what}"))
        }
        EvalAltResult::Exit(_, _) => {
            script("`exit` works only at the top level of a script".to_owned())
                .hint("use `return` to leave a closure, `fail(…)` to end the run")
        }
        EvalAltResult::ErrorArithmetic(text, _) => script(lower(text)),
        EvalAltResult::ErrorSystem(text, source) => {
            let source = source.to_string();
            if text.is_empty() { script(source) } else { script(text.clone()).cause(source) }
        }
        other => {
            let mut copy = other.to_string();
            if let Some((text, _)) = copy.clone().split_once(" (line ") {
                copy = text.to_owned();
            }
            script(lower(&retyped(&copy)))
        }
    }
}

/// The diagnostic of a run that was ended from outside.
pub fn terminated(token: &str) -> Diagnostic {
    if token == TIMED_OUT {
        return Diagnostic::new(ErrorKind::Timeout, "the time of the run is up")
            .hint("give it more with `--timeout`; a rerun continues where this one stopped");
    }
    Diagnostic::new(ErrorKind::Interrupted, "interrupted")
        .hint("run the same command again: it continues where this one stopped")
}

/// The diagnostic of a compile error, without place.
pub fn parse_error(error: &ParseErrorType) -> Diagnostic {
    let script = |message: String| Diagnostic::new(ErrorKind::Script, message);
    match error {
        ParseErrorType::BadInput(LexError::UnterminatedString) => {
            script("the string is not closed".to_owned())
                .hint("end it with `\"`; a text of several lines stands between backticks")
        }
        ParseErrorType::BadInput(LexError::MalformedChar(text)) => {
            script(format!("`'{text}'` is not a single character"))
                .hint(format!("strings stand in double quotes: `\"{text}\"`"))
        }
        ParseErrorType::VariableUndefined(name) => unknown_variable(name),
        ParseErrorType::ModuleUndefined(name) => unknown_module(name),
        ParseErrorType::UnexpectedEOF => {
            script("the script ends too early: something is not closed".to_owned())
        }
        ParseErrorType::MissingToken(token, context) => {
            script(format!("expected `{token}` {}", lower(context.trim_end_matches('.'))))
        }
        ParseErrorType::Reserved(word) => {
            script(format!("`{word}` is a reserved word")).hint("choose another name")
        }
        other => script(lower(&other.to_string())),
    }
}

fn unknown_variable(name: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(ErrorKind::Script, format!("there is no variable `{name}`"));
    if catalog::names().contains(&name) {
        return diagnostic.hint(format!("`{name}` is a function: call it with `{name}(…)`"));
    }
    if let Some(inner) = name.strip_prefix("global::") {
        return diagnostic
            .hint(format!("`{inner}` must be a `const` at the top level of this file"));
    }
    diagnostic.hint(OUT_OF_SIGHT)
}

/// Why a variable that is there cannot be seen.
const OUT_OF_SIGHT: &str = "functions do not see the variables of the script: pass it as an argument, or make it a \
                            `const` and write `global::NAME`";

/// What to do about a variable that does not exist, seen in the text of its script.
pub fn about_variable(name: &str, text: &str) -> Vec<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let words: Vec<&str> = text.split(|c| !is_name(c)).filter(|word| !word.is_empty()).collect();
    let declared: Vec<&str> = words
        .windows(2)
        .filter(|pair| matches!(pair[0], "let" | "const" | "for"))
        .map(|pair| pair[1])
        .collect();
    if catalog::names().contains(&name) || name.contains("::") || declared.contains(&name) {
        return unknown_variable(name).hints;
    }
    match suggest::near(name, declared) {
        Some(near) => vec![format!("did you mean `{near}`?")],
        None => vec![format!("declare it first: `let {name} = …;`")],
    }
}

/// `signature` is Rhai's: `k8s::git (&str | ImmutableString | String, i64)`. `known` are functions of scripts.
pub fn unknown_function(signature: &str, known: &[String]) -> Diagnostic {
    let (path, arguments) = signature.split_once('(').unwrap_or((signature, ""));
    let path = path.trim();
    let arguments = retyped(arguments.trim_end_matches(')'));
    if let Some(function) = catalog::find(path) {
        let given = if arguments.is_empty() { 0 } else { arguments.split(',').count() };
        return wrong_count(function, given);
    }
    let words: Vec<&str> = arguments.split(", ").filter(|word| !word.is_empty()).collect();
    let is_operator = !path.starts_with(|c: char| c.is_alphabetic() || c == '_');
    if let ([left, right], true) = (&words[..], is_operator) {
        let diagnostic = Diagnostic::new(
            ErrorKind::Script,
            format!("`{path}` does not work on {} and {}", with_article(left), with_article(right)),
        );
        return if words.contains(&"()") {
            diagnostic.hint("`()` is a value that is missing: `value ?? default` stands in for it")
        } else {
            diagnostic
                .hint("make them the same type first: `parse_int(text)`, `number.to_string()`")
        };
    }
    let diagnostic = Diagnostic::new(
        ErrorKind::Script,
        format!("there is no function `{path}` that takes ({arguments})"),
    );
    if path.starts_with("anon$") {
        return Diagnostic::new(
            ErrorKind::Script,
            "a closure was called with a wrong number of arguments",
        );
    }
    let methods: Vec<String> =
        if known.is_empty() { check::language_functions() } else { known.to_vec() };
    if methods.iter().any(|method| method == path) {
        return diagnostic.hint(format!("there is a `{path}`, but not for these types"));
    }
    match near_function(path, &methods) {
        Some(hint) => diagnostic.hint(hint),
        None => diagnostic,
    }
}

/// `did you mean …` for a function that does not exist.
pub fn near_function(path: &str, known: &[String]) -> Option<String> {
    let names: Vec<String> = catalog::functions().map(super::catalog::Function::path).collect();
    let candidates = names.iter().chain(known).map(String::as_str);
    if let Some(near) = suggest::near(path, candidates) {
        let shown = catalog::find(near)
            .map_or_else(|| near.to_owned(), super::catalog::Function::signature);
        return Some(format!("did you mean `{shown}`?"));
    }
    let bare = path.rsplit("::").next().unwrap_or(path);
    let elsewhere = catalog::functions().find(|function| function.name == bare)?;
    Some(format!("did you mean `{}`?", elsewhere.signature()))
}

/// A function of the host was called with a number of arguments that it does not take.
pub fn wrong_count(function: &catalog::Function, given: usize) -> Diagnostic {
    let (least, most) = function.arity();
    let wanted = match (least, most) {
        (least, most) if least == most => format!("{least}"),
        (least, most) => format!("{least} to {most}"),
    };
    let word = if wanted == "1" { "argument" } else { "arguments" };
    Diagnostic::new(
        ErrorKind::Argument,
        format!("`{}` takes {wanted} {word}, got {given}", function.path()),
    )
    .hint(format!("call it as `{}`", function.signature()))
}

fn unknown_module(name: &str) -> Diagnostic {
    let diagnostic = Diagnostic::new(ErrorKind::Script, format!("there is no module `{name}`"));
    let modules: Vec<&str> = catalog::modules();
    match suggest::near(name, modules.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic
            .hint(format!("import it at the top of the file: `import \"std/{name}\" as {name};`")),
    }
}

fn dot_expression(text: &str) -> Diagnostic {
    // "Unknown property 'replicas' - a getter is not registered for type '()'"
    let mut quoted = text.split('\'').skip(1).step_by(2);
    let (Some(property), Some(found)) = (quoted.next(), quoted.next()) else {
        return Diagnostic::new(ErrorKind::Script, lower(&retyped(text)));
    };
    let found = type_word(found);
    let diagnostic = Diagnostic::new(
        ErrorKind::Script,
        format!("`.{property}` of a value that is {}", with_article(found)),
    );
    if found == "()" {
        return diagnostic.hint(format!(
            "what stands before `.{property}` is missing; `?.{property}` gives `()` then"
        ));
    }
    diagnostic
}

fn with_article(word: &str) -> String {
    match word {
        "()" => "()".to_owned(),
        word if word.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {word}"),
        word => format!("a {word}"),
    }
}

/// Replaces Rhai's type names in a text.
pub fn retyped(text: &str) -> String {
    text.replace("&str | ImmutableString | String", "string")
        .replace("&str | ImmutableString", "string")
        .replace("ImmutableString", "string")
        .replace("i64", "int")
        .replace("f64", "float")
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        // A name at the start, such as `RouteNotFound`, keeps its capital.
        Some(first) if !letters.as_str().starts_with(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// An argument or option has a type that the function does not take.
pub fn wrong_type(
    function: &catalog::Function,
    place: &str,
    wanted: catalog::Kind,
    found: &Dynamic,
) -> Diagnostic {
    Diagnostic::new(
        ErrorKind::Argument,
        format!(
            "{place} of `{}` must be {}, got {}",
            function.path(),
            with_article(wanted.name()),
            with_article(type_of(found))
        ),
    )
    .hint(match wanted {
        catalog::Kind::Duration => "write a time span as a string: `\"90s\"`, `\"5m\"`".to_owned(),
        catalog::Kind::Closure => "write a closure: `|| …`".to_owned(),
        _ => format!("call it as `{}`", function.signature()),
    })
}
