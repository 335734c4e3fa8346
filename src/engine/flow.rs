//! Steps, checks, branches and retries: the functions that call closures.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rhai::{Array, Dynamic, FnPtr, Map, Scope};

use super::call::Call;
use super::error;
use super::host;
use super::register::panic_text;
use super::run::{self, Decision};
use super::scripts::{Importing, current_source};
use super::{outline, params};
use crate::base::diagnostic::{Diagnostic, ErrorKind};
use crate::base::progress::Waiting;
use crate::report::event::{CheckResult, CheckStatus, Outcome};

/// The stack of a branch: scripts nest deeply, and unused stack costs nothing.
const BRANCH_STACK: usize = 32 << 20;

/// Runs a named step.
pub(super) fn step(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let name = call.string("name");
    let Some(action) = call.closure("action") else { return Ok(Dynamic::UNIT) };
    within_step(call, &name, || call.call_closure(&action, Vec::new()))
}

fn within_step(
    call: &Call<'_>,
    name: &str,
    inside: impl FnOnce() -> Result<Dynamic, Diagnostic>,
) -> Result<Dynamic, Diagnostic> {
    let (reporter, run) = (&call.host.reporter, &call.host.run);
    let path = reporter.path_of(name);
    if let Decision::Skip(reason) = run.decide(&path) {
        reporter.step_skipped(name, reason);
        return Ok(Dynamic::UNIT);
    }
    let id = reporter.step_started(name);
    let done = inside();
    if done.is_err() {
        run.note_failure(&path);
    }
    reporter.step_ended(id, if done.is_ok() { Outcome::Done } else { Outcome::Failed });
    done
}

/// Runs another script of the workspace with parameters of its own, as a group of steps.
pub(super) fn run_script(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let path = call.string("path");
    let given = call.value("params").and_then(|value| value.clone().try_cast::<Map>());
    let given = given.unwrap_or_default();
    let host = call.host;
    let engine = call.context.engine();
    let from = current_source(call.context).unwrap_or_default();
    let folder = host.files.root().join(&from).parent().map(std::path::Path::to_owned);
    let folder = folder.unwrap_or_else(|| host.files.root().to_owned());
    // An embedded script's folder is not on the disk: its neighbours are embedded as well.
    let mut script = host.scripts.find(&path, &folder)?;
    if let Some(real) = &script.path {
        host.files.readable(&real.display().to_string())?;
        if let Ok(inside) = real.strip_prefix(host.files.root()) {
            // Messages name it from the workspace, not from the script that runs it.
            script.name = inside.display().to_string();
            host.scripts.remember(&script.name, &script.text);
        }
    }
    let _guard = Importing::begin(&script.name)?;
    let ast = host.scripts.compile(engine, &Scope::new(), &script, false)?;
    params::check_given(&script.name, &given, &outline::of(&ast))?;
    let name = std::path::Path::new(&script.name)
        .file_stem()
        .map_or_else(|| script.name.clone(), |stem| stem.to_string_lossy().into_owned());
    let id = host.reporter.step_started(&name);
    let done =
        run::with_params(given, || engine.eval_ast_with_scope::<Dynamic>(&mut Scope::new(), &ast))
            .map_err(|problem| error::diagnose(&problem, Some(&script.name)));
    host.reporter.step_ended(id, if done.is_ok() { Outcome::Done } else { Outcome::Failed });
    done
}

/// Runs a check: its closure's value or error becomes the result.
pub(super) fn check(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let Some(action) = call.closure("action") else { return Ok(Dynamic::UNIT) };
    let started = call.host.opened().map(|target| target.clock.monotonic());
    let mut result = CheckResult {
        id: call.string("id"),
        title: call.string("title"),
        status: CheckStatus::Proved,
        evidence: String::new(),
        reason: String::new(),
        remedy: String::new(),
        span: Duration::ZERO,
    };
    match call.call_closure(&action, Vec::new()) {
        Ok(value) => judge(&mut result, &value)?,
        Err(error) if ends_run(call, &error) => return Err(error),
        Err(error) => {
            call.host.run.forget_failure();
            let missing = error.kind == ErrorKind::NotModelled;
            result.status = if missing { CheckStatus::Unproven } else { CheckStatus::Failed };
            result.remedy = error.hints.join("; ");
            result.reason = error.to_string();
        }
    }
    if let (Some(started), Some(target)) = (started, call.host.opened()) {
        result.span = target.clock.monotonic().saturating_sub(started);
    }
    call.host.reporter.check(&result);
    let mut map = Map::new();
    for (name, value) in [
        ("id", &result.id),
        ("title", &result.title),
        ("evidence", &result.evidence),
        ("reason", &result.reason),
        ("remedy", &result.remedy),
    ] {
        map.insert(name.into(), value.clone().into());
    }
    map.insert("status".into(), result.status.name().into());
    map.insert("ok".into(), (result.status == CheckStatus::Proved).into());
    Ok(map.into())
}

