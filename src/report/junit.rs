//! The report as JUnit XML: a suite of the steps and one of the checks.

use std::fmt::Write as _;

use super::event::{CheckStatus, Outcome};
use super::state::State;
use crate::base::diagnostic::Diagnostic;

/// One result of a suite.
pub struct Case {
    pub name: String,
    pub seconds: f64,
    /// Why it failed.
    pub failure: Option<String>,
    /// Why it could not be told whether it holds.
    pub error: Option<String>,
    /// Why it was left out.
    pub skipped: Option<String>,
}

/// The report of one run.
///
/// An unproven check is an error, as it is for the exit code, unless unproven ones are allowed.
pub(super) fn write(
    state: &State,
    name: &str,
    error: Option<&Diagnostic>,
    allow_unproven: bool,
) -> String {
    let unproven = |status| status == CheckStatus::Unproven;
    let steps: Vec<Case> = state
        .paths()
        .map(|(path, step)| Case {
            name: path,
            seconds: step.span.as_secs_f64(),
            failure: (step.outcome == Some(Outcome::Failed))
                .then(|| error.map_or_else(|| "the step failed".to_owned(), ToString::to_string)),
            error: None,
            skipped: (step.outcome == Some(Outcome::Skipped)).then(|| "left out".to_owned()),
        })
        .collect();
    let checks: Vec<Case> = state
        .checks
        .iter()
        .map(|check| Case {
            name: format!("{} {}", check.id, check.title),
            seconds: check.span.as_secs_f64(),
            failure: (check.status == CheckStatus::Failed)
                .then(|| format!("{}\n{}", check.reason, check.remedy)),
            error: (unproven(check.status) && !allow_unproven)
                .then(|| format!("unproven: {}\n{}", check.reason, check.remedy)),
            skipped: (check.status == CheckStatus::Skipped
                || unproven(check.status) && allow_unproven)
                .then(|| format!("{}: {}", check.status.name(), check.reason)),
        })
        .collect();
    suites(&[(format!("{name}: steps"), steps), (format!("{name}: checks"), checks)])
}

/// Writes suites of cases.
pub fn suites(suites: &[(String, Vec<Case>)]) -> String {
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for (name, cases) in suites {
        let failures = cases.iter().filter(|case| case.failure.is_some()).count();
        let errors = cases.iter().filter(|case| case.error.is_some()).count();
        let skipped = cases.iter().filter(|case| case.skipped.is_some()).count();
        let seconds: f64 = cases.iter().map(|case| case.seconds).sum();
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{seconds:.3}\">",
            escape(name),
            cases.len()
        );
        for case in cases {
            let _ = write!(
                xml,
                "    <testcase name=\"{}\" time=\"{:.3}\"",
                escape(&case.name),
                case.seconds
            );
            let inner = match (&case.failure, &case.error, &case.skipped) {
                (Some(reason), _, _) => format!("<failure message=\"{}\"/>", escape(reason)),
                (None, Some(reason), _) => format!("<error message=\"{}\"/>", escape(reason)),
                (None, None, Some(reason)) => format!("<skipped message=\"{}\"/>", escape(reason)),
                (None, None, None) => {
                    xml.push_str("/>\n");
                    continue;
                }
            };
            let _ = writeln!(xml, ">\n      {inner}\n    </testcase>");
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            // XML has no form for other control characters.
            letter if letter.is_control() => escaped.push(' '),
            letter => escaped.push(letter),
        }
    }
    escaped
}
