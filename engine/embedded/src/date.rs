//! Dates as the `date` type reads them: into milliseconds (or nanoseconds) since 1970, by the formats that a mapping names.

/// The formats of one field, tried in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Formats(Vec<Format>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// `strict_date_optional_time` and its like, `yyyy-MM-dd` included.
    Iso,
    /// `yyyy-MM-dd HH:mm:ss` with a fraction or without.
    Spaced,
    EpochMillis,
    EpochSecond,
}

impl Default for Formats {
    fn default() -> Self {
        Formats(vec![Format::Iso, Format::EpochMillis])
    }
}

impl Formats {
    pub(crate) fn parse(text: &str) -> Option<Formats> {
        let format = |name: &str| {
            Some(match name {
                "strict_date_optional_time"
                | "strict_date_optional_time_nanos"
                | "date_optional_time"
                | "strict_date"
                | "date"
                | "strict_date_time"
                | "date_time"
                | "yyyy-MM-dd"
                | "iso8601" => Format::Iso,
                "epoch_millis" => Format::EpochMillis,
                "epoch_second" => Format::EpochSecond,
                name if name.starts_with("yyyy-MM-dd HH:mm:ss") => Format::Spaced,
                _ => return None,
            })
        };
        text.split("||").map(format).collect::<Option<Vec<_>>>().map(Formats)
    }

    /// Nanoseconds since 1970.
    pub(crate) fn read(&self, text: &str) -> Option<i128> {
        self.0.iter().find_map(|format| match format {
            Format::Iso => iso(text, b'T'),
            Format::Spaced => iso(text, b' '),
            Format::EpochMillis => Some(text.parse::<i64>().ok()? as i128 * 1_000_000),
            Format::EpochSecond => Some(text.parse::<i64>().ok()? as i128 * 1_000_000_000),
        })
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<i64> {
        let count = self.rest.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(count);
        self.rest = rest;
        std::str::from_utf8(digits).ok()?.parse().ok()
    }

    fn below(&mut self, limit: i64) -> Option<i64> {
        self.digits(2, 2).filter(|n| *n < limit)
    }
}

/// `2024`, `2024-05`, `2024-05-06`, `2024-05-06T07:08:09.123456789+02:00`; years of more digits need a sign.
fn iso(text: &str, separator: u8) -> Option<i128> {
    let mut reader = Reader { rest: text.as_bytes() };
    let negative = reader.take(b'-');
    let signed = negative || reader.take(b'+');
    let year = reader.digits(4, if signed { 9 } else { 4 })? * if negative { -1 } else { 1 };
    let (mut month, mut day) = (1, 1);
    if reader.take(b'-') {
        month = reader.below(13).filter(|n| *n > 0)?;
        if reader.take(b'-') {
            day = reader.digits(2, 2).filter(|n| (1..=days_in(year, month)).contains(n))?;
        }
    }
    let mut nanos = 0;
    let mut offset_seconds = 0;
    if reader.take(separator) && !reader.rest.is_empty() {
        nanos = time(&mut reader)?;
        offset_seconds = offset(&mut reader)?;
    }
    if !reader.rest.is_empty() {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 - offset_seconds;
    Some(seconds as i128 * 1_000_000_000 + nanos as i128)
}

fn time(reader: &mut Reader<'_>) -> Option<i64> {
    let mut nanos = reader.below(24)? * 3_600_000_000_000;
    if !reader.take(b':') {
        return Some(nanos);
    }
    nanos += reader.below(60)? * 60_000_000_000;
    if !reader.take(b':') {
        return Some(nanos);
    }
    nanos += reader.below(60)? * 1_000_000_000;
    if reader.take(b'.') || reader.take(b',') {
        let before = reader.rest.len();
        let fraction = reader.digits(1, 9)?;
        nanos += fraction * 10_i64.pow(9 - (before - reader.rest.len()) as u32);
    }
    Some(nanos)
}

fn offset(reader: &mut Reader<'_>) -> Option<i64> {
    let sign = match reader.rest.first() {
        None => return Some(0),
        Some(b'Z') => {
            reader.take(b'Z');
            return Some(0);
        }
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    reader.rest = &reader.rest[1..];
    let hours = reader.below(19)?;
    reader.take(b':');
    let minutes = if reader.rest.is_empty() { 0 } else { reader.below(60)? };
    Some(sign * (hours * 3600 + minutes * 60))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms").
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates() {
        let check = |text: &str, expected: Option<i128>| {
            let nanos = Formats::default().read(text);
            assert_eq!(nanos, expected.map(|ms| ms * 1_000_000), "{text}");
        };
        check("1970-01-01", Some(0));
        check("2000-02-29T12:30:00.5Z", Some(951_827_400_500));
        check("2000-02-29T12:30:00+02:00", Some(951_820_200_000));
        check("1969-12-31T23:59:59Z", Some(-1000));
        check("951827400500", Some(951_827_400_500));
        check("2024", Some(1_704_067_200_000));
        check("+12345-01-01", Some(327_403_382_400_000));
        for text in
            ["2023-02-29", "2024-13-01", "12345-01-01", "yesterday", "", "2024-01-01 00:00:00", "2024-01-01T25:00"]
        {
            check(text, None);
        }
        assert_eq!(Formats::parse("MM/dd"), None);
    }
}
