//! The filter of the trio: the same as in `go/` and `python/`, byte for byte.

use serde::Deserialize;
use tidemill_sdk::{Batch, Bits, Column, Config, Error, Failure, Filter, FilterPlan, Reject, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    at_least: i64,
    without: String,
}

pub struct Enough {
    settings: Settings,
    quantity: Column<i64>,
    name: Column<str>,
}

impl Filter for Enough {
    fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Enough, Error> {
        Ok(Enough { settings: config.read()?, quantity: plan.require("quantity")?, name: plan.require("name")? })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure> {
        let (quantity, name) = (batch.column(self.quantity), batch.column(self.name));
        let (mut keep, mut rejects) = (Bits::default(), Vec::new());
        for row in 0..batch.rows() {
            let (quantity, name) = (quantity.get(row), name.get(row));
            if quantity.is_none() && name.is_none() {
                let message = "`quantity` and `name` are both null".to_owned();
                rejects.push(Reject { row: row as u32, code: "empty".to_owned(), message });
            }
            let is_enough = quantity.is_some_and(|quantity| quantity >= self.settings.at_least);
            keep.push(is_enough && !name.is_some_and(|name| name.contains(&self.settings.without)));
        }
        Ok(Verdict { keep: keep.into_keep(), rejects })
    }
}

tidemill_sdk::filter!(Enough);
