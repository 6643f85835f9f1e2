//! `pass`: asks for the columns `{"columns": [...]}` and keeps every row without a look at them. What a batch costs here, every
//! plugin that asks for these columns pays: `tidemill plugin bench` shows it beside each figure.

use tidemill_sdk::{Batch, Column, Config, Error, Failure, Filter, FilterPlan, Keep, Verdict};

pub struct Pass;

impl Filter for Pass {
    fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Pass, Error> {
        let config = config.value()?;
        for name in config["columns"].as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
            let _column: Column<()> = plan.require(name)?;
        }
        Ok(Pass)
    }

    fn process(&mut self, _batch: &Batch<'_>) -> Result<Verdict, Failure> {
        Ok(Keep::All.into())
    }
}

tidemill_sdk::filter!(Pass);
