//! The report for machines: one JSON object per line, `event` says what it is; the last one is the `summary`.

use std::time::Duration;

use serde_json::{Value, json};

use super::event::{CheckResult, Outcome, RunEnd, TargetLine};
use super::state::{State, StepId};
use crate::base::diagnostic::{Diagnostic, Position};

/// One line.
pub(super) fn line(value: &Value) -> String {
    value.to_string()
}

pub(super) fn target(target: &TargetLine) -> Value {
    json!({
        "event": "target", "context": target.context, "server": target.server,
        "version": target.version, "user": target.user, "rehearsal": target.rehearsal,
    })
}

pub(super) fn outcome(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Done) => "done",
        Some(Outcome::Failed) => "failed",
        Some(Outcome::Skipped) => "skipped",
        None => "running",
    }
}

pub(super) fn step_ended(state: &State, id: StepId) -> Value {
    let step = state.step(id);
    json!({
        "event": "step", "state": outcome(step.outcome), "step": state.path(id),
        "seconds": seconds(step.span), "created": step.counts.created,
        "configured": step.counts.configured, "deleted": step.counts.deleted,
        "unchanged": step.counts.unchanged,
    })
}

pub(super) fn check(result: &CheckResult) -> Value {
    let mut value = check_value(result);
    value["event"] = "check".into();
    value
}

fn check_value(result: &CheckResult) -> Value {
    json!({
        "id": result.id, "title": result.title, "status": result.status.name(),
        "evidence": result.evidence, "reason": result.reason, "remedy": result.remedy,
        "seconds": seconds(result.span),
    })
}

fn position(at: &Position) -> Value {
    json!({"file": at.file.display().to_string(), "line": at.line, "column": at.column})
}

/// An error with everything that the drawn one says.
pub fn error(error: &Diagnostic) -> Value {
    json!({
        "event": "error", "kind": error.kind.name(), "message": error.message,
        "at": error.at.as_ref().map(position),
        "trace": error.trace.iter().map(|frame| {
            let mut value = position(&frame.at);
            value["function"] = frame.function.clone().into();
            value
        }).collect::<Vec<_>>(),
        "causes": error.causes, "hints": error.hints,
    })
}

pub(super) fn summary(state: &State, end: &RunEnd, elapsed: Duration) -> Value {
    let (done, failed, skipped) = state.outcomes();
    json!({
        "event": "summary", "exit": end.code,
        "rehearsal": state.target.as_ref().is_some_and(|target| target.rehearsal),
        "objects": {
            "created": state.total.created, "configured": state.total.configured,
            "deleted": state.total.deleted, "unchanged": state.total.unchanged,
            "changed": state.total.changed(),
        },
        "steps": {"done": done, "failed": failed, "skipped": skipped},
        "checks": state.checks.iter().map(check_value).collect::<Vec<_>>(),
        "requests": end.requests.map(|(reads, writes)| json!({"read": reads, "write": writes})),
        "facts": state.facts.iter().map(|(label, value)| {
            (label.clone(), Value::String(value.clone()))
        }).collect::<serde_json::Map<_, _>>(),
        "not_modelled": end.not_modelled,
        "next": end.next,
        "seconds": if end.no_timings { Value::Null } else { seconds(elapsed) },
        "target_seconds": end.target_time.filter(|_| !end.no_timings).map(seconds),
    })
}

/// Seconds, to the millisecond.
fn seconds(span: Duration) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a run are far below 2^53")]
    let value = span.as_millis() as f64 / 1000.0;
    value.into()
}
