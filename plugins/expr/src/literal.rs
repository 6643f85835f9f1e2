//! Constants in quotes, read as the type of the column that they are compared with: a part of what Postgres reads, and
//! nothing that it would read in another way. Each gives the value, or what would be understood. What a cast of a row's text
//! reads is here too: that is all that Postgres reads, with its faults.

use crate::fault::Fault;

/// `t`, `true`, `yes`, `on`, `1` and the prefixes of the words, as Postgres' `boolin`.
pub(crate) fn boolean(text: &str) -> Result<bool, &'static str> {
    let word = text.trim_matches(is_space).to_ascii_lowercase();
    let is_prefix = |whole: &str, min: usize| word.len() >= min && whole.starts_with(&word);
    if is_prefix("true", 1) || is_prefix("yes", 1) || word == "on" || word == "1" {
        Ok(true)
    } else if is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) || word == "0" {
        Ok(false)
    } else {
        Err("a boolean: 'true' or 'false'")
    }
}

fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

/// A text of a row as a whole number, as Postgres' `pg_strtoint32` and its sisters.
pub(crate) fn to_int(text: &str, of: &'static str, (min, max): (i64, i64)) -> Result<i64, Fault> {
    let digits = text.trim_matches(is_space);
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    if unsigned.is_empty() || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::syntax(of));
    }
    let value = digits.parse::<i64>().ok().filter(|value| (min..=max).contains(value));
    value.ok_or_else(|| Fault::new("22003", format!("value is out of range for type {of}")))
}

/// A text of a row as a float. Hexadecimal digits, which Postgres' C library may take, are not taken.
pub(crate) fn to_float(text: &str, single: bool) -> Result<f64, Fault> {
    let name = if single { "real" } else { "double precision" };
    let digits = text.trim_matches(is_space);
    let value = match digits.to_ascii_lowercase().as_str() {
        "nan" => return Ok(f64::NAN),
        "infinity" | "inf" | "+infinity" | "+inf" => return Ok(f64::INFINITY),
        "-infinity" | "-inf" => return Ok(f64::NEG_INFINITY),
        other if !other.bytes().all(|byte| byte.is_ascii_digit() || b"+-.e".contains(&byte)) => None,
        other if single => other.parse::<f32>().ok().map(f64::from),
        other => other.parse::<f64>().ok(),
    };
    let value = value.ok_or_else(|| Fault::syntax(name))?;
    let is_zero = digits.bytes().take_while(|byte| *byte | 32 != b'e').all(|byte| !(b'1'..=b'9').contains(&byte));
    if value.is_infinite() || value == 0.0 && !is_zero {
        return Err(Fault::new("22003", format!("value is out of range for type {name}")));
    }
    Ok(value)
}

pub(crate) fn to_numeric(text: &str) -> Result<String, Fault> {
    numeric(text).map_err(|_| Fault::syntax("numeric"))
}

/// With or without braces, and with hyphens behind any four digits.
pub(crate) fn to_uuid(text: &str) -> Result<String, Fault> {
    let inner = match text.strip_prefix('{') {
        Some(rest) => rest.strip_suffix('}').ok_or_else(|| Fault::syntax("uuid"))?,
        None => text,
    };
    let mut digits = String::with_capacity(36);
    let (mut count, mut hyphen) = (0, false);
    for char in inner.chars() {
        if char == '-' && !hyphen && count > 0 && count % 4 == 0 && count < 32 {
            hyphen = true;
        } else if char.is_ascii_hexdigit() && count < 32 {
            if matches!(count, 8 | 12 | 16 | 20) {
                digits.push('-');
            }
            digits.push(char.to_ascii_lowercase());
            (count, hyphen) = (count + 1, false);
        } else {
            return Err(Fault::syntax("uuid"));
        }
    }
    if count == 32 && !hyphen { Ok(digits) } else { Err(Fault::syntax("uuid")) }
}

