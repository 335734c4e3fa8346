//! The value of a script's parameter: what the calling script gave, else `--set`, else `--values`, else the default,
//! whose type it takes.

use rhai::{Array, Dynamic, Map};

use super::call::Call;
use super::convert::{to_dynamic, type_of};
use super::run::Declared;
use super::scripts::current_source;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Secret;
use crate::base::{suggest, yaml};

/// Declares a parameter and gives its value.
pub(super) fn param(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let name = call.string("name");
    let default = call.value("default").cloned().unwrap_or(Dynamic::UNIT);
    let run = &call.host.run;
    run.declare(Declared {
        script: current_source(call.context).unwrap_or_default(),
        name: name.clone(),
        default: default.clone(),
        doc: call.string("doc"),
    });
    let value = if let Some(given) = run.given(&name) {
        same_type(&name, given, &default)?
    } else if let Some(text) = run.set(&name) {
        parse(&name, text, &default)?
    } else if let Some(value) = run.values(&name) {
        same_type(&name, to_dynamic(value), &default)?
    } else if call.flag("required") {
        return Err(Diagnostic::new(
            ErrorKind::Usage,
            format!("the parameter `{name}` ({}) has no value", call.string("doc")),
        )
        .hint(format!("give it with `--set {name}=…`")));
    } else {
        default
    };
    let choices = call.strings("choices");
    if !choices.is_empty() && !choices.contains(&value.to_string()) {
        let diagnostic = Diagnostic::new(
            ErrorKind::Usage,
            format!("the parameter `{name}` cannot be `{value}`"),
        );
        let diagnostic = match suggest::near(&value.to_string(), choices.iter().map(String::as_str))
        {
            Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
            None => diagnostic,
        };
        return Err(diagnostic.hint(format!("it is one of {}", choices.join(", "))));
    }
    if call.flag("secret") {
        let text = value.to_string();
        call.host.redactor.learn(&text);
        return Ok(Dynamic::from(Secret::new(text)));
    }
    Ok(value)
}

fn wrong(name: &str, text: &str, default: &Dynamic) -> Diagnostic {
    Diagnostic::new(
        ErrorKind::Usage,
        format!("the parameter `{name}` must be of type {}, got `{text}`", type_of(default)),
    )
    .hint(format!("write it as `--set {name}={}`", sample(default)))
}

fn sample(default: &Dynamic) -> String {
    if default.is_array() {
        "one,two".to_owned()
    } else if default.is_map() {
        "'{key: value}'".to_owned()
    } else {
        default.to_string()
    }
}

/// The text of `--set` as a value of the default's type.
fn parse(name: &str, text: &str, default: &Dynamic) -> Result<Dynamic, Diagnostic> {
    let fail = || wrong(name, text, default);
    if default.is_bool() {
        return text.parse::<bool>().map(Into::into).map_err(|_| fail());
    }
    if default.is_int() {
        return text.parse::<i64>().map(Dynamic::from_int).map_err(|_| fail());
    }
    if default.is_float() {
        return text.parse::<f64>().map(Dynamic::from_float).map_err(|_| fail());
    }
    if default.is_array() && !text.trim_start().starts_with('[') {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        return Ok(items.map(|item| item.to_owned().into()).collect::<Array>().into());
    }
    if default.is_array() || default.is_map() {
        let value = yaml::parse(text).map_err(|error| fail().cause(error.to_string()))?;
        return same_type(name, to_dynamic(&value), default);
    }
    Ok(text.to_owned().into())
}

fn same_type(name: &str, value: Dynamic, default: &Dynamic) -> Result<Dynamic, Diagnostic> {
    #[expect(clippy::cast_precision_loss, reason = "a parameter, far below 2^53")]
    let value = match value.as_int() {
        Ok(int) if default.is_float() => Dynamic::from_float(int as f64),
        _ => value,
    };
    // In a values file `1.30` is a number; a version is meant.
    let value = if default.is_string() && (value.is_int() || value.is_float() || value.is_bool()) {
        value.to_string().into()
    } else {
        value
    };
    let fits = default.is_unit()
        || value.is_unit()
        || type_of(&value) == type_of(default)
        || (default.is_string() && value.read_lock::<Secret>().is_some());
    if fits {
        return Ok(value);
    }
    let shown = if value.is_map() { "a map".to_owned() } else { value.to_string() };
    Err(wrong(name, &shown, default))
}

/// Refuses parameters that a script does not declare.
///
/// # Errors
/// `Argument` with the near name.
pub(super) fn check_given(
    script: &str,
    given: &Map,
    outline: &super::outline::Outline,
) -> Result<(), Diagnostic> {
    if outline.is_open {
        return Ok(());
    }
    let known: Vec<&str> = outline.params.iter().map(|param| param.name.as_str()).collect();
    match given.keys().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => Err(unknown(script, name, &known, ErrorKind::Argument)),
    }
}

/// A parameter that a script, or with an empty name no script of the run, declares.
pub(super) fn unknown(script: &str, name: &str, known: &[&str], kind: ErrorKind) -> Diagnostic {
    let who =
        if script.is_empty() { "no script of this run".to_owned() } else { format!("`{script}`") };
    let verb = if script.is_empty() { "declares a" } else { "has no" };
    let diagnostic = Diagnostic::new(kind, format!("{who} {verb} parameter `{name}`"));
    let diagnostic = match suggest::near(name, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic,
    };
    if known.is_empty() {
        return diagnostic.hint("it has no parameters");
    }
    diagnostic.hint(format!("its parameters are {}", known.join(", ")))
}
