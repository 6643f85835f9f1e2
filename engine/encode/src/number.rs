//! Whole numbers as decimal digits.
//!
//! Eight digits are made at once in one register and stored as a block, so that no loop or branch depends on how many
//! there are within it: ids, versions, years and most columns are of this kind.

use crate::text::{CELL, Cell};

const TEN_8: u64 = 100_000_000;

/// The digits of a number below 10^8, one a byte, the first digit lowest.
#[inline(always)]
fn eight(number: u32) -> u64 {
    let number = u64::from(number);
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Puts eight digits, leading zeros and all.
#[inline(always)]
pub(crate) fn put_eight(cell: &mut Cell<'_>, number: u32) {
    cell.put(&(eight(number) | ZEROS).to_le_bytes(), 8);
}

/// Puts a number below 10^8 without leading zeros.
#[inline(always)]
fn put_short(cell: &mut Cell<'_>, number: u32) {
    let digits = eight(number);
    // Of a zero the last digit stays.
    let leading = (digits | 1 << 56).trailing_zeros() / 8;
    cell.put(&((digits | ZEROS) >> (8 * leading)).to_le_bytes(), 8 - leading as usize);
}

#[inline(always)]
pub(crate) fn put_u64(cell: &mut Cell<'_>, number: u64) {
    if number < TEN_8 {
        return put_short(cell, number as u32);
    }
    let (high, low) = (number / TEN_8, (number % TEN_8) as u32);
    if high < TEN_8 {
        put_short(cell, high as u32);
    } else {
        put_short(cell, (high / TEN_8) as u32);
        put_eight(cell, (high % TEN_8) as u32);
    }
    put_eight(cell, low);
}

#[inline(always)]
pub(crate) fn put_i64(cell: &mut Cell<'_>, number: i64) {
    cell.put(b"-", usize::from(number < 0));
    put_u64(cell, number.unsigned_abs());
}

/// Puts the six digits of a fraction of a second without trailing zeros; nothing of zero.
#[inline(always)]
pub(crate) fn put_micros(cell: &mut Cell<'_>, micros: u32) {
    let digits = eight(micros) >> 16;
    // Six of them, or fewer by the zeros at the end: of nothing but zeros none.
    let count = 6 - (digits << 16).leading_zeros().min(48) as usize / 8;
    // The point counts where a digit follows it.
    cell.put(b".", usize::from(micros != 0));
    cell.put(&(digits | ZEROS).to_le_bytes(), count);
}

/// Appends a number to bytes that grow.
pub(crate) fn append_i64(to: &mut Vec<u8>, number: i64) {
    let mut room = [0; CELL];
    let mut cell = Cell::new(&mut room);
    put_i64(&mut cell, number);
    to.extend_from_slice(cell.bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(put: impl Fn(&mut Cell<'_>)) -> String {
        let mut room = [0; CELL];
        let mut cell = Cell::new(&mut room);
        put(&mut cell);
        String::from_utf8(cell.bytes().to_vec()).unwrap()
    }

    fn signed(number: i64) -> String {
        let mut out = Vec::new();
        append_i64(&mut out, number);
        String::from_utf8(out).unwrap()
    }

    fn unsigned(number: u64) -> String {
        text(|cell| put_u64(cell, number))
    }

    #[test]
    fn every_length_reads_as_it_should() {
        let mut power = 1u64;
        loop {
            for number in [power - 1, power, power + 1, power.saturating_mul(9), power.saturating_mul(5) / 3] {
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
                let text = unsigned(number);
                assert_eq!(text.parse(), Ok(number));
                assert!(text.len() == 1 || !text.starts_with('0'));
            }
        }
    }

    #[test]
    fn a_fraction_has_no_trailing_zero() {
        for (micros, expected) in [(0, ""), (1, ".000001"), (120_000, ".12"), (999_999, ".999999"), (100_000, ".1")] {
            assert_eq!(text(|cell| put_micros(cell, micros)), expected);
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