/// `\\x` and pairs of hexadecimal digits.
pub(crate) fn bytea(text: &str) -> Result<Vec<u8>, &'static str> {
    let wanted = "bytes in hexadecimal digits: \\x0aff";
    let digits = text.strip_prefix("\\x").ok_or(wanted)?.as_bytes();
    let (pairs, rest) = digits.as_chunks::<2>();
    let value = |digit: u8| char::from(digit).to_digit(16).map(|digit| digit as u8);
    let bytes: Option<Vec<u8>> = pairs.iter().map(|[a, b]| Some(value(*a)? * 16 + value(*b)?)).collect();
    bytes.filter(|_| rest.is_empty()).ok_or(wanted)
}

/// A whole number without any of the newer ways to write one.
pub(crate) fn integer(text: &str) -> Result<i128, &'static str> {
    let digits = text.trim_matches(is_space);
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    if unsigned.is_empty() || unsigned.len() > 30 || !unsigned.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a whole number");
    }
    digits.parse().map_err(|_| "a whole number")
}

/// `numeric` by its digits, or one of its three words.
pub(crate) fn numeric(text: &str) -> Result<String, &'static str> {
    let digits = text.trim_matches(is_space);
    match digits.to_ascii_lowercase().as_str() {
        "nan" => Ok("NaN".to_owned()),
        "infinity" | "inf" | "+infinity" | "+inf" => Ok("Infinity".to_owned()),
        "-infinity" | "-inf" => Ok("-Infinity".to_owned()),
        _ => crate::decimal::spell(digits).ok_or("a number of at most 16,383 digits"),
    }
}

/// Days since 1970-01-01.
pub(crate) fn date(text: &str) -> Result<i32, &'static str> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" => Ok(i32::MAX),
        "-infinity" => Ok(i32::MIN),
        _ => {
            let mut rest = text;
            take_date(&mut rest).filter(|_| rest.is_empty()).ok_or("a date: YYYY-MM-DD")
        }
    }
}

/// Microseconds since midnight.
pub(crate) fn time(text: &str) -> Result<i64, &'static str> {
    let mut rest = text;
    take_time(&mut rest).filter(|_| rest.is_empty()).ok_or("a time: HH:MM:SS")
}

/// Microseconds since 1970-01-01 00:00; with a zone as UTC. Which of both a type is, is asked for strictly, since Postgres
/// would leave out a zone that does not belong there and take one from the session where it is missing.
pub(crate) fn timestamp(text: &str, zoned: bool) -> Result<i64, &'static str> {
    let wanted = if zoned {
        "a time with its zone: YYYY-MM-DD HH:MM:SS+00"
    } else {
        "a time without a zone: YYYY-MM-DD HH:MM:SS"
    };
    match text.to_ascii_lowercase().as_str() {
        "infinity" => return Ok(i64::MAX),
        "-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let mut rest = text;
    let parse = |rest: &mut &str| {
        let day = i64::from(take_date(rest)?);
        let time = if rest.starts_with([' ', 'T']) {
            *rest = &rest[1..];
            take_time(rest)?
        } else if zoned {
            return None;
        } else {
            0
        };
        let offset = if zoned { take_zone(rest)? } else { 0 };
        day.checked_mul(86_400_000_000)?.checked_add(time - offset)
    };
    parse(&mut rest).filter(|_| rest.is_empty()).ok_or(wanted)
}

/// Exactly so many digits.
fn take_digits(rest: &mut &str, count: usize) -> Option<u32> {
    let digits = rest.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    *rest = &rest[count..];
    digits.parse().ok()
}

fn take_char(rest: &mut &str, char: char) -> Option<()> {
    *rest = rest.strip_prefix(char)?;
    Some(())
}

fn take_date(rest: &mut &str) -> Option<i32> {
    let year = take_digits(rest, 4).filter(|year| *year > 0)?;
    take_char(rest, '-')?;
    let month = take_digits(rest, 2).filter(|month| (1..=12).contains(month))?;
    take_char(rest, '-')?;
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
    let day = take_digits(rest, 2).filter(|day| (1..=days).contains(day))?;
    Some(days_from_civil(year as i32, month as i32, day as i32))
}

