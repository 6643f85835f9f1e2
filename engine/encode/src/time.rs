//! Dates and times as ISO 8601 text: the years before 1 as astronomers count them (1 BC is `0000`), those of more than
//! four digits with a sign, as many digits of a second's fraction as it needs.

use crate::number::{put_eight, put_micros, put_u64};
use crate::text::put;

const DAY_US: i64 = 86_400_000_000;

/// The day of the proleptic Gregorian calendar, `days` after 1970-01-01, by Hinnant's algorithm: years begin in March,
/// so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097) as u32;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + i64::from(year_of_era) + i64::from(month <= 2), month, day)
}

/// Two numbers below 100 as `12-34`.
#[inline(always)]
fn put_pair(out: &mut [u8], pos: usize, first: u32, between: u8, second: u32) -> Option<usize> {
    let [a, b] = PAIRS[first as usize % 100];
    let [c, d] = PAIRS[second as usize % 100];
    put(out, pos, &[a, b, between, c, d, 0, 0, 0], 5)
}

static PAIRS: [[u8; 2]; 100] = pairs();

const fn pairs() -> [[u8; 2]; 100] {
    let mut table = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        table[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    table
}

#[inline]
pub(crate) fn put_date(out: &mut [u8], pos: usize, days: i64) -> Option<usize> {
    let (year, month, day) = civil(days);
    let pos = if (0..10_000).contains(&year) {
        let (century, rest) = (PAIRS[year as usize / 100], PAIRS[year as usize % 100]);
        put(out, pos, &[century[0], century[1], rest[0], rest[1], b'-', 0, 0, 0], 5)?
    } else {
        put_long_year(out, pos, year)?
    };
    put_pair(out, pos, month, b'-', day)
}

#[cold]
fn put_long_year(out: &mut [u8], pos: usize, year: i64) -> Option<usize> {
    let pos = put(out, pos, if year < 0 { b"-" } else { b"+" }, 1)?;
    let pos = match year.unsigned_abs() {
        digits @ 0..10_000 => {
            // Eight digits, of which the first four are zeros and are overwritten.
            put_eight(out, pos, digits as u32)?;
            out.copy_within(pos + 4..pos + 8, pos);
            pos + 4
        }
        digits => put_u64(out, pos, digits)?,
    };
    put(out, pos, b"-", 1)
}

/// A time of day, from 00:00:00 up to and with 24:00:00.
#[inline]
pub(crate) fn put_time(out: &mut [u8], pos: usize, us: i64) -> Option<usize> {
    let (seconds, micros) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000) as u32);
    let (minutes, second) = ((seconds / 60) as u32, (seconds % 60) as u32);
    let pos = put_pair(out, pos, minutes / 60, b':', minutes % 60)?;
    let [a, b] = PAIRS[second as usize];
    let pos = put(out, pos, &[b':', a, b, 0], 3)?;
    put_micros(out, pos, micros)
}

/// Whether a time of day is one that Postgres has.
pub(crate) fn is_time(us: i64) -> bool {
    (0..=DAY_US).contains(&us)
}

#[inline]
pub(crate) fn put_timestamp(out: &mut [u8], pos: usize, us: i64) -> Option<usize> {
    let pos = put_date(out, pos, us.div_euclid(DAY_US))?;
    let pos = put(out, pos, b"T", 1)?;
    put_time(out, pos, us.rem_euclid(DAY_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl Fn(&mut [u8]) -> Option<usize>) -> String {
        let mut out = [0; 64];
        let len = put(&mut out).unwrap();
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    #[test]
    fn dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (10_957, "2000-01-01"),
            (11_016, "2000-02-29"),
            (-25_509, "1900-02-27"),
            (-719_162, "0001-01-01"),
            (-719_163, "0000-12-31"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (-2_440_588, "-4713-11-24"), // the first day of Postgres
            (2_932_896, "9999-12-31"),
            (2_932_897, "+10000-01-01"),
            (2_145_031_948, "+5874897-12-31"), // the last day of Postgres
        ] {
            assert_eq!(text(|out| put_date(out, 0, days)), expected);
        }
    }

    #[test]
    fn the_calendar_is_walked_day_by_day() {
        let (mut year, mut month, mut day) = (-4713, 11, 24);
        for days in -2_440_588..3_000_000 {
            assert_eq!(civil(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u32::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            (month, day) = if day == last { (month + 1, 1) } else { (month, day + 1) };
            if month == 13 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn timestamps() {
        for (us, expected) in [
            (0, "1970-01-01T00:00:00"),
            (-1, "1969-12-31T23:59:59.999999"),
            (1_709_210_096_789_000, "2024-02-29T12:34:56.789"),
            (1_709_210_096_000_001, "2024-02-29T12:34:56.000001"),
            (i64::MAX, "+294247-01-10T04:00:54.775807"),
            (i64::MIN, "-290308-12-21T19:59:05.224192"),
        ] {
            assert_eq!(text(|out| put_timestamp(out, 0, us)), expected);
        }
    }

    #[test]
    fn times_of_day() {
        for (us, expected) in [
            (0, "00:00:00"),
            (1, "00:00:00.000001"),
            (45_296_500_000, "12:34:56.5"),
            (86_399_999_999, "23:59:59.999999"),
            (DAY_US, "24:00:00"),
        ] {
            assert!(is_time(us));
            assert_eq!(text(|out| put_time(out, 0, us)), expected);
        }
        assert!(!is_time(-1) && !is_time(DAY_US + 1));
    }
}
