//! What the engine would not take, as a test's failure.

use super::Refused;
use crate::native::Output;
use crate::plan::Parts;
use crate::{Buffers, DataType, Fact, Field, Reject, Rows, Schema, Source};

/// A plan: columns that are named, and named once.
#[track_caller]
pub(super) fn plan(parts: &Parts<'_>) {
    let names: Vec<&str> = parts.outputs.iter().map(Output::name).collect();
    for (at, name) in names.iter().enumerate() {
        assert!(!name.is_empty(), "the engine refuses this plan: it lets out a column without a name");
        assert!(!names[..at].contains(name), "the engine refuses this plan: it lets out two columns called `{name}`");
    }
    let is_name = |name: &&str| ["_id", "_index", "_routing"].contains(name);
    assert!(parts.documents || !names.is_empty(), "the engine refuses this plan: it lets no column out");
    assert!(!parts.documents || names.iter().all(is_name), "the engine refuses this plan: beside documents only names");
    assert!(!parts.many || names.contains(&"_id"), "the engine refuses this plan: `many` needs an `_id`");
}

/// The rows that come out.
#[track_caller]
pub(super) fn picked(rows: &Rows, count: usize, many: bool) -> Vec<usize> {
    match rows {
        Rows::All => (0..count).collect(),
        Rows::None => Vec::new(),
        Rows::Bitmap(bits) => {
            assert_eq!(bits.len(), count.div_ceil(8), "the engine refuses this answer: a bitmap has a bit a row");
            (0..count).filter(|row| bits[row / 8] >> (row % 8) & 1 == 1).collect()
        }
        Rows::Indices(indices) => {
            let mut seen = vec![false; count];
            for row in indices.iter().map(|row| *row as usize) {
                assert!(row < count, "the engine refuses this answer: there is no row {row} among {count}");
                assert!(many || !seen[row], "the engine refuses this answer: row {row} comes out twice without `many`");
                seen[row] = true;
            }
            indices.iter().map(|row| *row as usize).collect()
        }
    }
}

/// The rejects by row, from 1; of several of one row the first.
#[track_caller]
pub(super) fn rejects(rejects: &[Reject], count: usize) -> Vec<Refused> {
    let mut refused: Vec<Refused> = Vec::new();
    for reject in rejects {
        let row = reject.row as usize;
        assert!(row < count, "the engine refuses this answer: it rejects row {row} of {count}");
        if refused.iter().all(|refused| refused.0 != row + 1) {
            refused.push(Refused(row + 1, format!("{}: {}", reject.code, reject.message)));
        }
    }
    refused.sort_by_key(|refused| refused.0);
    refused
}

/// The made columns, each with its elements' behind it. Where nothing comes out they are not looked at.
#[track_caller]
pub(super) fn made<'a>(parts: &Parts<'_>, columns: &'a [Buffers], rows: usize) -> Vec<&'a [Buffers]> {
    if rows == 0 {
        return Vec::new();
    }
    let document = [field("documents", DataType::Utf8)];
    let made = parts.outputs.iter().filter_map(|output| match output {
        Output::Make(fields) => Some(&fields[..]),
        Output::Pass(_) => None,
    });
    let made: Vec<&[Field]> = parts.documents.then_some(&document[..]).into_iter().chain(made).collect();
    let count = made.iter().map(|fields| fields.len()).sum::<usize>();
    assert_eq!(columns.len(), count, "the engine refuses this answer: the plan makes so many columns");
    let mut left = columns;
    let mut out = Vec::with_capacity(made.len());
    for fields in made {
        let (column, behind) = left.split_at(fields.len());
        if let Err(why) = column_of(fields, column, rows) {
            panic!("the engine refuses this answer: column `{}` {why}", fields[0].name);
        }
        out.push(column);
        left = behind;
    }
    if parts.documents {
        for row in 0..rows {
            let text = super::types::text(columns, row);
            let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&text).is_ok();
            assert!(is_object && !text.contains('\n'), "the engine refuses this document: {text}");
        }
    }
    out
}

fn field(name: &str, data_type: DataType) -> Field {
    Field { name: name.to_owned(), data_type, extension: None, postgres_type: None }
}