/// Howard Hinnant's algorithm, for years after Christ.
fn days_from_civil(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn take_time(rest: &mut &str) -> Option<i64> {
    let hour = take_digits(rest, 2).filter(|hour| *hour <= 23)?;
    take_char(rest, ':')?;
    let minute = take_digits(rest, 2).filter(|minute| *minute <= 59)?;
    let (mut second, mut micros) = (0, 0);
    if take_char(rest, ':').is_some() {
        second = take_digits(rest, 2).filter(|second| *second <= 59)?;
        if take_char(rest, '.').is_some() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if !(1..=6).contains(&digits) {
                return None;
            }
            micros = take_digits(rest, digits)? * 10u32.pow(6 - digits as u32);
        }
    }
    Some(i64::from(hour * 3600 + minute * 60 + second) * 1_000_000 + i64::from(micros))
}

/// The offset of a zone in microseconds.
fn take_zone(rest: &mut &str) -> Option<i64> {
    if take_char(rest, 'Z').is_some() {
        return Some(0);
    }
    let sign = if take_char(rest, '+').is_some() { 1 } else { take_char(rest, '-').map(|()| -1)? };
    let hours = take_digits(rest, 2).filter(|hours| *hours <= 15)?;
    let minutes = if take_char(rest, ':').is_some() {
        take_digits(rest, 2).filter(|minutes| *minutes <= 59)?
    } else if rest.is_empty() {
        0
    } else {
        take_digits(rest, 2).filter(|minutes| *minutes <= 59)?
    };
    Some(sign * i64::from(hours * 3600 + minutes * 60) * 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times() {
        assert_eq!(date("1970-01-01"), Ok(0));
        assert_eq!(date("2024-02-29"), Ok(19_782));
        assert_eq!(date("0001-01-01"), Ok(-719_162));
        assert_eq!(date("9999-12-31"), Ok(2_932_896));
        assert_eq!((date("infinity"), date("-infinity")), (Ok(i32::MAX), Ok(i32::MIN)));
        for wrong in [
            "2023-02-29",
            "2024-13-01",
            "2024-1-1",
            "01/02/2024",
            "2024-01-01 ",
            "today",
            "0000-01-01",
            "2024-01-01 10:00",
        ] {
            assert!(date(wrong).is_err(), "{wrong}");
        }
        assert_eq!(time("10:00"), Ok(36_000_000_000));
        assert_eq!(time("23:59:59.999999"), Ok(86_399_999_999));
        assert!(time("24:00").is_err() && time("10:00:00.1234567").is_err() && time("10:00+01").is_err());
    }

    #[test]
    fn timestamps_say_their_zone_or_have_none() {
        assert_eq!(timestamp("1970-01-02", false), Ok(86_400_000_000));
        assert_eq!(timestamp("1970-01-01T00:00:01.5", false), Ok(1_500_000));
        assert_eq!(timestamp("1970-01-01 01:00:00+01", true), Ok(0));
        assert_eq!(timestamp("1970-01-01 00:00:00-05:30", true), Ok(19_800_000_000));
        assert_eq!(timestamp("1970-01-01T00:00Z", true), Ok(0));
        assert!(timestamp("1970-01-01 00:00", true).is_err() && timestamp("1970-01-01 00:00Z", false).is_err());
        assert!(timestamp("now", false).is_err() && timestamp("1970-01-01", true).is_err());
    }

    #[test]
    fn booleans_numbers_uuids() {
        for (text, is) in [
            ("t", true),
            ("TRUE", true),
            (" y ", true),
            ("on", true),
            ("1", true),
            ("f", false),
            ("of", false),
            ("no", false),
        ] {
            assert_eq!(boolean(text), Ok(is), "{text}");
        }
        assert!(boolean("o").is_err() && boolean("").is_err() && boolean("truex").is_err());
        assert_eq!((integer(" -12 "), integer("1.0").is_err(), integer("").is_err()), (Ok(-12), true, true));
        assert_eq!((to_float("1e3", false), to_float("-inf", false)), (Ok(1000.0), Ok(f64::NEG_INFINITY)));
        for wrong in ["1e999", "1e-999", "0x1p3", ""] {
            assert!(to_float(wrong, false).is_err(), "{wrong}");
        }
        let is = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for text in [
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(to_uuid(text).as_deref(), Ok(is));
        }
        assert!(to_uuid("a0eebc99").is_err() && to_uuid("-a0eebc999c0b4ef8bb6d6bb9bd380a11").is_err());
    }
}
