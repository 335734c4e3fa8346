//! Arithmetic with spf13/cast's conversions.

use super::{Fault, Function, Type, Value, any, int, text};
use crate::helm::template::number::{parse_float, parse_int};
use crate::helm::template::print;
use crate::helm::template::value::IntKind;

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new("int", &[Type::Any], |_, a| Ok(Value::int(to_int(any(a, 0))))),
    Function::new("int64", &[Type::Any], |_, a| Ok(Value::int64(to_int(any(a, 0))))),
    Function::new("float64", &[Type::Any], |_, a| Ok(Value::Float(to_float(any(a, 0))))),
    Function::new("atoi", &[Type::Str], |_, a| Ok(Value::int(text(a, 0).parse().unwrap_or(0)))),
    Function::new("toDecimal", &[Type::Any], |c, a| {
        let text = print::to_string(any(a, 0), c.work());
        let digits = text.strip_prefix('+').unwrap_or(&text);
        Ok(Value::int64(i64::from_str_radix(digits, 8).unwrap_or(0)))
    }),
    Function::new("add1", &[Type::Any], |_, a| Ok(Value::int64(to_int(any(a, 0)).wrapping_add(1)))),
    Function::variadic("add", &[], Type::Any, |_, a| {
        Ok(Value::int64(a.iter().fold(0i64, |sum, value| sum.wrapping_add(to_int(value)))))
    }),
    Function::new("sub", &[Type::Any, Type::Any], |_, a| {
        Ok(Value::int64(to_int(any(a, 0)).wrapping_sub(to_int(any(a, 1)))))
    }),
    Function::new("div", &[Type::Any, Type::Any], |_, a| divide(a, i64::wrapping_div)),
    Function::new("mod", &[Type::Any, Type::Any], |_, a| divide(a, i64::wrapping_rem)),
    Function::variadic("mul", &[Type::Any], Type::Any, |_, a| {
        Ok(Value::int64(a.iter().fold(1i64, |product, value| product.wrapping_mul(to_int(value)))))
    }),
    Function::variadic("max", &[Type::Any], Type::Any, |_, a| Ok(extreme(a, i64::max))),
    Function::variadic("biggest", &[Type::Any], Type::Any, |_, a| Ok(extreme(a, i64::max))),
    Function::variadic("min", &[Type::Any], Type::Any, |_, a| Ok(extreme(a, i64::min))),
    Function::variadic("maxf", &[Type::Any], Type::Any, |_, a| Ok(extreme_float(a, f64::max))),
    Function::variadic("minf", &[Type::Any], Type::Any, |_, a| Ok(extreme_float(a, f64::min))),
    Function::new("add1f", &[Type::Any], |_, a| {
        decimal(to_float(any(a, 0)), &[Value::int(1)], Decimal::add)
    }),
    Function::variadic("addf", &[], Type::Any, |_, a| decimal(0.0, a, Decimal::add)),
    Function::variadic("subf", &[Type::Any], Type::Any, |_, a| {
        decimal(to_float(any(a, 0)), &a[1..], |x, y| x.add(Decimal { units: -y.units, ..y }))
    }),
    Function::variadic("mulf", &[Type::Any], Type::Any, |_, a| {
        decimal(to_float(any(a, 0)), &a[1..], Decimal::multiply)
    }),
    Function::variadic("divf", &[Type::Any], Type::Any, |_, a| {
        if a[1..].iter().any(|value| to_float(value) == 0.0) {
            return Err(Fault::new("decimal division by 0"));
        }
        Ok(Value::Float(a[1..].iter().fold(to_float(any(a, 0)), |dividend, value| {
            let divisor = to_float(value);
            let decimals = Decimal::new(dividend).zip(Decimal::new(divisor));
            let quotient = decimals.and_then(|(dividend, divisor)| dividend.divide(divisor));
            quotient.map_or(dividend / divisor, Decimal::to_float)
        })))
    }),
    Function::new("ceil", &[Type::Any], |_, a| Ok(Value::Float(to_float(any(a, 0)).ceil()))),
    Function::new("floor", &[Type::Any], |_, a| Ok(Value::Float(to_float(any(a, 0)).floor()))),
    Function::variadic("round", &[Type::Any, Type::Int], Type::Float, |_, a| {
        let round_on = match a.get(2) {
            Some(Value::Float(value)) => *value,
            _ => 0.5,
        };
        let power = 10f64.powi(i32::try_from(int(a, 1)).unwrap_or(0));
        let shifted = power * to_float(any(a, 0));
        let rounded = if shifted.fract() >= round_on { shifted.ceil() } else { shifted.floor() };
        Ok(Value::Float(rounded / power))
    }),
];

