//! `lists`: makes columns of lists of what a row has: nulls, lists without elements and nulls in lists among them.

use tidemill_sdk::{
    Batch, Buffers, Column, DataType, Error, Failure, MakeBytes, MakeNumbers, TransformPlan, Transformed, lists,
};

/// As deep as lists may be.
pub const DEEP: usize = 8;

pub struct Lists {
    id: Column<i64>,
    name: Column<str>,
    price: Column<str>,
    active: Column<bool>,
    at: Column<i64>,
    score: Column<f64>,
    quantity: Column<i64>,
    raw: Column<[u8]>,
    data: Column<str>,
}

impl Lists {
    pub fn open(plan: &mut TransformPlan<'_>) -> Result<Lists, Error> {
        plan.pass_all_but(&[]);
        plan.make_list("words", DataType::Utf8);
        plan.make_lists("codes", 2, DataType::Int32, None);
        plan.make_lists("prices", 1, DataType::Utf8, Some("tidemill.numeric"));
        plan.make_list("flags", DataType::Boolean);
        plan.make_list("moments", DataType::TimestampUtc);
        plan.make_list("scores", DataType::Float64);
        plan.make_list("raws", DataType::Binary);
        plan.make_lists("all", 1, DataType::Utf8, Some("arrow.json"));
        plan.make_lists("deep", DEEP, DataType::Int64, None);
        Ok(Lists {
            id: plan.require("id")?,
            name: plan.require("name")?,
            price: plan.require("price")?,
            active: plan.require("active")?,
            at: plan.require("at")?,
            score: plan.require("score")?,
            quantity: plan.require("quantity")?,
            raw: plan.require("raw")?,
            data: plan.require("data")?,
        })
    }

    pub fn process(&self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let mut columns = words(batch, self.name);
        let rows = 0..batch.rows();
        let price = batch.column(self.price);
        columns.push(lists(rows.clone().map(|row| price.get(row).map(|_| 2))));
        columns
            .push(MakeBytes::of(rows.clone().filter_map(|row| price.get(row)).flat_map(|price| [Some(price), None])));
        let (active, at, score) = (batch.column(self.active), batch.column(self.at), batch.column(self.score));
        columns.push(lists(rows.clone().map(|_| Some(2))));
        columns.push(rows.clone().flat_map(|row| [active.get(row), at.get(row).map(|at| at < 0)]).collect());
        columns.push(lists(rows.clone().map(|row| Some(at.get(row).map_or(0, |_| 1)))));
        columns.push(MakeNumbers::of(rows.clone().filter_map(|row| at.get(row)).map(Some)));
        columns.push(lists(rows.clone().map(|_| Some(2))));
        columns.push(MakeNumbers::of(rows.clone().flat_map(|row| [None, score.get(row)])));
        let raw = batch.column(self.raw);
        columns.push(lists(rows.clone().map(|row| raw.get(row).map(|_| 2))));
        let halves = rows.clone().filter_map(|row| raw.get(row)).map(|raw| raw.split_at(raw.len() / 2));
        columns.push(MakeBytes::of(halves.flat_map(|(left, right)| [Some(left), Some(right)])));
        let data = batch.column(self.data);
        columns.push(lists(rows.clone().map(|row| data.get(row).map(|_| 1))));
        columns.push(MakeBytes::of(rows.clone().filter_map(|row| data.get(row)).map(Some)));
        let (id, quantity) = (batch.column(self.id), batch.column(self.quantity));
        columns.extend((1..DEEP).map(|_| lists(rows.clone().map(|_| Some(1)))));
        let innermost = |row| id.get(row).is_some_and(|id| id % 3 != 0);
        columns.push(lists(rows.clone().map(|row| innermost(row).then_some(1))));
        columns.push(MakeNumbers::of(rows.filter(|row| innermost(*row)).map(|row| quantity.get(row))));
        Ok(Transformed::all(columns))
    }
}

/// A name's words, and of each the characters' codes. A word of no characters is null.
fn words(batch: &Batch<'_>, name: Column<str>) -> Vec<Buffers> {
    let name = batch.column(name);
    let names = (0..batch.rows()).map(|row| name.get(row));
    let words = names.clone().flatten().flat_map(|name| name.split(' ')).map(|word| (!word.is_empty()).then_some(word));
    let lens = || lists(names.clone().map(|name| Some(name?.split(' ').count())));
    let codes = words.clone().flatten().flat_map(str::chars).map(|code| Some(code as i32));
    vec![
        lens(),
        MakeBytes::of(words.clone()),
        lens(),
        lists(words.map(|word| Some(word?.chars().count()))),
        MakeNumbers::of(codes),
    ]
}
