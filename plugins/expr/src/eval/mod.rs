//! A bound expression over a batch, a column at a time.
//!
//! Truth has two masks: the rows where it is yes and those where it is no; where neither is set it is unknown. Rows that
//! failed are kept apart with their first fault, and rows that are not asked for (behind a false in an `and`) are left out
//! of whatever can fail.

mod cast;
mod compare;
mod json;
mod text;
mod value;

use tidemill_sdk::{Batch, Column};

use crate::bits::Bits;
use crate::fault::Fault;
use crate::node::{Const, Node, Source};

pub(crate) use cast::constant as cast_constant;
pub(crate) use value::{Data, Vector};

/// True, false or unknown for each row.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    pub(crate) yes: Bits,
    pub(crate) no: Bits,
}

impl Truth {
    /// Of the rows that hold, among those that have a value.
    fn of(yes: Bits, valid: Option<&Bits>) -> Truth {
        match valid {
            None => Truth { no: yes.clone().not(), yes },
            Some(valid) => {
                let yes = yes.and(valid);
                Truth { no: valid.clone().and_not(&yes), yes }
            }
        }
    }

    fn known(self) -> Bits {
        self.yes.or(&self.no)
    }
}

pub(crate) struct Eval<'b> {
    batch: &'b Batch<'b>,
    rows: usize,
    failed: Bits,
    faults: Vec<(u32, Fault)>,
}

impl<'b> Eval<'b> {
    pub(crate) fn new(batch: &'b Batch<'b>) -> Eval<'b> {
        Eval { batch, rows: batch.rows(), failed: Bits::none(batch.rows()), faults: Vec::new() }
    }

    pub(crate) fn all(&self) -> Bits {
        Bits::all(self.rows)
    }

    /// The rows that failed so far.
    pub(crate) fn failed(&self) -> &Bits {
        &self.failed
    }

    pub(crate) fn into_faults(mut self) -> Vec<(u32, Fault)> {
        self.faults.sort_by_key(|(row, _)| *row);
        self.faults
    }

    fn fail(&mut self, row: usize, fault: Fault) {
        if !self.failed.get(row) {
            self.failed.set(row);
            self.faults.push((row as u32, fault));
        }
    }

    /// The truth of the active rows; of others it may be anything.
    pub(crate) fn truth(&mut self, node: &Node, active: &Bits) -> Truth {
        match node {
            Node::Const(constant) => {
                let is = |wanted| if *constant == Const::Bool(wanted) { self.all() } else { Bits::none(self.rows) };
                Truth { yes: is(true), no: is(false) }
            }
            Node::Column(Source::Bool(column)) => {
                let yes = Bits::from_bytes(self.batch.column(*column).bits(), self.rows);
                Truth::of(yes, self.valid(*column).as_ref())
            }
            Node::And(parts) => self.and(parts, active),
            Node::Or(parts) => self.or(parts, active),
            Node::Not(inner) => {
                let Truth { yes, no } = self.truth(inner, active);
                Truth { yes: no, no: yes }
            }
            Node::Test { node, yes, no, unknown } => self.test(node, [*yes, *no, *unknown], active),
            Node::IsNull(inner) => {
                let valid = self.validity(inner, active);
                Truth::of(valid.map_or_else(|| Bits::none(self.rows), Bits::not), None)
            }
            Node::Known(inner, is) => {
                let valid = self.validity(inner, active);
                let yes = if *is { self.all() } else { Bits::none(self.rows) };
                Truth::of(yes, valid.as_ref())
            }
            Node::Compare { op, by, left, right } => self.compare(*op, *by, left, right, active),
            Node::Same { by, left, right } => self.same(*by, left, right, active),
            Node::Like { text, pattern } => self.like(text, pattern, active),
            Node::LikeIgnoreCase { text, pattern, c } => self.like_ignore_case(text, pattern, *c, active),
            Node::Any { by, left, array } => self.any(*by, left, array, active),
            other => {
                let vector = self.vector(other, active);
                vector.into_truth(self.rows)
            }
        }
    }

    fn and(&mut self, parts: &[Node], active: &Bits) -> Truth {
        let mut whole = Truth { yes: self.all(), no: Bits::none(self.rows) };
        for part in parts {
            // What is false already is not asked again, where asking could fail.
            let narrowed = part.can_fail().then(|| active.clone().and_not(&whole.no).and_not(&self.failed));
            let part = self.truth(part, narrowed.as_ref().unwrap_or(active));
            let no = match &narrowed {
                Some(asked) => part.no.and(asked),
                None => part.no,
            };
            whole = Truth { yes: whole.yes.and(&part.yes), no: whole.no.or(&no) };
        }
        whole
    }

    fn or(&mut self, parts: &[Node], active: &Bits) -> Truth {
        let mut whole = Truth { yes: Bits::none(self.rows), no: self.all() };
        for part in parts {
            let narrowed = part.can_fail().then(|| active.clone().and_not(&whole.yes).and_not(&self.failed));
            let part = self.truth(part, narrowed.as_ref().unwrap_or(active));
            let yes = match &narrowed {
                Some(asked) => part.yes.and(asked),
                None => part.yes,
            };
            whole = Truth { yes: whole.yes.or(&yes), no: whole.no.and(&part.no) };
        }
        whole
    }

    fn test(&mut self, node: &Node, [yes, no, unknown]: [bool; 3], active: &Bits) -> Truth {
        let truth = self.truth(node, active);
        let mut passed = Bits::none(self.rows);
        if yes {
            passed = passed.or(&truth.yes);
        }
        if no {
            passed = passed.or(&truth.no);
        }
        if unknown {
            passed = passed.or(&truth.known().not());
        }
        Truth::of(passed, None)
    }

    /// The rows that have a value; `None` where all have one.
    fn validity(&mut self, node: &Node, active: &Bits) -> Option<Bits> {
        match node {
            Node::Column(Source::Bool(column)) => self.valid(*column),
            Node::Column(Source::Int2(column)) => self.valid(*column),
            Node::Column(Source::Int4(column)) => self.valid(*column),
            Node::Column(Source::Int8(column)) => self.valid(*column),
            Node::Column(Source::Oid(column)) => self.valid(*column),
            Node::Column(Source::Float4(column)) => self.valid(*column),
            Node::Column(Source::Float8(column)) => self.valid(*column),
            Node::Column(Source::Bytes(column)) => self.valid(*column),
            other => self.vector(other, active).valid,
        }
    }

    fn valid<T: ?Sized>(&self, column: Column<T>) -> Option<Bits> {
        self.batch.validity(column).map(|bits| Bits::from_bytes(bits, self.rows))
    }
}