/// Reads a check's result off what its closure returned.
fn judge(result: &mut CheckResult, value: &Dynamic) -> Result<(), Diagnostic> {
    if let Ok(ok) = value.as_bool() {
        result.status = if ok { CheckStatus::Proved } else { CheckStatus::Failed };
        return Ok(());
    }
    if value.is_unit() {
        return Ok(());
    }
    if value.is_string() {
        result.evidence = value.to_string();
        return Ok(());
    }
    let Some(map) = value.read_lock::<Map>() else {
        return Err(Diagnostic::new(
            ErrorKind::Argument,
            format!(
                "the closure of the check `{}` must return a map, a bool or a string",
                result.id
            ),
        ));
    };
    let text = |name: &str| {
        map.get(name).filter(|value| !value.is_unit()).map(ToString::to_string).unwrap_or_default()
    };
    result.evidence = text("evidence");
    result.reason = text("reason");
    result.remedy = text("remedy");
    result.status = match (map.get("status"), map.get("ok").map(Dynamic::as_bool)) {
        (Some(status), _) => CheckStatus::from_name(&status.to_string()).ok_or_else(|| {
            let names: Vec<&str> = CheckStatus::ALL.iter().map(|status| status.name()).collect();
            Diagnostic::new(
                ErrorKind::Argument,
                format!("the check `{}` has the status `{status}`", result.id),
            )
            .hint(format!("it is one of {}", names.join(", ")))
        })?,
        (None, Some(Ok(ok))) => {
            if ok {
                CheckStatus::Proved
            } else {
                CheckStatus::Failed
            }
        }
        (None, _) => {
            return Err(Diagnostic::new(
                ErrorKind::Argument,
                format!("the closure of the check `{}` returned a map without `status`", result.id),
            )
            .hint("return `#{ status: \"proved\", evidence: \"…\" }`"));
        }
    };
    Ok(())
}

/// Whether an error is not the script's to handle.
fn ends_run(call: &Call<'_>, error: &Diagnostic) -> bool {
    call.host.cancel.cause().is_some() || error.kind == ErrorKind::Interrupted
}

/// Whether trying again cannot help.
fn is_final(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Usage
            | ErrorKind::Script
            | ErrorKind::Argument
            | ErrorKind::Terminal
            | ErrorKind::NotModelled
            | ErrorKind::Interrupted
            | ErrorKind::Bug
    )
}

/// Calls a closure until it succeeds.
pub(super) fn retry(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let Some(action) = call.closure("action") else { return Ok(Dynamic::UNIT) };
    let attempts = call.int("attempts").unwrap_or(5).max(1);
    let mut delay = call.duration("delay").unwrap_or(Duration::from_secs(1));
    let backoff = call.float("backoff").unwrap_or(1.0).clamp(1.0, 10.0);
    let longest = Duration::from_secs(60).max(delay);
    let what = call.opt_string("message").unwrap_or_else(|| "the next attempt".to_owned());
    let mut waited = Duration::ZERO;
    let mut attempt = 1;
    let done = loop {
        match call.call_closure(&action, Vec::new()) {
            Ok(value) => break Ok(value),
            Err(error) if ends_run(call, &error) || is_final(error.kind) => break Err(error),
            Err(error) if attempt >= attempts => {
                break Err(error.cause(format!("tried {attempts} times")));
            }
            Err(error) => {
                call.host.run.forget_failure();
                call.host.progress.waiting(&Waiting {
                    what: what.clone(),
                    reason: format!("attempt {attempt} of {attempts}: {error}"),
                    since: waited,
                });
                pause(call, delay)?;
                waited += delay;
                delay = delay.mul_f64(backoff).min(longest);
                attempt += 1;
            }
        }
    };
    call.host.progress.waited(&what);
    done
}

/// Waits on the target's clock.
pub(super) fn pause(call: &Call<'_>, span: Duration) -> Result<(), Diagnostic> {
    let clock = call.host.clock()?;
    // Whoever pauses wants to see what changed meanwhile.
    if let Some(target) = call.host.opened() {
        target.cluster.forget();
    }
    call.block_on(async {
        clock.sleep(span).await;
        Ok::<(), Diagnostic>(())
    })
}

