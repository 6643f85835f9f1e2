//! `labels`: what a transform of columns does, with names of documents where `twice` is set.

use serde::Deserialize;
use tidemill_sdk::{
    Batch, Buffers, Column, DataType, Error, Fact, Failure, MakeBytes, MakeNumbers, Reject, Rows, TransformPlan,
    Transformed,
};

use crate::echo::{self, Echo};

const DAY: i64 = 86_400_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
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
    echo: Echo,
    told: Told,
}

/// What is known of a row's change.
struct Told {
    op: Column<str>,
    namespace: Column<str>,
    table: Column<str>,
    time: Column<i64>,
    was: Column<i64>,
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

/// The made columns of one document, but for echoes and what is told of the change; its names come from its row's id and its number
/// among the row's documents.
struct Document {
    label: Option<String>,
    cents: Option<i64>,
    early: Option<bool>,
}

impl Label {
    pub fn open(settings: Settings, plan: &mut TransformPlan<'_>) -> Result<Label, Error> {
        let id = plan.require("id")?;
        let (price, name, active) = (plan.require("price")?, plan.require("name")?, plan.require("active")?);
        let (at, score) = (plan.require("at")?, plan.require("score")?);
        plan.pass_all_but(&[&["active"], echo::NAMES].concat());
        plan.make("label", DataType::Utf8);
        plan.make("cents", DataType::Int64);
        plan.make("early", DataType::Boolean);
        let (echo, told) = (Echo::open(plan)?, Told::open(plan)?);
        if settings.twice {
            for name in ["_id", "_index", "_routing"] {
                plan.make(name, DataType::Utf8);
            }
            plan.many();
        }
        Ok(Label { settings, id, price, name, active, at, score, echo, told })
    }

    pub fn process(&self, batch: &Batch<'_>) -> Result<Transformed, Failure> {
        let (id, price, name) = (batch.column(self.id), batch.column(self.price), batch.column(self.name));
        let (active, at, score) = (batch.column(self.active), batch.column(self.at), batch.column(self.score));
        let (mut rows, mut rejects) = (Vec::new(), Vec::new());
        let (mut labels, mut cents, mut early) = (MakeBytes::default(), MakeNumbers::default(), Vec::new());
        let mut names = [MakeBytes::default(), MakeBytes::default(), MakeBytes::default()];
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
                        let index = if row.active.is_some() { "things-on" } else { "things-unknown" };
                        names[0].push(Some(format!("{}-{number}", row.id)));
                        names[1].push(Some(index));
                        names[2].push(Some(format!("r{}", row.id % 7)));
                    }
                }
            }
        }
        let mut columns = vec![labels.finish(), cents.finish(), early.into_iter().collect()];
        columns.extend(self.echo.columns(batch, &rows));
        columns.extend(self.told.columns(batch, &rows));
        if self.settings.twice {
            columns.extend(names.map(MakeBytes::finish));
        }
        Ok(Transformed { rows: Rows::Indices(rows), columns, rejects })
    }

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

impl Told {
    fn open(plan: &mut TransformPlan<'_>) -> Result<Told, Error> {
        plan.pass_fact(Fact::Lsn, "lsn");
        plan.make("told", DataType::Utf8);
        plan.make("timed", DataType::Boolean);
        plan.make("was", DataType::Int64);
        Ok(Told {
            op: plan.require_fact(Fact::Op)?,
            namespace: plan.require_fact(Fact::Namespace)?,
            table: plan.require_fact(Fact::Table)?,
            time: plan.require_fact(Fact::Time)?,
            was: plan.require_old("quantity")?,
        })
    }

    fn columns(&self, batch: &Batch<'_>, rows: &[u32]) -> [Buffers; 3] {
        let (op, namespace, table) = (batch.column(self.op), batch.column(self.namespace), batch.column(self.table));
        let (time, was) = (batch.column(self.time), batch.column(self.was));
        let rows = rows.iter().map(|row| *row as usize);
        let told =
            rows.clone().map(|row| Some(format!("{} {}.{}", op.get(row)?, namespace.get(row)?, table.get(row)?)));
        [
            MakeBytes::of(told),
            rows.clone().map(|row| Some(time.get(row).is_some())).collect(),
            MakeNumbers::of(rows.map(|row| was.get(row))),
        ]
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
