//! Dates and times as Postgres writes them under DateStyle ISO: `2024-01-02 03:04:05.123456+00`, years of four digits or
//! more, ` BC` at the end, `infinity` and `-infinity`. What is infinite becomes the extreme value of the Arrow type.

use crate::error::Fault;

const DAY_US: i64 = 86_400_000_000;
const SECOND_US: i64 = 1_000_000;

/// Days since 1970-01-01.
pub(crate) fn date(text: &[u8]) -> Result<i32, Fault> {
    match text {
        b"infinity" => return Ok(i32::MAX),
        b"-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let (text, bc) = era(text);
    let (days, rest) = day(text, bc)?;
    if !rest.is_empty() {
        return Err(Fault::Malformed);
    }
    match i32::try_from(days) {
        Ok(days) if days != i32::MAX && days != i32::MIN => Ok(days),
        _ => Err(Fault::OutOfRange),
    }
}

/// Microseconds since midnight, up to and with 24:00:00.
pub(crate) fn time(text: &[u8]) -> Result<i64, Fault> {
    match clock(text)? {
        (time_us, []) if time_us <= DAY_US => Ok(time_us),
        _ => Err(Fault::Malformed),
    }
}

/// Microseconds since 1970-01-01, in no zone.
pub(crate) fn timestamp(text: &[u8]) -> Result<i64, Fault> {
    instant(text, |rest| if rest.is_empty() { Ok(0) } else { Err(Fault::Malformed) })
}

/// Microseconds since 1970-01-01 UTC. The session's zone is UTC; any other offset is right too.
pub(crate) fn timestamptz(text: &[u8]) -> Result<i64, Fault> {
    instant(text, |rest| if rest == b"+00" { Ok(0) } else { offset(rest) })
}

#[inline]
fn instant(text: &[u8], offset_seconds: impl Fn(&[u8]) -> Result<i64, Fault>) -> Result<i64, Fault> {
    let (text, bc) = match text.last() {
        Some(b'y') if text == b"infinity" => return Ok(i64::MAX),
        Some(b'y') if text == b"-infinity" => return Ok(i64::MIN),
        Some(b'C') => era(text),
        _ => (text, false),
    };
    let (days, rest) = day(text, bc)?;
    let [b' ', rest @ ..] = rest else { return Err(Fault::Malformed) };
    let (time_us, rest) = clock(rest)?;
    let time_us = time_us - offset_seconds(rest)? * SECOND_US;
    match days.checked_mul(DAY_US).and_then(|us| us.checked_add(time_us)) {
        Some(us) if us != i64::MAX && us != i64::MIN => Ok(us),
        _ => Err(Fault::OutOfRange),
    }
}

fn era(text: &[u8]) -> (&[u8], bool) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// Reads `YYYY-MM-DD`, the year of four to seven digits.
#[inline]
fn day(text: &[u8], bc: bool) -> Result<(i64, &[u8]), Fault> {
    let digits = match text {
        [_, _, _, _, b'-', ..] => 4,
        _ => text.iter().position(|&b| b == b'-').filter(|len| (5..8).contains(len)).ok_or(Fault::Malformed)?,
    };
    let (year, rest) = text.split_at(digits);
    let year = year.iter().try_fold(0, |year, &byte| Some(year * 10 + i64::from(digit(byte)?)));
    let year = year.filter(|&year| year > 0).ok_or(Fault::Malformed)?;
    let year = if bc { 1 - year } else { year };
    let [b'-', m1, m2, b'-', d1, d2, rest @ ..] = rest else { return Err(Fault::Malformed) };
    let (month, day) = (two(*m1, *m2)?, two(*d1, *d2)?);
    if !(1..=12).contains(&month) || day == 0 || day > month_days(year, month) {
        return Err(Fault::Malformed);
    }
    Ok((days_since_1970(year, month, day), rest))
}

/// Reads `HH:MM:SS[.ffffff]`.
#[inline]
fn clock(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let [h1, h2, b':', m1, m2, b':', s1, s2, rest @ ..] = text else { return Err(Fault::Malformed) };
    let (hour, minute, second) = (two(*h1, *h2)?, two(*m1, *m2)?, two(*s1, *s2)?);
    if hour > 24 || minute > 59 || second > 60 {
        return Err(Fault::Malformed);
    }
    let (fraction_us, rest) = match rest {
        [b'.', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    Ok((((hour * 60 + minute) * 60 + second) * SECOND_US + fraction_us, rest))
}

/// Reads one to six digits after the point as microseconds.
#[inline]
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), Fault> {
    let (mut us, mut len) = (0, 0);
    while let Some(digit) = text.get(len).and_then(|&byte| digit(byte)) {
        us = us * 10 + i64::from(digit);
        len += 1;
        if len > 6 {
            return Err(Fault::Malformed);
        }
    }
    const SCALE: [i64; 7] = [0, 100_000, 10_000, 1_000, 100, 10, 1];
    if len == 0 { Err(Fault::Malformed) } else { Ok((us * SCALE[len], &text[len..])) }
}

/// Reads `±HH[:MM[:SS]]` as seconds east of UTC.
fn offset(text: &[u8]) -> Result<i64, Fault> {
    let [sign @ (b'+' | b'-'), h1, h2, rest @ ..] = text else { return Err(Fault::Malformed) };
    let (minute, second) = match rest {
        [] => (0, 0),
        [b':', m1, m2] => (two(*m1, *m2)?, 0),
        [b':', m1, m2, b':', s1, s2] => (two(*m1, *m2)?, two(*s1, *s2)?),
        _ => return Err(Fault::Malformed),
    };
    let seconds = (two(*h1, *h2)? * 60 + minute) * 60 + second;
    Ok(if *sign == b'-' { -seconds } else { seconds })
}

#[inline]
fn digit(byte: u8) -> Option<u8> {
    let digit = byte.wrapping_sub(b'0');
    (digit <= 9).then_some(digit)
}

#[inline]
fn two(tens: u8, ones: u8) -> Result<i64, Fault> {
    match (digit(tens), digit(ones)) {
        (Some(tens), Some(ones)) => Ok(i64::from(tens) * 10 + i64::from(ones)),
        _ => Err(Fault::Malformed),
    }
}

fn month_days(year: i64, month: i64) -> i64 {
    const DAYS: [i64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    DAYS[month as usize - 1] + i64::from(month == 2 && leap)
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar, years counted as astronomers do (0 is 1 BC).
///
/// The year starts in March, so that the leap day is its last (H. Hinnant, `days_from_civil`).
#[inline]
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let check = |text: &str, expected: Result<i32, Fault>| assert_eq!(date(text.as_bytes()), expected, "{text}");
        // Days from Postgres: SELECT d - '1970-01-01'::date.
        check("1970-01-01", Ok(0));
        check("1969-12-31", Ok(-1));
        check("2024-02-29", Ok(19_782));
        check("2000-03-01", Ok(11_017));
        check("0001-01-01", Ok(-719_162));
        check("0001-12-31 BC", Ok(-719_163));
        check("4714-11-24 BC", Ok(-2_440_588));
        check("5874897-12-31", Ok(2_145_042_905));
        check("infinity", Ok(i32::MAX));
        check("-infinity", Ok(i32::MIN));
        for text in ["", "2023-02-29", "2023-13-01", "2023-00-01", "2023-01-00", "2023-04-31", "0000-01-01", "23-01-01"]
        {
            check(text, Err(Fault::Malformed));
        }
        for text in ["2023-01-01 ", "2023-01-01x", "2023/01/01", "01/02/2023", "20x3-01-01", "12345678-01-01", " BC"] {
            check(text, Err(Fault::Malformed));
        }
        check("9999999-01-01", Err(Fault::OutOfRange));
    }

    #[test]
    fn times() {
        let check = |text: &str, expected: Result<i64, Fault>| assert_eq!(time(text.as_bytes()), expected, "{text}");
        check("00:00:00", Ok(0));
        check("23:59:59.999999", Ok(DAY_US - 1));
        check("24:00:00", Ok(DAY_US));
        check("01:02:03.5", Ok(3_723_500_000));
        for text in ["", "1:2:3", "24:00:01", "25:00:00", "00:60:00", "00:00:00.", "00:00:00.1234567", "00:00:00+00"] {
            check(text, Err(Fault::Malformed));
        }
    }

    #[test]
    fn timestamps() {
        let check = |text: &str, expected: Result<i64, Fault>| {
            assert_eq!(timestamp(text.as_bytes()), expected, "{text}");
            if !text.ends_with('y') {
                let zoned = match text.strip_suffix(" BC") {
                    Some(text) => format!("{text}+00 BC"),
                    None => format!("{text}+00"),
                };
                assert_eq!(timestamptz(zoned.as_bytes()), expected, "{zoned}");
            }
        };
        check("1970-01-01 00:00:00", Ok(0));
        check("2024-01-02 03:04:05.123456", Ok(1_704_164_645_123_456));
        check("1969-12-31 23:59:59.999999", Ok(-1));
        check("0044-03-15 12:00:00 BC", Ok(-63_517_780_800_000_000));
        check("4714-11-24 00:00:00 BC", Ok(-2_440_588 * DAY_US));
        check("10000-01-01 00:00:00.000001", Ok(253_402_300_800_000_001));
        check("infinity", Ok(i64::MAX));
        check("-infinity", Ok(i64::MIN));
        check("294247-01-10 04:00:54.775806", Ok(i64::MAX - 1));
        check("294247-01-10 04:00:54.775807", Err(Fault::OutOfRange));
        check("294276-12-31 23:59:59.999999", Err(Fault::OutOfRange));
        for text in ["", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01 00:00", "2024-01-01 00:00:00x"] {
            check(text, Err(Fault::Malformed));
        }
    }

    #[test]
    fn offsets() {
        let check =
            |text: &str, expected: Result<i64, Fault>| assert_eq!(timestamptz(text.as_bytes()), expected, "{text}");
        check("1970-01-01 05:30:00+05:30", Ok(0));
        check("1969-12-31 21:00:00-03", Ok(0));
        check("1970-01-01 00:53:28+00:53:28", Ok(0));
        for text in ["1970-01-01 00:00:00", "1970-01-01 00:00:00Z", "1970-01-01 00:00:00+0", "1970-01-01 00:00:00+00:0"]
        {
            check(text, Err(Fault::Malformed));
        }
    }
}
