//! `select`: columns go, come, and change their names, and nothing crosses for it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use tidemill_change::{LeftOut, TableId};

use crate::harness::{batch, batch_of, chain, check, ints, keep, names, numbered, stage, text_column, texts};

#[test]
fn columns_are_chosen_ordered_and_renamed() {
    let batch = batch(&[
        ("id", 20, ints(0..3)),
        ("name", 25, texts(&[Some("a"), None, Some("a text that is longer than a view")])),
        ("price", 1700, texts(&[Some("1.50"), Some("2"), None])),
    ]);
    let mut chain = chain(&[stage("select", r#"{"columns": {"cost": "price", "title": "name"}}"#)]);
    let info = chain.open(&batch.relation).unwrap();
    assert_eq!(info.needed, [1, 2]);
    assert_eq!(
        info.columns.iter().map(|c| (c.name.as_str(), c.source)).collect::<Vec<_>>(),
        [("cost", Some(2)), ("title", Some(1))]
    );
    let staged = chain.run(Arc::clone(&batch)).unwrap();
    check(&staged);
    assert_eq!(staged.documents.schema(), info.schema);
    assert_eq!(names(&staged), ["cost", "title"]);
    assert_eq!(staged.documents.schema().field(0).metadata()["ARROW:extension:name"], "tidemill.numeric");
    assert_eq!(text_column(&staged, "title"), ["a", "null", "a text that is longer than a view"]);
    assert_eq!(staged.of, [0, 1, 2]);
    // The very buffers of the source: nothing was copied.
    let (is, was) = (staged.documents.column(1).as_string_view(), batch.rows.column(1).as_string_view());
    assert_eq!(is.views().as_ptr(), was.views().as_ptr());
}

#[test]
fn a_column_that_is_not_there_is_named_with_those_that_are() {
    let error = chain(&[stage("select", r#"{"columns": ["nmae"]}"#)]).open(&numbered(1).relation).unwrap_err();
    let message = error.to_string();
    assert!(error.is_refused() && error.stage() == "select");
    assert!(message.contains("`nmae`") && message.contains("`id`, `name`"), "{message}");
}

#[test]
fn a_stage_sees_what_the_one_before_let_out() {
    let stages = [stage("select", r#"{"columns": {"key": "id", "text": "name"}}"#), keep("key < 3 and name is null")];
    let error = chain(&stages).open(&numbered(1).relation).unwrap_err();
    assert!(error.to_string().contains("`name`") && error.to_string().contains("`key`, `text`"), "{error}");
    let stages = [stages[0].clone(), keep("key < 3")];
    let staged = chain(&stages).run(numbered(10)).unwrap();
    assert_eq!((names(&staged), staged.of), (vec!["key".to_owned(), "text".to_owned()], vec![0, 1, 2]));
}

#[test]
fn a_table_that_changes_its_shape_is_opened_anew() {
    let mut chain = chain(&[stage("select", r#"{"columns": ["name"]}"#)]);
    chain.run(numbered(3)).unwrap();
    let other = batch_of(TableId(2), &[("key", 20, ints(0..2)), ("name", 25, texts(&[Some("x"), Some("y")]))]);
    assert_eq!(text_column(&chain.run(other).unwrap(), "name"), ["x", "y"]);
    let altered = batch(&[("id", 20, ints(0..1)), ("added", 20, ints(5..6)), ("name", 25, texts(&[Some("z")]))]);
    assert_eq!(text_column(&chain.run(altered).unwrap(), "name"), ["z"]);
    let dropped = batch(&[("id", 20, ints(0..1))]);
    assert!(chain.run(dropped).unwrap_err().is_refused());
}

#[test]
fn more_tables_than_are_kept_open_pass_all_the_same() {
    let mut chain = chain(&[stage("select", r#"{"columns": ["id"]}"#)]);
    for round in 0..2 {
        for table in 0..80 {
            let batch = batch_of(TableId(table), &[("id", 20, ints(0..round + 1))]);
            assert_eq!(chain.run(batch).unwrap().of.len(), round as usize + 1);
        }
    }
}

#[test]
fn a_batch_without_rows_has_the_documents_columns() {
    let mut chain = chain(&[keep("id > 0"), stage("select", r#"{"columns": ["name"]}"#)]);
    let staged = chain.run(numbered(0)).unwrap();
    assert_eq!((names(&staged), staged.of.len()), (vec!["name".to_owned()], 0));
}

#[test]
fn no_stages_leave_everything_as_it_is() {
    let staged = chain(&[]).run(numbered(5)).unwrap();
    check(&staged);
    assert_eq!((staged.documents.clone(), staged.of), (staged.source.rows.clone(), vec![0, 1, 2, 3, 4]));
}

#[test]
fn columns_are_computed_nested_constant_and_of_the_change() {
    let batch = batch(&[
        ("id", 20, ints(0..3)),
        ("first", 25, texts(&[Some("Ann"), None, Some("Bo")])),
        ("price", 1700, texts(&[Some("1.50"), Some("2"), None])),
    ]);
    let config = r#"{"columns": {"full": "first || ' ' || id", "cost": "price * 2", "kind": "'x'", "v": 2, "in.name": "first",
        "in.at.price": "price", "op": "change.op", "of": "change.table"}}"#;
    let mut computed = chain(&[stage("select", config)]);
    let info = computed.open(&batch.relation).unwrap();
    assert_eq!(info.needed, [0, 1, 2]);
    let staged = computed.run(Arc::clone(&batch)).unwrap();
    check(&staged);
    assert_eq!(names(&staged), ["full", "cost", "kind", "v", "in", "op", "of"]);
    assert_eq!(text_column(&staged, "full"), ["Ann 0", "null", "Bo 2"]);
    assert_eq!(text_column(&staged, "cost"), ["3.00", "4", "null"]);
    assert_eq!(staged.documents.schema().field(1).metadata()["ARROW:extension:name"], "tidemill.numeric");
    assert_eq!(text_column(&staged, "kind"), ["x", "x", "x"]);
    assert_eq!(text_column(&staged, "in")[0], r#"{"name":"Ann","at":{"price":1.50}}"#);
    assert_eq!(text_column(&staged, "op")[0], "insert");
    assert_eq!(text_column(&staged, "of")[0], batch.relation.name);

    let config = r#"{"columns": {"n": "10 / id", "m": "(100 % id)::text", "k.b": "1 / (id - 1)"}}"#;
    let staged = chain(&[stage("select", config)]).run(batch).unwrap();
    check(&staged);
    let rejects: Vec<_> = staged.rejects.iter().map(|reject| (reject.row, reject.code.as_str())).collect();
    assert_eq!((staged.of, rejects), (vec![2], vec![(0, "22012"), (1, "22012")]));
}

/// Nobody was to read it: a mistake about that is never a null in a document or in a verdict.
#[test]
fn a_column_that_was_left_out_is_read_by_nobody() {
    let only_ids = || {
        let whole = numbered(10);
        Arc::new(whole.without(&LeftOut::but(2, &[0])))
    };
    let ids = stage("select", r#"{"columns": ["id"]}"#);
    let staged = chain(&[keep("id < 3"), ids.clone()]).run(only_ids()).unwrap();
    assert_eq!((names(&staged), staged.of), (vec!["id".to_owned()], vec![0, 1, 2]));
    let error = chain(&[keep("name is null"), ids]).run(only_ids()).unwrap_err();
    assert!(error.is_left_out() && !error.is_transient());
    assert!(error.to_string().starts_with("stage `where` reads column `name` of table `public.products`"), "{error}");
    let renamed = stage("select", r#"{"columns": {"id": "id", "title": "name"}}"#);
    for stages in [vec![renamed], vec![keep("id < 3")], vec![]] {
        let error = chain(&stages).run(only_ids()).unwrap_err();
        assert!(error.is_left_out(), "{error}");
        assert!(error.to_string().starts_with("the documents show column `name`"), "{error}");
    }
}
