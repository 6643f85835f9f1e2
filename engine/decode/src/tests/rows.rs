use arrow_array::cast::AsArray;
use tidemill_change::{Lsn, OldImage, ReplicaIdentity, TableId};

use super::*;
use crate::testing::{delete, insert, table, update};

fn products() -> Relation {
    table(7, "products", &[("id", 20), ("name", 25), ("price", 1700)])
}

#[test]
fn inserts_updates_and_deletes_come_as_they_were_committed() {
    let products = products();
    let mut story = Story::of(&[&products]);
    story.begin(16).insert(&products, &["1", "a chair of some length", "9.50"]).insert(&products, &["2", "NULL", "0"]);
    story.commit().begin(32);
    story.say(&update(products.id, None, &cells(&["1", "", "9.90"])));
    story.say(&delete(products.id, (b'K', &cells(&["2", "NULL", "NULL"]))));
    story.say(&update(products.id, Some((b'K', &cells(&["1", "NULL", "NULL"]))), &cells(&["3", "x", "NaN"])));
    let cut = story.commit().cut();
    assert_eq!(
        told(&cut),
        [
            "16.0.0 products Insert {1 a chair of some length 9.50}",
            "16.0.1 products Insert {2 NULL 0}",
            "32.0.0 products Update {1  9.90}",
            "32.0.1 products Delete was Key {2 NULL NULL}",
            "32.0.2 products Update {3 x NaN} was Key {1 NULL NULL}",
        ]
    );
    assert_eq!((cut.from, cut.to, cut.change_count()), (Lsn(8), Some(Lsn(40)), 5));
    assert_eq!(cut.batches[0].commits, [commit(16), commit(32)]);
    assert_eq!(cut.batches[0].changes[0].old_image, OldImage::None);
    assert_eq!(*cut.batches[0].relation, products);
    assert_eq!(story.messages[1..4], [Message::Begin, row_of(7), row_of(7)]);
    assert_eq!(story.messages[4], Message::Commit { commit: Lsn(16), end: Lsn(24) });
}

fn row_of(table: u32) -> Message {
    Message::Row { table: TableId(table) }
}

#[test]
fn full_old_images_are_whole() {
    let mut products = products();
    products.replica_identity = ReplicaIdentity::Full;
    let mut story = Story::of(&[&products]);
    story.begin(16);
    story.say(&update(products.id, Some((b'O', &cells(&["1", "a", "NULL"]))), &cells(&["1", "b", "2"])));
    story.say(&delete(products.id, (b'O', &cells(&["1", "b", "2"]))));
    assert_eq!(
        told(&story.commit().cut()),
        ["16.0.0 products Update {1 b 2} was Full {1 a NULL}", "16.0.1 products Delete was Full {1 b 2}"]
    );
}

#[test]
fn an_unchanged_large_value_waits_unless_the_old_image_has_it() {
    let check = |old: Option<(u8, &[&str])>, new: &[&str], expected: &str| {
        let table = table(7, "t", &[("id", 25), ("body", 25), ("n", 23)]);
        let mut story = Story::of(&[&table]);
        let old = old.map(|(tag, row)| (tag, cells(row)));
        let old = old.as_ref().map(|(tag, row)| (*tag, row.as_slice()));
        story.begin(16).insert(&table, &["0", "first", "0"]);
        story.say(&update(table.id, old, &cells(new)));
        let cut = story.commit().cut();
        assert_eq!(told(&cut)[1], expected);
        assert_eq!(cut.batches[0].has_unchanged(), expected.contains('~'));
    };
    check(None, &["1", "~", "5"], "16.0.1 t Update {1 ~ 5}");
    check(Some((b'K', &["1", "NULL", "NULL"])), &["2", "~", "5"], "16.0.1 t Update {2 ~ 5} was Key {1 NULL NULL}");
    let long = "a large value that Postgres stores elsewhere";
    check(
        Some((b'O', &["1", long, "4"])),
        &["1", "~", "5"],
        &format!("16.0.1 t Update {{1 {long} 5}} was Full {{1 {long} 4}}"),
    );
    // A key that is large itself: unchanged, and in the old key.
    check(
        Some((b'K', &[long, "NULL", "NULL"])),
        &["~", "x", "5"],
        &format!("16.0.1 t Update {{{long} x 5}} was Key {{{long} NULL NULL}}"),
    );
    check(Some((b'O', &["1", "~", "4"])), &["1", "~", "5"], "16.0.1 t Update {1 ~ 5} was Full {1 NULL 4}");
}

