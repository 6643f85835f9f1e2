//! Dates of the Gregorian calendar, as far as names are made of them.

/// A moment, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    year: i64,
    month: u32,
    day: u32,
    /// From 1.
    day_of_year: u32,
    /// From 1, a Monday.
    weekday: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

const DAY_SECONDS: i64 = 86_400;
const MONTHS: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

impl Moment {
    pub(crate) fn of_days(days: i64) -> Moment {
        Moment::of_seconds(days * DAY_SECONDS)
    }

    /// Seconds since 1970-01-01 00:00.
    pub(crate) fn of_seconds(seconds: i64) -> Moment {
        let (days, clock) = (seconds.div_euclid(DAY_SECONDS), seconds.rem_euclid(DAY_SECONDS) as u32);
        // Years that begin in March have their leap day at the end; 719,468 days lie between 0000-03-01 and 1970.
        let (era, of_era) = ((days + 719_468).div_euclid(146_097), (days + 719_468).rem_euclid(146_097));
        let of_era_year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * of_era_year + of_era_year / 4 - of_era_year / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = (of_year - (153 * from_march + 2) / 5 + 1) as u32;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 } as u32;
        let year = of_era_year + era * 400 + i64::from(month <= 2);
        let leap = u32::from(month > 2 && is_leap(year));
        let day_of_year = MONTHS[month as usize - 1] + day + leap;
        let weekday = (days + 3).rem_euclid(7) as u32 + 1;
        Moment {
            year,
            month,
            day,
            day_of_year,
            weekday,
            hour: clock / 3_600,
            minute: clock / 60 % 60,
            second: clock % 60,
        }
    }

    /// Year and number of the week by ISO 8601.
    fn week(self) -> (i64, u32) {
        let week = (self.day_of_year + 10 - self.weekday) / 7;
        match week {
            0 => (self.year - 1, weeks(self.year - 1)),
            week if week > weeks(self.year) => (self.year + 1, 1),
            week => (self.year, week),
        }
    }

    /// What stands for a letter after `%`; none where nothing does.
    pub(crate) fn part(self, letter: char, into: &mut String) -> Option<()> {
        let (value, digits) = match letter {
            'Y' => (self.year, 4),
            'm' => (i64::from(self.month), 2),
            'd' => (i64::from(self.day), 2),
            'j' => (i64::from(self.day_of_year), 3),
            'H' => (i64::from(self.hour), 2),
            'M' => (i64::from(self.minute), 2),
            'S' => (i64::from(self.second), 2),
            'G' => (self.week().0, 4),
            'V' => (i64::from(self.week().1), 2),
            _ => return None,
        };
        let text = value.unsigned_abs().to_string();
        if value < 0 {
            into.push('-');
        }
        (text.len()..digits).for_each(|_| into.push('0'));
        into.push_str(&text);
        Some(())
    }
}

/// Weeks of a year: 53 where it begins on a Thursday, or on a Wednesday and is a leap year.
fn weeks(year: i64) -> u32 {
    let before = year - 1;
    let days = 365 * before + before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    // 0001-01-01 was a Monday.
    let first = days.rem_euclid(7) + 1;
    if first == 4 || first == 3 && is_leap(year) { 53 } else { 52 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(seconds: i64, letters: &str) -> String {
        let mut text = String::new();
        for letter in letters.chars() {
            Moment::of_seconds(seconds).part(letter, &mut text).unwrap();
            text.push(' ');
        }
        text.trim_end().to_owned()
    }

    /// As `date -u -d @N "+%Y %m %d %j %H %M %S %G %V"` has them.
    #[test]
    fn moments_are_as_others_have_them() {
        let cases = [
            (0, "1970 01 01 001 00 00 00 1970 01"),
            (-1, "1969 12 31 365 23 59 59 1970 01"),
            (951_782_400, "2000 02 29 060 00 00 00 2000 09"),
            (951_868_800, "2000 03 01 061 00 00 00 2000 09"),
            (1_104_537_600, "2005 01 01 001 00 00 00 2004 53"),
            (1_230_768_000, "2009 01 01 001 00 00 00 2009 01"),
            (1_262_304_000, "2010 01 01 001 00 00 00 2009 53"),
            (1_483_228_799, "2016 12 31 366 23 59 59 2016 52"),
            (4_107_542_400, "2100 03 01 060 00 00 00 2100 09"),
            (-62_135_596_800, "0001 01 01 001 00 00 00 0001 01"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(parts(seconds, "YmdjHMSGV"), expected, "{seconds}");
        }
        assert_eq!(parts(253_402_300_800, "Y"), "10000");
    }
}
