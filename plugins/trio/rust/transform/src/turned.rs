//! `turned`: reads the lists that `lists` makes, and turns them round.

use std::ops::Range;

use tidemill_sdk::{
    Batch, Column, DataType, Error, Failure, List, MakeBytes, MakeNumbers, Reject, Rows, TransformPlan, Transformed,
    lists,
};

use crate::lists::DEEP;

type Deep = List<List<List<List<List<List<List<List<i64>>>>>>>>;

pub struct Turned {
    words: Column<List<str>>,
    codes: Column<List<List<i32>>>,
    prices: Column<List<str>>,
    flags: Column<List<bool>>,
    moments: Column<List<i64>>,
    scores: Column<List<f64>>,
    raws: Column<List<[u8]>>,
    all: Column<List<str>>,
    deep: Column<Deep>,
}

impl Turned {
    pub fn open(plan: &mut TransformPlan<'_>) -> Result<Turned, Error> {
        plan.pass_all_but(&["words", "codes", "prices", "flags", "moments", "scores", "raws", "all", "deep"]);
        plan.make_list("words", DataType::Utf8);
        plan.make_lists("codes", 2, DataType::Int32, None);
        plan.make("total", DataType::Int64);
        plan.make_lists("prices", 1, DataType::Utf8, Some("tidemill.numeric"));
        plan.make_list("flags", DataType::Boolean);
        plan.make_list("moments", DataType::TimestampUtc);
        plan.make_list("scores", DataType::Float64);
        plan.make_list("raws", DataType::Binary);
        plan.make_lists("all", 1, DataType::Utf8, Some("arrow.json"));
        plan.make_lists("deep", DEEP, DataType::Int64, None);
        Ok(Turned {
            words: plan.require("words")?,
            codes: plan.require("codes")?,
            prices: plan.require("prices")?,
            flags: plan.require("flags")?,
            moments: plan.require("moments")?,
            scores: plan.require("scores")?,
            raws: plan.require("raws")?,
            all: plan.require("all")?,
            deep: plan.require("deep")?,
        })
    }

    pub fn process(&self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let words = batch.column(self.words);
        let is_refused = |row: &usize| words.get(*row).is_some_and(|list| list.len() > 3);
        let message = "`words` has more than 3 elements";
        let reject = |row| Reject { row: row as u32, code: "words".to_owned(), message: message.to_owned() };
        let rejects = (0..batch.rows()).filter(is_refused).map(reject).collect();
        let rows = (0..batch.rows()).filter(|row| !is_refused(row));
        let mut columns = Vec::new();
        macro_rules! turn {
            ($make:expr, $column:ident) => {{
                let column = batch.column(self.$column);
                columns.push(lists(rows.clone().map(|row| column.get(row).map(|list| list.len()))));
                let elements = rows.clone().filter_map(|row| column.get(row)).flat_map(Range::rev);
                columns.push($make(elements.map(|at| column.elements().get(at))));
            }};
        }
        turn!(MakeBytes::of, words);
        let codes = batch.column(self.codes);
        columns.push(lists(rows.clone().map(|row| codes.get(row).map(|list| list.len()))));
        let inner = rows.clone().filter_map(|row| codes.get(row)).flat_map(Range::rev);
        columns.push(lists(inner.clone().map(|at| codes.elements().get(at).map(|list| list.len()))));
        let numbers = inner.filter_map(|at| codes.elements().get(at)).flat_map(Range::rev);
        columns.push(MakeNumbers::of(numbers.map(|at| codes.elements().elements().get(at))));
        columns.push(MakeNumbers::of(rows.clone().map(|row| {
            let inner = codes.get(row)?.filter_map(|at| codes.elements().get(at)).flatten();
            Some(inner.filter_map(|at| codes.elements().elements().get(at)).map(i64::from).sum::<i64>())
        })));
        turn!(MakeBytes::of, prices);
        turn!(FromIterator::from_iter, flags);
        turn!(MakeNumbers::of, moments);
        turn!(MakeNumbers::of, scores);
        turn!(MakeBytes::of, raws);
        turn!(MakeBytes::of, all);
        // Each list has one element, down to the last, which may be null.
        let deep = batch.column(self.deep);
        columns.extend((1..DEEP).map(|_| lists(rows.clone().map(|_| Some(1)))));
        let first = |row: usize| deep.get(row).map(|list| list.start);
        let third = |at: usize| deep.elements().elements().get(deep.elements().get(at)?.start).map(|list| list.start);
        let below = deep.elements().elements().elements();
        let sixth = |at: usize| {
            below.elements().elements().get(below.elements().get(below.get(at)?.start)?.start).map(|list| list.start)
        };
        let last = below.elements().elements().elements();
        let seventh = |row| last.get(sixth(third(first(row)?)?)?).map(|list| list.start);
        let innermost = |row| last.elements().get(seventh(row)?);
        columns.push(lists(rows.clone().map(|row| innermost(row).map(|list| list.len()))));
        let numbers = rows.clone().filter_map(innermost).flatten();
        columns.push(MakeNumbers::of(numbers.map(|at| last.elements().elements().get(at))));
        let rows = Rows::Indices(rows.map(|row| row as u32).collect());
        Ok(Transformed { rows, columns, rejects })
    }
}
