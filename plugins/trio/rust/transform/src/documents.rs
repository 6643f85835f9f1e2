//! `documents`: brings whole documents as JSON, named by the key alone; every fifth row becomes two.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::de::IgnoredAny;
use tidemill_sdk::{
    Batch, Column, DataType, Error, Failure, MakeBytes, Naming, Reject, Rows, TransformPlan, Transformed,
};

pub struct Documents {
    id: Column<i64>,
    name: Column<str>,
    price: Column<str>,
    data: Column<str>,
    op: Column<str>,
}

impl Documents {
    pub fn open(plan: &mut TransformPlan<'_>) -> Result<Documents, Error> {
        plan.documents();
        for name in ["_id", "_index", "_routing"] {
            plan.make(name, DataType::Utf8);
        }
        plan.many();
        plan.naming(Naming::Key);
        Ok(Documents {
            id: plan.require("id")?,
            name: plan.require("name")?,
            price: plan.require("price")?,
            data: plan.require("data")?,
            op: plan.require_fact(tidemill_sdk::Fact::Op)?,
        })
    }

    pub fn process(&self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let (id, price, op) = (batch.column(self.id), batch.column(self.price), batch.column(self.op));
        let (mut rows, mut rejects) = (Vec::new(), Vec::new());
        let mut columns: [MakeBytes; 4] = Default::default();
        for row in 0..batch.rows() {
            let key = id.get(row).unwrap_or_default();
            if price.get(row) == Some("NaN") {
                let message = "`price` is not a number".to_owned();
                rejects.push(Reject { row: row as u32, code: "price".to_owned(), message });
                continue;
            }
            for number in 0..if key % 5 == 0 { 2 } else { 1 } {
                rows.push(row as u32);
                // Of a row that is removed only the names are looked at.
                let is_gone = op.get(row) == Some("remove");
                let document = if is_gone { "{}".to_owned() } else { self.document(batch, row, number) };
                columns[0].push(Some(document));
                columns[1].push(Some(format!("things {key}-{number}")));
                columns[2].push(Some(if key % 2 == 0 { "things-even" } else { "things-odd" }));
                columns[3].push(Some(format!("r{}", key % 7)));
            }
        }
        Ok(Transformed { rows: Rows::Indices(rows), columns: columns.map(MakeBytes::finish).into(), rejects })
    }

    fn document(&self, batch: &Batch<'_>, row: usize, number: u32) -> String {
        let (name, price, data) = (batch.column(self.name), batch.column(self.price), batch.column(self.data));
        let (name, price, data) = (name.get(row), price.get(row), data.get(row));
        let mut out = format!(r#"{{"id":{},"n":{number}"#, batch.column(self.id).get(row).unwrap_or_default());
        let price = match price {
            // Infinity.
            Some(price) if price.ends_with('y') => json(price),
            Some(price) => price.to_owned(),
            None => "null".to_owned(),
        };
        let words: Vec<String> = name.unwrap_or_default().split(' ').map(json).collect();
        let name = name.map_or("null".to_owned(), json);
        let members = data.and_then(|data| serde_json::from_str::<BTreeMap<String, IgnoredAny>>(data).ok());
        let members = members.map_or("null".to_owned(), |members| members.len().to_string());
        let (words, data) = (words.join(","), data.unwrap_or("null"));
        let _ = write!(out, r#","name":{name},"price":{price},"words":[{words}],"members":{members},"data":{data}}}"#);
        out
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
