use std::sync::Arc;

/// Columns of a table, by their places, that nobody reads: their cells were neither parsed nor kept.
///
/// Such a column is still there, as nulls, so that the table keeps its shape. The nulls are not the rows': whoever would read
/// one refuses that, by [`LeftOut::has`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut(Arc<[usize]>);

impl LeftOut {
    /// All of so many columns but these.
    pub fn but(columns: usize, needed: &[usize]) -> LeftOut {
        LeftOut((0..columns).filter(|column| !needed.contains(column)).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn has(&self, column: usize) -> bool {
        self.0.binary_search(&column).is_ok()
    }

    /// Those of so many columns that are not left out, ascending.
    pub fn kept(&self, columns: usize) -> Vec<usize> {
        (0..columns).filter(|column| !self.has(*column)).collect()
    }

    /// What is left out here and there.
    #[must_use]
    pub fn and(&self, other: &LeftOut) -> LeftOut {
        LeftOut(self.0.iter().copied().filter(|column| other.has(*column)).collect())
    }

    /// Whether all that is left out here is left out there.
    pub fn is_within(&self, other: &LeftOut) -> bool {
        self.0.iter().all(|column| other.has(*column))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_one_of_two_needs_are_not_left_out() {
        let (one, two) = (LeftOut::but(5, &[0, 3]), LeftOut::but(5, &[0, 1]));
        assert_eq!((one.kept(5), two.kept(5)), (vec![0, 3], vec![0, 1]));
        let both = one.and(&two);
        assert_eq!(both.kept(5), [0, 1, 3]);
        assert!(both.is_within(&one) && both.is_within(&two) && !one.is_within(&both));
        assert!(one.has(1) && !one.has(3) && !one.has(5));
        assert!(LeftOut::default().is_empty() && LeftOut::but(2, &[1, 0]).is_empty());
    }
}
