//! What is told of a change that makes no action.

use std::sync::Arc;

use arrow_array::{RecordBatch, StringViewArray};
use arrow_schema::{DataType, Field, Schema};
use bytes::Bytes;
use tidemill_change::{Op, Reject, Staged, Unreadable};

use crate::column::{Rules, Unfit};
use crate::document::{Shape, columns};
use crate::lane::{Lane, Outcome};
use crate::place::{ID_BYTES_MAX, Place};
use crate::placeless::Placeless;
use crate::plan::{Refused, Why};
use crate::{DocumentPlace, Error, Numbers, Rejected};

struct Reason {
    code: String,
    message: String,
}

/// Tells of a refused change all that a dead letter keeps.
pub(crate) fn rejected(refused: &Refused, lane: &Lane<'_>, arena: &[u8]) -> Result<Rejected, Error> {
    let reject = reject(refused, lane.staged);
    let Reason { code, message } = reason(refused, lane);
    Ok(Rejected {
        batch: refused.batch,
        change: refused.change,
        version: refused.version,
        code,
        message,
        stage: reject.map(|reject| reject.stage.clone()),
        plugin_sha256: reject.map(|reject| reject.plugin_sha256.clone()),
        place: refused.place.map(|place| named(place, lane, arena)),
        also: refused.also.iter().map(|place| named(*place, lane, arena)).collect(),
        document: document(refused, lane)?,
    })
}

fn reject<'a>(refused: &Refused, staged: &'a Staged) -> Option<&'a Reject> {
    match refused.why {
        Why::Outcome(Outcome::Rejected(at)) => Some(&staged.rejects[at]),
        Why::Untold(at) => staged.named.as_deref().map(|named| &named.untold[at]),
        _ => None,
    }
}

fn reason(refused: &Refused, lane: &Lane<'_>) -> Reason {
    if let Some(Reject { code, message, .. }) = reject(refused, lane.staged) {
        return Reason { code: code.clone(), message: message.clone() };
    }
    let (code, message) = match refused.why {
        Why::Outcome(Outcome::Unfit(unfit)) => {
            let name = lane.shape.schema.field(unfit.column).name();
            match unfit.why {
                Unfit::Nonfinite => (
                    "nonfinite".into(),
                    format!("column `{name}` is not finite: `nonfinite: string` or `null` takes it in"),
                ),
                Unfit::Time => (
                    "time_out_of_range".into(),
                    format!("column `{name}` is no time of day: it lies outside 00:00:00 to 24:00:00"),
                ),
            }
        }
        Why::Outcome(Outcome::Unreadable(first)) => unreadable(lane, first),
        Why::Outcome(Outcome::Several(count)) => (
            "several_documents".into(),
            format!("the stages made {count} documents of this row, and not each has an id of its own"),
        ),
        Why::Outcome(Outcome::Document(_) | Outcome::Filtered | Outcome::Rejected(_)) | Why::Untold(_) => {
            unreachable!("these are not refused, or by a stage")
        }
        Why::Conflict => (
            "name_taken".into(),
            "a row with another key was given the same name in the same batch: which of them is the document cannot be told".into(),
        ),
        Why::Unnamed => {
            let relation = &lane.places.relation;
            (
                "place_unknown".into(),
                format!(
                    "a stage names the document by more than the key, which the delete does not tell: `alter table {relation} replica \
                     identity full` makes it"
                ),
            )
        }
        Why::Placeless(Placeless::NoIndexName) => {
            ("index_illegal".into(), "a stage gave `_index` a name that no index can have".into())
        }
        Why::Placeless(Placeless::NotGranted) => (
            "index_not_granted".into(),
            format!(
                "a stage gave `_index` a name that `grants: {{ identity: {{ index: \"{}\" }} }}` does not allow",
                lane.named.and_then(|named| named.index_pattern.as_deref()).unwrap_or_default()
            ),
        ),
        Why::Placeless(Placeless::Null(what)) => {
            let name = what.name();
            (format!("{name}_null"), format!("a column that the {name} is made of is null"))
        }
        Why::Placeless(Placeless::Empty(what)) => {
            let name = what.name();
            (format!("{name}_empty"), format!("the {name} is empty"))
        }
        Why::Placeless(Placeless::TooLong(len)) => (
            "id_too_long".into(),
            format!("the id has {len} bytes and the index takes {ID_BYTES_MAX}: `long_id: hash` shortens such ids"),
        ),
        Why::Placeless(Placeless::Untold(at)) => {
            let relation = &lane.places.relation;
            let name = &relation.columns[at].name;
            (
                "place_unknown".into(),
                format!("the delete does not tell `{name}`: `alter table {relation} replica identity full` makes it"),
            )
        }
    };
    Reason { code, message }
}

