//! Columns that nobody reads: not parsed, not kept, and in nobody's way.

use std::sync::Arc;

use proptest::prelude::*;
use tidemill_change::{LeftOut, ReplicaIdentity};

use super::properties::rows;
use super::*;
use crate::CopyDecoder;
use crate::testing::{copy_line, delete, insert, table, update};

/// `id, at, body, n`, of which `id` and `n` are read.
fn wide() -> Relation {
    table(7, "wide", &[("id", 23), ("at", 1114), ("body", 25), ("n", 23)])
}

fn story(relation: &Relation) -> Story {
    let mut story = Story::new();
    story.decoder.leave_out(Arc::new(relation.clone()), LeftOut::but(4, &[0, 3]));
    story.relation(relation).begin(16);
    story
}

#[test]
fn what_is_left_out_is_neither_read_nor_missed() {
    let mut wide = wide();
    wide.replica_identity = ReplicaIdentity::Full;
    let mut story = story(&wide);
    let full = cells(&["1", "no time", "a text that is not short", "1"]);
    story.insert(&wide, &["1", "no time", "a text that is not short", "1"]);
    story.say(&update(wide.id, None, &cells(&["1", "NULL", "~", "2"])));
    story.say(&update(wide.id, Some((b'O', &full)), &cells(&["1", "~", "~", "3"])));
    story.say(&delete(wide.id, (b'O', &full)));
    // Bytes that are no text at all.
    let loose = [Cell::from("2"), Cell::Text(vec![0xff]), Cell::Text(vec![0xff, 0xfe]), Cell::from("5")];
    story.say(&insert(wide.id, &loose));
    let cut = story.commit().cut();
    assert_eq!(
        told(&cut),
        [
            "16.0.0 wide Insert {1 NULL NULL 1}",
            "16.0.1 wide Update {1 NULL NULL 2}",
            "16.0.2 wide Update {1 NULL NULL 3} was Full {1 NULL NULL 1}",
            "16.0.3 wide Delete was Full {1 NULL NULL 1}",
            "16.0.4 wide Insert {2 NULL NULL 5}",
        ]
    );
    let batch = &cut.batches[0];
    assert_eq!(batch.left_out, LeftOut::but(4, &[0, 3]));
    assert!(!batch.has_unchanged() && batch.unreadable.is_empty());
    assert!(batch.bytes > 100, "the size is that of the messages");
}

/// The message around the cells is looked at as ever.
#[test]
fn what_is_left_out_keeps_its_form() {
    let wide = wide();
    for row in [
        vec![Cell::from("1"), Cell::Binary(vec![1]), Cell::Null, Cell::from("1")],
        vec![Cell::from("1"), Cell::Null, Cell::from("1")],
    ] {
        let mut story = story(&wide);
        assert!(story.try_say(&insert(wide.id, &row)).is_err());
    }
    let mut story = story(&wide);
    let mut short = insert(wide.id, &cells(&["1", "NULL", "NULL", "1"]));
    short.truncate(short.len() - 1);
    assert!(story.try_say(&short).is_err());
}

#[test]
fn a_table_that_looks_otherwise_is_read_whole() {
    let wide = wide();
    let mut story = story(&wide);
    story.insert(&wide, &["1", "2024-02-29 00:00:00", "a", "1"]).commit();
    let change = |change: &dyn Fn(&mut Relation)| {
        let mut changed = wide.clone();
        change(&mut changed);
        let Relation { id, schema, name, replica_identity, columns, .. } = changed;
        Relation::new(id, schema, name, replica_identity, columns)
    };
    let others = [
        change(&|relation| relation.columns[2].name = "text".into()),
        change(&|relation| relation.columns[3].type_oid = 20),
        change(&|relation| relation.columns.swap(1, 2)),
        change(&|relation| relation.replica_identity = ReplicaIdentity::Full),
        change(&|relation| relation.name = "other".into()),
    ];
    for (other, lsn) in others.iter().zip([32, 64, 128, 256, 512]) {
        story.relation(other).begin(lsn);
        let row: Vec<&str> = other
            .columns
            .iter()
            .map(|column| ["1", "NULL"][usize::from(column.kind != wide.columns[0].kind)])
            .collect();
        story.insert(other, &row).commit();
    }
    // And as it was again.
    story.relation(&wide).begin(1024).insert(&wide, &["2", "no time", "b", "2"]).commit();
    let cut = story.cut();
    let left_out: Vec<bool> = cut.batches.iter().map(|batch| !batch.left_out.is_empty()).collect();
    assert_eq!(left_out, [true, false, false, false, false, false, true]);
}

