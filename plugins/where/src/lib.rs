//! `where`: keeps the rows for which an SQL predicate, in Postgres' words and with Postgres' verdict, is true.
//!
//! Whatever it cannot judge as Postgres would, it refuses when it is opened, with the place in the predicate. A row that
//! Postgres would answer with an error is rejected with its SQLSTATE. The one doubt that only a row can raise (letters whose
//! case depends on the database's locale) rejects that row too.

use serde::Deserialize;
use tidemill_expr::Predicate;
use tidemill_sdk::{Batch, Config, Error, Failure, Filter, FilterPlan, Verdict};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    predicate: String,
}

#[derive(Debug)]
pub struct Where {
    predicate: Predicate,
}

impl Filter for Where {
    fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Where, Error> {
        let Settings { predicate } = config.read()?;
        let schema = plan.schema();
        let bound = Predicate::bind(&predicate, schema, plan).map_err(|refused| refused.of("predicate", &predicate))?;
        Ok(Where { predicate: bound })
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure> {
        let (keep, rejects) = self.predicate.keep(batch);
        Ok(Verdict { keep, rejects })
    }
}

tidemill_sdk::filter!(Where);
