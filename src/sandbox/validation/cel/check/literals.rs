//! Constants in expressions that could never work: durations, times, patterns, formats, lists of several types.

use kube_cel::cel::common::ast::{
    CallExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr,
};

use super::checker::Found;
use super::types::Type;
use crate::sandbox::validation::cel::syntax::{Issue, Parsed};
use crate::sandbox::validation::format::go_duration_nanos;

/// Looks at all constants of an expression whose types are right.
pub(super) fn check(parsed: &Parsed, found: &Found) -> Vec<Issue> {
    let mut literals = Literals { parsed, found, issues: Vec::new() };
    literals.node(&parsed.tree, false);
    literals.issues
}

/// Calls `each` with the children of a node, in cel-go's order.
pub(super) fn children<'a>(node: &'a IdedExpr, each: &mut dyn FnMut(&'a IdedExpr)) {
    match &node.expr {
        Expr::Call(call) => call.target.iter().map(Box::as_ref).chain(&call.args).for_each(each),
        Expr::Comprehension(parts) => {
            each(&parts.iter_range);
            each(&parts.accu_init);
            each(&parts.loop_cond);
            each(&parts.loop_step);
            each(&parts.result);
        }
        Expr::List(list) => list.elements.iter().for_each(each),
        Expr::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    each(&entry.key);
                    each(&entry.value);
                }
            }
        }
        Expr::Struct(message) => {
            for entry in &message.entries {
                if let EntryExpr::StructField(field) = &entry.expr {
                    each(&field.value);
                }
            }
        }
        Expr::Select(select) => each(&select.operand),
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
    }
}

struct Literals<'a> {
    parsed: &'a Parsed,
    found: &'a Found,
    issues: Vec<Issue>,
}

impl Literals<'_> {
    fn issue(&mut self, node: &IdedExpr, message: String) {
        self.issues.push(Issue { place: self.parsed.place(node.id), message });
    }

    fn node(&mut self, node: &IdedExpr, in_format: bool) {
        let formats = matches!(&node.expr, Expr::Call(call) if call.func_name == "format");
        children(node, &mut |child| self.node(child, in_format || formats));
        match &node.expr {
            Expr::List(list) if !in_format => self.list(list),
            Expr::Map(map) if !in_format => self.map(map),
            Expr::Call(call) => {
                self.argument(call);
                self.format(node, call);
            }
            _ => {}
        }
    }

    /// What an entry is of; of an optional one what it holds.
    fn entry_kind(&self, node: &IdedExpr, optional: bool) -> Type {
        let kind = self.found.kind(node);
        if optional { kind.parts().first().map_or(Type::Dyn, |of| (*of).clone()) } else { kind }
    }

    fn list(&mut self, list: &ListExpr) {
        let mut first = None;
        for (at, element) in list.elements.iter().enumerate() {
            let kind = self.entry_kind(element, list.optional_indices.contains(&at));
            if !self.is_same(&mut first, element, kind) {
                return;
            }
        }
    }

    fn map(&mut self, map: &MapExpr) {
        let (mut keys, mut values) = (None, None);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let kind = self.found.kind(&entry.key);
            self.is_same(&mut keys, &entry.key, kind);
            let kind = self.entry_kind(&entry.value, entry.optional);
            self.is_same(&mut values, &entry.value, kind);
        }
    }

    /// Whether a type is that of the entries before; if not, it is told.
    fn is_same(&mut self, first: &mut Option<Type>, node: &IdedExpr, kind: Type) -> bool {
        let wanted = first.get_or_insert_with(|| kind.clone());
        let same = *wanted == kind;
        if !same {
            let message = format!("expected type '{wanted}' but found '{kind}'");
            self.issue(node, message);
        }
        same
    }

    fn argument(&mut self, call: &CallExpr) {
        let Some(arg) = call.args.first() else { return };
        let is_valid = match (call.func_name.as_str(), &arg.expr) {
            ("duration", Expr::Literal(LiteralValue::String(text))) => {
                go_duration_nanos(text.inner()).is_some()
            }
            ("timestamp", Expr::Literal(LiteralValue::String(text))) => {
                chrono::DateTime::parse_from_rfc3339(text.inner()).is_ok()
            }
            ("timestamp", Expr::Literal(literal)) => !matches!(literal, LiteralValue::Null),
            // Declared for numbers, but nothing does it.
            ("duration", Expr::Literal(_)) => false,
            ("matches", Expr::Literal(LiteralValue::String(text))) => {
                !is_broken_pattern(text.inner())
            }
            _ => true,
        };
        if !is_valid {
            self.issue(arg, format!("invalid {} argument", call.func_name));
        }
    }

    /// `'…'.format([…])`: whether the clauses fit the arguments.
    fn format(&mut self, node: &IdedExpr, call: &CallExpr) {
        let Some(target) = call.target.as_ref().filter(|_| call.func_name == "format") else {
            return;
        };
        let Expr::Literal(LiteralValue::String(text)) = &target.expr else { return };
        let [IdedExpr { expr: Expr::List(list), .. }] = call.args.as_slice() else { return };
        match self.clauses(text.inner(), &list.elements) {
            Ok(n_clauses) if list.elements.len() > n_clauses => {
                let message = format!(
                    "too many arguments supplied to string.format (expected {n_clauses}, got {})",
                    list.elements.len()
                );
                self.issue(node, message);
            }
            Ok(_) => {}
            Err((at, message)) => self.issue(at.unwrap_or(node), message),
        }
    }

    /// How many arguments a format takes; or what is wrong, and with which node.
    fn clauses<'a>(
        &self,
        format: &str,
        args: &'a [IdedExpr],
    ) -> Result<usize, (Option<&'a IdedExpr>, String)> {
        let mut n_clauses = 0;
        let mut rest = format;
        while let Some(at) = rest.find('%') {
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('%') {
                rest = after;
                continue;
            }
            if rest.is_empty() {
                return Err((None, "unexpected end of string".to_owned()));
            }
            let Some(arg) = args.get(n_clauses) else {
                return Err((None, format!("index {n_clauses} out of range")));
            };
            n_clauses += 1;
            let (clause, after) = clause(rest)
                .map_err(|why| (None, format!("could not parse formatting clause: {why}")))?;
            rest = after;
            if let Err((bad, why)) = self.fits(clause, arg) {
                let message = format!(
                    "error during formatting: {why}, was given {}",
                    self.found.kind(bad).name()
                );
                return Err((Some(bad), message));
            }
        }
        Ok(n_clauses)
    }

    fn fits<'a>(
        &self,
        clause: char,
        arg: &'a IdedExpr,
    ) -> Result<(), (&'a IdedExpr, &'static str)> {
        let kind = self.found.kind(arg);
        let (fits, why) = match clause {
            's' => return self.fits_text(arg),
            'd' => (
                matches!(kind, Type::Dyn | Type::Int | Type::Uint),
                "decimal clause can only be used on integers",
            ),
            'f' => (
                matches!(kind, Type::Dyn | Type::Double | Type::String),
                "fixed-point clause can only be used on doubles",
            ),
            'e' => (
                matches!(kind, Type::Dyn | Type::Double | Type::String),
                "scientific clause can only be used on doubles",
            ),
            'b' => (
                matches!(kind, Type::Dyn | Type::Int | Type::Uint | Type::Bool),
                "only integers and bools can be formatted as binary",
            ),
            'o' => (
                matches!(kind, Type::Dyn | Type::Int | Type::Uint),
                "octal clause can only be used on integers",
            ),
            _ => (
                matches!(kind, Type::Dyn | Type::Int | Type::Uint | Type::String | Type::Bytes),
                "only integers, byte buffers, and strings can be formatted as hex",
            ),
        };
        if fits { Ok(()) } else { Err((arg, why)) }
    }

    fn fits_text<'a>(&self, arg: &'a IdedExpr) -> Result<(), (&'a IdedExpr, &'static str)> {
        const WHY: &str = "string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps";
        if matches!(self.found.kind(arg), Type::Struct(_) | Type::Opaque(..)) {
            return Err((arg, WHY));
        }
        let mut result = Ok(());
        if matches!(arg.expr, Expr::List(_) | Expr::Map(_)) {
            children(arg, &mut |child| {
                if result.is_ok() {
                    result = self.fits_text(child);
                }
            });
        }
        result
    }
}

