//! Values as a document has them (docs/types.md), for what `select` puts together itself: nested objects, and whole documents.

use std::io::Write;

use tidemill_expr::{Cell, Type};

/// Writes a value behind what is there.
pub(crate) fn put(cell: Cell<'_>, of: Type, into: &mut Vec<u8>) {
    match cell {
        Cell::Null => into.extend_from_slice(b"null"),
        Cell::Bool(is) => into.extend_from_slice(if is { b"true" } else { b"false" }),
        Cell::Int(value) => put_int(value, of, into),
        Cell::Float(value) if !value.is_finite() => {
            let word = if value.is_nan() {
                "NaN"
            } else if value > 0.0 {
                "Infinity"
            } else {
                "-Infinity"
            };
            put_word(word, into);
        }
        Cell::Float(value) => {
            let number =
                if of == Type::Float4 { serde_json::to_string(&(value as f32)) } else { serde_json::to_string(&value) };
            into.extend_from_slice(number.unwrap_or_default().as_bytes());
        }
        Cell::Bytes(bytes) => put_bytes(bytes, of, into),
    }
}

fn put_word(word: &str, into: &mut Vec<u8>) {
    into.push(b'"');
    into.extend_from_slice(word.as_bytes());
    into.push(b'"');
}

pub(crate) fn put_text(text: &str, into: &mut Vec<u8>) {
    serde_json::to_writer(into, text).expect("a text is JSON");
}

fn put_bytes(bytes: &[u8], of: Type, into: &mut Vec<u8>) {
    let text = str::from_utf8(bytes).unwrap_or_default();
    match of {
        Type::Json | Type::Jsonb | Type::Array => into.extend_from_slice(bytes),
        Type::Numeric if matches!(text, "NaN" | "Infinity" | "-Infinity") => put_word(text, into),
        Type::Numeric => into.extend_from_slice(bytes),
        Type::Bytea => put_base64(bytes, into),
        _ => put_text(text, into),
    }
}

fn put_int(value: i64, of: Type, into: &mut Vec<u8>) {
    let extremes = if of == Type::Date { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
    let written = match of {
        Type::Date | Type::Timestamp | Type::TimestampTz if value == extremes.0 => write!(into, "\"-infinity\""),
        Type::Date | Type::Timestamp | Type::TimestampTz if value == extremes.1 => write!(into, "\"infinity\""),
        Type::Date => write!(into, "\"{}\"", date(value)),
        Type::Time => write!(into, "\"{}\"", time(value)),
        Type::Timestamp | Type::TimestampTz => {
            let (days, us) = (value.div_euclid(DAY_US), value.rem_euclid(DAY_US));
            let zone = if of == Type::TimestampTz { "Z" } else { "" };
            write!(into, "\"{}T{}{zone}\"", date(days), time(us))
        }
        _ => write!(into, "{value}"),
    };
    written.expect("memory takes what is written");
}

const DAY_US: i64 = 86_400_000_000;

/// Hinnant's algorithm; years of more than four digits, or below 0, with their sign.
fn date(days: i64) -> String {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    match year {
        0..10_000 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+05}-{month:02}-{day:02}"),
    }
}

fn time(us: i64) -> String {
    let (seconds, micros) = (us / 1_000_000, us % 1_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let fraction = if micros > 0 { format!(".{micros:06}") } else { String::new() };
    format!("{hour:02}:{minute:02}:{second:02}{}", fraction.trim_end_matches('0'))
}

fn put_base64(bytes: &[u8], into: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    into.push(b'"');
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(number >> (18 - 6 * place)) as usize & 63];
            into.push(if place <= chunk.len() { digit } else { b'=' });
        }
    }
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_in_any_document() {
        for (cell, of, json) in [
            (Cell::Null, Type::Text, "null"),
            (Cell::Int(7), Type::Int4, "7"),
            (Cell::Float(0.1f32.into()), Type::Float4, "0.1"),
            (Cell::Float(f64::NEG_INFINITY), Type::Float8, "\"-Infinity\""),
            (Cell::Bytes(b"1.50"), Type::Numeric, "1.50"),
            (Cell::Bytes(b"a\"\n"), Type::Text, r#""a\"\n""#),
            (Cell::Bytes(b"{\"a\":1}"), Type::Jsonb, "{\"a\":1}"),
            (Cell::Bytes(&[1, 2, 255]), Type::Bytea, "\"AQL/\""),
            (Cell::Bytes(&[1]), Type::Bytea, "\"AQ==\""),
            (Cell::Bytes(b""), Type::Bytea, "\"\""),
            (Cell::Int(19_782), Type::Date, "\"2024-02-29\""),
            (Cell::Int(-719_529), Type::Date, "\"-0001-12-31\""),
            (Cell::Int(i32::MAX.into()), Type::Date, "\"infinity\""),
            (Cell::Int(-500_000), Type::Timestamp, "\"1969-12-31T23:59:59.5\""),
            (Cell::Int(0), Type::TimestampTz, "\"1970-01-01T00:00:00Z\""),
            (Cell::Int(DAY_US), Type::Time, "\"24:00:00\""),
        ] {
            let mut into = Vec::new();
            put(cell, of, &mut into);
            assert_eq!(str::from_utf8(&into).unwrap(), json);
        }
    }
}