/// Calls a closure and gives its value or its error as a map.
pub(super) fn attempt(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let Some(action) = call.closure("action") else { return Ok(Dynamic::UNIT) };
    let mut map = Map::new();
    match call.call_closure(&action, Vec::new()) {
        Ok(value) => {
            map.insert("ok".into(), true.into());
            map.insert("value".into(), value);
            map.insert("error".into(), Dynamic::UNIT);
        }
        Err(error) if ends_run(call, &error) => return Err(error),
        Err(error) => {
            call.host.run.forget_failure();
            map.insert("ok".into(), false.into());
            map.insert("value".into(), Dynamic::UNIT);
            map.insert("error".into(), error::to_map(&error).into());
        }
    }
    Ok(map.into())
}

/// Calls closures side by side.
pub(super) fn parallel(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let actions = call.value("actions").and_then(|value| value.clone().try_cast::<Array>());
    let mut work = Vec::new();
    for (index, action) in actions.unwrap_or_default().into_iter().enumerate() {
        let Some(action) = action.flatten().try_cast::<FnPtr>() else {
            return Err(Diagnostic::new(
                ErrorKind::Argument,
                format!("element {index} of `actions` is not a closure"),
            )
            .hint("write `parallel([|| first(), || second()])`"));
        };
        work.push((action, Vec::new()));
    }
    branches(call, &work)
}

/// Calls a closure for each item, several at a time.
pub(super) fn parallel_map(call: &Call<'_>) -> Result<Dynamic, Diagnostic> {
    let items = call.value("items").and_then(|value| value.clone().try_cast::<Array>());
    let Some(action) = call.closure("action") else { return Ok(Dynamic::UNIT) };
    let work: Vec<(FnPtr, Vec<Dynamic>)> = items
        .unwrap_or_default()
        .into_iter()
        .map(|item| (action.clone(), vec![item.flatten()]))
        .collect();
    branches(call, &work)
}

/// Runs branches on threads of their own; the results stand in the order of the work. After an error no further branch
/// begins, and the first one in that order is the error of the whole.
fn branches(call: &Call<'_>, work: &[(FnPtr, Vec<Dynamic>)]) -> Result<Dynamic, Diagnostic> {
    let limit = call
        .int("limit")
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(call.host.settings.parallel)
        .clamp(1, 64);
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Vec<Mutex<Option<Result<Dynamic, Diagnostic>>>> =
        work.iter().map(|_| Mutex::new(None)).collect();
    let step = call.host.reporter.current_step();
    let frames = run::frames();
    let worker = || {
        call.host.reporter.work_for(step);
        run::adopt_frames(frames.clone());
        loop {
            let index = next.fetch_add(1, Ordering::SeqCst);
            let Some((action, arguments)) = work.get(index) else { return };
            if stop.load(Ordering::SeqCst) || call.host.cancel.cause().is_some() {
                return;
            }
            let mut action = action.clone();
            // Captured variables are shared between branches otherwise, and Rhai ends a race with an error.
            action.iter_curry_mut().for_each(|value| *value = value.flatten_clone());
            let done =
                catch_unwind(AssertUnwindSafe(|| call.call_closure(&action, arguments.clone())))
                    .unwrap_or_else(|panic| {
                        Err(Diagnostic::new(ErrorKind::Bug, "a branch crashed")
                            .cause(panic_text(panic.as_ref())))
                    });
            if done.is_err() {
                stop.store(true, Ordering::SeqCst);
            }
            *results[index].lock() = Some(done);
        }
    };
    host::rest();
    std::thread::scope(|scope| {
        for number in 0..limit.min(work.len()) {
            let spawned = std::thread::Builder::new()
                .name(format!("branch {number}"))
                .stack_size(BRANCH_STACK)
                .spawn_scoped(scope, worker);
            // Without a thread the branches that have one do the work; without any, this thread does.
            if spawned.is_err() {
                if number == 0 {
                    worker();
                }
                break;
            }
        }
    });
    if let Some(cause) = call.host.cancel.cause() {
        return Err(error::terminated(cause.token()));
    }
    let mut values = Array::new();
    let mut failure: Option<Diagnostic> = None;
    for result in results {
        match (result.into_inner(), &mut failure) {
            (Some(Ok(value)), _) => values.push(value),
            (Some(Err(error)), None) => failure = Some(error),
            (Some(Err(error)), Some(first)) => {
                let also = format!("another branch failed too: {error}");
                first.causes.push(also);
            }
            (None, _) => {}
        }
    }
    failure.map_or_else(|| Ok(values.into()), Err)
}
