use crate::error::Fault;

/// A decimal integer as Postgres writes it.
#[inline]
pub(crate) fn int(text: &[u8]) -> Result<i64, Fault> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 {
        return Err(Fault::Malformed);
    }
    let mut value: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return Err(Fault::Malformed);
        }
        // 19 digits fit a u64.
        value = value * 10 + u64::from(digit);
    }
    let value = if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() };
    value.ok_or(Fault::Malformed)
}

pub(crate) fn float4(text: &[u8]) -> Result<f32, Fault> {
    let value: f32 = ascii(text)?.parse().map_err(|_| Fault::Malformed)?;
    finite_or_named(value.is_finite(), text).map(|()| value)
}

pub(crate) fn float8(text: &[u8]) -> Result<f64, Fault> {
    let value: f64 = ascii(text)?.parse().map_err(|_| Fault::Malformed)?;
    finite_or_named(value.is_finite(), text).map(|()| value)
}

fn ascii(text: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(text).map_err(|_| Fault::Malformed)
}

/// Infinity is what Postgres calls so, never what overflowed here.
fn finite_or_named(finite: bool, text: &[u8]) -> Result<(), Fault> {
    if finite || is_not_finite(text) { Ok(()) } else { Err(Fault::Malformed) }
}

pub(crate) fn is_not_finite(text: &[u8]) -> bool {
    matches!(text, b"NaN" | b"Infinity" | b"-Infinity")
}

/// Whether a numeric is written as Postgres writes one: digits with at most one point, or not finite. What passes can
/// stand in JSON as it is.
#[inline]
pub(crate) fn check_numeric(text: &[u8]) -> Result<(), Fault> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let mut point = None;
    for (index, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {}
            b'.' if point.is_none() && index > 0 && index + 1 < digits.len() => point = Some(index),
            _ if is_not_finite(text) => return Ok(()),
            _ => return Err(Fault::Malformed),
        }
    }
    let whole = point.unwrap_or(digits.len());
    if whole == 0 || (whole > 1 && digits[0] == b'0') {
        return Err(Fault::Malformed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_read_to_their_limits() {
        for value in [0, 1, -1, 42, i64::MAX, i64::MIN, 1_000_000_000_000_000_000] {
            assert_eq!(int(value.to_string().as_bytes()), Ok(value));
        }
        for text in ["", "-", "+1", "1 ", "0x1", "9223372036854775808", "-9223372036854775809", "99999999999999999999"]
        {
            assert_eq!(int(text.as_bytes()), Err(Fault::Malformed), "{text}");
        }
    }

    #[test]
    fn floats_read_what_postgres_writes() {
        for text in ["1.5", "-0", "1e+20", "1.7976931348623157e+308", "5e-324", "Infinity", "-Infinity"] {
            assert_eq!(float8(text.as_bytes()).unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
        assert!(float8(b"NaN").unwrap().is_nan() && float4(b"NaN").unwrap().is_nan());
        assert_eq!(float4(b"3.4028235e+38"), Ok(f32::MAX));
        for text in ["", "x", "1e400", "inf", "\u{ff11}"] {
            assert!(float8(text.as_bytes()).is_err() && float4(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn a_numeric_is_a_json_number_or_not_finite() {
        for text in ["0", "-1", "0.50", "12345678901234567890.123", "NaN", "Infinity", "-Infinity"] {
            assert_eq!(check_numeric(text.as_bytes()), Ok(()), "{text}");
        }
        for text in ["", "-", ".", "1.", ".5", "-.5", "01", "1.2.3", "1e5", "nan", "1\n", "-NaN"] {
            assert_eq!(check_numeric(text.as_bytes()), Err(Fault::Malformed), "{text}");
        }
    }
}
