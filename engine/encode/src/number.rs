//! Whole numbers as decimal digits.
//!
//! Eight digits are made at once in one register and stored as a block, so that no loop or branch depends on how many
//! there are within it: ids, versions, years and most columns are of this kind.

use crate::text::put;

/// The longest: `-9223372036854775808` and `18446744073709551615`, and a block's slack behind them.
const ROOM: usize = 24;
const TEN_8: u64 = 100_000_000;

/// The digits of a number below 10^8, one a byte, the first digit lowest.
#[inline(always)]
fn eight(number: u32) -> u64 {
    let number = u64::from(number);
    let halves = number / 10_000 | (number % 10_000) << 32;
    let hundreds = (halves * 10_486 >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = (pairs * 103 >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Stores eight digits, leading zeros and all.
#[inline(always)]
pub(crate) fn put_eight(out: &mut [u8], pos: usize, number: u32) -> Option<usize> {
    put(out, pos, &(eight(number) | ZEROS).to_le_bytes(), 8)
}

/// Stores a number below 10^8 without leading zeros.
#[inline(always)]
fn put_short(out: &mut [u8], pos: usize, number: u32) -> Option<usize> {
    let digits = eight(number);
    // Of a zero the last digit stays.
    let leading = (digits | 1 << 56).trailing_zeros() / 8;
    put(out, pos, &((digits | ZEROS) >> (8 * leading)).to_le_bytes(), 8 - leading as usize)
}

#[inline(always)]
pub(crate) fn put_u64(out: &mut [u8], pos: usize, number: u64) -> Option<usize> {
    if number < TEN_8 {
        return put_short(out, pos, number as u32);
    }
    put_long(out, pos, number)
}

#[inline]
fn put_long(out: &mut [u8], pos: usize, number: u64) -> Option<usize> {
    let (high, low) = (number / TEN_8, (number % TEN_8) as u32);
    let pos = match high {
        0..TEN_8 => put_short(out, pos, high as u32)?,
        _ => {
            let pos = put_short(out, pos, (high / TEN_8) as u32)?;
            put_eight(out, pos, (high % TEN_8) as u32)?
        }
    };
    put_eight(out, pos, low)
}

#[inline(always)]
pub(crate) fn put_i64(out: &mut [u8], pos: usize, number: i64) -> Option<usize> {
    let pos = put(out, pos, b"-", usize::from(number < 0))?;
    put_u64(out, pos, number.unsigned_abs())
}

/// The six digits of a fraction of a second without trailing zeros; nothing of zero.
#[inline(always)]
pub(crate) fn put_micros(out: &mut [u8], pos: usize, micros: u32) -> Option<usize> {
    if micros == 0 {
        return Some(pos);
    }
    let digits = eight(micros) >> 16;
    let trailing = (digits << 16).leading_zeros() / 8;
    let pos = put(out, pos, b".", 1)?;
    put(out, pos, &(digits | ZEROS).to_le_bytes(), 6 - trailing as usize)
}

/// Appends a number to bytes that grow.
pub(crate) fn append_u64(to: &mut Vec<u8>, number: u64) {
    let mut digits = [0; ROOM];
    let len = put_u64(&mut digits, 0, number).expect("there is room for the longest number");
    to.extend_from_slice(&digits[..len]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signed(number: i64) -> String {
        let mut out = [0; 40];
        let len = put_i64(&mut out, 0, number).unwrap();
        String::from_utf8(out[..len].to_vec()).unwrap()
    }

    fn unsigned(number: u64) -> String {
        let mut out = Vec::new();
        append_u64(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_length_reads_as_it_should() {
        let mut power = 1u64;
        loop {
            for number in [power - 1, power, power + 1, power.saturating_mul(9), power.saturating_mul(5) + 7] {
                assert_eq!(unsigned(number), number.to_string());
                let number = number as i64;
                assert_eq!(signed(number), number.to_string());
                assert_eq!(signed(number.wrapping_neg()), number.wrapping_neg().to_string());
            }
            let Some(next) = power.checked_mul(10) else { break };
            power = next;
        }
        for number in [0, i64::MIN, i64::MAX] {
            assert_eq!(signed(number), number.to_string());
        }
        assert_eq!(unsigned(u64::MAX), u64::MAX.to_string());
    }

    #[test]
    fn all_numbers_of_up_to_seven_digits_are_right() {
        for number in 0..10_000_000u64 {
            if number % 7 == 0 || number < 20_000 {
                let mut out = [0; ROOM];
                let len = put_u64(&mut out, 0, number).unwrap();
                assert_eq!(std::str::from_utf8(&out[..len]).unwrap().parse(), Ok(number));
                assert!(len == 1 || out[0] != b'0');
            }
        }
    }

    #[test]
    fn a_fraction_has_no_trailing_zero() {
        for (micros, expected) in [(0, ""), (1, ".000001"), (120_000, ".12"), (999_999, ".999999"), (100_000, ".1")] {
            let mut out = [0; ROOM];
            let len = put_micros(&mut out, 0, micros).unwrap();
            assert_eq!(std::str::from_utf8(&out[..len]).unwrap(), expected);
        }
    }

    proptest! {
        #[test]
        fn any_number_is_what_the_standard_library_writes(number: i64, shift in 0u32..63) {
            let number = number >> shift;
            prop_assert_eq!(signed(number), number.to_string());
            prop_assert_eq!(unsigned(number as u64), (number as u64).to_string());
        }
    }
}
