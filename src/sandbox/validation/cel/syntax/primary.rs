//! The smallest pieces: literals, lists, maps and messages.

use kube_cel::cel::common::ast::{
    EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, LiteralValue, MapEntryExpr, MapExpr,
    StructExpr, StructFieldExpr,
};

use super::parse::Parser;
use super::token::Kind;

impl Parser {
    /// `a.b.C{…}`, if that stands here.
    pub(super) fn message(&mut self, leading: bool) -> Option<Option<IdedExpr>> {
        let mut at = self.at;
        let mut type_name = String::new();
        loop {
            let Some(Kind::Name(name)) = self.tokens.get(at).map(|token| &token.kind) else {
                return None;
            };
            type_name.push_str(name);
            at += 1;
            match self.tokens.get(at).map(|token| &token.kind) {
                Some(Kind::Sign(".")) => type_name.push('.'),
                Some(Kind::Sign("{")) => break,
                _ => return None,
            }
            at += 1;
        }
        let place = self.tokens.get(at).map_or(0, |token| token.place);
        self.at = at + 1;
        if leading {
            type_name.insert(0, '.');
        }
        Some(
            self.fields().map(|entries| {
                self.nodes.node(place, Expr::Struct(StructExpr { type_name, entries }))
            }),
        )
    }

    fn fields(&mut self) -> Option<Vec<IdedEntryExpr>> {
        let mut entries = Vec::new();
        while self.sign("}").is_none() {
            let optional = self.sign("?").is_some();
            let Kind::Name(field) = self.kind().clone() else { return None };
            self.at += 1;
            let id = self.entry_id()?;
            let value = self.expression()?;
            let field = StructFieldExpr { field, value, optional };
            entries.push(IdedEntryExpr { id, expr: EntryExpr::StructField(field) });
            self.separator("}")?;
        }
        Some(entries)
    }

    /// The colon of an entry.
    fn entry_id(&mut self) -> Option<u64> {
        let place = self.sign(":")?;
        Some(self.nodes.id(place))
    }

    /// A comma, which may be left out before the end.
    fn separator(&mut self, end: &'static str) -> Option<()> {
        (self.sign(",").is_some() || self.kind() == &Kind::Sign(end)).then_some(())
    }

    pub(super) fn list(&mut self, place: usize) -> Option<IdedExpr> {
        let mut list = ListExpr::default();
        while self.sign("]").is_none() {
            if self.sign("?").is_some() {
                list.optional_indices.push(list.elements.len());
            }
            list.elements.push(self.expression()?);
            self.separator("]")?;
        }
        Some(self.nodes.node(place, Expr::List(list)))
    }

    pub(super) fn map(&mut self, place: usize) -> Option<IdedExpr> {
        let mut entries = Vec::new();
        while self.sign("}").is_none() {
            let optional = self.sign("?").is_some();
            let key = self.expression()?;
            let id = self.entry_id()?;
            let value = self.expression()?;
            let entry = MapEntryExpr { key, value, optional };
            entries.push(IdedEntryExpr { id, expr: EntryExpr::MapEntry(entry) });
            self.separator("}")?;
        }
        Some(self.nodes.node(place, Expr::Map(MapExpr { entries })))
    }

    pub(super) fn literal(&mut self) -> Option<IdedExpr> {
        let place = self.place();
        let minus = if self.is_signed_number() {
            self.at += 1;
            "-"
        } else {
            ""
        };
        let literal = match self.kind().clone() {
            Kind::Int(digits) => match integer(minus, &digits) {
                Some(found) => LiteralValue::Int(found.into()),
                None => return Some(self.broken(place, "invalid int literal")),
            },
            Kind::Uint(digits) => {
                let found = match digits.strip_prefix("0x") {
                    Some(digits) => u64::from_str_radix(digits, 16),
                    None => digits.parse(),
                };
                match found {
                    Ok(found) => LiteralValue::UInt(found.into()),
                    Err(_) => return Some(self.broken(place, "invalid uint literal")),
                }
            }
            Kind::Double(digits) => match format!("{minus}{digits}").parse::<f64>() {
                Ok(found) if found.is_finite() => LiteralValue::Double(found.into()),
                _ => return Some(self.broken(place, "invalid double literal")),
            },
            Kind::String(text) => LiteralValue::String(text.into()),
            Kind::Bytes(bytes) => LiteralValue::Bytes(bytes.into()),
            Kind::Name(name) => match name.as_str() {
                "true" => LiteralValue::Boolean(true.into()),
                "false" => LiteralValue::Boolean(false.into()),
                "null" => LiteralValue::Null,
                _ => return None,
            },
            Kind::Quoted(_) | Kind::Sign(_) | Kind::End => return None,
        };
        self.at += 1;
        Some(self.nodes.node(place, Expr::Literal(literal)))
    }

    fn broken(&mut self, place: usize, message: &str) -> IdedExpr {
        self.at += 1;
        self.issue(place, message)
    }
}

fn integer(minus: &str, digits: &str) -> Option<i64> {
    match digits.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(&format!("{minus}{digits}"), 16).ok(),
        None => format!("{minus}{digits}").parse().ok(),
    }
}
