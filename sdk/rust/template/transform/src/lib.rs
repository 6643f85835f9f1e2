//! A transform: lets all columns through, and adds one that is made of a text, as addresses of pages have it.

use serde::Deserialize;
use tidemill_sdk::{Batch, Column, Config, DataType, Error, Failure, MakeBytes, Transform, TransformPlan, Transformed};

/// What stands under `config:` of the stage.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    column: String,
    makes: String,
}

struct Plugin {
    column: Column<str>,
}

impl Transform for Plugin {
    /// Once for each table: asks for the columns that are needed, and says which come out. Nothing else ever gets here.
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Plugin, Error> {
        let settings: Settings = config.read()?;
        let column = plan.require(&settings.column)?;
        plan.pass_all_but(&[]);
        plan.make(settings.makes, DataType::Utf8);
        Ok(Plugin { column })
    }

    /// A batch of up to some ten thousand rows: brings the made columns, a value for each row.
    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let texts = batch.column(self.column);
        // None is NULL.
        let slugs = (0..batch.rows()).map(|row| texts.get(row).map(slug));
        Ok(Transformed::all(vec![MakeBytes::of(slugs)]))
    }
}

fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_lowercase).collect::<Vec<_>>().join("-")
}

tidemill_sdk::transform!(Plugin);
