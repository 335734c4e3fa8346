//! Templates by combination: each template of the section `matrix` with every value of the section `values` in place of `§`.
//!
//! A value is a line `NAME EXPRESSION`. The answers of a template stand below it, one line for the values that have the
//! same: `NAME,NAME: TEXT` with `⏎` for line breaks, or `NAME: !ERROR` without what all errors of a chart's notes begin
//! with, and with `§` where it names the value. `as TEMPLATE` stands for the answers of an earlier template, but for the name of
//! the function. When helm is recorded, templates that succeed are rendered many at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::Path;

use libtest_mimic::Failed;

use crate::harness::helm::{self, Helm};

const HOLE: char = '§';
/// What is rendered at a time, and the line between two of them.
const BATCH: usize = 150;
const MARK: &str = "\n⸻⸻⸻\n";

type Answer = Result<String, String>;

pub(super) struct Matrix {
    templates: Vec<String>,
    /// Names and expressions.
    values: Vec<(String, String)>,
}

/// A template with a value, and what it gives.
struct Cell {
    template: String,
    answer: Option<Answer>,
}

impl Matrix {
    pub(super) fn new(templates: Vec<String>, values: &[String]) -> Self {
        let pair = |line: &String| {
            let (name, expression) = line.split_once(' ').unwrap_or((line, line));
            (name.to_owned(), expression.trim().to_owned())
        };
        Self { templates, values: values.iter().map(pair).collect() }
    }

    /// Compares our answers with the recorded ones; with a recorder, asks helm first.
    pub(super) fn run(
        &self,
        golden: &Path,
        recorder: Option<&Helm>,
        ours: impl Fn(&str) -> Answer,
        theirs: impl Fn(&Helm, &str) -> Result<Answer, Failed>,
    ) -> Result<(), Failed> {
        let mut cells = self.cells();
        for cell in &mut cells {
            cell.answer = Some(ours(&cell.template));
        }
        let actual = self.told(&cells);
        if let Some(helm) = recorder {
            let ask = |template: &str| theirs(helm, template);
            let (mut good, mut bad): (Vec<_>, Vec<_>) =
                cells.iter_mut().partition(|cell| matches!(cell.answer, Some(Ok(_))));
            for batch in good.chunks_mut(BATCH) {
                record(batch, &ask)?;
            }
            for cell in &mut bad {
                cell.answer = Some(ask(&cell.template)?);
            }
            fs::write(golden, format!("# {}\n{}", helm.version, self.told(&cells)))?;
        }
        let expected = fs::read_to_string(golden)
            .map_err(|_| format!("no {}: record it with RECORD=1", golden.display()))?;
        let expected = expected.split_once('\n').map_or("", |(_, rest)| rest);
        if actual == expected {
            return Ok(());
        }
        Err(crate::harness::difference(expected, &actual).into())
    }

    fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for template in &self.templates {
            let template = template.replace('⏎', "\n");
            if template.contains(HOLE) {
                for (_, value) in &self.values {
                    cells.push(Cell { template: template.replace(HOLE, value), answer: None });
                }
            } else {
                cells.push(Cell { template, answer: None });
            }
        }
        cells
    }

    fn told(&self, cells: &[Cell]) -> String {
        let mut cells = cells.iter();
        let mut text = String::new();
        let mut known: HashMap<String, &str> = HashMap::new();
        for template in &self.templates {
            text.push_str(&format!("== {template}\n"));
            let mut block = String::new();
            let n_values = if template.contains(HOLE) { self.values.len() } else { 1 };
            let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
            for (cell, (name, value)) in cells.by_ref().take(n_values).zip(&self.values) {
                let value = if n_values > 1 { value } else { "" };
                let answer = shown(cell.answer.as_ref(), value);
                match groups.iter_mut().find(|(known, _)| *known == answer) {
                    Some((_, names)) => names.push(name),
                    None => groups.push((answer, vec![name])),
                }
            }
            for (answer, names) in groups {
                let names = if names.len() == n_values { "*".to_owned() } else { names.join(",") };
                block.push_str(&format!("{names}: {answer}\n"));
            }
            let function = template.split_whitespace().nth(1).unwrap_or_default();
            let nameless = block
                .replace(&format!("<{function}"), "<ƒ")
                .replace(&format!(" {function}:"), " ƒ:");
            match known.entry(nameless) {
                Entry::Occupied(earlier) if block.len() > earlier.get().len() + 4 => {
                    text.push_str(&format!("as {}\n", earlier.get()));
                }
                Entry::Occupied(_) => text.push_str(&block),
                Entry::Vacant(place) => {
                    place.insert(template);
                    text.push_str(&block);
                }
            }
        }
        text
    }
}

/// Asks for many at once; when that fails, for each half.
fn record(
    cells: &mut [&mut Cell],
    ask: &impl Fn(&str) -> Result<Answer, Failed>,
) -> Result<(), Failed> {
    let templates: Vec<&str> = cells.iter().map(|cell| cell.template.as_str()).collect();
    let answer = ask(&templates.join(MARK))?;
    if let [cell] = cells {
        cell.answer = Some(answer);
        return Ok(());
    }
    let parts: Vec<&str> = answer.as_ref().map_or(Vec::new(), |text| text.split(MARK).collect());
    if parts.len() == cells.len() {
        for (cell, part) in cells.iter_mut().zip(parts) {
            cell.answer = Some(Ok(part.trim().to_owned()));
        }
        return Ok(());
    }
    let (one, other) = cells.split_at_mut(cells.len() / 2);
    record(one, ask)?;
    record(other, ask)
}

fn shown(answer: Option<&Answer>, value: &str) -> String {
    match answer {
        None => String::new(),
        Some(Ok(text)) => text.replace('\n', "⏎"),
        Some(Err(error)) => {
            let error = helm::error_text(error);
            let told = error.split_once("executing \"t/templates/NOTES.txt\" at ");
            let told = told.map_or(error.as_str(), |(_, told)| told);
            let mut told = format!("!{}", told.replace(":\n    ", ": ").replace('\n', "⏎"));
            if !value.is_empty() {
                for (before, after) in [("<", ">"), (" ", " "), ("found ", "")] {
                    let hole = format!("{before}{HOLE}{after}");
                    told = told.replace(&format!("{before}{value}{after}"), &hole);
                }
            }
            told
        }
    }
}
