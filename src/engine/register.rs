//! Puts the rows of the catalog into an engine: one registration per number of arguments, all of type `Dynamic`, so that
//! a wrong type meets our own check and message instead of "function not found".

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rhai::{
    Array, Dynamic, Engine, EvalAltResult, FnPtr, FuncRegistration, Map, Module, NativeCallContext,
    RhaiFunc, Shared,
};

use super::call::Call;
use super::catalog::{self, Effect, Function, Kind, Param};
use super::error;
use super::host::Host;
use super::scripts::current_source;
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::secret::Secret;
use crate::base::suggest;

/// Registers every row.
pub(super) fn register(engine: &mut Engine, host: &Arc<Host>) {
    let mut global = Module::new();
    for function in catalog::functions().filter(|function| function.module.is_empty()) {
        add(&mut global, function, host);
    }
    engine.register_global_module(global.into());
    for name in catalog::modules() {
        let mut module = Module::new();
        for function in catalog::functions().filter(|function| function.module == name) {
            add(&mut module, function, host);
        }
        engine.register_static_module(name, module.into());
    }
}

fn add(module: &mut Module, function: &'static Function, host: &Arc<Host>) {
    let (least, most) = function.arity();
    for count in least..=most {
        let host = Arc::clone(host);
        let run = move |context: Option<NativeCallContext<'_>>, arguments: &mut [&mut Dynamic]| {
            let Some(context) = context else { return Ok(Dynamic::UNIT) };
            invoke(&host, function, &context, arguments)
        };
        FuncRegistration::new(function.name).set_into_module_raw(
            module,
            vec![TypeId::of::<Dynamic>(); count],
            RhaiFunc::Pure {
                func: Shared::new(run),
                has_context: true,
                is_pure: false,
                is_volatile: true,
            },
        );
    }
}

fn invoke(
    host: &Arc<Host>,
    function: &'static Function,
    context: &NativeCallContext<'_>,
    arguments: &mut [&mut Dynamic],
) -> Result<Dynamic, Box<EvalAltResult>> {
    let position = context.call_position();
    if let Some(cause) = host.ended() {
        return Err(EvalAltResult::ErrorTerminated(cause.token().into(), position).into());
    }
    let values: Vec<Dynamic> =
        arguments.iter_mut().map(|argument| std::mem::take(*argument).flatten()).collect();
    let done = bind(function, values).and_then(|arguments| {
        gate(host, function)?;
        let call = Call { host, function, arguments, context };
        catch_unwind(AssertUnwindSafe(|| (function.run)(&call))).unwrap_or_else(|panic| {
            Err(Diagnostic::new(ErrorKind::Bug, format!("`{}` crashed", function.path()))
                .cause(panic_text(panic.as_ref()))
                .hint("this is a defect of meshscript: please report it with the script"))
        })
    });
    done.map_err(|diagnostic| {
        // A run that is ended ends as such, whatever the interrupted work made of it.
        if let Some(cause) = host.cancel.cause() {
            return EvalAltResult::ErrorTerminated(cause.token().into(), position).into();
        }
        error::to_script(diagnostic, &function.path(), current_source(context).as_deref(), position)
    })
}

/// Refuses writes where only reading is allowed.
fn gate(host: &Host, function: &Function) -> Result<(), Diagnostic> {
    if function.effect == Effect::Write && host.run.is_read_only() {
        return Err(Diagnostic::new(
            ErrorKind::Denied,
            format!("`{}` may write, and this session is read-only", function.path()),
        )
        .hint("type `:arm` to allow writes"));
    }
    Ok(())
}

/// The text of a panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

