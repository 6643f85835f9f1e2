//! `plugin bench`: what a plugin costs, beside the yardstick.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::arguments::BenchArguments;
use super::super::output::{Output, bytes, count, counted, table};
use crate::author::{self, Bench, BenchOptions, BenchRows, Component, Measured};
use crate::error::Result;

pub(super) fn bench(asked: &BenchArguments) -> Result<()> {
    let component = Component::find(&asked.plugin)?;
    let rows = match (&asked.capture, &asked.schema) {
        (Some(capture), _) => BenchRows::Captured(capture),
        (None, Some(schema)) => BenchRows::Made(schema),
        (None, None) => BenchRows::Case(&component.cases),
    };
    let given = |typed: Option<&str>| typed.map(str::to_owned);
    let config = given(asked.stage.typed()).map(|typed| author::config(Some(&typed))).transpose()?;
    let grants = given(asked.stage.grants.as_deref()).map(|typed| author::grants(Some(&typed))).transpose()?;
    let bench = author::bench(&BenchOptions {
        plugin: &component.path,
        config,
        grants,
        rows,
        batch_rows: asked.batch as usize,
        time: Duration::from_secs(asked.seconds.into()),
    })?;
    match asked.json {
        true => Output::stdout().json(&as_json(&bench)),
        false => Output::stdout().text(&as_text(&bench)),
    }
}

fn rows_per_second(measured: &Measured) -> f64 {
    measured.rows as f64 / measured.busy.as_secs_f64().max(1e-9)
}

fn as_text(bench: &Bench) -> String {
    let whose = if bench.is_made { "made for" } else { "captured of" };
    let requires = if bench.requires.is_empty() { "no column".to_owned() } else { bench.requires.join(", ") };
    let micros = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6);
    let row = |of: &Measured| {
        let batches = of.batches.max(1);
        [
            of.name.clone(),
            count(rows_per_second(of) as u64),
            micros(of.median),
            micros(of.p99),
            bytes(of.bytes_in / batches),
            bytes(of.bytes_out / batches),
            bytes(of.memory_bytes as u64),
        ]
    };
    let names = ["PLUGIN", "ROWS/S", "µs A BATCH", "99 %", "BYTES IN", "BYTES OUT", "MEMORY"];
    let of = &bench.plugin;
    let mut lines = vec![
        format!(
            "{} {whose} {}, in batches of {}; asked for: {requires}",
            counted(bench.rows as u64, "row"),
            bench.table,
            count(bench.batch_rows as u64)
        ),
        table(names, &[row(of), row(&bench.yardstick)]),
        format!(
            "of 1,000 rows {:.0} became documents, {:.0} were rejected; open after {} µs; sha256 {}",
            of.documents as f64 * 1e3 / of.rows.max(1) as f64,
            of.rejects as f64 * 1e3 / of.rows.max(1) as f64,
            micros(of.open),
            of.sha256
        ),
        format!("ratio {:.2}: what a batch takes, over what passing it through takes", bench.ratio()),
    ];
    if of.failures > 0 {
        lines.push(format!("{} ended in no answer: no figure above holds", counted(of.failures, "call")));
    }
    lines.join("\n")
}

fn as_json(bench: &Bench) -> Value {
    let micros = |time: Duration| (time.as_nanos() as f64 / 1e3 * 10.0).round() / 10.0;
    let measured = |of: &Measured| {
        let batches = of.batches.max(1);
        json!({
            "plugin": of.name, "sha256": of.sha256, "rows_per_second": rows_per_second(of).round(),
            "us_per_batch": micros(of.median), "us_per_batch_p99": micros(of.p99),
            "bytes_in_per_batch": of.bytes_in / batches, "bytes_out_per_batch": of.bytes_out / batches,
            "memory_bytes": of.memory_bytes, "open_us": micros(of.open), "batches": of.batches, "rows": of.rows,
            "documents": of.documents, "rejects": of.rejects, "failures": of.failures,
        })
    };
    json!({
        "table": bench.table, "rows": bench.rows, "made": bench.is_made, "batch_rows": bench.batch_rows,
        "requires": bench.requires, "plugin": measured(&bench.plugin), "yardstick": measured(&bench.yardstick),
        "ratio": (bench.ratio() * 100.0).round() / 100.0,
    })
}
