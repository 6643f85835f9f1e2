//! The filter of the trio: the same as in `go/` and `python/`, byte for byte.

use std::io;

use serde::Deserialize;
use tidemill_sdk::{Batch, Bits, Column, Config, Error, Failure, Filter, FilterPlan, OrReject, RowError, Verdict};

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
            let keeps = self.keeps(quantity.get(row), name.get(row));
            keep.push(matches!(keeps, Ok(true)));
            rejects.extend(keeps.err().map(|error| error.at(row)));
        }
        Ok(Verdict { keep: keep.into_keep(), rejects })
    }
}

impl Enough {
    fn keeps(&self, quantity: Option<i64>, name: Option<&str>) -> Result<bool, RowError> {
        quantity.or(name.map(|_| 0)).or_reject("empty", "`quantity` and `name` are both null")?;
        let Some(quantity) = quantity else { return Ok(false) };
        // An error without a code of its own.
        quantity.checked_abs().ok_or_else(|| io::Error::other("`quantity` has no magnitude"))?;
        let is_without = name.is_some_and(|name| name.contains(&self.settings.without));
        Ok(quantity >= self.settings.at_least && !is_without)
    }
}

tidemill_sdk::filter!(Enough);
