//! What is known of changes, and documents that a stage names.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMicrosecondType;
use arrow_array::{Array, RecordBatch, StringViewArray};
use tidemill_change::{
    Change, ChangeBatch, Column, Commit, FACT, Former, Kind, Lsn, NO_ROW, Named, OldImage, Op, Relation,
    ReplicaIdentity, Staged, TableId,
};
use tidemill_stage::{Chain, Stage};

use crate::harness::{Cells, batch, chain, check, ints, keep, names, numbered, splitter, stage, text_column, texts};

/// `insert 1, update 1, update 2 whose id was 3, delete 4`, of id and text columns. Under FULL old images are whole.
fn changes(identity: ReplicaIdentity, rows: &[Cells], old: &[Cells]) -> Arc<ChangeBatch> {
    let columns = rows.iter().enumerate().map(|(place, (name, oid, _))| Column {
        name: (*name).to_owned(),
        type_oid: *oid,
        type_modifier: -1,
        kind: Kind::from_oid(*oid),
        identity: place == 0 || identity == ReplicaIdentity::Full,
    });
    let relation = Arc::new(Relation::new(TableId(1), "public", "products", identity, columns.collect()));
    let images = |cells: &[Cells]| {
        let arrays = cells.iter().map(|(.., array)| Arc::clone(array)).collect();
        RecordBatch::try_new(Arc::clone(relation.arrow()), arrays).unwrap()
    };
    let is_full = identity == ReplicaIdentity::Full;
    let change = |ordinal: u32, op, row, old| Change {
        op,
        old_image: match (old, is_full) {
            (NO_ROW, _) => OldImage::None,
            (_, true) => OldImage::Full,
            (_, false) => OldImage::Key,
        },
        bucket: 0,
        commit: ordinal / 2,
        ordinal,
        row,
        old,
    };
    let first_old = if is_full { 0 } else { NO_ROW };
    let (second_old, third_old) = if is_full { (1, 2) } else { (0, 1) };
    let commits = vec![
        Commit { lsn: Lsn(0x16_B374_D848), xid: 1, time_us: 1_700_000_000_000_000 },
        Commit { lsn: Lsn(0x16_B374_D850), xid: 2, time_us: 1_700_000_000_000_001 },
    ];
    let changes = vec![
        change(0, Op::Insert, 0, NO_ROW),
        change(1, Op::Update, 1, first_old),
        change(2, Op::Update, 2, second_old),
        change(3, Op::Delete, NO_ROW, third_old),
    ];
    let (rows, old) = (images(rows), images(old));
    Arc::new(ChangeBatch::new(relation, commits, changes, rows, old))
}

/// Under a key's identity.
fn by_key(tags: [&str; 3]) -> Arc<ChangeBatch> {
    let tags = tags.map(Some);
    changes(
        ReplicaIdentity::Default,
        &[("id", 20, ints([1, 1, 2])), ("tags", 25, texts(&tags))],
        &[("id", 20, ints([3, 4])), ("tags", 25, texts(&[None, None]))],
    )
}

fn in_full(tags: [&str; 3], old: [&str; 3]) -> Arc<ChangeBatch> {
    let (tags, old) = (tags.map(Some), old.map(Some));
    changes(
        ReplicaIdentity::Full,
        &[("id", 20, ints([1, 1, 2])), ("tags", 25, texts(&tags))],
        &[("id", 20, ints([1, 3, 4])), ("tags", 25, texts(&old))],
    )
}

fn run(chain: &mut Chain, batch: Arc<ChangeBatch>) -> Staged {
    let staged = chain.run(batch).unwrap();
    check(&staged);
    staged
}

fn named(staged: &Staged) -> &Named {
    staged.named.as_deref().unwrap()
}

fn ids(column: &Option<StringViewArray>) -> Vec<&str> {
    column.as_ref().unwrap().iter().map(|id| id.unwrap_or("null")).collect()
}

fn former(former: &Former) -> Vec<(u32, &str)> {
    former.of.iter().copied().zip(ids(&former.names.id)).collect()
}

#[track_caller]
fn refused(stages: &[Stage], part: &str) {
    let error = chain(stages).open(&numbered(1).relation).unwrap_err();
    assert!(error.is_refused() && error.to_string().contains(part), "{error}");
}

