//! What changes come to: order, the last action of each document, filters, moves, refusals.

use std::sync::Arc;

use arrow_buffer::BooleanBuffer;
use tidemill_change::{Kind, LeftOut, Reject, Relation, ReplicaIdentity, Staged};

use super::story::{Story, encode, encoding, pick, reject, relation, told};
use crate::{Actions, Counts, Encoding, LongId, Nonfinite};

fn things() -> Arc<Relation> {
    relation(&[("id", Kind::Int4), ("v", Kind::Text)], &["id"])
}

fn row<'a>(id: &'a str, v: &'a str) -> [Option<&'a str>; 2] {
    [Some(id), Some(v)]
}

fn old(id: &str) -> [Option<&str>; 2] {
    [Some(id), None]
}

fn check(staged: Staged, expected: &[&str]) -> Counts {
    let encoded = encode(&encoding(), &[staged]).unwrap();
    assert_eq!(told(&encoded), expected);
    encoded.counts
}

#[test]
fn each_change_is_its_action() {
    let mut story = Story::of(&things());
    story.insert(&row("1", "a")).update(&row("2", "b")).delete(&old("3"));
    check(story.staged(), &[r#"index 1 {"id":1,"v":"a"}"#, r#"index 2 {"id":2,"v":"b"}"#, "delete 3"]);
}

#[test]
fn defect_1_a_row_that_leaves_the_filter_is_deleted() {
    let mut story = Story::of(&things());
    story.update(&row("1", "sold")).insert(&row("2", "sold")).update(&row("3", "kept"));
    let counts = check(story.kept(|row| row == 2), &["delete 1", r#"index 3 {"id":3,"v":"kept"}"#]);
    assert_eq!(counts.filtered, 2);
}

#[test]
fn a_filtered_insert_takes_nothing_back() {
    // Delete and insert of one key: the delete stays.
    let mut story = Story::of(&things());
    story.delete(&old("1")).insert(&row("1", "sold"));
    check(story.kept(|_| false), &["delete 1"]);
}

#[test]
fn defect_2_a_key_change_deletes_the_old_document() {
    let mut story = Story::of(&things());
    story.update_key(&old("1"), &row("2", "a"));
    check(story.staged(), &["delete 1", r#"index 2 {"id":2,"v":"a"}"#]);
    check(story.kept(|_| false), &["delete 1"]);
}

#[test]
fn a_full_old_image_of_the_same_place_deletes_nothing() {
    let mut story = Story::of(&things());
    story.update_full(&row("1", "a"), &row("1", "b"));
    check(story.staged(), &[r#"index 1 {"id":1,"v":"b"}"#]);
    check(story.kept(|_| false), &["delete 1"]);
}

#[test]
fn defect_3_a_move_of_routing_index_or_id_deletes_at_the_old_place() {
    let relation = relation(&[("id", Kind::Int4), ("t", Kind::Text)], &["id", "t"]);
    let mut story = Story::of(&relation);
    story.update_full(&row("1", "a"), &row("1", "b"));
    let template = || "{t}".parse::<crate::Template>().unwrap();
    for (encoding, expected) in [
        (Encoding { routing: Some(template()), ..encoding() }, ["delete 1@a", r#"index 1@b {"id":1,"t":"b"}"#]),
        (Encoding { index: template(), ..encoding() }, ["delete a/1", r#"index b/1 {"id":1,"t":"b"}"#]),
        (
            Encoding { id: crate::IdRule::Template(template()), ..encoding() },
            ["delete a", r#"index b {"id":1,"t":"b"}"#],
        ),
    ] {
        assert_eq!(told(&encode(&encoding, &[story.staged()]).unwrap()), expected);
    }
}

#[test]
fn two_moves_of_routing_leave_each_place_its_last() {
    let relation = relation(&[("id", Kind::Int4), ("t", Kind::Text)], &["id", "t"]);
    let encoding = Encoding { routing: Some("{t}".parse().unwrap()), ..encoding() };
    let mut story = Story::of(&relation);
    story.update_full(&row("1", "a"), &row("1", "b")).update_full(&row("1", "b"), &row("1", "a"));
    let encoded = encode(&encoding, &[story.staged()]).unwrap();
    assert_eq!(told(&encoded), ["delete 1@b", r#"index 1@a {"id":1,"t":"a"}"#]);
}

#[test]
fn what_an_old_key_does_not_hold_comes_from_the_new_row() {
    let relation = relation(&[("id", Kind::Int4), ("t", Kind::Text)], &["id"]);
    let encoding = Encoding { routing: Some("{t}".parse().unwrap()), ..encoding() };
    let mut story = Story::of(&relation);
    story.update_key(&old("1"), &row("2", "a")).delete(&old("3"));
    let encoded = encode(&encoding, &[story.staged()]).unwrap();
    assert_eq!(told(&encoded), ["delete 1@a", r#"index 2@a {"id":2,"t":"a"}"#]);
    let rejected = &encoded.rejected[0];
    assert_eq!((rejected.change, rejected.code.as_str()), (1, "place_unknown"));
    assert_eq!(
        rejected.message,
        "the delete does not tell `t`: `alter table public.things replica identity full` makes it"
    );
    assert_eq!(rejected.document, r#"{"id":3,"t":null}"#.as_bytes());
}

#[test]
fn defect_9_the_last_of_many_changes_in_one_transaction_stays() {
    let mut story = Story::of(&things());
    for n in 0..500 {
        story.update(&row("1", &n.to_string()));
    }
    story.update(&row("2", "x"));
    let counts = check(story.staged(), &[r#"index 1 {"id":1,"v":"499"}"#, r#"index 2 {"id":2,"v":"x"}"#]);
    assert_eq!(counts.superseded, 499);
}

#[test]
fn delete_and_insert_of_a_key_in_one_transaction() {
    let mut story = Story::of(&things());
    story.delete(&old("1")).insert(&row("1", "b")).insert(&row("2", "c")).delete(&old("2"));
    check(story.staged(), &[r#"index 1 {"id":1,"v":"b"}"#, "delete 2"]);
}

#[test]
fn defect_24_the_order_is_that_of_the_commits() {
    // T1 deleted the row and committed first; T2 had inserted it before that, and committed later.
    let mut story = Story::of(&things());
    story.commit(0x100).delete(&old("1")).commit(0x200).insert(&row("1", "t2"));
    let encoded = encode(&encoding(), &[story.staged()]).unwrap();
    assert_eq!(told(&encoded), [r#"index 1 {"id":1,"v":"t2"}"#]);
    assert_eq!(encoded.actions[0].version.commit().0, 0x200);
}

#[test]
fn batches_of_a_cut_are_merged_by_commit_and_ordinal() {
    let relation = things();
    let [mut a, mut b, empty] = [(); 3].map(|()| Story::of(&relation));
    a.commit(0x100).insert(&row("1", "a0"));
    b.commit(0x100);
    b.ordinal = 1;
    b.insert(&row("1", "b1")).insert(&row("2", "b2"));
    a.ordinal = 3;
    a.insert(&row("2", "a3")).commit(0x300).insert(&row("3", "late"));
    b.commit(0x200).insert(&row("3", "early"));
    for cut in [[a.staged(), b.staged(), empty.staged()], [empty.staged(), b.staged(), a.staged()]] {
        let encoded = encode(&encoding(), &cut).unwrap();
        assert_eq!(
            told(&encoded),
            [r#"index 1 {"id":1,"v":"b1"}"#, r#"index 2 {"id":2,"v":"a3"}"#, r#"index 3 {"id":3,"v":"late"}"#]
        );
    }
}

#[test]
fn rows_that_trade_places_under_a_deferred_key_both_stay() {
    let mut story = Story::of(&things());
    story.update_full(&row("1", "a"), &row("2", "a")).update_full(&row("2", "b"), &row("1", "b"));
    check(story.staged(), &[r#"index 2 {"id":2,"v":"a"}"#, r#"index 1 {"id":1,"v":"b"}"#]);
    // One row there and back is another case.
    let mut story = Story::of(&things());
    story.update_full(&row("1", "a"), &row("2", "a")).update_full(&row("2", "a"), &row("1", "b"));
    check(story.staged(), &["delete 2", r#"index 1 {"id":1,"v":"b"}"#]);
    // As is a row that is inserted and deleted, or whose later image was refused.
    let mut story = Story::of(&things());
    story.insert(&row("1", "a")).delete_full(&row("1", "a"));
    check(story.staged(), &["delete 1"]);
    let mut story = Story::of(&things());
    story.insert(&row("1", "a")).update_full(&row("1", "a"), &row("1", "poison")).delete_full(&row("1", "poison"));
    let staged = Staged { rejects: vec![reject(1)], ..story.kept(|row| row != 1) };
    check(staged, &["delete 1"]);
}

#[test]
fn a_rejected_row_leaves_its_old_place() {
    let mut story = Story::of(&things());
    story.update_key(&old("1"), &row("2", "poison"));
    let staged = Staged { rejects: vec![reject(0)], ..story.kept(|_| false) };
    let encoded = encode(&encoding(), &[staged]).unwrap();
    assert_eq!((told(&encoded), encoded.rejected.len()), (vec!["delete 1".to_owned()], 1));

    // Nor does a row without a name keep the one that it had.
    let mut story = Story::of(&things());
    story.update_key(&old("1"), &[None, Some("nameless")]);
    let encoded = encode(&encoding(), &[story.staged()]).unwrap();
    assert_eq!((told(&encoded), encoded.rejected[0].code.as_str()), (vec!["delete 1".to_owned()], "id_null"));
}

#[test]
fn a_rejected_row_makes_no_action_and_takes_none_back() {
    let mut story = Story::of(&things());
    story.insert(&row("1", "good")).update(&row("1", "poison")).update(&row("2", "b"));
    let staged = Staged { rejects: vec![reject(1)], ..story.kept(|row| row != 1) };
    let encoded = encode(&encoding(), &[staged]).unwrap();
    assert_eq!(told(&encoded), [r#"index 1 {"id":1,"v":"good"}"#, r#"index 2 {"id":2,"v":"b"}"#]);
    let [rejected] = encoded.rejected.as_slice() else { panic!("{:?}", encoded.rejected) };
    assert_eq!((rejected.batch, rejected.change), (0, 1));
    assert_eq!((rejected.code.as_str(), rejected.message.as_str()), ("poison", "a row that traps"));
    assert_eq!((rejected.stage.as_deref(), rejected.plugin_sha256.as_deref()), (Some("enrich"), Some("9f86")));
    assert_eq!(rejected.document, r#"{"id":1,"v":"poison"}"#.as_bytes());
    let place = rejected.place.as_ref().unwrap();
    assert_eq!((place.index.as_str(), place.id.as_str(), place.key), ("shop", "1", encoded.actions[0].key));
}

#[test]
fn a_row_that_its_own_values_refuse_takes_nothing_back() {
    let relation = relation(&[("id", Kind::Int4), ("v", Kind::Float8)], &["id"]);
    let mut story = Story::of(&relation);
    story.insert(&row("1", "0.5")).update(&row("1", "NaN"));
    let encoding = Encoding { nonfinite: Nonfinite::DeadLetter, ..encoding() };
    let encoded = encode(&encoding, &[story.staged()]).unwrap();
    assert_eq!(told(&encoded), [r#"index 1 {"id":1,"v":0.5}"#]);
    assert_eq!(encoded.rejected[0].message, "column `v` is not finite: `nonfinite: string` or `null` takes it in");
    assert_eq!(encoded.rejected[0].document, r#"{"id":1,"v":"NaN"}"#.as_bytes());
}

#[test]
fn several_documents_of_one_row_are_refused_until_they_have_ids() {
    let mut story = Story::of(&things());
    story.insert(&row("1", "a")).insert(&row("2", "b"));
    let staged = story.staged();
    let staged = Staged { documents: pick(&staged.documents, &[0, 0, 1]), of: vec![0, 0, 1], ..staged };
    let encoded = encode(&encoding(), &[staged]).unwrap();
    assert_eq!(told(&encoded), [r#"index 2 {"id":2,"v":"b"}"#]);
    assert_eq!(encoded.rejected[0].code, "several_documents");
}

#[test]
fn actions_say_which_changes_are_taken_in() {
    let mut story = Story::of(&things());
    story
        .insert(&row("1", "a"))
        .update(&row("2", "b"))
        .update(&row("3", "leaves"))
        .update_key(&old("4"), &row("5", "c"))
        .delete(&old("6"));
    let told = |actions| {
        let encoded = encode(&Encoding { actions, ..encoding() }, &[story.kept(|row| row != 2)]).unwrap();
        (told(&encoded), encoded.counts.excluded)
    };
    let all = Actions::default();
    let [one, two, five] =
        [r#"index 1 {"id":1,"v":"a"}"#, r#"index 2 {"id":2,"v":"b"}"#, r#"index 5 {"id":5,"v":"c"}"#].map(String::from);
    let [three, four, six] = ["delete 3", "delete 4", "delete 6"].map(String::from);
    assert_eq!(
        told(Actions { delete: false, ..all }),
        (vec![one.clone(), two.clone(), three.clone(), four.clone(), five.clone()], 1)
    );
    assert_eq!(told(Actions { update: false, ..all }), (vec![one, six.clone()], 3));
    assert_eq!(told(Actions { insert: false, ..all }), (vec![two, three, four, five, six], 1));
}

#[test]
fn from_the_last_bucket_on_actions_are_serial() {
    let mut story = Story::of(&things());
    story.bucket = 510;
    story.insert(&row("1", "a"));
    story.bucket = 511;
    story.insert(&row("2", "a"));
    story.bucket = 600;
    story.insert(&row("3", "a"));
    let encoded = encode(&encoding(), &[story.staged()]).unwrap();
    let seen: Vec<_> = encoded.actions.iter().map(|action| (action.version.bucket(), action.serial)).collect();
    assert_eq!(seen, [(510, false), (511, true), (511, true)]);
}

#[test]
fn an_unfilled_value_is_never_indexed() {
    let relation = relation(&[("id", Kind::Int4), ("v", Kind::Text), ("w", Kind::Text)], &["id"]);
    let mut story = Story::of(&relation);
    story.update(&[Some("1"), None, Some("w")]);
    let mut batch = story.batch();
    batch.unchanged[1] = Some(BooleanBuffer::from(vec![true]));
    let staged = Staged::untouched(Arc::new(batch));
    let error = encode(&encoding(), std::slice::from_ref(&staged)).unwrap_err();
    assert!(error.is_unfilled());
    assert_eq!(
        error.to_string(),
        "column `v` of public.things has a value that the WAL left out and that was not filled in"
    );
    // Where no document shows the column, nothing is lost.
    let documents = staged.documents.project(&[0, 2]).unwrap();
    check(Staged { documents, ..staged }, &[r#"index 1 {"id":1,"w":"w"}"#]);
}

/// What nobody reads makes no place and tells no rows apart, and a refused row is kept without it.
#[test]
fn a_column_that_was_left_out_is_never_read() {
    let mut relation = relation(&[("id", Kind::Int4), ("v", Kind::Text), ("w", Kind::Text)], &["id"]);
    Arc::get_mut(&mut relation).expect("nobody else has it").replica_identity = ReplicaIdentity::Full;
    let row = |w: Option<&'static str>| [Some("1"), Some("v"), w];
    let mut story = Story::of(&relation);
    story.insert(&row(None)).delete_full(&row(None));
    let part = |needed: &[usize], rejects: Vec<Reject>| {
        let source = Arc::new(story.batch().without(&LeftOut::but(3, needed)));
        let documents = source.rows.project(&[0, 1]).unwrap();
        let of = if rejects.is_empty() { vec![0] } else { vec![] };
        Staged { documents: documents.slice(0, of.len()), of, rejects, ..Staged::untouched(source) }
    };
    let exclusive = Encoding { exclusive: [relation.id].into(), ..encoding() };
    let error = encode(&exclusive, &[part(&[1, 2], Vec::new())]).unwrap_err();
    assert!(error.is_left_out() && error.to_string().starts_with("the document's place needs column `id`"), "{error}");
    let error = encode(&encoding(), &[part(&[0, 1], Vec::new())]).unwrap_err();
    assert!(error.is_left_out() && error.to_string().contains("column `w` of public.things"), "{error}");
    let encoded = encode(&exclusive, &[part(&[0, 1], Vec::new())]).unwrap();
    assert_eq!(told(&encoded), ["delete 1"]);
    let (code, message, stage, plugin_sha256) = Default::default();
    let reject = Reject { row: 0, code, message, stage, plugin_sha256 };
    let encoded = encode(&exclusive, &[part(&[0, 1], vec![reject])]).unwrap();
    assert_eq!(encoded.rejected[0].document, r#"{"id":1,"v":"v"}"#);
}

#[test]
fn an_update_from_an_id_that_was_too_long_has_nothing_to_delete() {
    let relation = relation(&[("k", Kind::Text)], &["k"]);
    let encoding = Encoding { id: super::story::key(&["k"]), long_id: LongId::Refuse, ..encoding() };
    let mut story = Story::of(&relation);
    story.update_key(&[Some(&"x".repeat(513))], &[Some("a")]);
    let encoded = encode(&encoding, &[story.staged()]).unwrap();
    assert_eq!(told(&encoded), [r#"index a {"k":"a"}"#]);
}

#[test]
fn what_is_not_sound_is_an_error() {
    let mut story = Story::of(&things());
    story.insert(&row("1", "a")).insert(&row("2", "b"));
    let staged = story.staged();
    let error = |staged| encode(&encoding(), &[staged]).unwrap_err().to_string();
    assert_eq!(
        error(Staged { of: vec![0], ..staged.clone() }),
        "a batch of public.things is not sound: it has not one row for each document"
    );
    for of in [vec![1, 0], vec![0, 2]] {
        assert_eq!(
            error(Staged { of, ..staged.clone() }),
            "a batch of public.things is not sound: its documents do not come from its rows in order"
        );
    }
    let mut batch = story.batch();
    batch.changes[1].row = 2;
    assert_eq!(
        error(Staged { source: Arc::new(batch), ..staged.clone() }),
        "a batch of public.things is not sound: a change names a row or a commit that it does not have"
    );
    let mut batch = story.batch();
    batch.commits[0].lsn = tidemill_change::Lsn(1 << 53);
    assert_eq!(
        error(Staged { source: Arc::new(batch), ..staged }),
        "the commit at 200000/0 no longer fits a version: 8 PiB of WAL is their limit"
    );
    let mut story = Story::of(&things());
    story.delete(&old("1"));
    let mut batch = story.batch();
    batch.changes[0].old = tidemill_change::NO_ROW;
    assert_eq!(
        error(Staged::untouched(Arc::new(batch))),
        "a delete of public.things does not tell its row: set it by `alter table public.things replica identity full`"
    );
}

#[test]
fn an_empty_cut_is_an_empty_body() {
    let encoded = encode(&encoding(), &[]).unwrap();
    assert!(encoded.body.is_empty() && encoded.actions.is_empty());
}
