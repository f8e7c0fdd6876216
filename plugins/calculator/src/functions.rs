//! What may be called by name: functions and constants. Exact where decimals are, `f64` elsewhere.

use crate::decimal::{Decimal, Outcome, Trouble};

/// Numbers whose factorial is worked out.
const FACTORIAL_MAX: i64 = 2000;

/// Why a call has no value.
pub enum Refusal {
    Unknown,
    Arguments { takes: &'static str },
    Undefined,
    Trouble(Trouble),
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Refusal::Trouble(trouble)
    }
}

pub fn constant(name: &str) -> Option<Decimal> {
    let text = match name {
        "pi" | "π" => "3.141592653589793238462643383279503",
        "tau" | "τ" => "6.283185307179586476925286766559006",
        "e" => "2.718281828459045235360287471352662",
        "phi" | "φ" => "1.618033988749894848204586834365638",
        _ => return None,
    };
    Decimal::parse(text)?.ok()
}

pub fn call(name: &str, arguments: &[Decimal]) -> Result<Decimal, Refusal> {
    match arguments {
        [] => match name {
            _ if is_known(name) => Err(Refusal::Arguments { takes: "at least 1 argument" }),
            _ => Err(Refusal::Unknown),
        },
        [x] => one(name, *x),
        [x, y] => two(name, *x, *y),
        _ => many(name, arguments),
    }
}

pub fn factorial(value: Decimal) -> Option<Outcome> {
    let n = value.to_i64().filter(|n| (0..=FACTORIAL_MAX).contains(n))?;
    let product = (2..=n).try_fold(Decimal::ONE, |product, factor| product.mul(Decimal::whole(factor)));
    Some(product)
}

fn one(name: &str, x: Decimal) -> Result<Decimal, Refusal> {
    let v = x.to_f64();
    Ok(match name {
        "abs" => x.abs(),
        "round" => x.rounded(0)?,
        "floor" => x.floor()?,
        "ceil" => x.ceil()?,
        "trunc" | "int" => x.truncated(),
        "sign" | "sgn" if x.is_zero() => Decimal::ZERO,
        "sign" | "sgn" => Decimal::whole(if x.is_negative() { -1 } else { 1 }),
        "sqrt" => float(v.sqrt())?,
        "cbrt" => float(v.cbrt())?,
        "exp" => float(v.exp())?,
        "ln" => float(if v > 0.0 { near_whole(v.ln()) } else { f64::NAN })?,
        "log" | "log10" => float(if v > 0.0 { v.log10() } else { f64::NAN })?,
        "log2" => float(if v > 0.0 { v.log2() } else { f64::NAN })?,
        "sin" => float(near_whole(v.sin()))?,
        "cos" => float(near_whole(v.cos()))?,
        "tan" => float(near_whole(v.tan()))?,
        "asin" => float(v.asin())?,
        "acos" => float(v.acos())?,
        "atan" => float(v.atan())?,
        "sinh" => float(v.sinh())?,
        "cosh" => float(v.cosh())?,
        "tanh" => float(v.tanh())?,
        "deg" => float(v.to_degrees())?,
        "rad" => float(v.to_radians())?,
        "fact" | "factorial" => factorial(x).ok_or(Refusal::Undefined)??,
        "min" | "max" | "sum" | "avg" | "mean" => many(name, &[x])?,
        "pow" | "mod" | "gcd" | "lcm" | "hypot" | "atan2" => return Err(Refusal::Arguments { takes: "2 arguments" }),
        _ => return Err(Refusal::Unknown),
    })
}

fn two(name: &str, x: Decimal, y: Decimal) -> Result<Decimal, Refusal> {
    Ok(match name {
        "round" => x.rounded(places(y)?)?,
        "log" => float(if x.is_negative() || x.is_zero() || y.is_negative() || y.is_zero() {
            f64::NAN
        } else {
            near_whole(x.to_f64().ln() / y.to_f64().ln())
        })?,
        "pow" => power(x, y)?,
        "mod" => x.rem(y)?,
        "hypot" => float(x.to_f64().hypot(y.to_f64()))?,
        "atan2" => float(x.to_f64().atan2(y.to_f64()))?,
        "gcd" => gcd(x, y)?,
        "lcm" if x.is_zero() || y.is_zero() => Decimal::ZERO,
        "lcm" => x.mul(y)?.abs().div(gcd(x, y)?)?,
        _ => return many(name, &[x, y]),
    })
}

fn many(name: &str, arguments: &[Decimal]) -> Result<Decimal, Refusal> {
    let Some((first, rest)) = arguments.split_first() else { return Err(Refusal::Unknown) };
    let sum = || rest.iter().try_fold(*first, |sum, x| sum.add(*x));
    let best = |wanted| {
        rest.iter().fold(*first, |best, x| if x.compare(best) == wanted { *x } else { best })
    };
    Ok(match name {
        "min" => best(std::cmp::Ordering::Less),
        "max" => best(std::cmp::Ordering::Greater),
        "sum" => sum()?,
        "avg" | "mean" => sum()?.div(Decimal::whole(arguments.len() as i64))?,
        "round" | "log" | "pow" | "mod" | "hypot" | "atan2" | "gcd" | "lcm" => {
            return Err(Refusal::Arguments { takes: "2 arguments" });
        }
        _ if is_known(name) => return Err(Refusal::Arguments { takes: "1 argument" }),
        _ => return Err(Refusal::Unknown),
    })
}

/// Whole exponents exactly, others as `f64`.
pub fn power(base: Decimal, exponent: Decimal) -> Result<Decimal, Refusal> {
    if let Some(whole) = exponent.to_i64() {
        return Ok(base.powi(whole)?);
    }
    if exponent.is_whole() {
        return Err(Refusal::Trouble(Trouble::TooLarge));
    }
    float(base.to_f64().powf(exponent.to_f64()))
}

fn is_known(name: &str) -> bool {
    !matches!(one(name, Decimal::ONE), Err(Refusal::Unknown))
}

fn places(y: Decimal) -> Result<i32, Refusal> {
    y.to_i64().filter(|places| (-34..=34).contains(places)).map(|places| places as i32).ok_or(Refusal::Undefined)
}

fn gcd(x: Decimal, y: Decimal) -> Result<Decimal, Refusal> {
    if !x.is_whole() || !y.is_whole() {
        return Err(Refusal::Undefined);
    }
    let (mut x, mut y) = (x.abs(), y.abs());
    while !y.is_zero() {
        (x, y) = (y, x.rem(y)?);
    }
    Ok(x)
}

/// What misses a whole number by the error of `f64` alone, such as sin(pi), is that number.
fn near_whole(value: f64) -> f64 {
    let whole = value.round();
    if (value - whole).abs() < 4.0 * f64::EPSILON { whole } else { value }
}

fn float(value: f64) -> Result<Decimal, Refusal> {
    if value.is_infinite() {
        return Err(Refusal::Trouble(Trouble::TooLarge));
    }
    Ok(Decimal::from_f64(value).ok_or(Refusal::Undefined)??)
}
