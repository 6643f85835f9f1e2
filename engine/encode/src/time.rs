//! Dates and times as ISO 8601 text: the years before 1 as astronomers count them (1 BC is `0000`), those of more than
//! four digits with a sign, as many digits of a second's fraction as it needs.

use crate::number::{put_micros, put_u64};
use crate::text::Cell;

const DAY_US: i64 = 86_400_000_000;

/// Days from the calendar's reckoning day, 0000-03-01, to 1970-01-01. Years begin in March, so that the leap day is the
/// last of its year.
const EPOCH_DAYS: i64 = 719_468;
/// The days of 400 years.
const ERA_DAYS: i64 = 146_097;
/// Eras that are added before the division and taken away after it, so that all days of a timestamp are positive.
const ERAS: i64 = 740;

/// The day of the proleptic Gregorian calendar, `days` after 1970-01-01, by Neri and Schneider's divisions
/// ("Euclidean affine functions", 2022). They hold for what a timestamp can reach; dates reach further.
#[inline]
fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + EPOCH_DAYS + ERAS * ERA_DAYS;
    if !(0..1 << 30).contains(&shifted) {
        return far_civil(days);
    }
    let quarters = 4 * shifted as u32 + 3;
    let (century, of_century) = (quarters / ERA_DAYS as u32, quarters % ERA_DAYS as u32 / 4);
    let product = 2_939_745 * u64::from(4 * of_century + 3);
    let (year, of_year) = ((product >> 32) as u32, product as u32 / 2_939_745 / 4);
    let months = 2_141 * of_year + 197_913;
    let (month, day) = (months >> 16, (months & 0xffff) / 2_141 + 1);
    let next = of_year >= 306;
    let year = i64::from(100 * century + year) - 400 * ERAS + i64::from(next);
    (year, if next { month - 12 } else { month }, day)
}

/// The same for any day, by Hinnant's algorithm.
#[cold]
fn far_civil(days: i64) -> (i64, u32, u32) {
    let days = days + EPOCH_DAYS;
    let era = days.div_euclid(ERA_DAYS);
    let of_era = days.rem_euclid(ERA_DAYS) as u32;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + i64::from(year_of_era) + i64::from(month <= 2), month, day)
}

/// A number below 100 as two digits.
#[inline(always)]
fn pair(number: u32) -> [u8; 2] {
    PAIRS[number as usize % PAIRS.len()]
}

/// 128 of them, so that the compiler sees that a remainder is within.
static PAIRS: [[u8; 2]; 128] = pairs();

const fn pairs() -> [[u8; 2]; 128] {
    let mut table = [[b'0'; 2]; 128];
    let mut number = 0;
    while number < 100 {
        table[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    table
}

#[inline(always)]
pub(crate) fn put_date(cell: &mut Cell<'_>, days: i64) {
    let (year, month, day) = civil(days);
    let ([e, f], [g, h]) = (pair(month), pair(day));
    if !(0..10_000).contains(&year) {
        put_long_year(cell, year);
        return cell.put(&[b'-', e, f, b'-', g, h, 0, 0], 6);
    }
    let year = year as u32;
    let ([a, b], [c, d]) = (pair(year / 100), pair(year % 100));
    cell.put(&[a, b, c, d, b'-', e, f, b'-', g, h, 0, 0, 0, 0, 0, 0], 10);
}

/// A year of more or fewer than four digits, with its sign.
#[cold]
fn put_long_year(cell: &mut Cell<'_>, year: i64) {
    cell.put(if year < 0 { b"-" } else { b"+" }, 1);
    let digits = year.unsigned_abs();
    if digits < 10_000 {
        let [a, b, c, d] = [digits / 1_000, digits / 100 % 10, digits / 10 % 10, digits % 10].map(|d| b'0' + d as u8);
        cell.put(&[a, b, c, d], 4);
    } else {
        put_u64(cell, digits);
    }
}

/// A time of day, from 00:00:00 up to and with 24:00:00.
#[inline(always)]
pub(crate) fn put_time(cell: &mut Cell<'_>, us: i64) {
    let us = us as u64;
    let (seconds, micros) = ((us / 1_000_000) as u32, (us % 1_000_000) as u32);
    let (minutes, second) = (seconds / 60, seconds % 60);
    let ([a, b], [c, d], [e, f]) = (pair(minutes / 60), pair(minutes % 60), pair(second));
    cell.put(&[a, b, b':', c, d, b':', e, f], 8);
    put_micros(cell, micros);
}

/// Whether a time of day is one that Postgres has.
pub(crate) fn is_time(us: i64) -> bool {
    (0..=DAY_US).contains(&us)
}

#[inline(always)]
pub(crate) fn put_timestamp(cell: &mut Cell<'_>, us: i64) {
    put_date(cell, us.div_euclid(DAY_US));
    cell.put(b"T", 1);
    put_time(cell, us.rem_euclid(DAY_US));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(put: impl Fn(&mut Cell<'_>)) -> String {
        let mut room = [0; crate::text::CELL];
        let mut cell = Cell::new(&mut room);
        put(&mut cell);
        String::from_utf8(cell.bytes().to_vec()).unwrap()
    }

    #[test]
    fn dates() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (10_957, "2000-01-01"),
            (11_016, "2000-02-29"),
            (-25_509, "1900-02-28"),
            (-719_162, "0001-01-01"),
            (-719_163, "0000-12-31"),
            (-719_528, "0000-01-01"),
            (-719_529, "-0001-12-31"),
            (-2_440_588, "-4713-11-24"), // the first day of Postgres
            (2_932_896, "9999-12-31"),
            (2_932_897, "+10000-01-01"),
            (2_145_042_905, "+5874897-12-31"),
        ] {
            assert_eq!(text(|cell| put_date(cell, days)), expected);
        }
    }

    #[test]
    fn the_calendar_is_walked_day_by_day() {
        let (mut year, mut month, mut day) = (-4713, 11, 24);
        for days in -2_440_588..3_000_000 {
            assert_eq!(civil(days), (year, month, day));
            assert_eq!(far_civil(days), (year, month, day));
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
            assert_eq!(text(|cell| put_timestamp(cell, us)), expected);
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
            assert_eq!(text(|cell| put_time(cell, us)), expected);
        }
        assert!(!is_time(-1) && !is_time(DAY_US + 1));
    }
}
