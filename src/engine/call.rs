//! One call of a host function: its arguments by name, checked, and what it may use.

use std::sync::Arc;
use std::time::Duration;

use rhai::{Dynamic, FnPtr, Map, NativeCallContext};
use serde_json::Value;

use super::catalog::Function;
use super::host::Host;
use crate::base::diagnostic::Diagnostic;
use crate::base::secret::Secret;
use crate::http::proxy::Proxies;

/// A call in progress. Values were checked against the row's kinds before; a getter of an argument that was
/// left out returns `None`.
pub struct Call<'a> {
    pub host: &'a Host,
    pub function: &'static Function,
    /// Positional arguments and options by name.
    pub(super) arguments: Map,
    pub(super) context: &'a NativeCallContext<'a>,
}

impl Call<'_> {
    /// The raw value of a parameter or option.
    pub fn value(&self, name: &str) -> Option<&Dynamic> {
        debug_assert!(
            self.function
                .params
                .iter()
                .chain(self.function.options)
                .any(|param| param.name == name),
            "`{}` has no parameter `{name}`",
            self.function.path()
        );
        self.arguments.get(name).filter(|value| !value.is_unit())
    }

    /// Whether the argument or option was given, be it `()`.
    pub fn given(&self, name: &str) -> bool {
        self.arguments.contains_key(name)
    }

    /// A string; the empty string if it was left out.
    pub fn string(&self, name: &str) -> String {
        self.opt_string(name).unwrap_or_default()
    }

    /// A string that may be left out.
    pub fn opt_string(&self, name: &str) -> Option<String> {
        self.value(name)?.clone().into_string().ok()
    }

    /// A string or array of strings as a list; empty if left out.
    pub fn strings(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            None => Vec::new(),
            Some(value) if value.is_string() => vec![value.to_string()],
            Some(value) => value
                .clone()
                .into_array()
                .map(|items| items.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
        }
    }

    /// An integer that may be left out.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.value(name)?.as_int().ok()
    }

    /// A number that may be left out.
    pub fn float(&self, name: &str) -> Option<f64> {
        let value = self.value(name)?;
        #[expect(clippy::cast_precision_loss, reason = "a script's number, far below 2^53")]
        value.as_float().ok().or_else(|| value.as_int().ok().map(|int| int as f64))
    }

    /// A boolean; `false` if it was left out.
    pub fn flag(&self, name: &str) -> bool {
        self.opt_bool(name).unwrap_or(false)
    }

    /// A boolean that may be left out.
    pub fn opt_bool(&self, name: &str) -> Option<bool> {
        self.value(name)?.as_bool().ok()
    }

    /// A time span that may be left out; its text was checked before.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        crate::base::duration::parse(&self.opt_string(name)?).ok()
    }

    /// A closure that may be left out.
    pub fn closure(&self, name: &str) -> Option<FnPtr> {
        self.value(name)?.clone().try_cast::<FnPtr>()
    }

    /// A secret that may be left out.
    pub fn secret(&self, name: &str) -> Option<Secret> {
        self.value(name)?.clone().try_cast::<Secret>()
    }

    /// Any data (map, array, string, number, bool, unit) as JSON; `Null` if left out.
    ///
    /// # Errors
    /// `Argument` with the path inside the value (`manifest.spec.ports[0].port`) when it holds a closure, a secret
    /// where none may be, or another thing that JSON has no form for.
    pub fn json(&self, name: &str) -> Result<Value, Diagnostic> {
        match self.value(name) {
            None => Ok(Value::Null),
            Some(value) => super::convert::to_json(value, name),
        }
    }

    /// As [`json`](Self::json), for what goes to the API server: a secret inside becomes its text on the wire, and the
    /// redactor learns it, so that no output shows it.
    ///
    /// # Errors
    /// As [`json`](Self::json), but for secrets.
    pub fn json_revealing(&self, name: &str) -> Result<Value, Diagnostic> {
        match self.value(name) {
            None => Ok(Value::Null),
            Some(value) => super::convert::to_json_revealing(value, name, &|secret| {
                self.host.redactor.learn(secret.reveal());
            }),
        }
    }

    /// The proxies of the machine's network, for downloads.
    pub fn proxies(&self) -> Arc<Proxies> {
        let environment = &self.host.settings.environment;
        Arc::new(Proxies::read(&|name| environment.var(name).map(str::to_owned)))
    }

    /// Runs async work on the host's runtime; Ctrl-C ends it within 100 ms with `Interrupted`.
    ///
    /// Never call a script closure inside `work`.
    pub fn block_on<T, E: Into<Diagnostic>>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Diagnostic> {
        self.host.block_on(work)
    }

    /// Calls a script closure on this thread.
    pub fn call_closure(
        &self,
        closure: &FnPtr,
        arguments: Vec<Dynamic>,
    ) -> Result<Dynamic, Diagnostic> {
        super::scripts::call_closure(&self.host.scripts, self.context, closure, arguments)
    }
}
