//! Functions of texts.

use super::value::both;
use super::{Eval, Vector};
use crate::bits::Bits;
use crate::fault::Fault;
use crate::node::Node;

impl<'b> Eval<'b> {
    /// `lower` and `upper`. Beyond ASCII the answer is the database's locale's, so that a row with such a letter fails,
    /// unless the collation is C, where these letters have no case.
    pub(super) fn case(&mut self, upper: bool, c: bool, inner: &Node, active: &Bits) -> Vector<'b> {
        let Vector { data, valid } = self.vector(inner, active);
        self.make_texts(active, valid, |row, into| {
            let text = data.bytes(row);
            if !c && !text.is_ascii() && !str::from_utf8(text).is_ok_and(|text| text.chars().all(has_no_doubt)) {
                return Err(Fault::locale(if upper { "upper" } else { "lower" }));
            }
            let change = if upper { u8::to_ascii_uppercase } else { u8::to_ascii_lowercase };
            into.extend(text.iter().map(change));
            Ok(true)
        })
    }

    pub(super) fn length(&mut self, bytes: bool, inner: &Node, active: &Bits) -> Vector<'b> {
        let Vector { data, valid } = self.vector(inner, active);
        self.make_ints(active, valid, |row| {
            let text = data.bytes(row);
            let starts = || text.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
            Ok(if bytes { text.len() } else { starts() } as i64)
        })
    }

    pub(super) fn join(&mut self, left: &Node, right: &Node, active: &Bits) -> Vector<'b> {
        let (left, right) = (self.vector(left, active), self.vector(right, active));
        let valid = both(left.valid.as_ref(), right.valid.as_ref());
        self.make_texts(active, valid, |row, into| {
            into.extend_from_slice(left.data.bytes(row));
            into.extend_from_slice(right.data.bytes(row));
            Ok(true)
        })
    }
}

/// A character that no locale changes the case of.
fn has_no_doubt(char: char) -> bool {
    char.is_ascii() || char.to_lowercase().eq([char]) && char.to_uppercase().eq([char])
}
