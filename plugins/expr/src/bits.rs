//! A bit a row, in words. Bits past the last row are always 0.
//!
//! Loops over rows are functions of their own: in the large one that an expression's evaluation becomes, their variables would be
//! on the stack.

use tidemill_sdk::{Bytes, Keep};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bits {
    words: Vec<u64>,
    rows: usize,
}

impl Bits {
    pub fn none(rows: usize) -> Bits {
        Bits { words: vec![0; rows.div_ceil(64)], rows }
    }

    pub fn all(rows: usize) -> Bits {
        Bits { words: vec![u64::MAX; rows.div_ceil(64)], rows }.trimmed()
    }

    pub fn from_bytes(bytes: &[u8], rows: usize) -> Bits {
        let (whole, rest) = bytes.as_chunks::<8>();
        let mut words: Vec<u64> = whole.iter().map(|word| u64::from_le_bytes(*word)).collect();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            words.push(u64::from_le_bytes(last));
        }
        words.resize(rows.div_ceil(64), 0);
        Bits { words, rows }.trimmed()
    }

    /// One bit for each item, by a test that compiles to vector code where items are small: first a byte each, then eight bytes to
    /// eight bits. Of items of eight bytes too few fit into a vector.
    #[inline(never)]
    pub fn of<T: Copy>(items: &[T], test: impl Fn(T) -> bool) -> Bits {
        let (whole, rest) = items.as_chunks::<64>();
        let mut words = Vec::with_capacity(items.len().div_ceil(64));
        if size_of::<T>() < 8 {
            words.extend(whole.iter().map(|chunk| pack(&std::array::from_fn(|at| u8::from(test(chunk[at]))))));
        } else {
            words.extend(whole.iter().map(|chunk| {
                let (bytes, _) = chunk.as_chunks::<8>();
                u64::from_le_bytes(std::array::from_fn(|byte| {
                    (0..8).fold(0, |bits, bit| bits | u8::from(test(bytes[byte][bit])) << bit)
                }))
            }));
        }
        if !rest.is_empty() {
            words.push((0..).zip(rest).fold(0, |word, (bit, item)| word | u64::from(test(*item)) << bit));
        }
        Bits { words, rows: items.len() }
    }

    /// One bit for each text. Eight texts are one turn of the loop, since at each turn a component looks at its deadline.
    #[inline(never)]
    pub fn of_texts(texts: Bytes<'_>, test: impl Fn(&[u8]) -> bool) -> Bits {
        let (ends, values) = texts.raw();
        let rows = ends.len().saturating_sub(1);
        let mut words = vec![0; rows.div_ceil(64)];
        let bytes = ends.array_windows::<9>().step_by(8).map(|ends| {
            let ends = ends.map(|end| u32::from_le_bytes(end) as usize);
            (0..8).fold(0, |byte, row| byte | u64::from(test(&values[ends[row]..ends[row + 1]])) << row)
        });
        for (at, byte) in bytes.enumerate() {
            words[at / 8] |= byte << (at % 8 * 8);
        }
        for row in rows / 8 * 8..rows {
            words[row / 64] |= u64::from(test(texts.value(row))) << (row % 64);
        }
        Bits { words, rows }
    }

    /// One bit a row, by its place.
    #[inline(never)]
    pub fn by_row(rows: usize, mut test: impl FnMut(usize) -> bool) -> Bits {
        let word = |at: usize| {
            let from = at * 64;
            (from..rows.min(from + 64)).fold(0, |word, row| word | u64::from(test(row)) << (row - from))
        };
        Bits { words: (0..rows.div_ceil(64)).map(word).collect(), rows }
    }

    pub fn and(mut self, other: &Bits) -> Bits {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
        self
    }

    pub fn or(mut self, other: &Bits) -> Bits {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
        self
    }

    pub fn and_not(mut self, other: &Bits) -> Bits {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
        self
    }

    pub fn not(mut self) -> Bits {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.trimmed()
    }

    fn trimmed(mut self) -> Bits {
        let over = self.words.len() * 64 - self.rows;
        if let Some(last) = self.words.last_mut() {
            *last &= u64::MAX >> over;
        }
        self
    }

    pub fn get(&self, row: usize) -> bool {
        self.words[row / 64] >> (row % 64) & 1 == 1
    }

    pub fn set(&mut self, row: usize) {
        self.words[row / 64] |= 1 << (row % 64);
    }

    pub fn unset(&mut self, row: usize) {
        self.words[row / 64] &= !(1 << (row % 64));
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub fn ones(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at as u32 * 64 + bit)
            })
        })
    }

    pub fn into_keep(self) -> Keep {
        match self.count() {
            ones if ones == self.rows => Keep::All,
            0 => Keep::None,
            _ => {
                let mut bytes: Vec<u8> = self.words.iter().flat_map(|word| word.to_le_bytes()).collect();
                bytes.truncate(self.rows.div_ceil(8));
                Keep::Bitmap(bytes)
            }
        }
    }
}

/// Bytes of 0 and 1 to bits. The product brings the lowest bit of each byte into the highest byte, each to its place.
fn pack(flags: &[u8; 64]) -> u64 {
    let (bytes, _) = flags.as_chunks::<8>();
    let bits = bytes.iter().map(|bytes| u64::from_le_bytes(*bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56);
    bits.enumerate().fold(0, |word, (at, bits)| word | bits << (at * 8))
}

#[cfg(test)]
pub(crate) mod tests {
    use tidemill_sdk::{Batch, DataType, Field, FilterPlan, MakeBytes, Schema};

    use super::*;

    /// A column of these texts.
    pub(crate) fn with_texts<T>(texts: &[impl AsRef<[u8]>], then: impl FnOnce(Bytes<'_>) -> T) -> T {
        let field = Field { name: "t".into(), data_type: DataType::Utf8, extension: None, postgres_type: None };
        let schema = Schema { namespace: "n".into(), table: "t".into(), key: vec![], fields: vec![field], old: vec![] };
        let column = FilterPlan::new(&schema).require::<[u8]>("t").unwrap();
        let buffers = [MakeBytes::of(texts.iter().map(|text| Some(text.as_ref())))];
        then(Batch::new(texts.len(), &buffers).column(column))
    }

    #[test]
    fn bits_past_the_last_row_stay_zero() {
        for rows in [0, 1, 7, 8, 63, 64, 65, 130] {
            assert_eq!(Bits::all(rows).count(), rows);
            assert_eq!(Bits::none(rows).not(), Bits::all(rows));
            assert_eq!(Bits::from_bytes(&vec![255; rows.div_ceil(8)], rows), Bits::all(rows));
            let odd = Bits::by_row(rows, |row| row % 2 == 1);
            assert_eq!(odd, Bits::of(&(0..rows).collect::<Vec<_>>(), |row| row % 2 == 1));
            let texts: Vec<&[u8]> = (0..rows).map(|row| &b"ab"[row % 2..]).collect();
            assert_eq!(odd, with_texts(&texts, |texts| Bits::of_texts(texts, |text| text == b"b")));
            let some = |row: usize| row * 7919 % 13 < 5;
            assert_eq!(Bits::by_row(rows, some), Bits::of(&(0..rows).collect::<Vec<_>>(), some));
            assert_eq!(odd.ones().collect::<Vec<_>>(), (0..rows as u32).filter(|row| row % 2 == 1).collect::<Vec<_>>());
        }
    }
}
