//! `$((…))`: whole numbers, variables, `+ - * / %`, comparisons, parentheses.

/// How deep parentheses may lie in one another.
const MAX_DEPTH: usize = 30;

/// The value of a sum; `variable` gives the text of one.
pub(super) fn value(text: &str, variable: &dyn Fn(&str) -> String) -> Result<i64, String> {
    let mut sum = Sum { rest: text, variable, depth: 0 };
    let value = sum.level(0)?;
    sum.rest = sum.rest.trim_start();
    if sum.rest.is_empty() { Ok(value) } else { Err("syntax error".to_owned()) }
}

/// Operators, the weakest first; of one row the longer ones first.
const LEVELS: &[&[&str]] = &[&["==", "!=", "<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

struct Sum<'a> {
    rest: &'a str,
    variable: &'a dyn Fn(&str) -> String,
    depth: usize,
}

impl Sum<'_> {
    fn level(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else { return self.number() };
        let mut left = self.level(level + 1)?;
        loop {
            self.rest = self.rest.trim_start();
            let Some(operator) = operators.iter().find(|sign| self.rest.starts_with(**sign)) else {
                return Ok(left);
            };
            self.rest = &self.rest[operator.len()..];
            let right = self.level(level + 1)?;
            left = match *operator {
                "+" => left.wrapping_add(right),
                "-" => left.wrapping_sub(right),
                "*" => left.wrapping_mul(right),
                "/" | "%" if right == 0 => return Err("divide by zero".to_owned()),
                "/" => left.wrapping_div(right),
                "%" => left.wrapping_rem(right),
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<=" => i64::from(left <= right),
                ">=" => i64::from(left >= right),
                "<" => i64::from(left < right),
                _ => i64::from(left > right),
            };
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err("nested too deep".to_owned());
        }
        self.rest = self.rest.trim_start();
        let value = if let Some(rest) = self.rest.strip_prefix('(') {
            self.rest = rest;
            let value = self.level(0)?;
            self.rest = self.rest.trim_start().strip_prefix(')').ok_or("syntax error")?;
            value
        } else if let Some(rest) = self.rest.strip_prefix('-') {
            self.rest = rest;
            self.number()?.wrapping_neg()
        } else {
            let text = self.rest.strip_prefix('$').unwrap_or(self.rest);
            let length =
                text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count();
            let (word, rest) = text.split_at(length);
            self.rest = rest;
            if word.starts_with(|c: char| c.is_ascii_digit()) {
                word.parse().map_err(|_| "syntax error".to_owned())?
            } else if word.is_empty() {
                return Err("syntax error".to_owned());
            } else {
                // A variable that is not set counts as nothing.
                (self.variable)(word).trim().parse().unwrap_or(0)
            }
        };
        self.depth -= 1;
        Ok(value)
    }
}
