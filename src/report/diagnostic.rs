//! An error as a person reads it: what, where with the source, through which calls, why, what next.

use std::sync::Arc;

use super::style::Style;
use crate::base::diagnostic::{Diagnostic, ErrorKind, Position};

/// Lines of source above and below the place.
const AROUND: usize = 1;
/// Wider lines are cut around the place.
const MAX_WIDTH: usize = 120;

/// Gives the text of a script by its name.
pub type TextOf<'a> = &'a dyn Fn(&str) -> Option<Arc<str>>;
/// Takes secrets out of a text.
pub type Mask<'a> = &'a dyn Fn(&str) -> String;

/// Draws an error; `text_of` gives the text of a script by its name.
pub fn draw(diagnostic: &Diagnostic, text_of: TextOf<'_>, mask: Mask<'_>, style: &Style) -> String {
    draw_as(&style.red("error:"), diagnostic, text_of, mask, style)
}

/// As [`draw`], for what is no error.
pub fn draw_warning(
    diagnostic: &Diagnostic,
    text_of: TextOf<'_>,
    mask: Mask<'_>,
    style: &Style,
) -> String {
    draw_as(&style.yellow("warning:"), diagnostic, text_of, mask, style)
}

fn draw_as(
    label: &str,
    diagnostic: &Diagnostic,
    text_of: TextOf<'_>,
    mask: Mask<'_>,
    style: &Style,
) -> String {
    let mut lines = vec![format!("{label} {}", style.bold(&diagnostic.message))];
    if let Some(at) = &diagnostic.at {
        place(&mut lines, at, text_of, mask, style);
    }
    for frame in &diagnostic.trace {
        lines.push(format!(
            "  {} {} {}",
            style.dim("called as"),
            style.cyan(&frame.function),
            style.dim(&format!("at {}", shown(&frame.at)))
        ));
    }
    for (index, cause) in diagnostic.causes.iter().enumerate() {
        let label = if index == 0 { "because:" } else { "   then:" };
        indented(&mut lines, &style.yellow(label), cause);
    }
    if diagnostic.kind == ErrorKind::Bug && diagnostic.causes.is_empty() {
        indented(&mut lines, &style.yellow("because:"), "this is a defect of meshscript");
    }
    for hint in &diagnostic.hints {
        indented(&mut lines, &style.cyan("   help:"), hint);
    }
    lines.join("\n")
}

/// A line with a label; further lines of the text stand below its start.
fn indented(lines: &mut Vec<String>, label: &str, text: &str) {
    for (index, line) in text.trim_end().lines().enumerate() {
        if index == 0 {
            lines.push(format!("{label} {line}"));
        } else {
            lines.push(format!("         {line}"));
        }
    }
}

fn shown(at: &Position) -> String {
    if at.column == 0 {
        format!("{}:{}", at.file.display(), at.line)
    } else {
        format!("{}:{}:{}", at.file.display(), at.line, at.column)
    }
}

fn place(
    lines: &mut Vec<String>,
    at: &Position,
    text_of: TextOf<'_>,
    mask: Mask<'_>,
    style: &Style,
) {
    let file = at.file.display().to_string();
    let text = text_of(&file);
    let source: Vec<&str> = text.as_deref().map(|text| text.lines().collect()).unwrap_or_default();
    let last = (at.line + AROUND).min(source.len());
    let width = last.max(at.line).to_string().len();
    lines.push(format!("{}{} {}", " ".repeat(width), style.dim("-->"), shown(at)));
    if source.get(at.line.wrapping_sub(1)).is_none() {
        return;
    }
    let bar = style.dim("|");
    lines.push(format!("{} {bar}", " ".repeat(width)));
    let column = start_of_path(source[at.line - 1], at.column);
    // A line is masked before it is cut: a part of a secret would not be known as one.
    let before: String = source[at.line - 1].chars().take(column.saturating_sub(1)).collect();
    let column = if column == 0 { 0 } else { mask(&before).chars().count() + 1 };
    for number in at.line.saturating_sub(AROUND).max(1)..=last {
        let line = mask(source[number - 1]).replace('\t', " ");
        let (line, cut) = window(&line, if number == at.line { column } else { 0 });
        if number != at.line && line.trim().is_empty() {
            continue;
        }
        lines.push(
            format!("{} {bar} {line}", style.dim(&format!("{number:>width$}")))
                .trim_end()
                .to_owned(),
        );
        if number == at.line && column > 0 {
            let column = column.min(line.chars().count() + cut + 1);
            let length = token_length(&line, column - 1 - cut);
            lines.push(format!(
                "{} {bar} {}{}",
                " ".repeat(width),
                " ".repeat(column - 1 - cut),
                style.red(&"^".repeat(length))
            ));
        }
    }
}

/// The part of a line that is shown, and how many characters were cut before it.
fn window(line: &str, column: usize) -> (String, usize) {
    let letters: Vec<char> = line.chars().collect();
    if letters.len() <= MAX_WIDTH {
        return (line.to_owned(), 0);
    }
    let start = column.saturating_sub(MAX_WIDTH / 2).min(letters.len() - MAX_WIDTH);
    let end = start + MAX_WIDTH;
    let mut shown: Vec<char> = letters[start..end].to_vec();
    if start > 0 {
        shown[0] = '…';
    }
    if end < letters.len() {
        shown[MAX_WIDTH - 1] = '…';
    }
    (shown.into_iter().collect(), start)
}

/// The column where a call's path begins: Rhai gives the place of `apply` in `k8s::apply`.
fn start_of_path(line: &str, column: usize) -> usize {
    let letters: Vec<char> = line.chars().collect();
    let mut at = column.saturating_sub(1).min(letters.len());
    while at > 2 && letters[at - 2..at] == [':', ':'] {
        let name = letters[..at - 2].iter().rev().take_while(|c| c.is_alphanumeric() || **c == '_');
        match name.count() {
            0 => break,
            length => at -= 2 + length,
        }
    }
    if column == 0 { 0 } else { at + 1 }
}

/// How many characters the caret underlines: the name or the quoted text that begins there.
fn token_length(line: &str, start: usize) -> usize {
    let rest: Vec<char> = line.chars().skip(start).collect();
    let is_name = |c: &char| c.is_alphanumeric() || *c == '_' || *c == ':';
    match rest.first() {
        Some('"') => rest.iter().skip(1).position(|c| *c == '"').map_or(1, |end| end + 2),
        Some(first) if is_name(first) => rest.iter().take_while(|c| is_name(c)).count().max(1),
        _ => 1,
    }
}
