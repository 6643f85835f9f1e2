//! Numbers by their digits: exact, whatever their size, as Postgres' `numeric` is.

use std::cmp::Ordering;

/// A number as `numeric` orders them: below all -Infinity, above all Infinity and then NaN, which equals itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Numeric<'a> {
    NegativeInfinity,
    Finite(Decimal<'a>),
    Infinity,
    NaN,
}

/// Digits without leading zeros before the point and trailing zeros after it. Zero has none and is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decimal<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
}

impl<'a> Decimal<'a> {
    /// Reads digits as Postgres writes them. What else there may be is not looked at: the text was checked.
    pub fn read(text: &'a [u8]) -> Decimal<'a> {
        let (negative, digits) = match text {
            [b'-', digits @ ..] => (true, digits),
            digits => (false, digits),
        };
        let point = digits.iter().position(|byte| *byte == b'.').unwrap_or(digits.len());
        let (mut whole, mut fraction) = (&digits[..point], digits.get(point + 1..).unwrap_or_default());
        while let [b'0', rest @ ..] = whole {
            whole = rest;
        }
        while let [rest @ .., b'0'] = fraction {
            fraction = rest;
        }
        Decimal { negative: negative && !(whole.is_empty() && fraction.is_empty()), whole, fraction }
    }

    pub fn is_whole(&self) -> bool {
        self.fraction.is_empty()
    }

    /// The largest whole number that is not above it; beyond the range of `i128`, its bounds.
    pub fn floor(&self) -> i128 {
        let bound = if self.negative { i128::MIN } else { i128::MAX };
        if self.whole.len() > 38 {
            return bound;
        }
        let whole = self.whole.iter().fold(0i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
        match (self.negative, self.is_whole()) {
            (false, _) => whole,
            (true, true) => -whole,
            (true, false) => -whole - 1,
        }
    }
}

impl Ord for Decimal<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.negative != other.negative {
            return other.negative.cmp(&self.negative);
        }
        let size = (self.whole.len().cmp(&other.whole.len()))
            .then_with(|| self.whole.cmp(other.whole))
            .then_with(|| self.fraction.cmp(other.fraction));
        if self.negative { size.reverse() } else { size }
    }
}

impl PartialOrd for Decimal<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<'a> Numeric<'a> {
    pub fn read(text: &'a [u8]) -> Numeric<'a> {
        match text {
            b"NaN" => Numeric::NaN,
            b"Infinity" => Numeric::Infinity,
            b"-Infinity" => Numeric::NegativeInfinity,
            digits => Numeric::Finite(Decimal::read(digits)),
        }
    }
}

/// More digits are not written out.
const DIGITS_MAX: usize = 16_383;

/// Writes a constant's digits out: `1.5e3` is `1500`. None where it is no number, or one of too many digits.
pub(crate) fn spell(constant: &str) -> Option<String> {
    let (negative, unsigned) = match constant.as_bytes().first()? {
        b'-' => (true, &constant[1..]),
        b'+' => (false, &constant[1..]),
        _ => (false, constant),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], unsigned[at + 1..].parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty()
        || digits.len() > DIGITS_MAX
        || exponent.unsigned_abs() as usize > DIGITS_MAX
        || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let point = whole.len() as i32 + exponent;
    let (before, after) = if point <= 0 {
        ("0".to_owned(), format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize)))
    } else if point as usize >= digits.len() {
        (format!("{digits}{}", "0".repeat(point as usize - digits.len())), String::new())
    } else {
        (digits[..point as usize].to_owned(), digits[point as usize..].to_owned())
    };
    let before = before.trim_start_matches('0');
    let before = if before.is_empty() { "0" } else { before };
    let sign = if negative && digits.bytes().any(|digit| digit != b'0') { "-" } else { "" };
    Some(if after.is_empty() { format!("{sign}{before}") } else { format!("{sign}{before}.{after}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_by_their_digits() {
        let ascending = [
            "-Infinity",
            "-100",
            "-99.999",
            "-10",
            "-9",
            "-0.5",
            "-0.05",
            "0",
            "0.00000000000000000000000000001",
            "0.05",
            "0.5",
            "1",
            "9",
            "9.99999999999999999999999999999999999999",
            "10",
            "123456789012345678901234567890",
            "Infinity",
            "NaN",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(Numeric::read(a.as_bytes()).cmp(&Numeric::read(b.as_bytes())), i.cmp(&j), "{a} {b}");
            }
        }
        for (a, b) in [("1", "1.000"), ("-0.0", "0"), ("00012.50", "12.5"), ("NaN", "NaN")] {
            assert_eq!(Numeric::read(a.as_bytes()).cmp(&Numeric::read(b.as_bytes())), Ordering::Equal, "{a} {b}");
        }
    }

    #[test]
    fn floors() {
        let floor = |text: &str| Decimal::read(text.as_bytes()).floor();
        assert_eq!([floor("10.5"), floor("10"), floor("-10"), floor("-10.5"), floor("-0.1")], [10, 10, -10, -11, -1]);
        assert_eq!((floor(&"9".repeat(50)), floor(&format!("-{}", "9".repeat(50)))), (i128::MAX, i128::MIN));
    }

    #[test]
    fn constants_are_spelt_out() {
        for (constant, digits) in [
            ("1", Some("1")),
            ("-1.5", Some("-1.5")),
            ("1.5e3", Some("1500")),
            ("1.5E-3", Some("0.0015")),
            (".5", Some("0.5")),
            ("5.", Some("5")),
            ("12.34e1", Some("123.4")),
            ("+7", Some("7")),
            ("1e20000", None),
            ("-0.0", Some("0.0")),
            ("007", Some("7")),
            ("", None),
            ("-", None),
            ("1_000", None),
            ("0x10", None),
            ("1e", None),
            (".", None),
        ] {
            assert_eq!(spell(constant).as_deref(), digits, "{constant}");
        }
    }
}
