//! Reckoning with `numeric` as Postgres does: exact, and with its scale of each result.

use crate::big::Big;
use crate::fault::Fault;

/// Digits before the point, and after it, that a `numeric` may have.
const WHOLE_MAX: usize = 131_072;
const SCALE_MAX: usize = 16_383;
/// A quotient has at least so many significant digits, and at most so many after the point.
const QUOTIENT_DIGITS: i64 = 16;
const QUOTIENT_SCALE_MAX: i64 = 1000;

#[derive(Clone, Debug)]
enum Number {
    NaN,
    Infinite { negative: bool },
    Finite(Finite),
}

/// `digits / 10^scale`, and its sign.
#[derive(Clone, Debug)]
struct Finite {
    negative: bool,
    digits: Big,
    scale: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sum {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

fn read(text: &[u8]) -> Number {
    match text {
        b"NaN" => return Number::NaN,
        b"Infinity" => return Number::Infinite { negative: false },
        b"-Infinity" => return Number::Infinite { negative: true },
        _ => {}
    }
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
    let fraction = digits.get(point + 1..).unwrap_or_default();
    Number::Finite(Finite { negative, digits: Big::read(&digits[..point], fraction), scale: fraction.len() })
}

/// Works on two numbers as text, and writes what comes out behind what is there.
pub(crate) fn reckon(sum: Sum, left: &[u8], right: &[u8], into: &mut Vec<u8>) -> Result<(), Fault> {
    let number = match (read(left), read(right)) {
        (Number::Finite(left), Number::Finite(right)) => Number::Finite(finite(sum, &left, &right)?),
        (Number::NaN, _) | (_, Number::NaN) => Number::NaN,
        (left, right) => infinite(sum, left, right)?,
    };
    write(number, into)
}

fn infinite(sum: Sum, left: Number, right: Number) -> Result<Number, Fault> {
    let sign = |number: &Number| match number {
        Number::Infinite { negative } => (*negative, true, false),
        Number::Finite(finite) => (finite.negative, false, finite.digits.is_zero()),
        Number::NaN => (false, false, false),
    };
    let ((left_negative, left_infinite, left_zero), (right_negative, right_infinite, right_zero)) =
        (sign(&left), sign(&right));
    let right_negative = right_negative != (sum == Sum::Subtract);
    let zero = Number::Finite(Finite { negative: false, digits: Big::default(), scale: 0 });
    Ok(match sum {
        Sum::Add | Sum::Subtract if left_infinite && right_infinite && left_negative != right_negative => Number::NaN,
        Sum::Add | Sum::Subtract => {
            Number::Infinite { negative: if left_infinite { left_negative } else { right_negative } }
        }
        Sum::Multiply if left_zero || right_zero => Number::NaN,
        Sum::Multiply => Number::Infinite { negative: left_negative != right_negative },
        _ if right_zero => return Err(Fault::division()),
        Sum::Divide if left_infinite && right_infinite => Number::NaN,
        Sum::Divide if right_infinite => zero,
        Sum::Divide => Number::Infinite { negative: left_negative != right_negative },
        Sum::Modulo if left_infinite => Number::NaN,
        Sum::Modulo => left,
    })
}

fn finite(sum: Sum, left: &Finite, right: &Finite) -> Result<Finite, Fault> {
    Ok(match sum {
        Sum::Add => add(left, right),
        Sum::Subtract => add(left, &Finite { negative: !right.negative, ..right.clone() }),
        Sum::Multiply => {
            let digits = left.digits.times(&right.digits);
            let product = Finite { negative: left.negative != right.negative, digits, scale: left.scale + right.scale };
            if product.scale > SCALE_MAX { product.rounded(SCALE_MAX) } else { product }
        }
        _ if right.digits.is_zero() => return Err(Fault::division()),
        Sum::Divide => divide(left, right),
        Sum::Modulo => {
            let scale = left.scale.max(right.scale);
            let (_, rest) = left.at_scale(scale).divided(&right.at_scale(scale));
            Finite { negative: left.negative, digits: rest, scale }
        }
    })
}

fn add(left: &Finite, right: &Finite) -> Finite {
    let scale = left.scale.max(right.scale);
    let (a, b) = (left.at_scale(scale), right.at_scale(scale));
    let (negative, digits) = match (left.negative == right.negative, a >= b) {
        (true, _) => (left.negative, a.plus(&b)),
        (false, true) => (left.negative, a.minus(&b)),
        (false, false) => (right.negative, b.minus(&a)),
    };
    Finite { negative, digits, scale }
}

fn divide(left: &Finite, right: &Finite) -> Finite {
    let ((left_weight, left_first), (right_weight, right_first)) = (left.weight(), right.weight());
    let weight = left_weight - right_weight - i64::from(left_first <= right_first);
    let scale = (QUOTIENT_DIGITS - weight * 4).max(left.scale as i64).max(right.scale as i64);
    let scale = scale.clamp(0, QUOTIENT_SCALE_MAX) as usize;
    // One decimal more than is kept is enough to round by, since what is behind it cannot make up a half.
    let shift = scale as i64 + 1 + right.scale as i64 - left.scale as i64;
    let shifted = |of: &Big, by: i64| of.shifted(usize::try_from(by).unwrap_or_default());
    let (quotient, _) = shifted(&left.digits, shift).divided(&shifted(&right.digits, -shift));
    Finite { negative: left.negative != right.negative, digits: quotient, scale: scale + 1 }.rounded(scale)
}

impl Finite {
    fn at_scale(&self, scale: usize) -> Big {
        self.digits.shifted(scale - self.scale)
    }

    /// Half away from zero, to a scale that is not above its own.
    fn rounded(&self, scale: usize) -> Finite {
        let unit = Big::power_of_ten(self.scale - scale);
        let (whole, rest) = self.digits.divided(&unit);
        let up = rest.plus(&rest) >= unit;
        let digits = if up { whole.plus(&Big::power_of_ten(0)) } else { whole };
        Finite { negative: self.negative, digits, scale }
    }

    /// The place of the first digit that is not zero, of those in base 10,000 in which Postgres counts, and this digit.
    fn weight(&self) -> (i64, u32) {
        let digits = self.digits.digits();
        if digits.is_empty() {
            return (0, 0);
        }
        let place = digits.len() as i64 - 1 - self.scale as i64;
        let weight = place.div_euclid(4);
        let count = (place - weight * 4 + 1) as usize;
        let first = (0..count)
            .fold(0, |sum, at| sum * 10 + digits.as_bytes().get(at).map_or(0, |digit| u32::from(digit - b'0')));
        (weight, first)
    }
}

fn write(number: Number, into: &mut Vec<u8>) -> Result<(), Fault> {
    let finite = match number {
        Number::NaN => {
            into.extend_from_slice(b"NaN");
            return Ok(());
        }
        Number::Infinite { negative } => {
            into.extend_from_slice(if negative { b"-Infinity" } else { b"Infinity" });
            return Ok(());
        }
        Number::Finite(finite) => finite,
    };
    let digits = finite.digits.digits();
    if digits.len() > WHOLE_MAX + finite.scale {
        return Err(Fault::range("value overflows numeric format"));
    }
    if finite.negative && !finite.digits.is_zero() {
        into.push(b'-');
    }
    let whole = digits.len().saturating_sub(finite.scale);
    into.extend_from_slice(if whole == 0 { b"0" } else { &digits.as_bytes()[..whole] });
    if finite.scale > 0 {
        into.push(b'.');
        into.resize(into.len() + finite.scale - (digits.len() - whole), b'0');
        into.extend_from_slice(&digits.as_bytes()[whole..]);
    }
    Ok(())
}

/// Turns the sign round.
pub(crate) fn negate(text: &[u8], into: &mut Vec<u8>) {
    match text {
        b"NaN" => into.extend_from_slice(text),
        [b'-', rest @ ..] => into.extend_from_slice(rest),
        rest => {
            if rest.iter().any(|byte| !matches!(byte, b'0' | b'.')) {
                into.push(b'-');
            }
            into.extend_from_slice(rest);
        }
    }
}

/// The nearest whole number, half away from zero, within the bounds.
pub(crate) fn to_int(text: &[u8], of: &'static str, (min, max): (i64, i64), range: &'static str) -> Result<i64, Fault> {
    let finite = match read(text) {
        Number::NaN => return Err(Fault::new("0A000", format!("cannot convert NaN to {of}"))),
        Number::Infinite { .. } => return Err(Fault::new("0A000", format!("cannot convert infinity to {of}"))),
        Number::Finite(finite) => finite,
    };
    let (rounded, negative) = (finite.rounded(0), finite.negative);
    let digits = rounded.digits.digits();
    let size = if digits.is_empty() { Ok(0) } else { digits.parse::<i128>() };
    let value = size.ok().map(|size| if negative { -size } else { size }).and_then(|value| i64::try_from(value).ok());
    value.filter(|value| (min..=max).contains(value)).ok_or_else(|| Fault::range(range))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(sum: Sum, left: &str, right: &str) -> String {
        let mut into = Vec::new();
        match reckon(sum, left.as_bytes(), right.as_bytes(), &mut into) {
            Ok(()) => String::from_utf8(into).unwrap(),
            Err(fault) => fault.code.to_owned(),
        }
    }

    /// What Postgres 15 gives.
    #[test]
    fn results_have_postgres_digits() {
        for (left, right, [add, subtract, multiply, divide, modulo]) in [
            ("1", "3", ["4", "-2", "3", "0.33333333333333333333", "1"]),
            ("10", "3", ["13", "7", "30", "3.3333333333333333", "1"]),
            ("-1.50", "0.7", ["-0.80", "-2.20", "-1.050", "-2.1428571428571429", "-0.10"]),
            ("2", "-0.0001", ["1.9999", "2.0001", "-0.0002", "-20000.000000000000", "0.0000"]),
            ("0.00", "5", ["5.00", "-5.00", "0.00", "0.00000000000000000000", "0.00"]),
            ("5", "0", ["5", "5", "0", "22012", "22012"]),
            ("Infinity", "0", ["Infinity", "Infinity", "NaN", "22012", "22012"]),
            ("1", "-Infinity", ["-Infinity", "Infinity", "-Infinity", "0", "1"]),
            ("NaN", "0", ["NaN", "NaN", "NaN", "NaN", "NaN"]),
        ] {
            let all = [Sum::Add, Sum::Subtract, Sum::Multiply, Sum::Divide, Sum::Modulo];
            assert_eq!(
                all.map(|sum| is(sum, left, right)),
                [add, subtract, multiply, divide, modulo],
                "{left} {right}"
            );
        }
    }
}