#[test]
fn an_update_does_not_fill_from_the_one_before() {
    let table = table(7, "t", &[("id", 23), ("body", 25)]);
    let mut story = Story::of(&[&table]);
    story.begin(16);
    story.say(&update(table.id, Some((b'O', &cells(&["1", "old"]))), &cells(&["1", "~"])));
    story.say(&update(table.id, None, &cells(&["2", "~"])));
    story.say(&delete(table.id, (b'O', &cells(&["1", "gone"]))));
    story.say(&insert(table.id, &cells(&["3", "~"])));
    let lines = told(&story.commit().cut());
    assert_eq!(lines[1], "16.0.1 t Update {2 ~}");
    assert_eq!(lines[3], "16.0.3 t Insert {3 ~}");
}

#[test]
fn tables_have_batches_of_their_own() {
    let (a, b) = (table(1, "a", &[("id", 23)]), table(2, "b", &[("id", 23)]));
    let mut story = Story::of(&[&a, &b]);
    story.begin(16).insert(&b, &["1"]).insert(&a, &["2"]).insert(&b, &["3"]);
    story.commit().begin(32).insert(&a, &["4"]).commit();
    assert_eq!((story.decoder.pending_rows(), story.decoder.pending_bytes()), (4, 4 * (5 + 3 + 5 + 1)));
    let cut = story.cut();
    assert_eq!(
        told(&cut),
        ["16.0.0 b Insert {1}", "16.0.2 b Insert {3}", "16.0.1 a Insert {2}", "32.0.0 a Insert {4}"]
    );
    assert_eq!((story.decoder.pending_rows(), story.decoder.pending_bytes()), (0, 0));
    assert_eq!(cut.batches.iter().map(|batch| batch.bytes).collect::<Vec<_>>(), [28, 28]);
    assert!(story.cut().batches.is_empty());
}

#[test]
fn a_table_that_changes_its_shape_begins_a_new_batch() {
    let before = table(1, "t", &[("id", 23)]);
    let after = table(1, "t", &[("id", 23), ("note", 25)]);
    let mut story = Story::of(&[&before]);
    story.begin(16).insert(&before, &["1"]).relation(&before).insert(&before, &["2"]);
    story.relation(&after).insert(&after, &["3", "x"]).commit();
    assert_eq!(story.messages[3], Message::Other, "a relation that did not change is no news");
    assert_eq!(story.messages[5], Message::Relation(after.clone().into()));
    assert_eq!(story.decoder.pending_rows(), 3);
    let cut = story.cut();
    assert_eq!(told(&cut), ["16.0.0 t Insert {1}", "16.0.1 t Insert {2}", "16.0.2 t Insert {3 x}"]);
    assert_eq!((&*cut.batches[0].relation, &*cut.batches[1].relation), (&before, &after));
}

#[test]
fn a_named_type_is_read_as_what_it_is_based_on() {
    let table = table(1, "t", &[("id", 23), ("score", 90_001), ("tags", 90_002)]);
    let mut story = Story::of(&[&table]);
    story.begin(16).insert(&table, &["1", "7", "{a}"]);
    story.decoder.name_type(90_001, tidemill_change::Kind::Int4);
    story.decoder.name_type(90_002, tidemill_change::Kind::Array(tidemill_change::ElementKind::Text));
    story.insert(&table, &["2", "8", "{b,NULL}"]).relation(&table).insert(&table, &["3", "9", "{}"]).commit();
    assert_eq!(story.messages[4], Message::Other, "the same relation under the same names");
    let cut = story.cut();
    assert_eq!(
        told(&cut),
        ["16.0.0 t Insert {1 7 {a}}", "16.0.1 t Insert {2 8 [\"b\",null]}", "16.0.2 t Insert {3 9 []}"]
    );
    assert_eq!(cut.batches.len(), 2);
    let known = story.decoder.relation(table.id).unwrap();
    assert_eq!(known.columns[1].kind, tidemill_change::Kind::Int4);
}

