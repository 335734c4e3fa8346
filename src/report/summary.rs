//! The lines around a run: its target at the top, checks as they are proved, what it came to at the end.

use std::time::Duration;

use super::event::{CheckResult, CheckStatus, RunEnd, TargetLine};
use super::state::State;
use super::style::Style;
use crate::base::duration::human;

/// The word on the first and last line of a run that is not on a real cluster.
pub const REHEARSAL: &str = "REHEARSAL";

/// What a rehearsal cannot know, for its last lines.
const BEYOND: &str = "a rehearsal cannot know: whether images can be pulled, what the nodes' kernels allow, what a cloud's \
                      load balancer does";

/// `Target  kind-dev  https://10.0.0.1:6443  v1.35.1  as alice`
pub fn target_line(target: &TargetLine, style: &Style) -> String {
    let mut parts = Vec::new();
    if target.rehearsal {
        parts.push(format!(
            "{} on the built-in sandbox, no cluster is touched",
            style.yellow(REHEARSAL)
        ));
    } else {
        parts.push(style.bold(&target.context));
    }
    parts.push(target.server.clone());
    parts.push(target.version.clone());
    if !target.user.is_empty() {
        parts.push(format!("as {}", target.user));
    }
    parts.retain(|part| !part.is_empty());
    format!("{}  {}", style.dim("Target"), parts.join("  "))
}

/// A check, with what was seen when it is not proved (or on request).
pub(super) fn check_lines(result: &CheckResult, style: &Style, verbose: bool) -> Vec<String> {
    let mut lines = vec![format!("{} {}", style.check_mark(result.status), result.title)];
    let proved = result.status == CheckStatus::Proved;
    if !result.reason.is_empty() && !proved {
        let word = match result.status {
            CheckStatus::Skipped => "skipped: ",
            CheckStatus::Unproven => "unproven: ",
            CheckStatus::Proved | CheckStatus::Failed | CheckStatus::Warning => "",
        };
        for line in result.reason.lines() {
            lines.push(format!("    {word}{line}"));
        }
    }
    if !result.evidence.is_empty() && (verbose || !proved) {
        for line in result.evidence.lines() {
            lines.push(format!("    {}", style.dim(&format!("seen: {line}"))));
        }
    }
    if !result.remedy.is_empty() && !proved {
        lines.push(format!("    {} {}", style.cyan("help:"), result.remedy));
    }
    if !proved {
        lines.push(format!("    {}", style.dim(&format!("check {}", result.id))));
    }
    lines
}

/// The summary.
pub(super) fn lines(
    state: &State,
    end: &RunEnd,
    elapsed: Duration,
    style: &Style,
    quiet: bool,
) -> Vec<String> {
    let rehearsal = state.target.as_ref().is_some_and(|target| target.rehearsal);
    let mut lines = Vec::new();
    if !quiet {
        lines.push(String::new());
        let longest = state.facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        let width = longest.max("Requests".len()) + 2;
        let label = |text: &str| style.dim(&format!("{text:<width$}"));
        let total = state.total;
        let changed = if total.changed() > 0 {
            let mut written = total;
            written.unchanged = 0;
            format!("{} changed ({})", total.changed(), written.text())
        } else {
            "0 changed".to_owned()
        };
        lines.push(format!("{}{changed}, {} unchanged", label("Objects"), total.unchanged));
        let (done, failed, skipped) = state.outcomes();
        if done + failed + skipped > 0 {
            lines.push(format!(
                "{}{}",
                label("Steps"),
                counted(&[(done, "done"), (failed, "failed"), (skipped, "skipped")])
            ));
        }
        if !state.checks.is_empty() {
            let counts: Vec<(usize, &str)> = CheckStatus::ALL
                .iter()
                .map(|status| {
                    let count = state.checks.iter().filter(|check| check.status == *status).count();
                    (count, status.name())
                })
                .collect();
            lines.push(format!("{}{}", label("Checks"), counted(&counts)));
        }
        for (name, value) in &state.facts {
            lines.push(format!("{}{value}", label(name)));
        }
        if let Some((reads, writes)) = end.requests {
            lines.push(format!("{}{reads} read, {writes} write", label("Requests")));
        }
        if !end.no_timings {
            let span = match end.target_time {
                Some(target) => {
                    format!("{} ({} on the sandbox's clock)", human(elapsed), human(target))
                }
                None => human(elapsed),
            };
            lines.push(format!("{}{span}", label("Time")));
        }
        for what in &end.not_modelled {
            lines.push(format!(
                "{} the sandbox does not model {what}",
                style.yellow("not modelled:")
            ));
        }
    }
    let failed: Vec<&str> = ids(state, CheckStatus::Failed);
    let unproven: Vec<&str> = ids(state, CheckStatus::Unproven);
    if !failed.is_empty() {
        lines.push(format!("{} not proved: {}", style.red("failed:"), failed.join(", ")));
    }
    if !unproven.is_empty() {
        let note = if end.allow_unproven { "" } else { "; `--allow-unproven` lets the run pass" };
        lines.push(format!("{} {}{note}", style.yellow("unproven:"), unproven.join(", ")));
    }
    if let Some(next) = &end.next {
        lines.push(format!("{} {next}", style.cyan("next:")));
    }
    if rehearsal {
        lines.push(rehearsal_line(style));
    }
    lines
}

/// The last line of a run that was a rehearsal.
pub fn rehearsal_line(style: &Style) -> String {
    format!("{}: {BEYOND}", style.yellow(REHEARSAL))
}

fn ids(state: &State, status: CheckStatus) -> Vec<&str> {
    state
        .checks
        .iter()
        .filter(|check| check.status == status)
        .map(|check| check.id.as_str())
        .collect()
}

fn counted(counts: &[(usize, &str)]) -> String {
    counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ")
}
