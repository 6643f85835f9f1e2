//! `capture`: rows into a file, and what was taken.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::super::arguments::CaptureArguments;
use super::super::output::{Output, counted};
use crate::author::{self, CaptureOptions};
use crate::config::Config;
use crate::error::Result;

pub(super) async fn capture(path: &Path, asked: &CaptureArguments) -> Result<()> {
    let config = Config::load(path)?;
    let output = asked.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.capture", asked.stream)));
    let options = CaptureOptions {
        stream: &asked.stream,
        table: asked.table.as_deref(),
        rows: asked.rows as usize,
        changes: asked.changes,
        mask: &asked.mask,
        output: &output,
    };
    let captured = author::capture(&config, &options).await?;
    if asked.json {
        let answer = json!({ "file": output, "table": captured.table, "rows": captured.rows, "masked": asked.mask });
        return Output::stdout().json(&answer);
    }
    let what = if asked.changes { "change" } else { "row" };
    let masked = if asked.mask.is_empty() {
        "no column is masked: it holds your data as it is".to_owned()
    } else {
        format!("masked: {}", asked.mask.join(", "))
    };
    Output::stdout().text(&format!(
        "{} of {} in `{}`; {masked}",
        counted(captured.rows as u64, what),
        captured.table,
        output.display()
    ))
}