/// `cast.ToInt`: zero for what is no number.
#[expect(clippy::cast_possible_truncation, reason = "Go truncates")]
pub(super) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(value, _) => *value,
        Value::Float(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Str(text) => parse_int(trim_decimal(text)).0.unwrap_or(0),
        _ => 0,
    }
}

/// `12.00` is read as `12`; any other fraction makes it no integer.
fn trim_decimal(text: &str) -> &str {
    match text.rsplit_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => {
            whole
        }
        _ => text,
    }
}

#[expect(clippy::cast_precision_loss, reason = "Go converts the same way")]
pub(super) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(value, IntKind::Uint64) => value.cast_unsigned() as f64,
        Value::Int(value, _) => *value as f64,
        Value::Float(value) => *value,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Str(text) => parse_float(text).unwrap_or(0.0),
        _ => 0.0,
    }
}

fn divide(a: &[Value], operation: fn(i64, i64) -> i64) -> Result<Value, Fault> {
    match to_int(any(a, 1)) {
        0 => Err(Fault::new("runtime error: integer divide by zero")),
        divisor => Ok(Value::int64(operation(to_int(any(a, 0)), divisor))),
    }
}

fn extreme(a: &[Value], pick: fn(i64, i64) -> i64) -> Value {
    let first = to_int(any(a, 0));
    Value::int64(a[1..].iter().fold(first, |best, value| pick(best, to_int(value))))
}

fn extreme_float(a: &[Value], pick: fn(f64, f64) -> f64) -> Value {
    let first = to_float(any(a, 0));
    Value::Float(a[1..].iter().fold(first, |best, value| pick(best, to_float(value))))
}

/// A decimal number: `units` times ten to the minus `scale`.
#[derive(Clone, Copy)]
struct Decimal {
    units: i128,
    scale: u32,
}

impl Decimal {
    /// The shortest decimal that reads back as the float; `None` beyond what fits.
    fn new(value: f64) -> Option<Self> {
        let text = value.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let units = format!("{whole}{fraction}").parse().ok()?;
        let scale = u32::try_from(fraction.len()).ok().filter(|scale| *scale <= 30)?;
        Some(Self { units, scale })
    }

    fn add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let raise =
            |decimal: Self| decimal.units.checked_mul(10i128.checked_pow(scale - decimal.scale)?);
        Some(Self { units: raise(self)?.checked_add(raise(other)?)?, scale })
    }

    fn multiply(self, other: Self) -> Option<Self> {
        let scale = self.scale + other.scale;
        Some(Self { units: self.units.checked_mul(other.units)?, scale })
    }

    /// shopspring's division: 16 digits after the point, halves away from zero.
    fn divide(self, other: Self) -> Option<Self> {
        const DIGITS: u32 = 16;
        let power = |exponent| 10i128.checked_pow(exponent);
        let dividend =
            self.units.checked_mul(power((DIGITS + other.scale).saturating_sub(self.scale))?)?;
        let divisor =
            other.units.checked_mul(power(self.scale.saturating_sub(DIGITS + other.scale))?)?;
        let (whole, rest) = (dividend.checked_div(divisor)?, dividend.checked_rem(divisor)?);
        let up = rest.unsigned_abs() * 2 >= divisor.unsigned_abs();
        let sign = dividend.signum() * divisor.signum();
        Some(Self { units: whole + if up { sign } else { 0 }, scale: DIGITS })
    }

    fn to_float(self) -> f64 {
        format!("{}e-{}", self.units, self.scale).parse().unwrap_or(0.0)
    }
}

fn decimal(
    first: f64,
    others: &[Value],
    operation: fn(Decimal, Decimal) -> Option<Decimal>,
) -> Result<Value, Fault> {
    let too_big = || Fault::new("decimal beyond 38 digits");
    let mut result = Decimal::new(first).ok_or_else(too_big)?;
    for other in others {
        let other = Decimal::new(to_float(other)).ok_or_else(too_big)?;
        result = operation(result, other).ok_or_else(too_big)?;
    }
    Ok(Value::Float(result.to_float()))
}