/// The letter of a clause, and what comes after it.
fn clause(text: &str) -> Result<(char, &str), String> {
    let mut rest = text;
    if let Some(precision) = text.strip_prefix('.') {
        let n_digits = precision.bytes().take_while(u8::is_ascii_digit).count();
        rest = &precision[n_digits..];
        let why = if rest.is_empty() {
            "could not find end of precision specifier".to_owned()
        } else if n_digits == 0 {
            "error while converting precision to integer: strconv.Atoi: parsing \"\": invalid syntax".to_owned()
        } else {
            String::new()
        };
        if !why.is_empty() {
            return Err(format!("error while parsing precision: {why}"));
        }
    }
    let mut letters = rest.chars();
    match letters.next() {
        Some(letter @ ('s' | 'd' | 'f' | 'e' | 'b' | 'x' | 'X' | 'o')) => {
            Ok((letter, letters.as_str()))
        }
        other => Err(format!("unrecognized formatting clause \"{}\"", other.unwrap_or_default())),
    }
}

/// Whether Go, too, takes a text for no pattern; where the two dialects differ, it is taken for one.
fn is_broken_pattern(text: &str) -> bool {
    repeats_repetition(text)
        || regex::Regex::new(text).is_err_and(|error| {
            let error = error.to_string();
            ["unclosed group", "unclosed character class", "unopened group", "incomplete escape"]
                .iter()
                .any(|known| error.contains(known))
                || (error.contains("repetition operator missing expression") && !text.contains('{'))
        })
}

/// `a**` and the like, which only Rust takes.
fn repeats_repetition(text: &str) -> bool {
    let (mut in_class, mut n_signs) = (false, 0);
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                letters.next();
                n_signs = 0;
            }
            '[' => in_class = true,
            ']' => in_class = false,
            '*' | '+' if !in_class => {
                n_signs += 1;
                if n_signs > 1 {
                    return true;
                }
            }
            _ => n_signs = 0,
        }
    }
    false
}
