use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};

/// A bitmap that only knows where it is set, so that what is not set costs nothing: the common row has no null.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    #[inline]
    pub(crate) fn set(&mut self, index: usize) {
        let word = index / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (index % 64);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The first `len` bits; none is set afterwards.
    pub(crate) fn take(&mut self, len: usize) -> BooleanBuffer {
        let mut words = std::mem::take(&mut self.words);
        words.resize(len.div_ceil(64), 0);
        for word in &mut words {
            *word = word.to_le();
        }
        BooleanBuffer::new(Buffer::from_vec(words), 0, len)
    }

    /// The set bits as nulls among `len` values, or `None` where none is set.
    pub(crate) fn take_nulls(&mut self, len: usize) -> Option<NullBuffer> {
        if self.is_empty() {
            return None;
        }
        let mut words = std::mem::take(&mut self.words);
        words.resize(len.div_ceil(64), 0);
        for word in &mut words {
            *word = (!*word).to_le();
        }
        Some(NullBuffer::new(BooleanBuffer::new(Buffer::from_vec(words), 0, len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_what_was_set() {
        for set in [vec![], vec![0], vec![63, 64], vec![1, 129]] {
            let (mut bits, mut nulls) = (Bits::default(), Bits::default());
            set.iter().for_each(|&i| bits.set(i));
            set.iter().for_each(|&i| nulls.set(i));
            assert_eq!(bits.take(130).set_indices().collect::<Vec<_>>(), set);
            let found = nulls.take_nulls(130);
            assert_eq!(found.is_none(), set.is_empty());
            assert_eq!(found.map_or(0, |n| n.null_count()), set.len());
            assert!(bits.is_empty() && nulls.is_empty());
        }
    }
}