fn unreadable(lane: &Lane<'_>, first: usize) -> (String, String) {
    let columns = &lane.places.relation.columns;
    let message = |cell: &Unreadable| format!("column `{}`: {}", columns[cell.column as usize].name, cell.message);
    let code = lane.staged.source.unreadable[first].code;
    (code.into(), lane.unreadable(first).map(message).collect::<Vec<_>>().join("; "))
}

fn named(place: Place, lane: &Lane<'_>, arena: &[u8]) -> DocumentPlace {
    DocumentPlace {
        index: match lane.places.constant_index() {
            Some(name) => name.to_owned(),
            None => unescaped(place.index(arena)),
        },
        id: unescaped(place.id(arena)),
        routing: place.has_routing().then(|| unescaped(place.routing(arena))),
        key: place.key,
    }
}

/// The row that was refused, as one object of its table's columns, but for those that nobody reads.
fn document(refused: &Refused, lane: &Lane<'_>) -> Result<Bytes, Error> {
    let change = lane.change(refused.change);
    let source = &lane.staged.source;
    let (batch, row) = match change.op {
        Op::Delete => (&source.old, change.old),
        Op::Read | Op::Insert | Op::Update => (&source.rows, change.row),
    };
    // Rows are cut out one by one so that only the cold way pays for it.
    let mut row = batch.slice(row as usize, 1);
    if let Why::Outcome(Outcome::Unreadable(first)) = refused.why {
        row = with_raw(&row, lane.unreadable(first))?;
    }
    if !source.left_out.is_empty() {
        let kept = source.left_out.kept(row.num_columns());
        row = row.project(&kept).map_err(|error| Error::batch(error.to_string()))?;
    }
    let rules = Rules { numbers: Numbers::Exact, nonfinite: crate::Nonfinite::String };
    Ok(Shape::new(row.schema_ref()).object(&columns(&row)?, 0, rules).into())
}

/// A row with what could not be read as the text that came.
fn with_raw<'a>(row: &RecordBatch, cells: impl Iterator<Item = &'a Unreadable>) -> Result<RecordBatch, Error> {
    let mut fields = row.schema_ref().fields().to_vec();
    let mut columns = row.columns().to_vec();
    for cell in cells {
        let at = cell.column as usize;
        fields[at] = Arc::new(Field::new(fields[at].name(), DataType::Utf8View, true));
        columns[at] = Arc::new(StringViewArray::from_iter_values([String::from_utf8_lossy(&cell.raw)]));
    }
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns).map_err(|error| Error::batch(error.to_string()))
}

/// Takes back what `append_escaped` did.
pub(crate) fn unescaped(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte != b'\\' {
            bytes.push(*byte);
            continue;
        }
        let [escape, after @ ..] = rest else { break };
        rest = after;
        bytes.push(match escape {
            b'b' => 0x08,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 0x0c,
            b'r' => b'\r',
            b'u' => {
                let (digits, after) = rest.split_at(rest.len().min(4));
                rest = after;
                digits.iter().fold(0, |number, digit| number << 4 | (*digit as char).to_digit(16).unwrap_or(0) as u8)
            }
            other => *other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_escaped_name_reads_as_it_was(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut escaped = Vec::new();
            crate::text::append_escaped(&mut escaped, text.as_bytes());
            prop_assert_eq!(unescaped(&escaped), text);
        }
    }
}