#[test]
fn what_is_found_needless_later_is_left_out_from_there_on() {
    let wide = wide();
    let mut story = Story::of(&[&wide]);
    story.begin(16).insert(&wide, &["1", "2024-02-29 00:00:00", "a", "1"]).commit();
    story.decoder.leave_out(Arc::new(wide.clone()), LeftOut::but(4, &[0, 3]));
    story.begin(32).insert(&wide, &["2", "2024-02-29 00:00:00", "b", "2"]).commit();
    let cut = story.cut();
    assert_eq!(told(&cut), ["16.0.0 wide Insert {1 1709164800000000 a 1}", "32.0.0 wide Insert {2 NULL NULL 2}"]);
    // A connection that begins anew knows it still.
    story.decoder.restart(Lsn(8));
    story.begin(16).insert(&wide, &["1", "no time", "a", "1"]).commit();
    assert_eq!(told(&story.cut()), ["16.0.0 wide Insert {1 NULL NULL 1}"]);
}

#[test]
fn a_copy_has_the_columns_that_are_kept() {
    let left_out = LeftOut::but(4, &[0, 3]);
    let mut decoder = CopyDecoder::without(Arc::new(wide()), left_out.clone(), commit(16));
    let chunk = Bytes::from_static(b"1\t10\n2\t\\N\n3\tten\n");
    for line in [0..5, 5..10, 10..16] {
        decoder.row(&chunk, line).unwrap();
    }
    let batch = decoder.take();
    assert_whole(&batch);
    let rows: Vec<_> = (0..3).map(|at| row(&batch.rows, at, &[])).collect();
    assert_eq!(rows, ["1 NULL NULL 10", "2 NULL NULL NULL", "3 NULL NULL NULL"]);
    assert_eq!(batch.left_out, left_out);
    assert_eq!((batch.unreadable[0].row, batch.unreadable[0].column), (2, 3), "by its place in the table");
    let whole = Bytes::from_static(b"1\t\\N\t\\N\t10\n");
    let error = decoder.row(&whole, 0..whole.len()).unwrap_err();
    assert!(error.to_string().contains("3 columns where the table has 2"), "{error}");
}

proptest! {
    /// Of the columns that are kept every cell is what it is where all are.
    #[test]
    fn columns_that_are_kept_are_as_ever(rows in rows(), needed in prop::collection::vec(any::<bool>(), 6)) {
        let count = rows[0].len();
        let needed: Vec<usize> = (0..count).filter(|column| needed[*column]).collect();
        let left_out = LeftOut::but(count, &needed);
        let names: Vec<String> = (0..count).map(|index| format!("c{index}")).collect();
        let columns: Vec<(&str, u32)> = names.iter().zip(&rows[0]).map(|(name, (oid, _))| (name.as_str(), *oid)).collect();
        let relation = Arc::new(table(1, "t", &columns));
        let mut wire = Wire::default();
        wire.push(&testing::relation(&relation)).push(&testing::begin(&commit(16)));
        let mut copy = CopyDecoder::without(Arc::clone(&relation), left_out.clone(), commit(16));
        for row in &rows {
            let texts: Vec<Option<&str>> = row.iter().map(|(_, value)| value.as_ref().map(|(text, _)| text.as_str())).collect();
            let cells: Vec<Cell> = texts.iter().map(|text| Cell::from(*text)).collect();
            wire.push(&insert(relation.id, &cells)).push(&update(relation.id, Some((b'O', &cells)), &cells));
            let line = Bytes::from(copy_line(&needed.iter().map(|column| texts[*column]).collect::<Vec<_>>()));
            copy.row(&line, 0..line.len()).unwrap();
        }
        wire.push(&testing::commit(&commit(16), Lsn(24)));
        let (chunk, payloads) = wire.chunk();
        let mut whole = Decoder::new(Lsn(8));
        let mut part = Decoder::new(Lsn(8));
        part.leave_out(Arc::clone(&relation), left_out);
        for payload in payloads {
            whole.message(&chunk, payload.clone()).unwrap();
            part.message(&chunk, payload).unwrap();
        }
        let (whole, part, copied) = (whole.cut().batches.remove(0), part.cut().batches.remove(0), copy.take());
        assert_whole(&part);
        assert_whole(&copied);
        prop_assert_eq!(&whole.changes, &part.changes);
        prop_assert_eq!(whole.bytes, part.bytes);
        for column in needed {
            prop_assert_eq!(whole.rows.column(column), part.rows.column(column));
            prop_assert_eq!(whole.old.column(column), part.old.column(column));
            prop_assert_eq!(copied.rows.column(column), part.old.column(column));
        }
    }
}
