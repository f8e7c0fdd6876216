//! Decimal numbers of 34 digits with bounded exponents: what people mean by 0.1. Knows no syntax.

use std::cmp::Ordering;
use std::fmt;

/// Digits that are kept; results are rounded half to even.
pub const DIGITS: u32 = 34;
/// Powers of ten beyond which a number is too large, or rounds to 0.
pub const EXPONENT_MAX: i32 = 6144;
/// The largest number of digits that fits `u128` whatever they are.
const WIDE: u32 = 38;
/// Digits that a number is written out with before it is written with an exponent.
const PLAIN_DIGITS: i32 = 40;

/// `± coefficient × 10^exponent`, without trailing zeros in the coefficient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    coefficient: u128,
    exponent: i32,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    TooLarge,
    DivisionByZero,
}

pub type Outcome = Result<Decimal, Trouble>;

impl Decimal {
    pub const ZERO: Decimal = Decimal { negative: false, coefficient: 0, exponent: 0 };
    pub const ONE: Decimal = Decimal { negative: false, coefficient: 1, exponent: 0 };

    pub fn whole(value: i64) -> Decimal {
        normal(value < 0, u128::from(value.unsigned_abs()), 0, false).unwrap_or(Decimal::ZERO)
    }

    /// Digits with an optional point and exponent; `None`: not a number.
    pub fn parse(text: &str) -> Option<Outcome> {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], bounded_exponent(&text[at + 1..])?),
            None => (text, 0),
        };
        let (mut coefficient, mut dropped, mut seen, mut sticky) = (0u128, 0i32, false, false);
        let mut point = None;
        for byte in mantissa.bytes() {
            match byte {
                b'.' if point.is_none() => point = Some(0i32),
                b'_' => {}
                b'0'..=b'9' => {
                    seen = true;
                    if coefficient < power(WIDE - 2) {
                        coefficient = coefficient * 10 + u128::from(byte - b'0');
                    } else {
                        dropped += 1;
                        sticky |= byte != b'0';
                    }
                    point = point.map(|digits| digits + 1);
                }
                _ => return None,
            }
        }
        let exponent = exponent.saturating_add(dropped - point.unwrap_or(0));
        seen.then(|| normal(false, coefficient, exponent, sticky))
    }

    /// `None`: not finite.
    pub fn from_f64(value: f64) -> Option<Outcome> {
        if !value.is_finite() {
            return None;
        }
        let outcome = Decimal::parse(&format!("{:e}", value.abs()))?;
        Some(outcome.map(|decimal| if value < 0.0 { decimal.negated() } else { decimal }))
    }

    pub fn to_f64(self) -> f64 {
        let sign = if self.negative { "-" } else { "" };
        format!("{sign}{}e{}", self.coefficient, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// The value, where it is a whole number that fits.
    pub fn to_i64(self) -> Option<i64> {
        if self.exponent < 0 || self.exponent > 18 {
            return None;
        }
        let value = self.coefficient.checked_mul(power(self.exponent.unsigned_abs()))?;
        let value = i64::try_from(value).ok()?;
        Some(if self.negative { -value } else { value })
    }

    pub fn is_zero(self) -> bool {
        self.coefficient == 0
    }

    pub fn is_negative(self) -> bool {
        self.negative
    }

    pub fn is_whole(self) -> bool {
        self.exponent >= 0
    }

    pub fn negated(self) -> Decimal {
        Decimal { negative: !self.negative && self.coefficient != 0, ..self }
    }

    pub fn abs(self) -> Decimal {
        Decimal { negative: false, ..self }
    }

    pub fn add(self, other: Decimal) -> Outcome {
        if self.is_zero() {
            return Ok(other);
        }
        if other.is_zero() {
            return Ok(self);
        }
        let (mut high, mut low) = if self.exponent >= other.exponent { (self, other) } else { (other, self) };
        // Bring the exponents together: first by lengthening the one, then by shortening the other.
        let room = (WIDE - digits(high.coefficient)).min((high.exponent - low.exponent).unsigned_abs());
        high.coefficient *= power(room);
        high.exponent -= room as i32;
        let mut sticky = false;
        if high.exponent > low.exponent {
            let cut = (high.exponent - low.exponent).unsigned_abs();
            let divisor = if cut > WIDE { u128::MAX } else { power(cut) };
            sticky = low.coefficient % divisor != 0;
            low.coefficient /= divisor;
        }
        let exponent = high.exponent;
        if high.negative == low.negative {
            return normal(high.negative, high.coefficient + low.coefficient, exponent, sticky);
        }
        let (negative, difference) = match high.coefficient.cmp(&low.coefficient) {
            Ordering::Less => (low.negative, low.coefficient - high.coefficient),
            // What was cut off counts against the larger one.
            _ => (high.negative, high.coefficient - low.coefficient - u128::from(sticky)),
        };
        normal(negative, difference, exponent, sticky)
    }

    pub fn sub(self, other: Decimal) -> Outcome {
        self.add(other.negated())
    }

    pub fn mul(self, other: Decimal) -> Outcome {
        const HALF: u128 = power(DIGITS / 2);
        const FULL: u128 = power(DIGITS);
        let (a1, a0) = (self.coefficient / HALF, self.coefficient % HALF);
        let (b1, b0) = (other.coefficient / HALF, other.coefficient % HALF);
        let middle = a1 * b0 + a0 * b1;
        let mut low = a0 * b0 + middle % HALF * HALF;
        let mut high = a1 * b1 + middle / HALF;
        high += low / FULL;
        low %= FULL;
        let negative = self.negative != other.negative;
        let exponent = self.exponent + other.exponent;
        if high == 0 {
            return normal(negative, low, exponent, false);
        }
        let cut = digits(high);
        // Two more digits than are kept, so that rounding sees what it needs.
        let keep = cut.saturating_sub(2);
        let coefficient = high * power(DIGITS - keep) + low / power(keep);
        normal(negative, coefficient, exponent + keep as i32, low % power(keep) != 0)
    }

    pub fn div(self, other: Decimal) -> Outcome {
        if other.is_zero() {
            return Err(Trouble::DivisionByZero);
        }
        if self.is_zero() {
            return Ok(Decimal::ZERO);
        }
        let mut exponent = self.exponent - other.exponent;
        let mut quotient = self.coefficient / other.coefficient;
        let mut rest = self.coefficient % other.coefficient;
        while rest != 0 && digits(quotient) < DIGITS + 2 {
            rest *= 10;
            quotient = quotient * 10 + rest / other.coefficient;
            rest %= other.coefficient;
            exponent -= 1;
        }
        normal(self.negative != other.negative, quotient, exponent, rest != 0)
    }

    /// The remainder with the sign of the dividend.
    pub fn rem(self, other: Decimal) -> Outcome {
        if other.is_zero() {
            return Err(Trouble::DivisionByZero);
        }
        let (dividend, divisor) = (self.abs(), other.abs());
        if dividend.compare(divisor) == Ordering::Less {
            return Ok(self);
        }
        let shift = dividend.exponent - divisor.exponent;
        let rest = if shift >= 0 {
            // coefficient × 10^shift modulo the divisor, digit by digit.
            let by = divisor.coefficient;
            let mut rest = dividend.coefficient % by;
            for _ in 0..shift {
                rest = rest * 10 % by;
            }
            normal(false, rest, divisor.exponent, false)
        } else {
            let cut = shift.unsigned_abs();
            // The dividend is at least as large, so that the scaled divisor has no more digits.
            let by = divisor.coefficient.checked_mul(power(cut.min(WIDE))).ok_or(Trouble::TooLarge)?;
            normal(false, dividend.coefficient % by, dividend.exponent, false)
        }?;
        Ok(if self.negative { rest.negated() } else { rest })
    }

    /// A whole power.
    pub fn powi(self, exponent: i64) -> Outcome {
        if self.is_zero() && exponent < 0 {
            return Err(Trouble::DivisionByZero);
        }
        let (mut base, mut left, mut result) = (self, exponent.unsigned_abs(), Decimal::ONE);
        while left > 0 {
            if left & 1 == 1 {
                result = result.mul(base)?;
            }
            left >>= 1;
            if left > 0 {
                base = base.mul(base)?;
            }
        }
        if exponent < 0 { Decimal::ONE.div(result) } else { Ok(result) }
    }

    pub fn compare(self, other: Decimal) -> Ordering {
        match self.sub(other) {
            Ok(difference) if difference.is_zero() => Ordering::Equal,
            Ok(difference) if difference.negative => Ordering::Less,
            Ok(_) => Ordering::Greater,
            Err(_) => other.negative.cmp(&self.negative),
        }
    }

    /// Towards 0.
    pub fn truncated(self) -> Decimal {
        if self.exponent >= 0 {
            return self;
        }
        let cut = self.exponent.unsigned_abs();
        let coefficient = if cut > WIDE { 0 } else { self.coefficient / power(cut) };
        normal(self.negative, coefficient, 0, false).unwrap_or(Decimal::ZERO)
    }

    pub fn floor(self) -> Outcome {
        let whole = self.truncated();
        if self.negative && whole != self { whole.sub(Decimal::ONE) } else { Ok(whole) }
    }

    pub fn ceil(self) -> Outcome {
        let whole = self.truncated();
        if !self.negative && whole != self { whole.add(Decimal::ONE) } else { Ok(whole) }
    }

    /// Half away from 0, to so many places behind the point.
    pub fn rounded(self, places: i32) -> Outcome {
        let scale = Decimal { negative: false, coefficient: 1, exponent: places };
        let half = Decimal { negative: self.negative, coefficient: 5, exponent: -1 };
        self.mul(scale)?.add(half)?.truncated().div(scale)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        let text = self.coefficient.to_string();
        let length = text.len() as i32;
        let point = length + self.exponent;
        if self.exponent >= 0 && point <= PLAIN_DIGITS {
            return write!(f, "{text}{}", "0".repeat(self.exponent.unsigned_abs() as usize));
        }
        if self.exponent < 0 && point > 0 {
            let (whole, fraction) = text.split_at(point.unsigned_abs() as usize);
            return write!(f, "{whole}.{fraction}");
        }
        if self.exponent < 0 && -self.exponent <= PLAIN_DIGITS {
            return write!(f, "0.{}{text}", "0".repeat(point.unsigned_abs() as usize));
        }
        let (first, rest) = text.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        write!(f, "{first}{point}{rest}e{:+}", self.exponent + length - 1)
    }
}

/// 10^n.
pub const fn power(n: u32) -> u128 {
    10u128.pow(n)
}

fn digits(value: u128) -> u32 {
    value.checked_ilog10().map_or(1, |log| log + 1)
}

/// Rounds to [`DIGITS`], drops trailing zeros, and checks the bounds. `sticky`: something not 0 was
/// cut off behind the coefficient.
fn normal(negative: bool, mut coefficient: u128, mut exponent: i32, sticky: bool) -> Outcome {
    let length = digits(coefficient);
    if length > DIGITS {
        let cut = power(length - DIGITS);
        let (rest, half) = (coefficient % cut, cut / 2);
        coefficient /= cut;
        exponent += (length - DIGITS) as i32;
        let up = match rest.cmp(&half) {
            Ordering::Greater => true,
            Ordering::Equal => sticky || coefficient % 2 == 1,
            Ordering::Less => false,
        };
        coefficient += u128::from(up);
    }
    if coefficient == 0 {
        return Ok(Decimal::ZERO);
    }
    while coefficient % 10 == 0 {
        coefficient /= 10;
        exponent += 1;
    }
    let top = exponent + digits(coefficient) as i32;
    if top > EXPONENT_MAX {
        return Err(Trouble::TooLarge);
    }
    if top < -EXPONENT_MAX {
        return Ok(Decimal::ZERO);
    }
    Ok(Decimal { negative, coefficient, exponent })
}

/// An exponent as it is written; one out of all bounds becomes a bound.
fn bounded_exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i32>().unwrap_or(EXPONENT_MAX * 4).min(EXPONENT_MAX * 4);
    Some(if text.starts_with('-') { -size } else { size })
}