/// Arguments by name, checked against the row.
fn bind(function: &'static Function, mut values: Vec<Dynamic>) -> Result<Map, Diagnostic> {
    let options = take_options(function, &mut values);
    let mut arguments = Map::new();
    let given = values.len();
    let closure_moved = function.closure_comes_last()
        && given < function.params.len()
        && values.last().is_some_and(Dynamic::is_fnptr);
    let last = function.params.len().saturating_sub(1);
    for (index, value) in values.into_iter().enumerate() {
        // Optional parameters before a closing closure may be left out: `check("id", || …)`.
        let index = if closure_moved && index + 1 == given { last } else { index };
        let Some(param) = function.params.get(index) else {
            return Err(not_options(function, &value));
        };
        if value.is_unit() && param.default.is_some() {
            continue;
        }
        check(function, param, &format!("argument {} `{}`", index + 1, param.name), &value)?;
        arguments.insert(param.name.into(), value);
    }
    let missing = function
        .params
        .iter()
        .find(|param| param.default.is_none() && !arguments.contains_key(param.name));
    if let Some(missing) = missing {
        return Err(Diagnostic::new(
            ErrorKind::Argument,
            format!("`{}` needs the argument `{}`", function.path(), missing.name),
        )
        .hint(format!("call it as `{}`", function.signature())));
    }
    for (name, value) in options {
        let Some(param) = function.options.iter().find(|param| param.name == name.as_str()) else {
            return Err(unknown_option(function, &name));
        };
        if value.is_unit() && param.default.is_some() {
            continue;
        }
        check(function, param, &format!("option `{name}`"), &value)?;
        arguments.insert(name, value);
    }
    let missing = function
        .options
        .iter()
        .find(|param| param.default.is_none() && !arguments.contains_key(param.name));
    if let Some(missing) = missing {
        return Err(Diagnostic::new(
            ErrorKind::Argument,
            format!("`{}` needs the option `{}`", function.path(), missing.name),
        )
        .hint(format!("`{}` is {}", missing.name, missing.doc)));
    }
    Ok(arguments)
}

/// What stands where only a map of options may stand.
fn not_options(function: &Function, value: &Dynamic) -> Diagnostic {
    let found = super::convert::type_of(value);
    Diagnostic::new(
        ErrorKind::Argument,
        format!("`{}` takes options here, a map, not a value of type {found}", function.path()),
    )
    .hint(format!("call it as `{}`", function.signature()))
}

/// Takes the options map out of the arguments: the last one, or the one before a closing closure, if it is a map that
/// does not stand at the place of a parameter which takes a map itself.
fn take_options(function: &Function, values: &mut Vec<Dynamic>) -> Map {
    if function.options.is_empty() {
        return Map::new();
    }
    let n_params = function.params.len();
    let takes_map = |index: usize| {
        function
            .params
            .get(index)
            .is_some_and(|param| matches!(param.kind, Kind::Map | Kind::Manifest | Kind::Any))
    };
    let mut places = Vec::new();
    if let Some(last) = values.len().checked_sub(1) {
        places.push(last);
        if function.closure_comes_last() && last > 0 && values[last].is_fnptr() {
            places.insert(0, last - 1);
        }
    }
    for place in places {
        let surplus = values.len() > n_params;
        if values[place].is_map() && (surplus || !takes_map(place)) {
            return values.remove(place).try_cast::<Map>().unwrap_or_default();
        }
    }
    Map::new()
}

fn unknown_option(function: &Function, name: &str) -> Diagnostic {
    let known: Vec<&str> = function.options.iter().map(|param| param.name).collect();
    let diagnostic = Diagnostic::new(
        ErrorKind::Argument,
        format!("`{}` has no option `{name}`", function.path()),
    );
    let diagnostic = match suggest::near(name, known.iter().copied()) {
        Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
        None => diagnostic,
    };
    diagnostic.hint(format!("its options are {}", known.join(", ")))
}

fn check(
    function: &Function,
    param: &Param,
    place: &str,
    value: &Dynamic,
) -> Result<(), Diagnostic> {
    let wrong = || error::wrong_type(function, place, param.kind, value);
    let fits = match param.kind {
        Kind::Any => true,
        Kind::String => value.is_string(),
        Kind::Int => value.is_int(),
        Kind::Float => value.is_float() || value.is_int(),
        Kind::Bool => value.is_bool(),
        Kind::Map => value.is_map(),
        Kind::Array => value.is_array(),
        Kind::Closure => value.read_lock::<FnPtr>().is_some(),
        Kind::Secret => value.read_lock::<Secret>().is_some(),
        Kind::Manifest => value.is_map() || value.is_array() || value.is_string(),
        Kind::Strings => {
            value.is_string()
                || value
                    .read_lock::<Array>()
                    .is_some_and(|items| items.iter().all(Dynamic::is_string))
        }
        Kind::Duration => {
            let Ok(text) = value.clone().into_string() else { return Err(wrong()) };
            return crate::base::duration::parse(&text).map(drop).map_err(|message| {
                Diagnostic::new(
                    ErrorKind::Argument,
                    format!("{place} of `{}`: {message}", function.path()),
                )
            });
        }
    };
    if fits { Ok(()) } else { Err(wrong()) }
}
