//! A column of each type goes back as it came, so that every type is read and made.

use tidemill_sdk::{Batch, Buffers, Column, DataType, Error, MakeBytes, MakeNumbers, TransformPlan};

pub const NAMES: &[&str] =
    &["small", "count", "ref", "ratio", "score", "born", "seen", "at", "hour", "raw", "data", "price"];

pub struct Echo {
    small: Column<i16>,
    count: Column<i32>,
    reference: Column<u32>,
    ratio: Column<f32>,
    score: Column<f64>,
    born: Column<i32>,
    seen: Column<i64>,
    at: Column<i64>,
    hour: Column<i64>,
    raw: Column<[u8]>,
    data: Column<str>,
    price: Column<str>,
}

impl Echo {
    pub fn open(plan: &mut TransformPlan<'_>) -> Result<Echo, Error> {
        plan.make("small", DataType::Int16);
        plan.make("count", DataType::Int32);
        plan.make("ref", DataType::Uint32);
        plan.make("ratio", DataType::Float32);
        plan.make("score", DataType::Float64);
        plan.make("born", DataType::Date32);
        plan.make("seen", DataType::Timestamp);
        plan.make("at", DataType::TimestampUtc);
        plan.make("hour", DataType::Time64);
        plan.make("raw", DataType::Binary);
        plan.make_as("data", DataType::Utf8, Some("arrow.json"));
        plan.make_as("price", DataType::Utf8, Some("tidemill.numeric"));
        Ok(Echo {
            small: plan.require("small")?,
            count: plan.require("count")?,
            reference: plan.require("ref")?,
            ratio: plan.require("ratio")?,
            score: plan.require("score")?,
            born: plan.require("born")?,
            seen: plan.require("seen")?,
            at: plan.require("at")?,
            hour: plan.require("hour")?,
            raw: plan.require("raw")?,
            data: plan.require("data")?,
            price: plan.require("price")?,
        })
    }

    /// The columns of the rows that come out.
    pub fn columns(&self, batch: &Batch<'_>, rows: &[u32]) -> Vec<Buffers> {
        let rows = rows.iter().map(|row| *row as usize);
        macro_rules! echo {
            ($make:ident $column:ident) => {{
                let column = batch.column(self.$column);
                $make::of(rows.clone().map(|row| column.get(row)))
            }};
        }
        vec![
            echo!(MakeNumbers small),
            echo!(MakeNumbers count),
            echo!(MakeNumbers reference),
            echo!(MakeNumbers ratio),
            echo!(MakeNumbers score),
            echo!(MakeNumbers born),
            echo!(MakeNumbers seen),
            echo!(MakeNumbers at),
            echo!(MakeNumbers hour),
            echo!(MakeBytes raw),
            echo!(MakeBytes data),
            echo!(MakeBytes price),
        ]
    }
}
