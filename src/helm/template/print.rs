//! Go's `fmt` for template values: `Print`, `Sprint` spacing and `Sprintf` with its directives; `verbs` knows the verbs.

use std::fmt::Write as _;

use crate::base::yaml::format_float;

use super::object::Object;
use super::value::{IntKind, ListKind, MAX_DEPTH, Value};
use super::verbs::{Spec, write_verb};
use super::work::{ITEM, Work};

/// A text that is being written, and paid for: a small value can print as a huge one.
pub(super) struct Out<'o> {
    text: &'o mut String,
    work: &'o Work,
}

impl Out<'_> {
    pub(super) fn push_str(&mut self, text: &str) {
        if self.work.made(text.len()) {
            self.text.push_str(text);
        }
    }

    pub(super) fn push(&mut self, c: char) {
        self.text.push(c);
    }

    pub(super) fn fill(&mut self, c: char, count: usize) {
        if self.work.made(count) {
            self.text.extend(std::iter::repeat_n(c, count));
        }
    }

    /// Pays for an element; false when nothing more is to be written.
    pub(super) fn element(&self) -> bool {
        self.work.take(1)
    }
}

impl std::fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push_str(text);
        Ok(())
    }
}

/// The text that something writes.
fn written(work: &Work, write: impl FnOnce(&mut Out<'_>)) -> String {
    let mut text = String::new();
    write(&mut Out { text: &mut text, work });
    text
}

/// What an action prints.
pub(crate) fn write_value(text: &mut String, value: &Value, work: &Work) {
    match value {
        Value::Nil | Value::NilInterface => text.push_str("<no value>"),
        other => write_v(&mut Out { text, work }, other, 0),
    }
}

/// `%v`.
pub(crate) fn to_string(value: &Value, work: &Work) -> String {
    written(work, |out| write_v(out, value, 0))
}

/// Sprig's `strval`: bytes are text too.
pub(crate) fn strval(value: &Value, work: &Work) -> String {
    match value {
        Value::List(list) if list.kind == ListKind::Bytes => super::text::from_bytes(&list.bytes()),
        // The value's own String method has a pointer receiver, which a copy does not have.
        Value::Object(object) if matches!(**object, Object::KubeVersion(_)) => {
            written(work, |out| write_struct(out, object, 0))
        }
        other => to_string(other, work),
    }
}

/// `fmt.Sprint`: a space between operands when neither is a string.
pub(crate) fn sprint(values: &[Value], work: &Work) -> String {
    written(work, |out| {
        let mut before_is_string = true;
        for (n, value) in values.iter().enumerate() {
            let is_string = matches!(value, Value::Str(_));
            if n > 0 && !is_string && !before_is_string {
                out.push(' ');
            }
            write_v(out, value, 0);
            before_is_string = is_string;
        }
    })
}

/// `fmt.Sprintln`.
pub(crate) fn sprintln(values: &[Value], work: &Work) -> String {
    let mut out = values.iter().map(|value| to_string(value, work)).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

fn write_v(out: &mut Out<'_>, value: &Value, depth: usize) {
    if depth > MAX_DEPTH {
        out.push_str("...");
        return;
    }
    match value {
        Value::Nil | Value::NilInterface => out.push_str("<nil>"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value, kind) => match kind.stringer(*value) {
            Some(text) => out.push_str(&text),
            None => out.push_str(&int_text(*value, *kind)),
        },
        Value::Float(value) => out.push_str(&format_float(*value)),
        Value::Str(text) => out.push_str(text),
        Value::List(list) => {
            out.push('[');
            for (n, item) in list.items.iter().enumerate() {
                if !out.element() {
                    return;
                }
                if n > 0 {
                    out.push(' ');
                }
                write_v(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (n, (key, item)) in map.entries.borrow().iter().enumerate() {
                if !out.element() {
                    return;
                }
                if n > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                write_v(out, item, depth + 1);
            }
            out.push(']');
        }
        Value::Object(object) => match object.stringer() {
            Some(text) => out.push_str(&text),
            None => write_struct(out, object, depth),
        },
    }
}

fn write_struct(out: &mut Out<'_>, object: &Object, depth: usize) {
    match object {
        Object::Files(files) => {
            out.push_str("map[");
            for (n, (name, data)) in files.iter().enumerate() {
                let space = if n > 0 { " " } else { "" };
                let _ = write!(out, "{space}{name}:");
                if !out.work.take(data.len() * ITEM) {
                    return;
                }
                write_v(out, &super::object::bytes(data), depth + 1);
            }
            out.push(']');
        }
        _ => {
            out.push_str(if object.kind_name() == "ptr" && depth == 0 { "&{" } else { "{" });
            let mut fields = object.fields();
            // A field that is not exported stands after the first.
            if let Object::KubeVersion(version) = object {
                fields.insert(1, ("normalizedVersion", Value::Str(version.normalized.clone())));
            }
            for (n, (_, value)) in fields.iter().enumerate() {
                if n > 0 {
                    out.push(' ');
                }
                write_v(out, value, depth + 1);
            }
            out.push('}');
        }
    }
}

fn int_text(value: i64, kind: IntKind) -> String {
    if kind == IntKind::Uint64 { value.cast_unsigned().to_string() } else { value.to_string() }
}

/// Widths and precisions beyond this are refused, as in Go.
const MAX_WIDTH: i64 = 1_000_000;

/// `fmt.Sprintf`.
pub(crate) fn sprintf(format: &str, values: &[Value], work: &Work) -> String {
    written(work, |out| write_format(out, format, values))
}

fn write_format(out: &mut Out<'_>, format: &str, values: &[Value]) {
    let mut state =
        Directives { values, next: 0, reordered: false, chars: format, good_index: true };
    while let Some(at) = state.chars.find('%') {
        out.push_str(&state.chars[..at]);
        state.chars = &state.chars[at + 1..];
        state.directive(out);
        if out.work.is_spent() {
            return;
        }
    }
    out.push_str(state.chars);
    if !state.reordered && state.next < values.len() {
        out.push_str("%!(EXTRA ");
        for (n, value) in values[state.next..].iter().enumerate() {
            if n > 0 {
                out.push_str(", ");
            }
            if value.is_nil() {
                out.push_str("<nil>");
            } else {
                let _ = write!(out, "{}=", value.type_name());
                write_v(out, value, 0);
            }
        }
        out.push(')');
    }
}

struct Directives<'a> {
    values: &'a [Value],
    next: usize,
    reordered: bool,
    chars: &'a str,
    good_index: bool,
}

impl Directives<'_> {
    fn peek(&self) -> Option<char> {
        self.chars.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.chars = &self.chars[c.len_utf8()..];
        Some(c)
    }

    fn number(&mut self) -> Option<i64> {
        let mut number = None;
        while let Some(digit) = self.peek().and_then(|c| c.to_digit(10)) {
            // Go reads no further then.
            if number.is_some_and(|number| number > MAX_WIDTH) {
                self.chars = "";
                return None;
            }
            number = Some(number.unwrap_or(0) * 10 + i64::from(digit));
            self.take();
        }
        number
    }

    /// `[n]`: the next operand by number.
    fn index(&mut self) -> bool {
        if self.peek() != Some('[') {
            return false;
        }
        self.reordered = true;
        match self.chars.find(']') {
            None => {
                self.good_index = false;
                self.chars = &self.chars[1..];
            }
            Some(end) => {
                let index = self.chars[1..end].parse::<usize>().ok();
                self.chars = &self.chars[end + 1..];
                match index.and_then(|index| index.checked_sub(1)) {
                    Some(index) if index < self.values.len() => self.next = index,
                    _ => self.good_index = false,
                }
            }
        }
        true
    }

    /// `*`: a width or precision from an operand.
    fn star(&mut self) -> Option<i64> {
        let value = self.values.get(self.next);
        self.next += usize::from(value.is_some());
        match value {
            Some(Value::Int(value, _)) if value.abs() <= MAX_WIDTH => Some(*value),
            _ => None,
        }
    }

    fn directive(&mut self, out: &mut Out<'_>) {
        let mut spec = Spec::default();
        self.good_index = true;
        while let Some(flag) = self.peek() {
            match flag {
                '#' => spec.sharp = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                '-' => spec.minus = true,
                ' ' => spec.space = true,
                _ => break,
            }
            self.take();
        }
        let mut after_index = self.index();
        if self.peek() == Some('*') {
            self.take();
            match self.star() {
                None => out.push_str("%!(BADWIDTH)"),
                Some(width) => {
                    if width < 0 {
                        spec.minus = true;
                    }
                    spec.width = usize::try_from(width.abs()).ok();
                }
            }
            after_index = false;
        } else if let Some(width) = self.number() {
            spec.width = usize::try_from(width).ok();
            if after_index {
                self.good_index = false;
            }
        }
        if self.peek() == Some('.') {
            self.take();
            if after_index {
                self.good_index = false;
            }
            after_index = self.index();
            if self.peek() == Some('*') {
                self.take();
                match self.star() {
                    Some(precision) if precision >= 0 => {
                        spec.precision = usize::try_from(precision).ok();
                    }
                    _ => out.push_str("%!(BADPREC)"),
                }
                after_index = false;
            } else {
                spec.precision = Some(
                    self.number()
                        .and_then(|precision| usize::try_from(precision).ok())
                        .unwrap_or(0),
                );
            }
        }
        if !after_index {
            self.index();
        }
        let Some(verb) = self.take() else {
            out.push_str("%!(NOVERB)");
            return;
        };
        if verb == '%' {
            out.push('%');
        } else if !self.good_index {
            let _ = write!(out, "%!{verb}(BADINDEX)");
        } else if let Some(value) = self.values.get(self.next) {
            self.next += 1;
            if verb == 'v' {
                (spec.plus_v, spec.sharp_v) = (spec.plus, spec.sharp);
                (spec.plus, spec.sharp) = (false, false);
            }
            write_verb(out, value, verb, spec, 0);
        } else {
            let _ = write!(out, "%!{verb}(MISSING)");
        }
    }
}
