//! What came out beside what was expected: lines are laid side by side, and what differs names the row and the field.

use super::case::Case;
use super::json::canonical;
use super::line::{FieldDifference, Line};
use super::runner::Outcome;
use super::table::Table;

/// Beyond so many lines on one side no alignment is looked for; they are compared in order.
const ALIGNED_MAX: usize = 1_000;

/// A place where documents differ.
#[derive(Clone, Debug)]
pub enum Difference {
    /// Both are there and differ.
    Changed { row: usize, expected_line: usize, expected: String, found: String, fields: Vec<FieldDifference> },
    /// Expected, and did not come out.
    Missing { expected_line: usize, expected: String },
    /// Came out, and is not expected.
    Extra { row: usize, found: String },
}

/// The differences of a case, in the order of what came out.
pub(super) fn differences(case: &Case, expected: &[(usize, Line)], found: &[Outcome]) -> Vec<Difference> {
    let meets = |(e, f): (&(usize, Line), &Outcome)| e.1.is_met_by(&f.line);
    let before = expected.iter().zip(found).take_while(|pair| meets(*pair)).count();
    let (expected, found) = (&expected[before..], &found[before..]);
    let after = expected.iter().rev().zip(found.iter().rev()).take_while(|pair| meets(*pair)).count();
    let (expected, found) = (&expected[..expected.len() - after], &found[..found.len() - after]);
    let mut differences = Vec::new();
    let (mut from_expected, mut from_found) = (0, 0);
    let mut gaps = |e: usize, f: usize, past: usize| {
        gap(&case.table, &expected[from_expected..e], &found[from_found..f], &mut differences);
        (from_expected, from_found) = (e + past, f + past);
    };
    for (e, f) in common(expected, found) {
        gaps(e, f, 1);
    }
    gaps(expected.len(), found.len(), 0);
    differences
}

/// The pairs of a longest common run of lines, ascending.
fn common(expected: &[(usize, Line)], found: &[Outcome]) -> Vec<(usize, usize)> {
    let (rows, columns) = (expected.len(), found.len());
    if rows > ALIGNED_MAX || columns > ALIGNED_MAX {
        return Vec::new();
    }
    let met: Vec<Vec<bool>> =
        expected.iter().map(|(_, line)| found.iter().map(|found| line.is_met_by(&found.line)).collect()).collect();
    let mut lengths = vec![vec![0_u32; columns + 1]; rows + 1];
    for e in (0..rows).rev() {
        for f in (0..columns).rev() {
            lengths[e][f] =
                if met[e][f] { lengths[e + 1][f + 1] + 1 } else { lengths[e + 1][f].max(lengths[e][f + 1]) };
        }
    }
    let (mut e, mut f, mut pairs) = (0, 0, Vec::new());
    while e < rows && f < columns {
        if met[e][f] {
            pairs.push((e, f));
            (e, f) = (e + 1, f + 1);
        } else if lengths[e + 1][f] >= lengths[e][f + 1] {
            e += 1;
        } else {
            f += 1;
        }
    }
    pairs
}

/// Lines of which none is met: those of one key belong together, then those of one kind, in order.
fn gap(table: &Table, expected: &[(usize, Line)], found: &[Outcome], into: &mut Vec<Difference>) {
    let mut partner: Vec<Option<usize>> = vec![None; found.len()];
    let mut taken = vec![false; expected.len()];
    for by_key in [true, false] {
        for (e, (_, line)) in expected.iter().enumerate() {
            let belongs = |f: &usize| {
                let (one, other) = (name(line, table), name(&found[*f].line, table));
                let same = if by_key { one.is_some() && one == other } else { one.is_none() || other.is_none() };
                partner[*f].is_none() && same && std::mem::discriminant(line) == std::mem::discriminant(&found[*f].line)
            };
            if let Some(f) = (0..found.len()).find(|f| !taken[e] && belongs(f)) {
                (partner[f], taken[e]) = (Some(e), true);
            }
        }
    }
    for (outcome, partner) in found.iter().zip(&partner) {
        let (row, text) = (outcome.row + 1, outcome.line.text());
        into.push(match partner {
            None => Difference::Extra { row, found: text },
            Some(e) => {
                let (expected_line, line) = &expected[*e];
                let fields = line.field_differences(&outcome.line).unwrap_or_default();
                Difference::Changed { row, expected_line: *expected_line, expected: line.text(), found: text, fields }
            }
        });
    }
    for ((expected_line, line), _) in expected.iter().zip(&taken).filter(|(_, taken)| !**taken) {
        into.push(Difference::Missing { expected_line: *expected_line, expected: line.text() });
    }
}

/// What tells that two lines are of one row.
fn name(line: &Line, table: &Table) -> Option<String> {
    match line {
        Line::Document(fields) => {
            let keys = table.key.iter().map(|key| fields.get(key).map(canonical));
            keys.collect::<Option<Vec<_>>>().map(|keys| keys.join(" "))
        }
        Line::Delete { id } => Some(id.clone()),
        Line::Reject { row, .. } => row.map(|row| row.to_string()),
        Line::Error { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn told(expected: &[&str], found: &[(usize, &str)]) -> Vec<String> {
        let table = Table::parse(r#"{"table": "t", "columns": [{"name": "id", "type": "bigint"}]}"#).unwrap();
        let (config, grants) = (serde_json::json!({}), tidemill_stage::Grants::default());
        let case =
            Case { name: "a".into(), folder: PathBuf::new(), config, grants, table, rows: vec![], expected: None };
        let expected: Vec<_> =
            expected.iter().enumerate().map(|(at, line)| (at + 1, Line::parse(line).unwrap())).collect();
        let found: Vec<_> =
            found.iter().map(|(row, line)| Outcome { row: row - 1, line: Line::parse(line).unwrap() }).collect();
        let tell = |difference: Difference| match difference {
            Difference::Changed { row, expected_line, fields, .. } => {
                let fields: Vec<_> = fields.iter().map(|field| field.field.as_str()).collect();
                format!("row {row} line {expected_line}: {}", fields.join(" "))
            }
            Difference::Missing { expected_line, .. } => format!("missing {expected_line}"),
            Difference::Extra { row, .. } => format!("extra {row}"),
        };
        differences(&case, &expected, &found).into_iter().map(tell).collect()
    }

    #[test]
    fn a_difference_names_row_line_and_field() {
        let (one, two, three) = (r#"{"id":1,"a":1}"#, r#"{"id":2,"a":2}"#, r#"{"id":3,"a":3}"#);
        let same: [String; 0] = [];
        assert_eq!(told(&[one, two], &[(1, one), (4, two)]), same);
        assert_eq!(
            told(&[one, two, three], &[(1, one), (7, r#"{"id":2,"a":9,"b":1}"#), (8, three)]),
            ["row 7 line 2: a b"]
        );
        assert_eq!(told(&[one, two, three], &[(1, one), (3, three)]), ["missing 2"]);
        assert_eq!(told(&[one, three], &[(1, one), (2, two), (3, three)]), ["extra 2"]);
        assert_eq!(told(&[two], &[(1, r#"{"id":1,"a":1}"#), (2, r#"{"id":2,"a":3}"#)]), ["extra 1", "row 2 line 1: a"]);
        assert_eq!(told(&[r#"{"a":1}"#], &[(1, r#"{"a":2}"#)]), ["row 1 line 1: a"], "without a key, in order");
        assert_eq!(told(&[r#"{"reject":{"row":1}}"#], &[(1, one)]), ["extra 1", "missing 1"]);
        assert_eq!(told(&[], &[(1, one)]), ["extra 1"]);
    }
}
