//! `test`: every case's rows through the plugin, and what comes out beside what is expected.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::case::{Case, DOCUMENTS, cases};
use super::diff::{Difference, differences};
use super::line::Line;
use super::runner::{BATCH_ROWS_MAX, Outcomes, Runner, load};
use crate::error::{Error, Result};
use crate::plan::Plugins;

/// Up to so many rows are run one by one too: documents must not depend on how rows are cut into batches.
const ONE_BY_ONE_MAX: usize = 1_000;

#[derive(Debug)]
pub struct Options<'a> {
    pub component: &'a Path,
    pub cases: &'a Path,
    /// Write what came out as what is expected from now on.
    pub accept: bool,
}

#[derive(Debug)]
pub struct TestResult {
    pub plugin: PathBuf,
    pub sha256: String,
    pub cases: Vec<CaseResult>,
}

#[derive(Debug)]
pub struct CaseResult {
    pub name: String,
    pub rows: usize,
    pub documents: usize,
    pub rejects: usize,
    pub time: Duration,
    pub differences: Vec<Difference>,
    /// The row, from 1, from which the documents are others when rows come one by one.
    pub depends_on_batches: Option<usize>,
    /// `documents.ndjson` was written.
    pub accepted: bool,
    /// There is no `documents.ndjson`.
    pub unwritten: bool,
    /// What the plugin logged.
    pub logs: Vec<String>,
}

impl CaseResult {
    pub fn passed(&self) -> bool {
        self.differences.is_empty() && self.depends_on_batches.is_none() && !self.unwritten
    }
}

pub fn test(options: &Options<'_>) -> Result<TestResult> {
    let cases = cases(options.cases)?;
    let plugin = load(&mut Plugins::default(), options.component)?;
    let results = cases.iter().map(|case| {
        let runner = Runner::new(plugin.clone(), case.config.clone(), case.grants.clone());
        let outcomes = runner.run(&case.table, &case.rows, BATCH_ROWS_MAX)?;
        let one_by_one = match case.rows.len() {
            2..=ONE_BY_ONE_MAX => Some(runner.run(&case.table, &case.rows, 1)?),
            _ => None,
        };
        judge(case, outcomes, one_by_one, options.accept)
    });
    let results = results.collect::<Result<_>>()?;
    Ok(TestResult { plugin: options.component.to_owned(), sha256: plugin.sha256().to_owned(), cases: results })
}

fn judge(case: &Case, outcomes: Outcomes, one_by_one: Option<Outcomes>, accept: bool) -> Result<CaseResult> {
    let lines = &outcomes.lines;
    let is_error =
        |outcomes: &Outcomes| outcomes.lines.iter().any(|outcome| matches!(outcome.line, Line::Error { .. }));
    // What the plugin says against all rows stands wherever it stopped.
    let one_by_one = one_by_one.filter(|other| !is_error(&outcomes) || !is_error(other));
    let differences = case.expected.as_deref().map(|expected| differences(case, expected, lines));
    let mut result = CaseResult {
        name: case.name.clone(),
        rows: case.rows.len(),
        documents: lines.iter().filter(|outcome| matches!(outcome.line, Line::Document(_))).count(),
        rejects: lines.iter().filter(|outcome| matches!(outcome.line, Line::Reject { .. })).count(),
        time: outcomes.busy,
        unwritten: differences.is_none(),
        differences: differences.unwrap_or_default(),
        depends_on_batches: one_by_one.and_then(|other| first_difference(&outcomes, &other)),
        accepted: false,
        logs: outcomes.logs.clone(),
    };
    if accept && (result.unwritten || !result.differences.is_empty()) {
        let path = case.folder.join(DOCUMENTS);
        let text: String = lines.iter().map(|outcome| format!("{}\n", outcome.line.text())).collect();
        fs::write(&path, text)
            .map_err(|error| Error::failed(format!("`{}` cannot be written", path.display())).with_cause(error))?;
        (result.accepted, result.unwritten) = (true, false);
        result.differences.clear();
    }
    Ok(result)
}

/// The first row that comes out in another way.
fn first_difference(one: &Outcomes, other: &Outcomes) -> Option<usize> {
    let mut pairs = one.lines.iter().zip(&other.lines);
    let unequal = pairs.find(|(one, other)| one.row != other.row || one.line.text() != other.line.text());
    match unequal {
        Some((one, other)) => Some(one.row.min(other.row) + 1),
        None if one.lines.len() == other.lines.len() => None,
        None => {
            let longer = if one.lines.len() > other.lines.len() { &one.lines } else { &other.lines };
            Some(longer[one.lines.len().min(other.lines.len())].row + 1)
        }
    }
}
