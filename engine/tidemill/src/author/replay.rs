//! `replay`: captured rows through one plugin, or through two, whose documents are laid side by side row by row.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidemill_stage::Grants;

use super::line::Line;
use super::recording::{Head, read};
use super::runner::{BATCH_ROWS_MAX, Outcome, Outcomes, Runner, load};
use crate::error::Result;
use crate::plan::Plugins;

/// A plugin and its configuration.
#[derive(Clone, Debug)]
pub struct Side<'a> {
    pub plugin: &'a Path,
    pub config: Value,
    pub grants: Grants,
}

#[derive(Debug)]
pub struct ReplayOptions<'a> {
    pub capture: &'a Path,
    pub plugin: Side<'a>,
    pub against: Option<Side<'a>>,
    /// How many documents, or differences, are shown.
    pub examples: usize,
}

#[derive(Debug)]
pub struct Replayed {
    pub head: Head,
    pub rows: usize,
    pub plugin: Cost,
    pub against: Option<Cost>,
    pub comparison: Comparison,
    /// The first documents, where there is nothing to compare them with.
    pub documents: Vec<String>,
}

/// What came out of a plugin, and what it cost.
#[derive(Debug)]
pub struct Cost {
    pub name: String,
    pub sha256: String,
    pub documents: usize,
    pub deletes: usize,
    pub rejects: usize,
    /// What it said against all rows.
    pub error: Option<String>,
    pub calls: u64,
    pub busy: Duration,
}

/// How the plugin's documents differ from those of the other.
#[derive(Debug, Default)]
pub struct Comparison {
    pub equal: usize,
    pub added: usize,
    pub removed: usize,
    pub changed: usize,
    /// How many documents differ in each field.
    pub fields: BTreeMap<String, usize>,
    /// The first differences.
    pub examples: Vec<Example>,
}

/// A row whose document differs.
#[derive(Debug)]
pub struct Example {
    pub row: usize,
    /// What the plugin makes of it, and what the other does.
    pub plugin: Option<String>,
    pub against: Option<String>,
    pub fields: Vec<String>,
}

impl Comparison {
    pub fn is_equal(&self) -> bool {
        self.added + self.removed + self.changed == 0
    }
}

pub fn replay(options: &ReplayOptions<'_>) -> Result<Replayed> {
    let (head, rows) = read(options.capture)?;
    let mut plugins = Plugins::default();
    let mut run = |side: &Side<'_>| -> Result<(Outcomes, Cost)> {
        let runner = Runner::new(load(&mut plugins, side.plugin)?, side.config.clone(), side.grants.clone());
        let outcomes = runner.run(&head.table, &rows, BATCH_ROWS_MAX)?;
        let cost = cost(&runner, &outcomes);
        Ok((outcomes, cost))
    };
    let (one, plugin) = run(&options.plugin)?;
    let (comparison, against, documents) = match &options.against {
        None => {
            let documents = one.lines.iter().take(options.examples).map(|outcome| outcome.line.text());
            (Comparison::default(), None, documents.collect())
        }
        Some(side) => {
            let (other, against) = run(side)?;
            (compare(&one.lines, &other.lines, options.examples), Some(against), Vec::new())
        }
    };
    Ok(Replayed { rows: rows.len(), head, plugin, against, comparison, documents })
}

fn cost(runner: &Runner, outcomes: &Outcomes) -> Cost {
    let count = |is: fn(&Line) -> bool| outcomes.lines.iter().filter(|outcome| is(&outcome.line)).count();
    Cost {
        name: runner.plugin().name().to_owned(),
        sha256: runner.plugin().sha256().to_owned(),
        documents: count(|line| matches!(line, Line::Document(_))),
        deletes: count(|line| matches!(line, Line::Delete { .. })),
        rejects: count(|line| matches!(line, Line::Reject { .. })),
        error: outcomes.lines.iter().find_map(|outcome| match &outcome.line {
            Line::Error { message } => Some(message.clone()),
            _ => None,
        }),
        calls: outcomes.calls,
        busy: outcomes.busy,
    }
}

/// Both are in order of their rows; of one row, lines are compared in order.
fn compare(one: &[Outcome], other: &[Outcome], examples_max: usize) -> Comparison {
    let mut comparison = Comparison::default();
    let (mut at, mut of) = (0, 0);
    loop {
        let pair = match (one.get(at), other.get(of)) {
            (None, None) => return comparison,
            (Some(a), Some(b)) if a.row == b.row => (Some(a), Some(b)),
            (Some(a), Some(b)) if a.row > b.row => (None, Some(b)),
            (a @ Some(_), _) => (a, None),
            (None, b) => (None, b),
        };
        at += usize::from(pair.0.is_some());
        of += usize::from(pair.1.is_some());
        let mut fields = Vec::new();
        let row = match pair {
            (Some(a), Some(b)) if b.line.is_met_by(&a.line) => {
                comparison.equal += 1;
                continue;
            }
            (Some(a), Some(b)) => {
                comparison.changed += 1;
                let differences = b.line.field_differences(&a.line).unwrap_or_default();
                fields.extend(differences.into_iter().map(|difference| difference.field));
                a.row
            }
            (Some(a), None) => {
                comparison.added += 1;
                a.row
            }
            (_, b) => {
                comparison.removed += 1;
                b.map_or(0, |b| b.row)
            }
        };
        for field in &fields {
            *comparison.fields.entry(field.clone()).or_default() += 1;
        }
        if comparison.examples.len() < examples_max {
            let text = |outcome: Option<&Outcome>| outcome.map(|outcome| outcome.line.text());
            comparison.examples.push(Example { row: row + 1, plugin: text(pair.0), against: text(pair.1), fields });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_row_by_row() {
        let lines = |lines: &[(usize, &str)]| -> Vec<Outcome> {
            lines.iter().map(|(row, line)| Outcome { row: *row, line: Line::parse(line).unwrap() }).collect()
        };
        let one = lines(&[(0, r#"{"a":1}"#), (1, r#"{"a":2}"#), (1, r#"{"b":1}"#), (3, r#"{"a":4,"x":1}"#)]);
        let other = lines(&[(0, r#"{"a":1.0}"#), (1, r#"{"a":2}"#), (2, r#"{"a":3}"#), (3, r#"{"a":5}"#)]);
        let found = compare(&one, &other, 2);
        assert_eq!((found.equal, found.added, found.removed, found.changed), (2, 1, 1, 1));
        assert_eq!(found.fields, BTreeMap::from([("a".to_owned(), 1), ("x".to_owned(), 1)]));
        assert_eq!(found.examples.iter().map(|example| example.row).collect::<Vec<_>>(), [2, 3]);
        assert!(!found.is_equal() && compare(&one, &one, 2).is_equal());
    }
}
