//! Which of a call's rows come out.
//!
//! A bitmap stays one until it is laid over a batch, so that a call costs what its answer has in bytes and not in rows.

use crate::abi::{Keep, Rows};

/// Which of a call's rows come out, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Picked {
    All,
    Bits(Bits),
    Rows(Vec<u32>),
}

/// A bit a row, the first in the lowest bit of the first byte; 0 past the last row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    bytes: Vec<u8>,
    ones: usize,
}

impl Picked {
    pub(crate) fn of_filter(keep: Keep, rows: usize) -> Result<Picked, String> {
        match keep {
            Keep::All => Ok(Picked::All),
            Keep::None => Ok(Picked::none()),
            Keep::Bitmap(bytes) => Picked::of_bitmap(bytes, rows),
        }
    }

    /// `many`: a row may come out more than once.
    pub(crate) fn of_transform(picked: Rows, rows: usize, many: bool) -> Result<Picked, String> {
        match picked {
            Rows::All => Ok(Picked::All),
            Rows::None => Ok(Picked::none()),
            Rows::Bitmap(bytes) => Picked::of_bitmap(bytes, rows),
            Rows::Indices(indices) => Picked::of_indices(indices, rows, many),
        }
    }

    pub(crate) fn none() -> Picked {
        Picked::Rows(Vec::new())
    }

    fn of_bitmap(mut bytes: Vec<u8>, rows: usize) -> Result<Picked, String> {
        if bytes.len() != rows.div_ceil(8) {
            let wanted = rows.div_ceil(8);
            return Err(format!("its bitmap has {} bytes, and {rows} rows need {wanted}", bytes.len()));
        }
        // Bits past the last row mean nothing.
        if let Some(last) = bytes.last_mut().filter(|_| !rows.is_multiple_of(8)) {
            *last &= u8::MAX >> (8 - rows % 8);
        }
        let (words, rest) = bytes.as_chunks::<8>();
        let words = words.iter().map(|word| u64::from_le_bytes(*word).count_ones());
        let ones = words.chain(rest.iter().map(|byte| byte.count_ones())).sum::<u32>() as usize;
        Ok(if ones == rows { Picked::All } else { Picked::Bits(Bits { bytes, ones }) })
    }

    fn of_indices(indices: Vec<u32>, rows: usize, many: bool) -> Result<Picked, String> {
        if let Some(row) = indices.iter().find(|row| **row as usize >= rows) {
            return Err(format!("its index list names row {row}, and there are {rows}"));
        }
        if !many {
            let mut seen = vec![false; rows];
            if let Some(row) = indices.iter().find(|row| std::mem::replace(&mut seen[**row as usize], true)) {
                return Err(format!("its index list names row {row} twice, and its plan does not say `many`"));
            }
        }
        Ok(Picked::Rows(indices))
    }

    /// How many of so many rows come out.
    pub(crate) fn len(&self, rows: usize) -> usize {
        match self {
            Picked::All => rows,
            Picked::Bits(bits) => bits.ones,
            Picked::Rows(picked) => picked.len(),
        }
    }

    /// The rows by their places; none where all come out as they lie.
    pub(crate) fn into_rows(self) -> Option<Vec<u32>> {
        match self {
            Picked::All => None,
            Picked::Bits(bits) => Some(bits.places()),
            Picked::Rows(picked) => Some(picked),
        }
    }
}

/// For each byte where its ones are, the lowest first, and how many.
const ONES: [([u8; 8], u8); 256] = {
    let mut table = [([0; 8], 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let (places, ones) = &mut table[byte];
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                places[*ones as usize] = bit;
                *ones += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

impl Bits {
    /// Eight places are written for each byte, whatever it has; the next ones overwrite what was too much.
    fn places(&self) -> Vec<u32> {
        let mut places = vec![0; self.ones + 8];
        let mut at = 0;
        for (first, byte) in (0..).step_by(8).zip(&self.bytes) {
            let (ones, count) = &ONES[usize::from(*byte)];
            if let Some(into) = places.get_mut(at..).and_then(<[u32]>::first_chunk_mut) {
                *into = ones.map(|place| first + u32::from(place));
            }
            at += usize::from(*count);
        }
        places.truncate(self.ones);
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bitmap_names_its_rows_and_no_others() {
        let rows = |bits: &[u8], rows| Picked::of_bitmap(bits.to_vec(), rows).map(Picked::into_rows);
        assert_eq!(rows(&[0b1000_0101, 0xff], 9).unwrap(), Some(vec![0, 2, 7, 8]));
        assert_eq!(rows(&[0xff, 0x01], 9).unwrap(), None);
        assert_eq!(rows(&[], 0).unwrap(), None);
        let mut bits = vec![0; 25];
        (bits[9], bits[24]) = (2, 128);
        assert_eq!(rows(&bits, 200).unwrap(), Some(vec![73, 199]));
        assert!(rows(&[0xff], 9).is_err() && rows(&[0; 3], 9).is_err());
    }

    #[test]
    fn every_byte_gives_its_places() {
        let bytes: Vec<u8> = (0..=255).rev().collect();
        let wanted: Vec<u32> = (0..2048).filter(|row| bytes[*row as usize / 8] >> (row % 8) & 1 == 1).collect();
        for rows in [2041, 2047, 2048] {
            let picked = Picked::of_bitmap(bytes.clone(), rows).unwrap();
            let wanted: Vec<u32> = wanted.iter().copied().filter(|row| (*row as usize) < rows).collect();
            assert_eq!(picked.len(rows), wanted.len());
            assert_eq!(picked.into_rows(), Some(wanted));
        }
    }
}