#[test]
fn facts_and_old_columns_go_into_documents() {
    let stages = [
        keep("tags <> 'gone'"),
        splitter(r#"{"provenance": true, "old": ["id", "tags"]}"#, None),
        stage(
            "select",
            r#"{"columns": ["id", "change_op", "seen_op", "change_lsn", "change_time", "change_namespace", "change_table", "old_id", "old_tags"]}"#,
        ),
    ];
    let mut chain = chain(&stages);
    let batch = in_full(["gone", "a", "b"], ["was a", "was b", "was c"]);
    let info = chain.open(&batch.relation).unwrap();
    assert_eq!((info.needed, info.named), (vec![0, 1], None));
    let staged = run(&mut chain, batch);
    assert_eq!(staged.of, [1, 2]);
    assert_eq!(text_column(&staged, "change_op"), ["update", "update"]);
    assert_eq!(text_column(&staged, "seen_op"), ["update", "update"]);
    assert_eq!(text_column(&staged, "change_lsn"), ["16/B374D848", "16/B374D850"]);
    assert_eq!(text_column(&staged, "change_namespace"), ["public", "public"]);
    assert_eq!(text_column(&staged, "change_table"), ["products", "products"]);
    assert_eq!(text_column(&staged, "old_tags"), ["was a", "was b"]);
    let time = staged.documents.column_by_name("change_time").unwrap().as_primitive::<TimestampMicrosecondType>();
    assert_eq!(time.values().to_vec(), [1_700_000_000_000_000, 1_700_000_000_000_001]);
    let schema = staged.documents.schema();
    assert_eq!(schema.field_with_name("change_lsn").unwrap().metadata()[FACT], "lsn");
    assert!(staged.named.is_none());
}

#[test]
fn select_lets_the_names_of_an_earlier_stage_through() {
    for (config, columns) in [
        (r#"{"columns": {"n": "id", "first": "part || '!'"}}"#, &["n", "first"][..]),
        (r#"{"columns": {"n": "part"}, "drop_nulls": true}"#, &[""]),
    ] {
        let mut both = chain(&[splitter(r#"{"split": "tags"}"#, None), stage("select", config)]);
        let staged = run(&mut both, in_full(["a,b", "b", ""], ["a,b", "x", "y,z"]));
        assert_eq!(names(&staged), columns);
        assert_eq!(ids(&named(&staged).documents.id), ["1-a", "1-b", "1-b"]);
        assert_eq!(former(&named(&staged).were), [(1, "1-a"), (1, "1-b"), (2, "3-x"), (3, "4-y"), (3, "4-z")]);
    }
}

#[test]
fn of_a_key_identity_the_old_image_is_the_key_where_it_changed() {
    let mut provenance = chain(&[splitter(r#"{"provenance": true, "old": ["id"]}"#, None)]);
    let staged = run(&mut provenance, by_key(["a", "b", "c"]));
    assert_eq!(text_column(&staged, "change_op"), ["insert", "update", "update"]);
    let old = staged.documents.column_by_name("old_id").unwrap();
    assert_eq!((old.is_null(0), old.is_null(1), old.is_null(2)), (true, true, false));
    let error = chain(&[splitter(r#"{"old": ["tags"]}"#, None)]).open(&by_key(["", "", ""]).relation).unwrap_err();
    assert!(error.to_string().contains("does not tell what `tags` was; it tells `id`"), "{error}");
}

#[test]
fn a_row_that_was_there_before_has_no_time() {
    let mut read = ChangeBatch::clone(&numbered(2));
    read.changes.iter_mut().for_each(|change| change.op = Op::Read);
    let staged = run(&mut chain(&[splitter(r#"{"provenance": true}"#, None)]), Arc::new(read));
    assert_eq!(text_column(&staged, "change_op"), ["read", "read"]);
    assert_eq!(text_column(&staged, "change_lsn"), ["0/8", "0/8"]);
    assert_eq!(staged.documents.column_by_name("change_time").unwrap().null_count(), 2);
}

#[test]
fn several_documents_of_a_row_and_those_that_its_row_had() {
    let mut split = chain(&[splitter(r#"{"split": "tags"}"#, None), keep("part <> 'hidden'")]);
    let batch = in_full(["a,b", "b,hidden,c", ""], ["a,b", "x", "y,z"]);
    let info = split.open(&batch.relation).unwrap();
    let named_info = info.named.unwrap();
    assert_eq!((named_info.id, named_info.index, named_info.of_row), (true, None, true));
    let staged = run(&mut split, batch);
    assert_eq!(names(&staged), ["id", "tags", "part"]);
    assert_eq!(staged.of, [0, 0, 1, 1]);
    assert_eq!(ids(&named(&staged).documents.id), ["1-a", "1-b", "1-b", "1-c"]);
    assert_eq!(former(&named(&staged).were), [(1, "1-a"), (1, "1-b"), (2, "3-x"), (3, "4-y"), (3, "4-z")]);
    assert!(named(&staged).of_row && named(&staged).untold.is_empty());
}

#[test]
fn names_made_of_the_key_need_no_more_of_the_old_row() {
    let mut copies = chain(&[splitter(r#"{"copies": 2, "naming": "key"}"#, None)]);
    let staged = run(&mut copies, by_key(["a", "b", "c"]));
    assert_eq!(ids(&named(&staged).documents.id), ["1-0", "1-1", "1-0", "1-1", "2-0", "2-1"]);
    // The first update told no old key: it kept its own.
    let were = [(1, "1-0"), (1, "1-1"), (2, "3-0"), (2, "3-1"), (3, "4-0"), (3, "4-1")];
    assert_eq!(former(&named(&staged).were), were);
    assert!(!named(&staged).of_row);
}

/// Believed, it would leave documents behind that nothing ever removes.
#[test]
fn names_said_to_be_made_of_the_key_alone_are_held_to_it() {
    for config in [r#"{"id": "tags", "naming": "key"}"#, r#"{"split": "tags", "naming": "key"}"#] {
        let error = chain(&[splitter(config, None)]).run(by_key(["a", "b", "c"])).unwrap_err();
        assert!(error.is_fatal() && error.to_string().contains("Let its plan say `naming: row`"), "{error}");
        // Where the old image is the whole row, that is true of any name.
        run(&mut chain(&[splitter(config, None)]), in_full(["a", "b", "c"], ["x", "y", "z"]));
    }
}

#[test]
fn a_refused_row_is_asked_for_the_names_that_it_would_have_had() {
    let trap = crate::harness::hostile(r#"{"misdeed": "reject", "rows": [2]}"#);
    let mut chain = chain(&[splitter(r#"{"split": "tags"}"#, None), trap]);
    let staged = run(&mut chain, in_full(["a", "b", "c"], ["a", "x", "y"]));
    assert_eq!(staged.rejects.len(), 1);
    // Who refused the row refuses it also when it is only to be named.
    assert!(named(&staged).refused.of.is_empty());
    assert_eq!(former(&named(&staged).were), [(1, "1-a"), (2, "3-x"), (3, "4-y")]);
}

#[test]
fn names_are_granted_or_refused_at_open() {
    let granted = |config: &str| splitter(config, None);
    refused(
        &[stage("splitter", r#"{"id": "name"}"#)],
        "lets out `_id`, which says where a document goes: allow that by",
    );
    refused(&[granted(r#"{"index": "name"}"#)], "does not say which indices it may name");
    refused(
        &[granted(r#"{"id": "name"}"#), crate::harness::hostile(r#"{"misdeed": "document-honest"}"#)],
        "leaves out `_id`, by which an earlier stage names",
    );
    let select = stage("select", r#"{"columns": ["_id", "name"]}"#);
    let mut kept = chain(&[granted(r#"{"id": "name"}"#), select.clone()]);
    assert_eq!(names(&run(&mut kept, numbered(2))), ["name"]);
    // A plugin may pass on what another named, and name nothing itself.
    refused(&[granted(r#"{}"#), stage("select", r#"{"columns": {"_id": "name", "name": "name"}}"#)], "allow that by");
    let twice = crate::harness::hostile(r#"{"misdeed": "rows-twice"}"#);
    refused(&[twice], "no stage gives each an `_id` of its own");
}

#[test]
fn lists_go_from_stage_to_stage_and_into_documents() {
    let words = texts(&[Some("a,,b"), None, Some(""), Some("é"), Some("x,y")]);
    let batch = batch(&[("id", 20, ints(0..5)), ("words", 25, words)]);
    let stages = [
        splitter(r#"{"list": "words"}"#, None),
        keep("id <> 3"),
        splitter(r#"{"back": "words_list", "provenance": true}"#, None),
    ];
    let mut chain = chain(&stages);
    let staged = chain.run(batch).unwrap();
    check(&staged);
    assert_eq!(names(&staged)[..3], ["id", "words", "words_list"].map(str::to_owned));
    assert_eq!(text_column(&staged, "words_list_back"), ["a|null|b", "null", "null", "x|y"]);
    let lists = staged.documents.column_by_name("words_list").unwrap().as_list::<i32>();
    assert_eq!((lists.value_length(0), lists.is_null(1), lists.value_length(3)), (3, true, 2));
    // Its elements are no column.
    let mut nameless = self::chain(&[splitter(r#"{"list": "words"}"#, None), splitter(r#"{"back": ""}"#, None)]);
    let error = nameless.open(&numbered_words().relation).unwrap_err();
    assert!(error.to_string().contains("there are `id`, `words`, `words_list`"), "{error}");
    let mut no_list = self::chain(&[splitter(r#"{"back": "words"}"#, None)]);
    let error = no_list.open(&numbered_words().relation).unwrap_err();
    assert!(error.to_string().contains("column `words` is utf8, and list is needed"), "{error}");
}

fn numbered_words() -> Arc<ChangeBatch> {
    batch(&[("id", 20, ints(0..1)), ("words", 25, texts(&[Some("a")]))])
}
