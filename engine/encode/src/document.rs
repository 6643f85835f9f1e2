//! A row as one JSON object: the columns by name, in order.

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};
use tidemill_change::DOCUMENT;

use crate::Error;
use crate::column::{Column, Rules, Unfit};
use crate::text::{Run, append_escaped, put, put_slice};

/// What the servers keep for themselves at the top of a document.
const RESERVED: [&str; 3] = ["_id", "_index", "_routing"];

/// What of a document its schema tells: made once and kept.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) schema: SchemaRef,
    /// For each column what stands before its value: `{"id":`, then `,"name":`.
    names: Vec<Run>,
    /// The only column is of whole documents.
    is_whole: bool,
}

impl Shape {
    pub(crate) fn new(schema: &SchemaRef) -> Shape {
        let names = schema.fields().iter().enumerate().map(|(at, field)| {
            let mut run = if at == 0 { b"{\"".to_vec() } else { b",\"".to_vec() };
            append_escaped(&mut run, field.name().as_bytes());
            run.extend_from_slice(b"\":");
            Run::new(&run)
        });
        let is_whole = schema.fields().iter().any(|field| field.metadata().contains_key(DOCUMENT));
        let names = if is_whole { vec![Run::new(b"")] } else { names.collect() };
        Shape { schema: schema.clone(), names, is_whole }
    }

    /// Refuses documents whose place a stage wrote into them.
    pub(crate) fn check_reserved(schema: &Schema) -> Result<(), Error> {
        match schema.fields().iter().find(|field| RESERVED.contains(&field.name().as_str())) {
            Some(field) => Err(Error::shape(format!(
                "the documents have a field `{}`, which the index keeps for itself: rename that column",
                field.name()
            ))),
            None => Ok(()),
        }
    }

    /// The bytes of a document besides its values.
    pub(crate) fn overhead(&self) -> usize {
        self.names.iter().map(Run::len).sum::<usize>() + 3
    }

    /// Writes a row as one object.
    #[inline(never)]
    pub(crate) fn put(
        &self,
        columns: &[Column<'_>],
        row: usize,
        out: &mut [u8],
        pos: usize,
        rules: Rules,
    ) -> Option<usize> {
        if columns.is_empty() {
            return put_slice(out, pos, b"{}");
        }
        let mut pos = pos;
        for (name, column) in self.names.iter().zip(columns) {
            pos = column.put(name, row, out, pos, rules)?;
        }
        if self.is_whole {
            return Some(pos);
        }
        put(out, pos, b"}", 1)
    }

    /// A row as one object by itself.
    pub(crate) fn object(&self, columns: &[Column<'_>], row: usize, rules: Rules) -> Vec<u8> {
        let mut out = vec![0; 1 << 10];
        loop {
            if let Some(end) = self.put(columns, row, &mut out, 0, rules) {
                out.truncate(end);
                return out;
            }
            let longer = 2 * out.len();
            out.resize(longer, 0);
        }
    }
}

/// The columns of a batch as writers.
pub(crate) fn columns(batch: &RecordBatch) -> Result<Vec<Column<'_>>, Error> {
    let fields = batch.schema_ref().fields();
    fields.iter().zip(batch.columns()).map(|(field, array)| Column::new(field, array.as_ref())).collect()
}

/// A document that its own values keep out of the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnfitRow {
    pub(crate) document: u32,
    pub(crate) column: usize,
    pub(crate) why: Unfit,
}

/// The documents that cannot be indexed, ascending: none for most batches, which their types tell.
pub(crate) fn unfit_rows(columns: &[Column<'_>], count: usize, rules: Rules) -> Vec<UnfitRow> {
    let suspects: Vec<usize> = (0..columns.len()).filter(|&at| columns[at].may_be_unfit(rules)).collect();
    if suspects.is_empty() {
        return Vec::new();
    }
    let row = |row: usize| {
        let found = suspects.iter().find_map(|&at| Some((at, columns[at].unfit(row, rules)?)));
        found.map(|(column, why)| UnfitRow { document: row as u32, column, why })
    };
    (0..count).filter_map(row).collect()
}
