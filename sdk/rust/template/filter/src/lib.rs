//! A filter: keeps the rows whose text has a word in it.

use serde::Deserialize;
use tidemill_sdk::{Batch, Column, Config, Error, Failure, Filter, FilterPlan, Verdict};

/// What stands under `config:` of the stage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    column: String,
    word: String,
}

struct Plugin {
    column: Column<str>,
    word: String,
}

impl Filter for Plugin {
    /// Once for each table: asks for the columns that are needed. Nothing else ever gets here.
    fn open(config: Config<'_>, plan: &mut FilterPlan<'_>) -> Result<Plugin, Error> {
        let settings: Settings = config.read()?;
        Ok(Plugin { column: plan.require(&settings.column)?, word: settings.word.to_lowercase() })
    }

    /// A batch of up to some ten thousand rows: says which of them stay.
    fn process(&mut self, batch: &Batch<'_>) -> Result<Verdict, Failure> {
        let texts = batch.column(self.column);
        Ok(Verdict::keep((0..batch.rows()).map(|row| {
            // None is NULL.
            texts.get(row).is_some_and(|text| text.to_lowercase().contains(&self.word))
        })))
    }
}

tidemill_sdk::filter!(Plugin);
