//! The transform of the trio: the same as in `go/` and `python/`, byte for byte.

use serde::Deserialize;
use tidemill_sdk::{
    Batch, Column, Config, DataType, Error, Failure, MakeBytes, MakeNumbers, Reject, Rows, Transform, TransformPlan,
    Transformed,
};

const DAY: i64 = 86_400_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    prefix: String,
    twice: bool,
}

pub struct Label {
    settings: Settings,
    id: Column<i64>,
    price: Column<str>,
    name: Column<str>,
    active: Column<bool>,
    at: Column<i64>,
    score: Column<f64>,
}

/// One row's values of the required columns.
struct Row<'a> {
    id: i64,
    price: Option<&'a str>,
    name: Option<&'a str>,
    active: Option<bool>,
    at: Option<i64>,
    score: Option<f64>,
}

/// The made columns of one document; `_id` comes from its row's id and its number among the row's documents.
struct Document {
    label: Option<String>,
    cents: Option<i64>,
    early: Option<bool>,
}

impl Transform for Label {
    fn open(config: Config<'_>, plan: &mut TransformPlan<'_>) -> Result<Label, Error> {
        let settings: Settings = config.read()?;
        let label = Label {
            id: plan.require("id")?,
            price: plan.require("price")?,
            name: plan.require("name")?,
            active: plan.require("active")?,
            at: plan.require("at")?,
            score: plan.require("score")?,
            settings,
        };
        plan.pass_all_but(&["active"]);
        plan.make("label", DataType::Utf8);
        plan.make("cents", DataType::Int64);
        plan.make("early", DataType::Boolean);
        if label.settings.twice {
            plan.make("_id", DataType::Utf8);
            plan.many();
        }
        Ok(label)
    }

    fn process(&mut self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let (id, price, name) = (batch.column(self.id), batch.column(self.price), batch.column(self.name));
        let (active, at, score) = (batch.column(self.active), batch.column(self.at), batch.column(self.score));
        let (mut rows, mut rejects) = (Vec::new(), Vec::new());
        let (mut labels, mut cents, mut early) = (MakeBytes::default(), MakeNumbers::default(), Vec::new());
        let mut ids = MakeBytes::default();
        for place in 0..batch.rows() {
            let row = Row {
                id: id.get(place).unwrap_or_default(),
                price: price.get(place),
                name: name.get(place),
                active: active.get(place),
                at: at.get(place),
                score: score.get(place),
            };
            if row.active == Some(false) {
                continue;
            }
            match self.document(&row) {
                Err((code, message)) => rejects.push(Reject { row: place as u32, code: code.to_owned(), message }),
                Ok(document) => {
                    let documents = if self.settings.twice && row.active.is_none() { 2 } else { 1 };
                    for number in 0..documents {
                        rows.push(place as u32);
                        labels.push(document.label.as_ref());
                        cents.push(document.cents);
                        early.push(document.early);
                        ids.push(Some(format!("{}-{number}", row.id)));
                    }
                }
            }
        }
        let mut columns = vec![labels.finish(), cents.finish(), early.into_iter().collect()];
        if self.settings.twice {
            columns.push(ids.finish());
        }
        Ok(Transformed { rows: Rows::Indices(rows), columns, rejects })
    }
}

impl Label {
    fn document(&self, row: &Row<'_>) -> Result<Document, (&'static str, String)> {
        if row.price == Some("NaN") {
            return Err(("price", "`price` is not a number".to_owned()));
        }
        if row.name.is_none() && row.score.is_none() {
            return Err(("empty", "`name` and `score` are both null".to_owned()));
        }
        let cents = row.score.filter(|score| score.abs() < 1e9).map(|score| (score * 100.0).floor() as i64);
        if cents == Some(66_600) {
            return Err(("score", "`score` is 66600".to_owned()));
        }
        let label = row.name.map(|name| {
            let price = row.price.unwrap_or("?");
            format!("{}{} #{} {price} {}", self.settings.prefix, short(name), row.id, date(row.at))
        });
        Ok(Document { label, cents, early: row.at.map(|at| at < 0) })
    }
}

/// A text's first 12 characters.
fn short(text: &str) -> String {
    match text.char_indices().nth(12) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The day since 1970 that a time falls on.
fn date(at: Option<i64>) -> String {
    match at {
        None => "never".to_owned(),
        Some(i64::MAX) => "∞".to_owned(),
        Some(i64::MIN) => "-∞".to_owned(),
        Some(at) => at.div_euclid(DAY).to_string(),
    }
}

tidemill_sdk::transform!(Label);