/// A column, and of lists their elements.
fn column_of(fields: &[Field], column: &[Buffers], rows: usize) -> Result<(), String> {
    if fields[0].data_type != DataType::List {
        return buffers(fields[0].data_type, &column[0], rows);
    }
    if !column[0].values.is_empty() {
        return Err("is of lists, and has values of its own".to_owned());
    }
    let ends = offsets(&column[0], rows)?;
    if ends.windows(2).any(|pair| pair[0] > pair[1]) {
        return Err("has offsets that fall".to_owned());
    }
    validity(&column[0], rows)?;
    column_of(&fields[1..], &column[1..], ends[rows])
}

fn buffers(of: DataType, column: &Buffers, rows: usize) -> Result<(), String> {
    let width = match of {
        DataType::Boolean => None,
        DataType::Int16 => Some(2),
        DataType::Int32 | DataType::Uint32 | DataType::Float32 | DataType::Date32 => Some(4),
        DataType::Int64 | DataType::Float64 | DataType::Timestamp | DataType::TimestampUtc | DataType::Time64 => {
            Some(8)
        }
        DataType::Utf8 | DataType::Binary => return texts(of, column, rows),
        DataType::List => unreachable!("lists are looked at before"),
    };
    let wanted = width.map_or(rows.div_ceil(8), |width| rows * width);
    if column.values.len() != wanted {
        return Err(format!("has {} bytes of values, and {rows} rows need {wanted}", column.values.len()));
    }
    validity(column, rows)
}

fn validity(column: &Buffers, rows: usize) -> Result<(), String> {
    match &column.validity {
        Some(bits) if bits.len() < rows.div_ceil(8) => Err(format!("has a validity of {} bytes", bits.len())),
        _ => Ok(()),
    }
}

fn offsets(column: &Buffers, rows: usize) -> Result<Vec<usize>, String> {
    let ends: Vec<usize> = column.offsets.as_chunks().0.iter().map(|end| u32::from_le_bytes(*end) as usize).collect();
    if ends.len() != rows + 1 || ends[0] != 0 {
        return Err(format!("has no offsets of {rows} rows"));
    }
    Ok(ends)
}

fn texts(of: DataType, column: &Buffers, rows: usize) -> Result<(), String> {
    let ends = offsets(column, rows)?;
    if ends[rows] != column.values.len() {
        return Err(format!("has offsets up to {}, and {} bytes of values", ends[rows], column.values.len()));
    }
    for pair in ends.windows(2) {
        let value = column.values.get(pair[0]..pair[1]).ok_or("has offsets that fall")?;
        if of == DataType::Utf8 && str::from_utf8(value).is_err() {
            return Err("holds what is no UTF-8".to_owned());
        }
    }
    validity(column, rows)
}

impl Output {
    pub(super) fn name(&self) -> &str {
        match self {
            Output::Pass(passed) => &passed.name,
            Output::Make(fields) => &fields[0].name,
        }
    }

    /// Of a made column, and behind it those of its elements.
    pub(super) fn fields(&self) -> &[Field] {
        match self {
            Output::Make(fields) => fields,
            Output::Pass(_) => unreachable!("asked for made columns"),
        }
    }

    /// A passed column, under the name that it has from here on.
    pub(super) fn passed(
        &self,
        schema: &Schema,
        push: impl Fn(Source) -> Vec<Buffers>,
    ) -> Option<(Vec<Field>, Vec<Buffers>)> {
        let Output::Pass(passed) = self else { return None };
        let of = |fields: &[Field], place: u32| {
            let fields = &fields[place as usize..];
            let lists = fields.iter().take_while(|field| field.data_type == DataType::List).count();
            fields[..=lists].to_vec()
        };
        let mut fields = match passed.column {
            Source::Field(place) => of(&schema.fields, place),
            Source::Old(place) => of(&schema.old, place),
            Source::Fact(Fact::Time) => vec![field("", DataType::TimestampUtc)],
            Source::Fact(_) => vec![field("", DataType::Utf8)],
        };
        fields[0].name.clone_from(&passed.name);
        Some((fields, push(passed.column)))
    }
}
