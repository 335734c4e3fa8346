//! Cases of the kind `check`: `main.rhai` is checked, not run. Below a line with a mistake stands what is found there:
//! `// error: 5 there is no function …` with the column; `// help: …` lines below it are its hints. A script without such lines
//! must have no findings.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use libtest_mimic::{Failed, Trial};
use meshscript::engine::check::{Severity, check};
use meshscript::engine::session::on_big_stack;
use meshscript::report::ReportOptions;

use super::script;
use crate::harness;

pub(crate) fn trials() -> Vec<Trial> {
    harness::each("check", None, run)
}

fn run(case: &Path) -> Result<(), Failed> {
    let (session, _) = script::session(script::settings(case), ReportOptions::default());
    let findings = on_big_stack(|| {
        let script = session.host.find_script("main.rhai")?;
        Ok(check(&session, &[script]))
    })
    .map_err(|error| error.to_string())?;
    let text = fs::read_to_string(case.join("main.rhai"))?;
    let is_note = |line: &str| {
        let line = line.trim_start();
        ["// error:", "// warning:", "// help:"].iter().any(|start| line.starts_with(start))
    };
    let mut actual = String::new();
    for (index, line) in text.lines().enumerate() {
        if is_note(line) {
            continue;
        }
        let _ = writeln!(actual, "{line}");
        for finding in &findings {
            let Some(at) = &finding.diagnostic.at else { continue };
            if at.file.as_os_str() != "main.rhai" || at.line != index + 1 {
                continue;
            }
            let word = if finding.severity == Severity::Error { "error" } else { "warning" };
            let _ = writeln!(actual, "// {word}: {} {}", at.column, finding.diagnostic.message);
            for hint in &finding.diagnostic.hints {
                let _ = writeln!(actual, "// help: {hint}");
            }
        }
    }
    harness::expect(&case.join("main.rhai"), &actual)
}