#[test]
fn text_is_not_copied() {
    let table = table(1, "t", &[("id", 23), ("a", 25), ("b", 3802)]);
    let mut wire = Wire::default();
    wire.push(&testing::relation(&table)).push(&testing::begin(&commit(16)));
    let (head, payloads) = wire.chunk();
    let mut decoder = Decoder::new(Lsn(8));
    for payload in payloads {
        decoder.message(&head, payload).unwrap();
    }
    let mut chunks = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::default();
        for _ in 0..3 {
            wire.push(&insert(
                table.id,
                &cells(&["1", "a text of more than twelve bytes", "{\"b\": \"another one\"}"]),
            ));
        }
        let (chunk, payloads) = wire.chunk();
        for payload in payloads {
            decoder.message(&chunk, payload).unwrap();
        }
        chunks.push(chunk);
    }
    let (tail, payloads) = {
        let mut wire = Wire::default();
        wire.push(&testing::commit(&commit(16), Lsn(24)));
        wire.chunk()
    };
    decoder.message(&tail, payloads[0].clone()).unwrap();
    let batch = decoder.cut().batches.remove(0);
    let (a, b) = (batch.rows.column(1).as_string_view(), batch.rows.column(2).as_string_view());
    assert_eq!(a.data_buffers().len(), 2, "each chunk is there once, and none that no text is in");
    assert!(std::sync::Arc::ptr_eq(a.data_buffers(), b.data_buffers()), "all columns share the list");
    for row in 0..6 {
        assert!(lies_in(a.value(row), &chunks[row / 3]) && lies_in(b.value(row), &chunks[row / 3]));
    }
}

#[test]
fn a_table_without_columns_has_rows() {
    let table = table(1, "empty", &[]);
    let mut story = Story::of(&[&table]);
    let cut = story.begin(16).insert(&table, &[]).insert(&table, &[]).commit().cut();
    assert_eq!(told(&cut), ["16.0.0 empty Insert {}", "16.0.1 empty Insert {}"]);
}

#[test]
fn ignored_tables_are_counted_and_not_read() {
    let (a, b) = (table(1, "a", &[("id", 23)]), table(2, "b", &[("id", 23)]));
    let mut story = Story::of(&[&a]);
    story.decoder.ignore(b.id);
    story.relation(&b).begin(16).insert(&b, &["not a number"]).insert(&a, &["1"]);
    story.decoder.ignore(a.id);
    story.insert(&a, &["2"]);
    story.decoder.want(b.id, crate::Wanted::All);
    story.insert(&b, &["3"]).commit();
    assert_eq!(told(&story.cut()), ["16.0.1 a Insert {1}", "16.0.3 b Insert {3}"]);
    assert_eq!(story.decoder.wanted(a.id), crate::Wanted::None);
}

/// One row that cannot be read stops no other, and of an old image nothing but its places matters.
#[test]
fn a_value_that_cannot_be_read_is_set_aside() {
    let table = table(7, "t", &[("id", 23), ("at", 1114), ("note", 25)]);
    let far = "294276-12-31 00:00:00";
    let mut story = Story::of(&[&table]);
    story.begin(16).insert(&table, &["1", "2024-02-29 12:00:00", "a"]).insert(&table, &["2", far, "b"]);
    story.say(&update(table.id, Some((b'O', &cells(&["2", far, "b"]))), &cells(&["3", "~", "c"])));
    story.say(&delete(table.id, (b'O', &cells(&["x", far, "c"]))));
    let cut = story.insert(&table, &["4", "NULL", "d"]).commit().cut();
    assert_eq!(
        told(&cut),
        [
            "16.0.0 t Insert {1 1709208000000000 a}",
            "16.0.1 t Insert {2 NULL b}",
            "16.0.2 t Update {3 NULL c} was Full {2 NULL b}",
            "16.0.3 t Delete was Full {NULL NULL c}",
            "16.0.4 t Insert {4 NULL d}",
        ]
    );
    let unreadable = &cut.batches[0].unreadable;
    let cells: Vec<_> = unreadable.iter().map(|cell| (cell.row, cell.column, cell.code)).collect();
    assert_eq!(cells, [(1, 1, "value_out_of_range"), (2, 1, "value_out_of_range")]);
    assert!(unreadable.iter().all(|cell| *cell.raw == *far.as_bytes() && !cell.message.contains(far)));
    assert!(story.begin(32).insert(&table, &["5", "NULL", "e"]).commit().cut().batches[0].unreadable.is_empty());
}
