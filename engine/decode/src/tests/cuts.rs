use tidemill_change::{BUCKET_BYTES, BUCKET_ROWS, Lsn, TableId};

use super::*;
use crate::testing::{table, truncate};

fn ids() -> Relation {
    table(1, "t", &[("id", 23)])
}

#[test]
fn a_cut_comes_between_transactions_or_where_a_bucket_is_full() {
    let table = ids();
    let mut story = Story::of(&[&table]);
    assert!(story.decoder.can_cut());
    story.begin(16);
    assert!(!story.decoder.can_cut());
    for _ in 1..BUCKET_ROWS {
        story.insert(&table, &["1"]);
    }
    assert!(!story.decoder.can_cut());
    story.insert(&table, &["1"]);
    assert!(story.decoder.can_cut());
    let first = story.cut();
    assert_eq!((first.from, first.to, first.change_count()), (Lsn(8), None, BUCKET_ROWS as usize));
    assert!(first.span().is_none());
    story.insert(&table, &["2"]);
    assert!(!story.decoder.can_cut());
    story.commit();
    let second = story.cut();
    assert_eq!(told(&second), ["16.1.10000 t Insert {2}"]);
    assert_eq!((second.from, second.to), (Lsn(8), Some(Lsn(24))));
    story.begin(32).insert(&table, &["3"]).commit();
    let third = story.cut();
    assert_eq!(told(&third), ["32.0.0 t Insert {3}"]);
    assert_eq!((third.from, third.to), (Lsn(24), Some(Lsn(40))));
}

#[test]
fn a_bucket_that_was_not_cut_ends_all_the_same() {
    let table = ids();
    let mut story = Story::of(&[&table]);
    story.begin(16);
    for _ in 0..2 * BUCKET_ROWS + 1 {
        story.insert(&table, &["1"]);
    }
    assert!(!story.decoder.can_cut());
    let cut = story.commit().cut();
    let buckets: Vec<u16> = cut.batches[0].changes.iter().map(|change| change.bucket).collect();
    assert!(buckets[..10_000].iter().all(|bucket| *bucket == 0));
    assert!(buckets[10_000..20_000].iter().all(|bucket| *bucket == 1));
    assert_eq!(buckets[20_000..], [2]);
}

#[test]
fn a_bucket_is_full_by_bytes_of_rows_wanted_or_not() {
    let (wanted, other) = (ids(), table(2, "other", &[("body", 25)]));
    let mut story = Story::of(&[&wanted, &other]);
    story.decoder.ignore(other.id);
    story.begin(16).insert(&wanted, &["1"]);
    let body = "x".repeat(1 << 20);
    let row = testing::insert(other.id, &[Cell::from(body.as_str())]);
    let mut count = 0;
    while !story.decoder.can_cut() {
        story.say(&row);
        count += 1;
    }
    assert_eq!(count, BUCKET_BYTES.div_ceil(row.len() as u64));
    story.insert(&wanted, &["2"]);
    assert!(!story.decoder.can_cut());
    assert_eq!(told(&story.commit().cut()), ["16.0.0 t Insert {1}", &format!("16.1.{} t Insert {{2}}", count + 1)]);
}

#[test]
fn a_keepalive_moves_the_span_on_between_transactions_only() {
    let table = ids();
    let mut story = Story::of(&[&table]);
    let span = |story: &mut Story| {
        let cut = story.cut();
        (cut.from.0, cut.to.unwrap().0, cut.change_count())
    };
    story.decoder.keepalive(Lsn(10));
    assert_eq!(span(&mut story), (8, 10, 0));
    assert_eq!(span(&mut story), (10, 10, 0));
    story.begin(16).insert(&table, &["1"]);
    story.decoder.keepalive(Lsn(100));
    story.commit();
    story.decoder.keepalive(Lsn(30));
    story.decoder.keepalive(Lsn(20));
    assert_eq!(span(&mut story), (10, 30, 1));
}

#[test]
fn a_truncate_ends_its_cut_and_shares_no_bucket() {
    let (a, b) = (ids(), table(2, "other", &[("id", 23)]));
    let mut story = Story::of(&[&a, &b]);
    story.decoder.ignore(b.id);
    story.begin(16).insert(&a, &["1"]).say(&truncate(&[b.id, a.id]));
    assert_eq!(story.messages.last(), Some(&Message::Truncate));
    assert!(story.decoder.can_cut() && story.decoder.must_cut());
    let cut = story.cut();
    assert_eq!(told(&cut), ["16.0.0 t Insert {1}", "16.1 truncate [TableId(1)]"]);
    assert_eq!(cut.to, None);
    assert!(!story.decoder.must_cut());
    story.insert(&a, &["2"]).say(&truncate(&[a.id])).commit();
    let cut = story.cut();
    assert_eq!(told(&cut), ["16.2.1 t Insert {2}", "16.3 truncate [TableId(1)]"]);
    assert_eq!(cut.span().unwrap().to(), Lsn(24));
    assert_eq!(cut.truncate.unwrap().tables, [TableId(1)]);
}

#[test]
fn a_truncate_first_in_its_transaction_is_in_bucket_0() {
    let (a, b) = (ids(), table(2, "other", &[("id", 23)]));
    let mut story = Story::of(&[&a, &b]);
    story.decoder.ignore(b.id);
    story.begin(16).say(&truncate(&[a.id]));
    assert_eq!(told(&story.cut()), ["16.0 truncate [TableId(1)]"]);
    // One of tables that nobody wants still ends its bucket: buckets are a function of the WAL alone.
    story.say(&truncate(&[b.id])).insert(&a, &["1"]).commit();
    assert_eq!(story.messages[4], Message::Other);
    assert_eq!(told(&story.cut()), ["16.2.0 t Insert {1}"]);
}

#[test]
fn nothing_follows_a_truncate_that_was_not_cut() {
    let table = ids();
    for next in [testing::insert(table.id, &cells(&["1"])), truncate(&[table.id])] {
        let mut story = Story::of(&[&table]);
        story.begin(16).say(&truncate(&[table.id]));
        let error = story.try_say(&next).unwrap_err();
        assert!(error.to_string().contains("call cut first"), "{error}");
    }
}

#[test]
#[should_panic(expected = "can_cut")]
fn a_cut_inside_a_bucket_is_a_bug_of_the_caller() {
    Story::new().begin(16).cut();
}

#[test]
fn a_restart_drops_what_is_pending_and_keeps_what_is_known() {
    let table = ids();
    let mut story = Story::of(&[&table]);
    story.decoder.name_type(5, tidemill_change::Kind::Int4);
    story.begin(16).insert(&table, &["1"]);
    story.try_say(b"?").unwrap_err();
    story.decoder.restart(Lsn(12));
    assert!(story.decoder.can_cut() && story.decoder.pending_rows() == 0);
    story.relation(&table).begin(16).insert(&table, &["1"]).commit();
    assert_eq!(story.messages[3], Message::Other);
    let cut = story.cut();
    assert_eq!((told(&cut), cut.from), (vec!["16.0.0 t Insert {1}".to_owned()], Lsn(12)));
}
