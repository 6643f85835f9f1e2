//! What the two decoders promise, told as bytes in and changes out.

mod copy;
mod cuts;
mod kinds;
mod left_out;
mod postgres15;
mod properties;
mod protocol;
mod rows;

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, RecordBatch};
use arrow_schema::{DataType, TimeUnit};
use bytes::Bytes;
use tidemill_change::{Change, ChangeBatch, Commit, Cut, Lsn, NO_ROW, Relation, Unreadable};

use crate::testing::{self, Cell, Wire, assert_whole};
use crate::{Decoder, Error, Message};

fn commit(lsn: u64) -> Commit {
    Commit { lsn: Lsn(lsn), xid: lsn as u32, time_us: lsn as i64 * 1_000_000 }
}

fn cells(row: &[&str]) -> Vec<Cell> {
    let cell = |text: &&str| match *text {
        "NULL" => Cell::Null,
        "~" => Cell::Unchanged,
        text => Cell::from(text),
    };
    row.iter().map(cell).collect()
}

/// A stream told message by message; each goes to the decoder at once, in a chunk of its own.
struct Story {
    decoder: Decoder,
    messages: Vec<Message>,
    at: Commit,
}

impl Story {
    fn new() -> Story {
        Story { decoder: Decoder::new(Lsn(8)), messages: Vec::new(), at: commit(8) }
    }

    fn of(relations: &[&Relation]) -> Story {
        let mut story = Story::new();
        for relation in relations {
            story.relation(relation);
        }
        story
    }

    fn try_say(&mut self, message: &[u8]) -> Result<Message, Error> {
        let mut wire = Wire::default();
        wire.push(message);
        let (chunk, payloads) = wire.chunk();
        self.decoder.message(&chunk, payloads[0].clone())
    }

    fn say(&mut self, message: &[u8]) -> &mut Story {
        let message = self.try_say(message).unwrap();
        self.messages.push(message);
        self
    }

    fn relation(&mut self, relation: &Relation) -> &mut Story {
        self.say(&testing::relation(relation))
    }

    fn begin(&mut self, lsn: u64) -> &mut Story {
        self.at = commit(lsn);
        self.say(&testing::begin(&commit(lsn)))
    }

    /// Ends the transaction 8 bytes after its commit.
    fn commit(&mut self) -> &mut Story {
        let at = self.at;
        self.say(&testing::commit(&at, Lsn(at.lsn.0 + 8)))
    }

    fn insert(&mut self, relation: &Relation, row: &[&str]) -> &mut Story {
        self.say(&testing::insert(relation.id, &cells(row)))
    }

    fn cut(&mut self) -> Cut {
        let cut = self.decoder.cut();
        cut.batches.iter().for_each(assert_whole);
        cut
    }
}

/// Runs the messages and returns the error that one of them must give.
fn error_of(relations: &[&Relation], messages: &[Vec<u8>]) -> Error {
    let mut story = Story::of(relations);
    let error = messages.iter().find_map(|message| story.try_say(message).err());
    assert!(!story.decoder.can_cut(), "nothing can be cut after an error");
    error.expect("one of the messages is wrong")
}

/// All changes of the cut, one a line: `LSN.bucket.ordinal table op {new} was {old}`.
fn told(cut: &Cut) -> Vec<String> {
    let mut lines = Vec::new();
    for batch in &cut.batches {
        lines.extend(batch.changes.iter().map(|change| tell(batch, change)));
    }
    if let Some(truncate) = &cut.truncate {
        lines.push(format!("{}.{} truncate {:?}", truncate.commit.lsn.0, truncate.bucket, truncate.tables));
    }
    lines
}

fn tell(batch: &ChangeBatch, change: &Change) -> String {
    let lsn = batch.commit_of(change).lsn.0;
    let mut line = format!("{lsn}.{}.{} {} {:?}", change.bucket, change.ordinal, batch.relation.name, change.op);
    if change.row != NO_ROW {
        line += &format!(" {{{}}}", row(&batch.rows, change.row as usize, &batch.unchanged));
    }
    if change.old != NO_ROW {
        line += &format!(" was {:?} {{{}}}", change.old_image, row(&batch.old, change.old as usize, &[]));
    }
    line
}

fn row(batch: &RecordBatch, row: usize, unchanged: &[Option<arrow_buffer::BooleanBuffer>]) -> String {
    let cell = |(index, column): (usize, &arrow_array::ArrayRef)| match unchanged.get(index) {
        Some(Some(bits)) if bits.value(row) => "~".to_owned(),
        _ => show(column, row),
    };
    batch.columns().iter().enumerate().map(cell).collect::<Vec<_>>().join(" ")
}

fn show(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "NULL".to_owned();
    }
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::Float32 => array.as_primitive::<Float32Type>().value(row).to_string(),
        DataType::Float64 => array.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Time64(TimeUnit::Microsecond) => array.as_primitive::<Time64MicrosecondType>().value(row).to_string(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            array.as_primitive::<TimestampMicrosecondType>().value(row).to_string()
        }
        DataType::BinaryView => format!("{:?}", array.as_binary_view().value(row)),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        other => panic!("no column is a {other}"),
    }
}

/// Whether every byte of `text` lies in `chunk`'s own memory.
fn lies_in(text: &str, chunk: &Bytes) -> bool {
    chunk.as_ptr_range().contains(&text.as_ptr())
}
